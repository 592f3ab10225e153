"""Catalogue and prices: instance types, nodes with their free capacity, images, and an offer."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Literal

from cvm_notebook.api.errors.tree import CvmError
from cvm_notebook.api.models.actions import Provision
from cvm_notebook.api.models.catalogue import InstanceType, Node, OsImage
from cvm_notebook.api.money import exact
from cvm_notebook.deploy.error_fields import error_payload
from cvm_notebook.deploy.spec import Values
from cvm_notebook.text import clean_text, table_bundle, usd

if TYPE_CHECKING:
    from cvm_notebook.api.client import Client

HOURS_A_MONTH: Final = 730
DISK_USD_GB_H: Final = Decimal("0.000139")  # as documented; the catalogue does not state it
_CENT: Final = Decimal("0.01")


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """Snapshot of the service's instance types, nodes and images; frozen."""

    types: tuple[InstanceType, ...] = ()
    nodes: tuple[Node, ...] = ()
    images: tuple[OsImage, ...] = ()

    @classmethod
    def read(cls, client: "Client") -> "Catalogue":
        """Read it from the service by three requests.

        Raises
        ------
        CvmError
            One of them failed.
        """
        return cls(
            types=tuple(client.list_instance_types()),
            nodes=tuple(client.get_available_nodes().nodes),
            images=tuple(client.list_os_images()),
        )

    def type_of(self, type_id: str) -> InstanceType | None:
        """Return an instance type by its id."""
        return next((one for one in self.types if one.id == type_id), None)

    def payload(self, chosen: Values) -> dict[str, Any]:
        """Return the state for a view."""
        kind = self.type_of(chosen.instance_type)
        return {
            "types": [self._card(one) for one in self.types if one.id],
            "regions": sorted({n.region_identifier for n in self.nodes if n.region_identifier}),
            "nodes": [_node(node, kind) for node in self.nodes if node.id is not None],
            "images": [_image(one) for one in self.images if one.name],
            "disk": kind.default_disk_size_gb if kind else None,
        }

    def _card(self, kind: InstanceType) -> dict[str, Any]:
        return {
            "id": kind.id,
            "name": clean_text(kind.id, 40),
            "size": f"{kind.vcpu or '?'} vCPU",
            "memory": _gb(kind.memory_mb),
            "gpu": _gpus(kind),
            "family": clean_text(kind.family or "", 40),
            "hour": usd(kind.hourly_rate) or "?",
            "month": month_of(kind.hourly_rate),
            "full": bool(self.nodes) and not any(_has_room(node, kind) for node in self.nodes),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Price of a deployment in dollars an hour; None where the catalogue does not say."""

    compute: Decimal | None
    disk_gb: int | None
    replicas: int

    @classmethod
    def of(cls, catalogue: Catalogue, values: Values) -> "Price":
        """Compute it from the catalogue."""
        kind = catalogue.type_of(values.instance_type)
        disk = values.disk_size or (kind.default_disk_size_gb if kind else None)
        return cls(
            compute=kind.hourly_rate if kind else None,
            disk_gb=disk,
            replicas=min(max(values.replicas, 1), 1000),
        )

    @property
    @exact
    def hour(self) -> Decimal | None:
        """The price of all replicas together, an hour."""
        if self.compute is None:
            return None
        return (self.compute + DISK_USD_GB_H * (self.disk_gb or 0)) * self.replicas

    def payload(self) -> dict[str, Any]:
        """Return the price for a view."""
        hour = self.hour
        if hour is None:
            return {"hour": None, "text": "The price is not known yet."}
        disk = DISK_USD_GB_H * (self.disk_gb or 0)
        each = f"{usd(self.compute)} computing + {usd(disk)} for {self.disk_gb or '?'} GB of disk"
        times = f", times {self.replicas}" if self.replicas > 1 else ""
        return {"hour": usd(hour), "month": month_of(hour), "text": each + times}


class Loader:
    """Loader of the catalogue, with the state of its reading.

    Parameters
    ----------
    changed
        Called, from a worker, after every change.
    """

    def __init__(self, client: "Client", changed: Callable[[], object]) -> None:
        self._client = client
        self._changed = changed
        self.state: Literal["loading", "ready", "failed"] = "loading"
        self.error: CvmError | None = None
        self.catalogue = Catalogue()

    def use(self, client: "Client") -> None:
        """Read with another client from now on."""
        self._client = client

    def load(self) -> None:
        """Read it now; what was read before stays until then. Does I/O."""
        self.state = "loading"
        self._changed()
        wrong: CvmError | None = CvmError("The catalogue was not read", hint="Ask for it again.")
        try:
            self.catalogue, wrong = Catalogue.read(self._client), None
        except CvmError as error:
            wrong = error.with_traceback(None)
        finally:  # after a crash, too
            self.error, self.state = wrong, "ready" if wrong is None else "failed"
            self._changed()

    def payload(self, chosen: Values) -> dict[str, Any]:
        """Return the state for a view."""
        payload = {"state": self.state, **self.catalogue.payload(chosen)}
        return payload if self.error is None else {**payload, "error": error_payload(self.error)}


@dataclass(frozen=True, slots=True)
class Offer:
    """Result of a dry run: the answer to step one, its price and place. Nothing runs.

    Attributes
    ----------
    provision
        The service's answer; `Client.commit_cvm_provision` takes it.
    usd_h
        US dollars an hour; None where the catalogue does not say.
    """

    provision: Provision
    rows: tuple[tuple[str, str], ...]
    usd_h: Decimal | None

    @classmethod
    def read(
        cls, client: "Client", values: Values, provision: Provision, env_names: tuple[str, ...]
    ) -> "Offer":
        """Look up in the catalogue what the answer does not say: the price, and the place."""
        catalogue = Catalogue.read(client)
        price = Price.of(catalogue, values)
        hour = price.hour
        cost = "not known" if hour is None else f"{usd(hour)} USD/h, {month_of(hour)} USD a month"
        node_id = provision.node_id if provision.node_id is not None else provision.teepod_id
        node = next((one for one in catalogue.nodes if one.id == node_id), None)
        place = str(node_id) if node is None else f"{node.name}, {node.region_identifier}"
        cells = (
            ("name", values.name),
            ("type", provision.instance_type or values.instance_type),
            ("price", cost),
            ("disk", f"{price.disk_gb} GB" if price.disk_gb else ""),
            ("node", place if node_id is not None else ""),
            ("compose hash", provision.compose_hash or ""),
            ("app id", provision.app_id or ""),
            ("environment", ", ".join(env_names)),
        )
        rows = tuple((name, clean_text(value, 80)) for name, value in cells if value)
        return cls(provision, rows, hour)

    def __repr__(self) -> str:
        return self._repr_mimebundle_()["text/plain"]

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        title = "Dry run: nothing runs, and nothing is paid for. Without --dry-run it is made."
        return table_bundle(title, ("", ""), self.rows)


@exact
def month_of(hour: Decimal | None) -> str:
    """Return the price of a month of 730 hours."""
    if hour is None or not hour.is_finite():
        return "?"
    return f"{(hour * HOURS_A_MONTH).quantize(_CENT):,f}"


def _node(node: Node, kind: InstanceType | None) -> dict[str, Any]:
    left = [
        f"{_count(node.remaining_vcpu)} vCPU",
        _gb(node.remaining_memory),
        f"{_count(node.remaining_cvm_slots)} slots",
    ]
    return {
        "id": node.id,
        "name": clean_text(node.name or str(node.id), 60),
        "region": clean_text(node.region_identifier or "", 60),
        "left": ", ".join(left),
        "full": kind is not None and not _has_room(node, kind),
    }


def _has_room(node: Node, kind: InstanceType) -> bool:
    """Return whether a type fits on a node, as far as the node's free resources are known."""
    gpu_images = any("nvidia" in (image.name or "") for image in node.images)
    needs = (
        (node.remaining_vcpu, kind.vcpu),
        (node.remaining_memory, kind.memory_mb),
        (node.remaining_cvm_slots, 1),
    )
    fits = all(left is None or wanted is None or left >= wanted for left, wanted in needs)
    return fits and (not kind.requires_gpu or gpu_images or not node.images)


def _image(image: OsImage) -> dict[str, Any]:
    marks: Iterable[str] = (
        "for debugging" if image.is_dev else "",
        "GPU" if image.requires_gpu else "",
    )
    note = ", ".join(mark for mark in marks if mark)
    name = clean_text(image.name or "", 80)
    return {"id": image.name, "name": f"{name} ({note})" if note else name}


def _gpus(kind: InstanceType) -> str:
    if not kind.requires_gpu:
        return ""
    gpus = (kind.description or "").rpartition(", ")[2]
    return clean_text(gpus, 30) if "GPU" in gpus else "GPU"


def _gb(megabytes: float | None) -> str:
    return "? GB" if megabytes is None else f"{megabytes / 1024:,.0f} GB"


def _count(number: float | None) -> str:
    return "?" if number is None else f"{number:,.0f}"
