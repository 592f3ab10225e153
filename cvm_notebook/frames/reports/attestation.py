"""What CVMs show of the software they run, and what of it was checked here: one CVM a row."""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias, get_args

import pandas as pd

from cvm_notebook.api.compose.attestation import Check, Evidence, judge_attestation
from cvm_notebook.api.errors.tree import AuthError, CvmError, InvalidInput, clean_text
from cvm_notebook.api.http.prefetch import PageFetcher
from cvm_notebook.api.models.cvm import Cvm
from cvm_notebook.api.models.guest import CvmAttestation
from cvm_notebook.api.resources import validation as checks
from cvm_notebook.api.resources.cvm_ref import Ref
from cvm_notebook.api.resources.cvms import Reads
from cvm_notebook.frames.reports.declared import Declaration, Declared, read_declaration
from cvm_notebook.frames.schema import FLAG, INSTANT, INTEGER, TEXT, Field, Table, fixed

if TYPE_CHECKING:
    from cvm_notebook.api.client import Client

CHECKS: Final[tuple[str, ...]] = get_args(Check)
_AT_ONCE: Final = 8
_HASH: Final = re.compile(r"(?:sha256:|0x)?[0-9a-fA-F]{64}")
_UNAUTHORIZED: Final = 401
_NOTHING: Final = Declared({})
_Fetched: TypeAlias = tuple[Cvm, CvmAttestation | CvmError, datetime]


class Attested(NamedTuple):
    """One CVM's evidence, and when it was fetched and checked."""

    cvm_id: str | None
    evidence: Evidence
    checked_at: datetime


ATTESTATION: Final[Table[Attested]] = Table(
    "attestation/1",
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
            "whether a certificate carries a quote; it is not verified here",
        ),
        Field(
            "checked",
            fixed(CHECKS),
            lambda a: a.evidence.checked,
            "hash_matched: the log adds up and has the compose file's hash; fetched: not checked, "
            "too little is shown or its form is not read here; failed: nothing is shown, or it "
            "does not fit; never quote_verified",
        ),
        Field("checked_at", INSTANT, lambda a: a.checked_at, "when it was fetched and checked"),
    ),
)


@ATTESTATION.documents
def attestation_frame(
    client: "Client",
    cvms: Ref | Iterable[Ref] = None,
    *,
    expected: Declaration | Mapping[str, Declaration] | None = None,
) -> pd.DataFrame:
    """Fetch what CVMs show of the software they run, and check what can be checked here.

    The compose file is hashed, and the event log added up; nobody's signature is verified, so a
    matching hash says that the CVM's evidence is consistent, and not that trusted hardware runs it.

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

    Returns
    -------
    pandas.DataFrame
        ``attrs["cvm"]["why"]`` says of each CVM, by id, why its hash did not match.

    Raises
    ------
    InvalidInput
        `expected` is none of these, or names a CVM that was not asked for.
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
    declared = _declarations(expected)
    asked = _asked(client, cvms)
    fetch = partial(_fetch, client, asked)
    fetched = list(PageFetcher(fetch, 0, len(asked) - 1, _AT_ONCE))
    wanted = _wanted(declared, [cvm for cvm, _, _ in fetched])
    rows = {
        cvm.id: Attested(cvm.id, _judged(said, run), at)
        for (cvm, said, at), run in zip(fetched, wanted, strict=True)
    }
    why = {str(row.cvm_id): row.evidence.why for row in rows.values() if row.evidence.why}
    return ATTESTATION.frame(rows.values(), why=why)


def _asked(client: "Client", cvms: Ref | Iterable[Ref]) -> list[Ref]:
    if cvms is None:
        return list(client.list_cvms())
    if isinstance(cvms, Iterable) and not isinstance(cvms, str | Mapping):
        return list(cvms)
    return [cvms]


def _fetch(client: "Client", asked: Sequence[Ref], at: int) -> tuple[_Fetched, bool]:
    """Return a CVM and what it shows, or why it does not."""
    one = asked[at]
    cvm = one if isinstance(one, Cvm) else client.get_cvm_info(one)
    said: CvmAttestation | CvmError
    try:
        said = client.get_cvm_attestation(cvm)
    except CvmError as error:
        if isinstance(error, AuthError) and error.status == _UNAUTHORIZED:
            raise
        said = error
    return (cvm, said, datetime.now(UTC)), False


def _judged(said: CvmAttestation | CvmError, declared: Declared) -> Evidence:
    if isinstance(said, CvmError):
        return Evidence(checked="failed", why=f"it could not be fetched: {said.message}")
    return judge_attestation(
        said,
        compose_hash=declared.fields.get("compose_hash"),
        docker_compose_hash=declared.fields.get("docker_compose_hash"),
    )


def _declarations(
    expected: Declaration | Mapping[str, Declaration] | None,
) -> Declared | dict[str, Declared]:
    """Read what should run: on all of them, or by whatever they are called."""
    if not isinstance(expected, Mapping) or {"docker_compose_file", "runner"} & expected.keys():
        return _declared(expected, "expected")
    return {str(key): _declared(said, str(key)) for key, said in expected.items()}


def _declared(said: object, where: str) -> Declared:
    if said is None:
        return _NOTHING
    if isinstance(said, str) and _HASH.fullmatch(said.strip()):
        return Declared({"compose_hash": said})
    return read_declaration(said, where)


def _wanted(declared: Declared | dict[str, Declared], cvms: list[Cvm]) -> list[Declared]:
    """Return what each CVM should run."""
    if isinstance(declared, Declared):
        return [declared] * len(cvms)
    names = [(cvm.name, cvm.id, cvm.app_id) for cvm in cvms]
    strange = declared.keys() - {name for known in names for name in known}
    if strange:
        said = ", ".join(clean_text(name, 60) for name in sorted(strange)[:5])
        problem = f"names no CVM that was asked for: {said}"
        raise InvalidInput("expected", problem, "Name a CVM by its name, id or app id.")
    return [next((declared[n] for n in known if n in declared), _NOTHING) for known in names]
