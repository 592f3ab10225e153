"""The ledger: every operation of a fleet, bounded; which are alive, and which are one intent."""

import hashlib
import json
import threading
from collections import deque
from collections.abc import Callable, Mapping
from itertools import takewhile
from typing import Any, Final

from cvm_notebook.live.operations.operation import Operation
from cvm_notebook.live.operations.preconditions import Verb
from cvm_notebook.live.operations.record import OperationRecord

_MOMENT: Final = 1.0  # seconds within which the same click is the same intent
_SAME_CELL: Final = 900.0  # seconds in which a cell is run again after its kernel has ended


class Ledger:
    """Operations in the order in which they were asked for. Safe to use from any thread.

    Parameters
    ----------
    limit
        The most to keep of those that are done; the alive ones are all kept.
    """

    def __init__(self, limit: int = 10_000) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._all: dict[str, Operation] = {}
        self._alive: dict[str, Operation] = {}
        self._of_cvm: dict[str, dict[str, Operation]] = {}
        self._intents: dict[str, Operation] = {}
        self._inherited: dict[str, deque[tuple[float, Operation]]] = {}

    def records(self) -> tuple[OperationRecord, ...]:
        """Return the current records, the oldest first."""
        with self._lock:
            return tuple(operation.record for operation in self._all.values())

    def get(self, operation_id: str) -> Operation | None:
        """Return the operation of that id, if it is kept."""
        with self._lock:
            return self._all.get(operation_id)

    @property
    def crowd(self) -> int:
        """The number of operations that are not done."""
        return len(self._alive)

    def alive(self, cvm_id: str | None = None) -> tuple[Operation, ...]:
        """Return the operations that are not done, of one CVM or of all."""
        with self._lock:
            found = self._alive if cvm_id is None else self._of_cvm.get(cvm_id, {})
            return tuple(found.values())

    def add(
        self, intent: str, now: float, make: Callable[[], Operation], *, again: bool = False
    ) -> tuple[Operation, bool]:
        """Return the operation of the same intent if there is one still, else make and keep one.

        Parameters
        ----------
        intent
            What makes two the same; see `intent_key`.
        again
            Whether this is another one, even if the same was asked for a moment ago.

        Returns
        -------
        tuple
            The operation, and whether it is new.
        """
        with self._lock:
            there = self._left_behind(intent, now)
            if there is None and not again:
                there = self._intents.get(intent)
                if there is not None and not self._is_same(there, now):
                    there = None
            if there is not None:
                return there, False
            operation = make()
            self._keep(operation)
            if not again:
                self._intents[intent] = operation
            self._forget()
            return operation, True

    def inherit(self, operation: Operation, intent: str, now: float) -> None:
        """Keep an operation that an earlier kernel has left.

        The first that asks for the same joins it, as a cell does that is run again: it cannot know
        what had become of its request.
        """
        with self._lock:
            self._keep(operation)
            self._inherited.setdefault(intent, deque()).append((now, operation))

    def keep(self, operation: Operation) -> None:
        """Add an operation that is never joined by an equal one."""
        with self._lock:
            self._keep(operation)

    def _left_behind(self, intent: str, now: float) -> Operation | None:
        waiting = self._inherited.get(intent, deque())
        while waiting:
            since, operation = waiting.popleft()
            if now - since < _SAME_CELL:
                return operation
        self._inherited.pop(intent, None)
        return None

    def _keep(self, operation: Operation) -> None:
        self._all[operation.id] = operation
        if operation.done:
            return
        self._alive[operation.id] = operation
        for cvm_id in {operation.cvm_id, operation.made_id} - {None}:
            self._of_cvm.setdefault(cvm_id or "", {})[operation.id] = operation

    def _is_same(self, there: Operation, now: float) -> bool:
        """Whether asking again means this one: it is alive, or was sent just now and did not fail.

        Not if anything else was sent to its CVM since: looked for from the newest on, for one that
        is still the same was asked for lately.
        """
        record = there.record
        just_now = record.attempts > 0 and now - record.asked < _MOMENT
        if record.done and (record.state == "failed" or not just_now):
            return False
        since = takewhile(lambda one: one is not there, reversed(self._all.values()))
        others = (one.record for one in since if one.cvm_id == there.cvm_id is not None)
        return not any(one.attempts > 0 or not one.done for one in others)

    def watch(self, operation: Operation, cvm_id: str) -> None:
        """Let an operation hear of another CVM: the one it made."""
        with self._lock:
            if operation.id in self._alive:
                self._of_cvm.setdefault(cvm_id, {})[operation.id] = operation

    def ended(self, operation: Operation) -> None:
        """Let go of what is needed of the alive ones only."""
        with self._lock:
            self._alive.pop(operation.id, None)
            for cvm_id in {operation.cvm_id, operation.made_id} - {None}:
                there = self._of_cvm.get(cvm_id or "")
                if there is not None:
                    there.pop(operation.id, None)
                    if not there:
                        del self._of_cvm[cvm_id or ""]

    def _forget(self) -> None:
        """Drop the oldest of those that are done."""
        excess = len(self._all) - len(self._alive) - self._limit
        if excess <= self._limit // 10:  # not each time: it walks through all
            return
        old = [key for key in self._all if key not in self._alive][:excess]
        for key in old:
            del self._all[key]
        gone = set(old)
        self._intents = {key: op for key, op in self._intents.items() if op.id not in gone}


def intent_key(verb: Verb, cvm_id: str | None, params: Mapping[str, Any]) -> str:
    """Return what makes two intents the same: a digest of verb, CVM and parameters."""
    asked = json.dumps([verb, cvm_id, params], sort_keys=True, default=str)
    return hashlib.sha256(asked.encode()).hexdigest()
