"""Checks of requests, field by field, before anything is sent."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, ParamSpec, TypeVar

from cvm_notebook.api import checks
from cvm_notebook.api.compose.hashing import check_env_count, check_env_name
from cvm_notebook.api.compose.validation import LARGEST_BYTES, check_compose_file
from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.api.models.actions import Provision
from cvm_notebook.api.resources.cvm_ref import near_miss, snake_case
from cvm_notebook.api.scalars import plain
from cvm_notebook.text import clean_text, counted

P = ParamSpec("P")
T = TypeVar("T")
Check = Callable[[str, Any], Any]

_NAME_REMEDY: Final = (
    "A name has 5 to 63 letters, digits and single dashes, begins with a letter "
    "and does not end with a dash."
)


def cvm_name(field: str, value: object) -> str:
    """Return a name that the service takes for a CVM."""
    name = checks.text(field, value)
    problem = _name_problem(name)
    if problem:
        raise InvalidInput(field, f"{checks.shown(name)} {problem}", _NAME_REMEDY)
    return name


def _name_problem(name: str) -> str | None:
    shortest, longest = 5, 63
    strange = list(dict.fromkeys(re.sub(r"[A-Za-z0-9-]", "", name)))
    problems = (
        (bool(strange), f"holds {', '.join(map(_character, strange[:3]))}"),
        (len(name) < shortest, f"has {counted(len(name), 'character')}, which is too short"),
        (len(name) > longest, f"has {len(name)} characters, which is too long"),
        (not name[0].isalpha(), "does not begin with a letter"),
        ("--" in name, "holds two dashes in a row"),
        (name.endswith("-"), "ends with a dash"),
    )
    return next((problem for wrong, problem in problems if wrong), None)


def _character(c: str) -> str:
    """Return a character in a readable form, also where it is invisible."""
    if c.isspace():
        return "a space"
    return repr(c) if c.isprintable() and c.isascii() else f"U+{ord(c):04X}"


def hexadecimal(field: str, value: object) -> str:
    """Return a hash in hex, with or without 0x: it goes into a header."""
    if not isinstance(value, str) or not re.fullmatch(r"(?:0x|sha256:)?[0-9a-fA-F]+", value):
        raise InvalidInput(field, f"it is {checks.shown(value)}, not a hash in hex", None)
    return value


def chain_address(field: str, value: object) -> str:
    """Return the address of an account or a contract on a chain: 0x and 40 hex digits."""
    if not isinstance(value, str) or not re.fullmatch(r"0x[0-9a-fA-F]{40}", value.strip()):
        remedy = "Give 0x and 40 hex digits, as the chain shows it."
        raise InvalidInput(field, f"it is {checks.shown(value)}, not an address", remedy)
    return value.strip()


def script(field: str, value: object) -> str:
    """Return the text of a script that can be sent; an empty one removes it."""
    if not isinstance(value, str):
        raise InvalidInput(field, f"it is {type(value).__name__}, not the text of a script", None)
    size = len(checks.whole(field, value).encode())
    if size > LARGEST_BYTES:
        problem = f"it has {size / 1024:,.0f} KiB; the service takes 200"
        raise InvalidInput(field, problem, "Move data into the image.")
    return value


def user_config(field: str, value: object) -> str:
    """Return the text of a user configuration; the service keeps it as it is."""
    if not isinstance(value, str):
        raise InvalidInput(
            field, f"it is {checks.shown(value)}, not a text", "Give json.dumps(...)."
        )
    if len(checks.whole(field, value).encode()) > LARGEST_BYTES:
        raise InvalidInput(field, "it has more than 200 KiB", "Move data into the image.")
    return value


def env_names(field: str, value: object) -> list[str]:
    """Return names of environment variables, each once."""
    if isinstance(value, str | bytes):  # the text of an env file, maybe: it is not shown
        problem = f"it is {type(value).__name__}, not a list of names"
        raise InvalidInput(field, problem, "Give a list of names, or a dict of names and values.")
    names = checks.several(field, list(value) if isinstance(value, Mapping) else value, "names")
    checked = list(dict.fromkeys(check_env_name(name, field) for name in names))
    check_env_count(len(checked), field)
    return checked


def encrypted_env(field: str, value: object) -> str:
    """Return what `encrypt_env` made; a plain environment must never be sent in its place."""
    if not isinstance(value, str) or not re.fullmatch(r"(?:[0-9a-fA-F]{2}){60,}", value):
        problem = "it is not an encrypted environment"
        raise InvalidInput(field, problem, "Give what cvm.encrypt_env(pubkey, {...}) returns.")
    return value


_GB: Final = 512  # no CVM has less memory in MB, no node so much in GB


def memory_mb(field: str, value: object) -> int:
    """Return an amount of memory in MB; what looks like GB is refused."""
    amount = checks.integer(field, value, unit="MB")
    if amount < _GB:
        problem = f"{amount} MB is too little to start; it looks like GB"
        raise InvalidInput(
            field, problem, f"Memory is in MB: for {amount} GB give {amount * 1024}."
        )
    return amount


# --- requests ----------------------------------------------------------------------------------

_RESOURCES: Final[dict[str, Check]] = {
    "instance_type": checks.text,
    "vcpu": checks.integer,
    "memory": memory_mb,
    "disk_size": lambda field, value: checks.integer(field, value, unit="GB"),
}


_COMPOSE_REMEDY: Final = (
    "Give compose_file: the text of a Docker Compose file, or a mapping with docker_compose_file."
)


def app_compose(field: str, value: object) -> dict[str, Any]:
    """Return an app compose as the service takes it, from one or from a Docker Compose text."""
    if not isinstance(value, Mapping):
        return {"docker_compose_file": check_compose_file(value, field), "name": ""}
    made = {"name": "", **value}
    made["name"] = made["name"] or ""  # the service wants it there, empty or not
    if made.get("docker_compose_file") is not None:
        check_compose_file(made["docker_compose_file"], f"{field}.docker_compose_file")
    elif "services" in made:
        problem = "it is a Docker Compose file as a mapping, of which the service takes the text"
        raise InvalidInput(field, problem, "Give yaml.safe_dump(...) of it.")
    elif not made.get("bash_script"):
        raise InvalidInput(field, "it has no docker_compose_file", _COMPOSE_REMEDY)
    scripts = (made.get("docker_compose_file"), made.get("pre_launch_script"))
    size = sum(len(s.encode("utf-8", "replace")) for s in scripts if isinstance(s, str))
    if size > LARGEST_BYTES:
        problem = f"with its pre-launch script it has {size / 1024:,.0f} KiB; the service takes 200"
        raise InvalidInput(field, problem, "Move data into the image.")
    if made.get("allowed_envs") is not None:
        made["allowed_envs"] = env_names(f"{field}.allowed_envs", made["allowed_envs"])
    return made


def sendable(field: str, value: object) -> object:
    """Return a value that has no check of its own, if it can be sent as JSON."""
    value = plain(value)
    if isinstance(value, str):
        return checks.whole(field, value)
    if isinstance(value, int | float | None):
        return value
    if isinstance(value, Mapping):
        return {str(name): sendable(field, one) for name, one in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, bytes):
        return [sendable(field, one) for one in value]
    raise InvalidInput(field, f"{type(value).__name__} cannot be sent as JSON", None)


PROVISION: Final[dict[str, Check]] = {
    **_RESOURCES,
    "name": cvm_name,
    "compose_file": app_compose,
    "teepod_id": checks.integer,
    "node_id": checks.integer,
    "region": checks.text,
    "image": checks.text,
    "prefer_dev": checks.boolean,
    "listed": checks.boolean,
    "kms": checks.text,
    "kms_id": checks.text,
    "kms_contract": checks.text,
    "nonce": lambda field, value: checks.integer(field, value, least=0),
    "app_id": checks.text,
    "env_keys": env_names,
    "encrypted_env": encrypted_env,
    "hugepages": checks.boolean,
    "pin_numa": checks.boolean,
    **dict.fromkeys(("user_config", "ports", "gpus", "kms_urls", "gateway_urls"), sendable),
}


def provision_request(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body of a provision.

    Fields that are not known here are sent as they are, as the API grows; one that is nearly a
    known one is taken for a slip and refused.
    """
    body = checked(fields, PROVISION, "provision_cvm")
    for needed, remedy in (("name", _NAME_REMEDY), ("compose_file", _COMPOSE_REMEDY)):
        if needed not in body:
            raise InvalidInput(needed, "a CVM needs it", remedy)
    node = body.pop("node_id", None)
    if node is not None and body.setdefault("teepod_id", node) != node:
        raise InvalidInput("node_id", "it differs from teepod_id", "Give one of them.")
    if body.get("env_keys"):
        # the CVM drops a variable whose name is not in its app compose, without a word
        body["compose_file"] = _allowing(body["compose_file"], body["env_keys"])
    if ("nonce" in body) != ("app_id" in body):
        given, missing = ("nonce", "app_id") if "nonce" in body else ("app_id", "nonce")
        problem = f"it is missing, though {given} is given"
        raise InvalidInput(missing, problem, "Give both of client.next_app_ids(), or neither.")
    return body


def _allowing(compose: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Return an app compose that allows these variables, too."""
    allowed = list(dict.fromkeys([*(compose.get("allowed_envs") or ()), *names]))
    check_env_count(len(allowed), "env_keys")
    return {**compose, "allowed_envs": allowed}


_COMMIT: Final[dict[str, Check]] = {
    "app_id": checks.text,
    "compose_hash": checks.text,
    "transaction_hash": checks.text,
    "encrypted_env": encrypted_env,
    "env_keys": env_names,
    "kms_id": checks.text,
    "contract_address": chain_address,
    "deployer_address": chain_address,
}


def commit_request(request: object, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body of a commit, from a Provision, a mapping, keywords, or some of each."""
    given: dict[str, Any] = {}
    if isinstance(request, Provision):
        given = {"app_id": request.app_id, "compose_hash": request.compose_hash}
    elif isinstance(request, Mapping):
        given = dict(request)
    elif request is not None:
        problem = f"commit_cvm_provision cannot use {type(request).__name__}"
        raise InvalidInput("request", problem, "Give what provision_cvm returned.")
    body = checked({**given, **fields}, _COMMIT, "commit_cvm_provision")
    if isinstance(request, Provision) and request.allowed_envs is not None:
        strange = [name for name in body.get("env_keys", ()) if name not in request.allowed_envs]
        if strange:
            problem = f"{', '.join(strange[:5])}: not provisioned, so the CVM would drop the value"
            raise InvalidInput("env_keys", problem, "Give env_keys to provision_cvm, too.")
    _check_complete(body)
    return body


def _check_complete(body: Mapping[str, Any]) -> None:
    """Refuse the body of a commit that lacks what it needs, or half of a contract."""
    for needed in ("app_id", "compose_hash"):
        if needed not in body:
            raise InvalidInput(needed, "a commit needs it", _COMMIT_REMEDY)
    for one, other in (_ON_CHAIN, _ON_CHAIN[::-1]):
        if one in body and other not in body:
            raise InvalidInput(other, f"it is missing, though {one} is given", "Give both.")


_ON_CHAIN: Final = ("contract_address", "deployer_address")
_COMMIT_REMEDY: Final = (
    "Give what provision_cvm returned; where the key service is on a chain, also app_id, "
    "contract_address and deployer_address of your contract."
)
REPLICA: Final[dict[str, Check]] = {
    "node_id": checks.integer,
    "teepod_id": checks.integer,
    "encrypted_env": encrypted_env,
    "compose_hash": checks.text,
    "os_image": checks.text,
}


def replica_request(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body of a replication; empty lets the service choose the node."""
    body = checked(fields, REPLICA, "replicate_cvm")
    node = body.pop("teepod_id", None)
    if node is not None and body.setdefault("node_id", node) != node:
        raise InvalidInput("node_id", "it differs from teepod_id", "Give one of them.")
    return body


WATCH: Final[dict[str, Check]] = {
    "target": lambda field, value: checks.status_word(field, value, known=False),
    "interval": lambda field, value: checks.integer(field, value, 5, 30, "seconds"),
    "timeout": lambda field, value: checks.integer(field, value, 10, 600, "seconds"),
    "max_retries": lambda field, value: checks.integer(field, value, least=0),
    "retry_delay": checks.seconds,
}


def watch_request(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a watch that were given; a target must be."""
    asked = checked(fields, WATCH, "watch_cvm_state")
    if "target" not in asked:
        raise InvalidInput("target", "a watch needs it", 'Give a status, such as target="running".')
    return asked


def checked(fields: Mapping[str, Any], known: Mapping[str, Check], verb: str) -> dict[str, Any]:
    """Return the fields that are not None, each checked, in our spelling."""
    body: dict[str, Any] = {}
    for given, value in fields.items():
        name = given if given in known else snake_case(str(given))
        meant = None if name in known else near_miss(name, known)
        if meant:
            problem = f"{verb} knows no such field"
            raise InvalidInput(clean_text(given, 60), problem, f"Did you mean {meant}?")
        if value is None:
            continue
        if name in body:
            raise InvalidInput(name, f"{verb} was given it twice", "Give it once.")
        body[name if name in known else str(given)] = known.get(name, sendable)(name, value)
    return body
