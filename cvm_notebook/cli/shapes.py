"""The shape of an answer: its fields, types and fixed words, and nothing that could name anybody.

What may stay is listed here, and all else is replaced by what kind of thing it is. A name that the
models do not have may be one that a user chose, as may a word in a field without fixed words.
"""

import datetime as dt
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final, TypeAlias

import msgspec

from cvm_notebook.api import models
from cvm_notebook.api.status import STATUSES, info_of

Shape: TypeAlias = dict[str, tuple[str, ...]]
"""What stands at each place of an answer, such as ``items[].id`` -> (``text: id cvm_``,)."""

UNKNOWN: Final = "<another name>"
_DEEPEST: Final = 24
_MOST_PLACES: Final = 2_000
_MOST_DIGITS: Final = 7

# Fields that are in no model: of an app compose, of refusals, of what is read as a mapping.
_FURTHER_FIELDS: Final = frozenset(
    """
    allowed_envs bash_script default_gateway_domain docker_compose_file docker_config features
    gateway_enabled init_script kms_enabled local_key_provider_enabled manifest_version name
    no_instance_id pre_launch_script public_logs public_sysinfo public_tcbinfo runner salt
    secure_time storage_fs tproxy_enabled version
    detail error_code message details suggestions links request_id field value url label loc msg
    type input ctx code
    compose_file correlation_id operation status in_progress target chain_name contracts devices
    os_images is_dev bootstrap_info k256_pubkey ca_pubkey quote_length eventlog_length
    version_synced chain_id kms_contract_address gateway_app_id device_id mr_aggregated
    os_image_hash instance_id app_id mr_key_provider compose_hash id teepod_version_db
    teepod_version_real kms_url kms_urls available_os_images error kms_info owner verification
    k256_pubkey_match ca_pubkey_match gateway_app_id_match device_id_allowed os_image_allowed
    mr_aggregated_allowed object_type image ports http_ok uri status_code
    allow_upgrade attach_mode configuration dapp_dashboard_url gateway_domain gpu_count hosted
    hugepages kms_slug machine_info managed_user node pin_numa product_id scheduled_delete_at slot
    syslog_endpoint team_name teepod_name confidential_models_enabled cpusvn display_order
    domain_suffix eventlog gateway_app_url gateway_guest_agent_info gateway_nodes kms_nodes
    kms_guest_agent_info mr_config_id node_kms_relations notice pcesvn ppid_sha256 qemu_version
    requires_gpu_count rpc_url supported_os_images tee_tcb_svn vm_config
    """.split()  # noqa: SIM905 - one name a line would be long to read
)

# Words that the service, and not a user, chooses; each for its fields alone.
_STATUS: Final = frozenset({*STATUSES, *(w for s in STATUSES for w in info_of(s).wire), "idle"})
_KMS: Final = frozenset({"phala", "ethereum", "base", "legacy"})
_WORDS: Final[Mapping[str, frozenset[str]]] = {
    "status": _STATUS
    | {"ONLINE", "OFFLINE", "MAINTENANCE", "in_progress", "completed", "failed", "cancelled"}
    | {"updated", "unchanged", "skipped", "conflict", "pending", "active"},
    "derived_status": _STATUS,
    "target": _STATUS,
    "target_state": _STATUS,
    "state": _STATUS | {"exited", "running", "created", "paused", "dead"},
    "kms_type": _KMS | {word.upper() for word in _KMS},
    "billing_period": frozenset({"skip", "hourly", "monthly"}),
    "billing_interval": frozenset({"hourly", "monthly"}),
    "storage_fs": frozenset({"zfs", "ext4"}),
    "runner": frozenset({"docker-compose", "bash"}),
    "object_type": frozenset({"node", "user", "workspace", "cvm"}),
    "role": frozenset({"admin", "user", "owner", "member"}),
    "tier": frozenset({"free", "LEVEL_1", "LEVEL_2", "PRO", "ENTERPRISE"}),
    "family": frozenset({"cpu", "gpu", "all"}),
    "protocol": frozenset({"tcp", "udp"}),
    "usage_type": frozenset({"compute", "storage", "gpu", "network", "egress"}),
    "source": frozenset({"manual", "github", "teepod_state", "teepod_info", "gateway", "none"}),
    "key_type": frozenset({"ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256"}),
    "record_type": frozenset({"CNAME", "TXT", "CAA", "A", "AAAA"}),
    "deployer_type": frozenset({"eoa", "safe", "legacy_multisig", "erc4337", "contract"}),
    "evaluation_update": frozenset({"early", "standard"}),
    "update": frozenset({"early", "standard"}),
    "features": frozenset({"kms", "tproxy-net"}),
    "operation_type": frozenset(
        """
        create start stop shutdown restart force_restart delete replicate resize compose_update
        power_on power_off update env_update visibility os_image
        """.split()  # noqa: SIM905 - as above
    ),
}
_PATTERNS: Final[Mapping[str, re.Pattern[str]]] = {
    "error_code": re.compile(r"ERR-\d\d-\d{3}"),
    "version": re.compile(r"v?\d{1,2}(?:\.\d{1,2}){1,2}"),
    "instance_type": re.compile(
        r"(?:tdx|h100|h200|b200)\.(?:\d{1,2}x?\.?)?(?:small|medium|x?large)"
    ),
}
# The form of a text whose words are left out; the first that fits.
_FORMS: Final[tuple[tuple[str, re.Pattern[str]], ...]] = (
    ("empty", re.compile(r"")),
    ("uuid", re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")),
    ("decimal", re.compile(r"-?\d{1,18}(?:\.\d{1,18})?")),
    ("40 hex digits", re.compile(r"(?:0x)?[0-9a-fA-F]{40}")),
    ("64 hex digits", re.compile(r"(?:0x)?[0-9a-fA-F]{64}")),
    ("96 hex digits", re.compile(r"(?:0x)?[0-9a-fA-F]{96}")),
    ("hex digits", re.compile(r"(?:0x)?(?:[0-9a-fA-F]{2}){8,}")),
    *(
        (f"id {kind}_", re.compile(rf"{kind}_[0-9A-Za-z]{{4,40}}"))
        for kind in ("cvm", "usr", "wks", "kms", "kc", "gn", "prj", "pm", "rev", "key", "sshkey")
    ),
    ("https address", re.compile(r"https://\S+")),
    ("http address", re.compile(r"http://\S+")),
    ("e-mail address", re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")),
    ("SSH fingerprint", re.compile(r"SHA256:\S+")),
    ("several lines", re.compile(r".*\n.*", re.DOTALL)),
)


def shape_of(answer: object) -> Shape:
    """Return the shape of an answer: the types by path; items of lists are merged.

    Parameters
    ----------
    answer
        What was decoded of JSON.
    """
    found: dict[str, set[str]] = {}
    for place, kind in _places(answer, "", "", 0):
        if place in found or len(found) < _MOST_PLACES:
            found.setdefault(place, set()).add(kind)
    return {place: tuple(sorted(kinds)) for place, kinds in sorted(found.items())}


def types_of(kinds: tuple[str, ...]) -> frozenset[str]:
    """Return the types alone, without words, forms and ranges."""
    return frozenset(kind.partition(":")[0] for kind in kinds)


def _places(value: object, place: str, field: str, depth: int) -> Iterator[tuple[str, str]]:
    """Yield each path below a value, with its type."""
    if depth > _DEEPEST:
        yield place, "nested deeper"
    elif isinstance(value, Mapping):
        yield place, "object"
        for key, member in value.items():
            name = str(key) if str(key) in known_fields() else UNKNOWN
            below = f"{place}.{name}" if place else name
            # under a name that is not known nothing is a fixed word
            yield from _places(member, below, "" if name is UNKNOWN else name, depth + 1)
    elif isinstance(value, list):
        yield place, f"list: {range_of(len(value))}"
        for member in value:
            yield from _places(member, f"{place}[]", field, depth + 1)
    else:
        yield place, _kind_of(value, field)


def _kind_of(value: object, field: str) -> str:
    """Return the type of a single value, with what may be shown of it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return f"boolean: {str(value).lower()}"
    if isinstance(value, int):
        return f"integer: {range_of(value)}"
    if isinstance(value, float):
        return "number"
    text = str(value)
    pattern = _PATTERNS.get(field)
    if text in _WORDS.get(field, ()) or (pattern is not None and pattern.fullmatch(text)):
        return f"text: {text!r}"
    return f"text: {_form(text)}"


def _form(text: str) -> str:
    for name, pattern in _FORMS:
        if pattern.fullmatch(text):
            return name
    try:
        dt.datetime.fromisoformat(text)
    except ValueError:
        return "any"
    return "time" if "T" in text or " " in text else "date"


def range_of(number: int) -> str:
    """Return the range a whole number is in: powers of ten, and no more than that."""
    if number < 0:
        return "below 0"
    if number == 0:
        return "0"
    least = 10 ** (min(len(str(number)), _MOST_DIGITS) - 1)
    return f"{least:,} up" if number >= 10**_MOST_DIGITS else f"{least:,} to {10 * least - 1:,}"


@cache
def known_fields() -> frozenset[str]:
    """Return the names that may stay: those of the models' fields, and a few that are in none."""
    found = set(_FURTHER_FIELDS)
    for name in dir(models):
        kind: Any = getattr(models, name)
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            found.update(kind.__struct_fields__)
    return frozenset(found)
