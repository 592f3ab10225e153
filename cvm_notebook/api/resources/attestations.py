"""Evidence that the service hands on, collateral to judge it by, and what stands elsewhere."""

from collections.abc import Mapping
from typing import Any, Final

from cvm_notebook.api import checks
from cvm_notebook.api.compose.env_keys import EnvKeyAnswer, check_env_key
from cvm_notebook.api.errors.tree import CvmError, InvalidInput, NotTrustedError
from cvm_notebook.api.http.deadline import Deadline
from cvm_notebook.api.http.elsewhere import read_elsewhere
from cvm_notebook.api.http.peer import served_certificate
from cvm_notebook.api.http.transport import Reply
from cvm_notebook.api.models.catalogue import EnvPubkey, KmsContract
from cvm_notebook.api.resources import validation
from cvm_notebook.api.resources.base import Endpoints
from cvm_notebook.api.resources.cvm_ref import path_segment
from cvm_notebook.text import clean_text

_CHECKSUM_DIGITS: Final = 64
_TIMED_VERSION: Final = "2026-06-23"  # from here on the signature says when it was made


class Attestations(Endpoints):
    """Reading calls around attestation. None of them publishes a quote.

    ``POST /attestations/verify`` would: it keeps the quote where all can read it. Whoever wants
    that calls it by name: ``client.post("/attestations/verify", {"hex": quote})``.
    """

    def get_app_attestations(self, app_id: str) -> dict[str, Any]:
        """Return the evidence of all running CVMs of an app, as sent: fetched, not judged."""
        return self._read(f"/apps/{path_segment(app_id)}/attestations", dict[str, Any])

    def get_quote_collateral(self, checksum: str) -> dict[str, Any]:
        """Return the collateral that a quote is judged by, as sent.

        Parameters
        ----------
        checksum
            SHA-256 of the quote's bytes, hex.

        Raises
        ------
        NotFoundError
            The service does not know that quote.
        """
        digits = validation.hexadecimal("checksum", checksum)
        if len(digits.removeprefix("0x")) != _CHECKSUM_DIGITS:
            raise InvalidInput("checksum", "it is not a SHA-256", "Give 64 hex digits.")
        return self._read(f"/attestations/collateral/{digits.removeprefix('0x')}", dict[str, Any])

    def read_elsewhere(self, url: str, where: str) -> Reply:
        """GET an address outside of the service; the key is not sent there.

        Parameters
        ----------
        url
            Https; or http on this machine, when the service itself is there.
        where
            What is read, in words, for errors.

        Raises
        ------
        TransportError, ApiError, DecodeError
            It cannot be had, or must not be asked.
        """
        return read_elsewhere(self._transport, checks.text("url", url), checks.text("where", where))

    def served_certificate(self, url: str) -> bytes:
        """Return the certificate (DER) of the TLS server at an address; nothing is sent to it.

        It is not compared with any authority: an RA-TLS certificate carries a quote instead.

        Raises
        ------
        TransportError
            No TLS server answers there.
        """
        return served_certificate(checks.text("url", url), self._transport.timeout.connect)

    # --- the key that encrypts environment variables -------------------------------------------

    def get_checked_env_key(
        self,
        app_id: str | None,
        *,
        kms: str | None = None,
        expected: str | None = None,
        signer: str | None = None,
        deadline: Deadline | None = None,
    ) -> str:
        """Return the key for which an app's environment variables are encrypted, once it is signed.

        Parameters
        ----------
        app_id
            The app.
        kms
            The key service, by slug or id; Phala's when not given.
        expected
            The key that the service named elsewhere, which must be the same.
        signer
            The key service's own key (secp256k1, compressed, hex); asked for when not given.

        Raises
        ------
        NotTrustedError
            Its key service has not signed it, or another key than `expected`. Nothing was sent.
        """
        if app_id is None or (isinstance(app_id, str) and not app_id):
            raise NotTrustedError(_UNSIGNED.format("its app is not known"), hint=_HINT, sent=False)
        app_id = checks.text("app_id", app_id)
        service = path_segment("phala" if kms is None else checks.text("kms", kms))
        try:
            answer = self._read(
                f"/kms/{service}/pubkey/{path_segment(app_id)}",
                EnvPubkey,
                version=_TIMED_VERSION,
                deadline=deadline,
            )
            if signer is None:
                path, version = f"/kms/{service}", _TIMED_VERSION
                found = self._read(path, KmsContract, version=version, deadline=deadline)
                signer = found.k256_pubkey
        except CvmError as error:
            reason = f"its signature cannot be had ({clean_text(error.message, 160)})"
            raise NotTrustedError(_UNSIGNED.format(reason), hint=_HINT, sent=False) from None
        problem = check_env_key(_answer(answer), app_id, signer, expected)
        if problem:
            raise NotTrustedError(_UNSIGNED.format(problem), hint=_HINT, sent=False)
        return str(answer.public_key)


_UNSIGNED: Final = (
    "The key that would encrypt the environment variables is not to be trusted, and nothing was "
    "encrypted or sent: {}"
)
_HINT: Final = (
    "Report it to the service. To go without this check, give encrypted_env: what "
    "cvm.encrypt_env(pubkey, env) returns."
)


def _answer(pubkey: EnvPubkey) -> EnvKeyAnswer:
    return EnvKeyAnswer(pubkey.public_key, pubkey.signature, pubkey.signature_v1, pubkey.timestamp)


def collateral_in(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the collateral in an answer of the service, which may wrap it."""
    for name in ("quote_collateral", "collateral"):
        inner = answer.get(name)
        if isinstance(inner, Mapping):
            return inner
    return answer
