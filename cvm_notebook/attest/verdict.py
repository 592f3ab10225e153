"""Verdict: the result of the nine checks, shown as a checklist."""

import html
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from os import PathLike
from typing import TYPE_CHECKING, Final

from cvm_notebook._lazy import LOADING
from cvm_notebook.api.errors.tree import CvmError
from cvm_notebook.attest.checks.check import Check
from cvm_notebook.attest.checks.hardware import NO_HARDWARE
from cvm_notebook.attest.evidence.evidence import Evidence
from cvm_notebook.attest.policy.policy import CHECK_NAMES, CheckName, Policy
from cvm_notebook.attest.quotes import QuoteClaims
from cvm_notebook.attest.words import Word
from cvm_notebook.text import clean_text

if TYPE_CHECKING:
    import pandas as pd

_BASE: Final = CHECK_NAMES[:4]
"""Without one of these there is no word of the others."""
_LEFT: Final = "text-align:left"
_WHOLE: Final = f"{_LEFT};white-space:nowrap"
_MARKS: Final = {"pass": "✓", "fail": "✗", "skip": "–", "info": "i"}  # noqa: RUF001 - a dash


class VerificationFailed(CvmError):  # noqa: N818 - it says what happened, as its kin do
    """A CVM is not what the policy asks for, or that could not be shown.

    Attributes
    ----------
    verdict
        All nine checks.
    """

    def __init__(self, verdict: "Verdict") -> None:
        super().__init__(f"{verdict.name}: {verdict.summary}", hint=verdict.todo or None)
        self.verdict = verdict


@dataclass(frozen=True, kw_only=True, repr=False)
class Verdict:
    """The result of verifying a CVM: what was proven, what was not, and why.

    Attributes
    ----------
    name
        The CVM's name.
    checks
        All nine, in their order.
    at
        The instant of the judgement, by this machine's clock where none was given: that clock is
        trusted.
    policy
        By which it was judged, with its root.
    altered
        Of a bundle: the parts that are not as they were written.
    """

    name: str
    cvm_id: str | None = None
    checks: tuple[Check, ...]
    at: datetime
    policy: Policy
    evidence: Evidence
    claims: QuoteClaims | None = None
    altered: tuple[str, ...] = ()

    def __getitem__(self, name: CheckName) -> Check:
        """Return one check: ``verdict["app"]``."""
        return next(check for check in self.checks if check.name == name)

    def __iter__(self) -> Iterator[Check]:
        return iter(self.checks)

    # --- what it comes to ----------------------------------------------------------------------

    @property
    def failed_at(self) -> Check | None:
        """The first check that failed."""
        return next((check for check in self.checks if check.outcome == "fail"), None)

    @property
    def missing(self) -> tuple[Check, ...]:
        """The required checks that were not done."""
        required = self.policy.required
        return tuple(
            check
            for check in self.checks
            if check.name in required and check.outcome not in {"pass", "fail"}
        )

    @property
    def ok(self) -> bool:
        """Whether every required check has passed, none has failed, and nothing was altered.

        Under a development root, too, where it says that all is as it would have to be, and not
        that there is hardware: see `word`.
        """
        return self.failed_at is None and not self.missing and not self.altered

    @property
    def word(self) -> Word:
        """One of ``VERIFIED``, ``PARTIAL``, ``SIMULATED`` and ``FAILED``."""
        if self.failed_at is not None or self.altered:
            return "FAILED"
        if any(self[name].outcome == "skip" for name in _BASE):
            return "PARTIAL"
        if self.is_simulated:
            return "SIMULATED"
        return "PARTIAL" if self.missing else "VERIFIED"

    @property
    def is_simulated(self) -> bool:
        """Whether it was judged under another root than Intel's."""
        return self.policy.root_pem is not None

    @property
    def summary(self) -> str:
        """The word, and what led to it, in one line."""
        failed = self.failed_at
        if self.altered:
            return f"FAILED at bundle: {', '.join(self.altered)} altered since it was written"
        if failed is not None:
            return f"FAILED at {failed.name}: {failed.reason}"
        counts = {o: sum(c.outcome == o for c in self.checks) for o in ("pass", "skip", "info")}
        summary = f"{counts['pass']} pass, {counts['skip'] + counts['info']} not asked or not shown"
        missing = ", ".join(check.name for check in self.missing)
        summary += f"; required and not shown: {missing}" if missing else ""
        note = f", {NO_HARDWARE}" if self.is_simulated else ""
        return f"{self.word} ({summary}{note})"

    @property
    def todo(self) -> str:
        """The remedy of the first required check that was not done; empty for none."""
        return next((check.todo for check in self.missing if check.todo), "")

    @property
    def until(self) -> datetime | None:
        """Until when this can be repeated with the same collateral; a bundle can for ever."""
        return None if self.claims is None else self.claims.until

    def raise_for_status(self) -> None:
        """Raise unless `ok`.

        Raises
        ------
        VerificationFailed
            It has this verdict.
        """
        if not self.ok:
            raise VerificationFailed(self)

    # --- kept and shown ------------------------------------------------------------------------

    def bundle(self, path: str | PathLike[str]) -> None:
        """Write evidence, collateral, policy, instant and checks to one JSON file.

        `cvm.verify_bundle` repeats the verdict from it, offline, for ever.
        """
        from cvm_notebook.attest.bundle import write_bundle  # noqa: PLC0415 - it knows this module

        write_bundle(self, path)

    def frame(self) -> "pd.DataFrame":
        """Return the checks as a frame, one a row."""
        with LOADING:
            from cvm_notebook.frames.reports.verdict import verdict_frame  # noqa: PLC0415 - pandas

        return verdict_frame(self)

    def __repr__(self) -> str:
        lines = [f"{clean_text(self.name, 80)}: {self.summary}"]
        width = max(len(check.title) for check in self.checks)
        for check in self.checks:
            todo = f" {check.todo}" if check.todo else ""
            summary = f"{check.reason}.{todo}" if todo else check.reason
            lines.append(
                f"  {_MARKS[check.outcome]} {check.outcome:4} {check.title:{width}}  {summary}"
            )
        return "\n".join([*lines, f"  {self._times()}"])

    def _times(self) -> str:
        until = f", can be repeated until {self.until:%Y-%m-%d %H:%M} UTC" if self.until else ""
        return f"judged at {self.at:%Y-%m-%d %H:%M} UTC by this machine's clock{until}"

    def _repr_html_(self) -> str:
        names = ("", "check", "what was found")
        head = "".join(f'<th scope="col" style="{_LEFT}">{name}</th>' for name in names)
        rows = "".join(map(_row, self.checks))
        title = html.escape(f"{clean_text(self.name, 80)}: {self.summary}")
        return (
            f'<table><caption style="{_LEFT}">{title}</caption>'
            f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody>"
            f'<tfoot><tr><td colspan="3" style="{_LEFT}">{html.escape(self._times())}</td></tr>'
            "</tfoot></table>"
        )


def _row(check: Check) -> str:
    todo = f"<br>{html.escape(check.todo)}" if check.todo else ""
    return (
        f'<tr><td style="{_WHOLE}">{_MARKS[check.outcome]} {check.outcome}</td>'
        f'<th scope="row" style="{_WHOLE}">{html.escape(check.title)}</th>'
        f'<td style="{_LEFT};overflow-wrap:anywhere">{html.escape(check.reason)}{todo}</td></tr>'
    )
