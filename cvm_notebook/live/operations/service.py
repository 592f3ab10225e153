"""OperationService: accepts requests at once, and sends and tracks them on worker threads."""

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from threading import Lock
from typing import Any, Final, Self

from cvm_notebook.api.client import Client
from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.api.models.actions import Provision
from cvm_notebook.api.resources.lifecycle import BATCH_STOP_SIZE
from cvm_notebook.live.clock import Clock, SystemClock
from cvm_notebook.live.operations.context import (
    Hooks,
    OperationContext,
    OperationFactory,
    OperationSettings,
)
from cvm_notebook.live.operations.database import LedgerDatabase, LedgerError
from cvm_notebook.live.operations.draining import (
    UNANSWERED,
    cancelled_text,
    closed,
    drain,
    drain_at_exit,
)
from cvm_notebook.live.operations.inheritance import recover, take_over
from cvm_notebook.live.operations.ledger import Ledger, intent_key
from cvm_notebook.live.operations.operation import Operation
from cvm_notebook.live.operations.preconditions import Refused, Verb, check_verb
from cvm_notebook.live.operations.record import UNSENT, OperationRecord
from cvm_notebook.live.operations.sender import Sender, StatusTransitions, params_of
from cvm_notebook.live.operations.tracker import OperationTracker
from cvm_notebook.live.store.observers import Mailbox, weakly
from cvm_notebook.live.store.records import Row
from cvm_notebook.live.store.store import Fault, FleetStore
from cvm_notebook.live.store.subscriptions import ChangeBatch
from cvm_notebook.live.workers import Workers

Observer = Callable[[OperationRecord], None]
_WAITING: Final = 9_000  # records kept for an observer that is too slow


class OperationService:
    """The operations of one fleet. Safe to use from any thread.

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
        Called, once each, with a `Fault` of an observer that raised.
    ledger
        A file that keeps operations and plans beyond this kernel; see `LedgerDatabase`.

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
        ledger: str | os.PathLike[str] | None = None,
    ) -> None:
        clock = clock or SystemClock()
        settings = settings or OperationSettings()
        self._on_fault = on_fault
        self._context = OperationContext(
            client,
            store or FleetStore(clock),
            reflector_hooks,
            clock,
            settings,
            Ledger(),
            LedgerDatabase(ledger),
            Workers(clock, workers or settings.workers, "cvm-operations", weakly(self._crashed)),
        )
        self._follower = OperationTracker(self._context)
        self._sender = Sender(self._context, self._follower)
        self._lock = Lock()
        self.process = os.getpid()
        self._entries = OperationFactory(self._context, self._saved)
        self._closed = False
        self._unsaved = False
        self._waiting = 0
        self._hooks: tuple[Observer, ...] = ()
        self._mailboxes: tuple[Mailbox[OperationRecord], ...] = ()
        self._turns = StatusTransitions(self._context.store)
        self._subscription = self._context.store.attach(weakly(self._store_changed))
        self._subscription.end_with(self)
        self._earlier: tuple[OperationRecord, ...] = ()
        if ledger is not None:
            take_over(self._context, self._entries, self._follower)
            self._earlier = self._context.database.records()
        drain_at_exit(self)

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
        plan: str | None = None,
        reason: str = "",
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
            Whether the same, asked for within a second or while it runs, is another one; else it
            joins the first, as a second click does. Three replicas are three.
        plan
            The plan that it is part of, which has one operation for each CVM.
        reason
            Why, where it is a rule that asks.

        Raises
        ------
        InvalidInput
            There is no such verb, or no CVM for it.
        Refused
            Too much waits already, or this is closed.
        """
        operation, is_new = self._admit(
            verb,
            row,
            params,
            expected_revision,
            again=again,
            delay=delay,
            plan=plan,
            reason=reason,
        )
        if is_new and not operation.done:
            send = partial(self._send, operation)
            if delay > 0:
                self._context.workers.later(delay, send)
            else:
                self._context.workers.do(send)
        return operation

    def stop_together(
        self, rows: Iterable[Row], *, plan: str | None = None
    ) -> tuple[Operation, ...]:
        """Stop up to fifty CVMs with one request; each has an operation of its own."""
        admitted = [self._admit("stop", row, None, None, plan=plan) for row in rows]
        new = [one for one, is_new in admitted if is_new and not one.done]
        if len(new) > BATCH_STOP_SIZE:
            raise InvalidInput("rows", f"there are {len(new)}", f"Up to {BATCH_STOP_SIZE} fit.")
        if new:
            self._context.workers.do(partial(self._send_together, new))
        return tuple(one for one, _ in admitted)

    def recover(self, rows: Iterable[Row]) -> tuple[Operation, ...]:
        """Find what the service still does, or has failed to do, as after a kernel restart.

        Returns
        -------
        tuple of Operation
            Those that were found and were not known here. What is under way is followed to its
            end; a CVM that did not come up has an operation that has failed, and says why.
        """
        found = recover(rows, self._context, self._entries, self._follower)
        for operation in found:
            self._written(operation, intent_key(operation.verb, operation.cvm_id, {}), None)
        return found

    # --- looking ---------------------------------------------------------------------------------

    @property
    def store(self) -> FleetStore:
        """The store of the fleet."""
        return self._context.store

    @property
    def database(self) -> LedgerDatabase:
        """The ledger's database of operations and plans."""
        return self._context.database

    @property
    def clock(self) -> Clock:
        """The clock."""
        return self._context.clock

    @property
    def client(self) -> Client:
        """The client that sends requests."""
        return self._context.client

    @property
    def read_only(self) -> bool:
        """Whether everything is refused."""
        return self._context.client.read_only

    def records(self) -> tuple[OperationRecord, ...]:
        """Return the ledger: every operation as it is now, the oldest first.

        With a file, those of earlier kernels come before those of this one.
        """
        here = self._context.ledger.records()  # among them what an earlier kernel has left
        ids = {record.id for record in here}
        return tuple(record for record in self._earlier if record.id not in ids) + here

    def get(self, operation_id: str) -> Operation | None:
        """Return the operation of that id, if it is still kept."""
        return self._context.ledger.get(operation_id)

    def alive(self, cvm_id: str | None = None) -> tuple[Operation, ...]:
        """Return the operations that are not done, of one CVM or of all."""
        return self._context.ledger.alive(cvm_id)

    def subscribe(self, observer: Observer) -> Callable[[], None]:
        """Tell of each change of an operation from now on, until the returned call is made.

        The observer runs on a thread of its own and gets all records in order; when 10,000 wait
        for it, of each operation only the newest.
        """

        def failed(error: BaseException) -> None:
            self._report("observer", f"an observer of operations failed: {error!r}", error)

        mailbox = Mailbox(observer, on_fault=failed, shorten=_newest)
        with self._lock:
            self._mailboxes = (*self._mailboxes, mailbox)

        def end() -> None:
            mailbox.close()
            with self._lock:
                self._mailboxes = tuple(one for one in self._mailboxes if one is not mailbox)

        return end

    def attach(self, hook: Observer) -> Callable[[], None]:
        """Tell as `subscribe` does, but on the thread that makes the change: for this package.

        The hook must be quick and wait for nothing.
        """
        with self._lock:
            self._hooks = (*self._hooks, hook)

        def end() -> None:
            with self._lock:
                self._hooks = tuple(one for one in self._hooks if one is not hook)

        return end

    def use(self, client: Client) -> None:
        """Send with another client from now on, as after a key was refused.

        What waits for a key goes on.
        """
        self._context.client = client
        self._follower.resume()

    def widen(self, workers: int) -> None:
        """Allow that many requests at once, if that is more than now."""
        self._context.workers.widen(workers)

    # --- its own life ----------------------------------------------------------------------------

    def unsent(self) -> tuple[Operation, ...]:
        """Return what was asked for and is not answered yet, or waits to be sent."""
        return tuple(one for one in self.alive() if one.state in UNANSWERED)

    def drain(self, timeout: float = 60.0, *, progress: bool = False) -> tuple[Operation, ...]:
        """Send what waits to be sent, delayed or not, and wait for the answers.

        Parameters
        ----------
        timeout
            Seconds.
        progress
            Show a bar when it takes longer than a second.

        Returns
        -------
        tuple of Operation
            What has no answer by then; none when all is well.

        Raises
        ------
        KeyboardInterrupt
            What was not sent by then is cancelled; a note of the error says what.
        """
        try:
            return drain(self, timeout, progress=progress)
        except KeyboardInterrupt as interrupt:
            cancelled = self.cancel_unsent("interrupted before it was sent")
            if cancelled:
                interrupt.add_note(cancelled_text(cancelled))
            raise

    def send_now(self, operation: Operation) -> None:
        """Send an operation without waiting for the end of its delay."""
        self._context.workers.do(partial(self._sender.send, operation))

    def help(self) -> bool:
        """Do one task of the workers in this thread; False when there is none."""
        return self._context.workers.help()

    def close(self, timeout: float = 2.0) -> tuple[Operation, ...]:
        """End it within the timeout: what was not sent is cancelled, what was goes on unwatched.

        Returns
        -------
        tuple of Operation
            What was cancelled.
        """
        ends = time.monotonic() + timeout
        with self._lock:
            self._closed = True
        self._subscription.close()
        closed(self)
        cancelled: tuple[Operation, ...] = ()
        if os.getpid() == self.process:
            cancelled = self.cancel_unsent("closed before it was sent")
            self._context.workers.close(max(0.0, ends - time.monotonic()))
            self._context.database.close()
        for operation in self.alive():
            accepted = operation.state == "accepted"
            operation.move(
                state="accepted" if accepted else "unknown",
                done=True,
                note="it is no longer watched: this was closed",
                hint="A new fleet finds it again if it is still running.",
            )
        for mailbox in self._mailboxes:
            mailbox.finish(ends)
        return cancelled

    def cancel_unsent(self, note: str) -> tuple[Operation, ...]:
        """Cancel what waits to be sent, and return it."""
        return tuple(
            operation
            for operation in self.alive()
            if operation.move(only=UNSENT, state="cancelled", done=True, note=note)
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
        plan: str | None = None,
        reason: str = "",
    ) -> tuple[Operation, bool]:
        """Return the operation of an intent, and whether it is a new one."""
        self._check_open()
        verb = check_verb(verb)
        if row is None and verb != "commit":
            raise InvalidInput("row", f"{verb} needs a CVM", "Give a row of the fleet.")
        given = params_of(params)
        cvm_id = row.id if row is not None else None
        key = intent_key(verb, cvm_id, given)
        make = partial(self._entries.new, verb, row, given, delay, reason)
        operation, is_new = self._context.ledger.add(key, self._now(), make, again=again)
        while not is_new and not self._context.database.adopt(operation):
            operation, is_new = self._context.ledger.add(key, self._now(), make, again=again)
        if is_new and self._written(operation, key, plan):
            error = self._turns.since(row, expected_revision)
            error = error or self._sender.refusal(verb, row, given)[1]
            if error is not None:
                operation.move(state="failed", done=True, error=error)
            else:
                self._count(1)
        return operation, is_new

    def _written(self, operation: Operation, key: str, plan: str | None) -> bool:
        """Write a new operation down; when that is not possible it ends, and nothing is sent."""
        try:
            if self._context.database.add(operation, key, plan):
                return True
        except LedgerError as error:
            operation.move(state="failed", done=True, error=error)
            return False
        note = "another kernel sends this part of the plan"
        operation.move(state="cancelled", done=True, note=note)
        return False

    def _saved(self, operation: Operation) -> None:
        """Save a change, and tell of it."""
        try:
            self._context.database.save(operation)
        except LedgerError as error:
            if not self._unsaved and self._on_fault is not None:
                self._unsaved = True
                self._on_fault(Fault("ledger", str(error), error))
        self._operation_changed(operation)

    def _check_open(self) -> None:
        if os.getpid() != self.process:
            raise Refused(
                "nothing was sent: these operations belong to the process before the fork",
                hint="Make a new Client and a new Fleet in this one.",
            )
        if self._closed:
            raise Refused(
                "nothing was sent: this fleet is closed", hint="Re-run the cell that makes it."
            )
        if self._waiting >= self._context.settings.waiting:
            raise Refused(
                f"nothing was sent: {self._waiting} operations wait to be sent already",
                hint="Wait for some of them, or use a plan.",
            )

    def _send(self, operation: Operation) -> None:
        self._count(-1)
        self._sender.send(operation)

    def _send_together(self, operations: Sequence[Operation]) -> None:
        self._count(-len(operations))
        self._sender.send_together(operations)

    def _count(self, more: int) -> None:
        with self._lock:
            self._waiting += more

    def _now(self) -> float:
        return self._context.clock.monotonic()

    def _store_changed(self, batch: ChangeBatch) -> None:
        self._turns.changed(batch)
        self._follower.changed(batch)

    def _operation_changed(self, operation: Operation) -> None:
        record = operation.record
        if record.done:
            self._context.ledger.ended(operation)
            self._follower.release(operation)
        for hook in self._hooks:
            self._notify(hook, record)
        for mailbox in self._mailboxes:
            mailbox.put(record)

    def _notify(self, hook: Observer, record: OperationRecord) -> None:
        try:
            hook(record)
        except Exception as error:  # noqa: BLE001 - a bug must not stop the others
            self._report("operations", f"a hook failed: {error!r}", error)

    def _crashed(self, error: BaseException) -> None:
        """Report a worker's task that raised: a bug, which must be seen."""
        self._report("operations", f"a worker failed: {error!r}", error)

    def _report(self, where: str, what: str, error: BaseException) -> None:
        if self._on_fault is not None:
            self._on_fault(Fault(where, what, error))


def _newest(records: Iterable[OperationRecord]) -> list[OperationRecord]:
    """Return the newest record of each operation, the operation that changed last at the end."""
    newest: dict[str, OperationRecord] = {}
    for record in records:
        newest.pop(record.id, None)
        newest[record.id] = record
    return list(newest.values())[-_WAITING:]
