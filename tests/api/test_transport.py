"""The transport against a LocalCloud that breaks on request: deadlines, retries, nothing twice."""

import http.server
import logging
import threading
import traceback

import pytest
from helpers import COMPOSE, until
from IPython.core.ultratb import VerboseTB

import cvm_notebook as cvm
from cvm_notebook.api.errors.tree import DeadlineExceeded, TruncatedResponse
from cvm_notebook.api.http.exchange import Timeout
from cvm_notebook.api.resources.intent import may_have_begun


def sent(cloud, method, path):
    return [r for r in cloud.requests() if r["method"] == method and r["path"].endswith(path)]


@pytest.fixture
def hasty(broken):
    """A client that does not wait for an answer for long."""
    with cvm.Client(
        api_key=broken.api_key, base_url=broken.url, timeout=Timeout(30.0, 1.0, 60.0)
    ) as made:
        yield made


# --- reads come back ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "refuse"},
        {"kind": "reset"},
        {"kind": "reset_after"},
        {"kind": "truncate"},
        {"kind": "html"},
        {"kind": "garbage"},
        {"kind": "status", "arg": 500},
        {"kind": "status", "arg": 502, "times": 2},
        {"kind": "status", "arg": 503, "retry_after": 0},
        {"kind": "status", "arg": 504},
        {"kind": "status", "arg": 429, "retry_after": "0.1", "times": 3},
        {"kind": "status", "arg": 429, "retry_after": "date:-60"},
        {"kind": "status", "arg": 429, "retry_after": "NaN"},
        {"kind": "status", "arg": 429, "retry_after": "-5"},
        {"kind": "status", "arg": 429},
    ],
    ids=str,
)
def test_a_read_survives(broken, caller, fault):
    broken.inject({"route": "GET /auth/me", **fault})
    assert caller.get_current_user().user.username
    assert len(sent(broken, "GET", "/auth/me")) == 1 + fault.get("times", 1)


@pytest.mark.parametrize("kind", ["close_delimited", "latency"])
def test_an_odd_answer_is_still_an_answer(broken, caller, kind):
    broken.inject({"kind": kind, "route": "GET /auth/me"})
    assert caller.get_current_user().user.username
    assert len(sent(broken, "GET", "/auth/me")) == 1


def test_a_wrong_content_type_does_not_matter_where_the_body_is_right(broken, caller):
    broken.inject({"kind": "content_type", "arg": "text/plain", "route": "GET /auth/me"})
    assert caller.get_current_user().user.username


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"kind": "drip", "arg": 0.1}, DeadlineExceeded),  # a byte now and then, for ever
        ({"kind": "hang"}, DeadlineExceeded),
        ({"kind": "truncate"}, TruncatedResponse),
        ({"kind": "gzip_bomb", "arg": 80}, cvm.DecodeError),
        ({"kind": "huge", "arg": 80}, cvm.DecodeError),
        ({"kind": "garbage"}, cvm.DecodeError),
        ({"kind": "html"}, cvm.DecodeError),
        ({"kind": "status", "arg": 500}, cvm.ServerError),
        ({"kind": "status", "arg": 503}, cvm.ServerError),
        ({"kind": "status", "arg": 429, "retry_after": 30}, cvm.RateLimited),
    ],
    ids=str,
)
def test_what_does_not_end_ends_in_an_error_that_says_so(broken, caller, fault, error):
    total = 3.0 if error is DeadlineExceeded else 20.0
    caller.transport.timeout = Timeout(total, total, total)
    broken.inject({"route": "GET /auth/me", "times": 50, **fault})
    with pytest.raises(error) as caught:
        caller.get_current_user()
    assert "/auth/me" in str(caught.value)
    assert broken.api_key not in str(caught.value)
    assert "<html" not in str(caught.value)
    # nothing of a library hangs on to the error, with the key among its locals
    assert caught.value.__cause__ is caught.value.__context__ is None


def test_only_what_changes_nothing_is_advised_to_be_tried_again(broken, caller):
    broken.inject({"kind": "truncate", "route": "GET /auth/me", "times": 50})
    broken.inject({"kind": "truncate", "route": "POST /workspace/webhooks", "times": None})
    with pytest.raises(TruncatedResponse, match=r"Try again\.$"):
        caller.get_current_user()
    with pytest.raises(TruncatedResponse, match="Look what became of the request"):
        caller.post("/workspace/webhooks", {"url": "https://x.example", "name": "x"})
    assert len(sent(broken, "POST", "/workspace/webhooks")) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 418, 422])
def test_a_refusal_is_not_asked_again(broken, caller, status):
    broken.inject({"kind": "status", "arg": status, "route": "GET /auth/me"})
    with pytest.raises(cvm.ApiError) as caught:
        caller.get_current_user()
    assert caught.value.status == status
    assert len(sent(broken, "GET", "/auth/me")) == 1


def test_nobody_listens(refusing_port):
    url = f"http://127.0.0.1:{refusing_port}/api/v1"
    with pytest.raises(cvm.TransportError, match="refused") as caught:
        cvm.Client(api_key="key", base_url=url).stop_cvm("my-app")
    assert not caught.value.sent
    assert caught.value.attempts == 4


def test_an_outage_is_not_multiplied_by_retries(broken, caller):
    broken.inject({"kind": "status", "arg": 503, "retry_after": 0, "times": 10_000, "route": "*"})
    for _ in range(60):
        with pytest.raises(cvm.ServerError):
            caller.get_current_user()
    calls = len(sent(broken, "GET", "/auth/me"))
    assert calls <= 60 + 100  # each call once, and the budget
    assert caller._transport.budget.left < 1


# --- nothing is done twice, and nothing is lost ---------------------------------------------------

LOST = ["reset_after", "truncate", "late"]
NOT_DONE = [
    {"kind": "reset"},
    {"kind": "refuse"},
    {"kind": "status", "arg": 502},
    {"kind": "status", "arg": 500},
]


def lost(kind, route):
    return {"kind": kind, "route": route, **({"arg": 30.0} if kind == "late" else {})}


@pytest.mark.parametrize("kind", LOST)
@pytest.mark.parametrize("verb", ["stop", "shutdown", "restart"])
def test_an_action_whose_answer_was_lost_is_found_and_not_repeated(broken, hasty, make, verb, kind):
    name = make(hasty)
    broken.inject(lost(kind, f"POST /cvms/*/{verb}"))
    result = getattr(hasty, f"{verb}_cvm")(name)
    assert result.name == name
    assert len(sent(broken, "POST", f"/{verb}")) == 1
    assert len(hasty.list_operations(name)) == 2  # it was created, and this
    hasty.delete_cvm(name)


@pytest.mark.parametrize("fault", [f for f in NOT_DONE if f["kind"] != "refuse"], ids=str)
@pytest.mark.parametrize("verb", ["stop", "restart"])
def test_an_action_that_may_have_begun_is_not_sent_again(broken, caller, make, verb, fault):
    name = make(caller)
    broken.inject({"route": f"POST /cvms/*/{verb}", **fault})
    with pytest.raises(cvm.CvmError) as caught:
        getattr(caller, f"{verb}_cvm")(name)
    assert may_have_begun(caught.value)
    assert len(sent(broken, "POST", f"/{verb}")) == 1
    assert len(caller.list_operations(name)) == 1
    caller.delete_cvm(name)


@pytest.mark.parametrize("kind", LOST)
def test_a_commit_whose_answer_was_lost_makes_one_cvm(broken, hasty, kind):
    made = hasty.provision_cvm(name=f"commit-{kind.replace('_', '-')}", compose_file=COMPOSE)
    broken.inject(lost(kind, "commit"))
    committed = hasty.commit_cvm_provision(made)
    assert [c.id for c in hasty.get_app_cvms(made.app_id)] == [committed.id]
    assert len(sent(broken, "POST", "/cvms")) == 1
    hasty.delete_cvm(committed)


@pytest.mark.parametrize("fault", NOT_DONE, ids=str)
def test_a_commit_that_did_not_begin_is_sent_again(broken, caller, fault):
    made = caller.provision_cvm(name="commit-again", compose_file=COMPOSE)
    broken.inject({"route": "commit", **fault})
    committed = caller.commit_cvm_provision(made)
    assert [c.id for c in caller.get_app_cvms(made.app_id)] == [committed.id]
    caller.delete_cvm(committed)
    caller.watch_cvm_state(committed, target="deleted")  # until then it keeps its name


@pytest.mark.parametrize("kind", LOST)
def test_a_replica_whose_answer_was_lost_is_found_and_not_paid_twice(broken, hasty, make, kind):
    name = make(hasty)
    broken.inject(lost(kind, "replicate"))
    replica = hasty.replicate_cvm(name)
    everyone = hasty.get_app_cvms(replica.app_id)
    assert sorted(c.name for c in everyone) == sorted([name, replica.name])
    assert len(sent(broken, "POST", "/replicas")) == 1
    for one in everyone:
        hasty.delete_cvm(one)


def test_a_replica_that_nobody_knows_of_is_not_sent_again(broken, caller, make):
    name = make(caller)
    broken.inject({"kind": "reset", "route": "replicate"})
    with pytest.raises(cvm.TransportError) as caught:
        caller.replicate_cvm(name)
    assert caught.value.sent
    assert len(sent(broken, "POST", "/replicas")) == 1
    caller.delete_cvm(name)


@pytest.mark.parametrize("kind", LOST)
def test_a_deletion_whose_answer_was_lost_is_done(broken, hasty, make, kind):
    name = make(hasty)
    # a 204 has no body to truncate: the connection is reset instead
    broken.inject(lost("reset_after" if kind == "truncate" else kind, "delete"))
    hasty.delete_cvm(name)
    assert len(sent(broken, "DELETE", name)) == 1
    with pytest.raises(cvm.NotFoundError):
        hasty.get_cvm_info(name)


def test_a_mistyped_name_is_not_a_deletion(caller):
    with pytest.raises(cvm.NotFoundError):
        caller.delete_cvm("no-such-cvm")


def test_an_update_whose_answer_was_lost_is_unknown_and_reported_so(broken, caller, make):
    name = make(caller)
    broken.inject({"kind": "reset_after", "route": "update"})
    with pytest.raises(cvm.TransportError) as caught:
        caller.update_docker_compose(name, COMPOSE)
    assert caught.value.sent
    assert len(sent(broken, "PATCH", "/docker-compose")) == 1
    caller.delete_cvm(name)


def test_being_asked_to_slow_down_is_kept_by_changes_too(broken, caller, make):
    name = make(caller)
    broken.inject({"kind": "status", "arg": 429, "retry_after": "0.1", "route": "action"})
    assert caller.stop_cvm(name).status == "stopping"
    assert len(sent(broken, "POST", "/stop")) == 2
    caller.delete_cvm(name)


def test_this_machine_is_not_asked_for_through_a_proxy(cloud, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with cvm.Client(api_key=cloud.api_key, base_url=cloud.url) as client:
        assert client.get_current_user().user.username


def test_a_proxy_that_refuses_is_named(monkeypatch, refusing_port):
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{refusing_port}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    client = cvm.Client(api_key="key", base_url="https://api.invalid/api/v1")
    with pytest.raises(cvm.TransportError, match="proxy") as caught:
        client.list_cvms()
    assert not caught.value.sent
    assert caught.value.attempts == 1


# --- the key stays here --------------------------------------------------------------------------


class Attacker(http.server.BaseHTTPRequestHandler):
    """Another origin, that writes down whatever comes."""

    seen: list[str] = []  # noqa: RUF012 - one server, one list

    def do_GET(self):
        if self.path == "/x":  # others may look for what had this port before
            self.seen.append(str(self.headers))
        self.send_response(200)
        self.end_headers()

    do_POST = do_GET  # noqa: N815 - the name that http.server looks for

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def attacker():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Attacker)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


TARGETS = [
    "http://127.0.0.1:{port}/x",
    "http://localhost:{port}/x",
    "//127.0.0.1:{port}/x",
    "http://user:pw@127.0.0.1:{port}/x",
    "http://cloud-api.phala.com@127.0.0.1:{port}/x",
    "/api/v1/auth/me",
    "http://[::1",
]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(broken, caller, attacker, code, target):
    url = target.format(port=attacker)
    broken.inject({"kind": "redirect", "arg": url, "code": code, "route": "*", "times": 1})
    with pytest.raises(cvm.UnsafeRedirect) as caught:
        caller.stop_cvm("my-app")
    assert str(code) in str(caught.value)
    assert "pw@" not in str(caught.value)
    assert Attacker.seen == []


def test_a_stream_is_not_redirected(broken, caller, attacker):
    url = f"http://127.0.0.1:{attacker}/x"
    broken.inject({"kind": "redirect", "arg": url, "route": "stream"})
    with pytest.raises(cvm.UnsafeRedirect):
        caller.watch_cvm_state("my-app", target="running")
    assert Attacker.seen == []


def test_the_key_is_in_no_log(broken, caller, caplog):
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, logger="urllib3")
    caller.list_cvms()
    with pytest.raises(cvm.NotFoundError):
        caller.get_cvm_info("nobody")
    assert "GET /api/v1/cvms/paginated" in caplog.text
    assert broken.api_key not in caplog.text


def test_the_key_is_in_no_traceback_that_prints_locals(broken, caller, press_ctrl_c):
    """Ctrl-C in the midst of a call goes through the frames of requests and urllib3."""
    broken.inject({"kind": "hang", "route": "GET /auth/me"})

    def press():
        until(lambda: sent(broken, "GET", "/auth/me"))
        press_ctrl_c()

    pressing = threading.Thread(target=press)
    pressing.start()
    try:
        caller.get_current_user()
    except KeyboardInterrupt as error:
        shown = VerboseTB(theme_name="nocolor").text(type(error), error, error.__traceback__)
        plain = "".join(
            traceback.TracebackException.from_exception(error, capture_locals=True).format()
        )
    pressing.join()
    for text in (shown, plain):
        assert "urlopen" in text
        assert broken.api_key not in text


# --- pages ---------------------------------------------------------------------------------------


def test_a_page_that_cannot_be_had_costs_the_list(broken, caller):
    broken.inject({"kind": "status", "arg": 500, "route": "list", "times": 50})
    with pytest.raises(cvm.ServerError):
        caller.list_cvms()


def test_a_row_that_cannot_be_read_costs_that_row(broken, caller, make):
    names = {make(caller), make(caller)}
    everything = {c.name for c in caller.list_cvms()}
    broken.inject(
        {"kind": "rewrite", "route": "list", "arg": {"/items/0/resource": "not an object"}}
    )
    with pytest.warns(UserWarning, match="resource"):
        found = caller.list_cvms()
    assert len(found) == len(everything) - 1
    assert {c.name for c in found} < everything >= names
    for name in names:
        caller.delete_cvm(name)


@pytest.mark.parametrize("pages", [0, -1, 10**9, None])
def test_a_number_of_pages_that_lies_does_not_matter(broken, caller, make, pages):
    name = make(caller)
    broken.inject({"kind": "rewrite", "route": "list", "arg": {"/pages": pages}, "times": 50})
    names = [c.name for c in caller.list_cvms()]
    assert name in names
    assert len(names) == len(set(names))
    assert len(sent(broken, "GET", "/cvms/paginated")) < 40
    caller.delete_cvm(name)


def test_a_row_listed_twice_is_one_cvm(broken, caller, make):
    name = make(caller)
    broken.inject(
        {"kind": "rewrite", "route": "list", "arg": {"/pages": 3, "/total": 300}, "times": 1}
    )
    names = [c.name for c in caller.list_cvms()]
    assert name in names
    assert len(names) == len(set(names))
    caller.delete_cvm(name)
