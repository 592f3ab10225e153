"""Revisions in a card: a list, the diff of two, and the rollback to one."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from cvm_notebook.api.errors.tree import CvmError, ReadOnly
from cvm_notebook.api.models.catalogue import AppRevision
from cvm_notebook.attest.evidence.fields import bare_digits
from cvm_notebook.deploy.preview import MOST_LINES, UpdatePreview, shown_line
from cvm_notebook.live.engine import FleetEngine
from cvm_notebook.live.operations.record import OperationRecord
from cvm_notebook.live.plans.revisions import AppVersion, Content, compose_diff
from cvm_notebook.live.store.records import Row
from cvm_notebook.live.workers import Workers
from cvm_notebook.rollouts.targets import redeployed, rollback_of
from cvm_notebook.text import clean_text
from cvm_notebook.widgets.base.view import ms

if TYPE_CHECKING:
    from cvm_notebook.api.client import Client

_SHOWN: Final = 100  # revisions, the newest first
_KEPT: Final = 20  # whole revisions; they never change
_ERROR_CHARS: Final = 600
_CHARS: Final = 200
_TEXTS: Final = {
    "docker_compose_file": "docker-compose.yml",
    "pre_launch_script": "pre-launch script",
}
_CHANGES: Final = frozenset({"update", "redeploy"})


def compared(
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    names: tuple[str, str] = ("first", "second"),
) -> dict[str, Any]:
    """Say for a view how two app composes differ; untrusted, so each value is cleaned.

    Parameters
    ----------
    names
        Theirs, in the diff of their texts.
    """
    facts = [
        [clean_text(name, 60), _words(before.get(name)), _words(after.get(name))]
        for name in {**before, **after}
        if name not in _TEXTS and before.get(name) != after.get(name)
    ]
    lines = [
        shown_line(line)
        for name, title in _TEXTS.items()
        for line in compose_diff(
            before.get(name), after.get(name), (f"{title}, {names[0]}", f"{title}, {names[1]}")
        )
    ]
    return {"facts": facts, "diff": lines[:MOST_LINES], "more": max(0, len(lines) - MOST_LINES)}


def _words(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return clean_text(", ".join(str(one) for one in value), _CHARS)
    return clean_text(value, _CHARS)


@dataclass(frozen=True, slots=True)
class _Question:
    click: str
    version: AppVersion
    preview: UpdatePreview
    phrase: str | None
    payload: Mapping[str, Any]


class Revisions:
    """The revisions of the app of a card's CVM, read when somebody looks; going back to one.

    A redeployment is an operation of the fleet: sent once, followed, and read back where its answer
    is lost.

    Parameters
    ----------
    fleet
        Returns the fleet, or None once it is gone.
    changed
        Called after a change, on any thread.
    """

    def __init__(
        self, cvm_id: str, fleet: Callable[[], FleetEngine | None], changed: Callable[[], object]
    ) -> None:
        self._cvm_id = cvm_id
        self._fleet = fleet
        self._changed = changed
        self._lock = threading.Lock()
        self._list: tuple[AppRevision, ...] | None = None
        self._is_old = False  # the list: what came meanwhile is not in it
        self._contents: dict[str, Content] = {}
        self._pair: tuple[str, str] | None = None
        self._comparing = False
        self._comparison: Mapping[str, Any] | None = None
        self._question: _Question | None = None
        self._busy = ""
        self._error: str | None = None

    def state(self, row: Row | None) -> dict[str, Any]:
        """Return the section of the card's state that is about revisions."""
        question, found = self._question, self._list
        running = row.cvm.compose_hash if row is not None else None
        return {
            "rows": None if found is None else _rows(found[:_SHOWN], running),
            "more": max(0, len(found or ()) - _SHOWN),
            "pair": list(self._pair or ()),
            "compared": self._comparison,
            "question": None if question is None else dict(question.payload),
            "busy": self._busy,
            "error": self._error,
        }

    def take(self, message: Mapping[str, Any], workers: Workers) -> None:
        """Take a view's message: ``list``, ``compare``, ``ask`` or ``answer``."""
        do, revision = message.get("do"), message.get("revision")
        if do == "compare":
            self._compare_soon((str(message.get("a")), str(message.get("b"))), workers)
        elif do == "list":
            self._do("list", self._read, workers)
        elif do == "ask" and isinstance(revision, str):
            self._do("ask", partial(self._ask, revision, str(message.get("click"))), workers)
        elif do == "answer":
            self._answer(message, workers)

    def operated(self, record: OperationRecord, workers: Workers) -> None:
        """Read the list again once the CVM has been changed, where somebody has looked at it."""
        if record.verb in _CHANGES and record.done and self._list is not None:
            self._is_old = True  # where it is busy, it reads the list when it has finished
            self._do("list", self._read, workers)

    def _answer(self, message: Mapping[str, Any], workers: Workers) -> None:
        with self._lock:
            question = self._question
            if question is None or message.get("click") != question.click or self._busy:
                return  # another one, or one that was answered
            if message.get("yes") is True and message.get("typed", "") != (question.phrase or ""):
                self._error = f'Nothing was sent: type "{question.phrase}" exactly.'
            else:
                self._question = None
        if self._question is None and message.get("yes") is True:
            self._do("redeploy", partial(self._redeploy, question), workers)
        self._changed()

    # --- on a worker ------------------------------------------------------------------------------

    def _do(self, what: str, task: Callable[["Client", Row], None], workers: Workers) -> None:
        """Run one task at a time; what goes wrong is shown."""
        with self._lock:
            if self._busy:
                return
            self._busy, self._error = what, None
        self._changed()
        workers.do(partial(self._run, task, workers))

    def _run(self, task: Callable[["Client", Row], None], workers: Workers) -> None:
        try:
            task(*self._live_fleet())
        except CvmError as error:
            self._error = clean_text(error, _ERROR_CHARS)
        finally:
            with self._lock:
                again, self._is_old = self._is_old, False
                self._busy = "list" if again else ""
            self._changed()
            if again:
                workers.do(partial(self._run, self._read, workers))

    def _live_fleet(self) -> tuple["Client", Row]:
        fleet = self._fleet()
        row = fleet.known(self._cvm_id) if fleet is not None else None
        if fleet is None or row is None:
            raise CvmError("It is no longer in the fleet")
        return fleet.client, row

    def _read(self, client: "Client", row: Row) -> None:
        if not row.app_id:
            raise CvmError("The service names no app of this CVM")
        self._is_old = False
        self._list = tuple(one for one in client.get_app_revisions(row.app_id) if one.revision_id)

    def _get(self, client: "Client", row: Row, revision: str) -> Content:
        with self._lock:
            known = self._contents.get(revision)
        if known is None:
            known = Content.of(client.get_app_revision(row.app_id or "", revision))
            with self._lock:
                while len(self._contents) >= _KEPT:
                    del self._contents[next(iter(self._contents))]
                self._contents[revision] = known
        return known

    def _compare_soon(self, pair: tuple[str, str], workers: Workers) -> None:
        known = {one.revision_id for one in self._list or ()}
        if not set(pair) <= known:
            return
        with self._lock:
            busy, self._comparing = self._comparing, True
            self._pair, self._comparison = pair, None
        self._changed()
        if not busy:  # else the one who compares sees the new pair
            workers.do(self._compare)

    def _compare(self) -> None:
        try:
            while self._comparing:
                pair = self._pair
                result = self._compared(*pair) if pair is not None else {}
                with self._lock:
                    if self._pair == pair:
                        self._comparison, self._comparing = result, False
        finally:
            self._comparing = False
            self._changed()

    def _compared(self, first: str, second: str) -> Mapping[str, Any]:
        try:
            client, row = self._live_fleet()
            before, after = (self._get(client, row, one).app_compose() for one in (first, second))
            return compared(before, after)
        except CvmError as error:
            return {"error": clean_text(error, _ERROR_CHARS)}

    def _ask(self, revision: str, click: str, client: "Client", row: Row) -> None:
        """Look what going back would do, and ask for it."""
        if client.read_only:
            raise ReadOnly("Nothing was sent: this client is read-only")
        then = self._get(client, row, revision)
        with self._lock:
            known = dict(self._contents)
        version, preview = rollback_of(client, row, revision, known)
        name = clean_text(preview.name, 80)
        phrase = name if preview.dangers else None
        payload = {
            "click": click,
            "revision": revision,
            "title": f"Take {name} back to {clean_text(revision, 60)}?",
            "phrase": phrase,
            "lost": [clean_text(one, 100) for one in preview.env_lost],
            **compared(client.get_cvm_compose_file(row.id), then.app_compose(), ("now", "then")),
        }
        self._question = _Question(click, version, preview, phrase, payload)

    def _redeploy(self, question: _Question, client: "Client", row: Row) -> None:
        if bare_digits(client.get_cvm_info(row.id).compose_hash) != question.preview.hash_before:
            raise CvmError("Nothing was sent: what it runs has changed since. Look at it again.")
        fleet = self._fleet()
        if fleet is None:
            raise CvmError("Nothing was sent: the fleet is closed")
        redeployed(fleet.operator, row, question.preview, question.version)


def _rows(revisions: Sequence[AppRevision], running: str | None) -> list[dict[str, Any]]:
    """Return revisions for a view; the newest that has the CVM's compose hash is what it runs."""
    several = len({one.vm_uuid for one in revisions}) > 1
    digits = bare_digits(running)
    runs = next((one for one in revisions if bare_digits(one.compose_hash) == digits), None)
    return [
        {
            "id": clean_text(one.revision_id, 60),
            "at": ms(one.created) if one.created is not None else None,
            "who": clean_text(one.triggered_by.username or "", 60) if one.triggered_by else "",
            "kind": clean_text((one.operation_type or "").replace("_", " "), 60),
            "hash": clean_text(bare_digits(one.compose_hash) or "", 80),
            "cvm": clean_text(one.cvm.name or "", 60) if several and one.cvm else "",
            "runs": one is runs and running is not None,
        }
        for one in revisions
    ]
