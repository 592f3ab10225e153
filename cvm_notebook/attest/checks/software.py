"""Checks 4 and 5: the event log against the quote's registers, and the OS image they tell of."""

from typing import Final

from cvm_notebook.attest.checks.check import Check, failed, passed, skipped
from cvm_notebook.attest.evidence.event_log import BootLog
from cvm_notebook.attest.evidence.evidence import Evidence
from cvm_notebook.attest.evidence.fields import MalformedEvidence
from cvm_notebook.attest.evidence.quote_layout import TdReport
from cvm_notebook.attest.images import MeasuredImage, images_for
from cvm_notebook.attest.lite import RTMR0_EVENTS, RTMR0_FIXED, LiteImage, recompute
from cvm_notebook.attest.policy.policy import Policy

LOG_FAILED: Final = "not judged: the event log does not fit"
_LEARN: Final = "cvm.learn_image(verdict, name=...), then Policy(images=[...])."


def check_log(evidence: Evidence) -> tuple[Check, BootLog | None]:
    """Add the log up; return also the part of it that the quote counts, where it fits."""
    try:
        log, registers = evidence.log, evidence.report.rtmrs
        if not len(log):
            todo = "Let the CVM show it: public_tcbinfo, or give evidence with event_log."
            return skipped("log", "no event log is shown", todo), None
        part, wrong = log.replay(registers)
    except MalformedEvidence as error:
        return failed("log", str(error)), None
    if wrong:
        return failed("log", f"it does not add up to {wrong}"), None
    if part.defect:
        return failed("log", part.defect), None
    counts = [len(part.of(number)) for number in range(4)]
    summary = f"{' + '.join(map(str, counts))} events add up to RTMR0-3"
    if part.is_stripped:
        summary = f"{counts[3]} events add up to RTMR3; it is stripped of those of the firmware"
    if later := len(log) - len(part):
        summary += f"; {later} came after the quote"
    if part.of_the_app:
        summary += f"; {part.of_the_app} of the app itself, which prove nothing"
    return passed("log", summary), part


def check_image(evidence: Evidence, policy: Policy, log: BootLog) -> Check:
    """Judge the OS image by registers, never by the hash that a log or a configuration names."""
    report = evidence.report
    try:
        lite = recompute(evidence.configuration, log)
        problem = _unlike(lite, report) if lite else _other_firmware(log)
    except MalformedEvidence as error:
        return failed("image", str(error))
    if problem:
        return failed("image", problem)
    if lite is None and log.is_stripped:
        todo = "Give the whole log: the service's GET /cvms/{id}/attestation has it."
        return skipped("image", "the log is stripped of the firmware's events", todo)
    return _trusted(evidence, policy, lite)


def _unlike(lite: LiteImage, report: TdReport) -> str:
    """Return which register is not that of the lite image that the configuration describes."""
    shown = (lite.rtmr0, lite.rtmr1, lite.rtmr2)
    wrong = [f"RTMR{n}" for n, value in enumerate(shown) if value != report.rtmrs[n]]
    wrong = ([] if report.mr_td in lite.mr_tds else ["MRTD"]) + wrong
    return f"{', '.join(wrong)}: not of the image that vm_config describes" if wrong else ""


def _other_firmware(log: BootLog) -> str:
    """Return what of RTMR0 is not as on every machine; empty for a log without those events."""
    if log.is_stripped:
        return ""
    first = [event.measured for event in log.of(0)]
    if len(first) != RTMR0_EVENTS:
        return f"RTMR0 has {len(first)} events, and not the {RTMR0_EVENTS} of dstack's firmware"
    wrong = [str(place) for place, digest in RTMR0_FIXED.items() if first[place] != digest]
    return f"events {', '.join(wrong)} of RTMR0 are not those of dstack's firmware" if wrong else ""


def _trusted(evidence: Evidence, policy: Policy, lite: LiteImage | None) -> Check:
    trusted = policy.trusted_images
    images = images_for(trusted, simulated=policy.root_pem is not None)
    found = next((one for one in images if _is_of(one, evidence.report, lite)), None)
    claimed = evidence.configuration.get("image")
    name = found.name if found else claimed if isinstance(claimed, str) else ""
    dev = found.dev if found else "-dev-" in f"-{name}-"
    if dev and not policy.dev_images:
        return failed("image", f"{name} is a development image: one can log in to it")
    how = "recomputed from its metadata" if lite else "by MRTD, RTMR1 and RTMR2"
    if found is not None:
        return passed("image", f"{found.name}, {how}; {found.provenance or 'named by the policy'}")
    registers = (
        f"MRTD {evidence.report.mr_td.hex()[:8]}, RTMR2 {evidence.report.rtmrs[2].hex()[:8]}"
    )
    # the name in a configuration is not measured: it can be anything
    summary = (
        f"an image that calls itself {name} ({registers})" if name else f"its image ({registers})"
    )
    if trusted is not None:
        return failed("image", f"{summary} is none that the policy trusts")
    return skipped("image", f"{summary} is none that is known here", _LEARN)


def _is_of(image: MeasuredImage, report: TdReport, lite: LiteImage | None) -> bool:
    """Return whether a quote is of an image: by its registers, or by what those were made of."""
    if image.matches(report.mr_td, report.rtmrs[1], report.rtmrs[2]):
        return True
    return lite is not None and image.os_image_hash == lite.os_image_hash
