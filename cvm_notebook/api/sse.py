"""Server-sent events: bytes to events as they arrive, as the WHATWG HTML standard (section 9.2) says.

sseclient-py parses the fields of a block. What it leaves out is done before it sees the bytes: mixed line ends, a byte
order mark, invalid UTF-8, blocks that only set ``id`` or ``retry``, and the unfinished last block of a cut stream.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import sseclient

from cvm_notebook.api.errors import DecodeError

_BOM = b"\xef\xbb\xbf"
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
        """Yield whole blocks, each ended by one blank line, with ``\\n`` as the only line end."""
        buffer, searched = bytearray(), 0
        for chunk in _normalised(chunks):
            buffer += chunk
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
            elif field == b"retry" and value.isdigit() and len(value) < 16:
                self.retry = int(value) / 1000


def _normalised(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the same text with ``\\n`` line ends, no byte order mark and valid UTF-8.

    A ``\\r`` at the end of a chunk ends its line at once, so that no event waits for the next byte; the ``\\n`` that
    may follow it is then not another line end.
    """
    head: bytes | None = b""  # until it is known whether a byte order mark leads
    after_cr = False
    tail = bytearray()  # lines are decoded whole: no UTF-8 sequence is cut in two
    for received in chunks:
        chunk = received
        if head is not None:
            head += chunk
            if len(head) < len(_BOM) and _BOM.startswith(head):
                continue
            chunk, head = head.removeprefix(_BOM), None
        if after_cr and chunk:
            chunk = chunk.removeprefix(b"\n")
            after_cr = False
        if not chunk:
            continue
        after_cr = chunk.endswith(b"\r")
        if b"\r" in chunk:
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        line_end = chunk.rfind(b"\n") + 1
        if line_end:
            tail += chunk[:line_end]
            yield tail.decode("utf-8", "replace").encode()
            tail = bytearray(chunk[line_end:])
        else:
            tail += chunk
            if len(tail) > MAX_EVENT_BYTES:
                yield bytes(tail)  # the reader of blocks refuses it
