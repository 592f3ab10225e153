"""An issuer of evidence for these tests: quotes, their PKI, logs and images, under its own root.

It is written from Intel's and dstack's formats alone, and shares nothing with what it tests, nor
with LocalCloud's issuer: a mistake there cannot hide here.
"""

import base64
import functools
import hashlib
import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)
FMSPC = bytes.fromhex("5E5700000001")
COMPOSE = "services:\n  web:\n    image: nginx@sha256:" + "ab" * 32 + "\n"
APP = json.dumps({"runner": "docker-compose", "docker_compose_file": COMPOSE}, indent=4)
KMS_ID = "3059" + "ab" * 40
RUNTIME = 0x08000001
# security version of a machine, and what that is worth
LEVELS = [
    (9, "UpToDate", []),
    (8, "SWHardeningNeeded", ["TEST-SA-00008"]),
    (7, "ConfigurationNeeded", ["TEST-SA-00007"]),
    (6, "OutOfDate", ["TEST-SA-00006", "TEST-SA-00016"]),
    (5, "Revoked", ["TEST-SA-00005"]),
]
SVN = {status: svn for svn, status, _ in LEVELS}
ACPI = [hashlib.sha384(b"acpi %d" % n).digest() for n in range(3)]
TWO_GIB, FOUR_GIB = 1 << 31, 1 << 32


def h384(*parts: bytes) -> bytes:
    return hashlib.sha384(b"".join(parts)).digest()


def extend(digests: Any) -> bytes:
    value = bytes(48)
    for digest in digests:
        value = h384(value, digest)
    return value


# --- keys and certificates ---------------------------------------------------------------------


@functools.cache
def key(name: str) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int.from_bytes(h384(name.encode())[:31]), ec.SECP256R1())


def raw_signature(signer: str, data: bytes) -> bytes:
    made = key(signer).sign(data, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
    return b"".join(n.to_bytes(32) for n in utils.decode_dss_signature(made))


def certify(
    name: str, parent: str, *, ca: bool, serial: int, extra: Any = None
) -> x509.Certificate:
    def called(who: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"Test {who}")])

    public, above = key(name).public_key(), key(parent).public_key()
    unused = "content_commitment key_encipherment data_encipherment key_agreement"
    usage = dict.fromkeys([*unused.split(), "encipher_only", "decipher_only"], False)
    builder = (
        x509.CertificateBuilder(called(parent), called(name), public, serial)
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2049, 1, 1, tzinfo=UTC))
        .add_extension(x509.BasicConstraints(ca, None if not ca else int(name == parent)), True)
        .add_extension(
            x509.KeyUsage(digital_signature=not ca, key_cert_sign=ca, crl_sign=ca, **usage), True
        )
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(above), False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), False)
    )
    for oid, value in (extra or {}).items():
        extension = x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value)
        builder = builder.add_extension(extension, False)
    return builder.sign(key(parent), hashes.SHA256(), ecdsa_deterministic=True)


def pem(*chain: x509.Certificate) -> str:
    return "".join(one.public_bytes(Encoding.PEM).decode() for one in chain)


def der(tag: int, body: bytes) -> bytes:
    size = len(body)
    length = bytes([size]) if size < 128 else bytes([0x82]) + size.to_bytes(2)
    return bytes([tag]) + length + body


def _oid_value(tail: bytes, value: bytes) -> bytes:
    return der(0x30, der(6, bytes.fromhex("2a864886f84d010d01") + tail) + value)


def sgx_extension(svn: int, fmspc: bytes) -> bytes:
    """What a PCK certificate says of its machine (Intel's PCK certificate profile)."""
    tcb = b"".join(_oid_value(bytes([2, n]), der(2, bytes([svn]))) for n in range(1, 17))
    tcb += _oid_value(b"\2\x11", der(2, b"\x0b")) + _oid_value(b"\2\x12", der(4, bytes([svn]) * 16))
    flags = b"".join(_oid_value(bytes([7, n]), der(1, b"\xff")) for n in (1, 2, 3))
    return der(
        0x30,
        _oid_value(b"\1", der(4, b"P" * 16))
        + _oid_value(b"\2", der(0x30, tcb))
        + _oid_value(b"\3", der(4, bytes(2)))
        + _oid_value(b"\4", der(4, fmspc))
        + _oid_value(b"\5", der(10, b"\1"))
        + _oid_value(b"\6", der(4, b"I" * 16))
        + _oid_value(b"\7", der(0x30, flags)),
    )


@dataclass(frozen=True)
class Pki:
    """A root, and all that hangs on it; another `name` is another root."""

    name: str = "Root CA"

    @functools.cached_property
    def root(self) -> x509.Certificate:
        return certify(self.name, self.name, ca=True, serial=1)

    @functools.cached_property
    def platform(self) -> x509.Certificate:
        return certify("PCK Platform CA", self.name, ca=True, serial=2)

    @functools.cached_property
    def signing(self) -> x509.Certificate:
        return certify("TCB Signing", self.name, ca=False, serial=3)

    @property
    def root_pem(self) -> str:
        return pem(self.root)

    def pck(self, svn: int, fmspc: bytes = FMSPC) -> x509.Certificate:
        extra = {"1.2.840.113741.1.13.1": sgx_extension(svn, fmspc)}
        return certify("PCK", "PCK Platform CA", ca=False, serial=100 + svn, extra=extra)

    def crl(self, issuer: str, at: datetime, days: int, serials: list[int]) -> str:
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"Test {issuer}")])
        builder = x509.CertificateRevocationListBuilder(name, at, at + timedelta(days))
        own = x509.AuthorityKeyIdentifier.from_issuer_public_key(key(issuer).public_key())
        builder = builder.add_extension(x509.CRLNumber(1), False).add_extension(own, False)
        for serial in serials:
            revoked = x509.RevokedCertificateBuilder(serial, at).build()
            builder = builder.add_revoked_certificate(revoked)
        made = builder.sign(key(issuer), hashes.SHA256(), ecdsa_deterministic=True)
        return made.public_bytes(Encoding.DER).hex()

    def collateral(
        self, at: datetime = NOW, *, days: int = 30, revoked: tuple[int, ...] = (), number: int = 20
    ) -> dict[str, str]:
        """Intel's documents on machines of `FMSPC`, issued a day before `at`."""
        at -= timedelta(1)
        dates = {"issueDate": _date(at), "nextUpdate": _date(at + timedelta(days))}
        any_module = {"mrsigner": "00" * 48, "attributes": "00" * 8, "attributesMask": "FF" * 8}
        first = [_level(at, {"isvsvn": 1}, "UpToDate", [])]
        tcb = {
            "id": "TDX", "version": 3, **dates, "fmspc": FMSPC.hex().upper(), "pceId": "0000",
            "tcbType": 0, "tcbEvaluationDataNumber": number, "tdxModule": any_module,
            "tdxModuleIdentities": [{"id": "TDX_01", **any_module, "tcbLevels": first}],
            "tcbLevels": [
                _level(at, {
                    "sgxtcbcomponents": [{"svn": svn}] * 16, "pcesvn": 11,
                    "tdxtcbcomponents": [{"svn": svn if n in (0, 2) else 0} for n in range(16)],
                }, status, advisories)
                for svn, status, advisories in LEVELS
            ],
        }  # fmt: skip
        enclave = {
            "id": "TD_QE", "version": 2, **dates, "tcbEvaluationDataNumber": number + 1,
            "miscselect": "00000000", "miscselectMask": "FFFFFFFF", "attributes": "11" + "00" * 15,
            "attributesMask": "FB" + "FF" * 7 + "00" * 8, "mrsigner": _QE_SIGNER.hex().upper(),
            "isvprodid": 2, "tcbLevels": [_level(at, {"isvsvn": 4}, "UpToDate", [])],
        }  # fmt: skip
        info, identity = json.dumps(tcb), json.dumps(enclave)
        return {
            "pck_crl_issuer_chain": pem(self.platform, self.root),
            "root_ca_crl": self.crl(self.name, at, 365, []),
            "pck_crl": self.crl("PCK Platform CA", at, days, list(revoked)),
            "tcb_info_issuer_chain": pem(self.signing, self.root),
            "tcb_info": info,
            "tcb_info_signature": raw_signature("TCB Signing", info.encode()).hex(),
            "qe_identity_issuer_chain": pem(self.signing, self.root),
            "qe_identity": identity,
            "qe_identity_signature": raw_signature("TCB Signing", identity.encode()).hex(),
        }


_QE_SIGNER = hashlib.sha256(b"test quoting enclave").digest()
PKI = Pki()


def _date(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def _level(at: datetime, tcb: Any, status: str, advisories: list[str]) -> dict[str, Any]:
    level = {"tcb": tcb, "tcbDate": _date(at - timedelta(100)), "tcbStatus": status}
    return level | ({"advisoryIDs": advisories} if advisories else {})


# --- quotes ------------------------------------------------------------------------------------


def quote(body: bytes, *, version: int = 4, svn: int = 9, pki: Pki = PKI, pad: int = 70) -> bytes:
    """Sign a TD report as a quoting enclave does."""
    little = int.to_bytes
    signed = little(version, 2, "little") + little(2, 2, "little") + little(0x81, 4, "little")
    signed += bytes(4) + bytes.fromhex("939a7233f79c4ca9940a0db3957f0607") + bytes(20)
    if version == 5:
        signed += little(3, 2, "little") + little(len(body), 4, "little")
    signed += body
    point = key("attestation").public_key()
    public = point.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:]
    extra = bytes(32)
    enclave = b"".join([
        bytes([svn]) * 16, bytes(32), b"\x11" + bytes(15), bytes(32), bytes(32), _QE_SIGNER,
        bytes(96), little(2, 2, "little"), little(4, 2, "little"), bytes(60),
        hashlib.sha256(public + extra).digest(), bytes(32),
    ])  # fmt: skip
    chain = pem(pki.pck(svn), pki.platform, pki.root).encode() + b"\0"
    inner = enclave + raw_signature("PCK", enclave) + little(32, 2, "little") + extra
    inner += little(5, 2, "little") + little(len(chain), 4, "little") + chain
    proof = raw_signature("attestation", signed) + public
    proof += little(6, 2, "little") + little(len(inner), 4, "little") + inner
    return signed + little(len(proof), 4, "little") + proof + bytes(pad)


def td_report(
    registers: dict[str, bytes],
    *,
    svn: int = 9,
    version: int = 4,
    attributes: int = 1 << 28,
    config: bytes = bytes(48),
    data: bytes = b"",
    signer: bytes = bytes(48),
    service: bytes = bytes(48),
) -> bytes:
    tcb = bytes([svn, 1, svn]) + bytes(13)
    body = tcb + h384(b"module") + signer + bytes(8) + attributes.to_bytes(8, "little")
    body += bytes.fromhex("e702060000000000") + registers["mrtd"] + config + bytes(96)
    body += b"".join(registers[f"rtmr{n}"] for n in range(4)) + data.ljust(64, b"\0")
    return body + (tcb + service if version == 5 else b"")


# --- images and logs ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Image:
    """An OS image: what it is made of, and whether it publishes that ("lite")."""

    name: str = "test-1.0"
    lite: bool = False
    kernel: bytes = h384(b"kernel")
    command: bytes = h384(b"command line")
    initrd: bytes = h384(b"initrd")
    firmware: tuple[bytes, bytes] = (h384(b"single pass"), h384(b"two passes"))

    @property
    def cbor(self) -> bytes:
        def text(value: str) -> bytes:
            return bytes([0x60 + len(value)]) + value.encode()

        def octets(value: bytes) -> bytes:
            return (
                bytes([0x58, len(value)]) if len(value) > 23 else bytes([0x40 + len(value)])
            ) + value

        image = b"\xa3" + text("cmdline_sha384") + octets(self.command)
        image += text("kernel_authenticode") + octets(self.kernel)
        image += text("initrd_sha384") + octets(self.initrd)
        mrtd = b"\xa2" + text("single_pass") + octets(self.firmware[0])
        mrtd += text("two_pass") + octets(self.firmware[1])
        tdvf = b"\xa3" + text("ovmf") + text("pre202505") + text("mrtd") + mrtd
        tdvf += text("td_hob") + octets(WITNESS)
        return b"\xa3" + text("version") + b"\3" + text("image") + image + text("tdvf") + tdvf

    @property
    def checksums(self) -> bytes:
        return f"{hashlib.sha256(self.cbor).hexdigest()}  measurement.tdx.cbor\n".encode()


# pages: the firmware begins at 0x800, its hand-off block at +9; one range of 32 is accepted at +0,
# another of 2 at +64
WITNESS = bytes([0x80, 0x10, 9, 2, 0, 32, 64, 2])


def hand_off(memory: int) -> bytes:
    """The memory map that the firmware is given for `WITNESS`, as its digest (PI specification)."""
    page, base = 4096, 0x800
    first, last = base * page, (base + 66) * page
    ranges = [(7, 0, first), (0, first, 32 * page), (7, (base + 32) * page, 32 * page)]
    ranges.append((0, (base + 64) * page, 2 * page))
    if memory < 0xB0000000:
        ranges.append((7, last, memory - last))
    else:
        ranges += [(7, last, TWO_GIB - last), (7, FOUR_GIB, memory - TWO_GIB)]
    blocks = b"".join(
        b"\3\0\x30\0" + bytes(4) + bytes(16) + bytes([kind, 0, 0, 0]) + b"\7\0\0\0"
        + start.to_bytes(8, "little") + size.to_bytes(8, "little")
        for kind, start, size in ranges
    )  # fmt: skip
    end = (base + 9) * page + 56 + len(blocks) + 8
    head = (
        b"\1\0\x38\0" + bytes(4) + b"\x09\0\0\0" + bytes(4) + bytes(32) + end.to_bytes(8, "little")
    )
    return h384(head, blocks)


def _unset(guid: str, name: str) -> bytes:
    return h384(
        bytes.fromhex(guid), len(name).to_bytes(8, "little"), bytes(8), name.encode("utf-16le")
    )


EFI, DB = "61dfe48bca93d211aa0d00e098032b8c", "cbb219d73a3d9645a3bcdad00e67656f"
SEPARATOR = h384(bytes(4))
VOLUME = bytes.fromhex(
    "344bc51c980ba621aaa00da3ed7436f7d6e549197dfe699515dfa2c6583d95e6412af21c097d473155875ffd561d6790"
)
BOOT0 = bytes.fromhex(
    "23ada07f5261f12f34a0bd8e46760962d6b4d576a416f1fea1c64bc656b1d28eacf7047ae6e967c58fd2a98bfa74c298"
)


def firmware_events(image: Image, memory: int) -> list[dict[str, Any]]:
    names = ("acpi-loader", "acpi-rsdp", "acpi-tables") if image.lite else ("", "", "")
    marker = b"ACPI DATA".hex()
    zero = [
        (0x8000000B, hand_off(memory), "", ""),
        (0x8000000A, VOLUME, "", ""),
        *((0x80000001, _unset(EFI, name), "", "") for name in ("SecureBoot", "PK", "KEK")),
        *((0x80000001, _unset(DB, name), "", "") for name in ("db", "dbx")),
        (4, SEPARATOR, "", ""),
        *((10, digest, name, marker) for digest, name in zip(ACPI, names, strict=True)),
        (0x80000002, h384(bytes(2)), "", ""),
        (0x80000002, BOOT0, "", ""),
    ]
    one = [
        (0x80000003, image.kernel),
        (0x80000007, h384(b"Calling EFI Application from Boot Option")),
        (4, SEPARATOR),
        (0x80000007, h384(b"Exit Boot Services Invocation")),
        (0x80000007, h384(b"Exit Boot Services Returned with Success")),
    ]
    two = [(6, image.command), (6, image.initrd)]
    return [
        *(event(0, kind, digest, name, payload) for kind, digest, name, payload in zero),
        *(event(1, kind, digest) for kind, digest in one),
        *(event(2, kind, digest) for kind, digest in two),
    ]


def event(imr: int, kind: int, digest: bytes, name: str = "", payload: str = "") -> dict[str, Any]:
    return {
        "imr": imr, "event_type": kind, "digest": digest.hex(), "event": name,
        "event_payload": payload,
    }  # fmt: skip


def runtime(name: str, payload: bytes = b"", version: int = 1) -> dict[str, Any]:
    if version == 1:
        digest = h384(RUNTIME.to_bytes(4, "little"), b":", name.encode(), b":", payload)
        return event(3, RUNTIME, digest, name, payload.hex())
    text = f'{{"name":{json.dumps(name)},"payload":"{payload.hex()}","type":{RUNTIME}}}'
    return event(3, RUNTIME, h384(text.encode()), name, payload.hex()) | {"version": 2}


def gpu_event(devices: int, info: str = "", **changes: Any) -> bytes:
    claims = {"version": 2, "provider": "nvidia", "devices": devices, "cc_mode": "on"}
    claims |= {"devtools": False, "evidence_sha256": hashlib.sha256(info.encode()).hexdigest()}
    return json.dumps(claims | changes).encode()


LEGACY, LITE, DEV = (
    Image(),
    Image("test-lite-1.0", lite=True),
    Image("test-dev-1.0", initrd=h384(b"dev")),
)


# --- a CVM -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cvm:
    """A CVM as its host has started it; `evidence` is what it shows.

    Attributes
    ----------
    more, late
        Events before ``system-ready``, and after it.
    shown_compose
        What it shows as its app compose, where that is another than was measured.
    """

    version: int = 4
    image: Image = LEGACY
    status: str = "UpToDate"
    compose: str = APP
    shown_compose: str | None = None
    memory: int = FOUR_GIB
    attributes: int = 1 << 28
    config: bytes | None = None
    data: bytes = b""
    signer: bytes = bytes(48)
    service: bytes = bytes(48)
    log_version: int = 1
    more: tuple[tuple[str, bytes], ...] = ()
    late: tuple[tuple[str, bytes], ...] = ()
    unfinished: bool = False
    pki: Pki = field(default_factory=Pki)

    def having(self, **changes: Any) -> "Cvm":
        return replace(self, **changes)

    @property
    def compose_hash(self) -> bytes:
        return hashlib.sha256(self.compose.encode()).digest()

    @functools.cached_property
    def log(self) -> list[dict[str, Any]]:
        provider = json.dumps({"name": "kms", "id": KMS_ID}).encode()
        events = [
            ("system-preparing", b""), ("app-id", b"A" * 20), ("compose-hash", self.compose_hash),
            *self.more, ("instance-id", b"I" * 20), ("boot-mr-done", b""),
            ("os-image-hash", b"O" * 32), ("key-provider", provider), ("storage-fs", b"zfs"),
            *([] if self.unfinished else [("system-ready", b"")]), *self.late,
        ]  # fmt: skip
        measured = [runtime(name, payload, self.log_version) for name, payload in events]
        return firmware_events(self.image, self.memory) + measured

    @functools.cached_property
    def registers(self) -> dict[str, bytes]:
        digests: dict[int, list[bytes]] = {n: [] for n in range(4)}
        for one in self.log:
            digests[one["imr"]].append(bytes.fromhex(one["digest"]))
        sums = {f"rtmr{n}": extend(found) for n, found in digests.items()}
        return {"mrtd": self.image.firmware[0], **sums}

    @functools.cached_property
    def quote(self) -> bytes:
        config = b"\1" + self.compose_hash + bytes(15) if self.config is None else self.config
        svn = SVN[self.status]
        report = td_report(
            self.registers, svn=svn, version=self.version, attributes=self.attributes,
            config=config, data=self.data, signer=self.signer, service=self.service,
        )  # fmt: skip
        return quote(report, version=self.version, svn=svn, pki=self.pki)

    @property
    def vm_config(self) -> dict[str, Any]:
        config: dict[str, Any] = {"image": self.image.name, "memory_size": self.memory}
        if self.image.lite:
            parts = {"measurement": self.image.cbor, "checksum_file": self.image.checksums}
            encoded = {name: base64.b64encode(part).decode() for name, part in parts.items()}
            config |= {"tdx_attestation_variant": "lite", "tdx_measurement": encoded}
        return config

    def evidence(self, **changes: Any) -> dict[str, Any]:
        """What it shows, as a guest agent answers; with the collateral of `NOW`."""
        shown = self.compose if self.shown_compose is None else self.shown_compose
        return {
            "quote": self.quote.hex(),
            "event_log": json.dumps(self.log),
            "app_compose": shown,
            "vm_config": json.dumps(self.vm_config),
            "collateral": self.pki.collateral(),
        } | changes


def certificate(extensions: dict[str, bytes], name: str = "RA-TLS") -> bytes:
    """A TLS certificate with these extensions, below dstack's arc; each an OCTET STRING."""
    arc = "1.3.6.1.4.1.62397.1"
    extra = {f"{arc}.{tail}": der(4, value) for tail, value in extensions.items()}
    return certify(name, name, ca=False, serial=7, extra=extra).public_bytes(Encoding.DER)


def public_key(name: str = "RA-TLS") -> bytes:
    public = key(name).public_key()
    return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
