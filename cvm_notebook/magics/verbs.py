"""Verbs of ``%cvm``: each calls the fleet's own methods, and returns their objects."""

import re
import shlex
import threading
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from queue import Empty, Queue
from typing import TYPE_CHECKING, Any, Final, Literal, cast

from cvm_notebook._lazy import LOADING
from cvm_notebook.api.errors.tree import CvmError, WatchTimeout
from cvm_notebook.api.resources.logs import LogLine
from cvm_notebook.api.status import phase_of, status_words
from cvm_notebook.fleet.fleet import Fleet
from cvm_notebook.fleet.handle import CvmHandle
from cvm_notebook.fleet.selection import FleetPlan, Selection
from cvm_notebook.live.operations.operation import Operation
from cvm_notebook.live.operations.preconditions import Verb
from cvm_notebook.live.operations.record import OperationRecord, as_text
from cvm_notebook.live.plans.outcome import Outcome
from cvm_notebook.live.query import search, where
from cvm_notebook.live.store.records import Row, Snapshot
from cvm_notebook.magics.apply import apply, update
from cvm_notebook.magics.arguments import ACTIONS, split
from cvm_notebook.magics.session import Session
from cvm_notebook.text import clean_text
from cvm_notebook.widgets.base.log_lines import clean_line

if TYPE_CHECKING:
    import pandas as pd

    from cvm_notebook.attest.verdict import Verdict

Handler = Callable[[Session, Namespace], object]
# one column and its value, as a keyword of `Fleet.where`; not == nor >=
_COST_COLUMNS: Final = ("name", "running_h", "rate_usd_h", "amount_usd")
_CONDITION: Final = re.compile(r"([A-Za-z_]\w*)=((?!=).*)", re.DOTALL)
_LONGEST_S: Final = 3600.0  # an operation is given up on long before
_ANSWER_S: Final = 120.0  # longer than any call of the client's
_LAST_WORDS_S: Final = 2.0
_OVER: Final = frozenset({"stopped", "failed", "gone"})


class NotAllDone(CvmError):  # noqa: N818 - the tree names what happened
    """A plan that failed for some CVMs; `outcome` has each of them."""

    def __init__(self, outcome: Outcome) -> None:
        first, *lines = repr(outcome).splitlines()
        failures = "; ".join(line.strip() for line in lines)
        super().__init__(
            f"{first.strip('<>')}. {failures}".rstrip(". "),
            hint="fleet.operations() has them all.",
        )
        self.outcome = outcome


# --- which cloud ---------------------------------------------------------------------------------


def use(session: Session, args: Namespace) -> None:
    """Set the notebook's `fleet` and `client`."""
    session.use(args.target)


def login(_session: Session, args: Namespace) -> object:
    """Return the sign-in; a profile that was named must be usable."""
    from cvm_notebook.widgets.login import login as sign_in  # noqa: PLC0415 - widgets on demand

    shown = sign_in(args.profile)
    account = getattr(shown, "account", shown)
    if args.profile is not None and account.error is not None:
        raise account.error
    return shown


# --- looking -------------------------------------------------------------------------------------


def ls(session: Session, args: Namespace) -> "pd.DataFrame":
    """Return the selected CVMs as a DataFrame."""
    fleet = session.fleet()
    snapshot = fleet.snapshot()
    rows = _selected(snapshot, args.text.strip())
    session.seen = fleet, snapshot
    return Selection(fleet, snapshot, rows).frame()


def _selected(snapshot: Snapshot, text: str) -> tuple[Row, ...]:
    """Select by ``name=value`` as `Fleet.where` does, several values of a column being any of them.

    Anything else is the search language of `Fleet.search`.
    """
    found = [_CONDITION.fullmatch(word) for word in (split(text) if "=" in text else ())]
    if not found or not all(found):
        return search(text).rows(snapshot)
    conditions: dict[str, list[str]] = {}
    for one in filter(None, found):
        conditions.setdefault(one[1], []).append(one[2])
    return where(snapshot, **conditions)


def show(session: Session, args: Namespace) -> CvmHandle:
    """Return one CVM."""
    return session.fleet()[args.name]


def verify(session: Session, args: Namespace) -> "Verdict":
    """Return what is proven of one CVM, by the policy in a file where one is named."""
    from cvm_notebook.attest.policy.policy import Policy  # noqa: PLC0415 - what judges, on demand

    policy = None if args.policy is None else Policy.from_toml(args.policy)
    return session.fleet()[args.name].verify(policy)


def cost(session: Session, args: Namespace) -> "pd.DataFrame":
    """Return the cost of each CVM, the highest first, in columns that a terminal has room for."""
    frame = session.fleet().cost(args.window)
    return frame.sort_values("amount_usd", ascending=False, kind="stable")[list(_COST_COLUMNS)]


def diff(session: Session, _args: Namespace) -> "pd.DataFrame":
    """Return the differences since the last ls or diff."""
    with LOADING:
        from cvm_notebook.frames import fleet_frame  # noqa: PLC0415 - pandas on demand
        from cvm_notebook.frames.reports.diff import diff as compare  # noqa: PLC0415 - pandas on demand

    fleet = session.fleet()
    seen, now = session.seen, fleet.snapshot()
    if seen is None or seen[0] is not fleet:
        raise CvmError(
            "there is no earlier %cvm ls of this fleet to compare with",
            hint="Run %cvm ls now, and %cvm diff later.",
        )
    session.seen = fleet, now
    return compare(fleet_frame(seen[1], columns="wide"), fleet_frame(now, columns="wide"))


# --- acting --------------------------------------------------------------------------------------


def action(session: Session, args: Namespace) -> "Operation | Outcome | FleetPlan":
    """Act on one CVM or on several; a plan that needs confirmation is returned, and not sent."""
    fleet = session.fleet()
    snapshot = fleet.snapshot()
    rows = {row.id: row for row in map(snapshot.find, args.names)}
    verb = cast("Verb", args.verb)
    params = {"force": True} if getattr(args, "force", False) else {}
    plan = Selection(fleet, snapshot, tuple(rows.values())).plan(verb, **params)
    if plan.phrase is not None and not args.yes:
        options = [f"--{name}" for name in ("force", "wait") if getattr(args, name, False)]
        command = [verb, *map(shlex.quote, args.names), *options, "--yes"]
        print(f"Preview; nothing was sent. To run it: %cvm {' '.join(command)}")
        return plan
    if len(rows) == 1:
        ask = partial(fleet.operator.submit, verb, *rows.values(), params=params)
        return follow(fleet, ask, wait=args.wait)
    until: Literal["accepted", "reached"] = "reached" if args.wait else "accepted"
    try:
        outcome = plan.execute(confirm=plan.phrase, until=until, progress=args.wait)
    except KeyboardInterrupt as stop:
        message = "nothing more is sent; what was sent goes on, and is in fleet.operations()"
        raise interrupted(stop, message) from None
    if not outcome.ok:
        raise NotAllDone(outcome)
    return outcome


def follow(
    fleet: Fleet, ask: Callable[[], Operation], *, wait: bool, name: str | None = None
) -> Operation:
    """Ask for an operation, and follow it to the service's answer or to its end.

    To its end each change is printed in a line.

    Parameters
    ----------
    name
        Of the CVM, where the operation does not know it: a commit only has the app's id.

    Raises
    ------
    CvmError
        It was refused or failed, or nobody can tell what became of it.
    """
    records: Queue[OperationRecord] = Queue()  # as many as the service names steps
    operation: Operation | None = None

    def changed(record: OperationRecord) -> None:
        if operation is None or record.id == operation.id:
            records.put(record)

    end = fleet.operator.attach(changed)  # before it is asked for, to have each change
    try:
        operation = ask()
        if wait:
            _print_changes(operation, records, name)
        else:
            operation.wait(_ANSWER_S, until="accepted")
    except KeyboardInterrupt as stop:
        message = "no longer waiting; what was asked for goes on, and is in fleet.operations()"
        if operation is not None:
            message = f"no longer waiting; it goes on: {as_text(operation.record)}"
        raise interrupted(stop, message) from None
    finally:
        end()
    if operation.done:
        operation.result()
    return operation


def _print_changes(
    operation: Operation, records: "Queue[OperationRecord]", name: str | None
) -> None:
    printed = ""
    try:
        for record in _changes_of(operation, records):
            text = as_text(record, named=name is None)
            if record.state not in {"asked", "sent"} and text != printed:
                printed = text
                print_line(text if name is None else f"{name}  {text}")
            if record.done:
                return
    except Empty:
        operation.wait(0)


def _changes_of(
    operation: Operation, records: "Queue[OperationRecord]"
) -> Iterator[OperationRecord]:
    """Yield the changes there were, where there were none how it stands, and those to come."""
    now = operation.record
    before = [records.get() for _ in range(records.qsize())]
    yield from [one for one in before if one.id == operation.id] or [now]
    while True:
        record = records.get(timeout=_LONGEST_S)
        if record.id == operation.id:
            yield record


# --- waiting and reading -------------------------------------------------------------------------


def watch(session: Session, args: Namespace) -> CvmHandle:
    """Wait until one CVM has a status, each change printed in a line."""
    fleet = session.fleet()
    handle = fleet[args.name]
    try:
        fleet.wait(
            handle.id, status=args.until, timeout=args.timeout, progress=False, on_change=_changed
        )
    except KeyboardInterrupt as stop:
        raise interrupted(stop, f"no longer watching {handle!r}; nothing was done to it") from None
    except WatchTimeout as error:
        error.hint = "Still in progress: run %cvm watch again, or look at its log with %cvm logs."
        raise
    return handle


def _changed(row: Row) -> None:
    cells = (row.name or row.id, status_words(row.status), row.boot_progress or "")
    print_line("  ".join(clean_text(cell, 80) for cell in cells if cell))


class LogLines(list[LogLine]):
    """Lines of a log; displayed as text in which nothing acts."""

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:
        # IPython asks a list for nothing else
        printer.text("\n".join(map(_displayed, self)) or "The log has no such lines.")


def logs(session: Session, args: Namespace) -> LogLines | None:
    """Return the last lines of a log; or print them as they come until the CVM ends, or Ctrl-C."""
    fleet = session.fleet()
    row = fleet.snapshot().find(args.name)
    wanted = {name: getattr(args, name) for name in ("channel", "tail", "since", "timestamps")}
    wanted["container"] = args.container
    if args.follow:
        shown = clean_text(row.name or row.id, 80)
        try:
            _follow(fleet, row, wanted)
            print(f"The log of {shown} has ended.")
        except KeyboardInterrupt:
            print(f"No longer following the log of {shown}.")
        return None
    return LogLines(fleet.client.get_cvm_logs(row.id, **wanted))


def _follow(fleet: Fleet, row: Row, wanted: dict[str, Any]) -> None:
    lines = fleet.client.follow_cvm_logs(row.id, **wanted)
    # a log may stay open for ever when its CVM has ended: its last lines get two seconds
    ending = threading.Timer(_LAST_WORDS_S, lines.close)
    ending.daemon = True
    once = threading.Lock()

    def changed(_batch: object = None) -> None:
        now = fleet.known(row.id)
        over = now is None or (phase_of(now.status) in _OVER and not now.in_progress)
        if over and once.acquire(blocking=False):
            ending.start()

    subscription = fleet.store.attach(changed)
    fleet.keep_fresh([row.id], on=True)
    try:
        changed()
        for line in lines:
            print(_displayed(line), flush=True)
    finally:
        fleet.keep_fresh([row.id], on=False)
        subscription.close()
        ending.cancel()
        lines.close()


def _displayed(line: LogLine) -> str:
    text = clean_line(line.text)
    return f"{text}\x1b[0m" if "\x1b" in text else text  # a colour ends with its line


# --- printed -------------------------------------------------------------------------------------


def print_line(text: str) -> None:
    """Print a line with the time, in UTC as all times in text."""
    print(f"{datetime.now(UTC):%H:%M:%S} UTC  {text}", flush=True)


def interrupted(stop: KeyboardInterrupt, text: str) -> KeyboardInterrupt:
    """Return a KeyboardInterrupt that names what was interrupted, and what goes on."""
    return type(stop)(text)


VERBS: Final[Mapping[str, Handler]] = {
    "use": use,
    "login": login,
    "ls": ls,
    "show": show,
    **dict.fromkeys(ACTIONS, action),
    "update": update,
    "apply": apply,
    "watch": watch,
    "logs": logs,
    "verify": verify,
    "cost": cost,
    "diff": diff,
}
