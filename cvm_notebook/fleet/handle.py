"""CvmHandle: one CVM of a live fleet, and what can be asked of it."""

from typing import TYPE_CHECKING, Any, Literal, overload

from cvm_notebook._lazy import LOADING
from cvm_notebook.api import checks
from cvm_notebook.api.models.cvm import Cvm
from cvm_notebook.api.status import status_words
from cvm_notebook.api.workspace.ssh_command import ssh_command
from cvm_notebook.deploy.declaration import MOST_INSTANCES, Changes
from cvm_notebook.deploy.preview import UpdatePreview
from cvm_notebook.deploy.updating import check_confirmed, previewed, submitted
from cvm_notebook.fleet.display import WidgetDisplay
from cvm_notebook.live.engine import FleetEngine
from cvm_notebook.live.operations.operation import Operation
from cvm_notebook.live.operations.preconditions import Verb
from cvm_notebook.live.plans.plan import Plan
from cvm_notebook.live.static_view import show_one
from cvm_notebook.live.store.records import Row
from cvm_notebook.live.wait import Waiting
from cvm_notebook.rollouts.targets import redeployed, rollback_of

if TYPE_CHECKING:
    import pandas as pd

    from cvm_notebook.attest.policy.policy import Policy
    from cvm_notebook.attest.verdict import Verdict
    from cvm_notebook.widgets.card.card import CvmCard
    from cvm_notebook.widgets.form.change import ChangeForm


class CvmHandle(WidgetDisplay):
    """One CVM of a live fleet: its state, its history, and what can be done to it.

    What it says is as new as the fleet is; what it is asked to do gives an Operation at once.
    Handles of one CVM of one fleet are equal.
    """

    def __init__(self, fleet: FleetEngine, cvm_id: str) -> None:
        self._fleet = fleet
        self._id = cvm_id

    @property
    def id(self) -> str:
        """Its id."""
        return self._id

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CvmHandle):
            return NotImplemented
        return self._id == other._id and self._fleet is other._fleet

    def __hash__(self) -> int:
        return hash((self._id, id(self._fleet)))

    @property
    def row(self) -> Row:
        """The CVM as it is known now, with the age and the source of what is known.

        Raises
        ------
        UnknownCvm
            It is gone.
        """
        return self._fleet.snapshot().find(self.id)

    @property
    def cvm(self) -> Cvm:
        """Its record."""
        return self.row.cvm

    @property
    def name(self) -> str:
        """Its name."""
        return self.row.name or self.id

    @property
    def status(self) -> str | None:
        """Its status, in the service's own word."""
        return self.row.status

    # --- what can be done ----------------------------------------------------------------------

    def start(self) -> Operation:
        """Start it."""
        return self._ask("start")

    def stop(self, *, delay: float = 0.0, confirm: str | None = None) -> Operation:
        """Stop it at once; `delay` seconds leave time to `cancel` the operation.

        In the minimum term of its GPUs, when it costs the same all the same, it is not sent without
        ``confirm="stop 1"``; nor are a `shutdown` and a `delete` without theirs.
        """
        return self._end("stop", confirm, delay)

    def shutdown(self, *, confirm: str | None = None) -> Operation:
        """Shut it down cleanly; for `confirm` see `stop`."""
        return self._end("shutdown", confirm)

    def restart(self, *, force: bool = False) -> Operation:
        """Restart it; `force` skips the clean shutdown."""
        return self._ask("restart", force=checks.boolean("force", force))

    def delete(self, *, delay: float = 0.0, confirm: str | None = None) -> Operation:
        """Delete it and all its data; for `delay` and `confirm` see `stop`."""
        return self._end("delete", confirm, delay)

    @overload
    def replicate(self, *, node_id: int | None = None) -> Operation: ...

    @overload
    def replicate(self, *, count: int, node_id: int | None = None) -> tuple[Operation, ...]: ...

    def replicate(
        self, *, count: int | None = None, node_id: int | None = None
    ) -> Operation | tuple[Operation, ...]:
        """Make another CVM of its app, or several; each call asks for further ones.

        Parameters
        ----------
        count
            How many; a tuple of that many operations is returned. One operation when not given.
        node_id
            The node to put them on; the service chooses when not given.

        Raises
        ------
        InvalidInput
            `count` or `node_id` is no whole number from 1 up, or `count` is above 100.
        """
        params = {} if node_id is None else {"node_id": checks.integer("node_id", node_id)}
        if count is None:
            return self._ask("replicate", again=True, **params)
        row, number = self.row, checks.integer("count", count, most=MOST_INSTANCES)
        submit = self._fleet.operator.submit
        return tuple(
            submit("replicate", row, params=dict(params), again=True) for _ in range(number)
        )

    @overload
    def update(
        self, *, dry_run: Literal[True], confirm: str | None = ..., **changes: Any
    ) -> UpdatePreview: ...

    @overload
    def update(
        self,
        *,
        dry_run: Literal[False] = ...,
        confirm: str | None = ...,
        delay: float = ...,
        **changes: Any,
    ) -> Operation: ...

    def update(
        self,
        *,
        dry_run: bool = False,
        confirm: str | None = None,
        delay: float = 0.0,
        **changes: Any,
    ) -> Operation | UpdatePreview:
        """Change what it runs, has or shows, in one request and one restart.

        What is not given stays as it is, and what is so already is not sent.

        Parameters
        ----------
        dry_run
            Return what would change, cost and be lost, and send nothing.
        confirm
            The preview's `phrase`: losing a variable, shrinking, and leaving GPUs before their
            minimum term want it.
        delay
            Seconds that leave time to `cancel` the operation.
        **changes
            ``compose_file`` (text or path), ``pre_launch_script``, ``env`` (all variables: they
            replace those that are there), ``instance_type`` or ``vcpu`` and ``memory`` (MB),
            ``disk_size`` (GB), ``image``, ``public_logs``, ``public_sysinfo``, ``public_tcbinfo``,
            ``listed``, ``user_config``, ``shutdown_timeout`` (seconds), ``allow_force_stop``.

        Raises
        ------
        InvalidInput
            A field is unknown or cannot be; nothing was sent.
        NotConfirmed
            It needs the phrase; nothing was sent.

        Examples
        --------
        >>> preview = fleet["my-app"].update(disk_size=40, dry_run=True)
        >>> [tuple(change) for change in preview.fields]
        [('disk_size', '20', '40')]
        """
        checks.booleans(dry_run=dry_run)
        wanted = Changes.read(changes)
        delay = checks.seconds("delay", delay)
        preview = previewed(self._fleet.client, self.id, wanted)
        if dry_run:
            return preview
        check_confirmed(preview.phrase, confirm, preview.dangers)
        return submitted(self._fleet.operator, self.row, preview, delay=delay)

    def change(self, **fields: Any) -> "ChangeForm":
        """Return a form filled with what it runs, to change it; see `ChangeForm` for its fields."""
        with LOADING:
            from cvm_notebook.widgets.form.change import ChangeForm  # noqa: PLC0415 - widgets on demand

        return ChangeForm(self._fleet, self.row.id, **fields)

    def rollback(
        self,
        revision: int | str = -1,
        *,
        dry_run: bool = False,
        confirm: str | None = None,
        delay: float = 0.0,
    ) -> Operation | UpdatePreview:
        """Roll it back to an earlier revision, in one restart; the same call twice does so once.

        It gets the app compose, the variables and the user config of that revision; its size and
        its image stay. For all instances of its app, one by one: `App.rollback`.

        Parameters
        ----------
        revision
            ``-1`` is the version before its newest change, ``-2`` one further; or the id of a
            revision, or a compose hash: ``fleet.app("x").revisions()`` has them.
        dry_run
            Return what would change, and send nothing.
        confirm
            The preview's `phrase`: losing a variable wants it.
        delay
            Seconds that leave time to `cancel` the operation.

        Raises
        ------
        InvalidInput
            There is no such revision; nothing was sent.
        NotConfirmed
            It needs the phrase; nothing was sent.

        Examples
        --------
        >>> newest = fleet.app("my-app").revisions().index[0]
        >>> fleet["my-app"].rollback(newest, dry_run=True).differs
        False
        """
        checks.booleans(dry_run=dry_run)
        row, delay = self.row, checks.seconds("delay", delay)
        version, preview = rollback_of(self._fleet.client, row, revision)
        if dry_run:
            return preview
        check_confirmed(preview.phrase, confirm, preview.dangers)
        return redeployed(self._fleet.operator, row, preview, version, delay=delay)

    def _end(self, verb: Verb, confirm: str | None, delay: float = 0.0) -> Operation:
        planned = Plan([self.row], verb, operations=self._fleet.operator).rows()[0]
        if planned.term:
            hint = "Until then only a deletion saves anything, its disk. Else give the phrase."
            check_confirmed(f"{verb} 1", confirm, (planned.term,), hint)
        return self._ask(verb, delay=delay)

    def _ask(
        self, verb: Verb, *, delay: float = 0.0, again: bool = False, **params: object
    ) -> Operation:
        return self._fleet.operator.submit(
            verb, self.row, params=params, delay=checks.seconds("delay", delay), again=again
        )

    # --- what can be seen ------------------------------------------------------------------------

    def wait(self, status: str = "running", timeout: float | None = 300.0) -> "CvmHandle":
        """Wait until it has a status; see `Fleet.wait`."""
        Waiting(self._fleet, [self.id], status=status, timeout=timeout).run()
        return self

    def verify(
        self, policy: "Policy | None" = None, *, pccs: str | None = None, refresh: bool = False
    ) -> "Verdict":
        """Say what is proven of it; see `cvm.verify`. Table, card and frames show what came of it.

        Examples
        --------
        >>> fleet["my-app"].verify().word
        'SIMULATED'
        """
        from cvm_notebook.live.trust import verify_row  # noqa: PLC0415 - what judges, on demand

        return verify_row(self._fleet, self.row, policy, pccs=pccs, refresh=refresh)

    def ssh_command(self, *, user: str = "root", port: int = 22) -> str:
        """Return the command that logs in to it, to be run in a terminal; see `ssh_command`."""
        return ssh_command(self.cvm, user=user, port=port)

    def events(self) -> "pd.DataFrame":
        """Return what is kept of what happened to it; see `Fleet.events`."""
        with LOADING:
            from cvm_notebook.frames import events_frame  # noqa: PLC0415 - pandas on demand

        events = events_frame(self._fleet.history.changes())
        return events[events["cvm_id"] == self.id]

    def __repr__(self) -> str:
        row = self._fleet.known(self.id)
        return (
            f"<CVM {row.name!r}: {status_words(row.status)}>"
            if row is not None
            else f"<CVM {self.id}: gone>"
        )

    def card(self) -> "CvmCard":
        """Return its live card, the same one each time; displaying the handle shows it."""
        with LOADING:
            from cvm_notebook.widgets.card.card import card_of  # noqa: PLC0415 - widgets on demand

        return card_of(self._fleet, self.id)

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        snapshot = self._fleet.store.snapshot()
        row = self._fleet.known(self.id)
        if row is None:
            return {"text/plain": repr(self)}
        static = show_one(row, snapshot)
        with LOADING:
            from cvm_notebook.widgets.base.mimebundle import with_widget  # noqa: PLC0415 - widgets on demand

        return with_widget(static, self.card)

    def _widget(self) -> "CvmCard":
        return self.card()
