"""Sockets: the open ones of an exchange, so that all can be ended from another thread."""

import contextlib
import socket
import threading
import weakref
from typing import Any


class Sockets:
    """The sockets that were opened and still live."""

    def __init__(self) -> None:
        self._open: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._lock = threading.Lock()
        self.ended = False

    def noting(self, connection: Any) -> Any:
        """Return a class of connections, made to tell of each socket that it opens."""
        note = self._note

        class Noted(connection):  # type: ignore[misc]  # the base is known at run time only
            def connect(self) -> None:
                super().connect()
                note(self.sock)

        return Noted

    def end(self) -> None:
        """Wake every thread that reads or writes: it sees a broken connection. Later ones, too."""
        with self._lock:
            self.ended = True
            found = list(self._open)
        for opened in found:
            _shut(opened)

    def _note(self, opened: socket.socket) -> None:
        with self._lock:
            self._open.add(opened)
            late = self.ended
        if late:
            _shut(opened)


def _shut(opened: socket.socket) -> None:
    # The plain socket's way, under TLS too: SSLSocket.shutdown would take the TLS object away from
    # the thread that is reading through it.
    with contextlib.suppress(OSError):
        socket.socket.shutdown(opened, socket.SHUT_RDWR)
