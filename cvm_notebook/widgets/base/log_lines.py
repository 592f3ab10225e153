"""Lines of logs: cleaned of whatever acts, with the time and the level that they state."""

import re
import unicodedata
from datetime import datetime
from typing import Final, Literal, TypeAlias

Level: TypeAlias = Literal["error", "warn", "info", "debug", ""]

_LINE_CHARS: Final = 4_000
_LEVEL_CHARS: Final = 160  # a level stands at the beginning of a line

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
    head = text[:_LEVEL_CHARS]
    if (letter := _LETTER.match(head)) is not None:
        return _LETTERS[letter[1] or letter[2]]
    for word in _WORD.finditer(head):
        level = _CAPITALS.get(word[0])
        if level is None:
            level = _SMALL.get(word[0].lower())
            if level is not None and not _stands_as_level(head, *word.span()):
                level = None
        if level is not None:
            return level
    return ""


def _stands_as_level(text: str, start: int, end: int) -> bool:
    before, after = text[:start], text[end : end + 2]
    if not before:
        return after[:1] in ("", " ", ":")
    if before[-1] in "[<(":
        return after[:1] in ("]", ">", ")")
    if before[-1] in " :" and after in (": ", ":"):
        return True
    return _NAMED.search(before[-10:]) is not None


_WORD: Final = re.compile(r"\w+")
_LETTER: Final = re.compile(r"\[([EFCWID]) |([EFCWID])\d{4} ")  # as Jupyter and klog write them
_NAMED: Final = re.compile(r"(?i:\blevel[\"']?[=:] ?[\"']?)$")
_LETTERS: Final[dict[str, Level]] = {
    **dict.fromkeys("EFC", "error"),
    "W": "warn",
    "I": "info",
    "D": "debug",
}
_CAPITALS: Final[dict[str, Level]] = {
    **dict.fromkeys(
        ("ERROR", "ERR", "FATAL", "CRITICAL", "CRIT", "PANIC", "EMERG", "ALERT", "SEVERE"), "error"
    ),
    **dict.fromkeys(("WARNING", "WARN"), "warn"),
    **dict.fromkeys(("INFO", "NOTICE", "LOG"), "info"),
    **dict.fromkeys(("DEBUG", "TRACE"), "debug"),
}
_SMALL: Final[dict[str, Level]] = {
    **dict.fromkeys(
        ("error", "fatal", "critical", "crit", "panic", "emerg", "alert", "traceback"), "error"
    ),
    **dict.fromkeys(("warning", "warn"), "warn"),
    **dict.fromkeys(("info", "notice"), "info"),
    **dict.fromkeys(("debug", "trace"), "debug"),
}
