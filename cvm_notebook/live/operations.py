"""Operations: take what is asked for at once, and see it through on workers of its own."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from threading import Lock
from typing import Any, Final, Self

from cvm_notebook.api.client import Client
from cvm_notebook.api.errors import InvalidInput
from cvm_notebook.api.lifecycle import BATCH_STOP_SIZE
from cvm_notebook.api.models import Provision
from cvm_notebook.api.words import Phase
from cvm_notebook.live.calls import params_of
from cvm_notebook.live.clock import Clock, SystemClock
from cvm_notebook.live.desk import Desk, Hooks, OperationSettings
from cvm_notebook.live.entries import Entries
from cvm_notebook.live.following import Follower
from cvm_notebook.live.ledger import Ledger, wish_of
from cvm_notebook.live.operation import UNSENT, Operation, OperationRecord
from cvm_notebook.live.preconditions import Refused, Verb, check_verb
from cvm_notebook.live.rows import Row
from cvm_notebook.live.seen import Seen
from cvm_notebook.live.sending import Sender, Via
from cvm_notebook.live.store import Batch, Fault, FleetStore
from cvm_notebook.live.turns import Turns
from cvm_notebook.live.workers import Workers

Observer = Callable[[OperationRecord], None]
# What a CVM found in the middle of something was asked to do.
_RECOVERED: Final[Mapping[Phase, Verb]] = {
    "starting": "start",
    "stopping": "stop",
    "shutting_down": "shutdown",
    "restarting": "restart",
    "deleting": "delete",
    "provisioning": "commit",
}


class Operations:
    """Everything asked for of one fleet. Safe to use from any thread.

    Parameters
    ----------
    client
        Sends; it settles by itself what it can of an answer that was lost.
    store
        Where CVMs are seen; one of its own when not given.
    reflector_hooks
        Keeps the rows of CVMs in transition fresh; the operations look for themselves without.
    workers
        Requests at once.
    on_fault
        Told, once each, of an observer that raised.

    Examples
    --------
    >>> with Operations(client) as operations:
    ...     operations.submit("stop", row).result(60).status
    'stopping'
    """

    def __init__(
        self,
        client: Client,
        store: FleetStore | None = None,
        reflector_hooks: Hooks | None = None,
        *,
        clock: Clock | None = None,
        workers: int | None = None,
        settings: OperationSettings | None = None,
        on_fault: Callable[[Fault], None] | None = None,
    ) -> None:
        clock = clock or SystemClock()
        settings = settings or OperationSettings()
        self._on_fault = on_fault
        self._desk = Desk(
            client,
            store or FleetStore(clock),
            reflector_hooks,
            clock,
            settings,
            Ledger(),
            Workers(clock, workers or settings.workers, "cvm-operations", self._crashed),
        )
        self._follower = Follower(self._desk)
        self._sender = Sender(self._desk, self._follower)
        self._lock = Lock()
        self._pid = os.getpid()
        self._entries = Entries(self._desk, self._operation_changed)
        self._closed = False
        self._waiting = 0
        self._observers: tuple[Observer, ...] = ()
        self._faulted: set[int] = set()
        self._turns = Turns(self._desk.store)
        self._subscription = self._desk.store.subscribe(self._store_changed)

    # --- asking ----------------------------------------------------------------------------------

    def submit(
        self,
        verb: Verb,
        row: Row | None,
        *,
        params: Mapping[str, Any] | Provision | None = None,
        delay: float = 0.0,
        expected_revision: int | None = None,
        again: bool = False,
        via: Via | None = None,
    ) -> Operation:
        """Ask for something, and return at once; nothing is sent in the caller's thread.

        What is not possible gives an operation that has failed and says why.

        Parameters
        ----------
        verb
            What to do.
        row
            The CVM as it was shown to whoever asks; None for a commit.
        params
            What the client's method takes beside the CVM: ``force`` of a restart, ``node_id`` of a
            replication, the provision of a commit.
        delay
            Seconds in which it can be cancelled before it is sent.
        expected_revision
            The store's revision that was shown: it is refused when the CVM's status has changed
            since.
        again
            Whether the same wish, asked within a second or while it runs, is another one; else it
            joins the first. Three replicas are three wishes.
        via
            An executor that makes the call.

        Raises
        ------
        InvalidInput
            There is no such verb, or no CVM for it.
        Refused
            Too much waits already, or this is closed.
        """
        operation, is_new = self._admit(
            verb, row, params, expected_revision, again=again, delay=delay
        )
        if is_new and not operation.done:
            send = partial(self._send, operation, via)
            if delay > 0:
                self._desk.workers.later(delay, send)
            else:
                self._desk.workers.do(send)
        return operation

    def stop_together(self, rows: Iterable[Row]) -> tuple[Operation, ...]:
        """Stop up to fifty CVMs with one request; each has an operation of its own."""
        admitted = [self._admit("stop", row, None, None) for row in rows]
        mine = [one for one, is_new in admitted if is_new and not one.done]
        if len(mine) > BATCH_STOP_SIZE:
            raise InvalidInput("rows", f"there are {len(mine)}", f"Up to {BATCH_STOP_SIZE} fit.")
        if mine:
            self._desk.workers.do(partial(self._send_together, mine))
        return tuple(one for one, _ in admitted)

    def recover(self, rows: Iterable[Row]) -> tuple[Operation, ...]:
        """Find the operations that are still running on the service, as after a kernel restart.

        Returns
        -------
        tuple of Operation
            Those that were found and were not known here; they are followed to their end.
        """
        found = []
        for row in rows:
            seen = Seen.of_row(row)
            verb = _RECOVERED.get(seen.phase)
            if verb is None or self._desk.ledger.alive(row.id):
                continue
            wish = wish_of(verb, row.id, {})
            operation, is_new = self._desk.ledger.add(
                wish, self._now(), partial(self._entries.recovered, verb, row)
            )
            if is_new:
                operation.looks.begun = True
                self._follower.follow(operation)
                found.append(operation)
        return tuple(found)

    # --- looking ---------------------------------------------------------------------------------

    @property
    def store(self) -> FleetStore:
        """Where CVMs are seen."""
        return self._desk.store

    @property
    def clock(self) -> Clock:
        """What tells the time."""
        return self._desk.clock

    @property
    def read_only(self) -> bool:
        """Whether everything is refused."""
        return self._desk.client.read_only

    def records(self) -> tuple[OperationRecord, ...]:
        """Return the ledger: every operation as it is now, the oldest first."""
        return self._desk.ledger.records()

    def get(self, operation_id: str) -> Operation | None:
        """Return the operation of that id, if it is still kept."""
        return self._desk.ledger.get(operation_id)

    def alive(self, cvm_id: str | None = None) -> tuple[Operation, ...]:
        """Return the operations that are not done, of one CVM or of all."""
        return self._desk.ledger.alive(cvm_id)

    def subscribe(self, observer: Observer) -> Callable[[], None]:
        """Tell of each change of an operation from now on, until the returned call is made.

        The observer runs on the thread that made the change, and must be quick.
        """
        with self._lock:
            self._observers = (*self._observers, observer)

        def end() -> None:
            with self._lock:
                self._observers = tuple(one for one in self._observers if one is not observer)

        return end

    def use(self, client: Client) -> None:
        """Send with another client from now on, as after a key was refused."""
        self._desk.client = client

    def widen(self, workers: int) -> None:
        """Allow that many requests at once, if that is more than now."""
        self._desk.workers.widen(workers)

    # --- its own life ----------------------------------------------------------------------------

    def close(self, timeout: float = 2.0) -> None:
        """End it within the timeout: what was not sent is cancelled, what was goes on unwatched."""
        with self._lock:
            self._closed = True
        self._subscription.close()
        if os.getpid() == self._pid:
            for operation in self.alive():
                note = "closed before it was sent"
                operation.move(only=UNSENT, state="cancelled", done=True, note=note)
            self._desk.workers.close(timeout)
        for operation in self.alive():
            accepted = operation.state == "accepted"
            operation.move(
                state="accepted" if accepted else "unknown",
                done=True,
                note="it is no longer watched: this was closed",
                hint="A new fleet finds it again if it is still running.",
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{len(self.alive())} under way"
        return f"<Operations: {len(self.records())} asked for, {state}>"

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("Operations are not pickled: they have threads. `records()` can be.")

    # --- within ----------------------------------------------------------------------------------

    def _admit(
        self,
        verb: Verb,
        row: Row | None,
        params: Mapping[str, Any] | Provision | None,
        expected_revision: int | None,
        *,
        again: bool = False,
        delay: float = 0.0,
    ) -> tuple[Operation, bool]:
        """Return the operation of a wish, and whether it is a new one."""
        self._check_open()
        verb = check_verb(verb)
        if row is None and verb != "commit":
            raise InvalidInput("row", f"{verb} was not told which CVM", "Give a row of the fleet.")
        given = params_of(params)
        cvm_id = row.id if row is not None else None
        wish = None if again else wish_of(verb, cvm_id, given)
        make = partial(self._entries.new, verb, row, given, delay)
        operation, is_new = self._desk.ledger.add(wish, self._now(), make)
        if is_new:
            error = self._turns.since(row, expected_revision)
            error = error or self._sender.refusal(verb, row)[1]
            if error is not None:
                operation.move(state="failed", done=True, error=error)
            else:
                self._count(1)
        return operation, is_new

    def _check_open(self) -> None:
        if os.getpid() != self._pid:
            raise Refused(
                "nothing was sent: these operations belong to the process before the fork",
                hint="Make a new Client and a new Fleet in this one.",
            )
        if self._closed:
            raise Refused("nothing was sent: this is closed", hint="Make a new Fleet.")
        if self._waiting >= self._desk.settings.waiting:
            raise Refused(
                f"nothing was sent: {self._waiting} operations wait to be sent already",
                hint="Wait for some of them, or use a plan.",
            )

    def _send(self, operation: Operation, via: Via | None) -> None:
        self._count(-1)
        self._sender.send(operation, via)

    def _send_together(self, operations: Sequence[Operation]) -> None:
        self._count(-len(operations))
        self._sender.send_together(operations)

    def _count(self, more: int) -> None:
        with self._lock:
            self._waiting += more

    def _now(self) -> float:
        return self._desk.clock.monotonic()

    def _store_changed(self, batch: Batch) -> None:
        self._turns.changed(batch)
        self._follower.changed(batch)

    def _operation_changed(
        self, operation: Operation, callbacks: Sequence[Callable[[Operation], None]]
    ) -> None:
        record = operation.record
        if record.done:
            self._desk.ledger.ended(operation)
            self._follower.release(operation)
        for callback in callbacks:
            self._tell(callback, operation)
        for observer in self._observers:
            self._tell(observer, record)

    def _tell(self, listener: Callable[[Any], None], what: object) -> None:
        try:
            listener(what)
        except Exception as error:  # noqa: BLE001 - a bad observer must not stop the others
            if id(listener) not in self._faulted and self._on_fault is not None:
                self._faulted.add(id(listener))
                self._on_fault(Fault("observer", f"an observer failed: {error!r}", error))

    def _crashed(self, error: BaseException) -> None:
        """Tell of a worker's task that raised: a mistake of ours, which must be seen."""
        if self._on_fault is not None:
            known = error if isinstance(error, Exception) else None
            self._on_fault(Fault("operations", f"a worker failed: {error!r}", known))
