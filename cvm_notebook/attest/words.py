"""The four words of a verdict, for whoever shows one without loading what judges."""

from typing import Final, Literal, TypeAlias, get_args

Word: TypeAlias = Literal["VERIFIED", "PARTIAL", "SIMULATED", "FAILED"]
WORDS: Final[tuple[Word, ...]] = get_args(Word)
