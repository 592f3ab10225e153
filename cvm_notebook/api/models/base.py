"""Base classes of the models: tolerant fields, money as Decimal, time as aware datetime."""

import datetime as dt
import math
import re
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, TypeVar

import msgspec

from cvm_notebook.api.secret import Secret, masked

T = TypeVar("T")

# Beyond 2**53 a number is no count of anything; refusing it here keeps int64 columns whole.
Int = Annotated[int, msgspec.Meta(ge=-(2**53), le=2**53)]

if TYPE_CHECKING:
    Rows = tuple[T, ...]
    Money = Decimal | None
else:
    # On the wire a list may be null and money may be anything; Tidy makes them what they seem.
    Rows = tuple[T, ...] | None
    Money = Any


class Model(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An answer of the service: frozen; what it did not say is None."""


class Tidy(Model, frozen=True, kw_only=True, gc=False):
    """A model whose null lists become empty and whose money becomes Decimal.

    Not for the rows of a fleet: those stay as they were sent, for speed.
    """

    money_fields: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        set_field = msgspec.structs.force_setattr
        for name, default in zip(self.__struct_fields__, self.__struct_defaults__, strict=True):
            value = getattr(self, name)
            if value is None and default == ():
                set_field(self, name, ())
            elif name in self.money_fields:
                set_field(self, name, money(value))


class Guarded:
    """Of a model with Secrets in it: it is pickled without them, as a file is no place for one."""

    __slots__ = ()
    __struct_fields__: ClassVar[tuple[str, ...]]

    def __reduce__(self) -> tuple[Any, ...]:
        fields = {name: getattr(self, name) for name in self.__struct_fields__}
        kept = {name: masked(v) for name, v in fields.items() if not isinstance(v, Secret)}
        return _revive, (type(self), kept)


def _revive(kind: type[T], fields: dict[str, Any]) -> T:
    return kind(**fields)


_LARGEST: Final = 18  # digits before or after the point; no price has more


def money(value: object) -> Decimal | None:
    """Return an amount as Decimal; None for what is no finite, believable amount.

    Never raises: "NaN", "1,23" and "1e999999" give None.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        return None
    text = str(value).strip()
    if len(text) > 3 * _LARGEST or not text.isascii() or "_" in text:
        return None
    try:
        amount = Decimal(text)
    except InvalidOperation:
        return None
    if not amount.is_finite() or abs(amount.adjusted()) > _LARGEST:
        return None
    return amount or Decimal(0)  # "-0" is no debt


_MILLISECONDS: Final = 1e11  # as seconds this is the year 5138


def instant(value: object) -> dt.datetime | None:
    """Return a time of the service as aware UTC datetime; None when it cannot be read.

    Reads ISO 8601 (without a zone it is UTC) and seconds or milliseconds since 1970.
    """
    try:
        if isinstance(value, str) and not value.strip().isdigit():
            return _utc(dt.datetime.fromisoformat(value.strip()))
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            number = float(value)
            if math.isfinite(number):
                number = number / 1000 if abs(number) >= _MILLISECONDS else number
                return dt.datetime.fromtimestamp(number, dt.UTC)
    except (ValueError, OverflowError, OSError):
        pass
    return None


def _utc(at: dt.datetime) -> dt.datetime:
    return at.replace(tzinfo=dt.UTC) if at.tzinfo is None else at.astimezone(dt.UTC)


_AMOUNT: Final = re.compile(r"(\d{1,9})\s*([a-z]+)\s*")
# the units of Rust's humantime, in which the service tells uptimes
_SECONDS: Final = {
    **dict.fromkeys(("y", "year", "years"), 31_557_600),
    **dict.fromkeys(("month", "months"), 2_630_016),
    **dict.fromkeys(("w", "week", "weeks"), 604_800),
    **dict.fromkeys(("d", "day", "days"), 86_400),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3_600),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1),
    **dict.fromkeys(("ms", "us", "ns"), 0),
}
_LONGEST: Final = 100  # characters of a time that are read


def seconds_of(duration: str | None) -> int | None:
    """Read ``1day 2h 3m 4s``; None for what is no time, such as ``never``."""
    text = (duration or "").strip().lower()[:_LONGEST]
    total, at = 0, 0
    while found := _AMOUNT.match(text, at):
        seconds = _SECONDS.get(found[2])
        if seconds is None:
            return None
        total, at = total + int(found[1]) * seconds, found.end()
    return total if text and at == len(text) else None


def shown(url: str | None) -> str | None:
    """Cut from an address what may carry a token: its query, its fragment, a user's name."""
    if url is None or not ("?" in url or "#" in url or "@" in url):
        return url
    scheme, slashes, rest = url.partition("?")[0].partition("#")[0].partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{slashes}{host.rpartition('@')[2]}{slash}{path}"
