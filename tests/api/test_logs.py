"""Logs are read by the address that the service gives, without the key; or as they come."""

import socketserver
import threading
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler

import pytest
from helpers import HANGS

import cvm_notebook as cvm
from cvm_notebook.api.errors.tree import CvmError, DecodeError, InvalidInput, NotFoundError
from cvm_notebook.api.resources.logs import LogStream, _lines, _of_json, _with
from cvm_notebook.api.secret import Secret

COMPOSE = "services:\n  web:\n    image: nginx:1.27\n"


@pytest.fixture(scope="module")
def workspace(cloud):
    """A workspace with one CVM that runs."""
    workspace = cloud.new_workspace()
    with cvm.Client(api_key=workspace["api_key"], base_url=cloud.url) as client:
        client.commit_cvm_provision(client.provision_cvm(name="logged", compose_file=COMPOSE))
        client.watch_cvm_state("logged", target="running", interval=5)
    return workspace


@pytest.fixture
def client(cloud, workspace):
    with cvm.Client(api_key=workspace["api_key"], base_url=cloud.url) as client:
        yield client


def test_the_console_of_a_machine_is_read_in_full_and_by_its_last_lines(client):
    lines = client.get_cvm_logs("logged", tail=1000)
    assert any("Linux version" in line.text for line in lines)
    assert {line.channel for line in lines} == {"serial"}
    assert len(client.get_cvm_logs("logged", tail=3)) == 3


def test_a_container_is_found_by_its_own_name_and_by_that_of_its_service(client):
    (own,) = client.get_cvm_containers("logged").containers[0].names
    by_own = client.get_cvm_logs("logged", container=own, tail=1000, timestamps=True)
    by_service = client.get_cvm_logs("logged", container="web", tail=1000, timestamps=True)
    assert by_own[0] == by_service[0]  # the later of the two may have more
    assert all(datetime.fromisoformat(line.text.split()[0]).tzinfo for line in by_own)
    assert {line.channel for line in by_own} <= {"stdout", "stderr"}


def test_what_is_older_than_asked_for_is_left_out(client):
    assert client.get_cvm_logs("logged", since=timedelta(seconds=0)) == []
    assert client.get_cvm_logs("logged", since="1d")


def test_a_log_that_is_followed_ends_at_once_when_it_is_closed(client):
    stream = client.follow_cvm_logs("logged", tail=5)
    read, first = [], threading.Event()

    def reading():
        for line in stream:
            read.append(line)
            first.set()

    thread = threading.Thread(target=reading, daemon=True)
    thread.start()
    assert first.wait(HANGS)
    stream.close()
    thread.join(HANGS)
    assert not thread.is_alive()


def test_what_cannot_be_asked_for_is_refused_in_words(client):
    with pytest.raises(InvalidInput, match="channel"):
        client.get_cvm_logs("logged", channel="console")
    with pytest.raises(InvalidInput, match="since: 'yesterday' is not a time"):
        client.get_cvm_logs("logged", since="yesterday")
    with pytest.raises(InvalidInput, match="There is: dstack-web-1"):
        client.get_cvm_logs("logged", container="db")
    with pytest.raises(InvalidInput, match="tail"):
        client.get_cvm_logs("logged", tail=0)
    with pytest.raises(NotFoundError):
        client.get_cvm_logs("nobody")


def test_a_log_that_is_not_public_says_what_to_switch_on(client):
    client.update_visibility("logged", public_logs=False)
    client.watch_cvm_state("logged", target="running")
    try:
        with pytest.raises(CvmError, match="public_logs is on"):
            client.get_cvm_logs("logged", container="web")
    finally:
        client.update_visibility("logged", public_logs=True)
        client.watch_cvm_state("logged", target="running")


def test_the_key_is_not_sent_to_the_address_of_a_log(client):
    requests = []

    class Elsewhere(BaseHTTPRequestHandler):
        def do_GET(self):
            requests.append((self.path, {name.lower() for name in self.headers}))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"one\ntwo")

        def log_message(self, *_):
            pass

    with socketserver.TCPServer(("127.0.0.1", 0), Elsewhere) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/x?right=1"
        stream = client._transport.open_without_key(Secret(url), where="a log", stall=5)
        assert [line.text for line in LogStream(stream, "serial")] == ["one", "two"]
    ((path, names),) = requests
    assert path == "/x?right=1"
    assert not names & {"x-api-key", "authorization", "cookie"}


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest",
        "ftp://example.org/x",
        "https://user:secret@example.org/x",
        "file:///etc/passwd",
        "//example.org/x",
        "https://example.org/\r\nX: y",
        "",
    ],
)
def test_an_address_that_is_not_https_is_not_opened_and_not_shown(client, url):
    with pytest.raises(DecodeError, match="no https address") as caught:
        client._transport.open_without_key(Secret(url), where="a log", stall=5)
    assert "secret" not in str(caught.value)


def test_what_an_address_says_of_itself_is_kept_and_what_we_ask_comes_once():
    made = _with(
        Secret("https://h/x?token=a%2Bb&tail=5&text&bare#z"), ["tail=9", "follow"]
    ).reveal()
    assert made == "https://h/x?token=a%2Bb&tail=9&follow"


def test_lines_are_cut_wherever_the_pieces_end_and_one_without_end_is_cut_too():
    assert list(_lines([b"a\nb", b"c\n", b"\nd"])) == [b"a", b"bc", b"", b"d"]
    endless = list(_lines([b"x" * 2**16] * 40))
    assert len(endless) > 1
    assert max(map(len, endless)) < 2**21


def test_a_line_of_json_that_is_none_is_taken_as_it_is():
    assert _of_json(b'{"channel": "stderr", "message": "aGk="}') == ("hi", "stderr")
    for odd in (
        b"\xff plain",
        b"[" * 9000,
        b'{"message": 3}',
        b'{"message": "***"}',
        b'{"a": "b"}',
    ):
        text, channel = _of_json(odd)
        assert channel == "stdout"
        assert text == odd.decode("utf-8", "replace")
