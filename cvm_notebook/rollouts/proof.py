"""Waiting for the verdict of an instance that has just come up."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from cvm_notebook.api.client import Client
from cvm_notebook.api.errors.tree import CvmError
from cvm_notebook.deploy.updating import error_text
from cvm_notebook.live.engine import FleetEngine

if TYPE_CHECKING:
    from cvm_notebook.attest.policy.policy import Policy

_VERDICT_S: Final = 30.0  # what a CVM shows may come a little later than it runs
_PAUSE: Final = 0.5
_SLOWEST: Final = 5.0


def wait_for_verdict(
    engine: FleetEngine,
    client: Client,
    cvm_id: str,
    policy: "Policy",
    expected: str | None,
    *,
    sleep: Callable[[float], bool],
) -> tuple[str | None, str]:
    """Verify an instance until its verdict is good, or clearly is not.

    Parameters
    ----------
    expected
        The compose hash that it should run, where the policy does not say what.
    sleep
        Waits so many seconds; False when it was stopped.

    Returns
    -------
    tuple
        The word of the verdict, and what is wrong; empty where it is good.
    """
    from cvm_notebook.live.trust import verify_row  # noqa: PLC0415 - what judges, on demand

    if policy.app is None and expected is not None:
        policy = replace(policy, app=expected)
    ends, pause = engine.now() + _VERDICT_S, _PAUSE
    while True:
        over = engine.now() >= ends
        row = engine.known(cvm_id)
        if row is None:
            return None, "it is gone"
        word: str | None = None
        try:
            verdict = verify_row(engine, row, policy, client=client)
        except CvmError as error:
            problem = f"it could not be verified: {error_text(error)}"
        else:
            word, problem = verdict.word, f"its verdict is {verdict.summary}"
            if verdict.ok:
                return word, ""
        if over or word == "FAILED" or not sleep(pause):
            return word, problem
        pause = min(pause * 2, _SLOWEST)
