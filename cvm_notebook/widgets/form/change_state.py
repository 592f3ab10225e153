"""ChangeState: the form state of changing a CVM, beside what runs."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from cvm_notebook.api.compose.hashing import Env
from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.api.models.cvm import Cvm
from cvm_notebook.api.resources.cvm_ref import near_miss
from cvm_notebook.deploy.environment import EnvTable
from cvm_notebook.deploy.preview import MOST_LINES, UpdatePreview, app_compose_of, shown_line
from cvm_notebook.deploy.script import block, literal
from cvm_notebook.deploy.spec import VISIBILITY, Values
from cvm_notebook.live.engine import FleetEngine
from cvm_notebook.text import clean_text, usd
from cvm_notebook.widgets.form.changing import Changing
from cvm_notebook.widgets.form.sections import boot_section
from cvm_notebook.widgets.form.starts import values_of
from cvm_notebook.widgets.form.state import FormState, filled

if TYPE_CHECKING:
    from cvm_notebook.api.client import Client

FIELDS: Final = (
    "compose_file", "pre_launch_script", "instance_type", "disk_size", "image", *VISIBILITY,
)  # fmt: skip
_BLOCKS: Final = ("compose_file", "pre_launch_script")  # what is a block of text in a cell


class ChangeState(FormState):
    """The state of a form that changes a CVM. Safe from any thread.

    Only what was changed in it is sent; anything else stays as it is then.

    Parameters
    ----------
    env
        Variables that are given already; they replace all that are there.
    fields
        What is filled in already, on top of what runs.
    """

    def __init__(
        self,
        client: "Client",
        fleet: FleetEngine,
        cvm_id: str,
        *,
        name: str,
        env: Env | None,
        fields: Mapping[str, object],
        changed: Callable[[], object],
        crashed: Callable[[BaseException], None],
    ) -> None:
        check_fields(fields)
        filled(Values(), fields)  # refused at once
        super().__init__(client, fleet, EnvTable(env), Values(), changed=changed, crashed=crashed)
        self.name = name
        self.runs = Values()  # as it was read last
        self.allowed: tuple[str, ...] = ()
        self._wanted = dict(fields)
        self._given_env = env is not None
        self.steps: Changing = Changing(
            client,
            cvm_id,
            operations=self._operations,
            workers=self._workers,
            taken=self._taken,
            reached=self._done,
            changed=self._changed,
        )

    def reload(self) -> None:
        """Read what runs and the catalogue, where that is not read yet, on workers."""
        if self.steps.phase == "unread":
            self.steps.read()
        super().reload()

    def fill(self, fields: Mapping[str, object]) -> None:
        """Fill in some fields, all or none.

        Raises
        ------
        InvalidInput
            There is no such field, its value is of another kind, or what runs is not read yet and
            they cannot be checked against it.
        """
        check_fields(fields)
        with self._lock:
            if self.steps.phase in {"reading", "unread"}:
                filled(Values(), fields)
                self._wanted |= fields
                return
        super().fill(fields)

    # --- what is to be otherwise ------------------------------------------------------------------

    @property
    def is_env_given(self) -> bool:
        """Whether variables were given or taken out: then all of them are replaced."""
        return self._given_env or bool(self.env.values()) or self.env.names != self.allowed

    @property
    def changes(self) -> dict[str, Any]:
        """The changes, by the names of `CvmHandle.update`."""
        values, runs = self.values, self.runs
        found = {
            name: getattr(values, name)
            for name in FIELDS
            if getattr(values, name) != getattr(runs, name)
        }
        for name in ("instance_type", "disk_size", "image"):
            if not found.get(name, True):  # emptied: unchanged
                del found[name]
        return {**found, "env": self.env.values()} if self.is_env_given else found

    def keep_env(self) -> None:
        """Let the variables be as they are: give none, and take none out."""
        with self._lock:
            self._given_env = False
            self.env.reset(self.allowed)
        self.steps.forgive("env")

    def take_env(self, message: Mapping[str, Any]) -> None:
        """Take a view's message about environment variables."""
        if not self.is_locked:
            super().take_env(message)

    # --- shown ------------------------------------------------------------------------------------

    @property
    def is_locked(self) -> bool:
        """Whether what is filled in can be changed no more, or not yet."""
        return self.steps.phase in {"reading", "unread", "sending", "updating"}

    @property
    def is_followed(self) -> bool:
        """Whether an update is under way."""
        return self.steps.phase in {"sending", "updating"}

    @property
    def request(self) -> str:
        """The Python that does the same."""
        given = self.changes
        env = given.pop("env", None)
        texts = [f"{name.upper()} = {block(given[name])}" for name in _BLOCKS if name in given]
        cells = [
            f"    {name}={name.upper() if name in _BLOCKS else literal(value)},"
            for name, value in given.items()
        ]
        if env is not None:
            pairs = ", ".join(f"{literal(n)}: os.environ[{literal(n)}]" for n in env)
            cells.append(f"    env={{{pairs}}},")
        preview = self.steps.preview
        if preview is not None and preview.phrase is not None:
            cells.append(f"    confirm={literal(preview.phrase)},")
        begin = ["import os", ""] if env else []
        begin += ["import cvm_notebook as cvm", "", "fleet = cvm.Fleet(cvm.connect())"]
        call = [f"fleet[{literal(self.name)}].update(", *cells, ")"]
        return "\n".join([*begin, *texts, *call]) + "\n"

    def sections(self) -> dict[str, Any]:
        """Return everything that is shown, in parts that change by themselves."""
        shown = super().sections()
        without = "lost" if self.is_env_given else "kept"
        shown["env"] = {**shown["env"], "without": without}
        # what runs has its variables: that a compose file asks for them says nothing
        return shown | {"of": clean_text(self.name, 80)}

    def rows(self) -> list[tuple[str, str]]:
        """Return what would be otherwise and what came of it, in words; nothing secret."""
        preview = self.steps.preview
        if preview is None:
            changed = ", ".join(self.changes) or "nothing yet"
            return [("changed", changed), ("step", self.steps.phase)]
        facts = [(name, f"{before} → {after}") for name, before, after in preview.facts()]
        facts += [("warning", one) for one in preview.warnings]
        return [*facts, ("step", self.steps.phase)]

    def _step(self) -> dict[str, Any]:
        steps = self.steps
        step: dict[str, Any] = {"phase": steps.phase}
        if steps.preview is not None:
            over = steps.phase in {"sending", "updating", "done", "failed"}
            stale = not over and steps.is_stale(self.changes)
            step["preview"] = {**preview_section(steps.preview), "stale": stale}
        if steps.operation is not None and steps.phase in {"sending", "updating", "done", "failed"}:
            step["boot"] = boot_section(steps.operation)
            if steps.preview is not None and not steps.preview.restarts:
                step["boot"]["steps"] = []  # it does not boot for it
        return step

    # --- from workers -----------------------------------------------------------------------------

    def _taken(self, cvm: Cvm) -> None:
        """Take what runs; what was typed before and not sent yet stays."""
        runs = values_of(cvm)
        allowed = tuple(
            clean_text(one, 200) for one in app_compose_of(cvm).get("allowed_envs") or ()
        )
        with self._lock:
            kept = {name: value for name, value in self.changes.items() if name != "env"}
            if not self.is_env_given:
                self.env.reset(allowed)
            self.name = cvm.name or self.name
            self.runs, self.allowed = runs, allowed
            self.values = filled(replace(runs, **kept), self._wanted)
            self._wanted = {}
        self._look_soon()

    def _done(self) -> None:
        """Drop the values that were sent: they are of no more use here."""
        with self._lock:
            if self.is_env_given:
                self.allowed = tuple(self.env.values())
            self.runs, self._given_env = self.values, False
            self.env.reset(self.allowed)


def check_fields(fields: Mapping[str, object]) -> None:
    """Refuse fields that a form of a change does not have.

    Raises
    ------
    InvalidInput
        It has no such field; the message has the closest.
    """
    for field in fields:
        if field not in FIELDS:
            meant = near_miss(field, FIELDS)
            remedy = f"Did you mean {meant}?" if meant else f"It has {', '.join(FIELDS)}."
            problem = "the form of a change has no such field"
            raise InvalidInput(clean_text(field, 60), problem, remedy)


def preview_section(preview: UpdatePreview) -> dict[str, Any]:
    """Return a preview as plain data for a view."""
    return {
        "differs": preview.differs,
        "restarts": preview.restarts,
        "facts": [[name, before, after] for name, before, after in preview.facts()],
        "usd": [usd(preview.usd_h_before), usd(preview.usd_h_after)],
        "diff": [shown_line(line) for line in preview.diff[:MOST_LINES]],
        "more": max(0, len(preview.diff) - MOST_LINES),
        "env": [list(preview.env_added), list(preview.env_kept), list(preview.env_lost)],
        "obstacles": list(preview.obstacles),
        "dangers": list(preview.dangers),
        "notes": list(preview.notes),
        "phrase": preview.phrase,
    }
