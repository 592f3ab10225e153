"""One CVM's row, from all that was reported of it lately."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from math import inf
from typing import Any, Final, NamedTuple, Self

from msgspec import UNSET, structs

from cvm_notebook.api.models.base import instant, seconds_of
from cvm_notebook.api.models.cvm import Cvm
from cvm_notebook.api.status import MOVING, Phase, phase_of
from cvm_notebook.live.store.observation import Observation
from cvm_notebook.live.store.records import Change, Provenance, Row

# A fact so much younger by receipt is newer, whatever times it carries: the service's clock may
# have been set back, and must not freeze what we know.
HORIZON: Final = 120.0


class Version(NamedTuple):
    """What decides between two facts.

    Attributes
    ----------
    operation
        The start of the operation that the fact reports.
    server
        The service's own time of it.
    moment
        The monotonic time at which it was asked for, or received where it was pushed.
    """

    operation: datetime | None
    server: datetime | None
    moment: float

    @classmethod
    def of(cls, fact: Observation) -> Self:
        """Return the version of a fact."""
        doing = fact.operation
        began = instant(doing.started_at) if doing else None
        return cls(began, fact.server_time, fact.moment)

    @property
    def kind(self) -> int:
        """Facts of one kind have the same things to be compared by."""
        return 2 * (self.operation is not None) + (self.server is not None)


def newer(one: Version, other: Version) -> bool:
    """Return whether one is at least as new as the other."""
    if abs(one.moment - other.moment) <= HORIZON:
        for first, second in ((one.operation, other.operation), (one.server, other.server)):
            if first is not None and second is not None and first != second:
                return first > second
    return one.moment >= other.moment


class LatestByKind:
    """The best fact of each kind about one thing."""

    __slots__ = ("_best",)

    def __init__(self) -> None:
        self._best: dict[int, tuple[Version, Observation]] = {}

    def take(self, version: Version, fact: Observation) -> None:
        """Keep the fact if it is the best of its kind."""
        held = self._best.get(version.kind)
        if held is None or newer(version, held[0]):
            self._best[version.kind] = version, fact

    def winner(self) -> tuple[Version, Observation] | None:
        """Return the newest fact, or None when there was none."""
        with_operation = self._of_pair(3, 2)
        without = self._of_pair(1, 0)
        if with_operation is None or without is None:
            return with_operation or without
        return with_operation if newer(with_operation[0], without[0]) else without

    def _of_pair(self, dated: int, plain: int) -> tuple[Version, Observation] | None:
        one, other = self._best.get(dated), self._best.get(plain)
        if one is None or other is None:
            return one or other
        return one if newer(one[0], other[0]) else other


_AT_REST: Final[frozenset[Phase]] = frozenset({"running", "stopped", "failed", "gone"})
_PROGRESS: Final = ("boot_progress", "boot_error", "shutdown_progress")
_LONG_AGO: Final = Version(None, None, -inf)


def same_word(one: object, other: object) -> bool:
    """Return whether two statuses are one: a watch spells them as its target was spelled."""
    if isinstance(one, str) and isinstance(other, str):
        return one == other or one.lower() == other.lower()
    return one is other


def same_record(new: Cvm, held: Cvm) -> bool:
    """Return whether a record is the one held, but for the compose file, which lists leave out."""
    if new == held:
        return True
    if held.compose_file is None or new.compose_file is not None:
        return False
    return structs.replace(new, compose_file=held.compose_file) == held


def agrees(row: Row) -> bool:
    """Return whether a row says of its state what its own record does."""
    cvm = row.cvm
    if (
        row.error is not None
        or row.status != cvm.status
        or row.in_progress != bool(cvm.in_progress)
    ):
        return False
    doing, recorded = row.operation, cvm.progress
    if doing is None or recorded is None:
        return doing is None and recorded is None
    same_start = doing.started_at == recorded.started_at
    return same_start and doing.correlation_id == recorded.correlation_id


def shows(row: Row, fact: Observation) -> bool:
    """Return whether a row says all that a fact says."""
    for name in ("in_progress", "operation", *_PROGRESS):
        value = getattr(fact, name)
        if value is not UNSET and value != getattr(row, name):
            return False
    if fact.status is not UNSET and not same_word(fact.status, row.status):
        return False
    return fact.cvm is UNSET or same_record(fact.cvm, row.cvm)


def is_plain(fact: Observation, row: Row) -> bool:
    """Return whether a fact can be taken as it is: newest, whole, and as the record has it.

    Such is every entry of a batch status in a quiet fleet. Nothing needs to be remembered of it
    beside the row it makes.
    """
    if not (fact.operation is None and row.operation is None and row.cvm.progress is None):
        return False  # what reports operations is weighed
    if fact.in_progress is not bool(row.cvm.in_progress) or fact.boot_progress is UNSET:
        return False
    if not same_word(fact.status, row.cvm.status) or fact.moment < row.seen.moment:
        return False
    return fact.cvm is UNSET and fact.server_time is None and not fact.error and row.error is None


def take_plain(fact: Observation, row: Row, seen: Provenance, revision: int) -> Row:
    """Return the row that a plain fact makes: the old one, if it says the same."""
    fields = {name: getattr(fact, name) or None for name in _PROGRESS}
    if _has_no_progress(row) and not fact.in_progress and not fact.boot_error:
        # How it came to rest, reported for the first time: nothing has happened. In a large fleet
        # the first batch status would else push everything out of the history.
        for name, value in fields.items():
            object.__setattr__(row, name, value)
    fields |= {"status": row.cvm.status, "in_progress": fact.in_progress}
    return _with(row, fields, fact.uptime or None, seen, revision)


def _has_no_progress(row: Row) -> bool:
    progress = row.boot_progress or row.boot_error or row.shutdown_progress
    return not progress and phase_of(row.status) in _AT_REST


class Known:
    """What was reported of one CVM in the last minutes, by subject."""

    __slots__ = ("_at_rest", "_errors", "_operation", "_progress", "_record", "_status", "latest")

    def __init__(self, row: Row, listed: float) -> None:
        """Begin with what a row says, and the moment at which its record was listed."""
        self._record, self._status = LatestByKind(), LatestByKind()
        self._progress, self._operation = LatestByKind(), LatestByKind()
        self._errors: tuple[float, str | None] = (-inf, row.error)
        self._at_rest: dict[Phase, float] = {}  # when it was last reported so
        self.latest = -inf
        self.take(Observation.of_cvm(row.cvm, received=min(listed, row.seen.moment), source="list"))
        if row.error is not None:
            self._errors = (self.latest, row.error)
        stands = _as_it_stands(row)
        if row.source == "list":
            self._progress.take(_LONG_AGO, stands)
        else:
            self.take(stands)

    def take(self, fact: Observation) -> None:
        """Take what a fact says, if it is not known better."""
        version = Version.of(fact)
        self.latest = max(self.latest, version.moment)
        if version.moment >= self._errors[0]:
            self._errors = version.moment, fact.error or None
        if fact.cvm is not UNSET:
            self._record.take(version, fact)
        if fact.status is not UNSET:
            self._status.take(version, fact)
            phase = phase_of(fact.status)
            if phase in _AT_REST and fact.in_progress is not True:
                self._at_rest[phase] = max(self._at_rest.get(phase, -inf), version.moment)
        if fact.boot_progress is not UNSET:
            self._progress.take(version, fact)
        if fact.in_progress is not UNSET:
            self._operation.take(version, fact)

    def row(self, old: Row, seen: Provenance, revision: int) -> Row:
        """Return the row as it follows from all of it: the old one, if that says it already."""
        cvm = self._best_record(old)
        status = self._status.winner()
        word = status[1].status if status else cvm.status
        word = cvm.status if same_word(word, cvm.status) else word or None
        fields: dict[str, Any] = {"cvm": cvm, "status": word, "error": self._errors[1]}
        fields |= self._doing(word, status)
        progress = self._progress.winner()
        if progress is None or not self._is_of(progress[1], word):
            return _with(old, fields | dict.fromkeys(_PROGRESS), None, seen, revision)
        fields |= {name: getattr(progress[1], name) or None for name in _PROGRESS}
        return _with(old, fields, progress[1].uptime or None, seen, revision)

    @staticmethod
    def _is_of(fact: Observation, word: str | None) -> bool:
        """Return whether reported progress belongs to this status."""
        return fact.status is UNSET or same_word(fact.status, word)

    def _best_record(self, old: Row) -> Cvm:
        found = self._record.winner()
        cvm = (found and found[1].cvm) or old.cvm
        if same_record(cvm, old.cvm):
            return old.cvm
        if cvm.compose_file is None and cvm.compose_hash == old.cvm.compose_hash is not None:
            return structs.replace(cvm, compose_file=old.cvm.compose_file)
        return cvm

    def _doing(
        self, word: str | None, status: tuple[Version, Observation] | None
    ) -> dict[str, Any]:
        """Return the operation under way; a newer status shows when it has ended."""
        found = self._operation.winner()
        if found is None:
            return {}
        version, fact = found
        doing = {"in_progress": fact.in_progress, "operation": fact.operation or None}
        if status is None or status[0].moment <= version.moment:
            return doing
        phase, then = phase_of(word), phase_of(fact.status or None)
        ended = any(at > version.moment for rest, at in self._at_rest.items() if rest != then)
        if not ended and (phase in {then, "unknown"}):
            return doing
        # of what comes after another status, only a boot is a part of the same operation
        goes_on = phase == "starting" and not ended
        return {
            "in_progress": phase in MOVING,
            "operation": doing["operation"] if goes_on else None,
        }


def runs_anew(old: Row, new: Row) -> bool:
    """Return whether what was proven of a CVM is no longer about what it runs.

    A quote is of one boot of one app compose on one image and machine. Another one of these,
    another status, an operation that begins (what stops, updates or restarts a CVM shows in these
    two), or a shorter uptime than before (it was restarted unseen) makes it a quote of the past.
    What is not reported is taken to be as it was.
    """
    if not same_word(new.status, old.status) or (new.in_progress and not old.in_progress):
        return True
    pairs = zip(_measured(old.cvm), _measured(new.cvm), strict=True)
    if any(was != now for was, now in pairs if was and now):
        return True
    return _is_shorter(new.uptime, old.uptime)


def _is_shorter(uptime: str | None, than: str | None) -> bool:
    if uptime == than:
        return False
    now, before = seconds_of(uptime), seconds_of(than)
    return now is not None and before is not None and now < before


def anew_in(changes: Iterable[Change]) -> set[str]:
    """Return the ids of the CVMs that run something else by some changes, or came or went."""
    return {
        change.row.id
        for change in changes
        if change.before is None or change.after is None or runs_anew(change.before, change.after)
    }


def _measured(cvm: Cvm) -> tuple[str | int | None, ...]:
    """Return what of a record a quote is about."""
    image = cvm.os.os_image_hash if cvm.os else None
    node = cvm.node_info.id if cvm.node_info else None
    return cvm.compose_hash, image, cvm.instance_id, cvm.vm_uuid, node


def _with(
    old: Row, fields: dict[str, Any], uptime: str | None, seen: Provenance, revision: int
) -> Row:
    same = all(getattr(old, name) == value for name, value in fields.items())
    if same and not (old.trust and _is_shorter(uptime, old.uptime)):
        object.__setattr__(old, "uptime", uptime)
        return old
    new = replace(old, **fields, uptime=uptime, seen=seen, revision=revision)
    return replace(new, trust=None) if old.trust and runs_anew(old, new) else new


def _as_it_stands(row: Row) -> Observation:
    return Observation(
        id=row.id,
        status=row.status,
        in_progress=row.in_progress,
        operation=row.operation,
        boot_progress=row.boot_progress,
        boot_error=row.boot_error,
        shutdown_progress=row.shutdown_progress,
        uptime=row.uptime,
        received=row.seen.moment,
        source=row.source,
    )
