"""Run the outside benchmark kit on our client, beside the official SDK and the raw limit.

    python benchmarks/run.py                     the whole run, goals checked (some 40 minutes)
    python benchmarks/run.py --quick             few repetitions, small sizes (some 3 minutes)
    python benchmarks/run.py --scenario list --n 10000 --latency 0,50 --reps 3
    python benchmarks/run.py --fetch-official    put the official SDK into the cache folder first

Nothing is installed into the environment. Ends with 1 when a goal is missed, 2 when something is
missing.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KIT = ROOT.parent / "shared" / "bench"
TARGET = "benchmarks.cvm_adapter:make"
OFFICIAL = "phala-cloud==0.2.0"
SCENARIOS = "list,get,watch,bulk,import,cold,faults"
WHOLE = {"scenario": SCENARIOS, "n": "1000,10000,50000", "latency": "0,50", "reps": "5"}
QUICK = {"scenario": SCENARIOS, "n": "1000,10000", "latency": "0,50", "reps": "2", "gets": "500"}


def official_sdk() -> Path:
    """Where the official SDK is kept: apart from the environment, as it asks for a package that
    does not build (pysha3) and that nothing in it uses."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "cvm-notebook" / OFFICIAL.replace("==", "-")


def fetch_official() -> None:
    command = ["install", "--quiet", "--no-deps", "--target", str(official_sdk()), OFFICIAL]
    subprocess.run([sys.executable, "-m", "pip", *command], check=True)


def what_is_missing(kit: Path, paths: list[Path]) -> str | None:
    """Say in one line what has to be there first, or None."""
    if not (kit / "run.py").is_file():
        return f"No benchmark kit in {kit}: give its folder with --kit."
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}
    for module, remedy in (
        ("cvm_notebook", "run it from a checkout with its dependencies installed"),
        ("pyarrow", 'pip install "cvm-notebook[demo]"'),
        ("httpx", "pip install httpx pydantic"),
        ("pydantic", "pip install httpx pydantic"),
        ("phala_cloud", "python benchmarks/run.py --fetch-official"),
    ):
        found = subprocess.run(
            [sys.executable, "-c", f"import {module}"], env=env, capture_output=True, check=False
        )
        if found.returncode:
            return f"Cannot import {module}, which the kit's comparison needs: {remedy}."
    return None


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kit", type=Path, default=KIT, help="folder of the kit (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="few repetitions, small sizes")
    parser.add_argument("--fetch-official", action="store_true", help=f"get {OFFICIAL} first")
    parser.add_argument("--out", type=Path, help="JSON file for the raw results")
    for name in ("scenario", "n", "latency", "reps"):
        parser.add_argument(f"--{name}", help="as the kit's own option")
    options = parser.parse_args()
    if options.fetch_official:
        fetch_official()
    paths = [ROOT, official_sdk()]
    if missing := what_is_missing(options.kit, paths):
        print(missing, file=sys.stderr)
        return 2
    given = {k: v for k in WHOLE if (v := getattr(options, k)) is not None}
    settings = (QUICK if options.quick else WHOLE) | given
    if options.out:
        settings |= {"out": str(options.out)}
    return subprocess.run(command(options.kit, paths, settings), check=False).returncode


def command(kit: Path, paths: list[Path], settings: dict[str, str]) -> list[str]:
    """The kit's command line."""
    arguments = [sys.executable, str(kit / "run.py"), "--target", f"official,limit,{TARGET}"]
    for path in paths:
        arguments += ["--path", str(path)]
    for name, value in settings.items():
        arguments += [f"--{name}", value]
    return [*arguments, "--check", str(kit / "goals.json")]


if __name__ == "__main__":
    sys.exit(main())
