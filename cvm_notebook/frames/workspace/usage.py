"""The bill: metered usage, and a comparison of it with rate times time."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, localcontext
from typing import TYPE_CHECKING, Final, NamedTuple

import pandas as pd

from cvm_notebook.api import checks
from cvm_notebook.api.errors.tree import CvmError, InvalidInput, NotFoundError
from cvm_notebook.api.models.apps import AppUsage, UsageRecord
from cvm_notebook.api.money import EXACT, total
from cvm_notebook.api.resources.cvms import Reads
from cvm_notebook.api.scalars import plain
from cvm_notebook.api.times import earlier, moment_of
from cvm_notebook.frames.schema import (
    INSTANT,
    MOMENT,
    MONEY,
    REAL,
    TEXT,
    Field,
    Money,
    Table,
    fixed,
)
from cvm_notebook.frames.workspace.reading import read_each
from cvm_notebook.live.costs.spent import Cost, costs_of
from cvm_notebook.live.store.changelog import Log
from cvm_notebook.text import clean_text, without_zeros

if TYPE_CHECKING:
    from cvm_notebook.api.client import Client

_WEEK: Final = timedelta(days=7)  # what the service takes when no window is given
_CENT: Final = Decimal("0.01")


class _Entry(NamedTuple):
    app_id: str
    record: UsageRecord


USAGE: Final[Table[_Entry]] = Table(
    "usage/1",
    (
        Field("app_id", TEXT, lambda e: e.app_id, "the app"),
        Field("billing_key", TEXT, lambda e: e.record.billing_key, "the service's name of it"),
    ),
    (
        Field("vm_uuid", TEXT, lambda e: e.record.instance_id, "the CVM that was charged"),
        Field("usage_type", TEXT, lambda e: e.record.usage_type, "for what, as compute or storage"),
        Field("event_type", TEXT, lambda e: e.record.event_type, "what made the entry"),
        Field("billed_hour", MOMENT, lambda e: e.record.billing_hour, "the hour it is billed for"),
        Field("began", MOMENT, lambda e: e.record.billing_start, "from when it is billed"),
        Field("ended", MOMENT, lambda e: e.record.billing_end, "until when it is billed"),
        Field("minutes", REAL, lambda e: e.record.duration_minutes, "minutes that were used"),
        Field("cost_usd", MONEY, lambda e: e.record.cost, "US dollars"),
        Field("recorded_at", MOMENT, lambda e: e.record.timestamp, "when it was metered"),
        Field("details", TEXT, lambda e: _cleaned(e.record.details), "in the service's words"),
    ),
)


def _cleaned(text: str | None) -> str | None:
    return None if text is None else clean_text(text)


@USAGE.documents
def usage_frame(
    client: "Client",
    app: str | Iterable[str] | None = None,
    *,
    start: str | date | None = None,
    end: str | date | None = None,
    money: Money = "float",
) -> pd.DataFrame:
    """List what was metered of a workspace, one entry of its bill a row.

    Parameters
    ----------
    client
        Whose workspace it is.
    app
        The app id, or several; when not given, all apps of the workspace that have CVMs. Name one
        whose CVMs are all gone.
    start, end
        Of what time; without a time zone it is this machine's local time. The service takes the
        last seven days when they are not given.
    money
        ``"float"`` or ``"decimal"``, as of `cost_frame`.

    Raises
    ------
    InvalidInput
        The end is not after the start; nothing was sent.
    CvmError
        The use of an app could not be read: half a bill would look like a whole one.

    Examples
    --------
    >>> usage_frame(client).index.names
    FrozenList(['app_id', 'billing_key'])
    """
    reads = checks.instance("client", client, Reads, "Give a Client.")
    apps = _apps(reads, app)
    entries = list(_entries(client, dict.fromkeys(apps, True), start, end))
    return USAGE.frame(entries, money=money)


def _apps(client: Reads, app: str | Iterable[str] | None) -> list[str]:
    if isinstance(app, str):
        return [checks.text("app", app)]
    if app is None:
        return [one.app_id for one in client.list_apps() if one.app_id]
    return [checks.text("app", one) for one in checks.several("app", app, "app ids")]


def _entries(
    client: "Client",
    apps: Mapping[str, bool],
    start: str | date | None,
    end: str | date | None,
) -> Iterator[_Entry]:
    """Yield the records of apps; one that is not expected to be there still may be gone."""

    def read(app_id: str) -> AppUsage:
        return client.get_app_usage(app_id, start=start, end=end)

    for app_id, found in zip(apps, read_each(list(apps), read), strict=True):
        if isinstance(found, NotFoundError) and not apps[app_id]:
            continue
        if isinstance(found, CvmError):
            raise found
        for record in found.usage:
            yield _Entry(app_id, record)


# --- beside the estimate ------------------------------------------------------------------------

VERDICTS: Final = ("agrees", "billed more", "billed less", "not billed", "not known")


@dataclass(slots=True)
class Billed:
    """The metered usage of one CVM in a window, and the estimate of it.

    Attributes
    ----------
    of_type
        US dollars by what they are for; None where the service reported no amount.
    threshold
        The share of the estimate by which both may differ.
    """

    key: str
    app_id: str | None
    start: datetime
    end: datetime
    threshold: Decimal
    estimate: Cost | None = None
    of_type: dict[str, list[Decimal | None]] = field(default_factory=dict)

    def metered(self, *types: str) -> Decimal | None:
        """Return what was billed for these; None where nothing was, or an amount is not known."""
        found = [cost for kind in types or self.of_type for cost in self.of_type.get(kind, ())]
        return None if not found or None in found else total(found)

    @property
    def other(self) -> Decimal | None:
        """The amount billed for anything else than computing and storage."""
        kinds = [kind for kind in self.of_type if kind not in {"compute", "storage"}]
        return self.metered(*kinds) if kinds else None

    @property
    def estimated(self) -> Decimal | None:
        """Rates times the time."""
        return None if self.estimate is None else self.estimate.amount

    @property
    def difference(self) -> Decimal | None:
        """By how much more was billed."""
        billed, guessed = self.metered(), self.estimated
        return None if billed is None or guessed is None else billed - guessed

    @property
    def share(self) -> float | None:
        """That as a share of the estimate."""
        guessed = self.estimated
        if not guessed or self.difference is None:
            return None
        return float(self.difference / guessed)

    @property
    def verdict(self) -> str:
        """Whether both agree, in a word."""
        billed, guessed = self.metered(), self.estimated
        if not self.of_type:
            return "not billed" if guessed is not None and guessed >= _CENT else "agrees"
        if billed is None or guessed is None:
            return "not known"
        if abs(billed - guessed) <= max(_CENT, self.threshold * guessed):
            return "agrees"
        return "billed more" if billed > guessed else "billed less"

    @property
    def note(self) -> str | None:
        """An explanation of the difference."""
        if self.verdict == "agrees":
            return None
        if self.estimate is None:
            return "it was gone before this fleet was watched, so nothing is estimated"
        if self.verdict == "not billed":
            return "the service has metered nothing of it in this time"
        if self.difference is None:
            return "a price is not known"
        seen = self.estimate.basis
        guess = "" if seen == "observed" else f"; the estimate is {seen}, not observed"
        return f"{without_zeros(abs(self.difference.quantize(_CENT)))} USD apart{guess}"


BILL: Final[Table[Billed]] = Table(
    "bill/1",
    (Field("cvm_id", TEXT, lambda b: b.key, "the CVM; its vm_uuid where it is not known here"),),
    (
        Field("name", TEXT, lambda b: b.estimate and b.estimate.cvm.name, "its name"),
        Field("app_id", TEXT, lambda b: b.app_id, "its app"),
        Field("window_start", INSTANT, lambda b: b.start, "the begin of the time"),
        Field("window_end", INSTANT, lambda b: b.end, "its end"),
        Field("metered_usd", MONEY, lambda b: b.metered(), "US dollars that were billed"),
        Field("compute_usd", MONEY, lambda b: b.metered("compute"), "of these, for computing"),
        Field("storage_usd", MONEY, lambda b: b.metered("storage"), "of these, for its disk"),
        Field("other_usd", MONEY, lambda b: b.other, "of these, for anything else"),
        Field("estimate_usd", MONEY, lambda b: b.estimated, "rates times the time; see cost_frame"),
        Field("difference_usd", MONEY, lambda b: b.difference, "billed less estimated"),
        Field("difference", REAL, lambda b: b.share, "that as a share of the estimate"),
        Field(
            "verdict",
            fixed(VERDICTS),
            lambda b: b.verdict,
            "whether both agree to the threshold, or to a cent",
        ),
        Field("basis", TEXT, lambda b: b.estimate and b.estimate.basis, "of the estimate"),
        Field("note", TEXT, lambda b: b.note, "what to make of a difference"),
    ),
)


@BILL.documents
def bill_frame(
    client: "Client",
    log: Log,
    *,
    start: str | date | None = None,
    end: str | date | None = None,
    threshold: float = 0.05,
    money: Money = "float",
) -> pd.DataFrame:
    """Compare the metered usage of each CVM with an estimate by rate times time.

    Parameters
    ----------
    client
        Whose workspace it is.
    log
        What is known of the fleet: ``fleet.store.log()``.
    start, end
        Of what time. The end is the last full hour when not given, since the service meters an
        hour when it is over; the start is seven days before the end.
    threshold
        The share of the estimate by which both may differ: 0.05 is five per cent. A cent is always
        allowed.
    money
        ``"float"`` or ``"decimal"``, as of `cost_frame`.

    Raises
    ------
    InvalidInput
        The end is not after the start, or the threshold is no share.
    CvmError
        The use of an app could not be read.
    """
    checks.instance("log", log, Log, "Give fleet.store.log().")
    until = _full_hour(log.now.taken_at) if end is None else moment_of("end", end)
    since = earlier("end", until, _WEEK) if start is None else moment_of("start", start)
    if until <= since:
        raise InvalidInput("end", "it is not after the start", "Give a later time.")
    reads, share = checks.instance("client", client, Reads, "Give a Client."), _share(threshold)
    # the list of apps has none whose CVMs are all gone, and what they cost is in the bill
    gone = {change.row.app_id: False for change in log.changes if change.row.app_id}
    apps = {**gone, **dict.fromkeys(_apps(reads, None), True)}
    entries = _entries(client, apps, since, until)
    with localcontext(EXACT):
        estimates = costs_of(log, until - since, until)
        found = _matched(log, estimates, _bounded(entries, since, until), share)
        return BILL.frame(found, money=money, start=since.isoformat(), end=until.isoformat())


def _full_hour(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def _share(threshold: object) -> Decimal:
    value = plain(threshold)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        problem = f"{clean_text(repr(threshold), 40)} is not a share"
        raise InvalidInput("threshold", problem, "Give 0.05 for five per cent.")
    return Decimal(str(value))


def _bounded(entries: Iterable[_Entry], start: datetime, end: datetime) -> Iterator[_Entry]:
    """Leave out hours that only touch the window, which the service may send with the others."""
    for entry in entries:
        hour = entry.record.hour
        if hour is None or start <= hour < end:
            yield entry


def _matched(
    log: Log, estimates: Sequence[Cost], entries: Iterable[_Entry], threshold: Decimal
) -> list[Billed]:
    """Return what was billed and estimated of each CVM; what only the service knows comes last."""
    known = {c.row.id: c.row for c in log.changes} | {row.id: row for row in log.now.rows}
    bills: dict[str, Billed] = {}
    named: dict[str, str] = {}
    for cost in estimates:
        cvm_id, row = cost.cvm.cvm_id, known.get(cost.cvm.cvm_id)
        start, end = cost.start, cost.end
        app_id = row.app_id if row is not None else None
        bills[cvm_id] = Billed(cvm_id, app_id, start, end, threshold, cost)
        if row is not None and row.vm_uuid:
            named[row.vm_uuid] = cvm_id
    for app_id, record in entries:
        uuid = record.instance_id or "unknown"
        key = named.get(uuid, uuid)
        hour = record.hour or log.now.taken_at
        bill = bills.setdefault(key, Billed(key, app_id, hour, hour, threshold))
        if bill.estimate is None:
            bill.start, bill.end = min(bill.start, hour), max(bill.end, hour)
        bill.of_type.setdefault(record.usage_type or "other", []).append(record.cost)
    return list(bills.values())
