"""Logs of a CVM: read where the service says, without the key; the address carries the right."""

import base64
import binascii
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Final, Literal, NamedTuple, Self, TypeAlias, get_args
from urllib.parse import quote

import msgspec

from cvm_notebook.api import checks
from cvm_notebook.api.errors.tree import CvmError, InvalidInput
from cvm_notebook.api.http.deadline import Deadline
from cvm_notebook.api.http.exchange import ByteStream
from cvm_notebook.api.models.cvm import Cvm
from cvm_notebook.api.models.guest import CvmContainers
from cvm_notebook.api.resources.cvm_ref import Ref, path_segment, split
from cvm_notebook.api.resources.cvms import Reads
from cvm_notebook.api.scalars import plain
from cvm_notebook.api.secret import Secret
from cvm_notebook.api.times import moment_of
from cvm_notebook.text import clean_text

Channel: TypeAlias = Literal["serial", "stdout", "stderr"]
Since: TypeAlias = str | date | timedelta | None
CHANNELS: Final[tuple[Channel, ...]] = get_args(Channel)

_MOST_LINES: Final = 10_000
_LONGEST_LINE: Final = 1 << 20
_STALL: Final = 30.0
_QUIET: Final = 600.0  # a log that is followed may say nothing for long
_AGO: Final = re.compile(r"(?=\d)(?:\d+d)?(?:\d+h)?(?:\d+m)?(?:\d+s)?")


class LogLine(NamedTuple):
    """One line of a log: bytes of a stranger's program, only decoded. Show it as text."""

    text: str
    channel: str


class LogStream:
    """The lines of a log as they come. Any thread may close it.

    Examples
    --------
    >>> with client.follow_cvm_logs("my-app", tail=1) as lines:
    ...     len([line for line, _ in zip(lines, range(1))])
    1
    """

    def __init__(self, stream: ByteStream, channel: str | None) -> None:
        self._stream = stream
        self._channel = channel  # None: every line is JSON that says its own

    def __iter__(self) -> Iterator[LogLine]:
        """Yield lines until the log ends, or it is closed.

        Raises
        ------
        TransportError
            The connection breaks, or is silent for ten minutes.
        """
        for line in _lines(self._stream):
            yield from self._read(line)

    def close(self) -> None:
        """End it at once; a reader that waits sees its end."""
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self, line: bytes) -> Iterator[LogLine]:
        if self._channel is not None:
            yield LogLine(line.decode("utf-8", "replace").rstrip("\r"), self._channel)
            return
        if not line.strip():
            return
        text, channel = _of_json(line)
        for one in text.rstrip("\r\n").split("\n"):
            yield LogLine(one.rstrip("\r"), channel)


class Logs(Reads):
    """Calls that read logs."""

    def get_cvm_logs(
        self,
        cvm: Ref = None,
        /,
        *,
        container: str | None = None,
        channel: Channel = "serial",
        tail: int = 200,
        since: Since = None,
        timestamps: bool = False,
        **identifier: object,
    ) -> list[LogLine]:
        """Return the last lines of a log of a CVM, within the client's timeout in all.

        Parameters
        ----------
        container
            Whose log, by its name or its service's; that of the machine when not given.
        channel
            Of the machine: its console ``serial``, or its supervisor's ``stdout`` or ``stderr``.
        tail
            The most lines, 1 to 10,000.
        since
            Only later lines: a moment, or how long ago, such as ``"15m"`` or a timedelta.
        timestamps
            Begin each line with its time.

        Raises
        ------
        InvalidInput
            There is no such container or channel, or `since` is not a time.
        CvmError
            The container's log is not public.
        DeadlineExceeded
            The log was not read to its end within ``total`` seconds of the client's timeout.

        Examples
        --------
        >>> client.get_cvm_logs("my-app", tail=1)[0].channel
        'serial'
        """
        wanted = _asked(tail, since, timestamps=timestamps)
        target, _ = split(cvm, identifier, "get_cvm_logs")
        deadline = self._deadline()
        url, where = self._log_url(target, container, channel, deadline)
        stream = self._transport.open_without_key(
            _with(url, wanted), where=where, stall=_STALL, deadline=deadline
        )
        with LogStream(stream, channel if container is None else None) as lines:
            return list(lines)[-tail:]

    def follow_cvm_logs(
        self,
        cvm: Ref = None,
        /,
        *,
        container: str | None = None,
        channel: Channel = "serial",
        tail: int = 200,
        since: Since = None,
        timestamps: bool = False,
        **identifier: object,
    ) -> LogStream:
        """Return the lines of a log as they come, after the last ones; see `get_cvm_logs`.

        The client's timeout is for opening it. Then it has no limit, except that it breaks off when
        nothing came for ten minutes.
        """
        wanted = [*_asked(tail, since, timestamps=timestamps), "follow"]
        target, _ = split(cvm, identifier, "follow_cvm_logs")
        deadline = self._deadline()
        url, where = self._log_url(target, container, channel, deadline)
        stream = self._transport.open_without_key(
            _with(url, wanted), where=where, stall=_QUIET, opening=deadline
        )
        return LogStream(stream, channel if container is None else None)

    def _log_url(
        self, target: str, container: str | None, channel: Channel, deadline: Deadline
    ) -> tuple[Secret, str]:
        """Return the address of a log, and its description."""
        checks.one_of("channel", channel, CHANNELS)
        if container is None:
            logs = self._read(f"/cvms/{path_segment(target)}", Cvm, deadline=deadline).logs
            url: Secret | None = getattr(logs, channel, None)
            whose: str = channel
        else:
            container = checks.text("container", container)
            url, whose = self._container_url(target, container, deadline), f"container {container}"
        where = clean_text(f"the log of {target} ({whose})", 120)
        if not url:
            raise CvmError(
                f"{where} cannot be read: the service names no address for it",
                hint="A container's log can be read when it runs and public_logs is on.",
            )
        return _with(url, [f"ch={channel}"] if container is None else []), where

    def _container_url(self, target: str, name: str, deadline: Deadline) -> Secret | None:
        path = f"/cvms/{path_segment(target)}/composition"
        containers = self._read(path, CvmContainers, deadline=deadline).containers
        names = {one.lstrip("/"): each for each in containers for one in each.names}
        found = names.get(name.lstrip("/"))
        if found is None:  # compose calls the container of a service my-project-web-1
            made = re.compile(rf".+[-_]{re.escape(name)}[-_]\d+")
            found = next((each for one, each in names.items() if made.fullmatch(one)), None)
        if found is None:
            known = ", ".join(clean_text(one, 60) for one in names) or "none that runs"
            problem = f"there is no container {clean_text(name, 60)!r}"
            raise InvalidInput("container", problem, f"There is: {known}.")
        return found.log_endpoint


def _asked(tail: int, since: Since, *, timestamps: bool) -> list[str]:
    lines = checks.integer("tail", tail, least=1, most=_MOST_LINES)
    asked = [f"tail={lines}", f"lines={lines}", "ansi"]
    if since is not None:
        asked.append(f"since={quote(_since(since), safe='')}")
    return [*asked, "timestamps"] if checks.boolean("timestamps", timestamps) else asked


def _since(since: object) -> str:
    since = plain(since)
    if isinstance(since, timedelta):
        return f"{max(0, int(since.total_seconds()))}s"
    if isinstance(since, str) and _AGO.fullmatch(since.strip()):
        return since.strip()
    now = datetime.now(UTC) if isinstance(since, str) else None  # for a time of day
    return moment_of("since", since, now=now).isoformat()


def _with(url: Secret, wanted: list[str]) -> Secret:
    """Return an address with query parameters added; its other parameters are kept."""
    bare, _, parameters = url.reveal().partition("#")[0].partition("?")
    # a container's plain text would not say which lines are errors
    replaced = {one.partition("=")[0] for one in wanted} | {"text", "bare"}
    kept = [one for one in parameters.split("&") if one and one.partition("=")[0] not in replaced]
    return Secret(f"{bare}?{'&'.join([*kept, *wanted])}")


def _lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Cut bytes into lines; one that never ends is cut, too."""
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        yield from whole
        if len(rest) > _LONGEST_LINE:
            yield rest
            rest = b""
    if rest:
        yield rest


def _of_json(line: bytes) -> tuple[str, str]:
    """Parse a JSON line of a container's log; any other line is returned as text."""
    try:
        entry = msgspec.json.decode(line, type=dict[str, str])
        text = base64.b64decode(entry["message"], validate=True).decode("utf-8", "replace")
    except (msgspec.MsgspecError, KeyError, binascii.Error, ValueError, RecursionError):
        return line.decode("utf-8", "replace"), "stdout"
    return text, entry.get("channel", "stdout")
