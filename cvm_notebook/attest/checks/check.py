"""Check: one line of a verdict, and how each is worded."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

from cvm_notebook.attest.policy.policy import CheckName
from cvm_notebook.text import clean_text

Outcome: TypeAlias = Literal["pass", "fail", "skip", "info"]
OUTCOMES: Final[tuple[Outcome, ...]] = get_args(Outcome)

TITLES: Final[Mapping[CheckName, str]] = {
    "hardware": "hardware genuine",
    "tcb": "TCB up to date",
    "debug": "not a debug CVM",
    "log": "event log fits",
    "image": "OS image trusted",
    "app": "app as declared",
    "key_provider": "key provider",
    "endpoint": "fresh, and bound to its endpoint",
    "gpu": "GPUs attested",
}
"""What each check is about, in words."""
_LONGEST: Final = 400


@dataclass(frozen=True, slots=True)
class Check:
    """One check of a verdict.

    Attributes
    ----------
    outcome
        ``pass``, ``fail``, ``skip`` (not done, which proves nothing) or ``info`` (shown, and
        nothing was asked).
    reason
        What was found, or why not.
    todo
        Of a skip: what to do so that it is done.
    """

    name: CheckName
    outcome: Outcome
    reason: str
    todo: str = ""

    def __post_init__(self) -> None:
        # some of it comes from the evidence
        object.__setattr__(self, "reason", clean_text(self.reason, _LONGEST))
        object.__setattr__(self, "todo", clean_text(self.todo, _LONGEST))

    @property
    def title(self) -> str:
        """The subject of the check, in words."""
        return TITLES[self.name]


def passed(name: CheckName, reason: str) -> Check:
    """Return a check that has passed."""
    return Check(name, "pass", reason)


def failed(name: CheckName, reason: str) -> Check:
    """Return a check that has failed."""
    return Check(name, "fail", reason)


def skipped(name: CheckName, reason: str, todo: str = "") -> Check:
    """Return a check that was not done."""
    return Check(name, "skip", reason, todo)
