"""The drift frame: desired state beside actual state, field by field."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import pandas as pd

from cvm_notebook.api import checks
from cvm_notebook.api.errors.tree import InvalidInput, NotFoundError
from cvm_notebook.api.http.prefetch import side_by_side
from cvm_notebook.api.models.cvm import Cvm
from cvm_notebook.frames.convert import as_text, conform
from cvm_notebook.frames.fleet import fleet_frame
from cvm_notebook.frames.reports.declared import (
    SCRIPT,
    Compose,
    Declaration,
    Declared,
    read_declaration,
)
from cvm_notebook.frames.reports.diff import WHOLE, differs
from cvm_notebook.frames.schema import INSTANT, TEXT, Field, Table, fixed
from cvm_notebook.live.store.records import Row, Snapshot, key_of

if TYPE_CHECKING:
    from cvm_notebook.api.client import Client

KINDS: Final = ("missing", "extra", "different")
SEVERITIES: Final = ("low", "medium", "high")

# what a fleet frame can declare: settings of a CVM, and not its state
DECLARABLE: Final[Mapping[str, str]] = {
    **dict.fromkeys(("compose_hash", "docker_compose_hash", "os", "os_image_hash"), "high"),
    **dict.fromkeys(("instance_type", "vcpu", "memory_gb", "disk_gb", "gpus"), "medium"),
    **dict.fromkeys(("region", "replicas", "kms_type", "gateway_enabled"), "medium"),
    **dict.fromkeys(("public_logs", "public_sysinfo", "public_tcbinfo", "listed"), "medium"),
    **dict.fromkeys(("name", "custom_domain"), "low"),
}


class Drift(NamedTuple):
    """One field of one CVM that is not as declared."""

    cvm_id: str
    field: str
    declared: str | None
    live: str | None
    severity: str
    checked_at: datetime
    name: str | None

    @property
    def kind(self) -> str:
        """The kind of drift: the side that lacks it, or that both differ."""
        if self.live is None:
            return "missing"
        return "extra" if self.declared is None else "different"


DRIFT: Final[Table[Drift]] = Table(
    "drift/1",
    (
        Field("cvm_id", TEXT, lambda d: d.cvm_id, "the CVM; or what was declared and is not there"),
        Field(
            "field",
            TEXT,
            lambda d: d.field,
            "a column of the fleet, image.SERVICE, env.NAME, pre_launch_script_status or cvm",
        ),
    ),
    (
        Field("declared", TEXT, lambda d: d.declared, "as it should be"),
        Field("live", TEXT, lambda d: d.live, "as it is"),
        Field(
            "kind",
            fixed(KINDS),
            lambda d: d.kind,
            "missing: only declared; extra: only live; different: both, and not the same",
        ),
        Field("severity", fixed(SEVERITIES), lambda d: d.severity, "high: other software runs"),
        Field("checked_at", INSTANT, lambda d: d.checked_at, "when the snapshot was taken"),
        Field("name", TEXT, lambda d: d.name, "the CVM's name"),
    ),
)


@DRIFT.documents
def drift_frame(
    snapshot: Snapshot,
    expected: Compose | Mapping[str, Declaration] | pd.DataFrame,
    *,
    client: "Client | None" = None,
) -> pd.DataFrame:
    """Compare the fleet with what it should be; what is as declared has no row.

    Of environment variables only the names are compared, and only where the CVM's app compose is
    known: a list leaves it out.

    Parameters
    ----------
    snapshot
        The fleet, or some CVMs of it.
    expected
        A compose file (path or text) that every CVM should run. Or a mapping from a CVM's name,
        id or app id to a compose file, to an app compose, or to any of ``compose``,
        ``compose_hash``, ``os``, ``instance_type``, ``region``, ``replicas``, ``envs``,
        ``pre_launch_script_status`` (``official``, ``older``, ``modified`` or ``none``); the
        replicas of an app are compared with what is declared of one. Or a fleet frame, of an
        earlier day or of another workspace.
    client
        Reads the app composes that are needed and not known, one for each compose hash, and the
        status of scripts that are declared; eight at a time.

    Raises
    ------
    InvalidInput
        `expected` is none of these, or a compose file is not valid.
    CvmError
        An app compose could not be read.
    """
    checks.instance("snapshot", snapshot, Snapshot, "Give fleet.snapshot().")
    if isinstance(expected, pd.DataFrame):
        return DRIFT.frame(_from_frame(snapshot, expected))
    live = fleet_frame(snapshot, columns=list(DECLARABLE))
    if isinstance(expected, Mapping):
        return DRIFT.frame(_from_mapping(snapshot, live, expected, client))
    whole = read_declaration(expected, "expected")
    pairs = [(at, whole) for at in range(len(snapshot))]
    return DRIFT.frame(_compared(snapshot, live, pairs, client))


# --- a mapping ----------------------------------------------------------------------------------


def _from_mapping(
    snapshot: Snapshot,
    live: pd.DataFrame,
    expected: Mapping[str, Declaration],
    client: "Client | None",
) -> Iterator[Drift]:
    rows = snapshot.rows
    declared = {
        key: read_declaration(declaration, str(key)) for key, declaration in expected.items()
    }
    apps = [row.app_id or row.id for row in rows]
    named: dict[str, list[int]] = {}
    for at, row in enumerate(rows):
        for key in {row.name, row.id, row.app_id} & declared.keys():
            named.setdefault(str(key), []).append(at)
    meant: dict[int, Declared] = {}
    for key in declared.keys() & named.keys():  # all CVMs of its app, but what is named itself
        of_app = {apps[at] for at in named[key]}
        meant.update({at: declared[key] for at, app in enumerate(apps) if app in of_app})
    meant.update({at: declared[key] for key, places in named.items() for at in places})
    for key in declared.keys() - named.keys():
        yield Drift(key, WHOLE, key, None, "high", snapshot.taken_at, key)
    pairs = sorted(meant.items(), key=lambda pair: pair[0])
    yield from _compared(snapshot, live, pairs, client)
    for at, row in enumerate(rows):
        if at not in meant:
            yield _extra(row, snapshot)


def _extra(row: Row, snapshot: Snapshot) -> Drift:
    return Drift(row.id, WHOLE, None, row.name or row.id, "medium", snapshot.taken_at, row.name)


def _compared(
    snapshot: Snapshot,
    live: pd.DataFrame,
    pairs: Sequence[tuple[int, Declared]],
    client: "Client | None",
) -> Iterator[Drift]:
    rows = snapshot.rows
    composes = _composes(client, [rows[at].cvm for at, wanted in pairs if wanted.envs is not None])
    scripts = _scripts(client, [rows[at].cvm for at, wanted in pairs if SCRIPT in wanted.fields])
    texts = {name: as_text(live[name]) for name in DECLARABLE}
    for at, declared in pairs:
        row = rows[at]
        fields: list[tuple[str, str | None, str | None, str]] = [
            (name, expected, texts[name][at], DECLARABLE[name])
            for name, expected in declared.fields.items()
            if name != SCRIPT and not declared.agrees(name, texts[name][at])
        ]
        fields += _script(declared, scripts.get(row.id))
        fields += _images(declared, row.cvm)
        fields += _envs(declared, row.cvm, composes)
        for name, expected, actual, severity in fields:
            yield Drift(row.id, name, expected, actual, severity, snapshot.taken_at, row.name)


def _images(declared: Declared, cvm: Cvm) -> Iterator[tuple[str, str | None, str | None, str]]:
    """Compare the images of services, where both sides are known."""
    if declared.images is None or not cvm.services:
        return
    live = {str(s.get("name")): str(s.get("image") or "") for s in cvm.services if _is_named(s)}
    for name in sorted(declared.images.keys() | live.keys()):
        expected, actual = declared.images.get(name), live.get(name)
        if expected != actual:
            yield f"image.{name}", expected, actual, "high"


def _is_named(service: Any) -> bool:
    return isinstance(service, Mapping) and isinstance(service.get("name"), str)


def _envs(
    declared: Declared, cvm: Cvm, composes: Mapping[str | None, object]
) -> Iterator[tuple[str, str | None, str | None, str]]:
    """Compare the names of environment variables, where both sides are known."""
    known = isinstance(cvm.compose_file, Mapping)
    compose = cvm.compose_file if known else composes.get(_hash_of(cvm))
    if declared.envs is None or not isinstance(compose, Mapping):
        return
    live = {str(name) for name in compose.get("allowed_envs") or ()}
    for name in sorted(declared.envs ^ (live - declared.optional_envs)):
        if name in live:
            yield f"env.{name}", None, "allowed", "low"
        else:
            yield f"env.{name}", "needed", None, "high"


def _script(
    declared: Declared, live: str | None
) -> Iterator[tuple[str, str | None, str | None, str]]:
    """Compare the kind of pre-launch script; an unknown one does not agree."""
    if SCRIPT in declared.fields and not declared.agrees(SCRIPT, live):
        yield SCRIPT, declared.fields[SCRIPT], live or "not told", "high" if live else "low"


def _scripts(client: "Client | None", cvms: Sequence[Cvm]) -> dict[str | None, str | None]:
    """Read the kinds of pre-launch scripts, as far as the service gives them."""
    if client is None:
        return {}

    def read(cvm: Cvm) -> str | None:
        try:
            return client.get_pre_launch_script_status(cvm).word
        except NotFoundError:  # it has gone, or the service does not have this call
            return None

    return dict(zip(map(key_of, cvms), side_by_side(cvms, read), strict=True))


def _composes(client: "Client | None", cvms: Iterable[Cvm]) -> dict[str | None, object]:
    """Read the app composes that are not known; CVMs with one compose hash have the same one."""
    if client is None:
        return {}
    unknown = {_hash_of(cvm): cvm for cvm in cvms if not isinstance(cvm.compose_file, Mapping)}

    def read(cvm: Cvm) -> object:
        try:
            return client.get_cvm_compose_file(cvm)
        except NotFoundError:  # it has gone since the snapshot
            return None

    return dict(zip(unknown, side_by_side(list(unknown.values()), read), strict=True))


def _hash_of(cvm: Cvm) -> str | None:
    return cvm.compose_hash or cvm.id


# --- a frame ------------------------------------------------------------------------------------


def _from_frame(snapshot: Snapshot, expected: pd.DataFrame) -> Iterator[Drift]:
    wanted = conform(expected)
    if wanted.index.has_duplicates or wanted.index.hasnans:
        raise InvalidInput("expected", "has a CVM twice, or one without an id")
    fields = [name for name in DECLARABLE if name in wanted]
    live = fleet_frame(snapshot, columns=list(DECLARABLE))
    place = live.index.get_indexer(wanted.index)
    names = as_text(wanted["name"]) if "name" in wanted else [None] * len(wanted)
    for at in np.flatnonzero(place < 0):
        cvm_id, name = str(wanted.index[int(at)]), names[int(at)]
        yield Drift(cvm_id, WHOLE, name or cvm_id, None, "high", snapshot.taken_at, name)
    both = wanted.iloc[np.flatnonzero(place >= 0)]
    found = live.iloc[place[place >= 0]]
    yield from _different(both, found, fields, snapshot.taken_at)
    undeclared = ~live.index.isin(wanted.index)
    for at in np.flatnonzero(undeclared):
        yield _extra(snapshot.rows[int(at)], snapshot)


def _different(
    wanted: pd.DataFrame, live: pd.DataFrame, fields: Sequence[str], checked_at: datetime
) -> list[Drift]:
    """Return where the same CVMs differ, CVM by CVM; what is not declared is no drift."""
    names = as_text(live["name"])
    found: list[tuple[int, Drift]] = []
    for field in fields:
        unlike = differs(wanted[field], live[field]) & wanted[field].notna().to_numpy()
        where = [int(at) for at in np.flatnonzero(unlike)]
        expected, actual = as_text(wanted[field].iloc[where]), as_text(live[field].iloc[where])
        for number, at in enumerate(where):
            sides = expected[number], actual[number]
            cvm_id, severity = str(live.index[at]), DECLARABLE[field]
            found.append((at, Drift(cvm_id, field, *sides, severity, checked_at, names[at])))
    return [drift for _, drift in sorted(found, key=lambda pair: pair[0])]
