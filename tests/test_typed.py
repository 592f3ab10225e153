"""The types of the package serve a user's own script."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "typed" / "user_script.py"


@pytest.mark.timeout(600)  # mypy reads pandas' stubs anew, which takes a minute of processor time
def test_a_typed_script_of_a_user_passes_mypy(tmp_path):
    pytest.importorskip("mypy")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict", "--no-incremental"),
            *("--config-file", "", "--cache-dir", str(tmp_path), str(SCRIPT)),
        ],
        cwd=SCRIPT.parents[2],
        capture_output=True,
        text=True,
        timeout=590,
        check=False,
    )
    assert "Success" in done.stdout, done.stdout + done.stderr
