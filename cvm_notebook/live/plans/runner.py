"""PlanRunner: sends the rows of a plan, with bounded concurrency and rate, until Ctrl-C."""

import threading
from collections import deque
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final, Literal

from cvm_notebook.api import checks
from cvm_notebook.api.errors.tree import CvmError, InvalidInput
from cvm_notebook.api.resources.lifecycle import BATCH_STOP_SIZE
from cvm_notebook.live.clock import Clock
from cvm_notebook.live.operations.operation import Operation
from cvm_notebook.live.operations.preconditions import Verb
from cvm_notebook.live.operations.record import OperationRecord
from cvm_notebook.live.operations.service import OperationService
from cvm_notebook.live.progress import Bar, progress_bar
from cvm_notebook.live.store.observation import Reading
from cvm_notebook.live.store.records import Row

_FOREVER: Final = 3600.0
_LOOKERS: Final = 2
_MOST_AT_ONCE: Final = 64  # the connections that a client keeps


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionOptions:
    """Options of executing a plan; see `Plan.execute`."""

    concurrency: int = 8
    rate: float | None = None
    progress: bool = True
    until: Literal["accepted", "reached"] = "accepted"
    together: bool = True

    def __post_init__(self) -> None:
        checks.integer("concurrency", self.concurrency, 1, _MOST_AT_ONCE)
        checks.booleans(progress=self.progress, together=self.together)
        checks.one_of("until", self.until, ("accepted", "reached"))
        if self.rate is not None and not checks.seconds("rate", self.rate) > 0:
            raise InvalidInput("rate", f"{self.rate} is not a rate", "CVMs a second, above 0.")


class RateLimiter:
    """A rate limiter: so many a second, evenly, without bursts."""

    def __init__(self, rate: float | None, clock: Clock) -> None:
        self._rate = rate
        self._clock = clock
        self._free_at = clock.monotonic()

    def wait(self) -> float:
        """Return the seconds until the next may go."""
        return max(0.0, self._free_at - self._clock.monotonic())

    def went(self, count: int) -> None:
        """Note that so many went."""
        if self._rate is not None:
            now = self._clock.monotonic()
            # What the clock's coarseness loses is caught up with, but no more than a moment.
            self._free_at = max(self._free_at, now - 1 / self._rate) + count / self._rate


class PlanRunner:
    """One execution of a plan."""

    def __init__(
        self,
        operations: OperationService,
        verb: Verb,
        params: Mapping[str, Any],
        terms: ExecutionOptions,
        plan: str,
    ) -> None:
        self._operations = operations
        self._verb = verb
        self._plan = plan
        self._params = params
        self._terms = terms
        self._pace = RateLimiter(terms.rate, operations.clock)
        self._wakeup = threading.Event()
        self._records: deque[OperationRecord] = deque()
        self._slots: dict[str, int] = {}  # of each operation under way: the number of its request
        self._requests = 0
        self._over = 0
        self._stopped = False
        self._finished = False
        self._error: CvmError | None = None
        self._updated = threading.Event()

    def go(self, rows: Sequence[Row], sent: MutableMapping[str, Operation]) -> None:
        """Send all rows, putting each operation into `sent`, and wait for those in it as well.

        A thread sends and this one waits, so that Ctrl-C cannot come between the sending of a row
        and the note that it was sent.

        Raises
        ------
        KeyboardInterrupt
            What waits to be sent was cancelled; what was sent goes on.
        """
        # A few more than send, so that looking at what was sent does not hold up what is to be.
        self._operations.widen(self._terms.concurrency + _LOOKERS)
        thread = threading.Thread(
            target=self._run, args=(deque(self._parts(rows)), sent), name="cvm-plan", daemon=True
        )
        with self._subscribed():
            before = [one.id for one in sent.values() if not self._is_over(one.record)]
            self._requests = len(before)
            self._slots = dict(zip(before, range(1, len(before) + 1), strict=True))
            self._see_through(thread, len(rows) + len(before))
        if self._error is not None:
            raise self._error

    def _see_through(self, thread: threading.Thread, total: int) -> None:
        """Start the thread that sends, and wait for it with a bar."""
        with progress_bar(self._verb, total, shown=self._terms.progress) as bar:
            try:
                thread.start()
                self._wait(bar)
            finally:
                self._stopped = True
                self._wakeup.set()
                with suppress(RuntimeError):  # Ctrl-C came before it was started
                    thread.join()

    @contextmanager
    def _subscribed(self) -> Iterator[None]:
        """Subscribe to operations for as long as the block lasts."""
        end = self._operations.attach(self._on_record)
        try:
            yield
        finally:
            end()

    def _wait(self, bar: Bar) -> None:
        shown = 0
        while not self._finished:
            self._operations.clock.wait(self._updated, _FOREVER)
            self._updated.clear()
            bar.update(self._over - shown)
            shown = self._over
        bar.update(self._over - shown)

    def _run(self, parts: deque[tuple[Row, ...]], sent: MutableMapping[str, Operation]) -> None:
        """Send part by part; the top of the thread."""
        try:
            while (parts or self._slots) and not self._stopped:
                self._reap()
                self._start(parts, sent)
                self._rest(more=bool(parts))
        except CvmError as error:
            self._error = error
        finally:
            if self._stopped or self._error is not None:
                for operation in list(sent.values()):
                    operation.cancel()
            self._finished = True
            self._updated.set()

    def _parts(self, rows: Sequence[Row]) -> Iterator[tuple[Row, ...]]:
        """Yield what goes into one request."""
        terms = self._terms
        calm = [row for row in rows if not Reading.of_row(row).busy]
        if self._verb != "stop" or not terms.together or len(calm) < 2:  # noqa: PLR2004 - one is no batch
            calm = []
        size = BATCH_STOP_SIZE if terms.rate is None else max(1, int(terms.rate))
        size = min(size, BATCH_STOP_SIZE)
        for first in range(0, len(calm), size):
            yield tuple(calm[first : first + size])
        batched = {row.id for row in calm}
        for row in rows:
            if row.id not in batched:
                yield (row,)

    def _start(self, parts: deque[tuple[Row, ...]], sent: MutableMapping[str, Operation]) -> None:
        while parts and self._free() and not self._pace.wait() and not self._stopped:
            part = parts.popleft()
            if len(part) > 1:
                operations: Sequence[Operation] = self._operations.stop_together(
                    part, plan=self._plan
                )
            else:
                operations = (
                    self._operations.submit(
                        self._verb, part[0], params=self._params, plan=self._plan
                    ),
                )
            sent.update(zip((row.id for row in part), operations, strict=True))
            self._pace.went(len(part))
            self._requests += 1
            alive = [one.id for one in operations if not self._is_over(one.record)]
            self._slots |= dict.fromkeys(alive, self._requests)
            self._count(len(part) - len(alive))

    def _free(self) -> bool:
        return len(set(self._slots.values())) < self._terms.concurrency

    def _count(self, over: int) -> None:
        self._over += over
        if self._terms.progress:
            self._updated.set()

    def _reap(self) -> None:
        """Take note of what is over."""
        self._wakeup.clear()
        while self._records:
            record = self._records.popleft()
            if self._slots.pop(record.id, None) is not None:
                self._count(1)

    def _rest(self, *, more: bool) -> None:
        """Wait until something is over, or the next may go."""
        pause = self._pace.wait() if more and self._free() else _FOREVER
        if (self._slots or more) and not (self._records or self._stopped) and pause > 0:
            self._operations.clock.wait(self._wakeup, pause)

    def _on_record(self, record: OperationRecord) -> None:
        if self._is_over(record):
            self._records.append(record)
            self._wakeup.set()

    def _is_over(self, record: OperationRecord) -> bool:
        return record.done or (self._terms.until == "accepted" and record.state == "accepted")
