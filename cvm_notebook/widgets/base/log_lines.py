"""Lines of logs: cleaned of whatever acts, with the time and the level that they tell."""

import re
import unicodedata
from datetime import datetime
from typing import Final, Literal, TypeAlias

Level: TypeAlias = Literal["error", "warn", "info", "debug", ""]

_LINE_CHARS: Final = 4_000
_LEVEL_CHARS: Final = 240  # a level stands at the beginning of a line

# A colour may stay, for the view draws it; a link, a title, the clipboard and the cursor may not.
_COLOUR: Final = re.compile(r"(\x1b\[[0-9;]{0,40}m)")
_ESCAPES: Final = re.compile(
    r"\x1b[\]PX^_].*?(?:\x07|\x1b\\|$)|[\x1b\x9b]\[?[0-?]*[ -/]*[@-~]|\x1b", re.DOTALL
)
_STAMP: Final = re.compile(
    r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,6})\d{0,6})?(Z|[+-]\d\d:\d\d) "
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


def split_time(text: str) -> tuple[float | None, str]:
    """Take the time off the beginning of a line, as the service writes it when it is asked to.

    Returns
    -------
    tuple
        Milliseconds since 1970, or None where there is no time; and the rest.
    """
    found = _STAMP.match(text)
    if found is None:
        return None, text
    seconds, fraction, zone = found.groups()
    try:
        at = datetime.fromisoformat(f"{seconds}{'+00:00' if zone == 'Z' else zone}").timestamp()
    except (ValueError, OverflowError, OSError):  # as the 31st of February
        return None, text
    return 1_000 * at + int((fraction or "0").ljust(6, "0")) / 1_000, text[found.end() :]


def level_of(text: str) -> Level:
    """Return how grave a line says it is, by the first word in it that programs use for that.

    Words in capitals count anywhere near the beginning; in small letters only where they stand as a
    level: ``level=error``, ``[error]``, ``error: ...``.
    """
    if "\x1b" in text:
        text = _COLOUR.sub("", text)
    found = _LEVEL.search(text[:_LEVEL_CHARS])
    named = found.lastgroup if found is not None else None
    return _NAMES.get(named or "", "")


_WORDS: Final[tuple[tuple[Level, str, str, str], ...]] = (
    # in capitals; in small letters; one letter, as klog and Jupyter write it
    (
        "error",
        "ERROR|ERR|FATAL|CRITICAL|CRIT|PANIC|EMERG|ALERT|SEVERE",
        "error|fatal|critical|crit|panic|emerg|alert|traceback",
        "EFC",
    ),
    ("warn", "WARNING|WARN", "warning|warn", "W"),
    ("info", "INFO|NOTICE|LOG", "info|notice", "I"),
    ("debug", "DEBUG|TRACE", "debug|trace", "D"),
)
_NAMES: Final[dict[str, Level]] = {level: level for level, *_ in _WORDS}
_LEVEL: Final = re.compile(
    "|".join(
        rf"(?P<{level}>\b(?:{capitals})\b"
        rf"|(?i:\blevel[\"']?[=:] ?[\"']?(?:{small})\b)"
        rf"|(?i:[\[<(](?:{small})[\])>])"
        rf"|(?i:(?:^|[ :])(?:{small}): )"
        rf"|(?i:^(?:{small})\b(?=[ :]))"
        rf"|^\[[{letters}] |^[{letters}]\d{{4}} )"
        for level, capitals, small, letters in _WORDS
    )
)
