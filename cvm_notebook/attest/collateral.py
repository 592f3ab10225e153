"""Collateral: Intel's documents on a kind of machine, fetched by our own transport and kept.

It belongs to a kind of machine (FMSPC) and the CA that certified it, and not to a quote: so it is
fetched once for all CVMs on such machines, and kept until the first of its documents ends.
"""

import contextlib
import hashlib
import re
import threading
from collections.abc import Mapping
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias
from urllib.parse import unquote

import msgspec

from cvm_notebook.api import checks
from cvm_notebook.api.errors.tree import CvmError, DecodeError, NotFoundError
from cvm_notebook.api.models.base import instant
from cvm_notebook.api.resources.attestations import collateral_in
from cvm_notebook.attest.evidence.evidence import Evidence
from cvm_notebook.attest.evidence.fields import MalformedEvidence, fields_of
from cvm_notebook.attest.policy.roots import root_of
from cvm_notebook.attest.quotes import COLLATERAL_FIELDS
from cvm_notebook.text import clean_text

if TYPE_CHECKING:
    from cvm_notebook.api.client import Client

Collateral: TypeAlias = Mapping[str, str]
_MOST_TRIES: Final = 3  # quotes of one kind of machine that a service may not know
_KEPT: Final = 256


class _Key(NamedTuple):
    """A kind of machine, whom its collateral was had from, and that client's development root.

    One LocalCloud after another may be at one address, with kinds of machines of the same names.
    """

    source: str
    root: str | None
    fmspc: str
    ca: str


class CollateralCache:
    """Collateral by FMSPC and CA, kept until it ends. Safe to use from any thread.

    Of several threads that need the same, one fetches it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[_Key, tuple[Collateral, datetime]] = {}
        self._fetching: dict[_Key, threading.Lock] = {}

    def find(self, key: _Key, at: datetime) -> Collateral | None:
        """Return what is kept and good at an instant."""
        with self._lock:
            kept = self._kept.get(key)
            return kept[0] if kept is not None and at < kept[1] else None

    def keep(self, key: _Key, collateral: Collateral) -> None:
        """Keep collateral until its first document ends; what has no end is not kept."""
        end = ends_at(collateral)
        if end is None:
            return
        with self._lock:
            while len(self._kept) >= _KEPT:
                self._kept.pop(next(iter(self._kept)))
            self._kept[key] = collateral, end

    def lock_of(self, key: _Key) -> threading.Lock:
        """Return the lock under which collateral of a kind of machine is fetched."""
        with self._lock:
            return self._fetching.setdefault(key, threading.Lock())

    def clear(self) -> None:
        """Forget all of it."""
        with self._lock:
            self._kept.clear()


CACHE: Final = CollateralCache()


def ends_at(collateral: Collateral) -> datetime | None:
    """Return when the first of its documents ends, by TCB info, QE identity and both CRLs."""
    signed = [fields_of(collateral.get(name)) for name in ("tcb_info", "qe_identity")]
    found = [instant(document.get("nextUpdate")) for document in signed]
    found += [_crl_end(collateral.get(name)) for name in ("pck_crl", "root_ca_crl")]
    known = [end for end in found if end is not None]
    return min(known) if len(known) == len(found) else None


def _fmspc_of(collateral: Collateral) -> str | None:
    """Return the kind of machine that collateral is of, in upper case."""
    fmspc = fields_of(collateral.get("tcb_info")).get("fmspc")
    return fmspc.upper() if isinstance(fmspc, str) else None


def _crl_end(digits: str | None) -> datetime | None:
    from cryptography import x509  # noqa: PLC0415 - slow to import

    try:
        return x509.load_der_x509_crl(bytes.fromhex(digits or "")).next_update_utc
    except ValueError:
        return None


class CollateralSource:
    """A source of collateral: the service of a client, or a PCCS that the user names.

    With `refresh` it asks once in each run, whatever is kept. One is made for each run, and
    remembers what could not be had during it.
    """

    def __init__(
        self,
        client: "Client",
        pccs: str | None = None,
        *,
        refresh: bool = False,
        cache: CollateralCache = CACHE,
    ) -> None:
        self._client = client
        self._refresh = checks.boolean("refresh", refresh)
        self._refreshed: set[_Key] = set()
        self._pccs = pccs.rstrip("/") if pccs else None
        self._cache = cache
        self._misses: dict[_Key, list[str]] = {}

    @cached_property
    def _root(self) -> str | None:
        return root_of(self._client)

    def complete(self, evidence: Evidence, at: datetime) -> Evidence:
        """Return evidence with collateral, where it has none and some can be had."""
        if evidence.collateral is not None:
            return evidence
        try:
            platform = evidence.report.platform
        except MalformedEvidence:
            return evidence
        if platform is None:
            return evidence
        key = _Key(self._pccs or self._client.base_url, self._root, *platform)
        found = self._kept(key, at) or self._fetched(key, evidence, at)
        if found is None:
            return evidence.having(collateral_error=self._misses[key][-1])
        return evidence.having(collateral=found)

    def _kept(self, key: _Key, at: datetime) -> Collateral | None:
        if self._refresh and key not in self._refreshed:
            return None
        return self._cache.find(key, at)

    def _fetched(self, key: _Key, evidence: Evidence, at: datetime) -> Collateral | None:
        with self._cache.lock_of(key):
            found = self._kept(key, at)  # another may have had it meanwhile
            misses = self._misses.setdefault(key, [])
            if found is not None or len(misses) >= _MOST_TRIES:
                return found
            try:
                found = self._from_pccs(key) if self._pccs else self._from_service(evidence)
            except (CvmError, MalformedEvidence) as error:
                misses.append(clean_text(error, 200))
                return None
            if _fmspc_of(found) == key.fmspc:
                self._cache.keep(key, found)
                self._refreshed.add(key)
            return found

    def _from_service(self, evidence: Evidence) -> Collateral:
        quotes = evidence.quotes_known
        for quote in quotes[:-1]:
            with contextlib.suppress(NotFoundError):
                return self._of_quote(quote)
        return self._of_quote(quotes[-1])

    def _of_quote(self, quote: bytes) -> Collateral:
        checksum = hashlib.sha256(quote).hexdigest()
        answer = collateral_in(self._client.get_quote_collateral(checksum))
        return {
            name: answer[name] for name in COLLATERAL_FIELDS if isinstance(answer.get(name), str)
        }

    # --- a PCCS: Intel's API for provisioning certificates, version 4 --------------------------

    def _from_pccs(self, key: _Key) -> Collateral:
        sgx, tdx = f"{self._pccs}/sgx/certification/v4", f"{self._pccs}/tdx/certification/v4"
        crl = self._read(f"{sgx}/pckcrl?ca={key.ca}&encoding=der", "SGX-PCK-CRL-Issuer-Chain")
        tcb = self._read(f"{tdx}/tcb?fmspc={key.fmspc}", "TCB-Info-Issuer-Chain")
        enclave = self._read(f"{tdx}/qe/identity", "SGX-Enclave-Identity-Issuer-Chain")
        root = self._read(f"{sgx}/rootcacrl", None)
        info, info_signature = _signed(tcb[0], "tcbInfo")
        identity, identity_signature = _signed(enclave[0], "enclaveIdentity")
        return {
            "pck_crl_issuer_chain": crl[1],
            "root_ca_crl": _crl_hex(root[0]),
            "pck_crl": _crl_hex(crl[0]),
            "tcb_info_issuer_chain": tcb[1],
            "tcb_info": info,
            "tcb_info_signature": info_signature,
            "qe_identity_issuer_chain": enclave[1],
            "qe_identity": identity,
            "qe_identity_signature": identity_signature,
        }

    def _read(self, url: str, chain: str | None) -> tuple[bytes, str]:
        reply = self._client.read_elsewhere(url, "the PCCS")
        headers = {name.lower(): value for name, value in reply.headers.items()}
        return reply.body, unquote(headers.get(chain.lower(), "")) if chain else ""


_CRL_HEX: Final = re.compile(rb"\s*\"?([0-9a-fA-F]{20,})\"?\s*")


def _crl_hex(body: bytes) -> str:
    """Return a CRL in hex: some send hex, others DER."""
    found = _CRL_HEX.fullmatch(body)
    return found[1].decode().lower() if found else body.hex()


class _Signed(msgspec.Struct):
    tcb_info: msgspec.Raw = msgspec.field(default=msgspec.Raw(), name="tcbInfo")
    identity: msgspec.Raw = msgspec.field(default=msgspec.Raw(), name="enclaveIdentity")
    signature: str = ""


def _signed(body: bytes, name: str) -> tuple[str, str]:
    """Return the text of a document, to the byte as it was signed, and its signature."""
    try:
        answer = msgspec.json.decode(body, type=_Signed)
        text = bytes(answer.tcb_info if name == "tcbInfo" else answer.identity).decode()
    except (ValueError, RecursionError):
        raise DecodeError(f"the PCCS sent no {name}", where="the PCCS") from None
    return text, answer.signature


def as_sent(collateral: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members of collateral that count, for a file."""
    return {name: collateral[name] for name in COLLATERAL_FIELDS if name in collateral}
