"""Verbs: one row for each thing that can be done to a CVM, with all that is known of it.

What a verb sends is a method of the client (`start_cvm`, `replicate_cvm`, ...).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final, Literal, TypeAlias, get_args

from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.api.status import PHASES, Phase
from cvm_notebook.text import clean_text

Verb: TypeAlias = Literal[
    "start",
    "stop",
    "shutdown",
    "restart",
    "redeploy",
    "update",
    "delete",
    "replicate",
    "commit",
]
VERBS: Final[tuple[Verb, ...]] = get_args(Verb)
Evidence: TypeAlias = Literal["status", "history", "new_cvm", "compose_hash"]


class Admission(Enum):
    """The admission of a request, by the status that the CVM has now."""

    SEND = auto()
    ALREADY = auto()  # it is so already: nothing needs to be sent
    JOIN = auto()  # it is already under way
    REFUSE = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class VerbSpec:
    """The row of one verb.

    Attributes
    ----------
    label, help
        What stands on its button, and in the help of the magics; empty where it has none.
    noun, doing, done
        How a sentence names the operation, calls it while it goes on, and once it has ended well.
    unchanged
        The message about one CVM, and about several, where the operation was undone.
    effect
        What it does, in words, as a plan shows it.
    goal
        The status that it leads to.
    rests
        Other statuses in which it may end as well: what is changed while it is stopped stays so.
    under_way
        The statuses in which a CVM is on its way there.
    admit
        What becomes of it in which status; in any other it is refused.
    already
        The message where there is nothing to do.
    interrupts
        It may be sent while the CVM does something else.
    judged_by
        What shows that a request whose answer was lost was carried out: the CVM's ``status``, a
        new entry of its ``history``, a ``new_cvm`` of the app, or a CVM of the app with the same
        ``compose_hash``.
    history
        What the service calls it in the history of the CVM that it was asked of, or that it made:
        a failed CVM is found again by these. What stops a CVM leaves none that has failed.
    confirm
        Whether a plan of it is executed only with its phrase: ``never``, for ``several`` CVMs, or
        ``always``.
    undoable
        A click on it is sent after some seconds, in which it can be undone.
    price
        What it does to the price of an hour: computing or all of it begins (``+``) or ends (``-``).
    """

    label: str = ""
    help: str = ""
    noun: str
    doing: str
    done: str
    unchanged: tuple[str, str] = ("was not changed", "were not changed")
    effect: str
    goal: Phase
    rests: frozenset[Phase] = frozenset()
    under_way: frozenset[Phase]
    admit: Mapping[Phase, Admission] = field(repr=False)
    already: str = ""
    interrupts: bool = False
    judged_by: Evidence = "status"
    history: frozenset[str] = frozenset()
    confirm: Literal["never", "several", "always"] = "never"
    undoable: bool = False
    price: Literal["", "+compute", "-compute", "+total", "-total"] = ""

    @property
    def creates(self) -> bool:
        """Whether its result is another CVM."""
        return self.judged_by in {"new_cvm", "compose_hash"}

    @property
    def computes(self) -> bool:
        """Whether computing begins by it, or goes on: a suspended workspace may not."""
        return self.goal == "running"

    @property
    def is_counted(self) -> bool:
        """Whether twice is more than once: the CVM does not show how often it was done."""
        return self.judged_by in {"history", "new_cvm"}

    @property
    def changes_record(self) -> bool:
        """Whether it changes what only the CVM's full record shows, beside its status."""
        return bool(self.rests)

    @property
    def may_be_joined(self) -> bool:
        """Whether another's request for it means the same: two updates need not."""
        return _JOIN in self.admit.values()


_SEND, _ALREADY = Admission.SEND, Admission.ALREADY
_JOIN, _REFUSE = Admission.JOIN, Admission.REFUSE
_ANY: Final[Mapping[Phase, Admission]] = dict.fromkeys(PHASES, _SEND)
_AT_REST: Final[Mapping[Phase, Admission]] = {
    "running": _SEND,
    "failed": _SEND,
    "unknown": _SEND,
}
_CHANGING: Final[frozenset[Phase]] = frozenset({"updating", "restarting", "starting"})
_CHANGED: Final = frozenset(
    {"update", "compose_update", "env_update", "envs_update", "resize", "image_update"}
    | {"os_image_update", "visibility_update", "upgrade", "redeploy"}
)
_BOOTS: Final[frozenset[Phase]] = frozenset({"provisioning", "starting"})

_ALIVE: Final = ("keeps running", "keep running")

SPECS: Final[Mapping[Verb, VerbSpec]] = {
    "start": VerbSpec(
        label="Start",
        help="start CVMs",
        noun="Start",
        doing="Starting",
        done="Started",
        effect="starts it; computing is paid for again",
        goal="running",
        under_way=frozenset({"starting"}),
        admit={
            "stopped": _SEND,
            "failed": _SEND,
            "unknown": _SEND,
            "running": _ALREADY,
            "starting": _JOIN,
            "provisioning": _JOIN,
        },
        already="is already running",
        history=frozenset({"start", "power_on"}),
        price="+compute",
    ),
    # Stopping is the way out of everything: the service never refuses it.
    "stop": VerbSpec(
        label="Stop",
        help="stop CVMs at once",
        noun="Stop",
        doing="Stopping",
        done="Stopped",
        unchanged=_ALIVE,
        effect="stops now; the disk is kept and still billed",
        goal="stopped",
        under_way=frozenset({"stopping"}),
        admit={**_ANY, "stopped": _ALREADY, "gone": _ALREADY, "stopping": _JOIN},
        already="is already stopped",
        interrupts=True,
        confirm="several",
        undoable=True,
        price="-compute",
    ),
    "shutdown": VerbSpec(
        label="Shut down",
        help="stop CVMs, letting their containers end",
        noun="Shutdown",
        doing="Shutting down",
        done="Shut down",
        unchanged=_ALIVE,
        effect="ends its containers, then stops; the disk is kept and still billed",
        goal="stopped",
        under_way=frozenset({"shutting_down", "stopping"}),
        admit={**_AT_REST, "stopped": _ALREADY, "shutting_down": _JOIN, "stopping": _JOIN},
        already="is already stopped",
        confirm="several",
        undoable=True,
        price="-compute",
    ),
    "restart": VerbSpec(
        label="Restart",
        help="restart CVMs",
        noun="Restart",
        doing="Restarting",
        done="Restarted",
        effect="restarts it; it does not answer meanwhile",
        goal="running",
        under_way=frozenset({"restarting"}),
        admit={**_AT_REST, "restarting": _JOIN},
        judged_by="history",
        history=frozenset({"restart", "force_restart", "reboot"}),
        confirm="several",
    ),
    # Two updates are two, even while the first is under way: their contents may differ. An entry of
    # the history that may be of either is taken for an update where nobody here asked for it.
    "redeploy": VerbSpec(
        noun="Redeployment",
        doing="Redeploying",
        done="Redeployed",
        effect="takes it to a revision of its app in one restart; what is stopped stays stopped",
        goal="running",
        rests=frozenset({"stopped"}),
        under_way=_CHANGING,
        admit={**_AT_REST, "stopped": _SEND},
        already="has that revision already",
        judged_by="history",
        history=_CHANGED,
        confirm="several",
        undoable=True,
    ),
    "update": VerbSpec(
        noun="Update",
        doing="Updating",
        done="Updated",
        effect="changes it in one restart; what is stopped stays stopped",
        goal="running",
        rests=frozenset({"stopped"}),
        under_way=_CHANGING,
        admit={**_AT_REST, "stopped": _SEND},
        already="is as asked for already",
        judged_by="history",
        history=_CHANGED,
        confirm="several",
        undoable=True,
    ),
    "delete": VerbSpec(
        label="Delete",
        help="delete CVMs and their disks, for good",
        noun="Deletion",
        doing="Deleting",
        done="Deleted",
        unchanged=("is kept", "are kept"),
        effect="deletes it and its disk; this cannot be undone",
        goal="gone",
        under_way=frozenset({"deleting"}),
        admit={**_ANY, "gone": _ALREADY, "deleting": _JOIN},
        already="is gone already",
        interrupts=True,
        confirm="always",
        undoable=True,
        price="-total",
    ),
    "replicate": VerbSpec(
        label="Replicate",
        help="make another CVM of the same app",
        noun="Replication",
        doing="Replicating",
        done="Replicated",
        effect="makes another CVM of the same app, which is paid for",
        goal="running",
        under_way=_BOOTS,
        admit={**_ANY, "gone": _REFUSE, "deleting": _REFUSE},
        interrupts=True,
        judged_by="new_cvm",
        history=frozenset({"replicate"}),
        price="+total",
    ),
    "commit": VerbSpec(
        noun="Deployment",
        doing="Deploying",
        done="Deployed",
        effect="makes the CVM; from then on it is paid for",
        goal="running",
        under_way=_BOOTS,
        admit=_ANY,
        interrupts=True,
        judged_by="compose_hash",
        history=frozenset({"create"}),
        price="+total",
    ),
}


def check_verb(verb: str) -> Verb:
    """Return the verb, or say which there are.

    Raises
    ------
    InvalidInput
        It is none.
    """
    for known in VERBS if isinstance(verb, str) else ():
        if known == verb:
            return known
    shown = clean_text(repr(verb), 60)
    raise InvalidInput("verb", f"{shown} is not known", f"One of {', '.join(VERBS)}.")
