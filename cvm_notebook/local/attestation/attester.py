"""Attestation of a simulated guest: registers, the event log behind them, and a quote."""

import functools
import hashlib
import json
from base64 import b64encode
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

from cvm_notebook.local.attestation import collateral as documents
from cvm_notebook.local.attestation.event_log import (
    Event,
    boot_events,
    replay,
    runtime_event,
    stripped,
)
from cvm_notebook.local.attestation.pki import Authority, Machine, pem
from cvm_notebook.local.attestation.quotes import Quoter, Report
from cvm_notebook.local.core import keys
from cvm_notebook.local.core.catalogue import IMAGES, NODES, Image, Node
from cvm_notebook.local.core.image_parts import OVMF, checksum_file, document

NOTICE: Final = (
    "Made by LocalCloud on this machine. No trusted hardware has measured or signed any of it."
)
LEGACY_QEMU, LITE_QEMU = "9.2.1", "8.2.2"
_MIB: Final = 1 << 20
_OTHER_COMPOSE: Final = hashlib.sha256(b"LocalCloud: another compose file").digest()
_STALE: Final = hashlib.sha512(b"LocalCloud: what another has asked for, long ago").digest()
_STORAGE_FROM: Final = (0, 5, 5)

Faults = frozenset[str]
"""What goes wrong on purpose, by the names in `cvm_notebook.local.faults.kinds`."""
NONE: Final[Faults] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Guest:
    """A guest in a trust domain, and its machine; memory in MiB."""

    app_id: str
    instance_id: str
    app_compose: str
    image: Image
    node: Node
    vcpu: int
    memory: int
    gpus: int = 0
    storage_fs: str = "zfs"
    has_kms: bool = True

    @property
    def machine(self) -> Machine:
        """The machine that it runs on."""
        return machine_of(self.node)

    @property
    def compose_hash(self) -> bytes:
        """The SHA-256 of the text of its app compose."""
        return hashlib.sha256(self.app_compose.encode()).digest()

    @property
    def log_version(self) -> int:
        """The form of its runtime events: what its app compose asks for, from 0.6 on."""
        asked = json.loads(self.app_compose).get("event_log_version")
        return 2 if self.image.lite and asked == 2 else 1  # noqa: PLR2004 - that version


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """A quote, and what it takes to read it."""

    guest: Guest
    quote: bytes
    report: Report
    log: list[Event]
    vm_config: str

    @property
    def handed_on(self) -> list[Event]:
        """The log as the guest itself hands it on."""
        return stripped(self.log) if self.guest.image.lite else self.log

    def tcb_info(self) -> dict[str, Any]:
        """Give the registers, the log and the app compose as the service does."""
        registers = {f"rtmr{n}": value.hex() for n, value in enumerate(self.report.rtmrs)}
        return {
            "mrtd": self.report.mr_td.hex(),
            "rootfs_hash": self.guest.image.os_image_hash,
            **registers,
            "event_log": self.log,
            "app_compose": self.guest.app_compose,
        }


class Attester:
    """Attests guests under the root of one secret."""

    def __init__(self, secret: bytes) -> None:
        self.authority = Authority(secret)
        self._quoter = Quoter(self.authority)
        self._kms_id = keys.ca_public_key(secret)

    @functools.cached_property
    def _kms_measured(self) -> bytes:
        return self.attest(KMS, b"").report.aggregated

    @property
    def root_pem(self) -> str:
        """The root certificate for verifiers, as PEM."""
        return pem(self.authority.root)

    def attest(self, guest: Guest, report_data: bytes, faults: Faults = NONE) -> Evidence:
        """Measure a guest and quote it, with up to 64 bytes of its own choice."""
        guest = _started(guest, faults)
        log = self._log(guest, faults)
        rtmrs = (replay(log, 0), replay(log, 1), replay(log, 2), replay(log, 3))
        report = Report(
            mr_td=guest.image.parts.firmware,
            rtmrs=rtmrs,
            mr_config_id=mr_config_id(_measured_compose(guest, faults)),
            report_data=_STALE if "replayed_quote" in faults else report_data,
            debug="debug" in faults,
        )
        svn = documents.SVN[_status(guest.node, faults)]
        quote = self._quoter.quote(report, guest.machine, svn, guest.node.quote_version)
        if "log_shortened" in faults:
            del log[-2]
        return Evidence(
            guest=guest, quote=quote, report=report, log=log, vm_config=vm_config(guest)
        )

    def collateral(self, node: Node, now: float, faults: Faults = NONE) -> dict[str, str]:
        """Sign what the quotes of a node's machine are judged by."""
        begins = documents.issued_on(now)
        if "collateral_expired" in faults:
            begins -= timedelta(days=2 * documents.DAYS)
        revoked = [machine_of(node)] if "pck_revoked" in faults else []
        serials = documents.serials(self.authority, revoked)
        return documents.collateral(self.authority, machine_of(node).fmspc, begins, serials)

    def _log(self, guest: Guest, faults: Faults) -> list[Event]:
        boot = _booted(guest.image, guest.vcpu, guest.memory, guest.gpus)
        return [*boot, *self._runtime_events(guest, faults)]

    def _runtime_events(self, guest: Guest, faults: Faults) -> list[Event]:
        version = guest.log_version
        return [
            runtime_event(name, payload, version)
            for name, payload in self._measurements(guest, faults)
        ]

    def _measurements(self, guest: Guest, faults: Faults) -> list[tuple[str, bytes]]:
        """Return names and payloads of what dstack measures, in order."""
        image, shown = guest.image, ("compose-hash", guest.compose_hash)
        provider = (
            {"name": "kms", "id": self._kms_id} if guest.has_kms else {"name": "none", "id": ""}
        )
        log = [
            ("local-cloud", NOTICE.encode()),
            ("system-preparing", b""),
            ("app-id", bytes.fromhex(guest.app_id)),
            ("compose-hash", _measured_compose(guest, faults)),
        ]
        if "duplicate_event" in faults:
            log.append(shown)
        if guest.gpus and image.lite:
            log.append(("gpu-policy-hash", hashlib.sha256(b"{}").digest()))
            if "gpu_missing" not in faults:
                log.append(("gpu-attestation", _gpu_event(guest)))
        log += [
            ("instance-id", bytes.fromhex(guest.instance_id)),
            ("boot-mr-done", b""),
        ]
        if guest.has_kms and not image.lite:
            log.append(("mr-kms", self._kms_measured))
        if guest.has_kms:
            log.append(("os-image-hash", bytes.fromhex(image.os_image_hash)))
        log.append(("key-provider", _json(provider)))
        if image.version >= _STORAGE_FROM:
            log.append(("storage-fs", guest.storage_fs.encode()))
        log.append(("system-ready", b""))
        return [*log, shown] if "event_after_ready" in faults else log


@functools.lru_cache(maxsize=8)
def _attester(secret: bytes) -> Attester:
    return Attester(secret)


@functools.lru_cache(maxsize=256)
def _booted(image: Image, vcpu: int, memory: int, gpus: int) -> list[Event]:
    machine = f"{vcpu} vCPU, {memory} MiB, {gpus} GPU"
    return boot_events(image.parts, machine, memory * _MIB, named=image.lite)


def attester_of(secret: bytes, faults: Faults = NONE) -> Attester:
    """Return who attests under a LocalCloud's root, or under another where that is the fault."""
    if "other_root" in faults:
        secret = hashlib.sha256(b"another root than " + secret).digest()
    return _attester(secret)


def machine_of(node: Node) -> Machine:
    """Return a node as the machine that signs quotes."""
    return Machine(node.name, bytes.fromhex(node.fmspc), bytes.fromhex(node.ppid))


def mr_config_id(compose_hash: bytes) -> bytes:
    """Give the 48 bytes that bind a guest to its compose file, in their first version."""
    return (b"\x01" + compose_hash).ljust(48, b"\0")


def vm_config(guest: Guest) -> str:
    """Describe the virtual machine as its host does, with the image's document where it has one."""
    image = guest.image
    config: dict[str, Any] = {
        "spec_version": 1,
        "os_image_hash": image.os_image_hash,
        "cpu_count": guest.vcpu,
        "memory_size": guest.memory * _MIB,
        "qemu_version": LITE_QEMU if image.lite else LEGACY_QEMU,
        "pci_hole64_size": 0,
        "hugepages": False,
        "num_gpus": guest.gpus,
        "num_nvswitches": 0,
        "hotplug_off": False,
        "image": image.name,
    }
    if image.lite:
        config |= {
            "host_share_mode": "9p",
            "ovmf_variant": OVMF,
            "tdx_attestation_variant": "lite",
            "tdx_measurement": {
                "measurement": b64encode(document(image.parts)).decode(),
                "checksum_file": b64encode(checksum_file(image.parts)).decode(),
            },
        }
    return _json(config).decode()


def gpu_evidence(guest: Guest) -> str:
    """Give what was learnt of a guest's GPUs while it started; empty where it has none."""
    if not guest.gpus:
        return ""
    claim = {
        "hwmodel": "LocalCloud (no GPU)",
        "measres": "success",
        "secboot": True,
        "dbgstat": "disabled",
        "x-nvidia-gpu-attestation-report-nonce-match": True,
    }
    answer = {"result_code": 0, "result_message": "Ok", "claims": [claim] * guest.gpus}
    return _json(answer).decode()


def _gpu_event(guest: Guest) -> bytes:
    return _json(
        {
            "version": 1,
            "provider": "nvidia",
            "devices": guest.gpus,
            "cc_mode": "on",
            "devtools": False,
            "evidence_sha256": hashlib.sha256(gpu_evidence(guest).encode()).hexdigest(),
        }
    )


def _started(guest: Guest, faults: Faults) -> Guest:
    """Return a guest as its host has started it: perhaps from another image."""
    image = guest.image
    if "dev_image" in faults:
        image = _development_twin(image)
    if "other_image" in faults:
        image = replace(image, name=f"{image.name}-changed")
    return replace(guest, image=image)


def _development_twin(image: Image) -> Image:
    kind = (image.version, image.requires_gpu, True)
    twins = (one for one in IMAGES.values() if (one.version, one.requires_gpu, one.is_dev) == kind)
    return next(twins)


def _measured_compose(guest: Guest, faults: Faults) -> bytes:
    other = faults & {"other_compose", "duplicate_event", "event_after_ready"}
    return _OTHER_COMPOSE if other else guest.compose_hash


def _status(node: Node, faults: Faults) -> str:
    if "tcb_revoked" in faults:
        return "Revoked"
    return "OutOfDate" if "tcb_outdated" in faults else node.tcb


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _service(name: str, *, has_kms: bool) -> Guest:
    compose = {"docker_compose_file": "services: {}", "manifest_version": 2, "name": name}
    digits = hashlib.sha256(f"LocalCloud's own {name}".encode()).hexdigest()
    return Guest(
        app_id=digits[:40],
        instance_id=digits[24:],
        app_compose=json.dumps(compose, sort_keys=True, separators=(",", ":")),
        image=IMAGES["dstack-0.6.0"],
        node=NODES[5],
        vcpu=4,
        memory=8192,
        has_kms=has_kms,
    )


KMS: Final = _service("dstack-kms", has_kms=False)
"""The key management service, which is a guest itself."""
GATEWAY: Final = _service("dstack-gateway", has_kms=True)
"""The gateway before the apps."""
