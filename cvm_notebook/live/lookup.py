"""Finding one row among many by whatever a user calls it."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Final, Generic, Protocol, TypeVar

from cvm_notebook.api.cvm import Cvm
from cvm_notebook.api.envelopes import clean_text
from cvm_notebook.api.errors import CvmError

_SHOWN: Final = 5
_LONGEST: Final = 80


class HasCvm(Protocol):
    """A row."""

    @property
    def cvm(self) -> Cvm:
        """The record."""

    @property
    def id(self) -> str:
        """What it is kept under."""


R = TypeVar("R", bound=HasCvm)


class UnknownCvm(CvmError, LookupError):  # noqa: N818 - the tree names what happened
    """No CVM of the fleet is called that."""


class AmbiguousCvm(CvmError, LookupError):  # noqa: N818 - the tree names what happened
    """Several CVMs of the fleet are called that."""


class Index(Generic[R]):
    """The rows of one moment, by each of their identifiers; built when first asked."""

    __slots__ = ("_maps", "_rows")

    def __init__(self, rows: Sequence[R]) -> None:
        self._rows = rows
        self._maps: tuple[dict[str, list[R]], ...] | None = None

    def matches(self, identifier: str) -> list[R]:
        """Return the rows it may mean, by the first kind of identifier that has any.

        The order is the service's: id, uuid, app id, instance id, name.
        """
        for by_value in self._built():
            if found := by_value.get(identifier):
                return found
        return []

    def find(self, identifier: str) -> R:
        """Return the one row it means; see `Snapshot.find`."""
        found = self.matches(identifier)
        if len(found) == 1:
            return found[0]
        if found:
            raise self._ambiguous(identifier, found)
        raise self._unknown(identifier)

    def _built(self) -> tuple[dict[str, list[R]], ...]:
        if self._maps is None:
            rows = self._rows
            self._maps = (
                _by((r.id, r) for r in rows),
                _by((r.cvm.vm_uuid, r) for r in rows),
                _by((r.cvm.app_id, r) for r in rows),
                _by((r.cvm.instance_id, r) for r in rows),
                _by((r.cvm.name, r) for r in rows),
            )
        return self._maps

    def _ambiguous(self, identifier: str, found: list[R]) -> AmbiguousCvm:
        listed = ", ".join(f"{_text(r.cvm.name)} ({r.id})" for r in found[:_SHOWN])
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        return AmbiguousCvm(
            f"{_text(identifier)!r} names {len(found)} CVMs: {listed}{more}",
            hint="Use the id of the one you mean.",
        )

    def _unknown(self, identifier: str) -> UnknownCvm:
        asked = _text(identifier)
        near = get_close_matches(asked, {_text(r.cvm.name) for r in self._rows}, n=3, cutoff=0.6)
        if near:
            hint = f"Did you mean {' or '.join(map(repr, near))}?"
        elif self._rows:
            hint = "Give a name, an id, a uuid, an app id or an instance id of this workspace."
        else:
            hint = "The fleet has no CVMs."
        return UnknownCvm(f"there is no CVM {asked!r} in the fleet", hint=hint)


def _by(pairs: Iterable[tuple[str | None, R]]) -> dict[str, list[R]]:
    found: dict[str, list[R]] = {}
    for value, row in pairs:
        if value:
            found.setdefault(value, []).append(row)
    return found


def _text(value: object) -> str:
    return clean_text(value, _LONGEST)
