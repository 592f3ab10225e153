"""ProvisionForm: from nothing to a CVM that runs, in two steps that are seen."""

import json
import secrets
import time
import weakref
from collections import OrderedDict
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import anywidget
import traitlets

from cvm_notebook.api.compose.hashing import Env
from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.deploy.deployment import Phase
from cvm_notebook.deploy.spec import KINDS
from cvm_notebook.live.engine import FleetEngine
from cvm_notebook.text import html_table, text_table
from cvm_notebook.widgets.base.assets import module, style
from cvm_notebook.widgets.base.closing import ClosesWhole
from cvm_notebook.widgets.base.mimebundle import with_widget
from cvm_notebook.widgets.base.sealing import seal
from cvm_notebook.widgets.base.ui_thread import publish, ui_thread
from cvm_notebook.widgets.base.view import LEASE_S
from cvm_notebook.widgets.form.state import Draft

if TYPE_CHECKING:
    from cvm_notebook.api.client import Client
    from cvm_notebook.api.models.actions import Provision
    from cvm_notebook.live.operations.operation import Operation

_CLICKS: Final = 100
T = TypeVar("T")


class _Field(Generic[T]):
    """An attribute of the form: one of its fields."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, form: "ProvisionForm", owner: type | None = None) -> T:
        value: T = getattr(form.draft.values, self._name)
        return value

    def __set__(self, form: "ProvisionForm", value: T) -> None:
        form.fill(**{self._name: value})


class ProvisionForm(ClosesWhole, anywidget.AnyWidget):
    """A form for a new CVM: what it shall be, its price, then provision and commit.

    What is typed stays, whatever the service answers; values of environment variables go to the
    kernel once, and are kept there until they are encrypted and committed.

    Parameters
    ----------
    client
        Whose workspace it is.
    fleet
        Shows the new CVM, and sees the commit through; held weakly.
    env
        Environment variables: names and values; a value may be a Secret.
    **fields
        What is filled in already: ``name``, ``compose_file`` (a text, or a path),
        ``instance_type``, ``region`` or ``node_id``, ``disk_size`` (GB), ``image``,
        ``public_logs``, ``public_sysinfo``, ``public_tcbinfo``, ``listed``, ``replicas``.

    Raises
    ------
    InvalidInput
        There is no such field, its value is of another kind, or the file cannot be read. So are
        ``kms`` and ``transaction_hash``: a CVM whose keys are managed on a blockchain is made with
        the client.

    Examples
    --------
    >>> form = cvm.ProvisionForm(client, name="form-app", compose_file=compose)
    >>> form.send_provision()
    True
    """

    _esm = module("base/secret", "base/choices", "form/form_store", "form/form_parts", "form/form")
    _css = style("base/secret", "base/choices", "form/form")
    # What is drawn first: it rides in the opening of the comm, for a busy kernel answers nothing.
    _boot = traitlets.Bytes(b"").tag(sync=True)

    name = _Field[str]()
    compose_file = _Field[str]()
    instance_type = _Field[str]()
    region = _Field[str]()
    node_id = _Field[int | None]()
    disk_size = _Field[int | None]()
    image = _Field[str]()
    public_logs = _Field[bool]()
    public_sysinfo = _Field[bool]()
    public_tcbinfo = _Field[bool]()
    listed = _Field[bool]()
    replicas = _Field[int]()

    def __init__(
        self,
        client: "Client",
        *,
        fleet: FleetEngine | None = None,
        env: Env | None = None,
        **fields: object,
    ) -> None:
        self._token = secrets.token_hex(8)  # a click from a copy of the notebook has another
        self._edits: dict[str, int] = {}
        self._clicks: OrderedDict[str, None] = OrderedDict()
        self._sent: dict[str, Any] = {}
        self._n, self._until = 0, 0.0
        me = weakref.ref(self)
        self.draft = Draft(
            client, fleet, env, fields, changed=partial(_mark, me), crashed=partial(_crashed, me)
        )
        super().__init__(_boot=json.dumps(self._news()).encode())
        self.on_msg(partial(_received, me))
        self.draft.begin()
        ui_thread.post(self._heard, self)

    # --- for Python -------------------------------------------------------------------------------

    def fill(self, **fields: object) -> None:
        """Fill in some fields; see the class.

        Raises
        ------
        InvalidInput
            There is no such field, or its value is of another kind; nothing was changed.
        """
        self.draft.fill(fields)

    def send_provision(self) -> bool:
        """Send step one; nothing runs yet, and nothing costs.

        Returns
        -------
        bool
            Whether it was begun: not while something is under way, or when a CVM was made.
        """
        return self.draft.steps.provision(self.draft.values)

    def send_commit(self, *, as_provisioned: bool = False) -> bool:
        """Send step two: the CVM is made, and paid for.

        Parameters
        ----------
        as_provisioned
            Leave aside what was changed after step one; else such a change is an error.

        Returns
        -------
        bool
            Whether it was begun: not before step one, twice, or with something to be mended; see
            `errors`.
        """
        return self.draft.steps.commit(self.draft.values, as_provisioned=as_provisioned)

    def start_over(self) -> bool:
        """Begin another CVM with what is filled in; False while one is under way."""
        return self.draft.steps.start_over()

    @property
    def phase(self) -> Phase:
        """Where it stands, from ``fill`` over ``provisioned`` to ``running`` or ``failed``."""
        return self.draft.steps.phase

    @property
    def provision(self) -> "Provision | None":
        """The answer to step one; None before, and when the service holds it no longer."""
        provisioned = self.draft.steps.provisioned
        return None if provisioned is None else provisioned.answer

    @property
    def operation(self) -> "Operation | None":
        """The commit, from asking to running; None before it was asked."""
        return self.draft.steps.operation

    @property
    def replications(self) -> "tuple[Operation, ...]":
        """The operations that make the replicas; they begin when the first CVM runs."""
        return self.draft.steps.replicas

    @property
    def cvm_id(self) -> str | None:
        """The id of the CVM that was made; None before."""
        operation = self.draft.steps.operation
        return None if operation is None else operation.made_id

    @property
    def env_names(self) -> tuple[str, ...]:
        """The names of the environment variables; their values are shown nowhere."""
        return self.draft.env.names

    @property
    def errors(self) -> dict[str, str]:
        """What is wrong, by field; ``general`` for what names none."""
        return {field: str(error["text"]) for field, error in self.draft.errors.items()}

    @property
    def request(self) -> str:
        """The Python that does the same; values of variables are taken from ``os.environ``."""
        return self.draft.request

    def close(self) -> None:
        """End it; what was sent goes on."""
        ui_thread.leave(self)
        if "draft" in vars(self):  # a form that was refused its fields has none, and ends, too
            self.draft.close()
        super().close()

    # --- for the UI thread ------------------------------------------------------------------------

    def flush(self) -> None:
        """Send what has changed; see `View`."""
        self.draft.rest()
        if not self._is_seen():
            self._sent = {}  # whoever comes back is told everything
            return
        news = self._news()
        if len(news) > len(_ALWAYS):
            publish(self, news)

    def pulse(self) -> None:
        """Say that the kernel is there; see `View`."""
        if not self._is_seen():
            ui_thread.leave(self)
            return
        publish(self, {"kind": "pulse", "n": self._n})

    def failed(self, error: BaseException) -> None:
        """Show that something of ours went wrong; see `View`."""
        text = f"{type(error).__name__} in the form. What was sent goes on."
        publish(self, {"kind": "notice", "text": text})

    def _is_seen(self) -> bool:
        return time.monotonic() < self._until

    def _heard(self) -> bool:
        """Note a sign of life; return whether it is the first after a silence."""
        first = not self._is_seen()
        self._until = time.monotonic() + LEASE_S
        ui_thread.join(self)
        return first

    def _news(self) -> dict[str, Any]:
        """Return the sections that differ from what was sent last."""
        sections = self.draft.sections() | {"edits": dict(self._edits)}
        new = {name: said for name, said in sections.items() if self._sent.get(name) != said}
        self._sent = sections
        if new:
            self._n += 1
        return {"kind": "form", "n": self._n, "token": self._token, **new}

    # --- what a view says -------------------------------------------------------------------------

    def _take(self, content: Mapping[str, Any]) -> None:
        kind = content.get("kind")
        if kind == "bye":
            self._until = 0.0
            ui_thread.leave(self)
            return
        if self._heard() or kind == "hello":
            self._sent = {}
            ui_thread.mark(self)
        if kind == "ack" and self._boot:
            self._boot = b""  # what was filled in is no part of a saved notebook
        if content.get("token") == self._token:  # a view of another time may look, and not act
            self._obey(str(kind), content)

    def _obey(self, kind: str, content: Mapping[str, Any]) -> None:
        if kind == "set":
            self._typed(content)
        elif kind == "path":
            self.draft.read_path(str(content.get("path", "")))
        elif kind == "reload" and self.draft.loader.state != "loading":
            self.draft.reload()
        elif self.draft.env.receive(content):
            self.draft.steps.forgive("env")
            ui_thread.mark(self)
        elif kind in {"provision", "commit", "again"} and self._is_new(content.get("click")):
            if kind == "provision":
                self.send_provision()
            elif kind == "commit":
                self.send_commit(as_provisioned=content.get("as_provisioned") is True)
            else:
                self.start_over()
            ui_thread.mark(self)

    def _typed(self, content: Mapping[str, Any]) -> None:
        typed, edits = content.get("values"), content.get("edits")
        if not isinstance(typed, dict) or not isinstance(edits, dict):
            return
        if self.draft.steps.phase in {"committing", "booting"}:
            return  # what is being made can be changed no more
        known = {str(field): value for field, value in typed.items() if field in KINDS}
        for field, value in known.items():
            try:
                self.fill(**{field: value})
            except InvalidInput:
                continue  # no front end of ours sends another kind
        self._edits |= {str(field): edit for field, edit in edits.items() if isinstance(edit, int)}

    def _is_new(self, click: object) -> bool:
        if not isinstance(click, str) or not click or click in self._clicks:
            return False
        self._clicks[click] = None
        while len(self._clicks) > _CLICKS:
            self._clicks.popitem(last=False)
        return True

    # --- shown ------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        made = f", CVM {self.cvm_id}" if self.cvm_id else ""
        return f"<ProvisionForm of {self.name or 'a new CVM'!r}: {self.phase}{made}>"

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:  # type: ignore[override]
        rows = self.draft.rows()
        now = datetime.now(UTC)
        title = f"New CVM, as filled in at {now:%Y-%m-%d %H:%M:%S} UTC; re-run the cell to go on"
        static = {
            "text/plain": text_table(title, ("", ""), rows),
            "text/html": html_table(title, ("", ""), rows),
        }
        return with_widget(static, lambda: self)


_ALWAYS: Final = ("kind", "n", "token")


def _mark(me: "weakref.ref[ProvisionForm]") -> None:
    form = me()
    if form is not None:
        ui_thread.mark(form)


def _crashed(me: "weakref.ref[ProvisionForm]", error: BaseException) -> None:
    form = me()
    if form is not None:
        form.failed(error)


def _received(
    me: "weakref.ref[ProvisionForm]", _widget: object, content: object, _buffers: object
) -> None:
    form, sealed = me(), seal(content)  # no secret goes further in the clear
    if form is not None:
        ui_thread.post(partial(form._take, sealed), form)  # noqa: SLF001 - its own handler
