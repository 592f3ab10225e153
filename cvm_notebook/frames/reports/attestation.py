"""The attestation frame: the evidence and the verdict of each CVM, one CVM a row."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, get_args

import pandas as pd

from cvm_notebook.api import checks
from cvm_notebook.api.errors.tree import AuthError, CvmError, InvalidInput
from cvm_notebook.api.http.prefetch import side_by_side
from cvm_notebook.api.models.cvm import Cvm
from cvm_notebook.api.models.decode import convert
from cvm_notebook.api.models.guest import CvmAttestation
from cvm_notebook.api.resources.cvm_ref import Ref
from cvm_notebook.api.resources.cvms import Reads
from cvm_notebook.attest.checks.check import OUTCOMES, TITLES
from cvm_notebook.attest.collateral import CollateralSource
from cvm_notebook.attest.evidence.consistency import Agreement, Consistency, judge_attestation
from cvm_notebook.attest.evidence.evidence import Evidence
from cvm_notebook.attest.policy.app_identity import AppIdentity
from cvm_notebook.attest.policy.policy import CHECK_NAMES, CheckName, Policy, policy_for_many
from cvm_notebook.attest.policy.roots import root_of
from cvm_notebook.attest.verdict import Verdict
from cvm_notebook.attest.verify import EvidenceSource, pccs_address, verdict_of
from cvm_notebook.attest.words import WORDS
from cvm_notebook.frames.reports.declared import Declaration, Declared, read_declaration
from cvm_notebook.frames.schema import DURATION, FLAG, INSTANT, INTEGER, TEXT, Field, Table, fixed
from cvm_notebook.live.engine import FleetEngine
from cvm_notebook.live.progress import progress_bar
from cvm_notebook.live.store.records import Row
from cvm_notebook.live.trust import trust_of
from cvm_notebook.text import clean_text

if TYPE_CHECKING:
    from cvm_notebook.api.client import Client

CHECKS: Final[tuple[str, ...]] = get_args(Agreement)
_SLOW: Final = 1.0  # seconds after which progress is shown
_HASH: Final = re.compile(r"(?:sha256:|0x)?[0-9a-fA-F]{64}")
_NOTHING: Final = Declared({})


class _Fetched(NamedTuple):
    """A fetched attestation, or why there is none; with a policy also as evidence."""

    cvm: Cvm
    attestation: CvmAttestation | CvmError
    evidence: Evidence | None
    at: datetime


class Attested(NamedTuple):
    """One CVM's evidence, when it was fetched and checked, and the verdict of a policy on it."""

    cvm_id: str | None
    evidence: Consistency
    checked_at: datetime
    verdict: Verdict | None = None


def _outcome(name: CheckName) -> Field[Attested]:
    """Declare the column of a check."""
    return Field(
        name,
        fixed(OUTCOMES),
        lambda a: None if a.verdict is None else a.verdict[name].outcome,
        f"of the verdict: {TITLES[name]}",
    )


ATTESTATION: Final[Table[Attested]] = Table(
    "attestation/2",
    (Field("cvm_id", TEXT, lambda a: a.cvm_id, "the CVM"),),
    (
        Field(
            "compose_hash_live",
            TEXT,
            lambda a: a.evidence.compose_hash_live,
            "hash of the app compose that was measured at its boot",
        ),
        Field(
            "compose_hash_expected",
            TEXT,
            lambda a: a.evidence.compose_hash_expected,
            "what that was compared with: the expected one's, or the shown one's, hashed here",
        ),
        Field("os_image_hash", TEXT, lambda a: a.evidence.os_image_hash, "of the image measured"),
        Field("mrtd", TEXT, lambda a: a.evidence.tcb.mrtd, "measurement of the firmware"),
        Field("rtmr0", TEXT, lambda a: a.evidence.tcb.rtmr0, "of the virtual hardware"),
        Field("rtmr1", TEXT, lambda a: a.evidence.tcb.rtmr1, "of the kernel"),
        Field("rtmr2", TEXT, lambda a: a.evidence.tcb.rtmr2, "of its command line and initrd"),
        Field("rtmr3", TEXT, lambda a: a.evidence.tcb.rtmr3, "of the app, by the event log"),
        Field("event_count", INTEGER, lambda a: a.evidence.event_count, "events in the log"),
        Field(
            "cert_not_after",
            INSTANT,
            lambda a: a.evidence.cert_not_after,
            "when the first of its certificates ends",
        ),
        Field(
            "quote_present",
            FLAG,
            lambda a: a.evidence.quote_present,
            "whether a certificate carries a quote",
        ),
        Field(
            "checked",
            fixed(CHECKS),
            lambda a: a.evidence.checked,
            "hash_matched: the log adds up and has the compose file's hash; fetched: not checked, "
            "too little is shown or its form is not read here; failed: nothing is shown, or it "
            "does not fit. It says nothing of the hardware",
        ),
        Field("checked_at", INSTANT, lambda a: a.checked_at, "when it was fetched and checked"),
        Field(
            "verdict",
            fixed(WORDS),
            lambda a: None if a.verdict is None else a.verdict.word,
            "of a policy: SIMULATED under any root but Intel's; nothing without a policy",
        ),
        Field(
            "ok",
            FLAG,
            lambda a: None if a.verdict is None else a.verdict.ok,
            "whether all that the policy requires has passed, and nothing failed",
        ),
        Field(
            "verdict_age",
            DURATION,
            lambda a: None if a.verdict is None else datetime.now(UTC) - a.verdict.at,
            "from the instant of the verdict to this frame",
        ),
        Field(
            "repeatable_until",
            INSTANT,
            lambda a: None if a.verdict is None else a.verdict.until,
            "until when the verdict can be repeated with the same collateral",
        ),
        *map(_outcome, CHECK_NAMES),
    ),
)


@ATTESTATION.documents
def attestation_frame(
    client: "Client",
    cvms: Ref | Iterable[Ref] = None,
    *,
    expected: Declaration | Mapping[str, Declaration] | None = None,
    policy: Policy | None = None,
    pccs: str | None = None,
    refresh: bool = False,
    progress: bool = True,
) -> pd.DataFrame:
    """Fetch what CVMs show of the software they run, and judge it.

    The compose file is hashed, and the event log added up: a matching hash says that the CVM's
    evidence is consistent. With a policy the quotes are judged, too: a verdict for each CVM.

    Parameters
    ----------
    client
        Asks the service; eight CVMs at a time.
    cvms
        One or several: identifiers, handles or records. All of the workspace when not given.
    expected
        What should run: a compose hash, an app compose, or a compose file (path or text), for all
        of them; or a mapping from a CVM's name, id or app id to one of these. What is not
        expected to be anything is compared with the compose file that it shows itself.
    policy
        What is trusted; see `cvm.verify`. Of each CVM the app is what is expected of it, where the
        policy does not name one.
    pccs
        Where collateral is had from, instead of the service; once for each kind of machine.
    refresh
        Ask for collateral again, though some is kept.
    progress
        Show a bar, where it takes longer than a second.

    Returns
    -------
    pandas.DataFrame
        ``attrs["cvm"]["why"]`` says of each CVM, by id, why its hash did not match, and
        ``attrs["cvm"]["summary"]`` what its verdict is.

    Raises
    ------
    InvalidInput
        `expected` is none of these, or names a CVM that was not asked for; or the policy is about
        one endpoint or nonce, of which each CVM has its own.
    NotFoundError
        One of `cvms` is not there.
    AuthError
        The key was refused.

    Examples
    --------
    >>> frame = cvm.attestation_frame(client, "my-app")
    >>> frame["checked"].tolist()
    ['hash_matched']
    """
    checks.instance("client", client, Reads, "Give a Client.")
    rows = attested(
        client,
        cvms,
        expected=expected,
        policy=policy,
        pccs=pccs,
        refresh=refresh,
        progress=progress,
    )
    return _frame(rows, judged=policy is not None)


def attested(
    client: "Client",
    cvms: Ref | Iterable[Ref] = None,
    *,
    expected: Declaration | Mapping[str, Declaration] | None = None,
    policy: Policy | None = None,
    pccs: str | None = None,
    refresh: bool = False,
    progress: bool = True,
) -> list[Attested]:
    """Return what `attestation_frame` makes its frame of."""
    checks.booleans(refresh=refresh, progress=progress)
    declared = _declarations(expected)
    by = None if policy is None else policy_for_many("policy", policy).under(root_of(client))
    asked = _asked(client, cvms)
    collateral = CollateralSource(client, pccs_address(pccs), refresh=refresh)
    fetch = partial(_fetch, client, None if by is None else EvidenceSource(client))
    with progress_bar("attestation", len(asked), shown=progress, delay=_SLOW) as bar:
        fetched = []
        for one in side_by_side(asked, fetch):
            fetched.append(one)
            bar.update()
    wanted = _wanted(declared, [one.cvm for one in fetched])
    rows = {
        one.cvm.id: Attested(
            one.cvm.id, _judged(one.attestation, run), one.at, _verdict(one, run, by, collateral)
        )
        for one, run in zip(fetched, wanted, strict=True)
    }
    return list(rows.values())


def verify_rows(
    engine: FleetEngine, rows: Sequence[Row], policy: Policy | None, **how: Any
) -> pd.DataFrame:
    """Verify some CVMs of a live fleet, and keep what came of it with their rows."""
    by = Policy() if policy is None else policy
    since = engine.store.revision
    found = attested(engine.client, [row.cvm for row in rows], policy=by, **how)
    verdicts = {one.cvm_id: one.verdict for one in found if one.cvm_id and one.verdict}
    engine.store.attest({key: trust_of(one) for key, one in verdicts.items()}, since=since)
    return _frame(found, judged=True)


def _frame(rows: Sequence[Attested], *, judged: bool) -> pd.DataFrame:
    """Return the frame of what was found, with the summaries where a policy has judged it."""
    why = {str(row.cvm_id): row.evidence.why for row in rows if row.evidence.why}
    verdicts = {str(row.cvm_id): row.verdict.summary for row in rows if row.verdict}
    attrs: dict[str, Any] = {"summary": verdicts} if judged else {}
    return ATTESTATION.frame(rows, why=why, **attrs)


def _asked(client: "Client", cvms: Ref | Iterable[Ref]) -> list[Ref]:
    if cvms is None:
        return list(client.list_cvms())
    if isinstance(cvms, Iterable) and not isinstance(cvms, str | Mapping):
        return list(cvms)
    return [cvms]


def _fetch(client: "Client", source: EvidenceSource | None, one: Ref) -> _Fetched:
    """Fetch the attestation of a CVM, or the error; as evidence where there is a source."""
    cvm = one if isinstance(one, Cvm) else client.get_cvm_info(one)
    if source is not None:
        return _fetch_evidence(cvm, source)
    attestation: CvmAttestation | CvmError
    try:
        attestation = client.get_cvm_attestation(cvm)
    except CvmError as error:
        if isinstance(error, AuthError) and error.is_of_the_key:
            raise
        attestation = error
    return _Fetched(cvm, attestation, None, datetime.now(UTC))


def _fetch_evidence(cvm: Cvm, source: EvidenceSource) -> _Fetched:
    """Ask once for both: what is judged, and what the columns of the frame show."""
    answer = source.answer(cvm)
    attestation: CvmAttestation | CvmError
    try:
        attestation = convert(answer, CvmAttestation, f"what {cvm.id} attests")
    except CvmError as error:
        attestation = error
    return _Fetched(cvm, attestation, Evidence.of(answer), datetime.now(UTC))


def _verdict(
    one: _Fetched, run: Declared, policy: Policy | None, source: CollateralSource
) -> Verdict | None:
    if policy is None or one.evidence is None:
        return None
    wanted = _identity(run) if policy.app is None else None
    by = policy if wanted is None else replace(policy, app=wanted)
    return verdict_of(one.cvm, source.complete(one.evidence, one.at), by, one.at)


def _identity(run: Declared) -> AppIdentity | None:
    """Return what is expected of a CVM as a policy has it."""
    whole, text = run.fields.get("compose_hash"), run.fields.get("docker_compose_hash")
    if whole is not None:
        return AppIdentity.of(whole)
    same = run.same.get("docker_compose_hash", frozenset())
    return (
        None if text is None else AppIdentity(docker_compose_hashes=(text, *sorted(same - {text})))
    )


def _judged(attestation: CvmAttestation | CvmError, declared: Declared) -> Consistency:
    if isinstance(attestation, CvmError):
        return Consistency(checked="failed", why=f"it could not be fetched: {attestation.message}")
    return judge_attestation(
        attestation,
        compose_hash=declared.fields.get("compose_hash"),
        docker_compose_hash=declared.fields.get("docker_compose_hash"),
    )


def _declarations(
    expected: Declaration | Mapping[str, Declaration] | None,
) -> Declared | dict[str, Declared]:
    """Read what should run: on all of them, or by whatever they are called."""
    if not isinstance(expected, Mapping) or {"docker_compose_file", "runner"} & expected.keys():
        return _declared(expected, "expected")
    return {str(key): _declared(declaration, str(key)) for key, declaration in expected.items()}


def _declared(declaration: object, where: str) -> Declared:
    if declaration is None:
        return _NOTHING
    if isinstance(declaration, str) and _HASH.fullmatch(declaration.strip()):
        return Declared({"compose_hash": declaration})
    return read_declaration(declaration, where)


def _wanted(declared: Declared | dict[str, Declared], cvms: list[Cvm]) -> list[Declared]:
    """Return what each CVM should run."""
    if isinstance(declared, Declared):
        return [declared] * len(cvms)
    names = [(cvm.name, cvm.id, cvm.app_id) for cvm in cvms]
    strange = declared.keys() - {name for known in names for name in known}
    if strange:
        shown = ", ".join(clean_text(name, 60) for name in sorted(strange)[:5])
        problem = f"names no CVM that was asked for: {shown}"
        raise InvalidInput("expected", problem, "Name a CVM by its name, id or app id.")
    return [next((declared[n] for n in known if n in declared), _NOTHING) for known in names]
