"""Every call ends with its deadline, whatever the other end sends, and can be broken off before."""

import contextlib
import itertools
import socket
import ssl
import threading
import time
from types import SimpleNamespace

import pytest
from helpers import HANGS

import cvm_notebook as cvm
from cvm_notebook.api.errors.tree import DeadlineExceeded
from cvm_notebook.api.http import deadline as deadlines
from cvm_notebook.api.http.deadline import Deadline
from cvm_notebook.api.http.exchange import Timeout
from cvm_notebook.api.http.retry import RetryKind
from cvm_notebook.api.http.transport import Request
from cvm_notebook.api.resources import watch as watching
from cvm_notebook.api.resources.watch import Watch, watch

PATIENCE = 20.0
TOTAL = 0.6
LATE = HANGS
STATE = b'event: state\ndata: {"status": "starting"}\n\n'
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
INFO = "/api/v1/cvms/abcde"


class Peer:
    """A server of the test's own: a function says what happens on each connection."""

    def __init__(self, handle, host="127.0.0.1", port=0):
        self._handle = handle
        with socket.socket() as chosen:
            # one that is asked for by its number stays ours when nobody is let in any more
            chosen.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            chosen.bind((host, port))
            self._server = socket.create_server(chosen.getsockname())
        self.port = self._server.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/api/v1"
        self.stop = threading.Event()
        self.asked = []  # the request lines
        self.accepted = 0
        self._open = []
        self._threads = [threading.Thread(target=self._serve)]
        self._threads[0].start()

    def request(self, plain):
        """Read a request; returns its method and path, or None at the end."""
        got = b""
        while b"\r\n\r\n" not in got:
            piece = plain.recv(65536)
            if not piece:
                return None
            got += piece
        head, _, body = got.partition(b"\r\n\r\n")
        sizes = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")]
        size = int(sizes[0].split(b":")[1]) if sizes else 0
        while len(body) < size:
            piece = plain.recv(65536)
            if not piece:
                return None
            body += piece
        self.asked.append(tuple(head.split(b"\r\n")[0].decode().split(" ")[:2]))
        return self.asked[-1]

    def next(self, plain):
        """Read a request; the connection is done where none comes any more."""
        if (asked := self.request(plain)) is None:
            raise ConnectionResetError
        return asked

    def drip(self, send, pieces, every=0.05):
        for piece in pieces:
            if self.stop.wait(every):
                return
            send(piece)

    def _serve(self):
        while True:
            try:
                plain, _ = self._server.accept()
            except OSError:
                return
            self.accepted += 1
            self._open.append(plain)
            self._threads.append(threading.Thread(target=self._one, args=(plain,)))
            self._threads[-1].start()

    def _one(self, plain):
        with plain, contextlib.suppress(OSError):
            self._handle(self, plain)

    def refuse(self):
        """Let nobody in any more."""
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)

    def close(self):
        self.stop.set()
        self.refuse()
        for plain in self._open:
            with contextlib.suppress(OSError):
                plain.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()
        self._server.close()


@pytest.fixture
def peer():
    with contextlib.ExitStack() as made:
        yield lambda handle, **where: made.enter_context(contextlib.closing(Peer(handle, **where)))


@pytest.fixture
def connect(monkeypatch):
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with contextlib.ExitStack() as made:

        def connecting(url, timeout=TOTAL):
            if not isinstance(timeout, Timeout):
                timeout = Timeout(timeout, timeout, timeout)
            client = cvm.Client(api_key="phak_x", base_url=url, timeout=timeout)
            return made.enter_context(client)

        yield connecting


@pytest.fixture
def certified(authority, tmp_path, monkeypatch):
    """A certificate for localhost that this machine trusts."""
    authority.cert_pem.write_to_path(tmp_path / "trusted.pem")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "trusted.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


@pytest.fixture
def pass_by(monkeypatch):
    """Let so many seconds pass by for every deadline, at once."""
    ahead = []
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + sum(ahead))
    monkeypatch.setattr(deadlines, "time", clock)
    return ahead.append


def ends_in_time(call, *args, **more):
    """Return the error with which the call ends, which it must do soon."""
    began = time.monotonic()
    with pytest.raises(cvm.CvmError) as caught:
        call(*args, **more)
    assert time.monotonic() - began < LATE
    return caught.value


def lost_in_time(call, *args):
    """The same of what was sent; again, where the machine was too slow to send it in time."""
    for _ in range(5):
        error = ends_in_time(call, *args)
        if error.sent:
            break
    return error


# --- answers that never end ----------------------------------------------------------------------

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
ENDLESS = {
    "head": (b"HTTP/1.1 200 OK\r\nX: ", itertools.repeat(b"x")),
    "status line": (b"HTTP/1.1 20", itertools.repeat(b"0")),
    "100 Continue": (b"", itertools.repeat(b"HTTP/1.1 100 Continue\r\n\r\n")),
    "body": (OK + b"Content-Length: 100000\r\n\r\n", itertools.repeat(b" ")),
    "body of a refusal": (
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 100000\r\n\r\n",
        itertools.repeat(b" "),
    ),
    "chunks": (OK + b"Transfer-Encoding: chunked\r\n\r\n", itertools.repeat(b"1\r\n \r\n")),
    "size of a chunk": (OK + b"Transfer-Encoding: chunked\r\n\r\n", itertools.repeat(b"0")),
    "trailers": (OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", itertools.repeat(b"A: b\r\n")),
}


def endless(what, meanwhile=lambda: None):
    begin, pieces = ENDLESS[what]

    def handle(peer, plain):
        peer.request(plain)
        plain.sendall(begin)
        peer.drip(plain.sendall, itertools.islice(pieces, 3))
        meanwhile()
        peer.drip(plain.sendall, pieces)

    return handle


@pytest.mark.parametrize("what", ENDLESS)
def test_an_answer_that_drips_ends_with_the_deadline(peer, connect, pass_by, what):
    server = peer(endless(what, lambda: pass_by(60)))
    error = ends_in_time(connect(server.url, 60).get_cvm_info, "abcde")
    assert isinstance(error, DeadlineExceeded)
    assert error.sent
    assert "60 s" in str(error)


@pytest.mark.parametrize("what", ENDLESS)
def test_a_change_whose_answer_drips_is_unknown_and_sent_once(peer, connect, pass_by, what):
    server = peer(endless(what, lambda: pass_by(60)))
    error = ends_in_time(connect(server.url, 60).update_os_image, "abcde", "image")
    assert isinstance(error, DeadlineExceeded)
    assert error.sent
    assert error.attempts == len(server.asked) == 1


def test_a_record_of_tls_that_drips_ends_with_the_deadline(peer, connect, certified):
    def handle(server, plain):
        arriving, leaving = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = certified.wrap_bio(arriving, leaving, server_side=True)
        while True:
            with contextlib.suppress(ssl.SSLWantReadError):
                tls.do_handshake()
                break
            plain.sendall(leaving.read())
            arriving.write(plain.recv(65536))
        plain.sendall(leaving.read())
        tls.write(OK + b"Content-Length: 9\r\n\r\n" + b" " * 9)
        server.drip(plain.sendall, (bytes([byte]) for byte in leaving.read()))

    server = peer(handle)
    client = connect(f"https://localhost:{server.port}/api/v1", 2.0)
    error = lost_in_time(client.get_cvm_info, "abcde")
    assert isinstance(error, DeadlineExceeded)
    assert error.sent


@pytest.mark.usefixtures("certified")
def test_a_handshake_of_tls_that_drips_ends_and_nothing_was_sent(peer, connect):
    record = b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc"  # a handshake message of 16 KiB begins

    def handle(server, plain):
        server.drip(plain.sendall, itertools.chain([record], itertools.repeat(b" ")))

    server = peer(handle)
    client = connect(f"https://localhost:{server.port}/api/v1", Timeout(0.3, 30.0, 30.0))
    error = ends_in_time(client.update_os_image, "abcde", "image")
    assert isinstance(error, cvm.TransportError)
    assert not error.sent
    assert "localhost cannot be reached" in str(error)


def test_a_proxy_whose_answer_drips_ends_and_nothing_was_sent(peer, connect, monkeypatch):
    server = peer(endless("head"))
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{server.port}")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    client = connect("https://api.invalid/api/v1", Timeout(0.3, 30.0, TOTAL))
    error = ends_in_time(client.update_os_image, "abcde", "image")
    assert isinstance(error, cvm.TransportError)
    assert not error.sent


def test_a_body_that_nobody_takes_ends_with_the_deadline(peer, connect):
    server = peer(lambda server, _plain: server.stop.wait())
    script = "# " + "x" * 40_000_000
    error = lost_in_time(
        connect(server.url, 2.0)._transport.send,
        Request(RetryKind.UPDATE, "PATCH", "/cvms/abcde/pre-launch-script", script.encode()),
    )
    assert isinstance(error, DeadlineExceeded)
    assert error.sent


# --- calls of several requests -------------------------------------------------------------------


def answering(body):
    return OK + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)


@pytest.mark.parametrize("call", ["stop_cvm", "delete_cvm"])
def test_reading_back_a_lost_answer_ends_with_the_deadline_of_the_call(
    peer, connect, pass_by, call
):
    def handle(server, plain):
        method, _ = server.next(plain)
        if method != "GET":
            return  # the answer is lost
        plain.sendall(OK)
        pass_by(60)
        server.drip(plain.sendall, itertools.repeat(b"x"))

    server = peer(handle)
    error = ends_in_time(getattr(connect(server.url, 60), call), "abcde")
    assert error.sent
    changes = [one for one in server.asked if one[0] != "GET"]
    assert len(changes) == 1


def test_a_batch_of_statuses_ends_with_the_clients_own_timeout(peer, connect):
    server = peer(lambda server, plain: (server.request(plain), server.stop.wait()))
    uuids = [f"uuid-{number}" for number in range(900)]
    assert isinstance(
        ends_in_time(connect(server.url).get_cvm_status_batch, uuids), DeadlineExceeded
    )


def test_a_list_of_many_slow_pages_ends_with_the_deadline(peer, connect):
    def handle(server, plain):
        while server.request(plain):
            if server.stop.wait(0.2):
                return
            plain.sendall(answering(b'{"items": [{"id": "a"}], "total": 100000, "pages": 1000}'))

    error = ends_in_time(connect(peer(handle).url).list_cvms)
    assert isinstance(error, DeadlineExceeded)


@pytest.mark.parametrize("slow", ["info", "head", "body"])
def test_logs_end_with_the_deadline(peer, connect, slow):
    def handle(server, plain):
        _, path = server.next(plain)
        if path != INFO:
            plain.sendall(b"HTTP/1.1 200 OK\r\n" + (b"\r\n" if slow == "body" else b"X: "))
            server.drip(plain.sendall, itertools.repeat(b"x"))
        elif slow == "info":
            server.drip(plain.sendall, itertools.chain([b"HTTP/1.1 200 OK\r\nX: "], [b"x"] * 999))
        else:
            log = f'{{"logs": {{"serial": "http://127.0.0.1:{server.port}/log"}}}}'
            plain.sendall(answering(log.encode()))

    client = connect(peer(handle).url)
    assert isinstance(ends_in_time(client.get_cvm_logs, "abcde"), DeadlineExceeded)


def test_a_log_that_is_followed_must_open_in_time_and_then_has_no_limit(peer, connect, pass_by):
    followed = threading.Event()

    def handle(server, plain):
        _, path = server.next(plain)
        if path == INFO:
            log = f'{{"logs": {{"serial": "http://127.0.0.1:{server.port}/log"}}}}'
            plain.sendall(answering(log.encode()))
            return
        plain.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        assert followed.wait(PATIENCE)
        server.drip(plain.sendall, [b"line\n"] * 20)

    with connect(peer(handle).url, 60).follow_cvm_logs("abcde") as lines:
        pass_by(60)
        followed.set()
        assert len(list(lines)) == 20


def test_a_stream_may_be_silent_for_longer_than_it_may_take_to_open(peer, connect):
    def handle(server, plain):
        server.request(plain)
        plain.sendall(STREAM)
        server.stop.wait(2.5)
        plain.sendall(STATE)

    client = connect(peer(handle).url, Timeout(2.0, 2.0, 2.0))
    stream = client._transport.open("/state", stall=HANGS, headers={})
    assert STATE in b"".join(stream)


# --- watches -------------------------------------------------------------------------------------


@pytest.mark.parametrize("sent", [(b": still here\n\n", 0.05), (STATE, 0.05), (STATE * 50, 0.0)])
def test_an_attempt_of_a_watch_ends_whatever_the_stream_sends(
    peer, connect, monkeypatch, pass_by, sent
):
    what, every = sent
    monkeypatch.setattr(watching, "_GRACE", 60.0)
    tells = what.startswith(b"event: state")

    def handle(server, plain):
        server.request(plain)
        plain.sendall(STREAM)
        if not tells:
            server.drip(plain.sendall, [what] * 5)
            pass_by(60)
        server.drip(plain.sendall, itertools.repeat(what), every)

    server = peer(handle)
    wish = Watch(
        *("abcde", "running"),
        timeout=0,
        max_retries=1,
        retry_delay=0.0,
        on_event=lambda _state: pass_by(60),
    )
    began = time.monotonic()
    with pytest.raises(cvm.WatchTimeout, match=r"in 2 attempts.* 60 s") as caught:
        watch(connect(server.url, 30)._transport, wish)
    assert time.monotonic() - began < HANGS
    assert len(server.asked) == 2
    assert (caught.value.state is not None) == tells


def test_a_watch_that_polls_ends_though_the_answers_drip(peer, connect, monkeypatch):
    monkeypatch.setattr(watching, "_GRACE", TOTAL)

    def handle(server, plain):
        _, path = server.next(plain)
        if "?" in path:
            plain.sendall(b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n")
            return
        plain.sendall(OK)
        server.drip(plain.sendall, itertools.repeat(b"x"))

    wish = Watch("abcde", "running", timeout=0, max_retries=0, retry_delay=0.0)
    transport = connect(peer(handle).url, 30)._transport
    assert isinstance(ends_in_time(watch, transport, wish), cvm.WatchTimeout)


def test_a_stream_that_is_closed_ends_in_the_midst_of_a_flood(peer, connect):
    def handle(server, plain):
        server.request(plain)
        plain.sendall(STREAM)
        while not server.stop.is_set():
            plain.sendall(STATE * 1000)

    stream = connect(peer(handle).url, 30)._transport.open("/x", stall=30, headers={})
    flows = threading.Event()

    def read():
        for _ in stream:
            flows.set()

    reader = threading.Thread(target=read)
    reader.start()
    assert flows.wait(PATIENCE)
    stream.close()
    reader.join(PATIENCE)
    assert not reader.is_alive()


# --- names and addresses -------------------------------------------------------------------------


@pytest.fixture
def no_names(monkeypatch):
    """A name service that does not answer before the test's end."""
    end, asked = threading.Event(), threading.Event()

    def hanging(*_args, **_more):
        asked.set()
        end.wait(PATIENCE * 6)
        raise socket.gaierror(socket.EAI_AGAIN, "no answer")

    monkeypatch.setattr(socket, "getaddrinfo", hanging)
    yield asked
    end.set()


@pytest.mark.usefixtures("no_names")
def test_a_name_service_that_hangs_is_given_up_with_the_deadline(connect):
    client = connect("https://api.invalid/api/v1", 2.0)
    error = ends_in_time(client.update_os_image, "abcde", "image")
    assert isinstance(error, DeadlineExceeded)
    assert not error.sent
    assert "the name service did not answer in time" in str(error)


def test_a_dead_address_leaves_time_for_the_next_one(peer, connect, deaf_port, monkeypatch):
    def handle(server, plain):
        server.request(plain)
        plain.sendall(answering(b'{"id": "abcde"}'))

    found = socket.getaddrinfo

    def two(host, port, *args, **more):
        if host != "localhost":
            return found(host, port, *args, **more)
        return [*found("127.0.0.1", port, *args, **more), *found("127.0.0.2", port, *args, **more)]

    peer(handle, host="127.0.0.2", port=deaf_port)
    monkeypatch.setattr(socket, "getaddrinfo", two)
    client = connect(f"http://localhost:{deaf_port}/api/v1", Timeout(1.0, 30.0, 30.0))
    assert client.get_cvm_info("abcde").id == "abcde"


# --- breaking off --------------------------------------------------------------------------------


def mute(server, plain):
    server.request(plain)
    server.stop.wait()


def busy(server, plain):
    server.request(plain)
    plain.sendall(b"HTTP/1.1 429 Slow\r\nRetry-After: 60\r\nContent-Length: 0\r\n\r\n")


def losing(server, plain):
    server.request(plain)


def silent(server, _plain):
    server.stop.wait()


WAITS = {
    "an answer": (mute, "http", lambda client: client.get_cvm_info("abcde")),
    "a head that drips": (endless("head"), "http", lambda client: client.get_cvm_info("abcde")),
    "a handshake": (silent, "https", lambda client: client.get_cvm_info("abcde")),
    "the next attempt": (busy, "http", lambda client: client.get_cvm_info("abcde")),
    "reading back": (losing, "http", lambda client: client.stop_cvm("abcde")),
    "the next stream": (
        losing,
        "http",
        lambda client: client.watch_cvm_state("abcde", target="running", retry_delay=30.0),
    ),
}


@pytest.mark.parametrize("what", WAITS)
def test_a_call_that_waits_for_is_woken_by_abort(peer, connect, what):
    handle, scheme, call = WAITS[what]
    server = peer(handle)
    client = connect(f"{scheme}://localhost:{server.port}/api/v1", 100)
    aborted_within(client, call, lambda: bool(server.asked or server.accepted))


def test_a_call_that_waits_for_a_name_is_woken_by_abort(connect, no_names):
    client = connect("https://api.invalid/api/v1", 100)
    aborted_within(client, lambda it: it.get_cvm_info("abcde"), no_names.is_set)


def aborted_within(client, call, has_begun):
    errors = []

    def run():
        try:
            call(client)
        except cvm.CvmError as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    tick, end = threading.Event(), time.monotonic() + PATIENCE
    while not has_begun() and time.monotonic() < end:
        tick.wait(0.01)
    client._transport.abort()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert errors


# --- one deadline, handed down -------------------------------------------------------------------


def ok(server, plain):
    while server.request(plain):
        plain.sendall(answering(b"{}"))


READ = Request(RetryKind.READ, "GET", "/x")


def test_a_deadline_that_is_over_sends_nothing(peer, connect):
    server = peer(ok)
    transport = connect(server.url, 30)._transport
    assert transport.send(READ, deadline=Deadline(PATIENCE)).body == b"{}"
    with pytest.raises(DeadlineExceeded, match="was not sent") as caught:
        transport.send(READ, deadline=Deadline(0))
    assert not caught.value.sent
    assert len(server.asked) == 1


def test_a_part_is_never_longer_than_the_whole():
    whole = Deadline(10)
    assert whole.within(60) is whole
    assert whole.within(1).remaining() <= 1
    assert not whole.expired
    assert Deadline(0).expired
    assert Deadline(0).remaining() == 0


def test_what_settles_is_given_the_deadline_of_the_call(peer, connect):
    deadline, seen = Deadline(PATIENCE), []
    transport = connect(peer(losing).url)._transport
    request = Request(RetryKind.COMMIT, "POST", "/x")

    def settle(error, given):
        seen.append((error.sent, given))
        return "began"

    assert transport.call(request, bytes, settle, deadline=deadline) == "began"
    assert seen == [(True, deadline)]


def test_each_attempt_that_may_have_left_is_counted_before_anything_is_decided(peer, connect):
    server, calls = peer(losing), []
    transport = connect(server.url, 30)._transport

    def settle(_error, _deadline):
        calls.append("settles")

    with pytest.raises(cvm.TransportError):
        transport.call(
            Request(RetryKind.COMMIT, "POST", "/x"),
            bytes,
            settle,
            on_sent=lambda: calls.append("sent"),
        )
    assert calls == ["sent", "settles"] * 3 + ["sent"]
    assert len(server.asked) == 4


def test_an_answer_counts_as_sent_and_what_cannot_connect_does_not(peer, connect, refusing_port):
    calls = []
    server = peer(ok)
    transport = connect(server.url, 30)._transport
    transport.call(READ, lambda reply: reply, on_sent=lambda: calls.append("sent"))
    assert calls == ["sent"]
    url = f"http://127.0.0.1:{refusing_port}/api/v1"
    with pytest.raises(cvm.TransportError) as caught:
        connect(url)._transport.call(READ, bytes, on_sent=lambda: calls.append("sent"))
    assert not caught.value.sent
    assert calls == ["sent"]


def test_a_request_that_was_lost_stays_so_when_the_next_attempt_cannot_connect(peer, connect):
    def once(server, plain):
        server.refuse()
        server.request(plain)

    server = peer(once)
    with pytest.raises(cvm.TransportError) as caught:
        connect(server.url, 30)._transport.send(Request(RetryKind.PROVISION, "POST", "/x"))
    assert caught.value.sent
    assert caught.value.attempts == 4
    assert len(server.asked) == 1


def test_a_request_whose_tls_connection_is_cut_is_not_reported_as_unsent(peer, connect, certified):
    def handle(_server, plain):
        with certified.wrap_socket(plain, server_side=True) as secure:
            secure.recv(65536)
            plain_again = socket.socket(fileno=secure.detach())
        plain_again.close()  # without a word of TLS

    server = peer(handle)
    client = connect(f"https://localhost:{server.port}/api/v1", 30)
    with pytest.raises(cvm.TransportError, match="the connection broke") as caught:
        client.update_os_image("abcde", "image")
    assert caught.value.sent
    assert caught.value.attempts == 1
