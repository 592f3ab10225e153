"""``cvm-notebook autostop``: shut CVMs down by the rules of a file, one look at a time, from cron.

A look tells of the time since the one before it, for guests average their load over 15 minutes:
what idleness was seen is kept in a file between looks, and looks further apart see none.
"""

import argparse
import codecs
import contextlib
import hashlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec
from filelock import FileLock, Timeout

from cvm_notebook.api.errors.tree import CvmError, InvalidInput, WatchTimeout
from cvm_notebook.api.status import status_of
from cvm_notebook.connection import connect
from cvm_notebook.files import write_file
from cvm_notebook.fleet.fleet import Fleet
from cvm_notebook.live.operations.operation import Operation
from cvm_notebook.live.operations.record import as_text
from cvm_notebook.live.rules.autostop import AutoStopTerms
from cvm_notebook.live.rules.occasions import Occasions
from cvm_notebook.live.rules.terms import read_terms
from cvm_notebook.live.store.figures import IDLE_BELOW, Sample, idle_since
from cvm_notebook.live.store.records import Row, Snapshot
from cvm_notebook.text import age_words, clean_text, span_words

OK: Final = 0
FAILED: Final = 1
COULD_NOT_RUN: Final = 2
_LATE: Final = timedelta(minutes=20)  # for a scheduled time: cron runs this every some minutes
_LARGEST: Final = 1 << 20  # bytes of a file of rules
_LARGEST_STATE: Final = 64 << 20
_FIGURES: Final = 60.0  # seconds to wait for figures, and what the rate takes
_ANSWERS: Final = 60.0  # seconds to wait for the service's answers
_NAMED: Final = 120


class _Rule(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A rule as the file has it."""

    where: str
    name: str = ""
    idle: str | None = None
    schedule: str | None = None
    below: str | float = IDLE_BELOW


class _File(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A file of rules."""

    rule: tuple[_Rule, ...]


class _Seen(msgspec.Struct, kw_only=True):
    """The state of one CVM under one rule: when it was looked at, and since when it is idle."""

    at: float
    idle_since: float | None = None


class _Memory(msgspec.Struct, kw_only=True):
    """The state of one rule, kept from one run to the next."""

    looked_at: datetime
    acted: list[str] = []
    seen: dict[str, _Seen] = {}


class _State(msgspec.Struct, kw_only=True):
    """The file between two looks."""

    version: int = 1
    rules: dict[str, _Memory] = {}


class _Refused(Exception):  # noqa: N818 - it ends the command with a line, and is no fault
    """It cannot be done as it is asked for."""


@dataclass(frozen=True, slots=True)
class _Due:
    """A CVM that a rule shuts down now, and why."""

    row: Row
    why: str


def autostop(options: argparse.Namespace) -> int:
    """Look once, shut down what is due, and return the exit code."""
    state: Path = options.state or options.file.with_name(f"{options.file.name}.state.json")
    try:
        rules = _rules(options.file)
        with FileLock(f"{state}.lock", blocking=False):
            return _look(rules, state, options)
    except Timeout:
        return _say(COULD_NOT_RUN, f"another run is at it: {state}.lock is held")
    except _Refused as error:
        return _say(COULD_NOT_RUN, f"could not run: {error}")
    except CvmError as error:
        return _say(COULD_NOT_RUN, f"could not run: {' '.join(str(error).split())}")
    except OSError as error:
        where = f"{error.filename}: " if error.filename is not None else ""
        return _say(COULD_NOT_RUN, f"could not run: {where}{error.strerror or error}")


def _say(code: int, text: str) -> int:
    print(f"cvm-notebook autostop: {text}", file=sys.stderr)
    return code


def _look(rules: Sequence[_Rule], path: Path, options: argparse.Namespace) -> int:
    state = _state_of(path)
    with (
        connect(options.target, read_only=options.dry_run) as client,
        Fleet(client) as fleet,
    ):
        snapshot = fleet.snapshot()
        terms = [_terms(number, rule, snapshot) for number, rule in enumerate(rules, start=1)]
        samples = _measured(fleet, snapshot, terms)
        now = datetime.now(UTC)
        memories: dict[str, _Memory] = {}
        due: dict[str, _Due] = {}
        for rule, term in zip(rules, terms, strict=True):
            key = _key(rule)
            memory = memories[key] = state.rules.get(key) or _Memory(looked_at=now)
            found = _judge(term, memory, snapshot, samples, now)
            summary = _summary(term, memory, snapshot, samples, now)
            print(f"{clean_text(rule.name or term.where, _NAMED)}: {summary}")
            due = {**{one.row.id: one for one in found}, **due}
        asked = _ask(fleet, due.values(), dry_run=options.dry_run)
        failed = [one for one in asked if one.state in {"failed", "unknown", "sent"}]
        if options.dry_run:
            return OK
        # asked again at the next look, which reads first whether they run still
        again = {one.cvm_id for one in failed}
        for memory in memories.values():
            memory.acted = [cvm_id for cvm_id in memory.acted if cvm_id not in again]
        write_file(path, msgspec.json.encode(_State(rules=memories)), private=True)
    return _say(FAILED, f"{len(failed)} were not shut down") if failed else OK


# --- what is due ----------------------------------------------------------------------------------


def _judge(
    terms: AutoStopTerms,
    memory: _Memory,
    snapshot: Snapshot,
    samples: Mapping[str, Sample],
    now: datetime,
) -> list[_Due]:
    """Return what a rule shuts down now; the memory is brought up to date. Pure but for that."""
    running = {row.id: row for row in snapshot.rows if status_of(row.status) == "running"}
    fits = {row.id: row for row in terms.chosen(snapshot) if row.id in running}
    kept = {**fits, **{key: running[key] for key in memory.acted if key in running}}
    seen = {key: _observed(memory.seen.get(key), samples.get(key), terms.below) for key in kept}
    memory.seen = {key: one for key, one in seen.items() if one is not None}
    idle = None if terms.idle is None else terms.idle.total_seconds()
    occasions = Occasions(idle, terms.timetable, memory.looked_at, _LATE, set(memory.acted))
    lengths = {key: _length(memory.seen.get(key)) if key in samples else None for key in kept}
    due = [
        _Due(fits[key], f"under {terms.below:.0%} of CPU for {age_words(lengths[key] or 0.0)}")
        for key in occasions.idle_now(lengths, running)
        if key in fits
    ]
    at, missed = occasions.scheduled(now)
    if at is not None:
        due = [_Due(row, f"scheduled at {_clock(terms, at)}") for row in fits.values()]
    if missed is not None:
        print(f"{terms.where}: missed {_clock(terms, missed)}, as nobody looked", file=sys.stderr)
    memory.looked_at, memory.acted = now, sorted(occasions.acted)
    return due


def _observed(before: _Seen | None, sample: Sample | None, below: float) -> _Seen | None:
    if sample is None:
        return before  # the next sample may reach over this time, too
    covers, highest = sample.since(None if before is None else sample.at - before.at)
    since = None if before is None else before.idle_since
    return _Seen(at=sample.at, idle_since=idle_since(since, sample.at, covers, highest, below))


def _length(seen: _Seen | None) -> float:
    """Return for how long a CVM was idle when it was last looked at."""
    return 0.0 if seen is None or seen.idle_since is None else seen.at - seen.idle_since


def _clock(terms: AutoStopTerms, at: datetime) -> str:
    return "" if terms.timetable is None else terms.timetable.shown(at)


def _summary(
    terms: AutoStopTerms,
    memory: _Memory,
    snapshot: Snapshot,
    samples: Mapping[str, Sample],
    now: datetime,
) -> str:
    """Summarise the CVMs of a rule, and what it waits for."""
    fits = [row for row in terms.chosen(snapshot) if status_of(row.status) == "running"]
    parts = [f"{len(fits)} running"]
    if terms.idle is not None:
        unknown = sum(row.id not in samples for row in fits)
        lengths = [_length(memory.seen.get(row.id)) for row in fits]
        idle = [length for length in lengths if length > 0]
        longest = f", the longest for {age_words(max(idle))}" if idle else ""
        wanted = span_words(terms.idle.total_seconds())
        parts.append(f"{len(idle)} seen idle{longest} (of {wanted})")
        parts += [f"{unknown} without figures"] if unknown else []
    if terms.timetable is not None:
        parts.append(f"next at {terms.timetable.shown(terms.timetable.after(now))}")
    return ", ".join(parts)


# --- asking ---------------------------------------------------------------------------------------


def _measured(
    fleet: Fleet, snapshot: Snapshot, terms: Iterable[AutoStopTerms]
) -> dict[str, Sample]:
    """Return what the guests say now, of those whose idleness counts."""
    wanted = {
        row.id
        for one in terms
        if one.idle is not None
        for row in one.chosen(snapshot)
        if status_of(row.status) == "running"
    }
    if not wanted:
        return {}
    with fleet.measure(wanted):
        fleet.poll.ready(_FIGURES + len(wanted), wanted)
    found = ((key, fleet.store.figures.sample(key)) for key in wanted)
    return {key: sample for key, sample in found if sample is not None}


def _ask(fleet: Fleet, due: Iterable[_Due], *, dry_run: bool) -> list[Operation]:
    asked = []
    for one in due:
        name = clean_text(one.row.name or one.row.id, _NAMED)
        print(f"{'would shut down' if dry_run else 'shutdown'} {name}: {one.why}")
        if not dry_run:
            reason = f"autostop: {one.why}"
            asked.append(fleet.operator.submit("shutdown", one.row, reason=reason))
    for operation in asked:
        with contextlib.suppress(WatchTimeout):
            operation.wait(_ANSWERS, until="accepted")
        if operation.state not in {"accepted", "reached"}:
            print(as_text(operation.record), file=sys.stderr)
    return asked


# --- files ----------------------------------------------------------------------------------------


def _rules(path: Path) -> tuple[_Rule, ...]:
    text = _bytes(path, _LARGEST).removeprefix(codecs.BOM_UTF8)  # as an editor may put it there
    try:
        rules = msgspec.toml.decode(text, type=_File).rule
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        problem = " ".join(str(error).split())
        raise _Refused(f"{path} is not a file of rules: {clean_text(problem, 300)}") from None
    if not rules:
        raise _Refused(f"{path} has no [[rule]]")
    return rules


def _terms(number: int, rule: _Rule, snapshot: Snapshot) -> AutoStopTerms:
    try:
        return read_terms(
            rule.where, snapshot, idle=rule.idle, schedule=rule.schedule, below=rule.below
        )
    except InvalidInput as error:
        name = f" ({clean_text(rule.name, 60)})" if rule.name else ""
        raise _Refused(f"rule {number}{name}: {' '.join(str(error).split())}") from None


def _key(rule: _Rule) -> str:
    """Return what a rule is remembered by: whatever is changed in it, it begins anew."""
    return hashlib.sha256(msgspec.json.encode(rule)).hexdigest()[:16]


def _state_of(path: Path) -> _State:
    try:
        return msgspec.json.decode(_bytes(path, _LARGEST_STATE), type=_State)
    except FileNotFoundError:
        return _State()
    except (msgspec.DecodeError, RecursionError):
        problem = f"{path} is not what an earlier run wrote; delete it to begin anew"
        raise _Refused(problem) from None


def _bytes(path: Path, most: int) -> bytes:
    with path.open("rb") as file:
        text = file.read(most + 1)
    if len(text) > most:
        raise _Refused(f"{path} has more than {most >> 20} MiB")
    return text
