"""CVM references: one identifier from the forms in which users give it."""

import difflib
import re
import uuid
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, Protocol, TypeAlias
from urllib.parse import quote

from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.api.models.base import Model
from cvm_notebook.text import clean_text, quoted, trimmed


class HasId(Protocol):
    """An object with a CVM's ``id``, such as a handle."""

    @property
    def id(self) -> str | int | None:
        """The CVM's id."""


Ref: TypeAlias = str | uuid.UUID | Mapping[str, Any] | Model | HasId | None

# The service finds a CVM by the value alone, so any of these may hold any kind of identifier.
_IDENTIFIERS: Final = ("id", "app_id", "uuid", "vm_uuid", "instance_id", "cvm_id", "name")
# Of an object, the narrowest first: an app id may mean several CVMs.
_ATTRIBUTES: Final = ("id", "vm_uuid", "instance_id", "app_id")
_HEX40: Final = re.compile(r"(?:app_|instance_|0x)?([0-9a-fA-F]{40})")
_UUID: Final = re.compile(r"[0-9a-fA-F]{32}|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_LONGEST: Final = 256
_REMEDY: Final = "Give its id, uuid, app id, instance id or name, or the Cvm itself."


def split(
    ref: Ref,
    fields: Mapping[str, Any],
    verb: str,
    allowed: Collection[str] = frozenset(),
) -> tuple[str, dict[str, Any]]:
    """Return the identifier of the CVM meant, and the other fields.

    Parameters
    ----------
    ref
        An identifier, the documentation's mapping (``{"id": "my-app", "force": True}``), an object
        with an ``id`` such as a Cvm, or None when the keywords say it.
    fields
        The keywords of the call.
    verb
        The method, for the errors.
    allowed
        The other fields it takes. Their camelCase spellings are taken, too.

    Raises
    ------
    InvalidInput
        No CVM is named, or two are, or a field is unknown or given twice.
    """
    given = dict(_spelled(fields.items(), verb, allowed))
    if isinstance(ref, Mapping):
        for name, value in _spelled(ref.items(), verb, allowed):
            if name in given and not _same(given[name], value):
                raise InvalidInput(name, f"{verb} was given it twice", "Give it once.")
            given[name] = value
    named = {
        name: _identifier(name, given.pop(name), verb)
        for name in _IDENTIFIERS
        if given.get(name) is not None
    }
    if ref is not None and not isinstance(ref, Mapping):
        named["cvm"] = _from_object(ref, verb)
    rest = {name: value for name, value in given.items() if name not in _IDENTIFIERS}
    return _the_one(named, verb), rest


def cvm_path(ref: Ref, fields: Mapping[str, Any], verb: str, below: str = "") -> str:
    """Return the path of a CVM, or of something below it; raises as `split` does."""
    target, _ = split(ref, fields, verb)
    return f"/cvms/{path_segment(target)}{below}"


def path_segment(identifier: object) -> str:
    """Return the identifier as one segment of a URL's path, whatever it holds.

    Raises
    ------
    InvalidInput
        It is empty, a dot segment, too long, or holds control characters.
    """
    if not isinstance(identifier, str):
        return quote(_identifier("id", identifier, "this call"), safe="")
    _check(identifier, "id")
    return quote(identifier, safe="")


def canonical(identifier: str) -> str:
    """Return an identifier as answers spell it: a uuid with dashes, an app or instance id bare.

    The service takes other spellings too: without dashes, with ``app_``, ``instance_`` or ``0x``
    before it, in capitals.
    """
    if (hex40 := _HEX40.fullmatch(identifier)) is not None:
        return hex40[1].lower()
    if _UUID.fullmatch(identifier):
        return str(uuid.UUID(identifier))
    return identifier


def _the_one(named: dict[str, str], verb: str) -> str:
    values = list(dict.fromkeys(named.values()))
    if not values:
        raise InvalidInput("id", f"{verb} needs a CVM", _REMEDY)
    if len(values) > 1:
        listed = ", ".join(f"{name}={_shown(value)}" for name, value in named.items())
        raise InvalidInput("id", f"{verb} was given different identifiers ({listed})", "Give one.")
    return values[0]


def _spelled(
    items: Iterable[tuple[object, Any]], verb: str, allowed: Collection[str]
) -> Iterable[tuple[str, Any]]:
    """Yield the fields in snake_case; an unknown one is refused with the closest known name."""
    known = {*_IDENTIFIERS, *allowed}
    for name, value in items:
        field = name if name in known else snake_case(str(name))
        if not isinstance(field, str) or field not in known:
            raise InvalidInput(
                clean_text(name, 60), f"{verb} takes no such field", _did_you_mean(str(name), known)
            )
        yield field, value


def snake_case(name: str) -> str:
    """Return ``maxRetries`` as ``max_retries``; the JavaScript SDK's spelling is read, too."""
    return re.sub(r"(?<=[a-z0-9])[A-Z]", lambda m: "_" + m[0].lower(), name)


def near_miss(name: str, known: Iterable[str], cutoff: float = 0.75) -> str | None:
    """Return the known name that this one nearly is, or None."""
    near = difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=cutoff)
    return near[0] if near else None


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the advice for a name that is unknown: the nearest known one, or all."""
    meant = near_miss(name, known, cutoff=0.6)
    return f"Did you mean {meant}?" if meant else f"It takes {', '.join(sorted(known))}."


def _same(one: object, other: object) -> bool:
    return type(one) is type(other) and one == other


def _from_object(ref: object, verb: str) -> str:
    if isinstance(ref, str | uuid.UUID):
        return _identifier("id", ref, verb)
    for name in _ATTRIBUTES:
        value = getattr(ref, name, None)
        # API version 2026-01-21 answers actions with id 0, which names no CVM.
        if isinstance(value, str) and value:
            return _identifier(name, value, verb)
    raise InvalidInput("id", f"{verb} cannot tell a CVM from {type(ref).__name__}", _REMEDY)


def _identifier(name: str, value: object, verb: str) -> str:
    if isinstance(value, uuid.UUID):
        return str(value)
    if not isinstance(value, str):
        problem = f"{verb} takes a str here, not {type(value).__name__}"
        raise InvalidInput(name, problem, _REMEDY)
    text = trimmed(value)
    _check(text, name)
    return text


def _check(text: str, name: str) -> None:
    if not text:
        raise InvalidInput(name, "it is empty", _REMEDY)
    if len(text) > _LONGEST:
        raise InvalidInput(name, f"it has {len(text):,} characters; no identifier has", _REMEDY)
    if text in (".", ".."):
        raise InvalidInput(name, f"{_shown(text)} is not an identifier", _REMEDY)
    if any(not c.isprintable() for c in text):
        problem = f"{_shown(text)} holds control or invisible characters"
        raise InvalidInput(name, problem, "Type it anew instead of pasting it.")


def _shown(text: str) -> str:
    return quoted(text, 60)
