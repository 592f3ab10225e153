"""Verification of CVMs of a live fleet; the verdict of each is kept with its row."""

from cvm_notebook.api.client import Client
from cvm_notebook.attest.policy.policy import Policy
from cvm_notebook.attest.verdict import Verdict
from cvm_notebook.attest.verify import verify
from cvm_notebook.live.engine import FleetEngine
from cvm_notebook.live.store.records import Row, Trust, TrustCheck


def verify_row(
    engine: FleetEngine,
    row: Row,
    policy: Policy | None = None,
    *,
    pccs: str | None = None,
    refresh: bool = False,
    client: Client | None = None,
) -> Verdict:
    """Verify one CVM as `cvm.verify` does, and keep what came of it with its row.

    It asks the service and waits for its answers: not for a thread that shows something.

    Parameters
    ----------
    client
        Who asks, where it is not the engine's.

    Raises
    ------
    CvmError
        As of `cvm.verify`; what is known of the row is as before then.
    """
    since = engine.store.revision
    record = (engine.known(row.id) or row).cvm
    verdict = verify(client or engine.client, record, policy=policy, pccs=pccs, refresh=refresh)
    engine.store.attest({row.id: trust_of(verdict)}, since=since)
    return verdict


def trust_of(verdict: Verdict) -> Trust:
    """Return what a row keeps of a verdict."""
    return Trust(
        word=verdict.word,
        summary=verdict.summary,
        at=verdict.at,
        until=verdict.until,
        checks=tuple(
            TrustCheck(check.name, check.title, check.outcome, check.reason, check.todo)
            for check in verdict.checks
        ),
    )
