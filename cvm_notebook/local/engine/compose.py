"""App compose files: their model, their checks, their hash, and the services inside."""

import hashlib
import json
from functools import lru_cache
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from cvm_notebook.local.core.errors import ApiError, coded, detail
from cvm_notebook.local.engine import compose_text
from cvm_notebook.local.engine.compose_text import ComposeTextError, Members

MAX_BYTES = 200 * 1024
"""Compose file and pre-launch script together."""

_PULLS_NOTHING = "does-not-exist"
"""An image with this in its name can't be pulled: the CVM's boot ends in an error."""

_SOURCES = ("image", "build", "extends", "provider")
_MAX_IMAGE = 1024


class AppCompose(BaseModel):
    """The app compose of a CVM. Unknown fields are kept: they count in the hash."""

    model_config = ConfigDict(extra="allow")

    name: str = ""
    manifest_version: int = Field(default=2, ge=1, le=100)
    runner: str = "docker-compose"
    docker_compose_file: str | None = None
    bash_script: str | None = None
    init_script: str | None = None
    pre_launch_script: str | None = None
    default_gateway_domain: str | None = None
    salt: str | None = None
    allowed_envs: list[str] = Field(default_factory=list)
    features: list[str] = Field(default_factory=lambda: ["kms", "tproxy-net"])
    kms_enabled: bool = True
    local_key_provider_enabled: bool = False
    no_instance_id: bool = False
    public_logs: bool = True
    public_sysinfo: bool = True
    public_tcbinfo: bool = True
    gateway_enabled: bool = True
    tproxy_enabled: bool = True
    secure_time: bool = False
    storage_fs: Literal["ext4", "zfs"] | None = "zfs"


def complete(compose: AppCompose) -> dict[str, Any]:
    """Return the app compose as it is kept and hashed: defaults in, unset options out."""
    whole: dict[str, Any] = _finite(compose.model_dump(exclude_none=True))
    return whole


def measured(app_compose: dict[str, Any]) -> dict[str, Any]:
    """Return the part of an app compose that the guest sees and the hash covers.

    The credentials of a registry go to the host alone.
    """
    return {name: part for name, part in app_compose.items() if name != "docker_config"}


def compose_hash(app_compose: dict[str, Any]) -> str:
    """Return the hash that names an app compose."""
    return hashlib.sha256(canonical(measured(app_compose)).encode()).hexdigest()


def canonical(value: Any) -> str:
    """Format an app compose as it is hashed: sorted keys, no spaces, no escapes."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def _finite(value: Any) -> Any:
    """Put null where JSON has no spelling for a number."""
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_finite(part) for part in value]
    if isinstance(value, float) and not abs(value) < float("inf"):
        return None
    return value


def text_hash(text: str | None) -> str | None:
    """Return the hash of a compose file or a script on its own."""
    return None if text is None else hashlib.sha256(text.encode()).hexdigest()


def services_of(app_compose: dict[str, Any]) -> list[dict[str, Any]]:
    """Check an app compose and return its services; ERR-01-002 or ERR-01-003 when it can't run."""
    text = app_compose.get("docker_compose_file")
    script = app_compose.get("pre_launch_script") or ""
    if app_compose.get("runner") == "bash" and app_compose.get("bash_script"):
        return []
    if not text or not text.strip():
        raise coded(
            "ERR-01-002",
            "docker_compose_file is empty.",
            details=[detail("compose_file.docker_compose_file", None, "required")],
        )
    size = len(text.encode()) + len(script.encode())
    if size > MAX_BYTES:
        raise _invalid(f"Compose file and pre-launch script have {size} bytes, over {MAX_BYTES}.")
    found = _outcome(text)
    if isinstance(found, str):
        raise _invalid(found)
    return [dict(service) for service in found]


def read_ahead(text: str | None) -> None:
    """Read a compose file before a transaction begins, so that nobody waits for it there."""
    if text and len(text) <= MAX_BYTES:
        _outcome(text)


@lru_cache(maxsize=32)
def _outcome(text: str) -> list[dict[str, Any]] | str:
    """Return the services of a compose file, or why it has none."""
    try:
        return _read_services(compose_text.read(text))
    except ComposeTextError as error:
        return f"The compose file is refused, {error}."


def _read_services(root: Any) -> list[dict[str, Any]]:
    entries = root.get("services") if isinstance(root, Members) else None
    if not isinstance(entries, Members):
        stands = isinstance(root, Members) and "services" in root
        where = f"line {root.lines['services']}: " if stands else ""
        raise ComposeTextError(f"{where}it has no services")
    for name, entry in entries.items():
        _check_service(name, entry, f"line {entries.lines[name]}")
    images: dict[str, str] = {}
    for name in entries:
        _find_image(name, entries, images)
    return [
        {"name": name, "image": images[name], "ports": _ports(entry)}
        for name, entry in entries.items()
    ]


def _check_service(name: str, entry: Any, where: str) -> None:
    shown = f"service {name[:80]!r}"
    if not isinstance(entry, Members):
        raise ComposeTextError(f"{where}: {shown} is not a mapping")
    if not any(entry.get(source) not in (None, "") for source in _SOURCES):
        raise ComposeTextError(f"{where}: {shown} has neither image nor build")
    image = entry.get("image")
    if image is not None and (not isinstance(image, str) or len(image) > _MAX_IMAGE):
        raise ComposeTextError(f"{where}: {shown} has an image that is not the name of one")


def _find_image(name: str, entries: Members, images: dict[str, str]) -> None:
    """Add a service's image, or that of the service which it extends, and so on."""
    chain: dict[str, None] = {}
    image = ""
    while name not in images and not (image := entries[name].get("image") or ""):
        chain[name] = None
        extends = entries[name].get("extends")
        if isinstance(extends, Members):
            extends = None if "file" in extends else extends.get("service")
        if not isinstance(extends, str):
            break
        if extends in chain or extends not in entries:
            why = "which extends it" if extends in chain else "which is not there"
            where = f"line {entries[name].lines['extends']}"
            raise ComposeTextError(f"{where}: {name[:80]!r} extends {extends[:80]!r}, {why}")
        name = extends
    image = images.setdefault(name, image)
    images.update(dict.fromkeys(chain, image))


def _ports(entry: Members) -> list[int]:
    ports = entry.get("ports")
    published = [_published(port) for port in ports] if isinstance(ports, list) else []
    return [port for port in published if port is not None]


def _published(port: Any) -> int | None:
    """Return the outer port of ``80``, ``"8080:80"``, ``"1.2.3.4:8080:80/tcp"`` or a mapping."""
    if isinstance(port, dict):
        port = port.get("published") or port.get("target")
    if not isinstance(port, str):
        return None
    outer = port.partition("/")[0].split(":")
    number = outer[-2] if len(outer) > 1 else outer[0]
    return int(number) if number.isascii() and number.isdigit() and int(number) < 1 << 16 else None


def boot_error(services: list[Any]) -> str | None:
    """Return why a CVM with these services can't boot, or None when it can."""
    broken = any(_PULLS_NOTHING in service["image"] for service in services)
    return "failed to start containers" if broken else None


def columns_of(app_compose: dict[str, Any]) -> dict[str, Any]:
    """Return the columns of a CVM that follow from its app compose; raises as ``services_of``."""
    return {
        "compose_file": app_compose,
        "compose_hash": compose_hash(app_compose),
        "docker_compose_hash": text_hash(app_compose.get("docker_compose_file")),
        "pre_launch_script_hash": text_hash(app_compose.get("pre_launch_script")),
        "services": services_of(app_compose),
        "public_logs": app_compose["public_logs"],
        "public_sysinfo": app_compose["public_sysinfo"],
        "public_tcbinfo": app_compose["public_tcbinfo"],
        "gateway_enabled": app_compose["gateway_enabled"],
        "secure_time": app_compose["secure_time"],
        "storage_fs": app_compose.get("storage_fs") or "zfs",
    }


def _invalid(message: str) -> ApiError:
    return coded(
        "ERR-01-003", message, details=[detail("compose_file.docker_compose_file", None, message)]
    )
