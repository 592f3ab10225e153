"""Old phrases stay out: of messages, widgets, notebooks and pages, whoever writes the next one."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PHRASES = {  # what was written once, and what is written instead
    r"shall be|will be committed|was committed\b|make the CVM": "Configure, Review and deploy",
    r"used, and not kept|not kept\. Give it again": "Already used. Enter it again",
    r"nothing gives it": "The compose file needs these variables",
    r"the service chooses\"|as the type has it|newest that fits": "Any region, default, latest",
    r"of this app in all": "Total CVMs",
    r"no node has room\"|. too little\"": "Sold out, not enough capacity",
    r"publishes no endpoint|None is shown": "No public ports, No endpoints",
    r"It did not come up\"|did not boot\b": "Failed to start",
    r"\"(Unfollow|Keep|Close the logs|Add them|Another one)\"": "a verb, or Cancel",
    r"will be sent in \$|Taken back:|had been sent already": "Stopping in 5 s, Undone",
    r"asked, not sent yet|sent, no answer yet": "queued, waiting for an answer",
    r"the kernel is busy and takes it": "Queued until the running cell finishes",
    r"need nothing, or cannot be asked": "is already stopped and will be skipped",
    r"of these apps will be left": "This is the last CVM of",
    r"to the letter": "exactly",
    r"re-run to go live|nothing here is live": "Disconnected: data of ...",
    r"nothing was sent: this is closed": "this fleet is closed",
    r"[Ss]een first|gone from the fleet|asked here": "First seen, deleted, by you",
    r"Seen from here|Recorded by the service": "This session, Service history",
    r"[Kk]ept true|[Ss]tays true|since it is watched": "kept up to date",
    r"stays paid for|stops it at once": "the disk is kept and still billed",
    r"runs already\"|stopped already": "is already running",
    r"Checked here|counted here|does NOT fit": "matches the CVM's hash, Mismatch",
    r"What was asked for\"|Nothing was asked for": "Activity, No activity yet",
    r"Costs and status": "Overview or Costs",
    r"Asking whose key|none: as it is found": "Checking key, Default",
    r"To be mended|fit to paste|the way to the cloud": "problems, safe to share, connection",
    r"[Ll]ast words|ends all of it|as you left them": "Last log lines, Press Ctrl-C",
    r"What burns|Who burns|What does nothing|What is broken|days so\b": "Highest cost, Failed",
    r"the rates of now|may I have\?|Where it is not so|it is not shown  ": "plain headings",
    r"like its brothers|Take it away again|Seen and done by hand": "look alike, Clean up",
    r"is no (mapping|text|plan|rate|revision|schedule|status|declaration)\b": "is not a ...",
    r"this is what it would do|-- ?It goes on": "Preview; nothing was sent",
}


def texts() -> Iterator[tuple[str, str]]:
    """Yield what people read: sources of the package, pages, the sources of notebooks."""
    for pattern in ("cvm_notebook/**/*.py", "cvm_notebook/**/*.js", "docs/**/*.md", "*.md"):
        for path in ROOT.glob(pattern):
            yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        yield path.name, "\n".join("".join(cell["source"]) for cell in cells)


@pytest.mark.parametrize("phrase", PHRASES)
def test_an_old_phrase_stays_out(phrase: str) -> None:
    found = [
        f"{name}:{text.count(chr(10), 0, match.start()) + 1}: {match.group()!r}"
        for name, text in texts()
        for match in re.finditer(phrase, text)
    ]
    assert not found, f"say it as in: {PHRASES[phrase]}"
