"""FormView: the fields of a CVM as a widget, filled in by hand and from Python."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.deploy.spec import KINDS
from cvm_notebook.widgets.base.clicks import RecentClicks
from cvm_notebook.widgets.base.view import LiveView, Message, ms
from cvm_notebook.widgets.form.state import FormState

T = TypeVar("T")


class FormField(Generic[T]):
    """An attribute of a form: one of its fields."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, form: "FormView", owner: type | None = None) -> T:
        value: T = getattr(form.model.values, self._name)
        return value

    def __set__(self, form: "FormView", value: T) -> None:
        form.fill(**{self._name: value})


class FormView(LiveView):
    """The fields that a new CVM and a change of one have in common.

    What is typed stays, whatever the service answers; values of environment variables go to the
    kernel once, and come back to no view.
    """

    _FAULT = " in the form. What was sent goes on."

    model: FormState

    compose_file = FormField[str]()
    pre_launch_script = FormField[str]()
    instance_type = FormField[str]()
    disk_size = FormField[int | None]()
    image = FormField[str]()
    public_logs = FormField[bool]()
    public_sysinfo = FormField[bool]()
    public_tcbinfo = FormField[bool]()
    listed = FormField[bool]()

    def __init__(self, model: FormState) -> None:
        self._edits: dict[str, int] = {}
        self._recent = RecentClicks()
        self.model = model
        super().__init__()
        model.begin()

    # --- for Python -------------------------------------------------------------------------------

    def fill(self, **fields: object) -> None:
        """Fill in some fields; see the class.

        Raises
        ------
        InvalidInput
            There is no such field, or its value is of another kind; nothing was changed.
        """
        self.model.fill(fields)

    @property
    def env_names(self) -> tuple[str, ...]:
        """The names of the environment variables; their values are shown nowhere."""
        return self.model.env.names

    @property
    def errors(self) -> dict[str, str]:
        """The errors, by field; ``general`` for those that name none."""
        return {field: str(error["text"]) for field, error in self.model.errors.items()}

    @property
    def request(self) -> str:
        """The Python that does the same; values of variables are taken from ``os.environ``."""
        return self.model.request

    # --- for the UI thread ------------------------------------------------------------------------

    def flush(self) -> None:
        """Send what has changed; see `View`."""
        self.model.rest()
        super().flush()

    def pulse(self) -> None:
        """Say that the kernel is there, and that the fleet is not any more; see `View`."""
        super().pulse()
        if self.model.is_closed:
            self._mark()

    def _state(self) -> Message:
        return self.model.sections() | {"edits": dict(self._edits)}

    def _vitals(self) -> Message:
        return {"at": ms(datetime.now(UTC))}

    def _keeps_boot(self) -> bool:
        return False  # what was filled in is no part of a saved notebook

    def _release(self) -> None:
        self.model.close()

    # --- messages of a view -----------------------------------------------------------------------

    def _on_path(self, message: Mapping[str, Any]) -> None:
        self.model.read_path(str(message.get("path", "")))

    def _on_reload(self, _message: Mapping[str, Any]) -> None:
        if self.model.loader.state != "loading":
            self.model.reload()

    def _on_env(self, message: Mapping[str, Any]) -> None:
        self.model.take_env(message)
        self._mark()

    _on_env_file = _on_env_remove = _on_env

    def _on_set(self, message: Mapping[str, Any]) -> None:
        typed, edits = message.get("values"), message.get("edits")
        if not isinstance(typed, dict) or not isinstance(edits, dict):
            return
        if self.model.is_locked:
            return  # what is being made can be changed no more
        known = {str(field): value for field, value in typed.items() if field in KINDS}
        for field, value in known.items():
            try:
                self.fill(**{field: value})
            except InvalidInput:
                continue  # no front end of this form sends another kind
        self._edits |= {str(field): edit for field, edit in edits.items() if isinstance(edit, int)}
