"""What ``import cvm_notebook`` costs over a bare Python: the median of paired differences.

    python benchmarks/imports.py [--reps 15]

Ends with 1 when the import costs more than LIMIT_MS or loads what it must not.
"""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIMIT_MS = 25.0
BARE = "pass"
OURS = "import cvm_notebook"
STATEMENTS = {
    OURS: "the package alone",
    "import cvm_notebook; cvm_notebook.Client": "with the client",
    "import cvm_notebook; cvm_notebook.fleet_frame": "with frames (pandas)",
}
HEAVY = ("pandas", "numpy", "IPython", "ipywidgets", "requests", "msgspec", "matplotlib")


def process_ms(statement: str) -> float:
    """Milliseconds from the spawn of a Python that runs the statement to its end."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True, cwd=ROOT)
    return (time.perf_counter() - began) * 1e3


def loaded(statement: str) -> set[str]:
    """Which of the heavy modules a Python has loaded after the statement."""
    code = f"{statement}\nimport sys\nprint(*(m for m in {HEAVY!r} if m in sys.modules))"
    run = subprocess.run(
        [sys.executable, "-c", code], check=True, cwd=ROOT, capture_output=True, text=True
    )
    return set(run.stdout.split())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reps", type=int, default=15)
    reps = parser.parse_args().reps
    over: dict[str, list[float]] = {statement: [] for statement in STATEMENTS}
    bare = []
    for _ in range(reps + 1):  # the first round fills the caches
        bare.append(process_ms(BARE))
        for statement, found in over.items():
            found.append(process_ms(statement) - bare[-1])
    print(f"bare Python {statistics.median(bare[1:]):.1f} ms, median of {reps}; over it:")
    for statement, found in over.items():
        ms = statistics.median(found[1:])
        print(f"  {ms:7.1f} ms  {STATEMENTS[statement]:22} {statement}")
    heavy = loaded(OURS)
    ours = statistics.median(over[OURS][1:])
    print(f"{OURS}: {ours:.1f} ms (limit {LIMIT_MS:g}), loads {sorted(heavy) or 'nothing heavy'}")
    return int(ours > LIMIT_MS or bool(heavy))


if __name__ == "__main__":
    sys.exit(main())
