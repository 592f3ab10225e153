"""A change that is answered with nothing but its status was accepted, and is reported as such."""

import http.server
import threading

import pytest
from helpers import COMPOSE

import cvm_notebook as cvm
from cvm_notebook.api.errors.tree import DecodeError


class Quiet(http.server.BaseHTTPRequestHandler):
    """Accepts every change, and has as good as nothing to say."""

    protocol_version = "HTTP/1.1"

    def answer(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append(self.command)
        status, body, kind = self.server.says
        self.send_response(status)
        if kind:
            self.send_header("Content-Type", kind)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815 - the names it calls

    def log_message(self, *args):
        pass


@pytest.fixture(
    params=[
        (202, b"", None),
        (202, b"", "application/json"),
        (202, b"null", "application/json"),
        (200, b" null\n", "application/json"),
        (200, b"\r\n", "application/json"),
        (204, b"", None),
    ],
    ids=str,
)
def quiet(request):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        server.asked, server.says = [], request.param
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        url = f"http://127.0.0.1:{server.server_address[1]}/api/v1"
        with cvm.Client(api_key="phak_x", base_url=url, timeout=30) as client:
            yield client, server.asked
        server.shutdown()
        thread.join()


UPDATES = {
    "update_resources": lambda c: c.update_resources("abcde", vcpu=2),
    "update_os_image": lambda c: c.update_os_image("abcde", "dstack-0.5.7"),
    "update_docker_compose": lambda c: c.update_docker_compose("abcde", COMPOSE),
    "update_pre_launch_script": lambda c: c.update_pre_launch_script("abcde", "true\n"),
    "update_envs": lambda c: c.update_envs("abcde", encrypted_env="ab" * 64, env_keys=["A"]),
    "update_visibility": lambda c: c.update_visibility("abcde", public_logs=True),
    "update_cvm": lambda c: c.update_cvm("abcde", compose_file=COMPOSE, vcpu=2),
    "start": lambda c: c.start_cvm("abcde"),
    "stop": lambda c: c.stop_cvm("abcde"),
    "shutdown": lambda c: c.shutdown_cvm("abcde"),
    "restart": lambda c: c.restart_cvm("abcde"),
    "batch_stop": lambda c: c.batch_stop_cvms(["abcde", "fghij"]),
}


@pytest.mark.parametrize("name", UPDATES)
def test_a_change_with_an_empty_answer_was_made(quiet, name):
    client, asked = quiet
    answer = UPDATES[name](client)
    assert answer == type(answer)()  # nothing is known of it, and nothing made up
    assert len([one for one in asked if one != "GET"]) == 1


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
def test_a_call_of_any_path_with_an_empty_answer_is_none(quiet, method):
    client, asked = quiet
    assert getattr(client, method)("/anything") is None
    assert asked == [method.upper()]


def test_a_deletion_needs_no_answer(quiet):
    client, asked = quiet
    assert client.delete_cvm("abcde") is None
    assert asked == ["DELETE"]


def test_a_text_that_is_not_there_is_empty(quiet):
    client, _ = quiet
    assert client.get_cvm_pre_launch_script("abcde").strip() == ""
    assert client.get_cvm_docker_compose("abcde").strip() == ""


def test_what_the_next_call_needs_is_not_made_up(quiet):
    client, asked = quiet
    with pytest.raises(DecodeError):
        client.provision_cvm(name="my-app", compose_file=COMPOSE)
    with pytest.raises(cvm.CvmError):
        client.replicate_cvm("abcde")
    assert asked.count("POST") > 1
