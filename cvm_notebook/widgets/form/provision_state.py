"""ProvisionState: the form state of a new CVM, its template or copy, and its deployment."""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from cvm_notebook.api.compose.hashing import Env
from cvm_notebook.api.errors.tree import CvmError
from cvm_notebook.deploy.deployment import Deployment, Provisioned
from cvm_notebook.deploy.environment import EnvTable
from cvm_notebook.deploy.script import as_python, literal
from cvm_notebook.deploy.spec import Values
from cvm_notebook.deploy.updating import read_whole
from cvm_notebook.live.engine import FleetEngine
from cvm_notebook.text import clean_text
from cvm_notebook.widgets.form.sections import offered, static_rows, step_section
from cvm_notebook.widgets.form.starts import Start, Starts, copyable
from cvm_notebook.widgets.form.state import FormState, filled

if TYPE_CHECKING:
    from cvm_notebook.api.client import Client


class ProvisionState(FormState):
    """The state of the form for a new CVM, and its deployment.

    Parameters
    ----------
    fields
        What is filled in already.
    """

    def __init__(
        self,
        client: "Client",
        fleet: FleetEngine | None,
        env: Env | None,
        fields: Mapping[str, object],
        *,
        changed: Callable[[], object],
        crashed: Callable[[BaseException], None],
    ) -> None:
        values = filled(Values(), fields)
        super().__init__(client, fleet, EnvTable(env), values, changed=changed, crashed=crashed)
        self.steps: Deployment = Deployment(
            client,
            self.env,
            operations=self._operations,
            workers=self._workers,
            changed=self._moved,
        )
        self.starts = Starts()

    # --- begun with what there is already ---------------------------------------------------------

    def fill(self, fields: Mapping[str, object]) -> None:
        """Fill in some fields, all or none; see `FormState`."""
        super().fill(fields)
        with self._lock:
            self.starts.before = None  # to take a start back would lose what was typed since
        self._changed()

    def start(self, start: Start, over: Mapping[str, object] = MappingProxyType({})) -> bool:
        """Fill the form from a template or a CVM; False while something is under way.

        Parameters
        ----------
        over
            Fields that stay as they were filled in.
        """
        with self._lock:
            if self.is_locked:
                return False
            before = self.values, self.env.names
            name = self.starts.name_for(start, self.values.name)
        fields = {**start.fields, "name": name}
        super().fill({field: value for field, value in fields.items() if field not in over})
        self.env.want(start.env_names)
        with self._lock:
            if name != before[0].name:
                self.starts.proposed = name
            self.starts.before, self.starts.message, self.starts.problem = before, start.message, ""
        self.steps.forgive("env")
        self._changed()
        return True

    def undo_start(self) -> bool:
        """Undo the last start; False when something was filled in since."""
        with self._lock:
            before = self.starts.before
            if before is None or self.is_locked:
                return False
            self.values, self.starts.before = before[0], None
            self.starts.message = "Undone."
        self.env.want(before[1])
        self._moved()
        return True

    def list_cvms(self) -> None:
        """Find out which CVMs can be copied, on a worker."""
        self._on_a_worker(self._list_cvms)

    def copy(self, cvm_id: str) -> None:
        """Fill the form from a CVM, on a worker."""
        self._on_a_worker(partial(self._copy, cvm_id))

    def _on_a_worker(self, task: Callable[[], None]) -> None:
        with self._lock:
            if self.starts.is_reading or self.is_locked:
                return
            self.starts.is_reading, self.starts.problem = True, ""
        self._changed()
        self._workers.do(partial(self._run_task, task))

    def _run_task(self, task: Callable[[], None]) -> None:
        problem = ""
        try:
            task()
        except CvmError as error:
            problem = clean_text(str(error), 400)
        finally:
            with self._lock:
                self.starts.is_reading, self.starts.problem = False, problem
            self._changed()

    def _list_cvms(self) -> None:
        self.starts.cvms = copyable(self.client, self.fleet)

    def _copy(self, cvm_id: str) -> None:
        self.start(Start.of_cvm(read_whole(self.client, cvm_id)))

    # --- shown ------------------------------------------------------------------------------------

    def sections(self) -> dict[str, Any]:
        """Return everything that is shown, in parts that change by themselves."""
        starts = self.starts.payload()  # first: what a start fills in is there before
        return super().sections() | {"starts": starts}

    @property
    def is_locked(self) -> bool:
        """Whether what is filled in can be changed no more."""
        return self.steps.phase in {"committing", "booting"}

    @property
    def is_followed(self) -> bool:
        """Whether an operation is under way."""
        return self.is_locked or any(not one.done for one in self.steps.replicas)

    @property
    def request(self) -> str:
        """The Python that does the same."""
        return as_python(self.values, self.env.names)

    def rows(self) -> list[tuple[str, str]]:
        """Return what was filled in and what came of it, in words; nothing secret."""
        hour = self.price.hour
        price = self.price.payload()
        cost = f"{price['hour']} USD/h" if hour is not None else str(price["text"])
        return static_rows(self.values, self.env.names, self.steps, cost)

    def _step(self) -> dict[str, Any]:
        step = step_section(self.steps, self.values, self.env.names, self._look)
        if "provision" in step:
            step["provision"] |= offered(self.steps, self.loader.catalogue, self.price)
        if "boot" in step:
            name = self.steps.name
            call = "fleet[{}]" if self.fleet is not None else "client.get_cvm_info({})"
            step["made"] = clean_text(name, 80)
            step["python"] = call.format(literal(name))
            step["can_open"] = self.fleet is not None
        return step

    def _compared(self) -> Provisioned | None:
        return self.steps.provisioned
