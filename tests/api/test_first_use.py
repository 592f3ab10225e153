"""Many threads meet a model for the first time at once, and nothing crashes."""

import subprocess
import sys

# In a process of its own: only there is each model new, and a crash would take this one with it.
MEET = """
import sys
import threading

sys.setswitchinterval(1e-6)
from cvm_notebook.api.models.decode import decode
from cvm_notebook.api.models.actions import Cvm

ROW = b'{"id": "cvm_1", "vm_uuid": "u", "name": "a", "status": "running", "resource": {"vcpu": 1}}'
KINDS = {Cvm: ROW, list[Cvm]: b"[%s]" % ROW, dict[str, Cvm]: b'{"a": %s}' % ROW, Cvm | None: ROW}
gate = threading.Barrier(3 * len(KINDS))
read = []


def meet(kind, body):
    gate.wait()
    read.extend(decode(body, kind, "a test") for _ in range(50))


threads = [threading.Thread(target=meet, args=pair) for pair in KINDS.items() for _ in range(3)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(len(read))
"""


def test_many_threads_meet_a_model_for_the_first_time():
    # without the lock about every second of them dies
    meetings = [
        subprocess.Popen([sys.executable, "-c", MEET], stdout=subprocess.PIPE, text=True)
        for _ in range(8)
    ]
    outcomes = [(one.communicate(timeout=60)[0].strip(), one.returncode) for one in meetings]
    assert outcomes == [("600", 0)] * 8
