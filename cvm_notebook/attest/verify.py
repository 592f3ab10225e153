"""verify(): fetch what a CVM shows of itself, and judge it by a policy."""

import os
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import msgspec

from cvm_notebook.api import checks
from cvm_notebook.api.auth.address import check_base_url
from cvm_notebook.api.errors.tree import AuthError, CvmError, InvalidInput
from cvm_notebook.api.models.cvm import Cvm
from cvm_notebook.api.resources.attestations import Attestations
from cvm_notebook.api.resources.cvm_ref import Ref
from cvm_notebook.attest.checks.judge import judge
from cvm_notebook.attest.collateral import CollateralSource
from cvm_notebook.attest.evidence.certificates import read_certificate
from cvm_notebook.attest.evidence.evidence import Evidence
from cvm_notebook.attest.evidence.fields import (
    MalformedEvidence,
    bare_digits,
    from_json,
    json_object,
)
from cvm_notebook.attest.policy.policy import Policy
from cvm_notebook.attest.policy.roots import root_of
from cvm_notebook.attest.verdict import Verdict

if TYPE_CHECKING:
    from cvm_notebook.api.client import Client

_NONCE_BYTES: Final = 32


def verify(
    client: "Client",
    cvm: Ref = None,
    *,
    policy: Policy | None = None,
    at: datetime | None = None,
    evidence: object = None,
    pccs: str | None = None,
    refresh: bool = False,
) -> Verdict:
    """Say what is proven of a CVM: which code it runs, and on what.

    Evidence is fetched from the service, and collateral (Intel's documents on its machine) from
    the service or a PCCS; all is judged here. Nothing is published, nor sent to anybody else.

    Parameters
    ----------
    client
        Of the service that runs it.
    cvm
        Its name, any identifier, or its record.
    policy
        What is trusted and expected; `Policy()` when not given.
    at
        The instant of the judgement, aware; now when not given.
    evidence
        Evidence that you have, instead of the service's: what a guest agent or a sidecar answered,
        a quote, or a certificate. See `Evidence.of`.
    pccs
        Address of a caching service of provisioning certificates, such as
        ``"https://api.trustedservices.intel.com"``, instead of the service's collateral.
    refresh
        Ask for collateral again. Without it what was had for such a machine is used until it ends,
        a month at the most, and what was revoked since is not known.

    Returns
    -------
    Verdict
        Nine checks. It fails, and does not raise, for evidence that is malformed or cannot be had.

    Raises
    ------
    NotFoundError
        There is no such CVM.
    AuthError
        The key was refused.
    InvalidInput
        An argument is not what it should be.

    Examples
    --------
    >>> verdict = cvm.verify(client, "my-app", policy=cvm.Policy(app=compose))
    >>> [check.name for check in verdict][:3]
    ['hardware', 'tcb', 'debug']
    """
    checks.instance("client", client, Attestations, "Give a Client.")
    wanted = Policy() if policy is None else policy
    checks.instance("policy", wanted, Policy, "Give a cvm.Policy.")
    instant = _instant(at)
    given = None if evidence is None else Evidence.of(evidence)
    collateral = CollateralSource(client, pccs_address(pccs), refresh=refresh)
    by = wanted.under(root_of(client))
    record = cvm if isinstance(cvm, Cvm) else client.get_cvm_info(cvm)
    found = given or EvidenceSource(client).fetch(record, by)
    return verdict_of(record, collateral.complete(found, instant), by, instant)


def verdict_of(record: Cvm, evidence: Evidence, policy: Policy, at: datetime) -> Verdict:
    """Judge a CVM's evidence: pure."""
    found = judge(evidence, policy, at)
    return Verdict(
        name=record.name or record.id or "unnamed",
        cvm_id=record.id,
        checks=found.checks,
        at=at,
        policy=policy,
        evidence=evidence,
        claims=found.claims,
    )


def _instant(at: object) -> datetime:
    if at is None:
        return datetime.now(UTC)
    found = checks.instance("at", at, datetime, "Give an aware datetime.")
    if found.tzinfo is None:
        raise InvalidInput("at", "it has no time zone", "Give it one: datetime(..., tzinfo=UTC).")
    if found.timestamp() < 0:
        raise InvalidInput("at", "it is before 1970", "Give the time of the judgement.")
    return found.astimezone(UTC)


def pccs_address(address: str | None) -> str | None:
    """Return the address of a PCCS; refused where it is neither https nor on this machine."""
    return None if address is None else check_base_url(address, "pccs")


class EvidenceSource:
    """A source of evidence of CVMs. Safe to use from any thread.

    The service answers for all CVMs of an app at once: one source asks once for each app.
    """

    def __init__(self, client: "Client") -> None:
        self._client = client
        self._lock = threading.Lock()
        self._apps: dict[str, tuple[threading.Lock, dict[str, Any]]] = {}

    def fetch(self, cvm: Cvm, policy: Policy) -> Evidence:
        """Return what a CVM shows, in the way that the policy asks for.

        Raises
        ------
        AuthError
            The key was refused.
        """
        shown = Evidence.of(self.answer(cvm))
        try:
            if policy.quote_url is not None:
                return self._from_sidecar(policy.quote_url, shown)
            if policy.endpoint is not None:
                return self._from_endpoint(policy, policy.endpoint, shown)
        except CvmError as error:
            return shown.having(error=error.message)
        except MalformedEvidence as error:
            return shown.having(error=str(error))
        return shown

    def answer(self, cvm: Cvm) -> Mapping[str, Any]:
        """Return what the service shows of a CVM, as sent; why there is none, as ``error``."""
        try:
            found = self._instance(cvm)
            if found is not None and (found.get("quote") or found.get("error")):
                return found
            attestation = msgspec.to_builtins(self._client.get_cvm_attestation(cvm))
        except CvmError as error:
            if isinstance(error, AuthError) and error.is_of_the_key:
                raise
            return {"error": f"it could not be fetched: {error.message}"}
        return attestation if isinstance(attestation, Mapping) else {}

    def _instance(self, cvm: Cvm) -> Mapping[str, Any] | None:
        """Return a CVM's entry in its app's attestation; None where there is none."""
        if not cvm.app_id:
            return None
        instances = self._app(cvm.app_id).get("instances")
        own = {bare_digits(one) for one in (cvm.vm_uuid, cvm.instance_id)} - {None}
        for one in instances if isinstance(instances, list) else ():
            if not isinstance(one, dict):
                continue
            names = [one.get("vm_uuid"), one.get("instance_id")]
            if own & {bare_digits(name) for name in names if isinstance(name, str)}:
                return one
        return None

    def _app(self, app_id: str) -> dict[str, Any]:
        with self._lock:
            turn, answers = self._apps.setdefault(app_id, (threading.Lock(), {}))
        with turn:
            if not answers:
                try:
                    answers |= self._client.get_app_attestations(app_id) or {"instances": []}
                except AuthError as error:
                    if error.is_of_the_key:
                        raise
                    answers["instances"] = []
                except CvmError:  # the CVM's own answer is asked for then
                    answers["instances"] = []
        return answers

    # --- fresh quotes --------------------------------------------------------------------------

    def _from_sidecar(self, url: str, shown: Evidence) -> Evidence:
        nonce = os.urandom(_NONCE_BYTES)
        joint = "&" if "?" in url else "?"
        address = f"{url}{joint}nonce={nonce.hex()}"
        body = self._client.read_elsewhere(address, "the sidecar's quote").body
        evidence = Evidence.of(json_object("the sidecar's answer", from_json("its answer", body)))
        return evidence.having(
            event_log=evidence.event_log or shown.event_log,
            app_compose=evidence.app_compose or shown.app_compose,
            collateral=None,
            known_quote=shown.quote,
            nonce=nonce,
        )

    def _from_endpoint(self, policy: Policy, url: str, shown: Evidence) -> Evidence:
        if urlsplit(url).scheme == "https":
            served = self._client.served_certificate(url)
        elif policy.root_pem is not None:
            # a development root proves nothing anyway: a certificate may be shown without TLS
            served = self._client.read_elsewhere(url, "the endpoint's certificate").body
        else:
            return shown.having(error="without TLS nobody shows that they hold the key")
        found = read_certificate(served)
        log = found.event_log.decode("utf-8", "replace") or shown.event_log
        return shown.having(
            quote=found.quote,
            event_log=log,
            known_quote=shown.quote,
            served_key=found.public_key,
        )
