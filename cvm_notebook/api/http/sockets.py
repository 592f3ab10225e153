"""Connections whose every wait keeps to the limits of one attempt, and that can be cut at once.

The timeout of a socket is for one read, and a peer that sends a byte now and then never meets it.
So the time left is worked out anew before each read and each write. That holds under TLS, too:
OpenSSL's own loop over the pieces of a record keeps to the timeout as a whole.
"""

import contextlib
import http.client
import io
import ipaddress
import socket
import threading
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import urllib3
from urllib3.connection import HTTPConnection
from urllib3.util.connection import create_connection

from cvm_notebook.api.http.deadline import Deadline

if TYPE_CHECKING:
    _Connection = HTTPConnection
else:
    _Connection = object  # what it is mixed with is known at run time only

_PIECE: Final = 2**14  # one record of TLS: what OpenSSL sends within one timeout


class Attempt:
    """The limits of one attempt to send a request, and whether it has begun to leave.

    Attributes
    ----------
    deadline
        When the answer, or the stream, must have ended.
    connect
        Seconds until the connection stands: name, TCP, proxy and TLS together.
    read
        Seconds until the next byte comes.
    sent
        Whether bytes of the request may have left this machine.
    """

    def __init__(self, deadline: Deadline, connect: float, read: float) -> None:
        self.deadline = deadline
        self.connect = connect
        self.read = read
        self.sent = False
        self._connecting: Deadline | None = None
        self._socket: Any = None

    @contextlib.contextmanager
    def connecting(self) -> Iterator[None]:
        """Keep to the limit of the connection meanwhile."""
        self._connecting = self.deadline.within(self.connect)
        try:
            yield
        finally:
            self._connecting = None

    def patience(self) -> float:
        """Return the seconds that the next wait may last.

        Raises
        ------
        TimeoutError
            The time is used up.
        """
        left = (self._connecting or self.deadline).remaining()
        if left <= 0:
            raise TimeoutError("the time is used up")
        return left if self._connecting is not None else min(self.read, left)

    def leaves_by(self, opened: Any) -> None:
        """Take note that the request leaves by this socket."""
        self._socket = opened
        self.sent = True

    def cut(self) -> None:
        """Shut its socket down: a thread that reads from it sees its end at once."""
        if self._socket is not None:
            _shut(_plain(self._socket))


class _Current(threading.local):
    attempt: Attempt


class Sockets:
    """The sockets of an exchange that live, and the waits for a name: all can be ended at once.

    Attributes
    ----------
    current
        Its ``attempt`` is the one that the calling thread makes.
    """

    def __init__(self) -> None:
        self.current = _Current()
        self.ended = False
        self._open: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._waits: weakref.WeakSet[threading.Event] = weakref.WeakSet()
        self._lock = threading.Lock()

    def end(self) -> None:
        """Wake every thread that waits: it sees a broken connection. Later ones do, too."""
        with self._lock:
            self.ended = True
            found, waits = list(self._open), list(self._waits)
        for opened in found:
            _shut(opened)
        for wait in waits:
            wait.set()

    def note(self, opened: Any) -> None:
        """Take note of a socket that was opened."""
        plain = _plain(opened)
        with self._lock:
            self._open.add(plain)
            late = self.ended
        if late:
            _shut(plain)

    def look_up(self, host: str, port: int, seconds: float) -> list[str]:
        """Return the addresses of a host.

        The system's own look-up knows no time limit and cannot be broken off, so it is waited for.

        Raises
        ------
        OSError
            There are none, or they did not come in time.
        """
        name = host.strip("[]")
        with contextlib.suppress(ValueError):
            ipaddress.ip_address(name.partition("%")[0])
            return [name]
        done = threading.Event()
        with self._lock:
            self._waits.add(done)
            if self.ended:
                done.set()
        found: list[list[str] | OSError | UnicodeError] = []

        def ask() -> None:
            try:
                rows = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
                found.append(list(dict.fromkeys(str(row[4][0]) for row in rows)))
            except (OSError, UnicodeError) as error:
                found.append(error)
            done.set()

        threading.Thread(target=ask, name="cvm-look-up", daemon=True).start()
        done.wait(seconds)
        if not found:
            raise socket.gaierror(socket.EAI_AGAIN, "the name service did not answer in time")
        if isinstance(found[0], UnicodeError):
            raise socket.gaierror(socket.EAI_NONAME, "it is not a name of a host")
        if isinstance(found[0], OSError):
            raise found[0]
        return found[0]


class _Limited(_Connection):
    """A mixin for urllib3's connections: each keeps to the limits of its thread's attempt."""

    sockets: Sockets
    _handle: socket.socket | None = None

    def connect(self) -> None:
        try:
            with self.sockets.current.attempt.connecting():
                super().connect()
        finally:
            if self._handle is not None:
                self._handle.close()
                self._handle = None
        self.sockets.note(self.sock)

    def _new_conn(self) -> socket.socket:
        attempt = self.sockets.current.attempt
        self.timeout = attempt.patience()
        opened = self._dial(attempt)
        # TLS takes the descriptor away from this socket: another one of the same connection can be
        # shut down during the handshake.
        try:
            self._handle = opened.dup()
            opened.settimeout(attempt.patience())
        except OSError as error:
            opened.close()
            raise urllib3.exceptions.NewConnectionError(self, "no connection") from error
        self.sockets.note(self._handle)
        return opened

    def _dial(self, attempt: Attempt) -> socket.socket:
        """Connect to one of the host's addresses; each gets its share of the time that is left."""
        if hasattr(self, "_socks_options"):  # urllib3's SOCKSConnection has its own way
            return super()._new_conn()
        host, port = self._dns_host, self.port
        try:
            addresses = self.sockets.look_up(host, port, attempt.patience())
            for left in range(len(addresses), 0, -1):
                try:
                    return create_connection(
                        (addresses[-left], port),
                        attempt.patience() / left,
                        self.source_address,
                        self.socket_options,
                    )
                except OSError:
                    if left == 1 or self.sockets.ended:
                        raise
        except socket.gaierror as error:
            raise urllib3.exceptions.NameResolutionError(self.host, self, error) from error
        except TimeoutError as error:
            raise urllib3.exceptions.ConnectTimeoutError(self, "no connection in time") from error
        except OSError as error:
            raise urllib3.exceptions.NewConnectionError(self, "no connection") from error
        raise urllib3.exceptions.NewConnectionError(self, "the name has no address")

    def _tunnel(self) -> None:
        attempt = self.sockets.current.attempt
        try:
            super()._tunnel()
        finally:
            attempt.sent = False  # that was to the proxy, and without the key
        self.sock.settimeout(attempt.patience())

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        attempt = self.sockets.current.attempt
        attempt.leaves_by(self.sock)
        with memoryview(data) as view:
            for start in range(0, len(view), _PIECE):
                self.sock.settimeout(attempt.patience())
                super().send(view[start : start + _PIECE])

    def response_class(  # type: ignore[override]  # called as the class would be
        self, opened: Any, **more: Any
    ) -> http.client.HTTPResponse:
        source: Any = _Source(opened, self.sockets.current.attempt)
        return http.client.HTTPResponse(source, **more)


def limited(base: type, sockets: Sockets) -> Any:
    """Return a class of connections made from urllib3's: each keeps to its thread's attempt."""
    if issubclass(base, _Limited):  # several threads may come first
        return base
    return type("Limited", (_Limited, base), {"sockets": sockets})


class _Source:
    """The reader of an HTTP response: a socket whose waits keep to an attempt's limits."""

    def __init__(self, opened: Any, attempt: Attempt) -> None:
        self._opened = opened
        self._attempt = attempt

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Incoming(self._opened, self._attempt))


class _Incoming(io.RawIOBase):
    def __init__(self, opened: Any, attempt: Attempt) -> None:
        self._opened = opened
        self._attempt = attempt
        self._raw = opened.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._opened.settimeout(self._attempt.patience())
        count: int | None = self._raw.readinto(buffer)
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


def _plain(opened: Any) -> socket.socket:
    """Return the socket below; TLS within TLS is an object around one."""
    while not isinstance(opened, socket.socket):
        opened = opened.socket
    return opened


def _shut(opened: socket.socket) -> None:
    # The plain socket's way, under TLS too: SSLSocket.shutdown would take the TLS object away from
    # the thread that is reading through it.
    with contextlib.suppress(OSError):
        socket.socket.shutdown(opened, socket.SHUT_RDWR)
