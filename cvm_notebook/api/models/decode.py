"""Decoding of answers into models; an error names the place of what is wrong.

A wrong row costs that row only: the others of the page survive.
"""

import re
import sys
import threading
from collections.abc import Iterable
from operator import attrgetter
from typing import Any, Final, TypeVar

import msgspec
from msgspec import structs

from cvm_notebook.api.errors.tree import DecodeError
from cvm_notebook.api.models.cvm import Cvm
from cvm_notebook.api.secret import Secret
from cvm_notebook.text import clean_text

T = TypeVar("T")

_HINT: Final = (
    "The service, or a proxy before it, answered in another shape than the API describes; "
    "client.get(path) gives the answer as sent."
)
# msgspec.DecodeError is a ValueError; a bomb of brackets ends in RecursionError.
_BROKEN: Final = (ValueError, RecursionError)


_NOTHING: Final = (b"", b"null")

# Building a decoder is dear, using it is not. (A cached function would not take a type[T].)
_DECODERS: Final[dict[Any, msgspec.json.Decoder[Any]]] = {}
# While msgspec looks at the fields of a Struct for the first time, another thread that meets that
# Struct sees it half done, and the process crashes. So one looks at a time.
_building: Final = threading.Lock()


def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    """Return the one decoder of a type."""
    found = _DECODERS.get(kind)
    if found is None:
        with _building:
            found = _DECODERS[kind] = msgspec.json.Decoder(kind, dec_hook=_seal)
    return found


def _seal(kind: type, value: object) -> object:
    """Convert a text to a Secret, where the model has one; a decoding hook of msgspec.

    That is `object`, too, which is as it was sent.
    """
    if kind is not Secret:
        return value
    if isinstance(value, str):
        return Secret(value)
    raise ValueError(f"Expected `str`, got `{type(value).__name__}`")  # the value is not named


def decode(body: bytes | str, kind: type[T], where: str) -> T:
    """Decode an answer.

    Parameters
    ----------
    body
        JSON.
    kind
        What it should be.
    where
        What was read, for the error: ``GET /cvms/cvm_1``.

    Raises
    ------
    DecodeError
        It is not JSON, or not of that shape; ``path`` says where in it.
    """
    try:
        value: T = _decoder(kind).decode(body)
    except _BROKEN as error:
        raise _fault(error, body, where) from None
    return value


def decode_accepted(body: bytes, kind: type[T], where: str) -> T:
    """Decode the answer to a change; of an empty one, or ``null``, all fields have their defaults.

    With 202 the service may say nothing more than that: the change was accepted all the same.
    """
    return kind() if body.strip() in _NOTHING else decode(body, kind, where)


def convert(value: object, kind: type[T], where: str) -> T:
    """Give a value that is decoded already its type; raises as `decode` does."""
    _decoder(kind)  # so that nothing is built here
    try:
        return msgspec.convert(value, kind, dec_hook=_seal)
    except _BROKEN as error:
        raise _fault(error, b"", where) from None


def _fault(error: Exception, body: bytes | str, where: str, root: str = "$") -> DecodeError:
    """Return our error for one of msgspec's, which shows types and places but no values."""
    what, _, place = str(error).partition(" - at `$")
    path = root + clean_text(place.rstrip("`"), 160)
    if isinstance(error, RecursionError):
        what = "it is nested too deep"
    elif not isinstance(error, msgspec.ValidationError):
        start = body[:64].lstrip()
        what = "it is empty" if not start else what
        what = "it is HTML, not JSON" if start[:1] in (b"<", "<") else what
    at = "" if path == "$" else f" at {path}"
    return DecodeError(
        f"{where} cannot be read: {clean_text(what, 160)}{at}", where=where, path=path, hint=_HINT
    )


# --- many rows, of which some may be wrong -----------------------------------------------------

# Strings as wholes, so that brackets inside them do not count.
_TOKEN: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[][{}:,]', re.DOTALL)


def _members(body: bytes) -> tuple[list[tuple[bytes, int, int]], int]:
    """Return name, start and end of each member of the outermost container, and its own end.

    Only strings and brackets are looked at, without recursion: a member that is no valid JSON,
    or nested a million deep, is bounded like any other. The end is -1 when there is none.
    """
    found: list[tuple[bytes, int, int]] = []
    depth = start = 0
    name = text = b""
    for token in _TOKEN.finditer(body):
        mark = token[0]
        if mark in b"[{":
            depth += 1
            start = token.end() if depth == 1 else start
        elif depth == 1 and mark == b":":
            name, start = text, token.end()
        elif depth == 1 and mark in b",]}":
            # Nothing at all between the brackets is no member; nothing beside a comma is a bad one.
            if found or name or mark == b"," or body[start : token.start()].strip():
                found.append((name, start, token.start()))
            name, start = b"", token.end()
            if mark != b",":
                return found, token.end()
        elif mark in b"]}":
            depth -= 1
        else:
            text = mark
    return found, -1


def decode_rows(
    body: bytes, kind: type[T], where: str, key: str = "items"
) -> tuple[bytes, tuple[T, ...], tuple[DecodeError, ...]]:
    """Decode the array under a key row by row.

    Returns
    -------
    tuple
        The body with that array empty, the good rows in order, and one error per bad row.
    """
    for name, start, end in _members(body)[0]:
        array = body[start:end]
        if name == f'"{key}"'.encode() and array.lstrip()[:1] == b"[":
            named = [(f"[{i}]", array[a:b]) for i, (_, a, b) in enumerate(_members(array)[0])]
            rows, faults = _each(named, kind, where, f"$.{key}")
            return body[:start] + b"[]" + body[end:], tuple(row for _, row in rows), faults
    return body, (), ()


def decode_map(
    body: bytes, kind: type[T], where: str
) -> tuple[dict[str, T], tuple[DecodeError, ...]]:
    """Decode an object of rows by name; null ones are left out, and a wrong one costs itself."""
    try:
        rows = _decoder(dict[str, kind | None]).decode(body)  # type: ignore[valid-type]
        faults: tuple[DecodeError, ...] = ()
    except _BROKEN as error:
        members, end = _members(body)
        if body.lstrip()[:1] != b"{" or end < 0 or body[end:].strip():
            raise _fault(error, body, where) from None
        named = [(decode(name or b'""', str, where), body[a:b]) for name, a, b in members]
        each, faults = _each(named, kind | None, where, "$.")
        rows = dict(each)
    return {name: row for name, row in rows.items() if row is not None}, faults


def _each(
    named: list[tuple[str, bytes]], kind: Any, where: str, root: str
) -> tuple[list[tuple[str, Any]], tuple[DecodeError, ...]]:
    rows: list[tuple[str, Any]] = []
    faults: list[DecodeError] = []
    for name, text in named:
        try:
            rows.append((name, _decoder(kind).decode(text)))
        except _BROKEN as error:
            faults.append(_fault(error, text, where, root + clean_text(name, 80)))
    return rows, tuple(faults)


_WORDS: Final = ("status", "kms_type", "storage_fs", "base_image", "runner", "manifest_version")
_WORDS_OF_RESOURCE: Final = ("instance_type", "compute_billing_price", "billing_period")
_WORDS_OF_RATE: Final = ("total", "compute", "disk")
_ROW: Final = attrgetter(*_WORDS)
_RESOURCE: Final = attrgetter(*_WORDS_OF_RESOURCE)
_RATE: Final = attrgetter(*_WORDS_OF_RATE)
_MOST: Final = 10_000

# By what is most its own; bounded. A race of two threads costs one copy.
_parts: dict[object, Any] = {}


def share(rows: Iterable[Cvm]) -> None:
    """Intern equal values of freshly decoded rows; nothing else may hold the rows yet."""
    if len(_parts) > _MOST:
        _parts.clear()
    for row in rows:
        _share_parts(row)
        _intern(row, _WORDS, _ROW(row))
        if row.resource is not None:
            _intern(row.resource, _WORDS_OF_RESOURCE, _RESOURCE(row.resource))
        if row.hourly_rate is not None:
            _intern(row.hourly_rate, _WORDS_OF_RATE, _RATE(row.hourly_rate))


def _share_parts(row: Cvm) -> None:
    # Written out: this runs for every row of every page.
    node, image, workspace, creator = row.node_info, row.os, row.workspace, row.creator
    gateway, features = row.gateway, row.features
    if node is not None:
        structs.force_setattr(row, "node_info", _kept(node.device_id, node))
    if image is not None:
        structs.force_setattr(row, "os", _kept(image.os_image_hash, image))
    if workspace is not None:
        structs.force_setattr(row, "workspace", _kept(workspace.id, workspace))
    if creator is not None:
        structs.force_setattr(row, "creator", _kept(creator.id, creator))
    if gateway is not None:
        structs.force_setattr(row, "gateway", _kept(gateway.base_domain, gateway))
    if features is not None:
        structs.force_setattr(row, "features", _kept(features, features))


def _kept(key: object, part: Any) -> Any:
    """Return the equal part that is kept, or keep this one."""
    kept = _parts.get(key)
    if kept == part:
        return kept
    _parts[key] = part
    return part


def _intern(part: Any, names: tuple[str, ...], words: tuple[Any, ...]) -> None:
    for name, word in zip(names, words):  # noqa: B905 - of one length by what they are
        if word.__class__ is str:
            structs.force_setattr(part, name, sys.intern(word))
