"""What those who work on operations share: client, store, clock, ledger, database, workers."""

import contextlib
from dataclasses import dataclass
from typing import Protocol

from cvm_notebook.api.client import Client
from cvm_notebook.api.errors import CvmError
from cvm_notebook.live.clock import Clock
from cvm_notebook.live.ledger import Ledger
from cvm_notebook.live.ledger_database import LedgerDatabase
from cvm_notebook.live.store import FleetStore
from cvm_notebook.live.workers import Workers


class Hooks(Protocol):
    """What a reflector does for operations."""

    def follow(self, cvm_id: str, /) -> object:
        """Keep this CVM's row fresh: something is going on."""

    def unfollow(self, cvm_id: str, /) -> object:
        """Take one `follow` back."""

    def refresh(self) -> object:
        """List the fleet soon: a CVM came or went."""


@dataclass(frozen=True, slots=True)
class OperationSettings:
    """How operations are sent and followed, in seconds where not said otherwise.

    Attributes
    ----------
    workers
        Requests at once, of all operations together.
    waiting
        Operations that may wait to be sent.
    fresh
        A row older than this is read again before what cannot be undone, and before nothing is
        sent because all seems well.
    trust
        A row that the reflector has seen within this time needs no look of our own.
    look, slowest
        Until the first look at an operation under way, doubling up to the slowest.
    reach
        After this an operation that was accepted is given up on.
    settle
        After this an operation that got no answer is given up on.
    """

    workers: int = 8
    waiting: int = 10_000
    fresh: float = 10.0
    trust: float = 10.0
    look: float = 0.5
    slowest: float = 5.0
    reach: float = 900.0
    settle: float = 45.0


@dataclass(slots=True)
class Desk:
    """What those who work on operations share; only the client may be changed."""

    client: Client
    store: FleetStore
    hooks: Hooks | None
    clock: Clock
    settings: OperationSettings
    ledger: Ledger
    database: LedgerDatabase
    workers: Workers

    def refresh(self) -> None:
        """Have the fleet listed soon, as far as somebody lists it."""
        if self.hooks is not None:
            with contextlib.suppress(CvmError):  # it has ended
                self.hooks.refresh()
