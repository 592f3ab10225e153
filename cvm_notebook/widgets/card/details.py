"""Details of a CVM, fetched on demand: compose file, attestation, history, network, boot.

Each function waits for the service, so it runs on a worker; each returns what the view draws.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, TypeAlias

from cvm_notebook.api.client import Client
from cvm_notebook.api.compose.hashing import compose_hash
from cvm_notebook.api.errors.tree import CvmError
from cvm_notebook.api.models.base import instant
from cvm_notebook.attest.evidence.consistency import Consistency, judge_attestation
from cvm_notebook.attest.evidence.fields import bare_digits
from cvm_notebook.live.store.records import Row
from cvm_notebook.text import clean_text
from cvm_notebook.widgets.base.log_lines import clean_line, level_of, split_time

Details: TypeAlias = dict[str, Any]
_CHARS: Final = 300
_TEXT_CHARS: Final = 250_000  # a compose file and its script have 200 KiB at most
_OPERATIONS: Final = 50
_BOOT_LINES: Final = 200


def fetch(what: str, client: Client, row: Row) -> Details:
    """Return one of `DETAILS` for the view; why it cannot be had, where it cannot."""
    try:
        details = DETAILS[what](client, row)
    except CvmError as error:
        details = {"error": clean_text(error, 600)}
    return {"kind": "details", "what": what, **details}


def _compose(client: Client, row: Row) -> Details:
    file = client.get_cvm_compose_file(row.id)
    try:
        counted: str | None = compose_hash(file)
    except CvmError:
        counted = None
    declared = row.cvm.compose_hash
    ok = None if counted is None or declared is None else counted == bare_digits(declared)
    facts = [
        ("runner", file.get("runner")),
        ("compose hash of the CVM", declared),
        ("hash of this file", counted),
        ("allowed variables", _names(file.get("allowed_envs"))),
        ("public", _public(file)),
    ]
    texts = [
        ("docker-compose.yml", "docker_compose_file"),
        ("bash script", "bash_script"),
        ("pre-launch script", "pre_launch_script"),
        ("init script", "init_script"),
    ]
    return {
        "check": {"ok": ok, "text": _COMPOSE_WORDS[ok]},
        "facts": _shown(facts),
        "texts": [[title, _lines(file.get(key))] for title, key in texts if file.get(key)],
    }


_COMPOSE_WORDS: Final = {
    True: "The compose file matches the CVM's hash.",
    False: "Mismatch: the compose file does not have the CVM's hash.",
    None: "Not checked: there is no hash to compare, or the file cannot be hashed.",
}


def _attestation(client: Client, row: Row) -> Details:
    attestation = client.get_cvm_attestation(row.id)
    evidence = judge_attestation(
        attestation,
        compose_hash=row.cvm.compose_hash,
        docker_compose_hash=row.cvm.docker_compose_hash,
    )
    tcb = evidence.tcb
    facts = [
        ("compose hash, as its log says", evidence.compose_hash_live),
        ("compose hash, expected", evidence.compose_hash_expected),
        ("OS image hash", evidence.os_image_hash),
        ("events in its log", evidence.event_count),
        ("quote", _QUOTE_WORDS[evidence.quote_present]),
        ("certificates end", _when(evidence.cert_not_after)),
        *((name, getattr(tcb, name)) for name in ("mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3")),
    ]
    # no tick where no signature is checked: a consistent log is not proof of hardware
    ok = False if evidence.checked == "failed" else None
    return {"check": {"ok": ok, "text": _evidence_words(evidence)}, "facts": _shown(facts)}


_QUOTE_WORDS: Final = {
    True: "shown",
    False: "none available",
    None: "unknown",
}


def _evidence_words(evidence: Consistency) -> str:
    """Say what was compared here, and that it proves nothing of the hardware."""
    why = clean_text(evidence.why, _CHARS)
    verdict = {
        "failed": f"Mismatch: {why}.",
        "fetched": f"Not checked: {why}.",
    }.get(
        evidence.checked,
        "Measurements are consistent: the log has the hash of the compose file, and adds up to "
        "RTMR3.",
    )
    quote = (
        "The hardware is not verified: no signature is checked for this list. Verify does so."
        if evidence.quote_present
        else "The hardware is not verified: no quote is available."
    )
    return f"{verdict} {quote}"


def _operations(client: Client, row: Row) -> Details:
    found = client.list_operations(row.id, limit=_OPERATIONS)
    return {
        "rows": [
            [
                _ms(one.started),
                _text(one.operation_type),
                _text(one.status),
                None if one.duration_ms is None else max(0, one.duration_ms) / 1000,
                _text(one.triggered_by_username),
                _text(one.error_message),
            ]
            for one in found
        ]
    }


def _boot(client: Client, row: Row) -> Details:
    """Find the line of the machine's console that says why it failed to start."""
    lines = client.get_cvm_logs(row.id, tail=_BOOT_LINES, timestamps=True)
    texts = [split_time(line.text)[1] for line in lines]
    errors = [text for text in texts if level_of(text) == "error"]
    return {"line": clean_text(errors[-1], _CHARS) if errors else None}


def _network(client: Client, row: Row) -> Details:
    network = client.get_cvm_network(row.id)
    online = {True: "yes", False: "no", None: None}[network.is_online]
    facts: list[tuple[str, object]] = [
        ("online", online),
        ("internal address", network.internal_ip),
        ("problem", network.error),
    ]
    shaken = _ms(instant(network.latest_handshake))
    last = [] if shaken is None else [["last handshake with the gateway", shaken, "when"]]
    return {"facts": [*_shown(facts), *last]}


DETAILS: Final[Mapping[str, Callable[[Client, Row], Details]]] = {
    "compose": _compose,
    "attestation": _attestation,
    "operations": _operations,
    "boot": _boot,
    "network": _network,
}


def _shown(facts: list[tuple[str, object]]) -> list[list[str]]:
    return [[label, clean_text(value, _CHARS)] for label, value in facts if value not in (None, "")]


def _lines(text: object) -> str:
    """Return a text in lines, with nothing in it that acts; a long one is cut."""
    whole = text if isinstance(text, str) else ""
    cut = whole[:_TEXT_CHARS]
    clean = "\n".join(clean_line(line).replace("\x1b", "") for line in cut.split("\n"))
    return clean if cut == whole else f"{clean}\n… ({len(whole)} characters)"


def _public(file: Mapping[str, object]) -> str:
    names = ("logs", "sysinfo", "tcbinfo")
    return ", ".join(name for name in names if file.get(f"public_{name}") is True) or "nothing"


def _names(value: object) -> str | None:
    return ", ".join(str(one) for one in value) if isinstance(value, list) else None


def _text(value: object) -> str:
    return clean_text(value, _CHARS) if value is not None else ""


def _when(moment: datetime | None) -> str | None:
    return f"{moment:%Y-%m-%d %H:%M} UTC" if moment is not None else None


def _ms(moment: datetime | None) -> int | None:
    return int(moment.timestamp() * 1000) if moment is not None else None
