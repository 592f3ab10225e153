"""Gates: rules for a fleet, judged on its frames; for CI, and for nightly reports."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import UTC, timedelta
from decimal import Decimal
from operator import itemgetter
from typing import Final, Literal, NamedTuple, TypeAlias, TypedDict, Unpack

import pandas as pd

from cvm_notebook.api import checks
from cvm_notebook.api.errors.tree import CvmError, InvalidInput
from cvm_notebook.api.models.base import money
from cvm_notebook.api.money import total
from cvm_notebook.api.scalars import plain
from cvm_notebook.api.status import PHASES, STATUSES, info_of, phase_of, status_of
from cvm_notebook.api.times import length_of
from cvm_notebook.frames.convert import as_text, conform
from cvm_notebook.frames.schema import FLAG, INTEGER, TEXT, Field, Table, require
from cvm_notebook.live.costs.intervals import HourlyPrice
from cvm_notebook.text import clean_text, without_zeros

_NAMED: Final = 3  # CVMs that a failed gate names
Amount: TypeAlias = Decimal | float | str
Asked: TypeAlias = bool | Literal["SIMULATED"]
_ACCEPTED: Final[Mapping[object, tuple[str, ...]]] = {
    True: ("VERIFIED",),
    "SIMULATED": ("VERIFIED", "SIMULATED"),
}
_WORST_FIRST: Final = ("FAILED", None, "PARTIAL", "SIMULATED")


class Limits(TypedDict, total=False):
    """The limits that `gates_frame` and `assert_fleet` take."""

    max_rate_usd_h: Amount | None
    max_idle_usd_h: Amount | None
    max_cvms: int | None
    max_status: Mapping[str, int] | None
    max_dev: int | None
    regions: Iterable[str] | None
    drift: pd.DataFrame | None
    max_drift: int
    attestation: pd.DataFrame | None
    verified: Asked | None
    max_evidence_age: str | timedelta | None


class Gate(NamedTuple):
    """One limit, and what was found."""

    gate: str
    limit: str
    found: str
    passed: bool
    cvms: tuple[str, ...]
    note: str = ""


GATES: Final[Table[Gate]] = Table(
    "gates/1",
    (Field("gate", TEXT, lambda g: g.gate, "what is judged"),),
    (
        Field("passed", FLAG, lambda g: g.passed, "whether the limit is kept"),
        Field("limit", TEXT, lambda g: g.limit, "what is allowed"),
        Field("found", TEXT, lambda g: g.found, "what there is"),
        Field("cvms", INTEGER, lambda g: len(g.cvms), "CVMs that count towards it"),
        Field("who", TEXT, lambda g: _who(g) or None, "some of those, the worst first"),
    ),
)


class GatesFailed(CvmError, AssertionError):  # noqa: N818 - it says what happened, as its kin do
    """The fleet does not keep to its limits: a line for each gate that failed.

    Attributes
    ----------
    frame
        The gates that failed; see `gates_frame`.
    """

    def __init__(self, gates: pd.DataFrame) -> None:
        self.frame = gates[~gates["passed"].astype(bool)]
        failed = [
            f"- {gate}: {found}, and {limit} is allowed" + (f" ({who})" if pd.notna(who) else "")
            for gate, found, limit, who in self.frame[["found", "limit", "who"]].itertuples()
        ]
        head = f"{len(failed)} of {len(gates)} gates failed: {', '.join(self.frame.index)}"
        super().__init__("\n".join([head, *failed]))

    def __str__(self) -> str:
        return self.message

    def _render_traceback_(self) -> list[str]:
        """Return what a notebook shows: it is the fleet that failed, and no code."""
        return self.message.splitlines()


@GATES.documents
def gates_frame(
    fleet: pd.DataFrame,
    *,
    max_rate_usd_h: Amount | None = None,
    max_idle_usd_h: Amount | None = None,
    max_cvms: int | None = None,
    max_status: Mapping[str, int] | None = None,
    max_dev: int | None = None,
    regions: Iterable[str] | None = None,
    drift: pd.DataFrame | None = None,
    max_drift: int = 0,
    attestation: pd.DataFrame | None = None,
    verified: Asked | None = None,
    max_evidence_age: str | timedelta | None = None,
) -> pd.DataFrame:
    """Judge a fleet by the limits that are given, one gate a row; nothing is raised.

    Parameters
    ----------
    fleet
        A frame of the fleet with ``columns="wide"``.
    max_rate_usd_h
        The most it may be charged an hour as it is now, in US dollars.
    max_idle_usd_h
        The most of that for CVMs that do not run: their disks are charged.
    max_cvms
        The most CVMs.
    max_status
        The most CVMs in a status: ``{"failed": 0}``. The service's words are understood, too.
    max_dev
        The most CVMs with an image for debugging, into which whoever holds the node can look.
    regions
        Where CVMs may be, whatever the case; those that have no region yet are left out.
    drift, max_drift
        A frame of `Fleet.drift`, and the most rows it may have.
    attestation
        A frame of `attestation_frame`, in which none may have failed. What could not be checked
        has not failed; ``who`` counts it.
    verified
        True: every CVM that runs must be VERIFIED by the column ``verified``; PARTIAL, SIMULATED,
        FAILED and what nobody has verified break the gate. ``"SIMULATED"`` also accepts SIMULATED,
        which is all that a development root such as LocalCloud's can give, and says nothing of
        hardware. The frame must have been made after `Fleet.verify`.
    max_evidence_age
        The most that may have gone by since each CVM that runs was verified (``verified_at``):
        ``"1d"``, ``"12h"`` or a timedelta. What nobody has verified breaks the gate.

    Raises
    ------
    InvalidInput
        No limit is given, one is not a number, or a frame is of another kind.
    """
    frame = conform(fleet)
    gates = [
        *_of_money(frame, "rate", max_rate_usd_h, STATUSES),
        *_of_money(
            frame, "idle", max_idle_usd_h, [s for s in STATUSES if not info_of(s).computing_charged]
        ),
        *_at_most("CVMs", frame, None, max_cvms),
        *_of_status(frame, checks.mapping("max_status", max_status)),
        *_at_most("debug images", frame, "is_dev", max_dev),
        *_of_regions(frame, regions),
        *_of_drift(drift, max_drift),
        *_of_attestation(frame, attestation),
        *_of_verdicts(frame, verified),
        *_of_evidence_age(frame, max_evidence_age),
    ]
    if not gates:
        raise InvalidInput("gates", "no limit was given", 'Give max_status={"failed": 0}.')
    return GATES.frame(gates)


def assert_fleet(fleet: pd.DataFrame, **limits: Unpack[Limits]) -> None:
    """Raise, with a line for each gate that failed, when a fleet does not keep to its limits.

    At the end of a notebook it makes a run of papermill, nbclient or ``cvm-notebook report`` fail.

    Parameters
    ----------
    fleet
        A frame of the fleet with ``columns="wide"``.
    **limits
        As of `gates_frame`: ``max_rate_usd_h``, ``max_idle_usd_h``, ``max_cvms``, ``max_status``,
        ``max_dev``, ``regions``, ``drift`` with ``max_drift``, ``attestation``,
        ``verified``, ``max_evidence_age``.

    Raises
    ------
    GatesFailed
        At least one gate failed; it is an AssertionError, and has all of them.
    InvalidInput
        No limit is given, one is not a number, or a frame is of another kind.

    Examples
    --------
    >>> frame = fleet.frame("wide")
    >>> cvm.assert_fleet(frame, max_rate_usd_h=20, max_status={"failed": 0}, max_dev=0)
    >>> cvm.assert_fleet(frame, max_cvms=0, max_dev=0)  # doctest: +IGNORE_EXCEPTION_DETAIL
    Traceback (most recent call last):
    GatesFailed: 1 of 2 gates failed: CVMs
    """
    for name in limits:
        if name not in Limits.__annotations__:
            remedy = f"There are {', '.join(sorted(Limits.__annotations__))}."
            raise InvalidInput(name, "there is no such limit", remedy)
    gates = gates_frame(fleet, **limits)
    if not gates["passed"].all():
        raise GatesFailed(gates)


# --- each gate ----------------------------------------------------------------------------------


def _of_money(
    frame: pd.DataFrame, gate: str, limit: Amount | None, statuses: Collection[str]
) -> Iterator[Gate]:
    """Judge what CVMs of some statuses are charged an hour."""
    if limit is None:
        return
    most = _amount(gate, limit)
    require(frame, ["name", "status", "rate_usd_h", "rate_disk_usd_h"], f"the gate {gate}")
    cells = zip(
        *(as_text(frame[n]) for n in ("name", "status", "rate_usd_h", "rate_disk_usd_h")),
        strict=True,
    )
    charged: list[tuple[Decimal, str]] = []
    unpriced = 0
    for cvm_id, (name, word, whole, disk) in zip(frame.index, cells, strict=True):
        status = word or "unknown"
        if status not in statuses:
            continue
        amount = HourlyPrice(money(whole), money(disk)).charged(status)
        unpriced += amount is None
        if amount:
            charged.append((amount, f"{name or cvm_id} {without_zeros(amount)}"))
    charged.sort(key=itemgetter(0), reverse=True)
    found = total(amount for amount, _ in charged)
    who = tuple(name for _, name in charged)
    note = f"{unpriced} without a price are not counted" if unpriced else ""
    yield Gate(
        gate,
        f"at most {without_zeros(most)} USD/h",
        f"{without_zeros(found)} USD/h",
        found <= most,
        who,
        note,
    )


def _at_most(gate: str, frame: pd.DataFrame, flag: str | None, limit: int | None) -> Iterator[Gate]:
    """Judge how many CVMs there are, or how many have a flag."""
    if limit is None:
        return
    if flag is not None:
        require(frame, [flag], f"the gate {gate}")
        frame = frame[frame[flag].fillna(value=False).astype(bool)]
    yield _counted(gate, _names(frame), _count(gate, limit))


def _of_status(frame: pd.DataFrame, limits: Mapping[str, int]) -> Iterator[Gate]:
    if limits:
        require(frame, ["status"], "the gate of a status")
    for key, limit in limits.items():
        word = checks.text("max_status", key)
        status = status_of(word)
        if phase_of(word) == "unknown" and word != "unknown":
            remedy = f"One of {', '.join(PHASES)}."
            raise InvalidInput("max_status", f"{clean_text(word, 40)!r} is not a status", remedy)
        some = frame[(frame["status"] == status).fillna(value=False)]
        yield _counted(status.replace("_", " "), _names(some), _count(word, limit))


def _of_regions(frame: pd.DataFrame, regions: Iterable[str] | None) -> Iterator[Gate]:
    if regions is None:
        return
    named = [checks.text("regions", one) for one in checks.several("regions", regions, "regions")]
    require(frame, ["region"], "the gate of regions")
    allowed = {region.casefold() for region in named}
    away = [
        region is not None and region.casefold() not in allowed
        for region in as_text(frame["region"])
    ]
    who = _names(frame[away])
    yield Gate("regions", f"only {', '.join(named)}", f"{len(who)} elsewhere", not who, who)


def _of_drift(drift: pd.DataFrame | None, limit: int) -> Iterator[Gate]:
    if drift is None:
        return
    checks.instance("drift", drift, pd.DataFrame, "Give what fleet.drift() returns.")
    columns = ["name", "declared", "live", "severity"]
    if drift.index.names != ["cvm_id", "field"] or not set(columns) <= set(drift.columns):
        raise InvalidInput("drift", "is not a frame of drift", "Give what fleet.drift() returns.")
    worst = drift.sort_values("severity", ascending=False, kind="stable")
    named = zip(worst.index, as_text(worst["name"]), strict=True)
    who = tuple(f"{name or cvm_id}: {field}" for (cvm_id, field), name in named)
    yield _counted("drift", who, _count("max_drift", limit))


def _of_attestation(frame: pd.DataFrame, attestation: pd.DataFrame | None) -> Iterator[Gate]:
    if attestation is None:
        return
    checks.instance("attestation", attestation, pd.DataFrame)
    if "checked" not in attestation.columns or attestation.index.name != "cvm_id":
        remedy = "Give what cvm.attestation_frame() returns."
        raise InvalidInput("attestation", "is not a frame of attestations", remedy)
    failed = attestation.index[(attestation["checked"] == "failed").to_numpy(dtype=bool)]
    unchecked = int((attestation["checked"] == "fetched").sum())
    named = dict(zip(frame.index, _names(frame), strict=True))
    gate = _counted("failed attestations", tuple(named.get(one, str(one)) for one in failed), 0)
    yield gate._replace(note=f"{unchecked} could not be checked" if unchecked else "")


def _of_verdicts(frame: pd.DataFrame, verified: Asked | None) -> Iterator[Gate]:
    """Judge what was proven of the CVMs that run."""
    if verified is None or verified is False:
        return
    accepted = _ACCEPTED.get(verified) if isinstance(verified, bool | str) else None
    if accepted is None:
        problem = f"{clean_text(repr(verified), 40)} is neither True nor 'SIMULATED'"
        raise InvalidInput("verified", problem, "True asks for VERIFIED on every CVM that runs.")
    gate = "not verified" if verified is True else "not verified, nor simulated"
    running = _running(frame, "verified", gate)
    named = zip(_names(running), as_text(running["verified"]), strict=True)
    found = [(word, name) for name, word in named if word not in accepted]
    found.sort(key=lambda pair: _WORST_FIRST.index(pair[0]))
    yield _counted(gate, tuple(f"{name} {word or 'not verified'}" for word, name in found), 0)


def _of_evidence_age(frame: pd.DataFrame, limit: str | timedelta | None) -> Iterator[Gate]:
    """Judge how long ago the CVMs that run were verified."""
    if limit is None:
        return
    most, shown = length_of("max_evidence_age", limit)
    running = _running(frame, "verified_at", "evidence age")
    judged = running["verified_at"]
    old = (judged.isna() | (judged < pd.Timestamp.now(UTC) - most)).to_numpy(dtype=bool)
    who = _names(running[old].sort_values("verified_at", na_position="first", kind="stable"))
    yield Gate("evidence age", f"at most {shown}", f"{len(who)} older, or without", not who, who)


def _running(frame: pd.DataFrame, column: str, gate: str) -> pd.DataFrame:
    require(frame, ["status", column], f"the gate {gate}")
    return frame[(frame["status"] == "running").fillna(value=False).to_numpy(dtype=bool)]


def _counted(gate: str, who: tuple[str, ...], limit: int) -> Gate:
    return Gate(gate, f"at most {limit}", str(len(who)), len(who) <= limit, who)


# --- messages -----------------------------------------------------------------------------------


def _names(frame: pd.DataFrame) -> tuple[str, ...]:
    names = as_text(frame["name"]) if "name" in frame else [None] * len(frame)
    return tuple(name or str(cvm_id) for cvm_id, name in zip(frame.index, names, strict=True))


def _who(gate: Gate) -> str:
    names = ", ".join(clean_text(name, 60) for name in gate.cvms[:_NAMED])
    more = len(gate.cvms) - _NAMED
    names += f" and {more} more" if more > 0 else ""
    return "; ".join(part for part in (names, gate.note) if part)


def _amount(gate: str, limit: Amount) -> Decimal:
    amount = money(plain(limit))
    if amount is None or amount < 0:
        problem = f"{clean_text(limit, 40)!r} is not an amount"
        raise InvalidInput(f"max_{gate}_usd_h", problem, "Give US dollars an hour, such as 12.5.")
    return amount


def _count(gate: str, limit: object) -> int:
    limit = plain(limit)
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 0:
        problem = f"{clean_text(limit, 40)!r} is not a number of CVMs"
        raise InvalidInput(gate, problem, "Give 0 or more.")
    return limit
