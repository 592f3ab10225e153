"""Rollout: one change of all instances of an app, a few at a time; first a dry run."""

import html
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Literal

from cvm_notebook._lazy import LOADING
from cvm_notebook.api import checks
from cvm_notebook.api.errors.tree import WatchTimeout
from cvm_notebook.deploy.preview import UpdatePreview
from cvm_notebook.deploy.updating import check_confirmed, read_whole
from cvm_notebook.live.engine import FleetEngine
from cvm_notebook.live.operations.preconditions import Refused
from cvm_notebook.live.plans.revisions import AppHistory, AppVersion, short
from cvm_notebook.live.plans.rollout_row import RolloutRow
from cvm_notebook.live.progress import progress_bar
from cvm_notebook.rollouts.runner import RolloutRunner, RolloutTerms, is_under_way
from cvm_notebook.rollouts.targets import RevisionTarget, Target
from cvm_notebook.text import clean_text, html_table, text_table

if TYPE_CHECKING:
    import pandas as pd

RolloutPhase = Literal["planned", "running", "done", "stopped"]
_FOREVER: Final = 3600.0
_ENDS_IN: Final = 2.0
_HEAD = ("name", "state", "changes", "hash before", "hash after", "verdict", "")
_CALLED: Final = {"update": "Rolling update", "rollback": "Rollback"}
_lock = threading.Lock()


class Rollout:
    """A change of the instances of an app, one after the other; nothing is sent before `execute`.

    Before each instance it is read what is true: so it can be interrupted at any moment, even by
    the end of the kernel, and be gone on with. It stops at the first instance that fails, and
    leaves the others as they are. Safe to use from any thread.

    Parameters
    ----------
    name
        Of the app, as it is shown.
    previews
        Of each instance what would change, as it was read for the plan.
    history
        The revisions of the app.

    Examples
    --------
    >>> rollout = fleet.app("my-app").update(compose_file=compose, disk_size=40, dry_run=True)
    >>> rollout.state, [row.changes for row in rollout.rows]
    ('planned', ['disk_size'])
    """

    def __init__(
        self,
        engine: FleetEngine,
        name: str,
        target: Target,
        terms: RolloutTerms,
        *,
        previews: Mapping[str, UpdatePreview],
        history: AppHistory,
    ) -> None:
        self.name = name
        self.previews = dict(previews)
        self._engine = engine
        self._target = target
        self._terms = terms
        self._history = history
        self._runner: RolloutRunner | None = None
        self._changed: set[str] = set()
        self._rows = {cvm_id: _planned(seen) for cvm_id, seen in previews.items()}

    # --- the dry run -----------------------------------------------------------------------------

    @property
    def rows(self) -> tuple[RolloutRow, ...]:
        """Each instance with what has become of it so far."""
        return tuple(self._rows.values())

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[RolloutRow]:
        return iter(self.rows)

    @property
    def sends(self) -> int:
        """To how many instances something would be sent."""
        return sum(seen.differs for seen in self.previews.values())

    @property
    def dangers(self) -> tuple[str, ...]:
        """The losses, instance by instance."""
        return tuple(
            f"{seen.name}: {danger}"
            for seen in self.previews.values()
            if seen.differs
            for danger in seen.dangers
        )

    @property
    def phrase(self) -> str | None:
        """The phrase for ``confirm`` of `execute`; where several change, or something is lost."""
        needs = self.sends > 1 or bool(self.dangers)
        return f"{self._target.word} {self.sends}" if needs else None

    # --- doing it --------------------------------------------------------------------------------

    def execute(
        self, *, confirm: str | None = None, wait: bool = True, progress: bool = True
    ) -> "Rollout":
        """Begin, and see it to its end; what fails is in `rows`, and is not raised.

        Ctrl-C begins nothing new from that moment; `resume` goes on.

        Parameters
        ----------
        confirm
            The `phrase`.
        wait
            Until it has ended; else it goes on by itself, as long as the fleet is open.
        progress
            Show a bar.

        Raises
        ------
        NotConfirmed
            It needs the phrase; nothing was sent.
        Refused
            It was executed already, or another change of the app is under way.
        """
        if self._runner is not None:
            raise Refused("this was executed already", hint="resume() goes on with what is left.")
        check_confirmed(self.phrase, confirm, self.dangers)
        return self.begin(wait=wait, progress=progress)

    def resume(self, *, wait: bool = True, progress: bool = True) -> "Rollout":
        """Go on with the instances that are left, the one that failed first.

        Whatever has happened since is read: what is as wanted by now is left alone.

        Raises
        ------
        Refused
            It was not executed yet, or a change of the app is under way.
        """
        if self._runner is None:
            raise Refused("this was not executed yet", hint="Use execute().")
        if self.state != "done":
            self.begin(wait=wait, progress=progress)
        return self

    def rollback(self, *, wait: bool = True, progress: bool = True) -> "Rollout":
        """Roll the changed instances back to their former revisions, one by one.

        A revision holds the app compose, the variables and the user config: a size or an image
        that was changed stays.

        Returns
        -------
        Rollout
            Another one, which is executed.

        Raises
        ------
        Refused
            It has changed nothing, or is under way.
        """
        if self.state == "running":
            raise Refused("it is under way", hint="cancel() it first, or wait() for it.")
        own = {row.cvm_id: row.revision_before for row in self.rows if row.touched}
        client, terms = self._engine.client, replace(self._terms, policy=None)
        history = AppHistory.read(client, terms.app_id, self._history.contents)
        wanted: dict[str, AppVersion] = {
            cvm_id: history.find(revision) for cvm_id, revision in own.items() if revision
        }
        if not wanted:
            raise Refused("nothing was sent to any instance", hint="There is nothing to take back.")
        target = RevisionTarget(terms.app_id, own=wanted)
        back = plan_rollout(self._engine, self.name, target, terms, history, only=frozenset(wanted))
        return back.begin(wait=wait, progress=progress)

    def cancel(self) -> None:
        """Begin nothing new; what was sent goes on at the service. `resume` goes on."""
        if self._runner is not None:
            self._runner.halt("it was cancelled", _ENDS_IN)

    def wait(self, timeout: float | None = None) -> "Rollout":
        """Wait until it has ended, and return it; Ctrl-C ends the waiting, and nothing else.

        Raises
        ------
        WatchTimeout
            It has not ended yet; it goes on.
        """
        if self._runner is not None:
            seconds = checks.wait_seconds("timeout", timeout)
            if not self._runner.over.wait(min(seconds, threading.TIMEOUT_MAX)):
                raise WatchTimeout(
                    f"{self.title}, after {seconds:g} s",
                    hint="Still in progress: wait again.",
                    target="done",
                )
        return self

    def begin(self, *, wait: bool, progress: bool) -> "Rollout":
        """Begin, or go on, without asking for the phrase: for this package."""
        try:
            runner = self._started()
            if wait:
                self._see_through(runner, progress=progress)
        except KeyboardInterrupt as interrupt:  # it may come as soon as the thread runs
            if self._runner is not None:
                self._runner.halt("it was interrupted", _ENDS_IN)
            interrupt.add_note(f"{self.title}. resume() goes on with what is left.")
            raise
        return self

    def _started(self) -> RolloutRunner:
        with _lock:
            if is_under_way(self._engine, self._terms.app_id):
                problem = f"a change of {clean_text(self.name, 80)} is under way"
                raise Refused(problem, hint="Wait for it, or cancel() it.")
            for cvm_id, row in self._rows.items():
                if not row.finished:
                    self._rows[cvm_id] = replace(row, state="planned", reason="")
            dangers = {cvm_id: seen.dangers for cvm_id, seen in self.previews.items()}
            self._runner = runner = RolloutRunner(
                self._engine,
                self._target,
                self._terms,
                rows=self._rows,
                dangers=dangers,
                changed=self._changed,
            )
            runner.start()
        return runner

    def _see_through(self, runner: RolloutRunner, *, progress: bool) -> None:
        """Wait with a bar."""
        shown = 0
        label = f"{self._target.word} {clean_text(self.name, 60)}"
        with progress_bar(label, len(self), shown=progress) as bar:
            while not runner.over.is_set():
                runner.updated.wait(_FOREVER)
                runner.updated.clear()
                done = sum(row.finished for row in self.rows)
                bar.update(done - shown)
                shown = done

    # --- what came of it -------------------------------------------------------------------------

    @property
    def state(self) -> RolloutPhase:
        """``planned``, ``running``, ``done``, or ``stopped`` before its end: `why` says why."""
        if self._runner is None:
            return "planned"
        if not self._runner.over.is_set():
            return "running"
        return "done" if all(row.finished for row in self.rows) else "stopped"

    @property
    def ok(self) -> bool:
        """Whether every instance is as wanted."""
        return self.state == "done"

    @property
    def why(self) -> str:
        """The reason why it stopped before its end; empty where it did not."""
        return self._runner.why if self._runner is not None and self.state == "stopped" else ""

    @property
    def stopped_at(self) -> str | None:
        """The name of the instance that it stopped at, where it was one."""
        bad = {"failed", "refused", "unknown", "cancelled"}
        if self.state != "stopped":
            return None
        return next((row.name for row in self.rows if row.state in bad), None)

    @property
    def title(self) -> str:
        """The state, in a line."""
        what = f"{_CALLED[self._target.word]} of {clean_text(self.name, 80)}"
        count, left = len(self), sum(row.state == "planned" for row in self.rows)
        if self.state == "planned":
            confirm = f"; confirm={self.phrase!r}" if self.phrase is not None else ""
            most = self._terms.max_unavailable
            title = f"{what}: {self.sends} of {count} to change, {most} at a time"
            return f"{title}; nothing was sent{confirm}"
        done = sum(row.state in {"reached", "kept"} for row in self.rows)
        title = f"{what}: {done} of {count} as wanted"
        if self.state == "running":
            return f"{title}, under way"
        if self.state == "done":
            return title
        return f"{title}, {left} untouched. Stopped: {clean_text(self.why, 300)}"

    def frame(self) -> "pd.DataFrame":
        """Return the instances as a DataFrame, one a row; see `rollout_frame`."""
        with LOADING:
            from cvm_notebook.frames.reports.operations import rollout_frame  # noqa: PLC0415 - pandas on demand

        return rollout_frame(self.rows)

    def _cells(self) -> list[tuple[str, ...]]:
        return [
            (
                row.name,
                row.state,
                row.changes,
                short(row.hash_before),
                short(row.hash_after),
                row.verdict or "",
                row.reason,
            )
            for row in self.rows
        ]

    def _warnings(self) -> list[str]:
        if self.state == "planned":
            warnings = [f"Careful: {one}." for one in self.dangers]
            notes = {note for seen in self.previews.values() for note in seen.notes}
            return warnings + [f"{note}." for note in sorted(notes)]
        if self.state == "stopped":
            return ["resume() goes on with what is left; rollback() takes back what was changed."]
        return []

    def __repr__(self) -> str:
        return f"<Rollout: {self.title}>"

    def __str__(self) -> str:
        return "\n".join([text_table(self.title, _HEAD, self._cells()), *self._warnings()])

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        parts = [html_table(self.title, _HEAD, self._cells())]
        parts += [f"<p>{html.escape(warning)}</p>" for warning in self._warnings()]
        if self.state == "planned":
            first = next((seen for seen in self.previews.values() if seen.differs), None)
            if first is not None:
                shown = first._repr_mimebundle_()["text/html"]
                name = html.escape(clean_text(first.name, 80))
                parts.append(f"<details><summary>{name}</summary>{shown}</details>")
        return {"text/plain": str(self), "text/html": "".join(parts)}


def plan_rollout(
    engine: FleetEngine,
    name: str,
    target: Target,
    terms: RolloutTerms,
    history: AppHistory,
    *,
    only: frozenset[str] | None = None,
) -> Rollout:
    """Read each instance of an app, and say what would change of it; nothing is sent.

    Parameters
    ----------
    only
        The instances that are meant; all where not given.

    Raises
    ------
    CvmError
        An instance cannot be read.
    """
    previews = {}
    for found in engine.client.get_app_cvms(terms.app_id):
        if found.id and (only is None or found.id in only):
            cvm = read_whole(engine.client, found.id)
            previews[found.id] = target.preview(engine.client, cvm, history)
    ordered = dict(sorted(previews.items(), key=lambda item: (item[1].name, item[0])))
    return Rollout(engine, name, target, terms, previews=ordered, history=history)


def _planned(seen: UpdatePreview) -> RolloutRow:
    return RolloutRow(
        cvm_id=seen.cvm_id,
        name=seen.name,
        changes=", ".join(one.field for one in seen.fields),
        hash_before=seen.hash_before,
        hash_after=seen.hash_after if seen.differs else seen.hash_before,
        reason="" if seen.differs else "it is as wanted already",
    )
