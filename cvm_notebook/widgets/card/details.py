"""Details of a CVM, fetched on demand: compose file, environment, attestation, network, boot.

Each function waits for the service, so it runs on a worker; each returns what the view draws.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, TypeAlias

from cvm_notebook.api.client import Client
from cvm_notebook.api.compose.hashing import compose_hash
from cvm_notebook.api.compose.interpolation import Variables
from cvm_notebook.api.compose.validation import read_compose_file
from cvm_notebook.api.errors.tree import CvmError, InvalidInput
from cvm_notebook.api.models.base import instant
from cvm_notebook.attest.evidence.consistency import Consistency, judge_attestation
from cvm_notebook.attest.evidence.fields import bare_digits
from cvm_notebook.live.store.records import Row
from cvm_notebook.text import clean_text
from cvm_notebook.widgets.base.log_lines import clean_line, level_of, split_time
from cvm_notebook.widgets.base.view import ms

Details: TypeAlias = dict[str, Any]
_CHARS: Final = 300
_TEXT_CHARS: Final = 250_000  # a compose file and its script have 200 KiB at most
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
        ("allowed variables", ", ".join(map(str, _list(file.get("allowed_envs"))))),
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


def boot_line(client: Client, row: Row) -> str | None:
    """Return the line of the machine's console that says why it failed to start, if there is one.

    It waits for the service.
    """
    try:
        lines = client.get_cvm_logs(row.id, tail=_BOOT_LINES, timestamps=True)
    except CvmError:
        return None
    texts = [split_time(line.text)[1] for line in lines]
    errors = [text for text in texts if level_of(text) == "error"]
    return clean_text(errors[-1], _CHARS) if errors else None


def _environment(client: Client, row: Row) -> Details:
    """Return the names of variables: which the CVM takes, and which its compose file uses.

    What values there are is sealed for the CVM; the service tells neither them nor which are set.
    """
    file = client.get_cvm_compose_file(row.id)
    allowed = [str(name) for name in _list(file.get("allowed_envs"))]
    try:
        used = read_compose_file(file.get("docker_compose_file")).variables
    except InvalidInput:  # it may have no such file
        used = Variables(frozenset(), frozenset())
    names = dict.fromkeys([*allowed, *sorted(used.needed), *sorted(used.optional)])
    return {
        "rows": [
            [
                clean_text(name, _CHARS),
                name in allowed,
                "needed" if name in used.needed else "default" if name in used.optional else "",
            ]
            for name in names
        ]
    }


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
    "environment": _environment,
    "attestation": _attestation,
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


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _when(moment: datetime | None) -> str | None:
    return f"{moment:%Y-%m-%d %H:%M} UTC" if moment is not None else None


def _ms(moment: datetime | None) -> int | None:
    return ms(moment) if moment is not None else None
