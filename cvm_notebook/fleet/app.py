"""App: the instances of one app in a live fleet, its revisions, and changing it one by one."""

from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from cvm_notebook._lazy import LOADING
from cvm_notebook.api import checks
from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.api.money import exact
from cvm_notebook.api.resources.cvm_ref import Ref
from cvm_notebook.api.status import status_words
from cvm_notebook.deploy.declaration import Changes
from cvm_notebook.fleet.handle import CvmHandle
from cvm_notebook.fleet.selection import Selection
from cvm_notebook.live.columns import charged_usd
from cvm_notebook.live.engine import FleetEngine
from cvm_notebook.live.plans.revisions import AppHistory, Content, compose_diff, short
from cvm_notebook.live.store.index import AmbiguousCvm, Index, UnknownCvm
from cvm_notebook.live.store.observation import Observation
from cvm_notebook.live.store.records import Row
from cvm_notebook.rollouts.rollout import Rollout, plan_rollout
from cvm_notebook.rollouts.runner import RolloutTerms
from cvm_notebook.rollouts.targets import RevisionTarget, Target, UpdateTarget
from cvm_notebook.text import quoted, table_bundle, usd

if TYPE_CHECKING:
    import pandas as pd

    from cvm_notebook.attest.policy.policy import Policy

_MOST: Final = 1000
_HEAD = ("name", "status", "compose hash", "USD/h")


class App:
    """One app of a live fleet: a view of its instances as they are whenever it is asked.

    Examples
    --------
    >>> app = fleet.app("my-app")
    >>> app.instances.names
    ['my-app']
    >>> app.rate_usd_h == app.instances[0].cvm.hourly_rate.total_usd
    True
    """

    def __init__(self, fleet: FleetEngine, app_id: str) -> None:
        self._fleet = fleet
        self._id = app_id
        self._contents: dict[str, Content] = {}
        self._called = app_id

    @property
    def id(self) -> str:
        """The app's id."""
        return self._id

    @property
    def name(self) -> str:
        """The app's name: that of its first instance."""
        rows = self.instances.rows
        if rows:
            self._called = min(rows, key=lambda row: row.cvm.created_at or "~").name or self._id
        return self._called

    @property
    def instances(self) -> Selection:
        """Its CVMs as they are now."""
        snapshot = self._fleet.snapshot()
        rows = sorted(
            (row for row in snapshot if row.app_id == self._id), key=lambda r: (r.name or "", r.id)
        )
        return Selection(self._fleet, snapshot, tuple(rows))

    def __len__(self) -> int:
        return len(self.instances)

    def __iter__(self) -> Iterator[CvmHandle]:
        return iter(self.instances)

    @property
    def hashes(self) -> dict[str, int]:
        """The number of instances by compose hash; more than one hash is a drift."""
        found = Counter(row.cvm.compose_hash or "" for row in self.instances.rows)
        return dict(found.most_common())

    @property
    def endpoints(self) -> tuple[str, ...]:
        """The addresses of its instances, each once."""
        found = [
            end.app for row in self.instances.rows for end in row.cvm.endpoints or () if end.app
        ]
        return tuple(dict.fromkeys(found))

    @property
    @exact
    def rate_usd_h(self) -> Decimal | None:
        """The current charge of its instances an hour; None where the service gives no price."""
        rates = [charged_usd(row) for row in self.instances.rows]
        known = [rate for rate in rates if rate is not None]
        return sum(known, Decimal(0)) if len(known) == len(rates) else None

    # --- revisions -------------------------------------------------------------------------------

    def revisions(self) -> "pd.DataFrame":
        """Return the revisions of its instances, the newest first; see `revisions_frame`.

        What changed is known of the newest fifty, whose contents are read.

        Raises
        ------
        CvmError
            They cannot be read.

        Examples
        --------
        >>> fleet.app("my-app").revisions()["changes"].iloc[-1]
        'made'
        """
        with LOADING:
            from cvm_notebook.frames.reports.operations import (  # noqa: PLC0415 - pandas on demand
                revisions_frame,
            )

        return revisions_frame(self._history().changes())

    def diff(self, before: int | str = -1, after: str | None = None) -> str:
        """Return how the compose files of two revisions differ, as a unified diff.

        Parameters
        ----------
        before
            As of `rollback`.
        after
            The same; the newest revision when not given.

        Raises
        ------
        InvalidInput
            There is no such revision.
        """
        history = self._history()
        old = history.find(before)
        new = history.now if after is None else history.find(after)
        assert new is not None  # noqa: S101 - there is one where another was found
        held = [history.content_of(self._fleet.client, self._id, one) for one in (old, new)]
        was, is_now = (one.compose.get("docker_compose_file") for one in held)
        labels = short(old.compose_hash), short(new.compose_hash)
        return "\n".join(compose_diff(was, is_now, labels))

    def _history(self) -> AppHistory:
        history = AppHistory.read(self._fleet.client, self._id, self._contents)
        self._contents = history.contents
        return history

    # --- changing it -----------------------------------------------------------------------------

    def update(
        self,
        *,
        max_unavailable: int = 1,
        verify: "Policy | None" = None,
        confirm: str | None = None,
        dry_run: bool = False,
        wait: bool = True,
        progress: bool = True,
        **changes: Any,
    ) -> Rollout:
        """Change its instances one by one: each runs again before the next is touched.

        It stops at the first that fails, and leaves the rest as they are: the result says where,
        and has `Rollout.resume` and `Rollout.rollback`. What is as wanted already is left alone, so
        the same call goes on where an earlier one, or an earlier kernel, has ended. Values of
        variables cannot be compared: after a kernel has ended, go on with `resume` instead.

        Parameters
        ----------
        max_unavailable
            How many of its instances may be down at once, those counted that are down already.
            Stopped ones are changed, too; they stay stopped, and do not count.
        verify
            A policy: an instance counts as done when its verdict is good by it. Where it does not
            say what should run, that is what the instance was changed to.
        confirm
            The `Rollout.phrase` of a dry run: several instances want it, and what would be lost.
        dry_run
            Return the plan, and send nothing.
        wait
            Until it has ended; else it goes on in the background, as long as the fleet is open.
        progress
            Show a bar.
        **changes
            As of `CvmHandle.update`.

        Raises
        ------
        InvalidInput
            A field is unknown or cannot be; nothing was sent.
        NotConfirmed
            It needs the phrase; nothing was sent.
        CvmError
            An instance cannot be read; nothing was sent.

        Examples
        --------
        >>> fleet.app("my-app").update(compose_file=compose).state
        'done'
        """
        checks.booleans(dry_run=dry_run, wait=wait, progress=progress)
        target = UpdateTarget(Changes.read(changes))
        rollout = self._planned(target, self._history(), max_unavailable, verify)
        return (
            rollout if dry_run else rollout.execute(confirm=confirm, wait=wait, progress=progress)
        )

    def rollback(
        self,
        revision: int | str = -1,
        *,
        max_unavailable: int = 1,
        verify: "Policy | None" = None,
        confirm: str | None = None,
        dry_run: bool = False,
        wait: bool = True,
        progress: bool = True,
    ) -> Rollout:
        """Roll its instances back to an earlier revision, one by one.

        They get the app compose, the variables and the user config of that revision; sizes and
        images stay. The same call twice goes back once.

        Parameters
        ----------
        revision
            ``-1`` is the version before the newest change, ``-2`` one further; or the id of a
            revision, or a compose hash: `revisions` has them.
        max_unavailable, verify, confirm, dry_run, wait, progress
            As of `update`.

        Raises
        ------
        InvalidInput
            There is no such revision; nothing was sent.
        NotConfirmed
            It needs the phrase; nothing was sent.

        Examples
        --------
        >>> newest = fleet.app("my-app").revisions().index[0]
        >>> fleet.app("my-app").rollback(newest).rows[0].state
        'kept'
        """
        checks.booleans(dry_run=dry_run, wait=wait, progress=progress)
        history = self._history()
        target = RevisionTarget(self._id, history.find(revision))
        rollout = self._planned(target, history, max_unavailable, verify)
        return (
            rollout if dry_run else rollout.execute(confirm=confirm, wait=wait, progress=progress)
        )

    def resume(
        self,
        *,
        max_unavailable: int = 1,
        verify: "Policy | None" = None,
        dry_run: bool = False,
        wait: bool = True,
        progress: bool = True,
    ) -> Rollout:
        """Take the instances that do not have the newest revision to it, one by one.

        So a rolling update or a rollback whose kernel has ended is gone on with: what was done is
        read from the revisions, and not done again. Sizes and images are not in them: for those
        make the same `update` again.

        Parameters
        ----------
        max_unavailable, verify, dry_run, wait, progress
            As of `update`.

        Raises
        ------
        InvalidInput
            It has no revisions.
        """
        checks.booleans(dry_run=dry_run, wait=wait, progress=progress)
        history = self._history()
        if history.now is None:
            raise InvalidInput("app", f"{quoted(self.name)} has no revisions", "Use update().")
        target = RevisionTarget(self._id, history.now)
        rollout = self._planned(target, history, max_unavailable, verify)
        return rollout if dry_run else rollout.begin(wait=wait, progress=progress)

    def _planned(
        self, target: Target, history: AppHistory, most: int, policy: "Policy | None"
    ) -> Rollout:
        number = checks.integer("max_unavailable", most, most=_MOST)
        if policy is not None:
            from cvm_notebook.attest.policy.policy import (  # noqa: PLC0415 - what judges, on demand
                policy_for_many,
            )

            policy = policy_for_many("verify", policy)
        terms = RolloutTerms(app_id=self._id, max_unavailable=number, policy=policy)
        return plan_rollout(self._fleet, self.name, target, terms, history)

    # --- shown -----------------------------------------------------------------------------------

    def frame(self) -> "pd.DataFrame":
        """Return its instances as a DataFrame; see `fleet_frame`."""
        return self.instances.frame()

    @property
    def title(self) -> str:
        """The summary, in a line."""
        rows = self.instances.rows
        up = sum(row.status == "running" for row in rows)
        rate = usd(self.rate_usd_h)
        cost = f", {rate} USD/h" if rate else ""
        drift = f", {len(self.hashes)} compose hashes" if len(self.hashes) > 1 else ""
        return f"{self.name}: {up} of {len(rows)} instances running{cost}{drift}"

    def __repr__(self) -> str:
        return f"<App {self.title}>"

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return table_bundle(self.title, _HEAD, [_cell(row) for row in self.instances.rows])


def _cell(row: Row) -> tuple[str, ...]:
    hashed = short(row.cvm.compose_hash)
    return (row.name or row.id, status_words(row.status), hashed, usd(charged_usd(row)) or "")


def find_app(fleet: FleetEngine, ref: Ref) -> App:
    """Return the app that is meant: by its id, or by what one of its instances is called.

    Raises
    ------
    UnknownCvm
        There is none.
    AmbiguousCvm
        There are several.
    CvmError
        Its instances cannot be read.
    """
    snapshot = fleet.snapshot()
    index = Index(snapshot.rows)
    text = ref.removeprefix("app_") if isinstance(ref, str) else ref
    found = {row.app_id for row in index.matches(ref) or index.matches(text)} - {None}
    if len(found) > 1:
        raise AmbiguousCvm(
            f"{quoted(str(ref))} names CVMs of {len(found)} apps", hint="Use the app's id."
        )
    for app_id in found:
        _read_instances(fleet, str(app_id))
        return App(fleet, str(app_id))
    row = index.find(ref)  # says what there is instead
    raise UnknownCvm(f"{quoted(row.name or row.id)} has no app id yet", hint="Wait a moment.")


def _read_instances(fleet: FleetEngine, app_id: str) -> None:
    """Read the instances of an app into the fleet: one that was just made is in no list yet."""
    if fleet.health.state == "closed":
        return
    asked = fleet.now()
    found = fleet.client.get_app_cvms(app_id)
    now = fleet.now()
    fleet.store.patch([Observation.of_cvm(cvm, received=now, asked=asked) for cvm in found])
