"""Text for people: cleaned, clipped, and set in small tables as text and as static html.

Whatever comes from the service is escaped here, once.
"""

import html
import re
import unicodedata
from collections.abc import Sequence
from decimal import Decimal
from typing import Final

_MESSAGE_CHARS: Final = 600
_WIDEST: Final = 64  # a hash, whole
_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"))
_LEFT: Final = ' style="text-align:left"'
_NUMBER: Final = re.compile(r"[-+]?[\d,]*\.?\d+")
_UNBROKEN: Final = re.compile("[0-9A-Za-z]{33,}")  # in html, they may go on in another line

_ANSI: Final = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|(?:\x1b\]|\x9d)[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"  # OSC: links, title, clipboard
    r"|\x1b[ -/]*[0-~]"
)

# Printable to Unicode, and nothing to the eye: joiners, fillers, variation selectors.
_BLANK: Final = re.compile(
    r"[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0"
    r"\U000e0100-\U000e01ef]"
)


def clean_text(value: object, limit: int = _MESSAGE_CHARS) -> str:
    """Return the text on one line, without escapes, control or bidi characters, clipped."""
    text = str(value)  # of a parser's token, too, only the text
    if len(text) <= limit and _is_plain(text):
        return text  # as nearly all are; cleaning costs more than all the rest of a row
    text = _ANSI.sub("", text[: 8 * limit])
    text = " ".join(text.split())
    text = _without_controls(text)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def visible(text: str) -> str:
    """Return the text without escapes, control and bidi characters; its lines stay."""
    if text.isascii() and text.replace("\n", "").isprintable():
        return text
    text = _ANSI.sub("", text).replace("\t", " ")
    return _without_controls(text)


def _without_controls(text: str) -> str:
    return "".join(c for c in text if c == "\n" or unicodedata.category(c)[0] != "C")


def _is_plain(text: str) -> bool:
    """Return whether there is nothing in it to be cleaned."""
    return text.isascii() and text.isprintable() and "  " not in text and text == text.strip(" ")


def trimmed(text: str) -> str:
    """Return the text without blanks and invisible characters around it, as pasting adds them."""
    seen = [place for place, c in enumerate(text) if c.isprintable() and not c.isspace()]
    return text[seen[0] : seen[-1] + 1] if seen else ""


def quoted(value: object, limit: int = 80) -> str:
    """Return the text in quotes, clipped, with what cannot be seen as an escape."""
    text = str(value)
    shown = repr(text if len(text) <= limit else text[: limit - 1] + "…")
    return _BLANK.sub(lambda found: found[0].encode("unicode_escape").decode(), shown)


def as_sentence(text: str) -> str:
    """End the text as a sentence, so that the hint can follow."""
    return text if text.endswith((".", "!", "?", "…", ":")) else text + "."


def text_table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in plain text, its columns aligned."""
    cells = [[clean_text(cell, _WIDEST) for cell in row] for row in rows]
    lines = [list(head), *cells] if any(head) else cells
    widths = [max((len(line[i]) for line in lines), default=0) for i in range(len(head))]
    body = (
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
    return "\n".join([clean_text(title), *body])


def html_table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in html, without script or style sheet of its own.

    Words are set to the left: notebooks set all cells to the right.
    """
    first = rows[0] if rows else head
    top = "".join(
        f'<th scope="col"{_aligned(below)}>{_safe(cell)}</th>'
        for cell, below in zip(head, first, strict=True)
    )
    body = "".join(
        "<tr>" + "".join(f"<td{_aligned(cell)}>{_safe(cell)}</td>" for cell in row) + "</tr>"
        for row in rows
    )
    thead = f"<thead><tr>{top}</tr></thead>" if any(head) else ""
    title = f"<caption{_LEFT}>{_safe(title, 600)}</caption>"
    return f"<table>{title}{thead}<tbody>{body}</tbody></table>"


def table_bundle(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> dict[str, str]:
    """Return a table as notebooks display it: as text and as html."""
    return {
        "text/plain": text_table(title, head, rows),
        "text/html": html_table(title, head, rows),
    }


def _aligned(text: str) -> str:
    return "" if _NUMBER.fullmatch(text) else _LEFT


def _safe(text: str, limit: int = _WIDEST) -> str:
    """Return a text for html; hashes and addresses may go on in another line where it is narrow."""
    escaped = html.escape(clean_text(text, limit))
    return _UNBROKEN.sub(lambda run: "<wbr>".join(re.findall(".{1,16}", run[0])), escaped)


def counted(number: int, one: str) -> str:
    """Return a number of things, with the word for one of them or for several."""
    return f"{number:,} {one}{'' if number == 1 else 's'}"


def span_words(seconds: float) -> str:
    """Return a length of time in the largest unit of which it is a whole number."""
    for size, unit in _UNITS:
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:g} s"


def age_words(seconds: float) -> str:
    """Return an age in one unit, rounded down, as views show it."""
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{seconds // size:.0f} {unit}"
    return f"{seconds // 1:.0f} s"


def usd(amount: Decimal | None) -> str | None:
    """Return a price without needless zeros; None stays None."""
    return None if amount is None else without_zeros(amount)


def signed(amount: Decimal) -> str:
    """Return a change of an amount with its sign, without needless zeros."""
    return ("+" if amount >= 0 else "") + without_zeros(amount)


def without_zeros(amount: Decimal) -> str:
    """Return an amount without needless zeros, every other digit kept."""
    digits = f"{amount:f}"
    return digits.rstrip("0").rstrip(".") if "." in digits else digits
