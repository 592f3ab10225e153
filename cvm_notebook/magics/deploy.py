"""``%%cvm deploy``: deployment of the Docker Compose file in a cell."""

import html
import weakref
from argparse import Namespace
from functools import partial
from typing import TYPE_CHECKING, Any

from cvm_notebook.api.compose.validation import check_compose_file
from cvm_notebook.api.errors.tree import CvmError
from cvm_notebook.api.models.actions import Provision
from cvm_notebook.api.secret import Secret
from cvm_notebook.deploy.apply.plan import Applied, ApplyPlan
from cvm_notebook.deploy.declaration import DEFAULTS
from cvm_notebook.deploy.deployment import Deployment, Provisioned
from cvm_notebook.deploy.environment import EnvTable
from cvm_notebook.deploy.pricing import Offer
from cvm_notebook.deploy.spec import Values
from cvm_notebook.fleet.fleet import Fleet
from cvm_notebook.fleet.handle import CvmHandle
from cvm_notebook.live.clock import SystemClock
from cvm_notebook.live.operations.operation import Operation
from cvm_notebook.live.operations.record import as_text
from cvm_notebook.live.workers import Workers
from cvm_notebook.magics.apply import apply_cell
from cvm_notebook.magics.environment import check_askable, environment, typed
from cvm_notebook.magics.session import Session
from cvm_notebook.magics.verbs import follow
from cvm_notebook.widgets.base.mimebundle import with_widget
from cvm_notebook.widgets.base.ui_thread import ui_thread

if TYPE_CHECKING:
    from cvm_notebook.widgets.base.secret_box import SecretBoxes


def deploy(
    session: Session, args: Namespace, compose: str
) -> "Offer | PendingDeployment | Operation | CvmHandle | ApplyPlan | Applied":
    """Deploy a compose file, or show the offer of a dry run.

    Everything is checked before anything is sent, and step one is answered before a secret is
    asked for. The commit is sent once. With ``--update`` a CVM that is there already is changed.
    """
    # the first line of the cell is the magic's: with one before them, lines are those of the cell
    check_compose_file(f"\n{compose}", "the cell")
    if args.update:
        return apply_cell(session, args, compose)
    values = Values(
        name=args.name,
        compose_file=compose,
        instance_type=args.type or DEFAULTS["instance_type"],
        region=args.region,
    )
    for wrong in values.problems().values():
        raise wrong
    env = environment(args.env, args.env_file)
    prompt = session.prompt_kind(wait=args.wait) if env.missing and not args.dry_run else None
    if not args.dry_run:
        check_askable(env, prompt)
    fleet = session.fleet()
    provisioned = Provisioned.request(fleet.client, values, env.names)
    if args.dry_run:
        return Offer.read(fleet.client, values, provisioned.answer, env.names)
    if prompt == "box":
        return PendingDeployment(fleet, values, provisioned, env)
    for name in env.missing:
        env.put(name, typed(name))
    operation = follow(
        fleet,
        lambda: provisioned.commit(fleet.operator, env.values()),
        wait=args.wait,
        name=values.name,
    )
    made = operation.made_id if args.wait else None
    return operation if made is None else CvmHandle(fleet, made)


# --- values given in boxes -----------------------------------------------------------------------


class PendingDeployment:
    """Deployment whose environment is completed in secret boxes; the last value commits it.

    Attributes
    ----------
    name, provision
        Of the new CVM, and the answer to step one.
    """

    def __init__(
        self, fleet: Fleet, values: Values, provisioned: Provisioned, env: EnvTable
    ) -> None:
        self.name = values.name
        self.provision: Provision = provisioned.answer
        self._fleet = fleet
        self._values = values
        self._env = env
        self._boxes: SecretBoxes | None = None
        self._deployment = Deployment(
            fleet.client,
            env,
            operations=lambda: fleet.operator,
            workers=Workers(SystemClock(), 1, "cvm-deploy", self._crashed),
            changed=lambda: ui_thread.post(self._show),
            provisioned=provisioned,
        )

    @property
    def operation(self) -> Operation | None:
        """The commit; None before."""
        return self._deployment.operation

    @property
    def missing(self) -> tuple[str, ...]:
        """The variables without a value."""
        return self._env.missing

    def _give(self, name: str, value: Secret) -> str | None:
        """Take the value typed into a box, and commit after the last; on the UI thread."""
        state = self._deployment
        if state.phase == "provisioned":  # else it is sent already
            try:
                self._env.put(name, value)
            except CvmError as error:
                return str(error)
            if self.missing:
                return None
            state.commit(self._values)
        return f"sent; {self.name} is being made" if state.phase == "committing" else self._problem

    @property
    def _problem(self) -> str | None:
        state = self._deployment
        if state.operation is not None and state.phase in {"provisioned", "fill"}:
            text = as_text(state.operation.record, named=False)
        else:
            text = "; ".join(str(error["text"]) for error in state.errors.values())
        return f"{text} Run the cell again." if state.phase == "fill" else text or None

    def _show(self) -> None:
        """Show the CVM that was made in place of the boxes, or why there is none."""
        made = None if self.operation is None else self.operation.made_id
        if self._boxes is not None and made is not None:
            boxes, self._boxes = self._boxes, None
            boxes.make_room(CvmHandle(self._fleet, made).card())
        elif self._boxes is not None and self._problem is not None:
            self._boxes.say(self._problem)

    def _crashed(self, error: BaseException) -> None:
        if self._boxes is not None:
            ui_thread.post(partial(self._boxes.say, f"{type(error).__name__}: nothing was sent."))

    def __repr__(self) -> str:
        if self.operation is not None:
            return f"<Deployment of {self.name!r}: {as_text(self.operation.record, named=False)}>"
        return f"<Deployment of {self.name!r}: waits for {', '.join(self.missing)}>"

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        if self.operation is not None:
            made = self.operation.made_id
            shown = CvmHandle(self._fleet, made) if made is not None else self.operation
            return shown._repr_mimebundle_()
        text = (
            f"{self.name} is made as soon as {', '.join(self.missing)} is given, in a box that "
            "only a notebook with widgets shows. With --wait it is asked for at a prompt."
        )
        static = {"text/plain": text, "text/html": f"<p>{html.escape(text)}</p>"}
        return with_widget(static, self._secret_boxes)

    def _secret_boxes(self) -> "SecretBoxes":
        from cvm_notebook.widgets.base.secret_box import SecretBoxes  # noqa: PLC0415 - widgets on demand

        if self._boxes is None or self._boxes.comm is None:  # none yet, or they were closed
            # ipywidgets keeps every box for ever, and would keep the fleet with it
            self._boxes = SecretBoxes(self.missing, weakref.WeakMethod(self._give))
        return self._boxes
