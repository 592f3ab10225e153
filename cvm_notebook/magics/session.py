"""Session of the magics: the variables `fleet` and `client` of the notebook, and no others."""

import sys
from typing import TYPE_CHECKING, Literal, TypeAlias

from cvm_notebook.api.client import Client
from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.connection import connect
from cvm_notebook.fleet.fleet import Fleet
from cvm_notebook.live.store.records import Snapshot
from cvm_notebook.widgets.base.mimebundle import allows_input, has_kernel

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

PromptKind: TypeAlias = Literal["box", "prompt"]


class Session:
    """Session of a notebook, or of an IPython, in which the magics run.

    Attributes
    ----------
    seen
        The fleet as the last ``%cvm ls`` or ``diff`` found it.
    """

    def __init__(self, shell: "InteractiveShell") -> None:
        self.shell = shell
        self.seen: tuple[Fleet, Snapshot] | None = None

    def fleet(self) -> Fleet:
        """Return the notebook's fleet; where it has none, make one, and say so.

        Raises
        ------
        CvmError
            `fleet` is something else here, or there is no way to the cloud.
        """
        found, client = self.shell.user_ns.get("fleet"), self.shell.user_ns.get("client")
        if isinstance(found, Fleet) and found.health.state != "closed":
            return found
        if found is not None and not isinstance(found, Fleet):
            problem = f"it is a {type(found).__name__} in this notebook, and no cvm.Fleet"
            remedy = "Give that another name, or run %cvm use, which replaces it."
            raise InvalidInput("fleet", problem, remedy)
        # a client in the namespace decides which cloud is meant
        return self._take(client if isinstance(client, Client) else connect())

    def use(self, target: str | None) -> Fleet:
        """Make the notebook's fleet anew: of LocalCloud, a profile, or the usual key."""
        return self._take(connect(target))

    def open_fleet(self) -> Fleet | None:
        """Return the notebook's fleet if it has one, and make none."""
        found = self.shell.user_ns.get("fleet")
        return found if isinstance(found, Fleet) and found.health.state != "closed" else None

    def prompt_kind(self, *, wait: bool) -> PromptKind | None:
        """Return the kind of prompt for a secret; None where no prompt is possible.

        Parameters
        ----------
        wait
            It is needed while the cell runs, when no widget's message is handled.
        """
        if not has_kernel():
            terminal = all(
                stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr)
            )
            return "prompt" if terminal else None
        if not allows_input(self.shell):
            return None
        return "prompt" if wait else "box"

    def _take(self, client: Client) -> Fleet:
        fleet = Fleet(client)
        self.shell.push({"fleet": fleet, "client": client})  # type: ignore[no-untyped-call]
        print(f"`fleet` and `client` are set: {repr(client).strip('<>')}.")
        return fleet
