"""The reader of ``.env`` files. Its reference is python-dotenv, without interpolation."""

import re
from typing import Final

from cvm_notebook.api.compose.hashing import check_env_value, is_env_name
from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.api.secret import Secret

# The quoted forms may span lines. A bare value ends where a space and a # begin a comment. All is
# possessive: there is one way to read a line, and none is tried in vain.
_LINE: Final = re.compile(
    r"""
    (?: [^\S\n]*+ (?:\#[^\n]*+)?+ (?:\n|\Z)                     # blank, or a comment
    |   [^\S\n]*+ (?:export[^\S\n]++)?+ (?P<name>[^\s=\#]++) [^\S\n]*+ =
        (?: [^\S\n]++ (?=\#) | [^\S\n]*+
            (?: '(?P<single>(?:[^'\\]|\\.)*+)' | "(?P<double>(?:[^"\\]|\\.)*+)"
              | (?P<bare>[^\n'"][^\n]*+)?+ ) )
        [^\S\n]*+ (?:\#[^\n]*+)?+ (?:\n|\Z) )
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT: Final = re.compile(r"(?<!\s)\s++#.*", re.DOTALL)
_DOUBLE: Final = re.compile(r"\\([\\'\"abfnrtv])")
_SINGLE: Final = re.compile(r"\\([\\'])")
_ESCAPES: Final = dict(zip("abfnrtv\\'\"", "\a\b\f\n\r\t\v\\'\"", strict=True))
_FORM: Final = 'Quote a value that goes on in the next line; one that is empty is NAME="".'


def parse_env_file(text: str) -> dict[str, Secret]:
    r"""Read the text of a ``.env`` file. Nothing in it is run or replaced.

    ``NAME=value`` on a line, ``export`` and comments allowed. In double quotes ``\n``, ``\t`` and
    the like are what they are in Python, ``\"`` is a quote, and any other backslash stays; in
    single quotes only ``\'`` and ``\\`` are special; both may span lines. A later line wins.

    Raises
    ------
    InvalidInput
        A line is not of that form, goes beyond what a CVM takes, or looks like the end of a base64
        text that was broken; or nothing is set at all. It names the line, never what stands on it.
    """
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    found: dict[str, Secret] = {}
    at, line, before = 0, 1, ""
    while at < len(text):
        match = _LINE.match(text, at)
        where = f"line {line}"
        if match is None or match.end() == at:
            raise InvalidInput(where, "it is not NAME=value", _FORM)
        name = match["name"]
        if name is not None:
            if not is_env_name(name) or _is_broken_off(before, match):
                raise InvalidInput(where, "it is not NAME=value", _FORM)
            value = _value(match)
            check_env_value(name, value, where)
            found[name] = Secret(value)
        before = match["bare"] or ""
        at, line = match.end(), line + match[0].count("\n")
    if not found:
        raise InvalidInput(".env", "it has no variables", "Write NAME=value on each line.")
    return found


def _value(match: re.Match[str]) -> str:
    if match["single"] is not None:
        return _SINGLE.sub(lambda escape: escape[1], match["single"])
    if match["double"] is not None:
        return _DOUBLE.sub(lambda escape: _ESCAPES[escape[1]], match["double"])
    return _COMMENT.sub("", match["bare"] or "").rstrip()


# --- a value that was broken over two lines ------------------------------------------------------

_BASE64: Final = re.compile(r"(?:[A-Za-z0-9+/]|(?P<other>[_-])){16,}")
_END: Final = re.compile(r"(?P<text>[A-Za-z0-9+/_-]+)(?P<padding>={1,2})")
_GROUP: Final = 4  # characters


def _is_broken_off(before: str, match: re.Match[str]) -> bool:
    """Return whether a line is the end of the base64 text that the line before it begins.

    As a variable its name would be half a secret, and names are sent in the clear. Where it has no
    small letter, ``DB_PASS=`` after a long value, it is taken for a name if it can be one.
    """
    begun, end = _BASE64.fullmatch(before.strip()), _END.fullmatch(match[0].strip())
    if begun is None or end is None or (len(begun[0]) + len(end[0])) % _GROUP:
        return False
    if len(end["padding"]) > 1 or not end["text"].isupper():
        return True
    mixed = not (begun[0].isupper() or begun[0].islower())
    return mixed and not (begun["other"] or "_" in end["text"] or len(begun[0]) % _GROUP)
