"""Whether a verb may be asked of a CVM in its present state, why not, and what it would do."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from cvm_notebook.api.errors.tree import CvmError
from cvm_notebook.api.status import PHASES, Phase
from cvm_notebook.api.verbs import VERBS, Verb, check_verb
from cvm_notebook.live.store.observation import Seen
from cvm_notebook.live.store.records import Row

__all__ = [
    "VERBS",
    "Answer",
    "Refused",
    "RowChanged",
    "Verb",
    "Verdict",
    "check_verb",
    "judge",
    "what_changed",
]


class Refused(CvmError):  # noqa: N818 - the tree names what happened
    """What was asked is not possible as things stand; nothing was sent."""


class RowChanged(Refused):
    """The CVM is no longer as it was shown when it was asked for; nothing was sent."""


class Answer(Enum):
    """What becomes of a wish."""

    SEND = auto()
    NOTHING = auto()  # it is so already
    JOIN = auto()  # somebody has asked for it, and it is under way
    REFUSE = auto()


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer to one wish about one CVM.

    Attributes
    ----------
    reason
        Why not, or why nothing needs to be sent; empty where it is sent.
    effect
        What it does, in words.
    """

    answer: Answer
    effect: str
    reason: str = ""

    @property
    def allowed(self) -> bool:
        """Whether it may be asked."""
        return self.answer is not Answer.REFUSE

    @property
    def sends(self) -> bool:
        """Whether anything would be sent."""
        return self.answer is Answer.SEND


_S, _N, _J, _R = Answer.SEND, Answer.NOTHING, Answer.JOIN, Answer.REFUSE
_IDLE: Final[dict[Phase, Answer]] = {"running": _S, "failed": _S, "unknown": _S}

# A phase that a verb does not name is refused.
_TABLE: Final[Mapping[Verb, Mapping[Phase, Answer]]] = {
    "start": {
        "stopped": _S,
        "failed": _S,
        "unknown": _S,
        "running": _N,
        "starting": _J,
        "provisioning": _J,
    },
    # Stopping is the way out of everything: the service never refuses it.
    "stop": {**dict.fromkeys(PHASES, _S), "stopped": _N, "gone": _N, "stopping": _J},
    "shutdown": {**_IDLE, "stopped": _N, "shutting_down": _J, "stopping": _J},
    "restart": {**_IDLE, "restarting": _J},
    "delete": {**dict.fromkeys(PHASES, _S), "gone": _N, "deleting": _J},
    "replicate": {**dict.fromkeys(PHASES, _S), "gone": _R, "deleting": _R},
    "commit": dict.fromkeys(PHASES, _S),
}
_WHATEVER_IT_DOES: Final = frozenset({"stop", "delete", "replicate", "commit"})
_EFFECTS: Final[Mapping[Verb, str]] = {
    "start": "starts it; computing is paid for again",
    "stop": "stops it at once; its disk stays, and stays paid for",
    "shutdown": "lets its containers end, then stops it; its disk stays, and stays paid for",
    "restart": "restarts it; it does not answer meanwhile",
    "delete": "deletes it and its disk; this cannot be undone",
    "replicate": "makes another CVM of the same app, which is paid for",
    "commit": "makes the CVM; from then on it is paid for",
}
_ALREADY: Final[Mapping[Verb, str]] = {
    "start": "runs already",
    "stop": "is stopped already",
    "shutdown": "is stopped already",
    "delete": "is gone already",
}


def judge(verb: Verb, seen: Seen) -> Verdict:
    """Judge a wish by what the CVM does now: pure."""
    phase = seen.phase
    answer = _TABLE[verb].get(phase, Answer.REFUSE)
    if seen.in_progress and answer in {_S, _N}:  # looks idle, with an operation under way
        answer = Answer.SEND if verb in _WHATEVER_IT_DOES else Answer.REFUSE
    if answer is Answer.SEND:
        cancels = verb == "stop" and seen.busy
        first = f"ends what it is doing ({seen.doing}), and " if cancels else ""
        return Verdict(answer, first + _EFFECTS[verb])
    if answer is Answer.NOTHING:
        gone = phase == "gone"
        why = f"'{seen.name}' {'is gone already' if gone else _ALREADY[verb]}"
        return Verdict(answer, "nothing: " + why.partition("' ")[2], why)
    if answer is Answer.JOIN:
        why = f"'{seen.name}' is {seen.doing} already"
        return Verdict(answer, "waits for what is under way", why)
    return Verdict(answer, "nothing", _why_not(seen))


def _why_not(seen: Seen) -> str:
    if seen.phase in {"gone", "deleting"}:
        return f"'{seen.name}' is {'gone' if seen.phase == 'gone' else seen.doing}"
    if seen.busy:
        return f"'{seen.name}' is {seen.doing}. Wait until it has finished, or stop it"
    return f"'{seen.name}' is {seen.doing}. Start it instead"  # a restart of what is stopped


def what_changed(shown: Row, now: Row | None) -> str | None:
    """Return how a CVM differs from what was shown, where that matters to a wish; else None."""
    then = Seen.of_row(shown)
    if now is None:
        return f"'{then.name}' is no longer in the fleet: it was deleted, or is not yours"
    seen = Seen.of_row(now)
    if (then.phase, then.in_progress) == (seen.phase, seen.in_progress):
        return None
    return f"'{seen.name}' was {then.doing} when it was shown, and is {seen.doing} now"
