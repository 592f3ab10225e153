"""Verification in a card: the last verdict, and a new one on request."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from cvm_notebook.api.errors.tree import CvmError
from cvm_notebook.attest.quotes import INSTALL, is_installed
from cvm_notebook.live.engine import FleetEngine
from cvm_notebook.live.store.observation import Reading
from cvm_notebook.live.store.records import Row, Trust
from cvm_notebook.live.workers import Workers
from cvm_notebook.text import clean_text
from cvm_notebook.widgets.base.view import ms

if TYPE_CHECKING:
    from cvm_notebook.attest.policy.policy import Policy

_ERROR_CHARS: Final = 600
_CHANGED: Final = (
    "It was stopped, restarted or updated while it was verified, so the verdict is of the past "
    "and was not kept. Verify it again."
)
# what judges, what is shown of that beforehand
_BY_DEFAULT: Final = "by the default policy"
_BY_OWN: Final = "by the policy of this card"
_FROM_CODE: Final = "asked for from code, by the policy given there"
_DEFAULT_HINT: Final = (
    "Verify now judges by the default policy, which declares no app. To judge by your compose "
    'file: fleet["{}"].card().policy = cvm.Policy(app="compose.yaml").'
)
_OWN_HINT: Final = "Verify now judges by the policy of this card."


class Verification:
    """Runs verifications of a card's CVM, on request, one at a time, on a worker.

    Parameters
    ----------
    fleet
        Returns the fleet, or None once it is gone.
    changed
        Called after a change, on any thread.

    Attributes
    ----------
    policy
        What is trusted and expected; the default one where it is None.
    """

    def __init__(
        self, cvm_id: str, fleet: Callable[[], FleetEngine | None], changed: Callable[[], object]
    ) -> None:
        self.policy: Policy | None = None
        self._cvm_id = cvm_id
        self._fleet = fleet
        self._changed = changed
        self._busy = False
        self._ended = 0
        self._error: tuple[Trust | None, str] | None = None  # and what was known then
        self._judged: tuple[Trust, str] | None = None  # and by which policy

    def state(self, row: Row | None) -> dict[str, Any]:
        """Return the sections of the card's state that are about trust."""
        trust = row.trust if row is not None else None
        error = self._error
        return {
            "trust": None if trust is None else {**trust_state(trust), "by": self._by(trust)},
            "verify": {
                "busy": self._busy,
                "ended": self._ended,  # so that a view notices the end of each that it requested
                "why": why_not(row),
                "error": error[1] if error is not None and error[0] is trust else None,
                "hint": _OWN_HINT if self.policy else _DEFAULT_HINT.format(self._cvm_id),
            },
        }

    def ask(self, workers: Workers) -> None:
        """Verify it soon, unless that is under way or cannot be done."""
        fleet = self._fleet()
        if fleet is None or self._busy or why_not(fleet.known(self._cvm_id)) is not None:
            return
        self._busy, self._error = True, None
        self._changed()
        workers.do(self._verify)

    def _verify(self) -> None:
        try:
            fleet = self._fleet()
            row = fleet.known(self._cvm_id) if fleet is not None else None
            if fleet is not None and row is not None:
                self._judge(fleet, row)
        finally:
            self._busy, self._ended = False, self._ended + 1
            self._changed()

    def _judge(self, fleet: FleetEngine, row: Row) -> None:
        from cvm_notebook.live.trust import trust_of, verify_row  # noqa: PLC0415 - it loads slowly

        policy = self.policy
        try:
            # asked for by hand: what was revoked since the last time is to be known
            trust = trust_of(verify_row(fleet, row, policy, refresh=True))
        except CvmError as error:
            self._error = row.trust, clean_text(error, _ERROR_CHARS)
            return
        self._judged = trust, _BY_DEFAULT if policy is None else _BY_OWN
        now = fleet.known(row.id)
        if now is not None and now.trust is None:
            self._error = None, _CHANGED

    def _by(self, trust: Trust) -> str:
        judged = self._judged
        return judged[1] if judged is not None and judged[0] == trust else _FROM_CODE


def trust_state(trust: Trust) -> dict[str, Any]:
    """Return what is drawn of a verdict: its times in milliseconds, a list for each check."""
    return {
        "word": trust.word,
        "summary": trust.summary,
        "at": ms(trust.at),
        "until": None if trust.until is None else ms(trust.until),
        "checks": [list(check) for check in trust.checks],
    }


def why_not(row: Row | None) -> str | None:
    """Say why a CVM cannot be verified now; None where it can."""
    if row is None:
        return "It is no longer in the fleet."
    if not is_installed():
        return f"Nothing here checks the signatures of quotes: {INSTALL}"
    if Reading.of_row(row).phase != "running":
        return "Only a CVM that runs shows what it runs: start it first."
    return None
