"""Updates of apps whose keys are managed on a chain: register the hash, then finish."""

import http.server
import json
import threading

import pytest
from helpers import COMPOSE

import cvm_notebook as cvm
from cvm_notebook.api.models.actions import HashRequired

HASH, TX, TOKEN = "ab" * 32, "0x" + "cd" * 32, "sentinel-commit-token"
REFUSAL = {
    "error_code": "ERR-01-005",
    "message": "Register the compose hash first",
    "details": [
        {"field": "compose_hash", "value": HASH},
        {"field": "commit_token", "value": TOKEN},
    ],
}


class Chain(http.server.BaseHTTPRequestHandler):
    """A service whose app has its keys on a chain."""

    def log_message(self, *_):
        """Say nothing."""

    def do_GET(self):
        page = {"items": [], "total": 0}
        self._answer(200, page if "operations" in self.path else {"id": "cvm_1", "vm_uuid": "u"})

    def do_PATCH(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        names = ("X-Compose-Hash", "X-Transaction-Hash", "X-Prepare-Only")
        self.server.asked.append((body, {n: self.headers[n] for n in names if self.headers[n]}))
        proven = self.headers["X-Transaction-Hash"] == TX
        accepted = {"status": "in_progress", "correlation_id": "c-1"}
        self._answer(*((202, accepted) if proven else (465, REFUSAL)))

    def _answer(self, status, answer):
        text = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


@pytest.fixture
def chain():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Chain) as server:
        server.asked = []
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        url = f"http://127.0.0.1:{server.server_address[1]}/api/v1"
        with cvm.Client(api_key="phak_x", base_url=url, timeout=30) as client:
            yield client, server.asked
        server.shutdown()
        thread.join()


def test_an_update_waits_for_its_hash_and_is_finished_with_the_proofs(chain):
    client, asked = chain

    waits = client.update_cvm("cvm_1", compose_file=COMPOSE)

    assert isinstance(waits, HashRequired)
    assert waits.compose_hash == HASH
    assert TOKEN not in repr(waits)
    assert waits.commit_token.reveal() == TOKEN
    done = client.update_cvm("cvm_1", compose_hash=HASH, transaction_hash=TX)
    assert (done.status, done.correlation_id) == ("in_progress", "c-1")
    assert asked == [
        ({"docker_compose_file": COMPOSE}, {}),
        ({}, {"X-Compose-Hash": HASH, "X-Transaction-Hash": TX}),
    ]


def test_an_update_may_only_be_prepared_for_others_to_commit(chain):
    client, asked = chain
    assert isinstance(client.update_cvm("cvm_1", vcpu=2, prepare_only=True), HashRequired)
    assert asked == [({"vcpu": 2}, {"X-Prepare-Only": "true"})]


def test_one_proof_alone_is_no_update(chain):
    client, asked = chain
    with pytest.raises(cvm.InvalidInput, match="nothing to change"):
        client.update_cvm("cvm_1", compose_hash=HASH)
    assert asked == []
