"""Fetch LocalCloud's evidence and judge it with nothing of its code: dcap-qvl, and hashes."""

import base64
import hashlib
import json
import struct
import time

import dcap_qvl
import requests
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

RUNTIME = 0x08000001
QUOTE = x509.ObjectIdentifier("1.3.6.1.4.1.62397.1.1")


def started(api, name, **more):
    """A running CVM of this name, made where there is none."""
    if api.get(f"/cvms/{name}").status_code == 404:
        api.create(name, **more)
    api.watch(name, "running")
    return api.get(f"/cvms/{name}").json()


def attested(api, name):
    return api.get(f"/cvms/{name}/attestation").json()


def quote_of(document):
    return bytes.fromhex(document["app_certificates"][0]["quote"])


def collateral(api, quote):
    answer = api.get(f"/attestations/collateral/{hashlib.sha256(quote).hexdigest()}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def gateway(cloud, address, path, **query):
    origin = cloud.url.removesuffix("/api/v1")
    return requests.get(f"{origin}/gateway/{address}{path}", params=query, timeout=30)


def root_der(path):
    """The root that a verifier is told to trust, from the file of a LocalCloud."""
    return der(x509.load_pem_x509_certificate(path.read_bytes()))


def der(certificate):
    return certificate.public_bytes(Encoding.DER)


def spki(certificate):
    """A certificate's public key, as hex of its DER form."""
    public = certificate.public_key()
    return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo).hex()


def claims(quote, collateral, root, at=None):
    """What dcap-qvl vouches for; ValueError with its words where it refuses."""
    at = int(time.time()) if at is None else at
    whole = dcap_qvl.QuoteCollateralV3.from_json(json.dumps(collateral))
    policy = dcap_qvl.QuotePolicy.claims_only(at)
    found = dcap_qvl.QuoteVerifier(root).verify_with_policy(quote, whole, at, policy)
    return json.loads(found.to_json())


def refusal(quote, collateral, root, at=None):
    """Why dcap-qvl refuses, or None when it does not."""
    try:
        claims(quote, collateral, root, at)
    except ValueError as error:
        return str(error)
    return None


class Td:
    """The report in a quote, read by offsets."""

    def __init__(self, quote):
        self.version, _, tee = struct.unpack_from("<HHI", quote)
        assert (self.version in {4, 5}, tee) == (True, 0x81)
        at = 48 if self.version == 4 else 54
        self.debug = bool(quote[at + 120] & 1)
        self.mr_td = quote[at + 136 : at + 184]
        self.mr_config_id = quote[at + 184 : at + 232]
        self.rtmrs = [quote[at + 328 + 48 * n : at + 376 + 48 * n] for n in range(4)]
        self.report_data = quote[at + 520 : at + 584]


def measured(event):
    """The digest of an event: of dstack's own it is computed, whatever the log says."""
    if event["imr"] != 3:
        return bytes.fromhex(event["digest"])
    assert event["event_type"] == RUNTIME
    kind, payload = RUNTIME.to_bytes(4, "little"), bytes.fromhex(event["event_payload"])
    return hashlib.sha384(b":".join((kind, event["event"].encode(), payload))).digest()


def replayed(log, register):
    value = bytes(48)
    for event in log:
        if event["imr"] == register:
            value = hashlib.sha384(value + measured(event)).digest()
    return value


def misfits(quote, log):
    """The registers that a log does not add up to."""
    td = Td(quote)
    return [n for n in range(4) if replayed(log, n) != td.rtmrs[n]]


def boot_events(log):
    """Payloads by name, up to system-ready; a name that comes twice has both."""
    found = {}
    for event in log:
        if event["imr"] == 3:
            found.setdefault(event["event"], []).append(bytes.fromhex(event["event_payload"]))
            if event["event"] == "system-ready":
                return found
    raise AssertionError("its boot has no end")


def lite_registers(vm_config, log):
    """MRTD and RTMR0 to 2 from an image's document, the memory, and the ACPI tables of the log."""
    config = json.loads(vm_config)
    shown = config["tdx_measurement"]
    document, checksums = (base64.b64decode(shown[n]) for n in ("measurement", "checksum_file"))
    assert hashlib.sha256(checksums).hexdigest() == config["os_image_hash"]
    assert checksums.split()[0].decode() == hashlib.sha256(document).hexdigest()
    parts = _cbor(document)
    hob = _td_hob(parts["tdvf"]["td_hob"], config["memory_size"])
    by_host = [bytes.fromhex(e["digest"]) for e in log if e["event"].startswith("acpi-")]
    fixed = [bytes.fromhex(e["digest"]) for e in log if e["imr"] == 0]
    rtmr0 = _added([hob, *fixed[1:8], *by_host, *fixed[11:]])
    image = parts["image"]
    actions = (
        b"Calling EFI Application from Boot Option",
        bytes(4),
        b"Exit Boot Services Invocation",
        b"Exit Boot Services Returned with Success",
    )
    rtmr1 = _added([image["kernel_authenticode"], *map(_sha384, actions)])
    rtmr2 = _added([image["cmdline_sha384"], image["initrd_sha384"]])
    return [parts["tdvf"]["mrtd"]["two_pass"], rtmr0, rtmr1, rtmr2]


def quote_in(certificate):
    """The quote in a certificate's extension: an OCTET STRING."""
    value = certificate.extensions.get_extension_for_oid(QUOTE).value.value
    assert value[0] == 4
    length = value[1]
    if length & 0x80:
        size = length & 0x7F
        length = int.from_bytes(value[2 : 2 + size])
        value = value[size:]
    assert len(value) == 2 + length
    return value[2:]


def bound_key(certificate):
    """What a quote says that vouches for a certificate's key."""
    return hashlib.sha512(b"ratls-cert:" + bytes.fromhex(spki(certificate))).digest()


def _sha384(data):
    return hashlib.sha384(data).digest()


def _added(digests):
    value = bytes(48)
    for digest in digests:
        value = _sha384(value + digest)
    return value


def _td_hob(witness, memory):
    numbers, value, shift = [], 0, 0
    for byte in witness:
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            numbers.append(value)
            value = shift = 0
    base, place, count, *rest = numbers
    found, at = [], 0
    for n in range(count):
        begin, length = (base + rest[2 * n]) * 4096, rest[2 * n + 1] * 4096
        if begin > at:
            found.append((7, at, begin - at))
        found.append((0, begin, length))
        at = begin + length
    if memory >= 0xB0000000:
        found += [(7, at, 0x80000000 - at), (7, 0x100000000, memory - 0x80000000)]
    else:
        found.append((7, at, memory - at))
    blocks = [
        struct.pack("<HHI", 3, 48, 0) + bytes(16) + struct.pack("<IIQQ", kind, 7, begin, length)
        for kind, begin, length in found
    ]
    end = (base + place) * 4096 + 56 + 48 * len(blocks) + 8
    head = struct.pack("<HHIII", 1, 56, 0, 9, 0) + bytes(32) + struct.pack("<Q", end)
    return _sha384(head + b"".join(blocks))


def _cbor(data):
    value, rest = _item(data)
    assert not rest
    return value


def _item(data):
    kind, count, data = data[0] >> 5, data[0] & 31, data[1:]
    if count == 24:
        count, data = data[0], data[1:]
    if kind == 0:
        return count, data
    if kind in {2, 3}:
        text = data[:count]
        return (text if kind == 2 else text.decode()), data[count:]
    assert kind == 5
    found = {}
    for _ in range(count):
        key, data = _item(data)
        found[key], data = _item(data)
    return found, data
