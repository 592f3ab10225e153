"""LogTail: one log for one view, read or followed by a worker, sent in bounded pieces."""

import re
import threading
import unicodedata
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from cvm_notebook.api.client import Client
from cvm_notebook.api.errors.tree import CvmError, InvalidInput
from cvm_notebook.api.resources.logs import CHANNELS, LogLine, LogStream
from cvm_notebook.api.resources.validation import integer
from cvm_notebook.live.workers import Workers
from cvm_notebook.text import clean_text

MOST_LINES: Final = 5_000  # as many are kept, here and in the view
_LINE_CHARS: Final = 4_000
_PIECE: Final = 500  # lines in one message
_UNHEARD: Final = 3  # messages without an answer; then the view is given time
_TEXT_CHARS: Final = 400
_CONTAINERS: Final = 50

# A colour may stay, for the view draws it; a link, a title, the clipboard and the cursor may not.
_COLOUR: Final = re.compile(r"(\x1b\[[0-9;]{0,40}m)")
_ESCAPES: Final = re.compile(
    r"\x1b[\]PX^_].*?(?:\x07|\x1b\\|$)|[\x1b\x9b]\[?[0-?]*[ -/]*[@-~]|\x1b", re.DOTALL
)


def clean_line(text: str) -> str:
    r"""Return a line of a log with nothing in it that acts: colours stay, other escapes go.

    What ``\r`` overwrote is gone, as in a terminal; characters that reorder or hide text go.
    """
    text = text.rstrip("\r\n").rpartition("\r")[2]
    if len(text) > _LINE_CHARS:
        text = f"{text[:_LINE_CHARS]}… ({len(text)} characters)"
    if text.isascii() and text.isprintable():
        return text  # as nearly all are
    text = _ESCAPES.sub(lambda found: found[0] if _COLOUR.fullmatch(found[0]) else "", text)
    pieces = _COLOUR.split(text)
    return "".join(one if i % 2 else _plain(one) for i, one in enumerate(pieces))


def _plain(text: str) -> str:
    return "".join(c for c in text if c == "\t" or unicodedata.category(c)[0] != "C")


class LogTail:
    """Reads one log at a time for a view. Safe to use from any thread.

    `receive` takes what is asked for; what was read is sent when the view calls `flush`.

    Parameters
    ----------
    client
        Returns the client to read with; None when there is none any more.
    workers
        Run what waits for the service.
    say
        Sends a message to the view.
    mark
        Asks that `flush` be called soon.
    """

    def __init__(
        self,
        client: Callable[[], Client | None],
        workers: Workers,
        say: Callable[[dict[str, Any]], object],
        mark: Callable[[], object],
    ) -> None:
        self._client, self._workers, self._say, self._mark = client, workers, say, mark
        self._lock = threading.Lock()
        self._run = 0  # counts what was asked for: what an older one still reads is dropped
        self._stream: LogStream | None = None
        self._lines: deque[LogLine] = deque()
        self._dropped = 0
        self._state: tuple[str, str] | None = None
        self._sent = self._heard = 0

    def receive(self, message: Mapping[str, Any], cvm_id: str) -> bool:
        """Take a message of the view's; False when it is about something else.

        Parameters
        ----------
        message
            ``{"kind": "log", "do": ...}``, where ``do`` is ``sources`` (which containers there
            are), ``read`` or ``follow`` (with container or channel, tail, since, timestamps),
            ``stop``, or ``ack``.
        """
        if message.get("kind") != "log":
            return False
        do = message.get("do")
        if do == "ack":
            n = message.get("n")
            with self._lock:
                self._heard = n if isinstance(n, int) else self._sent
            self._mark()
        elif do == "stop":
            self.stop("stopped")
        elif do == "sources":
            self._workers.do(partial(self._sources, cvm_id))
        elif do in ("read", "follow"):
            self._begin(message, cvm_id, follow=do == "follow")
        return True

    def stop(self, state: str = "idle") -> None:
        """Read no more; the stream under way ends at once."""
        with self._lock:
            self._run += 1
            stream, self._stream = self._stream, None
            self._state = (state, "")
        if stream is not None:
            stream.close()
        self._mark()

    def flush(self) -> None:
        """Say what has been read since; the rest soon, when there is much."""
        with self._lock:
            if self._sent - self._heard >= _UNHEARD:
                return  # it goes on when the view has answered; the oldest lines go meanwhile
            count = min(len(self._lines), _PIECE)
            lines = [self._lines.popleft() for _ in range(count)]
            state, dropped = self._state if not self._lines else None, self._dropped
            if not lines and state is None:
                return
            if not self._lines:
                self._state = None
            self._dropped = 0
            self._sent += 1
            message = {"kind": "log", "run": self._run, "n": self._sent, "dropped": dropped}
            more = bool(self._lines)
        message["lines"] = [[clean_line(line.text), clean_text(line.channel, 20)] for line in lines]
        if state is not None:
            message["state"], message["text"] = state
        self._say(message)
        if more:
            self._mark()

    # --- on a worker -----------------------------------------------------------------------------

    def _begin(self, message: Mapping[str, Any], cvm_id: str, *, follow: bool) -> None:
        try:
            asked = _asked(message)
        except CvmError as error:
            self.stop()
            self._say({"kind": "log", "state": "failed", "text": clean_text(error, _TEXT_CHARS)})
            return
        self.stop("reading")
        with self._lock:
            run = self._run
            self._lines.clear()
            self._dropped, self._heard = 0, self._sent
        self._say({"kind": "log", "run": run, "begin": True, "state": "reading", "text": ""})
        self._workers.do(partial(self._read, run, cvm_id, asked, follow=follow))

    def _read(self, run: int, cvm_id: str, asked: dict[str, Any], *, follow: bool) -> None:
        client = self._client()
        if client is None:
            return
        try:
            if follow:
                self._follow(run, client.follow_cvm_logs(cvm_id, **asked))
            else:
                for line in client.get_cvm_logs(cvm_id, **asked):
                    self._take(run, line)
        except CvmError as error:
            self._end(run, "failed", clean_text(error, _TEXT_CHARS))
        else:
            self._end(run, "ended" if follow else "read", "")

    def _follow(self, run: int, stream: LogStream) -> None:
        with self._lock:
            late = run != self._run
            if not late:
                self._stream = stream
                self._state = ("following", "")
        if late:
            stream.close()
            return
        self._mark()
        with stream:
            for line in stream:
                if not self._take(run, line):
                    return

    def _take(self, run: int, line: LogLine) -> bool:
        """Keep a line; False when nobody wants it any more."""
        with self._lock:
            if run != self._run:
                return False
            if len(self._lines) >= MOST_LINES:
                self._lines.popleft()
                self._dropped += 1
            self._lines.append(line)
        self._mark()
        return True

    def _end(self, run: int, state: str, text: str) -> None:
        with self._lock:
            if run != self._run:
                return
            self._stream = None
            self._state = (state, text)
        self._mark()

    def _sources(self, cvm_id: str) -> None:
        client = self._client()
        if client is None:
            return
        names: list[str] = []
        text = ""
        try:
            for container in client.get_cvm_containers(cvm_id).containers[:_CONTAINERS]:
                names += [name.lstrip("/") for name in container.names[:1]]
        except CvmError as error:
            text = clean_text(error, _TEXT_CHARS)
        shown = [[name, clean_text(name, 80)] for name in names]
        self._say({"kind": "log", "sources": shown, "text": text})


def _asked(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was asked for, as the client takes it.

    Raises
    ------
    InvalidInput
        Something of it is of another type, or out of its bounds.
    """
    container, channel = message.get("container"), message.get("channel")
    if container is not None and not isinstance(container, str):
        raise InvalidInput("container", "it is not a name", "Choose one of the list.")
    since = message.get("since")
    return {
        "container": container,
        "channel": channel if channel in CHANNELS else "serial",
        "tail": integer("tail", message.get("tail"), most=MOST_LINES),
        "since": (since.strip() or None) if isinstance(since, str) else None,
        "timestamps": message.get("timestamps") is True,
    }
