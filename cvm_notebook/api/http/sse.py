"""Server-sent events: bytes to events as they arrive (WHATWG HTML standard, section 9.2).

sseclient-py parses the fields of a block. What it leaves out is done before it sees the bytes:
mixed line ends, a byte order mark, invalid UTF-8, blocks that only set ``id`` or ``retry``, and the
unfinished last block of a cut stream.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import sseclient

from cvm_notebook.api.errors.tree import DecodeError

_BOM = b"\xef\xbb\xbf"
_RETRY_DIGITS = 15  # longer is no time to wait
MAX_EVENT_BYTES = 8 * 2**20


@dataclass(frozen=True, slots=True)
class SseEvent:
    """One event of a stream.

    Attributes
    ----------
    event
        Its name; ``"message"`` where the stream gives none.
    data
        Its data lines, joined by newlines.
    last_id
        The last ``id`` the stream has set, "" when none.
    """

    event: str
    data: str
    last_id: str = ""


class EventReader:
    """Turn chunks of bytes, cut anywhere, into events.

    Attributes
    ----------
    last_id
        The last event id seen: what a reconnect sends as ``Last-Event-ID``.
    retry
        Seconds the stream asked to wait before a reconnect, or None.
    """

    def __init__(self) -> None:
        self.last_id = ""
        self.retry: float | None = None

    def events(self, chunks: Iterable[bytes]) -> Iterator[SseEvent]:
        """Yield each event when its last byte arrives; what is unfinished at the end is dropped.

        Raises
        ------
        DecodeError
            When one event is larger than `MAX_EVENT_BYTES`.
        """
        for event in sseclient.SSEClient(self._blocks(chunks)).events():
            yield SseEvent(event.event, event.data, self.last_id)

    def _blocks(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Yield whole blocks, each ended by one blank line."""
        lines, buffer, searched = _Lines(), bytearray(), 0
        for chunk in chunks:
            buffer += lines.feed(chunk)
            while (end := buffer.find(b"\n\n", max(0, searched - 1))) >= 0:
                block = bytes(buffer[: end + 2])
                del buffer[: end + 2]
                searched = 0
                self._note(block)
                yield block
            searched = len(buffer)
            if searched > MAX_EVENT_BYTES:
                raise DecodeError(
                    f"the event stream sent one event of more than {MAX_EVENT_BYTES >> 20} MiB",
                    hint="Open the stream again; if it happens again, report it to the service.",
                )

    def _note(self, block: bytes) -> None:
        for line in block.split(b"\n"):
            field, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if field == b"id" and b"\0" not in value:
                self.last_id = value.decode()
            elif field == b"retry" and value.isdigit() and len(value) <= _RETRY_DIGITS:
                self.retry = int(value) / 1000


class _Lines:
    r"""Cuts bytes into whole lines, with ``\n`` as the only line end and valid UTF-8.

    A ``\r`` at the end of a chunk ends its line at once, so that no event waits for the next byte;
    the ``\n`` that may follow it is then not another line end.
    """

    def __init__(self) -> None:
        self._head: bytes | None = b""  # until it is known whether a byte order mark leads
        self._after_cr = False
        self._tail = bytearray()  # lines are decoded whole: no UTF-8 sequence is cut in two

    def feed(self, received: bytes) -> bytes:
        """Return the lines that these bytes complete, or all that waits once it is too much."""
        chunk = self._without_mark(received)
        if self._after_cr and chunk:
            chunk = chunk.removeprefix(b"\n")
            self._after_cr = False
        if chunk:
            self._after_cr = chunk.endswith(b"\r")
        if b"\r" in chunk:
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        end = chunk.rfind(b"\n") + 1
        self._tail += chunk[:end] if end else chunk
        if not end and len(self._tail) <= MAX_EVENT_BYTES:
            return b""
        lines = self._tail.decode("utf-8", "replace").encode()
        self._tail = bytearray(chunk[end:] if end else b"")
        return lines

    def _without_mark(self, received: bytes) -> bytes:
        if self._head is None:
            return received
        self._head += received
        if len(self._head) < len(_BOM) and _BOM.startswith(self._head):
            return b""
        head, self._head = self._head, None
        return head.removeprefix(_BOM)
