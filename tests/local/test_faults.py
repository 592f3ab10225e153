"""Every kind of fault is seen as such at the raw socket; routes choose which requests meet it."""

import gzip
import json
import socket
import time
from email.utils import parsedate_to_datetime

import pytest
from helpers import until as wait_until

from cvm_notebook.local.faults.kinds import RULES, Kind
from cvm_notebook.local.faults.spec import Asked, FaultBook, FaultError, load_faults, parse_fault

PATIENCE = 20.0


@pytest.fixture(scope="module")
def faulty_cloud(new_cloud):
    with new_cloud(seed="empty", speed=200) as running:
        yield running


@pytest.fixture
def faulty(faulty_cloud):
    yield faulty_cloud
    faulty_cloud.clear_faults()


class Wire:
    """One request on a socket of its own, and every byte that came back.

    ``meanwhile`` is called when all was sent. Nothing is waited for longer than ``patience``, and
    once something has come, than ``quiet``.
    """

    def __init__(
        self,
        cloud,
        target="/auth/me",
        method="GET",
        body=b"",
        *,
        until=None,
        patience=PATIENCE,
        quiet=None,
        meanwhile=None,
    ):
        self.received = b""
        self.ending = None
        key = cloud.api_key.encode()
        head = f"{method} /api/v1{target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        fields = b"X-API-Key: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        began = time.monotonic()
        with socket.create_connection(("127.0.0.1", cloud.port), timeout=patience) as connection:
            connection.sendall(head.encode() + fields % (key, len(body)) + body)
            if meanwhile is not None:
                meanwhile()
            self._read(connection, until, quiet)
        self.seconds = time.monotonic() - began

    def _read(self, connection, until, quiet):
        try:
            while until is None or not until(self.received):
                piece = connection.recv(65536)
                if not piece:
                    self.ending = "end"
                    return
                self.received += piece
                if quiet is not None:
                    connection.settimeout(quiet)
            self.ending = "enough"
        except ConnectionResetError:
            self.ending = "reset"
        except TimeoutError:
            self.ending = "silence"

    @property
    def status(self):
        return int(self.received.split(b" ", 2)[1])

    @property
    def fields(self):
        lines = self.received.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
        return {name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)}

    @property
    def body(self):
        return self.received.partition(b"\r\n\r\n")[2]

    @property
    def chunks(self):
        """The body of a chunked answer, and whether its end was sent."""
        found, rest = b"", self.body
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            length = int(size, 16)
            if length == 0:
                return found, True
            found, rest = found + rest[:length], rest[length + 2 :]
        return found, False


@pytest.fixture
def cvm(faulty_cloud, connect):
    return connect(faulty_cloud).create()


def stream_of(cvm):
    # "starting" has passed by the time of the second look, and "deleted" does not come.
    return f"/cvms/{cvm['id']}/state?target=deleted&timeout=60"


def test_without_faults_nothing_is_amiss(faulty):
    wire = Wire(faulty)
    assert (wire.status, wire.ending) == (200, "end")
    assert json.loads(wire.body)["user"]["username"] == "you"


def test_latency_delays_and_then_answers(faulty):
    faulty.inject({"kind": "latency", "arg": 0.3})
    wire = Wire(faulty)
    assert wire.status == 200
    assert wire.seconds >= 0.3


def test_late_does_what_was_asked_before_it_waits(faulty, connect):
    name, api = "late-commit", connect(faulty)
    provisioned = api.provision(name).json()
    faulty.inject({"kind": "late", "route": "commit", "arg": 600})
    wanted = json.dumps({key: provisioned[key] for key in ("app_id", "compose_hash")}).encode()

    def done():
        return api.get(f"/cvms/{name}").status_code == 200

    wire = Wire(faulty, "/cvms", "POST", wanted, patience=0.5, meanwhile=lambda: wait_until(done))
    assert (wire.ending, wire.received) == ("silence", b"")


def test_hang_never_answers(faulty):
    faulty.inject({"kind": "hang"})
    wire = Wire(faulty, patience=0.4)
    assert (wire.ending, wire.received) == ("silence", b"")


def test_refuse_closes_before_any_answer_and_does_nothing(faulty, cvm, connect):
    faulty.inject({"kind": "refuse", "route": "delete"})
    wire = Wire(faulty, f"/cvms/{cvm['id']}", "DELETE")
    assert (wire.ending, wire.received) == ("end", b"")
    assert connect(faulty).get(f"/cvms/{cvm['id']}").status_code == 200


def test_refuse_for_seconds_truly_refuses_connections_and_comes_back(faulty):
    for seconds in (0.6, 6, 18):  # longer, where this process was held up until it was over
        faulty.inject({"kind": "refuse", "arg": seconds})
        assert Wire(faulty).received == b""
        try:
            Wire(faulty)
        except ConnectionRefusedError:
            break
    else:
        pytest.fail("no connection was refused")
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            assert Wire(faulty).status == 200
            break
        except ConnectionRefusedError:
            assert time.monotonic() < deadline


def test_reset_before_the_effect_resets_and_does_nothing(faulty, cvm, connect):
    faulty.inject({"kind": "reset", "route": "delete"})
    wire = Wire(faulty, f"/cvms/{cvm['id']}", "DELETE")
    assert (wire.ending, wire.received) == ("reset", b"")
    assert connect(faulty).get(f"/cvms/{cvm['id']}").status_code == 200


def test_reset_after_the_effect_resets_but_has_done_it(faulty, cvm, connect):
    faulty.inject({"kind": "reset_after", "route": "delete"})
    wire = Wire(faulty, f"/cvms/{cvm['id']}", "DELETE")
    assert (wire.ending, wire.received) == ("reset", b"")
    left = connect(faulty).get(f"/cvms/{cvm['id']}")
    assert left.status_code == 404 or left.json()["status"] == "deleting"


def test_truncate_announces_more_than_it_sends(faulty):
    faulty.inject({"kind": "truncate"})
    wire = Wire(faulty)
    assert wire.ending == "end"
    assert len(wire.body) == int(wire.fields["content-length"]) // 2 > 0


def test_drip_sends_a_byte_at_a_time(faulty):
    faulty.inject({"kind": "drip", "arg": 0.05})
    wire = Wire(faulty, until=lambda got: len(got.partition(b"\r\n\r\n")[2]) >= 6)
    assert wire.body == b'{"user'
    assert wire.seconds >= 0.2


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_status_comes_as_often_as_asked(faulty, status):
    faulty.inject({"kind": "status", "arg": status, "times": 2})
    assert [Wire(faulty).status for _ in range(3)] == [status, status, 200]


@pytest.mark.parametrize("value", ["7", "-3", "NaN", "1e9", "Wed, 21 Oct 2015 07:28:00 GMT"])
def test_retry_after_is_sent_as_it_is(faulty, value):
    faulty.inject({"kind": "status", "arg": 429, "retry_after": value})
    assert Wire(faulty).fields["retry-after"] == value


def test_retry_after_may_be_a_date_ahead(faulty):
    faulty.inject({"kind": "status", "arg": 503, "retry_after": "date:+60"})
    began = time.time()
    moment = parsedate_to_datetime(Wire(faulty).fields["retry-after"]).timestamp()
    assert began + 59 <= moment <= time.time() + 60


def test_content_type_lies_about_a_good_body(faulty):
    faulty.inject({"kind": "content_type", "arg": "text/plain"})
    wire = Wire(faulty)
    assert wire.fields["content-type"] == "text/plain"
    assert "user" in json.loads(wire.body)


def test_html_answers_200_with_a_page(faulty):
    faulty.inject({"kind": "html"})
    wire = Wire(faulty)
    assert (wire.status, wire.fields["content-type"]) == (200, "text/html")
    assert wire.body.startswith(b"<!doctype html>")


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirect_points_to_its_argument(faulty, code):
    faulty.inject({"kind": "redirect", "arg": "//elsewhere.example/x", "code": code})
    wire = Wire(faulty)
    assert (wire.status, wire.fields["location"]) == (code, "//elsewhere.example/x")


def test_silent_opens_a_stream_and_says_nothing(faulty, cvm):
    faulty.inject({"kind": "silent"})
    wire = Wire(faulty, stream_of(cvm), quiet=0.5)
    assert wire.fields["content-type"].startswith("text/event-stream")
    assert (wire.ending, wire.body) == ("silence", b"")


def test_drop_ends_the_stream_in_good_order_after_some_events(faulty, cvm):
    faulty.inject({"kind": "drop", "arg": 2})
    events, ended = Wire(faulty, stream_of(cvm)).chunks
    assert ended
    assert events.count(b"event: state") == 2


def test_cut_resets_the_stream_after_some_events(faulty, cvm):
    faulty.inject({"kind": "cut", "arg": 1})
    wire = Wire(faulty, stream_of(cvm))
    assert wire.ending == "reset"
    assert wire.chunks[0].count(b"event: state") == 1


def test_half_sends_half_an_event_and_then_ends(faulty, cvm):
    faulty.inject({"kind": "half", "arg": 1})
    events, ended = Wire(faulty, stream_of(cvm)).chunks
    assert ended
    assert events.count(b"event: state") == 2
    assert not events.endswith((b"\n\n", b"\r\n\r\n"))


def test_a_stream_that_was_cut_gives_its_place_back(faulty, cvm):
    faulty.inject({"kind": "cut", "arg": 1, "times": 6})
    for _ in range(6):
        assert Wire(faulty, stream_of(cvm)).status == 200
    deadline = time.monotonic() + PATIENCE
    while faulty.open_streams():
        assert time.monotonic() < deadline


def test_flood_pours_events(faulty, cvm):
    faulty.inject({"kind": "flood", "arg": 10_000})
    wire = Wire(faulty, stream_of(cvm), until=lambda got: got.count(b"event: state") >= 3_000)
    assert wire.ending == "enough"
    assert wire.seconds < PATIENCE


def test_slow_node_delays_only_those_who_ask_for_its_cvms(faulty, cvm):
    node = cvm["teepod"]["name"]
    faulty.inject({"kind": "slow_node", "node": node, "arg": 60})
    asks = json.dumps({"vm_uuids": [cvm["vm_uuid"]]}).encode()
    other = json.dumps({"vm_uuids": ["0" * 32]}).encode()
    assert Wire(faulty, "/status/batch", "POST", asks, patience=0.5).ending == "silence"
    assert Wire(faulty, "/status/batch", "POST", other).status == 200


def test_slow_node_may_be_named_by_id(faulty, cvm):
    faulty.inject({"kind": "slow_node", "node": cvm["teepod_id"], "arg": 0.3})
    body = json.dumps({"vm_uuids": [cvm["vm_uuid"]]}).encode()
    slow = Wire(faulty, "/status/batch", "POST", body)
    assert slow.seconds >= 0.3
    assert cvm["vm_uuid"] in json.loads(slow.body)


def test_gzip_bomb_is_small_on_the_wire_and_large_unpacked(faulty):
    faulty.inject({"kind": "gzip_bomb", "arg": 8})
    wire = Wire(faulty)
    packed, ended = wire.chunks
    assert ended
    assert wire.fields["content-encoding"] == "gzip"
    assert len(packed) < 100_000
    assert len(gzip.decompress(packed)) == (8 << 20) + 2


def test_huge_sends_megabytes(faulty):
    faulty.inject({"kind": "huge", "arg": 3})
    body, ended = Wire(faulty).chunks
    assert ended
    assert len(body) == (3 << 20) + 2


def test_garbage_is_called_json_and_is_none(faulty):
    faulty.inject({"kind": "garbage"})
    wire = Wire(faulty)
    assert (wire.status, wire.fields["content-type"]) == (200, "application/json")
    with pytest.raises(json.JSONDecodeError):
        json.loads(wire.body)


def test_close_delimited_answers_have_no_length(faulty):
    faulty.inject({"kind": "close_delimited"})
    wire = Wire(faulty)
    assert not {"content-length", "transfer-encoding"} & set(wire.fields)
    assert wire.ending == "end"
    assert "user" in json.loads(wire.body)


def test_close_delimited_streams_flow(faulty, cvm):
    faulty.inject({"kind": "close_delimited", "route": "stream"})
    wire = Wire(faulty, stream_of(cvm), until=lambda got: got.count(b"event: state") >= 2)
    assert "transfer-encoding" not in wire.fields
    assert wire.body.startswith(b"event: state")


def test_rewrite_puts_values_into_a_good_answer(faulty, cvm):
    changes = {"/items/0/status": "levitating", "/items/0/node_info/id": None, "/total": -1}
    faulty.inject({"kind": "rewrite", "route": "list", "arg": changes})
    answer = json.loads(Wire(faulty, "/cvms/paginated").body)
    assert answer["items"][0]["status"] == "levitating"
    assert answer["items"][0]["node_info"]["id"] is None
    assert answer["total"] == -1


def test_raw_sends_exactly_these_bytes(faulty):
    pieces = ["HTTP/1.1 200 OK\r\n\r\nda", "ta: \u00ff\r"]
    faulty.inject({"kind": "raw", "arg": pieces})
    wire = Wire(faulty)
    assert (wire.received, wire.ending) == ("".join(pieces).encode("latin-1"), "end")


def test_raw_with_null_holds_the_connection_open(faulty):
    faulty.inject({"kind": "raw", "arg": ["HTTP/1.1 200 OK\r\n\r\n", None]})
    wire = Wire(faulty, quiet=0.4)
    assert (wire.ending, wire.received) == ("silence", b"HTTP/1.1 200 OK\r\n\r\n")


def test_every_kind_has_a_rule():
    assert set(RULES) == set(Kind)


def test_faults_from_the_start_are_in_force(new_cloud):
    start = [{"kind": "status", "arg": 500, "route": "GET /auth/me"}]
    with new_cloud(seed="empty", faults=start) as cloud:
        assert [Wire(cloud).status for _ in range(2)] == [500, 200]


def test_clearing_takes_all_faults_back(faulty):
    faulty.inject({"kind": "status", "arg": 500, "times": None})
    assert Wire(faulty).status == 500
    faulty.clear_faults()
    assert Wire(faulty).status == 200


def test_requests_seen_name_their_fault_and_never_the_key(faulty):
    faulty.inject({"kind": "reset", "route": "GET /workspaces"})
    Wire(faulty, "/workspaces")
    last = faulty.requests()[-1]
    assert (last["path"], last["status"], last["fault"]) == ("/api/v1/workspaces", None, "reset")
    assert last["keyed"]
    assert last["answered"] is None
    faulty.inject({"kind": "reset_after", "route": "GET /workspaces"})
    Wire(faulty, "/workspaces")
    last = faulty.requests()[-1]
    assert (last["status"], last["fault"], last["answered"]) == (None, "reset_after", 200)
    assert faulty.api_key not in json.dumps(faulty.requests())


def meets(route, method, path, **query):
    book = FaultBook([parse_fault({"kind": "status", "route": route})])
    return bool(book.take(Asked(method, path, query)))


@pytest.mark.parametrize(
    ("route", "method", "path"),
    [
        ("list", "GET", "/cvms/paginated"),
        ("list", "GET", "/cvms"),
        ("get", "GET", "/cvms/cvm_1"),
        ("state", "GET", "/cvms/cvm_1/state"),
        ("batch", "POST", "/status/batch"),
        ("action", "POST", "/cvms/cvm_1/stop"),
        ("delete", "DELETE", "/cvms/cvm_1"),
        ("replicate", "POST", "/cvms/cvm_1/replicas"),
        ("provision", "POST", "/cvms/provision"),
        ("commit", "POST", "/cvms"),
        ("update", "PATCH", "/cvms/cvm_1/envs"),
        ("update", "PATCH", "/cvms/cvm_1"),
        ("read", "GET", "/anything/at/all"),
        ("write", "DELETE", "/cvms/cvm_1"),
        ("*", "PUT", "/x"),
        ("POST /cvms/*/stop", "POST", "/cvms/a.b/stop"),
        ("* /apps/**", "GET", "/apps/1/revisions/2"),
        ("GET /api/v1/kms", "GET", "/kms"),
    ],
)
def test_a_route_names_these_requests(route, method, path):
    assert meets(route, method, path)


@pytest.mark.parametrize(
    ("route", "method", "path"),
    [
        ("get", "GET", "/cvms/paginated"),
        ("get", "GET", "/cvms/cvm_1/state"),
        ("commit", "POST", "/cvms/provision"),
        ("action", "POST", "/cvms/cvm_1/replicas"),
        ("stream", "GET", "/cvms/cvm_1/state"),
        ("POST /cvms/*/stop", "POST", "/cvms/a/b/stop"),
        ("read", "POST", "/x"),
        ("write", "GET", "/x"),
    ],
)
def test_a_route_does_not_name_these_requests(route, method, path):
    assert not meets(route, method, path)


def test_a_target_makes_a_state_a_stream():
    assert meets("stream", "GET", "/cvms/1/state", target="running")
    assert not meets("state", "GET", "/cvms/1/state", target="running")


def test_a_route_may_ask_for_a_query():
    assert meets("list?page=3", "GET", "/cvms/paginated", page="3", page_size="100")
    assert not meets("list?page=3", "GET", "/cvms/paginated", page="2")


def test_skip_lets_requests_pass_before_times_begin_to_count():
    book = FaultBook([parse_fault({"kind": "status", "skip": 2, "times": 2})])
    asked = Asked("GET", "/x", {})
    assert [len(book.take(asked)) for _ in range(6)] == [0, 0, 1, 1, 0, 0]


def test_delays_add_up_with_one_other_fault():
    kinds = ("status", "latency", "reset", "latency")
    book = FaultBook(parse_fault({"kind": kind}) for kind in kinds)
    asked = Asked("GET", "/x", {})
    assert [[fault.kind for fault in book.take(asked)] for _ in range(3)] == [
        ["status", "latency", "latency"],
        ["reset"],
        [],
    ]


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ({"kind": "explode"}, "kind: Input should be"),
        ({"kind": "status", "arg": "high"}, "arg 'high' does not fit status"),
        ({"kind": "latency", "arg": None}, "latency needs an arg"),
        ({"kind": "redirect"}, "redirect needs an arg"),
        ({"kind": "slow_node"}, "needs a node"),
        ({"kind": "hang", "route": "listing"}, "'listing' is neither one of"),
        ({"kind": "hang", "times": 0}, "times"),
        ({"kind": "hang", "tims": 2}, "tims: Extra inputs"),
        ("hang", "valid dictionary"),
    ],
)
def test_a_fault_that_makes_no_sense_is_refused_with_the_reason(fault, says):
    with pytest.raises(FaultError, match=says):
        parse_fault(fault)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("faults.json", '[{"kind": "hang"}, {"kind": "status", "arg": 500}]'),
        ("faults.yaml", "- kind: hang\n- {kind: status, arg: 500}\n"),
    ],
)
def test_faults_are_read_from_a_file(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text)
    assert [fault.kind for fault in load_faults(path)] == ["hang", "status"]


@pytest.mark.parametrize("name", ["faults.yaml", "faults.json"])
@pytest.mark.parametrize("text", ["{}", "[", "- {kind: nothing}", "[" * 50_000])
def test_a_file_that_is_no_list_of_faults_is_refused(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(FaultError):
        load_faults(path)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FaultError, match=r"nowhere\.json"):
        load_faults(tmp_path / "nowhere.json")
