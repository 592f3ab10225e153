"""Patterns of text, LIKE and globs: matched without regular expressions or backtracking."""

from collections.abc import Callable
from typing import Final, TypeAlias

# A pattern is pieces between "any text"; in a piece, None stands for any one character.
Piece: TypeAlias = tuple[str | None, ...]
Match: TypeAlias = Callable[[str], bool]

# A name may be a megabyte long; what is beyond this no one searches for.
_LONGEST: Final = 4_096


def like(pattern: str) -> Match:
    r"""Compile a LIKE pattern: % is any text, _ any one character, \ makes the next one plain."""
    return _matcher(_pieces(pattern, many="%", one="_", escape="\\"))


def glob(pattern: str) -> Match:
    """Compile a glob: * is any text, ? any one character; nothing else is special."""
    return _matcher(_pieces(pattern, many="*", one="?"))


def is_glob(text: str) -> bool:
    """Return whether a text has a glob's characters."""
    return "*" in text or "?" in text


def _pieces(pattern: str, *, many: str, one: str, escape: str = "") -> list[Piece]:
    pieces: list[list[str | None]] = [[]]
    plain = False
    for character in pattern:
        if plain or character not in {many, one, escape}:
            pieces[-1].append(character)
            plain = False
        elif character == many:
            pieces.append([])
        elif character == one:
            pieces[-1].append(None)
        else:
            plain = True
    if plain:  # a last escape has nothing to make plain
        pieces[-1].append(escape)
    return [tuple(piece) for piece in pieces]


def _matcher(pieces: list[Piece]) -> Match:
    if all(character is not None for piece in pieces for character in piece):
        return _plain_matcher(["".join(filter(None, piece)) for piece in pieces])
    if len(pieces) == 1:
        only = pieces[0]
        return lambda text: len(text) == len(only) and _stands(only, text, 0)
    return lambda text: _holds(pieces, text[:_LONGEST])


def _plain_matcher(pieces: list[str]) -> Match:
    """Match pieces without any-one characters: by what strings do themselves."""
    first, last = pieces[0], pieces[-1]
    if len(pieces) == 1:
        return lambda text: text == first
    middle = [piece for piece in pieces[1:-1] if piece]
    if not middle:
        least = len(first) + len(last)
        return lambda text: text.startswith(first) and text.endswith(last) and len(text) >= least

    def matches(text: str) -> bool:
        if not (text.startswith(first) and text.endswith(last)):
            return False
        at, end = len(first), len(text) - len(last)
        for piece in middle:
            found = text.find(piece, at, end)
            if found < 0:
                return False
            at = found + len(piece)
        return at <= end

    return matches


def _holds(pieces: list[Piece], text: str) -> bool:
    """Return whether the pieces follow each other in the text, the leftmost of each taken."""
    first, *middle, last = pieces
    at, end = len(first), len(text) - len(last)
    if at > end or not (_stands(first, text, 0) and _stands(last, text, end)):
        return False
    for piece in middle:
        found = _find(piece, text, at, end)
        if found < 0:
            return False
        at = found + len(piece)
    return True


def _find(piece: Piece, text: str, at: int, end: int) -> int:
    if None not in piece:
        return text.find("".join(filter(None, piece)), at, end)
    places = range(at, end - len(piece) + 1)
    return next((place for place in places if _stands(piece, text, place)), -1)


def _stands(piece: Piece, text: str, at: int) -> bool:
    return all(wanted is None or wanted == text[at + offset] for offset, wanted in enumerate(piece))
