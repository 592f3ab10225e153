"""LogTail: logs for one view, read or followed by workers, sent in bounded pieces."""

import threading
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from cvm_notebook.api.checks import integer
from cvm_notebook.api.client import Client
from cvm_notebook.api.errors.tree import CvmError, InvalidInput
from cvm_notebook.api.resources.logs import CHANNELS, LogLine, LogStream
from cvm_notebook.live.workers import Workers
from cvm_notebook.text import clean_text
from cvm_notebook.widgets.base.log_lines import clean_line, level_of, split_time

MOST_LINES: Final = 5_000  # as many are kept, here and in the view
_PIECE: Final = 500  # lines in one message
_UNACKNOWLEDGED: Final = 3  # messages without an answer; then the view is given time
_TEXT_CHARS: Final = 400
_NAME_CHARS: Final = 80
_CONTAINERS: Final = 50
_TOGETHER: Final = 16  # containers whose logs are read as one
_OTHERS: Final = 4  # workers for everything else, while each of those takes one


class LogTail:
    """Reads one log at a time for a view, or those of all containers. Safe to use from any thread.

    `receive` takes what is asked for; what was read is sent when the view calls `flush`. A line is
    ``[text, channel, time in milliseconds or null, level, container]``; the container is empty
    where there is one log alone. Lines of several containers come as they are read: the view sorts
    them by their times.

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
        self._streams: set[LogStream] = set()
        self._left = 0  # logs that are still read
        self._wrong: list[str] = []
        self._lines: deque[tuple[LogLine, str]] = deque()
        self._last_at: dict[str, float | None] = {}  # by container: for lines without a time
        self._dropped = 0
        self._state: tuple[str, str] | None = None
        self._sent = self._acknowledged = 0

    def receive(self, message: Mapping[str, Any], cvm_id: str) -> bool:
        """Take a message of the view's; False when it is about something else.

        Parameters
        ----------
        message
            ``{"kind": "log", "do": ...}``, where ``do`` is ``sources`` (which containers there
            are), ``read`` or ``follow`` (with container, channel or ``all: true``, tail, since),
            ``stop``, or ``ack``.
        """
        if message.get("kind") != "log":
            return False
        do = message.get("do")
        if do == "ack":
            n = message.get("n")
            with self._lock:
                self._acknowledged = n if isinstance(n, int) else self._sent
            self._mark()
        elif do == "stop":
            self.stop("stopped")
        elif do == "sources":
            self._workers.do(partial(self._sources, cvm_id))
        elif do in ("read", "follow"):
            self._begin(message, cvm_id, follow=do == "follow")
        return True

    def stop(self, state: str = "idle") -> None:
        """Read no more; the streams under way end at once."""
        with self._lock:
            self._run += 1
            streams, self._streams = self._streams, set()
            self._state = (state, "")
        for stream in streams:
            stream.close()
        self._mark()

    def flush(self) -> None:
        """Say what has been read since; the rest soon, when there is much."""
        with self._lock:
            if self._sent - self._acknowledged >= _UNACKNOWLEDGED:
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
        message["lines"] = [self._shown(line, name) for line, name in lines]
        if state is not None:
            message["state"], message["text"] = state
        self._say(message)
        if more:
            self._mark()

    def _shown(self, line: LogLine, name: str) -> list[Any]:
        at, rest = split_time(line.text)
        if at is None:  # it goes on the line before
            at = self._last_at.get(name)
        self._last_at[name] = at
        text = clean_line(rest)
        return [text, clean_text(line.channel, 20), at, level_of(text), name]

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
            self._last_at = {}
            self._left, self._wrong = 1, []
            self._dropped, self._acknowledged = 0, self._sent
        self._say({"kind": "log", "run": run, "begin": True, "state": "reading", "text": ""})
        read = self._read_all if message.get("all") is True else self._read
        self._workers.do(partial(read, run, cvm_id, asked, follow=follow))

    def _read_all(self, run: int, cvm_id: str, asked: dict[str, Any], *, follow: bool) -> None:
        """Read the logs of all containers, each on a worker."""
        found, wrong = self._containers(cvm_id)
        names = [name for name, readable in found if readable]
        if not names:
            why = wrong or "no container shows its log: public_logs is off, or none runs"
            self._end(run, "", why, follow=follow)
            return
        chosen = names[:_TOGETHER]
        with self._lock:
            if run != self._run:
                return
            self._left = len(chosen)
            if len(chosen) < len(names):
                self._wrong.append(f"the first {len(chosen)} of {len(names)} containers")
        if follow:
            self._workers.widen(len(chosen) + _OTHERS)
        for name in chosen:
            one = {**asked, "container": name}
            self._workers.do(partial(self._read, run, cvm_id, one, name, follow=follow))

    def _read(
        self, run: int, cvm_id: str, asked: dict[str, Any], name: str = "", *, follow: bool
    ) -> None:
        client, name = self._client(), clean_text(name, _NAME_CHARS)
        if client is None or run != self._run:
            return
        wrong = ""
        try:
            if follow:
                self._follow(run, client.follow_cvm_logs(cvm_id, **asked), name)
            else:
                for line in client.get_cvm_logs(cvm_id, **asked):
                    self._take(run, line, name)
        except CvmError as error:
            wrong = clean_text(error, _TEXT_CHARS)
        self._end(run, name, wrong, follow=follow)

    def _follow(self, run: int, stream: LogStream, name: str) -> None:
        with self._lock:
            late = run != self._run
            if not late:
                self._streams.add(stream)
                self._state = ("following", "; ".join(self._wrong))
        if late:
            stream.close()
            return
        self._mark()
        try:
            with stream:
                for line in stream:
                    if not self._take(run, line, name):
                        return
        finally:
            with self._lock:
                self._streams.discard(stream)

    def _take(self, run: int, line: LogLine, name: str = "") -> bool:
        """Keep a line; False when following has been stopped."""
        with self._lock:
            if run != self._run:
                return False
            if len(self._lines) >= MOST_LINES:
                self._lines.popleft()
                self._dropped += 1
            self._lines.append((line, name))
        self._mark()
        return True

    def _end(self, run: int, name: str, wrong: str, *, follow: bool) -> None:
        """Note that one log is read, or why it could not be; the last one ends the whole."""
        with self._lock:
            if run != self._run:
                return
            self._left -= 1
            if wrong:
                self._wrong.append(f"{name}: {wrong}" if name else wrong)
            text = clean_text("; ".join(self._wrong), _TEXT_CHARS)
            if self._left > 0:
                if wrong and follow:
                    self._state = ("following", text)
            else:
                ended = "ended" if follow else "read"
                self._state = ("failed" if wrong and not name else ended, text)
        self._mark()

    # --- which logs there are --------------------------------------------------------------------

    def _sources(self, cvm_id: str) -> None:
        found, wrong = self._containers(cvm_id)
        shown = [[name, clean_text(name, _NAME_CHARS), readable] for name, readable in found]
        of = clean_text(cvm_id, _NAME_CHARS)
        self._say({"kind": "log", "sources": shown, "of": of, "text": wrong})

    def _containers(self, cvm_id: str) -> tuple[list[tuple[str, bool]], str]:
        """Return the containers and whether they show their logs; and why there are none."""
        client = self._client()
        if client is None:
            return [], ""
        try:
            there = client.get_cvm_containers(cvm_id).containers[:_CONTAINERS]
        except CvmError as error:
            return [], clean_text(error, _TEXT_CHARS)
        named = [
            (one.names[0].lstrip("/"), one.log_endpoint is not None) for one in there if one.names
        ]
        return named, ""


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
        "timestamps": True,
    }
