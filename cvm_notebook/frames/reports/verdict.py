"""One verdict as a frame: a check a row."""

from typing import TYPE_CHECKING, Final

import pandas as pd

from cvm_notebook.attest.checks.check import OUTCOMES, Check
from cvm_notebook.attest.policy.policy import CHECK_NAMES
from cvm_notebook.frames.schema import TEXT, Field, Table, fixed

if TYPE_CHECKING:
    from cvm_notebook.attest.verdict import Verdict

VERDICT: Final[Table[Check]] = Table(
    "verdict/1",
    (Field("check", fixed(CHECK_NAMES), lambda c: c.name, "the check"),),
    (
        Field("outcome", fixed(OUTCOMES), lambda c: c.outcome, "pass, fail, skip or info"),
        Field("title", TEXT, lambda c: c.title, "what it is about"),
        Field("reason", TEXT, lambda c: c.reason, "what was found, or why not"),
        Field("todo", TEXT, lambda c: c.todo or None, "of a skip: what to do about it"),
    ),
)


@VERDICT.documents
def verdict_frame(verdict: "Verdict") -> pd.DataFrame:
    """Return the checks of a verdict; ``attrs["cvm"]`` has its word and its summary."""
    return VERDICT.frame(verdict.checks, word=verdict.word, summary=verdict.summary)
