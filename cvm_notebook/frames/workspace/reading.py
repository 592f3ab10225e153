"""Requests for each CVM of a fleet, several at a time; a failure costs one row."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from cvm_notebook.api.errors.tree import AuthError, CvmError, InvalidInput
from cvm_notebook.api.http.prefetch import side_by_side
from cvm_notebook.api.models.cvm import Cvm
from cvm_notebook.api.resources.cvms import Reads

if TYPE_CHECKING:
    from cvm_notebook.api.client import Client
    from cvm_notebook.live.engine import FleetEngine

T = TypeVar("T")
R = TypeVar("R")


def client_and_cvms(source: "Client | FleetEngine") -> "tuple[Client, Sequence[Cvm]]":
    """Return the client and the CVMs to read: those of a fleet, or all that a client lists.

    Raises
    ------
    InvalidInput
        It is neither a client nor a fleet.
    """
    if isinstance(source, Reads):
        client: Any = source
        return client, client.list_cvms()
    if not (hasattr(source, "client") and hasattr(source, "snapshot")):
        problem = f"{type(source).__name__} is neither a client nor a fleet"
        raise InvalidInput("source", problem, "Give a Client or a Fleet.")
    return source.client, [row.cvm for row in source.snapshot().rows]


def read_each(items: Sequence[T], read: Callable[[T], R]) -> list[R | CvmError]:
    """Read something of each, eight at a time, in order; what could not be read is its error.

    Raises
    ------
    AuthError
        The key was refused; then all the others would be, too.
    """

    def fetch(item: T) -> R | CvmError:
        try:
            return read(item)
        except AuthError:
            raise
        except CvmError as error:
            return error

    return list(side_by_side(items, fetch))
