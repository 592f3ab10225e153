"""The certificate that a TLS server serves: a handshake, and nothing more."""

import socket
import ssl
from typing import Final

from cvm_notebook.api.auth.address import read_address
from cvm_notebook.api.errors.tree import TransportError
from cvm_notebook.text import clean_text, quoted

_HTTPS: Final = 443


def served_certificate(url: str, seconds: float) -> bytes:
    """Return the certificate of a server, DER; see `Attestations.served_certificate`.

    The handshake proves that the server holds the certified key, whoever has signed it.
    """
    read = read_address(url)
    if read is None:
        raise TransportError(f"TLS to {quoted(url, 120)}: it is no address", hint="Check it.")
    host, port = read[1], read[2] or _HTTPS
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # its quote is judged, and not who has signed it
    where = f"TLS to {clean_text(host, 120)}:{port}"
    try:
        with (
            socket.create_connection((host, port), seconds) as plain,
            context.wrap_socket(plain, server_hostname=host) as sealed,
        ):
            found = sealed.getpeercert(binary_form=True)
    except (OSError, ValueError) as error:
        why = clean_text(getattr(error, "strerror", None) or error, 120)
        raise TransportError(f"{where} failed: {why}", hint="Check the address.") from None
    if not found:
        raise TransportError(f"{where}: the server showed no certificate")
    return found
