"""Serve TLS as apps do that certify themselves (RA-TLS): each CVM on a port of its own."""

import asyncio
import contextlib
import ssl
import tempfile
from collections import OrderedDict
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from cvm_notebook.local.attestation.certificates import Chain

MOST: Final = 16
"""As many listen at once; the one that was asked for longest ago makes room."""
_SECONDS: Final = 10.0
_TEXT: Final = b"No container runs behind this port.\n"
_ANSWER: Final = (
    b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: text/plain\r\n"
    b"content-length: %d\r\n\r\n%s" % (len(_TEXT), _TEXT)
)


class TlsListeners:
    """The listeners of this process, by what they show."""

    def __init__(self) -> None:
        self._servers: OrderedDict[bytes, asyncio.Server] = OrderedDict()
        self._turn = asyncio.Lock()

    async def port_of(self, chain: Chain, key: ec.EllipticCurvePrivateKey, host: str) -> int:
        """Return the port on which a certificate is served, from now on if it was not."""
        shown = chain.leaf.fingerprint(hashes.SHA256())
        async with self._turn:
            if shown not in self._servers:
                self._servers[shown] = await asyncio.start_server(
                    _answer, host, 0, ssl=_context(chain, key), ssl_handshake_timeout=_SECONDS
                )
            self._servers.move_to_end(shown)
            while len(self._servers) > MOST:
                self._servers.popitem(last=False)[1].close()
            port: int = self._servers[shown].sockets[0].getsockname()[1]
        return port

    def close(self) -> None:
        """Listen no more."""
        for server in self._servers.values():
            server.close()
        self._servers.clear()


def _context(chain: Chain, key: ec.EllipticCurvePrivateKey) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with tempfile.TemporaryDirectory() as folder:  # of its owner alone; ssl reads nothing but files
        path = Path(folder) / "both.pem"
        path.write_bytes(private + chain.pem.encode())
        context.load_cert_chain(path)
    return context


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one request, whatever it is."""
    with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError, ValueError):
        async with asyncio.timeout(_SECONDS):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(_ANSWER)
            await writer.drain()
    writer.close()
