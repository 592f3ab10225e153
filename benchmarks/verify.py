"""Verdicts beside a bare loop of dcap-qvl, and what the first verdict of a kernel costs.

    python benchmarks/verify.py [--count 1000] [--rounds 5]

Ends with 1 when verdicts with kept collateral take more than MOST_RATIO times the bare loop, or the
first verdict of a new process more than MOST_MS over the calls that it makes.
"""

import argparse
import gc
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "attest")]
MOST_RATIO, MOST_MS = 2.0, 150.0

CALLS = """
import sys, time
began = time.perf_counter()
import cvm_notebook as cvm
client = cvm.Client("phak_benchmark", sys.argv[1])
record = client.get_cvm_info("web-1")
client.get_app_attestations(record.app_id)
client.get_quote_collateral(sys.argv[2])
print(time.perf_counter() - began)
"""
VERDICT = """
import sys, time
began = time.perf_counter()
import cvm_notebook as cvm
client = cvm.Client("phak_benchmark", sys.argv[1])
policy = cvm.Policy(app=open(sys.argv[3]).read(), root=sys.argv[4])
verdict = cvm.verify(client, "web-1", policy=policy)
took = time.perf_counter() - began
assert verdict.word == "SIMULATED", verdict
print(took)
"""


def ratios(count: int, rounds: int) -> list[float]:
    """How many times the bare loop verdicts take: each round has both, one after the other."""
    import dcap_qvl
    from issuer import COMPOSE, NOW, PKI, Cvm

    import cvm_notebook as cvm
    from cvm_notebook.api.models.cvm import Cvm as Record
    from cvm_notebook.attest.evidence.evidence import Evidence
    from cvm_notebook.attest.policy.roots import root_der
    from cvm_notebook.attest.verify import verdict_of

    guests = [Cvm(version=4 + n % 2, data=n.to_bytes(8)) for n in range(count)]
    kept, shown = PKI.collateral(), [guest.evidence(collateral=None) for guest in guests]
    image = cvm.learn_image(shown[0], name="its image")
    policy = cvm.Policy(app=COMPOSE, images=[image], root=PKI.root_pem)
    collateral = dcap_qvl.QuoteCollateralV3.from_json(json.dumps(kept))
    root, at = root_der(PKI.root_pem), int(NOW.timestamp())
    gc.freeze()  # the evidence of a thousand CVMs is the benchmark's, and no garbage
    found = []
    for _ in range(rounds + 1):  # the first fills the caches
        began = time.process_time()
        for guest in guests:
            dcap_qvl.verify_with_root_ca(guest.quote, collateral, root, at)
        bare = time.process_time() - began
        began = time.process_time()
        for one in shown:
            evidence = Evidence.of(one).having(collateral=kept)
            assert verdict_of(Record(name="x"), evidence, policy, NOW).ok
        ours = time.process_time() - began
        print(f"  bare {bare:6.3f} s, verdicts {ours:6.3f} s: {ours / bare:.2f}")
        found.append(ours / bare)
    return found[1:]


def first_verdict_ms(rounds: int, folder: Path) -> list[float]:
    """What the first verdict of a process takes over the same calls, in milliseconds."""
    import hashlib
    from datetime import UTC, datetime

    from issuer import COMPOSE, PKI, Cvm
    from service import Service

    guest = Cvm()
    service = Service({"web-1": guest}, at=datetime.now(UTC).replace(microsecond=0))
    (folder / "app.yaml").write_text(COMPOSE)
    (folder / "root.pem").write_text(PKI.root_pem)
    checksum = hashlib.sha256(guest.quote).hexdigest()
    arguments = [service.url, checksum, str(folder / "app.yaml"), str(folder / "root.pem")]
    found = []
    try:
        for _ in range(rounds + 1):
            calls, verdict = (seconds(code, arguments) for code in (CALLS, VERDICT))
            found.append((verdict - calls) * 1e3)
    finally:
        service.close()
    return found[1:]


def seconds(code: str, arguments: list[str]) -> float:
    run = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        check=True, cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    return float(run.stdout)


def main() -> int:
    import tempfile

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    print(f"{asked.count} CVMs with kept collateral, CPU time:")
    ratio = statistics.median(ratios(asked.count, asked.rounds))
    with tempfile.TemporaryDirectory() as folder:
        first = statistics.median(first_verdict_ms(asked.rounds, Path(folder)))
    print(f"verdicts take {ratio:.2f} times the bare loop (limit {MOST_RATIO:g})")
    print(f"the first verdict takes {first:.0f} ms over its calls (limit {MOST_MS:g})")
    return int(ratio > MOST_RATIO or first > MOST_MS)


if __name__ == "__main__":
    sys.exit(main())
