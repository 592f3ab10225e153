"""Finding one row among many by whatever a user calls it."""

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from operator import attrgetter
from typing import Any, Final, Generic, Protocol, TypeVar

from cvm_notebook.api.errors.tree import CvmError, InvalidInput, NotFoundError
from cvm_notebook.api.models.cvm import Cvm
from cvm_notebook.api.resources.cvm_ref import Ref, canonical, split
from cvm_notebook.text import clean_text, quoted, trimmed

_SHOWN: Final = 5
_LONGEST: Final = 80
_NOT_FOUND: Final = 404
_KINDS: Final = ("id", "cvm.vm_uuid", "cvm.app_id", "cvm.instance_id", "cvm.name")


class HasCvm(Protocol):
    """A row."""

    @property
    def cvm(self) -> Cvm:
        """The record."""

    @property
    def id(self) -> str:
        """What it is kept under."""


R = TypeVar("R", bound=HasCvm)


class UnknownCvm(NotFoundError, LookupError):  # noqa: N818 - the tree names what happened
    """No CVM of the fleet has that name: a NotFoundError that needs no request."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(_NOT_FOUND, message, hint=hint)

    def _marks(self) -> str:
        return ""  # no answer of the service


class AmbiguousCvm(CvmError, LookupError):  # noqa: N818 - the tree names what happened
    """Several CVMs of the fleet are called that; waiting does not help, so it is no conflict."""


def identifier_of(ref: Any) -> str:
    """Return what a CVM is called by, of a text or of what knows its id, such as a handle.

    Raises
    ------
    InvalidInput
        It is nothing that stands for one CVM.
    """
    if isinstance(ref, str):
        return ref
    if isinstance(ref, Iterable) and not isinstance(ref, Mapping):
        problem = f"one CVM is meant here, not a {type(ref).__name__} of them"
        raise InvalidInput("id", problem, "Give each by itself: fleet.wait(*ids).")
    return split(ref, {}, "the fleet")[0]


class Index(Generic[R]):
    """The rows of one moment, by each of their identifiers; built when first asked."""

    __slots__ = ("_maps", "_rows")

    def __init__(self, rows: Sequence[R]) -> None:
        self._rows = rows
        self._maps: dict[str, tuple[dict[object, R], bool]] = {}

    def matches(self, ref: object) -> list[R]:
        """Return the rows it may mean, by the first kind of identifier that has any.

        The order is the service's: id, uuid, app id, instance id, name. Blanks and invisible
        characters around it, as pasting adds them, are not of it, unless there is such a row; nor
        is the spelling of an id.
        """
        identifier = identifier_of(ref)
        bare = trimmed(identifier)
        return self._called(identifier) or self._called(bare) or self._called(canonical(bare))

    def _called(self, identifier: str) -> list[R]:
        for kind in _KINDS if identifier else ():
            by_value, unique = self._by(kind)
            if identifier in by_value:
                if unique:
                    return [by_value[identifier]]
                value_of = attrgetter(kind)
                return [row for row in self._rows if value_of(row) == identifier]
        return []

    def find(self, ref: Ref) -> R:
        """Return the one row it means; see `Snapshot.find`."""
        identifier = identifier_of(ref)
        found = self.matches(identifier)
        if len(found) == 1:
            return found[0]
        if found:
            raise self._ambiguous(identifier, found)
        raise self._unknown(identifier)

    def _by(self, kind: str) -> tuple[dict[object, R], bool]:
        """Return the rows by one kind of identifier, and whether it is unique."""
        if kind not in self._maps:
            by_value = dict(zip(map(attrgetter(kind), self._rows), self._rows, strict=True))
            self._maps[kind] = by_value, len(by_value) == len(self._rows)
        return self._maps[kind]

    def _ambiguous(self, identifier: str, found: list[R]) -> AmbiguousCvm:
        listed = ", ".join(f"{_text(r.cvm.name)} ({r.id})" for r in found[:_SHOWN])
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        return AmbiguousCvm(
            f"{quoted(identifier)} names {len(found)} CVMs: {listed}{more}",
            hint="Use the id of the one you mean.",
        )

    def _unknown(self, identifier: str) -> UnknownCvm:
        names = {_text(row.cvm.name): str(row.cvm.name) for row in self._rows}
        near = get_close_matches(_text(identifier), names, n=3, cutoff=0.6)
        if near:
            hint = f"Did you mean {' or '.join(quoted(names[name]) for name in near)}?"
        elif self._rows:
            hint = "Give a name, an id, a uuid, an app id or an instance id of this workspace."
        else:
            hint = "The fleet has no CVMs."
        return UnknownCvm(f"there is no CVM {quoted(identifier)} in the fleet", hint=hint)


def _text(value: object) -> str:
    return clean_text(value, _LONGEST)
