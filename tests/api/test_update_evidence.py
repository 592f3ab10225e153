"""What shows that an update was carried out whose answer was lost: the history, else the record."""

import http.server
import json
import threading
import uuid

import pytest
from helpers import COMPOSE

import cvm_notebook as cvm

HASH = "ab" * 32


class Service(http.server.BaseHTTPRequestHandler):
    """A service that gives no answer to an update, and keeps what the test says of it."""

    def log_message(self, *_):
        """Say nothing."""

    def do_GET(self):
        found = self.server.history if "operations" in self.path else self.server.record
        text = json.dumps(
            {"items": found, "total": 0} if isinstance(found, list) else found
        ).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_PATCH(self):
        self.server.updates += 1
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.carry_out()
        self.close_connection = True  # and no answer


@pytest.fixture
def service():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Service) as server:
        server.record = {
            "id": "cvm_1",
            "vm_uuid": f"uuid-{uuid.uuid4()}",
            "compose_hash": "cd" * 32,
        }
        server.history, server.updates, server.carry_out = [], 0, lambda: None
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        url = f"http://127.0.0.1:{server.server_address[1]}/api/v1"
        with cvm.Client(api_key="phak_x", base_url=url, timeout=30) as client:
            yield server, client
        server.shutdown()
        thread.join()


def entry(name, kind="compose_update"):
    return {"correlation_id": name, "operation_type": kind}


def asked(client):
    """Ask for an update whose answer is lost; return what is found of it."""
    intent = client.intent("update", "cvm_1", docker_compose_file=COMPOSE, expected_hash=HASH)
    intent.prepare()
    with pytest.raises(cvm.TransportError):
        intent.send()
    return intent.read_back()


def test_a_new_entry_of_the_history_shows_it(service):
    server, client = service
    server.carry_out = lambda: server.history.append(entry("ours"))
    found = asked(client)
    assert (found.begun, found.correlation_id) == (True, "ours")
    assert server.updates == 1


def test_the_record_shows_it_where_the_history_calls_it_otherwise(service):
    server, client = service

    def carry_out():
        server.history.append(entry("ours", "a_word_of_tomorrow"))
        server.record = {**server.record, "compose_hash": HASH}

    server.carry_out = carry_out
    assert asked(client).begun


def test_a_record_that_showed_it_before_shows_nothing(service):
    server, client = service
    server.record["compose_hash"] = HASH
    assert not asked(client).begun


def test_what_another_did_is_not_taken_for_ours_whatever_the_record_shows(service):
    server, client = service

    def carry_out():
        server.history += [entry("theirs"), entry("theirs-too")]
        server.record = {**server.record, "compose_hash": HASH}

    server.carry_out = carry_out
    assert not asked(client).begun


def test_where_nothing_is_to_be_seen_the_client_says_that_it_may_have_been_sent(service):
    server, client = service
    with pytest.raises(cvm.TransportError) as caught:
        client.update_cvm("cvm_1", vcpu=2)
    assert caught.value.sent
    assert server.updates == 1


def test_what_was_read_back_is_accepted(service):
    server, client = service
    server.carry_out = lambda: server.history.append(entry("ours"))
    answer = client.update_cvm("cvm_1", vcpu=2)
    assert (answer.status, answer.correlation_id) == ("in_progress", "ours")
    assert server.updates == 1
