"""Conditions on a row: one field, one comparison, checked values; missing is neither yes nor no."""

import fnmatch
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from math import isfinite, isnan
from typing import Any, Final, TypeAlias

from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.api.models.base import seconds_of
from cvm_notebook.api.scalars import plain
from cvm_notebook.api.times import moment_of
from cvm_notebook.live.columns import Column, Context, Kind, closest, haystack
from cvm_notebook.live.store.records import Row
from cvm_notebook.text import clean_text

Match: TypeAlias = Callable[[str], bool]


def like(pattern: str) -> Match:
    r"""Compile a LIKE pattern: % is any text, _ any one character, \ makes the next one plain."""
    return _compiled(pattern, many="%", one="_", escape="\\")


def glob(pattern: str) -> Match:
    """Compile a glob: * is any text, ? any one character; nothing else is special."""
    return _compiled(pattern, many="*", one="?")


def is_glob(text: str) -> bool:
    """Return whether a text has a glob's characters."""
    return "*" in text or "?" in text


def _compiled(pattern: str, *, many: str, one: str, escape: str = "") -> Match:
    """Compile a pattern by fnmatch, whose atomic groups never backtrack: a name may be hostile."""
    parts, plain = [], False
    for character in pattern:
        if character == escape and not plain:
            plain = True
            continue
        if not plain and character in {many, one}:
            parts.append("*" if character == many else "?")
        else:
            parts.append(f"[{character}]" if character in "*?[" else character)
        plain = False
    if plain:  # a last escape has nothing to make plain
        parts.append(escape)
    match = re.compile(fnmatch.translate("".join(parts))).match
    return lambda text: match(text) is not None


# True, False, or None where the row does not say: as in SQL, `not` leaves that as it is.
Test: TypeAlias = Callable[[Row, Context], bool | None]
# A time may be relative to now, so it is computed at each evaluation.
Wanted: TypeAlias = Callable[[Context], Any]

COMPARE: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "=": operator.eq,
    "==": operator.eq,
    "!=": operator.ne,
    "<>": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_ALIKE: Final = frozenset({"=", "==", "!=", "<>"})
_NUMBER: Final = re.compile(r"[+-]?\d{1,18}(?:\.\d{0,18})?\Z", re.ASCII)
_AGO: Final = re.compile(r"(.{1,60}?)\s+ago\Z", re.IGNORECASE)
_LONGEST_AGO: Final = 86_400 * 366 * 100


@dataclass(frozen=True, slots=True)
class Misfit(Exception):  # noqa: N818 - it is turned into an error by who knows the place
    """A value does not fit its column."""

    problem: str
    remedy: str | None = None


def compare(column: Column, sign: str, raw: str) -> Test:
    """Compare a field with a value as it was written.

    Raises
    ------
    Misfit
        The value is not of the field's kind, or the field has no order.
    """
    if column.words and sign not in _ALIKE:
        raise Misfit(f"{column.name} has no order", "Compare it with = or !=, or use in (...).")
    if column.kind is Kind.FLAG and sign not in _ALIKE:
        raise Misfit(f"{column.name} is true or false", "Compare it with = or !=.")
    wanted = read_value(column, raw)
    return _compared(column, COMPARE[sign], wanted)


def among(column: Column, raws: Iterable[str]) -> Test:
    """Ask whether a field is one of several values."""
    wanted = [read_value(column, raw) for raw in raws]
    read = column.value
    if column.kind.is_time:
        return either([_compared(column, operator.eq, one) for one in wanted])
    values = frozenset(one(_NOWHERE) for one in wanted)

    def test(row: Row, context: Context) -> bool | None:
        value = read(row, context)
        return None if value is None else value in values

    return test


def resembles(column: Column, pattern: str) -> Test:
    """Ask whether a text is like a pattern, whatever the case."""
    return _matched(column, like(pattern.casefold()))


def globbed(column: Column, pattern: str) -> Test:
    """Ask whether a text fits a glob, whatever the case."""
    return _matched(column, glob(pattern.casefold()))


def missing(column: Column) -> Test:
    """Ask whether the row does not say."""
    read = column.value
    return lambda row, context: read(row, context) is None


def says(words: Iterable[str]) -> Test:
    """Ask whether all words occur somewhere in what a row is called and is; * is any text."""
    folded = [word.casefold() for word in words]
    plain = [word for word in folded if "*" not in word]
    globs = [_compiled(word, many="*", one="") for word in folded if "*" in word]

    def test(row: Row, context: Context) -> bool:
        text = haystack(row, context)
        if not all(word in text for word in plain):
            return False
        return not globs or all(any(map(fits, text.split("\n"))) for fits in globs)

    return test


def negate(test: Test) -> Test:
    """Turn yes into no, and leave what the row does not say."""

    def negated(row: Row, context: Context) -> bool | None:
        answer = test(row, context)
        return None if answer is None else not answer

    return negated


def both(tests: list[Test]) -> Test:
    """Ask for all of them."""
    return tests[0] if len(tests) == 1 else _joined(tests, decisive=False)


def either(tests: list[Test]) -> Test:
    """Ask for any of them."""
    return tests[0] if len(tests) == 1 else _joined(tests, decisive=True)


def given(column: Column, value: object) -> Test:
    """Ask for a value as Python or pandas has it: None is missing, a list any of its values.

    Raises
    ------
    Misfit
        The value is not of the field's kind.
    """
    value = plain(value)
    if value is None or (isinstance(value, float) and isnan(value)):
        return missing(column)
    if isinstance(value, str):
        if column.kind.is_text and is_glob(value):
            return globbed(column, value)
        return compare(column, "=", value)
    if isinstance(value, Iterable) and not isinstance(value, bytes | Mapping):
        return either([given(column, one) for one in value] or [_never])
    return _compared(column, operator.eq, _python_value(column, value))


def read_value(column: Column, raw: str) -> Wanted:
    """Read a value as it was written, by the field's kind."""
    if column.kind.is_text:
        return _always(_word(column, raw) if column.words else raw)
    if column.kind is Kind.FLAG:
        if raw.lower() not in ("true", "false"):
            raise Misfit(f"{column.name} is true or false, not {_shown(raw)}")
        return _always(raw.lower() == "true")
    if column.kind.is_number:
        read = _share if column.unit == "share" else _number
        return _always(read(column, raw))
    return _moment(column, raw)


def _word(column: Column, raw: str) -> str:
    word = raw.strip().lower()
    known = {one.lower(): one for one in column.words}
    if word in known:
        return known[word]
    parsed = column.parse(word) if column.parse else None
    if parsed is not None and parsed != "unknown":
        return str(parsed)
    remedy = closest(word, column.words) or f"It is one of {', '.join(column.words)}."
    raise Misfit(f"{column.name} is never {_shown(raw)}", remedy)


def _number(column: Column, raw: str) -> Decimal:
    text = raw.strip()
    if _NUMBER.match(text):
        return Decimal(text)
    seconds = seconds_of(text) if column.unit == "seconds" else None
    if seconds is not None:
        return Decimal(seconds)
    raise Misfit(f"{column.name} is a number, not {_shown(raw)}", _UNITS[column.unit])


def _share(column: Column, raw: str) -> Decimal:
    """Read ``10%`` or ``0.1``; a plain 10 is more likely to mean 10% than ten times of all."""
    text = raw.strip()
    number = text.removesuffix("%").rstrip()
    if not _NUMBER.match(number) or (number == text and abs(Decimal(number)) > 1):
        raise Misfit(f"{column.name} is a share, not {_shown(raw)}", _UNITS["share"])
    return Decimal(number) if number == text else Decimal(number) / 100


_UNITS: Final = {
    "": None,
    "seconds": "Write seconds, or 90m, 24h, '1d 12h'.",
    "share": "Write 10% or 0.1.",
}


def _moment(column: Column, raw: str) -> Wanted:
    text = raw.strip()
    if text.lower() == "now":
        return lambda context: context.taken_at
    ago = _AGO.match(text)
    seconds = seconds_of(ago[1]) if ago else None
    if seconds is not None and seconds <= _LONGEST_AGO:
        return lambda context: context.taken_at - timedelta(seconds=seconds)
    try:
        at = None if text.isdigit() else datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is not None:
        return _in_utc(column, at)
    duration = seconds_of(text) is not None
    remedy = f"Write '{text} ago'." if duration else "Write '2026-06-23', or '24h ago'."
    raise Misfit(f"{column.name} is a time, not {_shown(raw)}", remedy)


def _python_value(column: Column, value: object) -> Wanted:
    if column.kind is Kind.FLAG and isinstance(value, bool):
        return _always(value)
    if column.kind.is_number and not isinstance(value, bool):
        if isinstance(value, timedelta) and column.unit == "seconds":
            return _always(Decimal(str(value.total_seconds())))
        if isinstance(value, int) or (isinstance(value, Decimal) and value.is_finite()):
            return _always(value)
        if isinstance(value, float) and isfinite(value):
            return _always(Decimal(str(value)))
    if column.kind.is_time and isinstance(value, date):
        return _in_utc(column, value)
    raise Misfit(f"{column.name} is a {_kind(column)}, not {_shown(value)}")


def _kind(column: Column) -> str:
    if column.kind is Kind.FLAG:
        return "flag: true or false"
    if column.kind.is_time:
        return "time"
    return "number" if column.kind.is_number else "text"


def _in_utc(column: Column, at: date) -> Wanted:
    """Return a moment that was written or given; without a zone it is this machine's time."""
    try:
        return _always(moment_of(column.name, at))
    except InvalidInput as error:
        raise Misfit(error.problem, error.remedy) from None


def _compared(column: Column, sign: Callable[[Any, Any], bool], wanted: Wanted) -> Test:
    read = column.value
    if not column.kind.is_time:
        fixed = wanted(_NOWHERE)

        def test(row: Row, context: Context) -> bool | None:
            value = read(row, context)
            return None if value is None else sign(value, fixed)

        return test

    def test_moment(row: Row, context: Context) -> bool | None:
        value = read(row, context)
        return None if value is None else sign(value, wanted(context))

    return test_moment


def _matched(column: Column, matches: Match) -> Test:
    if not column.kind.is_text:
        raise Misfit(f"{column.name} is not a text", "Compare it with =, <, > or in (...).")
    read = column.value

    def test(row: Row, context: Context) -> bool | None:
        value = read(row, context)
        return None if value is None else matches(value.casefold())

    return test


def _joined(tests: list[Test], *, decisive: bool) -> Test:
    """Ask one after the other until an answer decides."""

    def test(row: Row, context: Context) -> bool | None:
        undecided = False
        for one in tests:
            answer = one(row, context)
            if answer is decisive:
                return decisive
            undecided = undecided or answer is None
        return None if undecided else not decisive

    return test


def _always(value: object) -> Wanted:
    return lambda _: value


def _never(_: Row, __: Context) -> bool:
    return False


_NOWHERE: Final[Any] = None  # for what does not depend on a moment


def _shown(value: object) -> str:
    return repr(clean_text(value, 60))
