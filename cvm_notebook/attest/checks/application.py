"""Checks 6 and 7: the app, and who can derive its keys, by what the log measured."""

import hashlib
from functools import lru_cache
from typing import Final

from cvm_notebook.api.compose.keccak import keccak256
from cvm_notebook.api.compose.validation import read_compose_file
from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.attest.checks.check import Check, failed, passed, skipped
from cvm_notebook.attest.evidence.event_log import BootLog
from cvm_notebook.attest.evidence.evidence import Evidence
from cvm_notebook.attest.evidence.fields import MalformedEvidence, docker_compose_in, json_object
from cvm_notebook.attest.policy.app_identity import AppIdentity
from cvm_notebook.attest.policy.policy import Policy
from cvm_notebook.text import clean_text

_HASH_BYTES: Final = 32
_KINDS: Final = 4  # of key providers, in mr_config_id of version 2: none, local, kms, tpm
_V3_DOMAIN: Final = b"dstack-mr-config-v3:\0"
_MOST_NAMED: Final = 3
# A fleet has few apps, so what is read of their files is remembered: at most 64 of 1 MiB.


# --- the app ---------------------------------------------------------------------------------


def check_app(evidence: Evidence, policy: Policy, log: BootLog) -> Check:
    """Compare the app compose that was measured with the one that is shown and the one declared."""
    measured = log.payloads.get("compose-hash", b"")
    try:
        problem = _contradiction(evidence, log, measured)
    except MalformedEvidence as error:
        return failed("app", str(error))
    if problem:
        return failed("app", problem)
    compose, note = measured.hex(), _unpinned(evidence)
    return _declared(evidence, policy.identity, compose, note)


def _declared(evidence: Evidence, wanted: AppIdentity | None, compose: str, note: str) -> Check:
    if wanted is None:
        todo = 'Say what should run: Policy(app="compose.yaml").'
        return skipped(
            "app", f"it runs compose {compose[:12]}; the policy declares none{note}", todo
        )
    if wanted.compose_hash is not None:
        if wanted.compose_hash != compose:
            return failed("app", f"it runs compose {compose[:12]}, not {wanted.compose_hash[:12]}")
        return passed("app", f"compose {compose[:12]}, as declared{note}")
    text = docker_compose_in(evidence.compose)
    if text is None:
        todo = "Declare the compose hash, or let the CVM show its app compose."
        return skipped("app", "it shows no Docker Compose file that could be compared", todo)
    if (
        hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
        not in wanted.docker_compose_hashes
    ):
        return failed(
            "app", f"its Docker Compose file is not the declared one (compose {compose[:12]})"
        )
    return passed("app", f"the declared Docker Compose file, in compose {compose[:12]}{note}")


def _contradiction(evidence: Evidence, log: BootLog, measured: bytes) -> str:
    if len(measured) != _HASH_BYTES:
        return "no compose hash was measured"
    shown = evidence.compose
    if shown is not None and hashlib.sha256(shown).digest() != measured:
        return "the app compose that it shows is not the one that was measured"
    bound = evidence.report.mr_config_id
    if not _binds(bound, evidence, log, measured):
        return "mr_config_id, set when it was started, is not that of the app compose measured"
    return ""


def _binds(bound: bytes, evidence: Evidence, log: BootLog, measured: bytes) -> bool:
    """Return whether the quote's mr_config_id agrees: none (0), or of version 1, 2 or 3."""
    version, rest = bound[0], bound[1:].rstrip(b"\0")
    digest = bound[1 : 1 + _HASH_BYTES]
    if version == 0:
        return not rest
    if any(bound[1 + _HASH_BYTES :]):
        return False
    if version == 1:
        return digest == measured
    if version == 2:  # noqa: PLR2004
        return digest in _second(log, measured)
    document = evidence.configuration.get("mr_config")
    if version != 3 or not isinstance(document, str):  # noqa: PLR2004
        return version == 3  # noqa: PLR2004 - of its document, which is not shown, nothing is known
    mr_config = json_object("vm_config.mr_config", document)
    good = digest == hashlib.sha256(_V3_DOMAIN + document.encode()).digest()
    return good and mr_config.get("compose_hash") == measured.hex()


def _second(log: BootLog, measured: bytes) -> set[bytes]:
    """Return what mr_config_id of version 2 can be, for each kind of key provider."""
    provider = _provider(log)[1]
    try:
        of_provider = bytes.fromhex(provider)
    except ValueError:
        of_provider = provider.encode()
    head = measured + log.payloads.get("app-id", b"")
    return {keccak256(head + bytes([kind]) + of_provider) for kind in range(_KINDS)}


def _unpinned(evidence: Evidence) -> str:
    """Name the images that another can take the place of: those without a digest."""
    text = docker_compose_in(evidence.compose)
    return "" if text is None else _loose_images(text)


@lru_cache(maxsize=64)
def _loose_images(text: str) -> str:
    try:
        images = read_compose_file(text).images
    except InvalidInput:
        return ""
    loose = [f"{image}" for image in images.values() if "@sha256:" not in image]
    named = ", ".join(clean_text(image, 60) for image in loose[:_MOST_NAMED])
    more = f" and {len(loose) - _MOST_NAMED} more" if len(loose) > _MOST_NAMED else ""
    return f"; not pinned by a digest: {named}{more}" if loose else ""


# --- key provider ----------------------------------------------------------------------------


def _provider(log: BootLog) -> tuple[str, str]:
    """Return name and id of who can derive the CVM's keys."""
    payload = log.payloads.get("key-provider")
    if payload is None:
        return "none", ""
    provider = json_object("key-provider", payload)
    name, key = provider.get("name"), provider.get("id")
    if not isinstance(name, str) or not isinstance(key, str):
        raise MalformedEvidence("key-provider", "has no name and id")
    return name, key


def check_key_provider(policy: Policy, log: BootLog) -> Check:
    """Compare who can derive the CVM's keys with the policy."""
    try:
        name, key = _provider(log)
    except MalformedEvidence as error:
        return failed("key_provider", str(error))
    summary = f"{clean_text(name, 30)} {clean_text(key[-12:], 12)}".strip()
    if policy.key_provider is None:
        todo = f'Name it: Policy(key_provider="{clean_text(key, 200) or name}").'
        return skipped("key_provider", f"{summary}; the policy names none", todo)
    if policy.key_provider == "any":
        return Check("key_provider", "info", f"{summary}; the policy accepts any")
    wanted = policy.key_provider.lower().removeprefix("0x")
    if wanted in {name.lower(), key.lower().removeprefix("0x")} - {""}:
        return passed("key_provider", f"{summary}, as the policy says")
    return failed("key_provider", f"{summary}, and the policy says {clean_text(wanted[-12:], 12)}")
