"""Searching a fleet: `where` by keywords, `search` by a small safe language, both on rows."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from typing import Any, Final, cast

from lark import Lark, Token, Transformer, UnexpectedInput, UnexpectedToken

from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.live.columns import CALLED, SEARCHED, Column, Context, closest
from cvm_notebook.live.conditions import (
    Misfit,
    Test,
    among,
    both,
    compare,
    either,
    given,
    missing,
    negate,
    resembles,
    says,
)
from cvm_notebook.live.store.records import Row, Snapshot
from cvm_notebook.text import clean_text

_LONGEST: Final = 2_000  # characters
_MOST: Final = 500  # words and signs
_DEEPEST: Final = 30
_SHOWN: Final = 120
_GRAMMAR: Final = r"""
    start: [any_of] [order] [limit]
    any_of: all_of (OR all_of)*
    all_of: one (AND one)*
    ?one: NOT one -> no
        | "(" any_of ")"
        | WORD SIGN value+ -> compared
        | WORD [NOT] (LIKE | ILIKE) value -> like
        | WORD [NOT] IN "(" value ("," value)* ")" -> inside
        | WORD IS [NOT] NULL -> null
        | value+ -> words
    value: WORD | STRING
    order: ORDER BY key ("," key)*
    key: WORD [ASC | DESC]
    limit: LIMIT WORD
    SIGN: "<=" | ">=" | "!=" | "<>" | "==" | "=" | "<" | ">"
    STRING: /'(?:[^']|'')*'/ | /"(?:[^"]|"")*"/
    WORD: /[^\s()=<>!,'"]+/
    %declare AND OR NOT LIKE ILIKE IN IS NULL ORDER BY ASC DESC LIMIT
    %ignore /\s+/
"""
_KEYWORDS: Final = frozenset(
    ("AND", "OR", "NOT", "LIKE", "ILIKE", "IN", "IS", "NULL", "ORDER", "BY", "ASC", "DESC", "LIMIT")
)
_CALLED: Final = (
    *("name", "status", "type", "region", "cpu", "memory", "idle", "cost", "uptime", "trust"),
    *("gpus", "vcpu", "created_at"),
)
_NOT_SEARCHED: Final = frozenset({"month", "month_usd"})  # worked out beside the rows
_SORTED_ONLY: Final = "The table can sort by it: click its heading. Search by cost, in USD an hour."
_COUNT: Final = re.compile(r"\d{1,9}\Z", re.ASCII)


class QueryError(InvalidInput):
    """A search that cannot be understood; the message points at the place."""

    def __init__(self, text: str, position: int, problem: str, remedy: str | None = None) -> None:
        super().__init__("search", problem, remedy)
        self.text = text
        self.position = position

    def __str__(self) -> str:
        begin = max(0, self.position - _SHOWN // 2)
        # One character for one, so that the mark stands under the place.
        line = "".join(c if c.isprintable() else " " for c in self.text[begin : begin + _SHOWN])
        lines = [f"{self.message}.", f"  {line}", f"  {' ' * (self.position - begin)}^"]
        return "\n".join([*lines, self.hint] if self.hint else lines)


@dataclass(frozen=True, slots=True)
class _Key:
    column: Column
    down: bool


class Query:
    """A search, understood once; see `search`."""

    def __init__(self, text: str, test: Test | None, keys: list[_Key], limit: int | None) -> None:
        self.text = text
        self._test = test
        self._keys = keys
        self._limit = limit

    @property
    def ordered(self) -> bool:
        """Whether it asks for an order."""
        return bool(self._keys)

    @property
    def columns(self) -> frozenset[str]:
        """Names of the columns that are named in it."""
        words = _parser().lex(self.text)
        return frozenset(column.name for word in words if (column := _column_of(word)) is not None)

    def rows(self, snapshot: Snapshot) -> tuple[Row, ...]:
        """Return the rows it asks for, in the order it asks for, else in the fleet's."""
        context = Context(snapshot)
        rows = _chosen(snapshot, self._test, context) if self._test else list(snapshot.rows)
        # Each sort keeps the order of the one before: the last key first.
        for key in reversed(self._keys):
            rows = _sorted(rows, key, context)
        return tuple(rows[: self._limit])

    def __repr__(self) -> str:
        return f"<Query {clean_text(self.text, _SHOWN)!r}>"


def search(text: str) -> Query:
    """Understand a search of the fleet.

    Parameters
    ----------
    text
        Words that must all occur in a CVM's name, status, error, region, type, node or identifiers
        (``web us-east running``; with ``*`` for any text it is all of one of these: ``web-*``); or
        conditions on the columns of the fleet frame, by their names or as the table calls them
        (``cost`` is ``charged_usd_h``), joined by
        ``and``, ``or``, ``not`` and parentheses: ``=``, ``!=``, ``<``, ``<=``, ``>``, ``>=``,
        ``like 'us-%'`` (whatever the case, as ``ilike``; ``%`` is any text, ``_`` any one
        character), ``in ('a', 'b')``, ``is null``, ``is not null``. A value with spaces or signs
        stands in quotes. Seconds may be written ``90m`` or ``7 d``, shares ``10%``, times
        ``'2026-06-23'`` or ``'24h ago'``. Then ``order by rate_usd_h desc, name`` and ``limit 20``.
        A column that is missing for a CVM is neither like nor unlike anything, as in SQL.

    Raises
    ------
    QueryError
        It cannot be understood; the message shows where, and what may have been meant.

    Examples
    --------
    >>> search("region like 'us-%' and rate_usd_h > 1 order by rate_usd_h desc limit 20")
    <Query "region like 'us-%' and rate_usd_h > 1 order by rate_usd_h desc limit 20">
    """
    if not isinstance(text, str):
        raise InvalidInput("search", f"it takes a text, not {type(text).__name__}")
    return _understood(text)


@lru_cache(maxsize=256)
def _understood(text: str) -> Query:
    if len(text) > _LONGEST:
        problem = f"it has {len(text):,} characters, of {_LONGEST:,} at most"
        raise QueryError(text, _LONGEST, problem)
    try:
        _bounded(text)
        # The builder makes this of what is parsed; the library's types tell of a tree.
        test, keys, limit = cast(
            "tuple[Test | None, list[_Key], int | None]", _parser().parse(text)
        )
    except _Misplaced as error:
        raise QueryError(text, error.position, error.problem, error.remedy) from None
    except UnexpectedInput as error:
        raise _not_understood(text, error) from None
    return Query(text, test, keys, limit)


def where(snapshot: Snapshot, **conditions: object) -> tuple[Row, ...]:
    """Return the rows that fit every condition.

    Parameters
    ----------
    snapshot
        Of the fleet.
    **conditions
        Columns of the fleet frame, or as the table calls them, and what they are: a value, a text
        with ``*`` and ``?`` for any text and any character, a list of which any fits, or None for
        what is missing.

    Raises
    ------
    InvalidInput
        There is no such column (the message has close ones), or its values are of another kind.
    """
    tests = []
    for name, value in conditions.items():
        column = SEARCHED.get(name) or CALLED.get(name)
        if column is None:
            raise InvalidInput(clean_text(name, 60), "there is no such column", _meant(name))
        try:
            tests.append(given(column, value))
        except Misfit as misfit:
            raise InvalidInput(name, misfit.problem, misfit.remedy) from None
    return tuple(_chosen(snapshot, both(tests), Context(snapshot))) if tests else snapshot.rows


def _chosen(snapshot: Snapshot, test: Test, context: Context) -> list[Row]:
    return [row for row in snapshot.rows if test(row, context)]


def _sorted(rows: list[Row], key: _Key, context: Context) -> list[Row]:
    """Sort by one column; what is missing comes last, up or down."""
    read = key.column.value
    values = [(read(row, context), row) for row in rows]
    there = [pair for pair in values if pair[0] is not None]
    there.sort(key=_first, reverse=key.down)
    return [row for _, row in there] + [row for value, row in values if value is None]


def _first(pair: tuple[Any, Row]) -> Any:
    return pair[0]


def _meant(name: str) -> str:
    """Return what a search may have meant by a column that there is not, in the table's words."""
    if name in _NOT_SEARCHED:
        return _SORTED_ONLY
    listed = f"There are {', '.join(_CALLED)}; fleet_columns() lists all."
    return closest(name, (*SEARCHED, *CALLED)) or listed


class _Misplaced(Exception):  # noqa: N818 - it becomes a QueryError where the text is known
    """Something is wrong at a place."""

    def __init__(self, position: int, problem: str, remedy: str | None = None) -> None:
        super().__init__(problem)
        self.position = position
        self.problem = problem
        self.remedy = remedy


class _Builder(Transformer[Token, Any]):
    """Makes tests of what was parsed, while it is parsed."""

    def start(self, parts: list[Any]) -> tuple[Test | None, list[_Key], int | None]:
        test, keys, limit = parts
        return test, keys or [], limit

    def any_of(self, parts: list[Any]) -> Test:
        return either(_tests(parts))

    def all_of(self, parts: list[Any]) -> Test:
        return both(_tests(parts))

    def no(self, parts: list[Any]) -> Test:
        return negate(parts[-1])

    def compared(self, parts: list[Any]) -> Test:
        name, sign, value, *units = parts
        column = _column(name)
        if units and (not column.unit or any(unit.type == "STRING" for unit in units)):
            remedy = "Expected and, or, or the end; a value with spaces stands in quotes."
            raise _Misplaced(_place(units[0]), f"{_named(units[0])} does not fit here", remedy)
        text = " ".join(map(_plain, (value, *units)))  # 10 %, 7 d, as the table writes them
        return _fitting(value, lambda: compare(column, sign, text))

    def like(self, parts: list[Any]) -> Test:
        name, no, _, value = parts
        test = _fitting(name, lambda: resembles(_column(name), _plain(value)))
        return negate(test) if no else test

    def inside(self, parts: list[Any]) -> Test:
        name, no, _, *values = parts
        for value in values:  # each alone first, so that an error points at the one
            _fitting(value, partial(compare, _column(name), "=", _plain(value)))
        test = among(_column(name), [_plain(value) for value in values])
        return negate(test) if no else test

    def null(self, parts: list[Any]) -> Test:
        name, _, no, _ = parts
        test = missing(_column(name))
        return negate(test) if no else test

    def words(self, parts: list[Token]) -> Test:
        return says([_plain(part) for part in parts])

    def value(self, parts: list[Token]) -> Token:
        return parts[0]

    def order(self, parts: list[Any]) -> list[_Key]:
        return parts[2:]

    def key(self, parts: list[Any]) -> _Key:
        name, way = parts
        return _Key(_column(name), down=way is not None and way.type == "DESC")

    def limit(self, parts: list[Token]) -> int:
        count = parts[1]
        if not _COUNT.match(count):
            raise _Misplaced(_place(count), f"limit takes a count, not {_named(count)}")
        return int(count)


def _tests(parts: list[Any]) -> list[Test]:
    return [part for part in parts if not isinstance(part, Token)]


def _fitting(token: Token, make: Callable[[], Test]) -> Test:
    try:
        return make()
    except Misfit as misfit:
        raise _Misplaced(_place(token), misfit.problem, misfit.remedy) from None


def _column_of(name: str) -> Column | None:
    return SEARCHED.get(name.lower()) or CALLED.get(name.lower())


def _column(name: Token) -> Column:
    column = _column_of(name)
    if column is None:
        problem = f"{_named(name)} is not a column of the fleet"
        raise _Misplaced(_place(name), problem, _meant(name.lower()))
    return column


def _plain(value: Token) -> str:
    """Return what a value says, without its quotes."""
    if value.type != "STRING":
        return str(value)
    quote = value[0]
    return value[1:-1].replace(quote * 2, quote)


def _place(token: Token) -> int:
    return token.start_pos or 0


def _named(token: str) -> str:
    return repr(clean_text(token, 40))


def _keyword(token: Token) -> Token:
    """Tell keywords from words; in quotes they are no keywords."""
    upper = token.upper()
    return Token.new_borrow_pos(upper, token, token) if upper in _KEYWORDS else token


@cache
def _parser() -> Lark:
    return Lark(
        _GRAMMAR,
        parser="lalr",
        lexer="basic",
        maybe_placeholders=True,
        transformer=_Builder(),
        lexer_callbacks={"WORD": _keyword},
    )


def _bounded(text: str) -> None:
    """Refuse what is too long or too deep before it is parsed."""
    open_ = nots = 0
    for count, token in enumerate(_parser().lex(text), start=1):
        open_ += (token.type == "LPAR") - (token.type == "RPAR")
        nots = nots + 1 if token.type == "NOT" else 0
        if max(open_, nots) > _DEEPEST:
            raise _Misplaced(_place(token), f"it goes deeper than {_DEEPEST} levels")
        if count > _MOST:
            raise _Misplaced(_place(token), f"it has more than {_MOST} words and signs")


_WANTED: Final = {
    "SIGN": "a comparison such as = or like",
    "LPAR": "(",
    "RPAR": ")",
    "AND": "and",
    "OR": "or",
    "WORD": "a column or a value",
    "NULL": "null",
    "BY": "by",
    "COMMA": "a comma",
    "$END": "the end",
}


def _not_understood(text: str, error: UnexpectedInput) -> QueryError:
    if not isinstance(error, UnexpectedToken):
        position = error.pos_in_stream or 0
        quoted = text[position : position + 1] in ("'", '"')
        problem = "a quote is not closed" if quoted else "this sign stands for nothing"
        return QueryError(text, position, problem)
    token, accepts = error.token, error.accepts or error.expected
    wanted = [words for name, words in _WANTED.items() if name in accepts]
    remedy = f"Expected {_listed(wanted)}." if wanted else None
    if token.type == "$END":
        return QueryError(text, len(text), "it ends too early", remedy)
    if token.type == "NULL":
        remedy = "Missing is asked for by: is null, is not null."
    elif token.type == "SIGN":
        remedy = "Put a column before the comparison; join conditions by and, or."
    return QueryError(text, _place(token), f"{_named(token)} does not fit here", remedy)


def _listed(words: list[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} or {last}" if most else last
