"""The client on networks that fail below HTTP: names, connections, certificates, proxies, files."""

import datetime as dt
import http.server
import os
import resource
import socket
import ssl
import threading
import time
import warnings

import pytest
from helpers import HANGS

import cvm_notebook as cvm
from cvm_notebook.api.errors.tree import DeadlineExceeded, TruncatedResponse
from cvm_notebook.api.http.exchange import Timeout

PATIENCE = 20.0
KEY = "phak_kept_here"


@pytest.fixture
def connect():
    """Make clients that are closed in the end."""
    made = []

    def connecting(url, key=KEY, timeout=None):
        made.append(cvm.Client(api_key=key, base_url=url, timeout=timeout or Timeout(connect=30.0)))
        return made[-1]

    yield connecting
    for client in made:
        client.close()


@pytest.fixture
def line(lay_line, cloud):
    return lay_line(cloud.port)


@pytest.fixture
def by_line(line, connect, cloud):
    """A client whose way leads over the line."""
    return connect(line.url, cloud.api_key)


# --- names and connections -----------------------------------------------------------------------


@pytest.fixture
def no_proxy(monkeypatch):
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


def test_a_name_that_nobody_knows_was_not_sent_to(connect, no_proxy, monkeypatch):
    def unknown(*_name, **_more):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)  # a network's own may take its time
    with pytest.raises(cvm.TransportError, match=r"api\.invalid cannot be reached") as caught:
        connect("https://api.invalid/api/v1").stop_cvm("my-app")
    assert not caught.value.sent
    assert caught.value.attempts == 4
    assert "network" in caught.value.hint


def test_a_name_that_is_found_again_needs_no_other_call(connect, cloud, monkeypatch):
    asked = []
    found = socket.getaddrinfo

    def forgetful(*name, **more):
        asked.append(name)
        if len(asked) < 3:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return found(*name, **more)

    monkeypatch.setattr(socket, "getaddrinfo", forgetful)
    assert connect(cloud.url, cloud.api_key).get_current_user().user.username
    assert len(asked) == 3


def test_a_connection_that_never_comes_is_given_up_in_its_own_time(connect, deaf_port):
    assert Timeout().connect <= 5
    url = f"http://127.0.0.1:{deaf_port}/api/v1"
    began = time.monotonic()
    with pytest.raises(cvm.TransportError, match=r"no connection within 0\.") as caught:
        connect(url, timeout=Timeout(0.2, 30.0, 30.0)).stop_cvm("my-app")
    assert time.monotonic() - began < HANGS
    assert not caught.value.sent
    assert caught.value.attempts > 1


# --- connections that turn bad -------------------------------------------------------------------


def test_a_connection_that_dies_silently_is_given_up(by_line, line):
    assert by_line.get_current_user().user.username
    line.stall()
    by_line.transport.timeout = Timeout(2.0, 2.0, 2.0)
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded) as caught:
        by_line.get_current_user()
    assert time.monotonic() - began < HANGS
    assert caught.value.sent
    line.flow()
    by_line.transport.timeout = Timeout()
    assert by_line.get_current_user().user.username


def test_a_kept_connection_that_was_reset_is_replaced(by_line, line):
    assert by_line.get_current_user().user.username
    line.reset()
    assert by_line.get_current_user().user.username
    assert line.accepted == 2


def test_an_answer_that_is_cut_is_never_a_shorter_answer(by_line, line):
    line.cut_after(400)  # in the midst of the body
    with pytest.raises((TruncatedResponse, cvm.TransportError)) as caught:
        by_line.list_instance_types()
    assert "the connection broke" in str(caught.value) or "before its end" in str(caught.value)
    line.cut_after(None)
    assert by_line.list_instance_types()


def test_a_slow_line_is_no_fault(by_line, line):
    line.delay(0.1)
    assert by_line.get_current_user().user.username
    assert line.accepted == 1


def test_a_stream_whose_line_dies_silently_is_opened_again(by_line, line, make, monkeypatch):
    name = make(by_line)
    opened, stalls = by_line._transport.open, []

    def impatient(path, *, stall, **more):
        stalls.append(stall)
        if len(stalls) == 1:
            return opened(path, stall=stall / 50, **more)
        line.flow()  # the first was found dead
        by_line.stop_cvm(name)
        return opened(path, stall=stall, **more)

    def die_once(_state):
        if len(stalls) == 1:
            line.stall()

    monkeypatch.setattr(by_line._transport, "open", impatient)
    state = by_line.watch_cvm_state(
        name, target="stopped", interval=5, on_event=die_once, retry_delay=0.1
    )
    assert state.status == "stopped"
    assert len(stalls) > 1
    assert max(stalls) <= 3 * 5
    by_line.delete_cvm(name)


# --- certificates --------------------------------------------------------------------------------


class Secure:
    """A TLS server that counts connections and keeps every byte that came through."""

    def __init__(self, context):
        self._context = context
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://localhost:{self._server.getsockname()[1]}/api/v1"
        self.accepted, self.received = 0, b""
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self):
        while True:
            plain, _ = self._server.accept()
            with plain:
                if not self._context:
                    return
                self.accepted += 1
                try:
                    with self._context.wrap_socket(plain, server_side=True) as secure:
                        self.received += secure.recv(65536)
                except OSError:
                    pass  # the client hung up: that is what is tested

    def close(self):
        self._context = None
        socket.create_connection(self._server.getsockname()).close()
        self._thread.join(PATIENCE)
        self._server.close()


@pytest.fixture
def secure(authority, no_proxy):
    made = []

    def serve(name, **more):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(name, **more).configure_cert(context)
        made.append(Secure(context))
        return made[-1]

    yield serve
    for server in made:
        server.close()


YESTERDAY = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)


@pytest.fixture
def trusted(authority, tmp_path, monkeypatch):
    """Let this machine trust the authority."""
    authority.cert_pem.write_to_path(tmp_path / "trusted.pem")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "trusted.pem"))


def test_a_certificate_of_an_unknown_authority_is_refused(secure, connect):
    check_refused(secure("localhost"), connect, "unable to get local issuer certificate")


@pytest.mark.usefixtures("trusted")
def test_a_certificate_that_expired_is_refused(secure, connect):
    check_refused(secure("localhost", not_after=YESTERDAY), connect, "expired")


@pytest.mark.usefixtures("trusted")
def test_a_certificate_of_another_host_is_refused(secure, connect):
    check_refused(secure("elsewhere.example"), connect, "not valid for 'localhost'")


def check_refused(server, connect, message):
    """One attempt, in clear words, and not a byte of the request leaves this machine."""
    with pytest.raises(cvm.TransportError, match="certificate of localhost") as caught:
        connect(server.url).list_cvms()
    assert message in str(caught.value)
    assert "REQUESTS_CA_BUNDLE" in caught.value.hint
    assert not caught.value.sent
    assert (caught.value.attempts, server.accepted) == (1, 1)
    assert server.received == b""


def test_an_environment_cannot_switch_the_check_off(secure, connect, monkeypatch):
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("PYTHONHTTPSVERIFY", "0")
    server = secure("localhost")
    with pytest.raises(cvm.TransportError, match="certificate"):
        connect(server.url).list_cvms()
    assert server.received == b""


def test_a_handshake_that_never_comes_is_given_up(connect, no_proxy):
    with socket.create_server(("127.0.0.1", 0)) as mute:  # it accepts, and says nothing
        url = f"https://localhost:{mute.getsockname()[1]}/api/v1"
        began = time.monotonic()
        with pytest.raises(cvm.TransportError):
            connect(url, timeout=Timeout(0.2, 30.0, 1.0)).list_cvms()
        assert time.monotonic() - began < HANGS


# --- proxies -------------------------------------------------------------------------------------


class AskingProxy(http.server.BaseHTTPRequestHandler):
    """A proxy that wants a login first, and writes down whatever comes."""

    seen: list[str] = []  # noqa: RUF012 - one server, one list

    def do_CONNECT(self):
        self.seen.append(str(self.headers))
        self.send_response(407)
        self.send_header("Proxy-Authenticate", 'Basic realm="Log in"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass


def test_a_proxy_that_asks_for_a_login_is_named_and_never_sees_the_key(connect, monkeypatch):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), AskingProxy) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{server.server_address[1]}")
        for name in ("https_proxy", "NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        try:
            with pytest.raises(cvm.TransportError, match=r"proxy .*it answered 407") as caught:
                connect("https://api.invalid/api/v1").list_cvms()
        finally:
            server.shutdown()
            thread.join()
    assert not caught.value.sent
    assert caught.value.attempts == len(AskingProxy.seen) == 1
    assert KEY not in AskingProxy.seen[0]


# --- this machine --------------------------------------------------------------------------------


def test_a_process_that_may_open_no_more_files_gets_an_error_about_it(connect, cloud):
    client = connect(cloud.url, cloud.api_key)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = [os.open(os.devnull, os.O_RDONLY) for _ in range(3)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(taken) + 1, hard))
    try:
        while True:
            taken.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        with pytest.raises(cvm.TransportError, match="Too many open files") as caught:
            client.stop_cvm("my-app")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for each in taken:
            os.close(each)
    assert not caught.value.sent
    assert client.get_current_user().user.username


def test_a_client_of_before_a_fork_says_to_make_another(connect, cloud):
    client = connect(cloud.url, cloud.api_key)
    client.get_current_user()
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that it is unwise is the point
        child = os.fork()
    if child == 0:
        message = "nothing"
        try:
            client.get_current_user()
        except cvm.TransportError as error:
            message = f"{error} {error.hint}"
        finally:
            os.write(writing, message.encode())
            os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        message = pipe.read()
    assert "before the process forked" in message
    assert "new Client" in message
    assert client.get_current_user().user.username
