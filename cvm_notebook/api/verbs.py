"""Verbs: what can be done to a CVM, how each is sent, and by what a lost answer is judged."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.api.status import Phase

Verb: TypeAlias = Literal["start", "stop", "shutdown", "restart", "delete", "replicate", "commit"]
VERBS: Final[tuple[Verb, ...]] = get_args(Verb)
Evidence: TypeAlias = Literal["status", "history", "new_cvm", "compose_hash"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VerbSpec:
    """What is known of one verb.

    Attributes
    ----------
    goal
        The status that it leads to.
    under_way
        The statuses in which a CVM is on its way there.
    judged_by
        What shows that a request whose answer was lost was carried out: the CVM's ``status``, a
        new entry of its ``history``, a ``new_cvm`` of the app, or a CVM of the app with the same
        ``compose_hash``.
    history
        What the service calls it in a CVM's history of operations.
    """

    goal: Phase
    under_way: frozenset[Phase]
    judged_by: Evidence = "status"
    history: frozenset[str] = frozenset()

    @property
    def creates(self) -> bool:
        """Whether its result is another CVM."""
        return self.judged_by in {"new_cvm", "compose_hash"}

    @property
    def is_counted(self) -> bool:
        """Whether twice is more than once: the CVM does not show how often it was done."""
        return self.judged_by in {"history", "new_cvm"}


_BOOTS: Final[frozenset[Phase]] = frozenset({"provisioning", "starting"})
SPECS: Final[Mapping[Verb, VerbSpec]] = {
    "start": VerbSpec(goal="running", under_way=frozenset({"starting"})),
    "stop": VerbSpec(goal="stopped", under_way=frozenset({"stopping"})),
    "shutdown": VerbSpec(goal="stopped", under_way=frozenset({"shutting_down", "stopping"})),
    "restart": VerbSpec(
        goal="running",
        under_way=frozenset({"restarting"}),
        judged_by="history",
        history=frozenset({"restart", "force_restart", "reboot"}),
    ),
    "delete": VerbSpec(goal="gone", under_way=frozenset({"deleting"})),
    "replicate": VerbSpec(goal="running", under_way=_BOOTS, judged_by="new_cvm"),
    "commit": VerbSpec(goal="running", under_way=_BOOTS, judged_by="compose_hash"),
}


def check_verb(verb: str) -> Verb:
    """Return the verb, or say which there are.

    Raises
    ------
    InvalidInput
        It is none.
    """
    for known in VERBS:
        if known == verb:
            return known
    raise InvalidInput("verb", f"{verb!r} is not known", f"One of {', '.join(VERBS)}.")
