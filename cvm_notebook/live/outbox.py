"""Telling observers of changes: in order, outside the store's lock, a bad one apart."""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self, TypeAlias

from cvm_notebook.live.rows import Change, Gap, Health

Batch: TypeAlias = tuple[Change, ...] | Gap


@dataclass(frozen=True, slots=True)
class Fault:
    """Something went wrong that no call can raise: told once, and nothing stops for it.

    Attributes
    ----------
    where
        ``observer`` or ``list``.
    what
        What happened, in words.
    """

    where: str
    what: str
    error: Exception | None = None


class Subscription:
    """Somebody who is told of changes, until `close`."""

    def __init__(
        self,
        outbox: "Outbox",
        callback: Callable[[Batch], object],
        health: Callable[[Health], object] | None,
    ) -> None:
        self._outbox = outbox
        self._callback = callback
        self._health = health
        self._faulted = False
        self.active = True

    def close(self) -> None:
        """End it: nothing more is told, not even what waits to be."""
        self.active = False
        self._outbox.leave(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def tell(self, what: Batch | Health) -> Fault | None:
        """Call the observer; its first exception is returned, later ones are passed over."""
        try:
            if not isinstance(what, Health):
                self._callback(what)
            elif self._health is not None:
                self._health(what)
        except Exception as error:  # noqa: BLE001 - the top of what is not our code
            if not self._faulted:
                self._faulted = True
                return Fault("observer", f"an observer of the fleet failed: {error!r}", error)
        return None


class Outbox:
    """What is to be told, and to whom.

    `post` belongs under the store's lock, so that the order is the store's; `deliver` does not.
    One thread at a time tells: another that comes leaves its news to it, and so does an observer
    that writes to the store. What an observer is told therefore always comes in order.
    """

    def __init__(self, on_fault: Callable[[Fault], object] | None = None) -> None:
        self._lock = threading.Lock()
        self._subscriptions: tuple[Subscription, ...] = ()
        self._waiting: deque[tuple[tuple[Subscription, ...], Batch | Health | Fault]] = deque()
        self._telling = False
        self._on_fault = on_fault

    def join(self, subscription: Subscription, first: Batch | None) -> None:
        """Tell somebody from now on, and before that what they missed."""
        with self._lock:
            self._subscriptions = (*self._subscriptions, subscription)
            if first:
                self._waiting.append(((subscription,), first))

    def leave(self, subscription: Subscription) -> None:
        """Tell them no more."""
        with self._lock:
            self._subscriptions = tuple(s for s in self._subscriptions if s is not subscription)

    def post(self, what: Batch | Health | Fault) -> None:
        """Put down what is to be told."""
        with self._lock:
            self._waiting.append((self._subscriptions, what))

    def deliver(self) -> None:
        """Tell all that waits to be told, unless a thread is at it."""
        while True:
            with self._lock:
                if self._telling or not self._waiting:
                    return
                self._telling = True
                to, what = self._waiting.popleft()
            try:
                self._tell(to, what)
            finally:
                with self._lock:
                    self._telling = False

    def _tell(self, to: tuple[Subscription, ...], what: Batch | Health | Fault) -> None:
        if isinstance(what, Fault):
            self._report(what)
            return
        for subscription in to:
            fault = subscription.tell(what) if subscription.active else None
            if fault is not None:
                self._report(fault)

    def _report(self, fault: Fault) -> None:
        if self._on_fault is not None:
            self._on_fault(fault)
