"""Change notifications: hooks on the thread that writes, observers each on a thread of its own."""

import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Self, TypeAlias

from cvm_notebook.live.store.figures import Measured
from cvm_notebook.live.store.observers import Mailbox, weakly
from cvm_notebook.live.store.records import Change, Gap, Health

ChangeBatch: TypeAlias = tuple[Change, ...] | Gap
StoreEvent: TypeAlias = ChangeBatch | Health | Measured


@dataclass(frozen=True, slots=True)
class Fault:
    """A failure that no call can raise: reported once, and nothing stops for it.

    Attributes
    ----------
    where
        ``observer`` or ``list``.
    what
        What happened, in words.
    """

    where: str
    what: str
    error: BaseException | None = None


class Hook:
    """A callback of this package, notified of changes on the thread that writes, until `close`.

    It must be quick, wait for nothing, and hold strongly only what may live as long as the store.
    """

    def __init__(
        self,
        subscriptions: "Subscriptions",
        callback: Callable[[ChangeBatch], object],
        health: Callable[[Health], object] | None,
        figures: Callable[[Measured], object] | None = None,
    ) -> None:
        self._subscriptions = subscriptions
        self._callback = callback
        self._health = health
        self._figures = figures
        self._failed = False
        self.active = True

    def close(self) -> None:
        """End it: nothing more is delivered, not even what is queued."""
        self.active = False
        self._subscriptions.leave(self)

    def end_with(self, owner: object) -> None:
        """End it when an object is collected."""
        weakref.finalize(owner, weakly(self._lapse)).atexit = False

    def _lapse(self) -> None:
        self.active = False  # and no lock: the collector may run in the middle of anything

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def notify(self, what: StoreEvent) -> None:
        """Call the callback for an event."""
        try:
            self._call(what)
        except Exception as error:  # noqa: BLE001 - a bug must not stop the others
            if not self._failed:
                self._failed = True
                self._report(error)

    def _call(self, what: StoreEvent) -> None:
        if not self.active:
            return
        if isinstance(what, Measured):
            if self._figures is not None:
                self._figures(what)
        elif not isinstance(what, Health):
            self._callback(what)
        elif self._health is not None:
            self._health(what)

    def _report(self, error: BaseException) -> None:
        self._subscriptions.report(
            Fault("observer", f"an observer of the fleet failed: {error!r}", error)
        )


class Subscription(Hook):
    """An observer, notified of changes on a thread of its own, in order, until `close`.

    When its queue is full, one `Gap` takes the place of the queued changes.
    """

    def __init__(
        self,
        subscriptions: "Subscriptions",
        callback: Callable[[ChangeBatch], object],
        health: Callable[[Health], object] | None,
        figures: Callable[[Measured], object] | None = None,
    ) -> None:
        super().__init__(subscriptions, callback, health, figures)
        self._mailbox: Mailbox[StoreEvent] = Mailbox(
            self._call, on_fault=self._report, shorten=_with_gap, size=_size
        )

    def notify(self, what: StoreEvent) -> None:
        """Queue an event."""
        if self._figures is not None or not isinstance(what, Measured):
            self._mailbox.put(what)

    def close(self) -> None:
        """End it: nothing more is delivered, not even what is queued."""
        super().close()
        self._mailbox.close()

    def finish(self, ends: float) -> None:
        """Deliver what is queued until a time of `time.monotonic`, and end it."""
        self._mailbox.finish(ends)
        self.close()


def _size(event: StoreEvent) -> int:
    return len(event) if isinstance(event, tuple) else 1


def _with_gap(events: Iterable[StoreEvent]) -> Iterator[StoreEvent]:
    """Yield a Gap for all changes, the newest health, and whose figures are new."""
    gap: Gap | None = None
    health: Health | None = None
    measured: dict[str, None] = {}
    for one in events:
        if isinstance(one, Health):
            health = one
        elif isinstance(one, Measured):
            measured |= dict.fromkeys(one.cvm_ids)
        else:
            first, last = _span(one)
            gap = Gap(gap.since if gap else first, last, last)
    yield from (one for one in (gap, health) if one is not None)
    if measured:
        yield Measured(tuple(measured))


def _span(batch: ChangeBatch) -> tuple[int, int]:
    """Return the revision before a batch, and that after it."""
    if isinstance(batch, Gap):
        return batch.since, batch.revision
    return batch[0].revision - 1, batch[-1].revision


class Subscriptions:
    """The subscribers of a store, and the queue of events for them.

    `post` belongs under the store's lock, so that the order is the store's; `deliver` does not.
    One thread at a time delivers: another that comes leaves its events to it, and so does a hook
    that writes to the store. Events are therefore always delivered in order.
    """

    def __init__(self, on_fault: Callable[[Fault], object] | None = None) -> None:
        self._lock = threading.Lock()
        self._hooks: tuple[Hook, ...] = ()
        self._waiting: deque[tuple[tuple[Hook, ...], StoreEvent | Fault]] = deque()
        self._delivering = False
        self._on_fault = on_fault

    def join(self, hook: Hook, first: ChangeBatch | None) -> None:
        """Add a subscriber, whose first event is what it missed."""
        with self._lock:
            self._hooks = (*self._hooks, hook)
            if first:
                self._waiting.append(((hook,), first))

    def leave(self, hook: Hook) -> None:
        """Remove a subscriber."""
        with self._lock:
            self._hooks = tuple(one for one in self._hooks if one is not hook)

    def post(self, what: StoreEvent | Fault) -> None:
        """Queue an event for all subscribers."""
        with self._lock:
            self._hooks = tuple(one for one in self._hooks if one.active)
            self._waiting.append((self._hooks, what))

    def deliver(self) -> None:
        """Deliver all that is queued, unless another thread does.

        An interrupt (Ctrl-C in a thread that writes) is raised once all are notified.
        """
        interrupt: BaseException | None = None
        while (following := self._next()) is not None:
            to, what = following
            left = deque(to)
            try:
                if isinstance(what, Fault):
                    self.report(what)
                while left and not isinstance(what, Fault):
                    left.popleft().notify(what)
            except BaseException as error:  # noqa: BLE001 - raised below, after the other subscribers
                interrupt = interrupt or error
            finally:
                with self._lock:
                    if left and not isinstance(what, Fault):
                        self._waiting.appendleft((tuple(left), what))
                    self._delivering = False
        if interrupt is not None:
            raise interrupt

    def finish(self, ends: float) -> None:
        """Deliver to observers what is queued until a time of `time.monotonic`, and no more."""
        for hook in self._hooks:
            if isinstance(hook, Subscription):
                hook.finish(ends)

    def report(self, fault: Fault) -> None:
        """Report a fault."""
        if self._on_fault is not None:
            self._on_fault(fault)

    def _next(self) -> tuple[tuple[Hook, ...], StoreEvent | Fault] | None:
        with self._lock:
            if self._delivering or not self._waiting:
                return None
            self._delivering = True
            return self._waiting.popleft()
