"""The ledger: every operation of a fleet, bounded; which are alive, and which are the same wish."""

import threading
from collections.abc import Callable, Hashable, Iterable, Mapping
from itertools import takewhile
from typing import Any, Final

from cvm_notebook.live.operation import Operation, OperationRecord
from cvm_notebook.live.preconditions import Verb

_MOMENT: Final = 1.0  # seconds within which the same click is the same wish


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
        self._wishes: dict[Hashable, Operation] = {}

    def records(self) -> tuple[OperationRecord, ...]:
        """Return every entry as it is now, the oldest first."""
        with self._lock:
            return tuple(operation.record for operation in self._all.values())

    def get(self, operation_id: str) -> Operation | None:
        """Return the operation of that id, if it is kept."""
        with self._lock:
            return self._all.get(operation_id)

    @property
    def crowd(self) -> int:
        """How many operations are not done."""
        return len(self._alive)

    def alive(self, cvm_id: str | None = None) -> tuple[Operation, ...]:
        """Return the operations that are not done, of one CVM or of all."""
        with self._lock:
            found = self._alive if cvm_id is None else self._of_cvm.get(cvm_id, {})
            return tuple(found.values())

    def add(
        self,
        wish: Hashable | None,
        now: float,
        make: Callable[[], Operation],
    ) -> tuple[Operation, bool]:
        """Return the operation of the same wish if there is one still, else make and keep one.

        Returns
        -------
        tuple
            The operation, and whether it is new.
        """
        with self._lock:
            there = self._wishes.get(wish) if wish is not None else None
            if there is not None and _is_same_wish(there.record, now) and self._is_newest(there):
                return there, False
            operation = make()
            self._all[operation.id] = operation
            self._alive[operation.id] = operation
            if operation.cvm_id is not None:
                self._of_cvm.setdefault(operation.cvm_id, {})[operation.id] = operation
            if wish is not None:
                self._wishes[wish] = operation
            self._forget()
            return operation, True

    def _is_newest(self, there: Operation) -> bool:
        """Return whether nothing else was sent to its CVM since: else to ask again is a new wish.

        Looked for from the newest on: a wish that is still the same one was asked for lately.
        """
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
        self._wishes = {w: op for w, op in self._wishes.items() if op.id not in gone}


def _is_same_wish(record: OperationRecord, now: float) -> bool:
    """Whether asking again means this one: it is alive, or was sent just now and did not fail."""
    if not record.done:
        return True
    return record.attempts > 0 and record.state != "failed" and now - record.asked < _MOMENT


def wish_of(verb: Verb, cvm_id: str | None, params: Mapping[str, Any]) -> Hashable:
    """Return what makes two wishes the same."""
    return (verb, cvm_id, _frozen(params))


def _frozen(value: Any) -> Hashable:
    if isinstance(value, Mapping):
        return frozenset((str(k), _frozen(v)) for k, v in value.items())
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return tuple(_frozen(one) for one in value)
    return value if isinstance(value, Hashable) else repr(value)
