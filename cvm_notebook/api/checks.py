"""Checks of arguments, before anything is sent; each refusal says what to give instead."""

import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.api.scalars import plain
from cvm_notebook.api.status import STATUSES, closest_status, is_status
from cvm_notebook.text import clean_text

P = ParamSpec("P")
T = TypeVar("T")


def boolean(field: str, value: object) -> bool:
    """Return True or False; 1 and "yes" are neither."""
    value = plain(value)
    if isinstance(value, bool):
        return value
    raise InvalidInput(field, f"it is {shown(value)}, not True or False", None)


def booleans(**flags: object) -> None:
    """Refuse flags that are neither True nor False: None or "" for `dry_run` must send nothing."""
    for field, value in flags.items():
        boolean(field, value)


def integer(
    field: str, value: object, least: int = 1, most: int | None = None, unit: str = ""
) -> int:
    """Return a whole number within its bounds."""
    bounds = f"{least} to {most}" if most is not None else f"{least} up"
    wanted = f"Give a whole number{f' of {unit}' if unit else ''} from {bounds}."
    value = plain(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidInput(field, f"it is {shown(value)}, not a whole number", wanted)
    if value < least or (most is not None and value > most):
        raise InvalidInput(field, f"{clean_text(value, 40)} is out of range", wanted)
    return value


def text(field: str, value: object) -> str:
    """Return a text that is not blank, without the space around it."""
    if not isinstance(value, str):
        raise InvalidInput(field, f"it is {shown(value)}, not a text", None)
    if not value.strip():
        raise InvalidInput(field, "it is empty", "Give a value, or leave it out.")
    return whole(field, value.strip())


def whole(field: str, value: str) -> str:
    """Return a text that can be sent: one with a lone surrogate cannot."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidInput(field, "it holds a lone surrogate", "Give UTF-8 text.") from None
    return value


def one_of(field: str, value: object, known: Iterable[T]) -> T:
    """Return the one of a few words that is meant; a cell of a frame is no word."""
    found = next((w for w in known if w == value), None) if isinstance(value, str) else None
    if found is None:
        among = f"One of {', '.join(map(str, known))}."
        raise InvalidInput(field, f"it is {shown(value)}, which is not known", among)
    return found


def path(field: str, value: object) -> Path:
    """Return where a file is, from its path; ``~`` is the home folder."""
    remedy = "Give the path of a file."
    if not isinstance(value, str | os.PathLike) or not isinstance(os.fspath(value), str):
        raise InvalidInput(field, f"it is {shown(value)}, not a path", remedy)
    name = whole(field, os.fspath(value))
    if not name.strip() or "\0" in name:
        raise InvalidInput(field, f"it is {shown(name)}, and no file has that name", remedy)
    try:
        return Path(name).expanduser()
    except RuntimeError:  # nobody's home is known
        raise InvalidInput(field, "no home folder is known for its ~", remedy) from None


def function(field: str, value: Callable[P, T] | None) -> Callable[P, T] | None:
    """Return what can be called, or None."""
    if value is None or callable(value):
        return value
    raise InvalidInput(field, f"it is {shown(value)}, which cannot be called", "Give a function.")


def mapping(field: str, value: object) -> Mapping[str, Any]:
    """Return a mapping; an empty one for None."""
    if value is None:
        return {}
    if isinstance(value, Mapping):
        return value
    raise InvalidInput(field, f"it is {shown(value)}, not a mapping", "Give a dict, or keywords.")


def several(field: str, value: object, of: str = "CVMs") -> list[Any]:
    """Return the members of a list, a tuple, a Series or whatever else holds several.

    A text is refused, though Python iterates it: its letters are never meant.
    """
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        problem = f"it is {shown(value)}, not a list of {of}"
        remedy = f"Give [{shown(value)}]." if isinstance(value, str) else "Give a list."
        raise InvalidInput(field, problem, remedy)
    try:
        return list(value)
    except TypeError:  # an array of numpy that has no dimension holds no members
        raise InvalidInput(field, f"it is {shown(value)}, not a list of {of}", None) from None


def instance(field: str, value: object, kind: type[T], remedy: str | None = None) -> T:
    """Return what is of a kind; anything else is refused by name."""
    if isinstance(value, kind):
        return value
    raise InvalidInput(field, f"it is {shown(value)}, not a {kind.__name__}", remedy)


def members(field: str, value: object, kind: type[T], remedy: str | None = None) -> list[T]:
    """Return the members of what holds several of a kind."""
    return [instance(field, one, kind, remedy) for one in several(field, value, kind.__name__)]


def seconds(field: str, value: object) -> float:
    """Return a number of seconds that is not negative."""
    number = _number(value)
    if number is None or not 0 <= number < math.inf:
        raise InvalidInput(
            field, f"it is {shown(value)}, not a number of seconds", "Give 0 or more."
        )
    return number


def share(field: str, value: object) -> float:
    """Return a share from 0 to 1, which may be written as ``10%``."""
    value = plain(value)
    if isinstance(value, str) and re.fullmatch(r"\s*\d{1,3}(\.\d{1,6})?\s*%\s*", value, re.ASCII):
        value = float(value.strip().removesuffix("%")) / 100
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise InvalidInput(field, f"it is {shown(value)}, not a share", "Give 0.1, or '10%'.")
    return float(value)


def wait_seconds(field: str, value: object) -> float:
    """Return how long to wait at most: None and infinity mean as long as it takes."""
    if value is None:
        return math.inf
    number = _number(value)
    if number is None or not number >= 0:  # NaN is not, either
        raise InvalidInput(
            field,
            f"it is {shown(value)}, not a number of seconds",
            "Give 0 or more, or None to wait as long as it takes.",
        )
    return number


def _number(value: object) -> float | None:
    """Return what is a number as one, whatever library it is of; else None."""
    value = plain(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:  # of an integer; infinity is as long
        return math.inf if value > 0 else -math.inf


def status_word(field: str, value: object, *, known: bool = True) -> str:
    """Return a status; one that is nearly a known one is taken for a slip and refused.

    Where `known` is False the service judges words that are like none: there may be new ones.
    """
    word = text(field, value)
    near = None if is_status(word) else closest_status(word)
    if near is not None:
        raise InvalidInput(
            field, f"{shown(word)} is not a status of a CVM", f"Did you mean {near!r}?"
        )
    if known and not is_status(word):
        usual = ", ".join(one for one in STATUSES if one not in {"gone", "unknown"})
        raise InvalidInput(
            field, f"{shown(word)} is not a status of a CVM", f"One of {usual}, deleted."
        )
    return word


def shown(value: object) -> str:
    """Return a value as a refusal names it."""
    if isinstance(value, str):
        return repr(clean_text(value, 40))
    try:
        return clean_text(repr(value), 40)
    except Exception:  # noqa: BLE001 - a repr may do anything
        return f"a {type(value).__name__}"
