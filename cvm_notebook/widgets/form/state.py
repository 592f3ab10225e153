"""FormState: the values of a form, their validation, and the catalogue."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from cvm_notebook.api.compose.validation import names_a_file
from cvm_notebook.api.errors.tree import CvmError, InvalidInput
from cvm_notebook.deploy.deployment import Provisioned
from cvm_notebook.deploy.environment import EnvTable
from cvm_notebook.deploy.error_fields import Errors
from cvm_notebook.deploy.pricing import Loader, Price
from cvm_notebook.deploy.spec import Values, read_compose
from cvm_notebook.live.clock import SystemClock
from cvm_notebook.live.engine import FleetEngine
from cvm_notebook.live.operations.context import OperationSettings
from cvm_notebook.live.operations.service import OperationService
from cvm_notebook.live.workers import Workers
from cvm_notebook.widgets.base.fleet_view import KeptFleet
from cvm_notebook.widgets.form.sections import (
    Look,
    field_errors,
    values_section,
)

if TYPE_CHECKING:
    from cvm_notebook.api.client import Client
    from cvm_notebook.live.reflector.interest import InterestHandle

_WORKERS: Final = 3
_CLOSE_S: Final = 2.0
_LOOKS: Final = OperationSettings(slowest=2.0)  # one CVM that a user waits for


class Steps(Protocol):
    """The steps that follow a form, as its state needs them."""

    client: "Client"
    errors: Errors

    def forgive(self, field: str) -> None:
        """Drop the error of a field that is being edited."""

    def close(self) -> None:
        """Stop following; operations go on."""


class FormState(ABC):
    """The values of one form, and what is seen of them. Safe from any thread.

    Parameters
    ----------
    fleet
        Sees operations through; kept until it is closed, or the form is.
    env
        The environment variables.
    values
        What is filled in already.
    changed
        Called, from any thread, when there is something else to be shown.
    crashed
        Called with an unexpected error on a worker.
    """

    steps: Steps

    def __init__(
        self,
        client: "Client",
        fleet: FleetEngine | None,
        env: EnvTable,
        values: Values,
        *,
        changed: Callable[[], object],
        crashed: Callable[[BaseException], None],
    ) -> None:
        self.values = values
        self.env = env
        self.client = client
        self._fleet = KeptFleet(fleet) if fleet is not None else None
        self._changed = changed
        self._lock = threading.RLock()
        self._own: OperationService | None = None
        self._hold: InterestHandle | None = None
        self._closed = False
        self._look, self._looking = Look(), False
        self._workers = Workers(SystemClock(), _WORKERS, "cvm-form", crashed)
        self.loader = Loader(client, changed)

    # --- for a subclass ---------------------------------------------------------------------------

    @property
    @abstractmethod
    def is_locked(self) -> bool:
        """Whether what is filled in can be changed no more: it is being carried out."""

    @property
    @abstractmethod
    def is_followed(self) -> bool:
        """Whether an operation is under way that the fleet is to be kept live for."""

    @property
    @abstractmethod
    def request(self) -> str:
        """The Python that does the same."""

    @abstractmethod
    def _step(self) -> dict[str, Any]:
        """Return where the steps stand, for a view."""

    def _compared(self) -> Provisioned | None:
        """Return what the compose file is compared with."""
        return None

    # --- for the widget ---------------------------------------------------------------------------

    @property
    def fleet(self) -> FleetEngine | None:
        """The fleet that sees operations through, while there is one."""
        return self._fleet() if self._fleet is not None else None

    @property
    def is_closed(self) -> bool:
        """Whether the fleet that sees operations through is closed."""
        fleet = self.fleet
        return fleet is not None and fleet.health.state == "closed"

    def use(self, client: "Client") -> None:
        """Go on with another client, as after a key was refused."""
        self.client = self.steps.client = client
        self.loader.use(client)
        self.reload()

    def begin(self) -> None:
        """Read the catalogue, and look at what is filled in."""
        self.reload()
        self._look_soon()

    def reload(self) -> None:
        """Read the catalogue, on a worker."""
        self._workers.do(self.loader.load)

    def fill(self, fields: Mapping[str, object]) -> None:
        """Fill in some fields, all or none.

        Raises
        ------
        InvalidInput
            There is no such field, or its value is of another kind.
        """
        with self._lock:
            before, self.values = self.values, filled(self.values, fields)
        for field in fields:
            self.steps.forgive("node" if field in {"region", "node_id"} else field)
        if before.compose_file != self.values.compose_file:
            self._look_soon()
        self._changed()

    def take_env(self, message: Mapping[str, Any]) -> None:
        """Take a view's message about environment variables."""
        self.env.receive(message)
        self.steps.forgive("env")

    def read_path(self, path: str) -> None:
        """Fill in the compose file from a file on this machine, on a worker."""
        self._workers.do(partial(self._read_path, path))

    def close(self) -> None:
        """End it within two seconds; what was sent goes on."""
        self.steps.close()
        self.rest(closing=True)
        with self._lock:
            self._closed, own = True, self._own
        self._workers.close(_CLOSE_S / 2)
        if self._fleet is not None:
            self._fleet.let_go()
        if own is not None:
            own.close(_CLOSE_S / 2)

    def rest(self, *, closing: bool = False) -> None:
        """Keep the fleet live no longer, when nothing is under way."""
        if self.is_followed and not closing:
            return
        with self._lock:
            hold, self._hold = self._hold, None
        if hold is not None:
            hold.close()

    # --- shown ------------------------------------------------------------------------------------

    @property
    def errors(self) -> dict[str, dict[str, Any]]:
        """The errors, by field."""
        return field_errors(self.values, self._look, self.steps.errors)

    @property
    def price(self) -> Price:
        """The price of what is filled in."""
        return Price.of(self.loader.catalogue, self.values)

    def sections(self) -> dict[str, Any]:
        """Return everything that is shown, in parts that change by themselves."""
        # first: what belongs to a step is there before the step says that it is reached
        step = self._step()
        values, names, look = self.values, self.env.names, self._look
        wanted = [name for name in look.variables if name not in names]
        return {
            "fields": values_section(values),
            "compose": values.compose_file,
            "seen": {
                "services": look.services,
                "wanted": wanted,
                "optional": [name for name in look.optional if name not in names],
                "remarks": [[one.line, one.why, str(one), one.text] for one in look.remarks],
            },
            "errors": self.errors,
            "catalogue": self.loader.payload(values),
            "price": self.price.payload(),
            "env": self.env.payload(),
            "step": step,
            "request": self.request,
            "read_only": self.client.read_only,
            "closed": self.is_closed,
            "signed_out": bool(getattr(self.loader.error, "is_of_the_key", False)),
            "who": f"{self.client.base_url}, key from {self.client.key_source}",
        }

    # --- within -----------------------------------------------------------------------------------

    def _operations(self) -> OperationService:
        """Return the fleet's operations while there is a fleet, else some of our own."""
        fleet = self.fleet
        if fleet is not None:
            with self._lock:
                self._hold = self._hold or fleet.interest()
            return fleet.operator
        with self._lock:
            if self._closed:
                raise CvmError("Nothing was sent: the form is closed", hint="Make a new one.")
            if self._own is None:
                self._own = OperationService(self.client, settings=_LOOKS)
            return self._own

    def _moved(self) -> None:
        self._look_soon()  # what was provisioned may be other than before
        self._changed()

    def _look_soon(self) -> None:
        """Look at the compose file on a worker; once however much is typed meanwhile."""
        with self._lock:
            if self._looking:
                return
            self._looking = True
        self._workers.do(self._look_now)

    def _look_now(self) -> None:
        looking = True
        try:
            while looking:
                seen = (self.values.compose_file, self._compared())
                look = Look.at(*seen)
                with self._lock:
                    self._look = look
                    looking = seen != (self.values.compose_file, self._compared())
                    self._looking = looking
        finally:
            if looking:  # it crashed; the next text is looked at all the same
                with self._lock:
                    self._looking = False
        self._changed()

    def _read_path(self, path: str) -> None:
        try:
            self.fill({"compose_file": read_compose(path)})
        except InvalidInput as error:
            with self._lock:
                self._look = Look(problem=error)
            self._changed()


def filled(values: Values, fields: Mapping[str, object]) -> Values:
    """Return values with others filled in; a compose file may be named by its path."""
    for field, value in fields.items():
        given = value
        if field == "compose_file" and isinstance(value, str) and names_a_file(value):
            given = read_compose(value.strip())
        values = values.with_(field, given)
    return values
