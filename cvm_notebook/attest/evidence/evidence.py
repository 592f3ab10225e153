"""Evidence: all that a CVM shows of itself, as it was received; read when a check asks for it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final, Self

import msgspec

from cvm_notebook.api import checks
from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.attest.evidence.certificates import find_quote, read_certificate
from cvm_notebook.attest.evidence.event_log import BootLog, parse_log
from cvm_notebook.attest.evidence.fields import (
    MOST_QUOTE_BYTES,
    MOST_TEXT_BYTES,
    MalformedEvidence,
    fields_of,
    from_hex,
    json_object,
)
from cvm_notebook.attest.evidence.quote_layout import TdReport, parse_quote

_REMEDY: Final = (
    "Give what the service or the guest agent answered (a dict or its JSON), a quote (bytes or "
    "hex), or a certificate with a quote."
)
_LARGEST: Final = 8 << 20


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """The evidence of a CVM, untrusted; each part is parsed when it is first asked for.

    Attributes
    ----------
    quote
        Bytes, or hex.
    event_log
        A list of events, or the JSON of one.
    app_compose
        The text that was hashed, to the byte.
    vm_config
        What the machine was started with; of a lite image also its measurement.
    gpu_info
        The text of the guest agent's GpuInfo, to the byte.
    collateral
        Intel's documents on the machine; see `cvm_notebook.attest.quotes.COLLATERAL_FIELDS`.
    known_quote
        Another quote of the same machine, which the service knows: it has collateral for those.
    served_key
        DER of the key that the endpoint served, where one was asked for.
    nonce
        The nonce that was sent for this quote, where one was.
    error
        Why there is no evidence, as the service says.
    collateral_error
        Why no collateral could be had.
    """

    quote: bytes | str | None = None
    event_log: object = None
    app_compose: str | None = None
    vm_config: Mapping[str, Any] | str | None = None
    gpu_info: str | None = None
    collateral: Mapping[str, Any] | None = None
    known_quote: bytes | str | None = None
    served_key: bytes | None = None
    nonce: bytes | None = None
    error: str = ""
    collateral_error: str = ""

    @classmethod
    def of(cls, source: object) -> Self:
        """Read evidence that somebody has: an answer of the service or of a guest agent, a quote.

        Parameters
        ----------
        source
            A dict or its JSON, with ``quote`` (or ``app_certificates``, ``attestation``,
            ``app_cert``), ``event_log`` or ``eventlog``, ``tcb_info``, ``app_compose``,
            ``vm_config``, ``gpu_info``, ``collateral`` or ``quote_collateral``. Or a quote, as
            bytes or hex. Or a certificate, PEM or DER, as dstack makes them. Or the path of a file
            of one of these.

        Raises
        ------
        InvalidInput
            It is none of these. What is malformed in it is reported by the checks.
        """
        if isinstance(source, cls):
            return source
        if isinstance(source, os.PathLike):
            source = _file(source)
        if isinstance(source, Mapping):
            return cls._of_mapping(source)
        if isinstance(source, str):
            source = source.strip().encode("utf-8", "replace")
        if isinstance(source, bytes | bytearray):
            return cls._of_bytes(bytes(source))
        raise InvalidInput("evidence", f"{type(source).__name__} is not evidence", _REMEDY)

    @classmethod
    def _of_mapping(cls, answer: Mapping[str, Any]) -> Self:
        tcb = answer.get("tcb_info")
        tcb = fields_of(tcb) if isinstance(tcb, str) else tcb
        tcb = tcb if isinstance(tcb, Mapping) else {}
        compose = answer.get("app_compose", tcb.get("app_compose"))
        log = next((answer[k] for k in ("event_log", "eventlog") if answer.get(k)), None)
        config = answer.get("vm_config") or tcb.get("vm_config")
        collateral = answer.get("collateral") or answer.get("quote_collateral")
        quote = answer.get("quote") or _certified(answer.get("app_certificates"))
        for name, read in (("attestation", _attested), ("app_cert", _of_chain)):
            if not quote and isinstance(answer.get(name), str):
                quote = read(answer[name])
        gpu = answer.get("gpu_info")
        return cls(
            quote=quote if isinstance(quote, str | bytes) else None,
            event_log=log if log is not None else tcb.get("event_log"),
            app_compose=compose if isinstance(compose, str) else None,
            vm_config=config if isinstance(config, Mapping | str) else None,
            gpu_info=gpu if isinstance(gpu, str) else None,
            collateral=collateral if isinstance(collateral, Mapping) else None,
            error=str(answer.get("error") or ""),
        )

    @classmethod
    def _of_bytes(cls, content: bytes) -> Self:
        if content.startswith(b"{"):
            return cls._of_mapping(_decoded(content))
        if content.startswith(b"-----"):
            return cls._of_certificate(content)
        if content[:2] in (b"\4\0", b"\5\0", b"\3\0"):
            return cls(quote=content)
        if content[:1] == b"\x30" and content[1:2] > b"\x80":
            return cls._of_certificate(content)
        try:
            quote = from_hex("quote", content.decode("ascii"), most=MOST_QUOTE_BYTES)
        except (MalformedEvidence, UnicodeDecodeError):
            quote = b""
        if not quote:
            raise InvalidInput("evidence", "these bytes are no evidence", _REMEDY)
        return cls(quote=quote)

    @classmethod
    def _of_certificate(cls, certificate: bytes) -> Self:
        try:
            found = read_certificate(certificate)
        except MalformedEvidence as error:
            raise InvalidInput("evidence", str(error), _REMEDY) from None
        log = found.event_log.decode("utf-8", "replace") or None
        return cls(quote=found.quote, event_log=log, served_key=None)

    def having(self, **more: Any) -> Self:
        """Return this evidence with other parts."""
        return replace(self, **more)

    # --- read when asked for -------------------------------------------------------------------

    @cached_property
    def quote_bytes(self) -> bytes:
        """The quote.

        Raises
        ------
        MalformedEvidence
            There is none, or it is not hex. (As the properties below, of their own field.)
        """
        return _quote(self.quote)

    @property
    def quotes_known(self) -> tuple[bytes, ...]:
        """The quotes by which a service may have collateral: the known one first."""
        if self.known_quote is None:
            return (self.quote_bytes,)
        return (_quote(self.known_quote), self.quote_bytes)

    @cached_property
    def report(self) -> TdReport:
        """The TD report in the quote."""
        return parse_quote(self.quote_bytes)

    @cached_property
    def log(self) -> BootLog:
        """The event log."""
        return parse_log(self.event_log)

    @cached_property
    def configuration(self) -> Mapping[str, Any]:
        """`vm_config`, decoded; empty where there is none."""
        return {} if not self.vm_config else json_object("vm_config", self.vm_config)

    @cached_property
    def compose(self) -> bytes | None:
        """The bytes of the app compose; None where it is not shown."""
        if self.app_compose is None:
            return None
        try:
            whole = self.app_compose.encode()
        except UnicodeEncodeError:
            raise MalformedEvidence("app_compose", "holds a lone surrogate") from None
        if len(whole) > MOST_TEXT_BYTES:
            raise MalformedEvidence("app_compose", "has more than 1 MiB")
        return whole


def _quote(quote: bytes | str | None) -> bytes:
    if not quote:
        raise MalformedEvidence("quote", "is missing: it shows none")
    return quote if isinstance(quote, bytes) else from_hex("quote", quote, most=MOST_QUOTE_BYTES)


def _certified(certificates: object) -> object:
    """Return the quote that the service read out of a CVM's certificates."""
    if not isinstance(certificates, list | tuple):
        return None
    plain = [msgspec.to_builtins(c) if isinstance(c, msgspec.Struct) else c for c in certificates]
    return next((c["quote"] for c in plain if isinstance(c, Mapping) and c.get("quote")), None)


def _attested(attestation: str) -> bytes | str:
    """Return the quote in a versioned attestation; the checks report what is none."""
    try:
        return find_quote(from_hex("attestation", attestation))
    except MalformedEvidence:
        return attestation


def _of_chain(chain: str) -> bytes | None:
    """Return the quote in the first certificate of a PEM chain."""
    try:
        return read_certificate(chain.encode("utf-8", "replace")).quote
    except MalformedEvidence:
        return None


def _file(path: os.PathLike[str]) -> bytes:
    where = checks.path("evidence", path)
    try:
        with where.open("rb") as file:
            content = file.read(_LARGEST + 1)
    except OSError as error:
        raise InvalidInput("evidence", f"{path} cannot be read ({error.strerror})") from None
    if len(content) > _LARGEST:
        raise InvalidInput("evidence", f"{path} has more than {_LARGEST >> 20} MiB")
    return content.strip() if content[:1] in b"{-0123456789abcdefABCDEF" else content


def _decoded(content: bytes) -> Mapping[str, Any]:
    try:
        found = msgspec.json.decode(content)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, Mapping):
        raise InvalidInput("evidence", "it is not JSON", _REMEDY)
    return found
