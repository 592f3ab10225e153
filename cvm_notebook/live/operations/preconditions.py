"""Preconditions: whether a verb is admitted in a CVM's present status, and its effect."""

from dataclasses import dataclass

from cvm_notebook.api.errors.tree import CvmError
from cvm_notebook.api.verbs import SPECS, VERBS, Admission, Verb, check_verb
from cvm_notebook.live.store.observation import Reading
from cvm_notebook.live.store.records import Row

__all__ = [
    "VERBS",
    "Precheck",
    "Refused",
    "RowChanged",
    "Verb",
    "check_verb",
    "precheck",
    "what_changed",
]


class Refused(CvmError):  # noqa: N818 - the tree names what happened
    """The CVM's status does not allow the request; nothing was sent."""


class RowChanged(Refused):
    """The CVM is no longer as it was shown when it was asked for; nothing was sent."""


@dataclass(frozen=True, slots=True)
class Precheck:
    """The result of checking one verb for one CVM.

    Attributes
    ----------
    reason
        Why not, or why nothing needs to be sent; empty where it is sent.
    effect
        What it does, in words.
    """

    admission: Admission
    effect: str
    reason: str = ""

    @property
    def allowed(self) -> bool:
        """Whether it may be asked."""
        return self.admission is not Admission.REFUSE

    @property
    def sends(self) -> bool:
        """Whether anything would be sent."""
        return self.admission is Admission.SEND


def precheck(verb: Verb, seen: Reading) -> Precheck:
    """Judge a verb by what the CVM does now: pure."""
    spec = SPECS[verb]
    admission = spec.admit.get(seen.phase, Admission.REFUSE)
    # it looks idle, with an operation under way
    if seen.in_progress and admission in {Admission.SEND, Admission.ALREADY}:
        admission = Admission.SEND if spec.interrupts else Admission.REFUSE
    if admission is Admission.SEND:
        cancels = verb == "stop" and seen.busy
        first = f"cancels {seen.doing}, then " if cancels else ""
        return Precheck(admission, first + spec.effect)
    if admission is Admission.ALREADY:
        is_so = SPECS["delete"].already if seen.phase == "gone" else spec.already
        return Precheck(admission, f"nothing: {is_so}", f"'{seen.name}' {is_so}")
    if admission is Admission.JOIN:
        why = f"'{seen.name}' is {seen.doing} already"
        return Precheck(admission, "waits for what is under way", why)
    return Precheck(admission, "nothing", _why_not(seen))


def _why_not(seen: Reading) -> str:
    if seen.phase in {"gone", "deleting"}:
        return f"'{seen.name}' is {'gone' if seen.phase == 'gone' else seen.doing}"
    if seen.busy:
        return f"'{seen.name}' is {seen.doing}. Wait until it has finished, or stop it"
    return f"'{seen.name}' is {seen.doing}. Start it instead"  # a restart of what is stopped


def what_changed(shown: Row, now: Row | None) -> str | None:
    """Return how a CVM differs from what was shown, where that matters; else None."""
    then = Reading.of_row(shown)
    if now is None:
        return f"'{then.name}' is no longer in the fleet: it was deleted, or is not yours"
    seen = Reading.of_row(now)
    if (then.phase, then.in_progress) == (seen.phase, seen.in_progress):
        return None
    return f"'{seen.name}' was {then.doing} when it was shown, and is {seen.doing} now"
