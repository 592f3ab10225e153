"""Webhooks of LocalCloud: what is sent, to whom, how often, and what is kept of it."""

import hashlib
import hmac
import importlib.util
import json
import sqlite3
import time
from contextlib import closing

import pytest
from helpers import until
from receiver import receiving

from cvm_notebook.local.core.database import Database, Webhook, WebhookDelivery, Workspace
from cvm_notebook.local.core.schema import bring_up
from cvm_notebook.local.engine import housekeeping
from cvm_notebook.local.webhooks.address import may_reach, read_target
from cvm_notebook.local.webhooks.events import EVENTS
from cvm_notebook.local.webhooks.posting import SECONDS

HOOKS = "/workspace/webhooks"


@pytest.fixture
def receiver():
    with receiving() as made:
        yield made


def listen(api, receiver, events=EVENTS, **more):
    """Make a webhook, and return it with its secret."""
    answer = api.post(HOOKS, {"url": receiver.url, "events": list(events), **more})
    assert answer.status_code == 201, answer.text
    return answer.json()


def signature(secret, arrived):
    signed = arrived.headers["X-Webhook-Timestamp"].encode() + b"." + arrived.body
    return "sha256=" + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()


def deliveries(api, webhook, count):
    """Return the deliveries once so many have ended."""
    path = f"{HOOKS}/{webhook['id']}/deliveries"
    until(lambda: len(api.get(path).json()) >= count)
    return api.get(path).json()


# --- what is sent --------------------------------------------------------------------------------


def test_each_end_of_an_operation_is_sent_once_and_signed(own, receiver):
    webhook = listen(own, receiver)
    cvm = own.create("sent-1")
    path = f"/cvms/{cvm['id']}"
    seen = [receiver.next()]
    for ask in (
        lambda: own.post(f"{path}/stop"),
        lambda: own.post(f"{path}/start"),
        lambda: own.post(f"{path}/restart"),
        lambda: own.patch(f"{path}/resources", {"vcpu": 2}),
        lambda: own.post(f"{path}/shutdown"),
        lambda: own("DELETE", path),
    ):
        assert ask().ok
        seen.append(receiver.next())
    assert [one.event for one in seen] == [
        *("cvm.created", "cvm.stopped", "cvm.started", "cvm.restarted"),
        *("cvm.updated", "cvm.stopped", "cvm.deleted"),
    ]
    assert len({one.event_id for one in seen}) == len(seen)
    for one in seen:
        assert one.headers["X-Webhook-Signature"] == signature(webhook["secret"], one)
        assert one.headers["Content-Type"] == "application/json"
        assert json.loads(one.body)["id"] == one.event_id
    body = json.loads(seen[0].body)
    assert body["data"] == {
        "cvm_id": cvm["vm_uuid"],
        "cvm_name": "sent-1",
        "app_id": f"0x{cvm['app_id']}",
        "status": "running",
    }
    assert body["created_at"].endswith("Z")
    assert set(body) == {"id", "event", "version", "created_at", "workspace", "data"}
    ended = deliveries(own, webhook, len(seen))
    assert [one["event_id"] for one in ended] == [one.event_id for one in reversed(seen)]
    assert {(one["status"], one["attempts"], one["response_status"]) for one in ended} == {
        ("success", 1, 200)
    }
    assert all(one["snowflake_id"] > 2**53 for one in ended)


def test_what_the_official_sdk_verifies_is_what_is_sent(own, receiver, sdk):
    spec = importlib.util.spec_from_file_location("hook", sdk / "phala_cloud" / "webhook.py")
    official = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(official)
    webhook = listen(own, receiver)
    own.create()
    came = receiver.next()
    parsed = official.parse_webhook_event(
        headers=came.headers, body=came.body.decode(), secret=webhook["secret"]
    )
    assert (parsed.event, parsed.data["status"]) == ("cvm.created", "running")
    with pytest.raises(ValueError, match="signature"):
        official.parse_webhook_event(
            headers=came.headers, body=came.body.decode(), secret="whsec_of-another"
        )


def test_a_boot_that_fails_is_sent_with_its_reason(clocked_cloud, connect, receiver):
    api = connect(clocked_cloud)
    clocked_cloud.advance(600)  # what other tests have begun in this workspace has come to its end
    webhook = listen(api, receiver)
    cvm = api.create()
    clocked_cloud.fail(cvm["id"], "pre-launch failed")
    clocked_cloud.advance(120)
    came = receiver.next()
    assert came.event == "cvm.create_failed"
    data = json.loads(came.body)["data"]
    assert (data["status"], data["error"]) == ("error", "pre-launch failed")
    assert api("DELETE", f"{HOOKS}/{webhook['id']}").status_code == 204


def test_what_was_cancelled_is_not_sent(clocked_cloud, connect, receiver):
    api = connect(clocked_cloud)
    cvm = api.create()
    clocked_cloud.advance(120)
    webhook = listen(api, receiver)
    assert api.post(f"/cvms/{cvm['id']}/restart").ok
    assert api.post(f"/cvms/{cvm['id']}/operations/cancel").json()["cancelled"]
    clocked_cloud.advance(120)
    assert api.post(f"/cvms/{cvm['id']}/stop").ok
    clocked_cloud.advance(120)
    assert receiver.next().event == "cvm.stopped"
    assert receiver.count == 1
    assert api("DELETE", f"{HOOKS}/{webhook['id']}").status_code == 204


def test_a_deletion_that_was_scheduled_is_sent_though_nobody_asks(fresh_cloud, fresh, receiver):
    cvm = fresh.create()
    listen(fresh, receiver, ["cvm.deleted"])
    at = {"scheduled_delete_at": "2100-01-01T00:00:00Z"}
    assert fresh.patch(f"/cvms/{cvm['id']}/scheduled-delete", at).ok
    for _ in range(8):  # as far as the clock is moved in one go
        fresh_cloud.advance(3.1e8)
    assert json.loads(receiver.next().body)["data"]["cvm_id"] == cvm["vm_uuid"]


def test_only_what_is_listened_to_is_sent_and_only_from_then_on(own, receiver):
    cvm = own.create()
    own.watch(cvm["id"], "running")
    webhook = listen(own, receiver, ["cvm.stopped"])
    for verb, target in (("restart", "running"), ("stop", "stopped")):
        assert own.post(f"/cvms/{cvm['id']}/{verb}").ok
        own.watch(cvm["id"], target)
    assert receiver.next().event == "cvm.stopped"
    path = f"{HOOKS}/{webhook['id']}"
    assert own("PUT", path, json={"enabled": False}).json()["enabled"] is False
    for verb, target in (("start", "running"), ("stop", "stopped")):
        assert own.post(f"/cvms/{cvm['id']}/{verb}").ok
        own.watch(cvm["id"], target)
    changed = own("PUT", path, json={"enabled": True, "events": ["cvm.stopped", "cvm.started"]})
    assert changed.json()["events"] == ["cvm.stopped", "cvm.started"]
    assert own.post(f"/cvms/{cvm['id']}/start").ok
    assert receiver.next().event == "cvm.started"
    assert receiver.count == 2


def test_a_workspace_is_notified_of_its_own_alone(own, cloud, connect, receiver):
    listen(own, receiver)
    other = connect(cloud, key=cloud.new_workspace()["api_key"])
    other.watch(other.create()["id"], "running")
    made = own.create()
    assert json.loads(receiver.next().body)["data"]["cvm_id"] == made["vm_uuid"]
    assert receiver.count == 1


def test_two_workers_tell_each_event_once(new_cloud, connect, receiver):
    with new_cloud(seed="empty", speed=200, workers=2) as cloud:
        api = connect(cloud)
        webhook = listen(api, receiver)
        for _ in range(4):
            api.create()
        ended = deliveries(api, webhook, 4)
        assert api.post(f"{HOOKS}/{webhook['id']}/test").ok
        events = [receiver.next() for _ in range(5)]
    assert [one.event for one in events] == ["cvm.created"] * 4 + ["webhook.test"]
    assert len({one.event_id for one in events}) == 5
    assert {one["attempts"] for one in ended} == {1}


# --- how often -----------------------------------------------------------------------------------


def _test_event(api, webhook):
    answer = api.post(f"{HOOKS}/{webhook['id']}/test")
    assert answer.status_code == 200, answer.text
    return answer.json()["event_id"]


def _comes(cloud, receiver, count):
    """Move the clock until so many requests have come."""
    until(lambda: cloud.advance(30) or receiver.count >= count)


def test_what_was_refused_is_sent_again_until_it_is_taken(fresh_cloud, fresh, receiver):
    receiver.answers = [500, 302, 404, 204]
    webhook = listen(fresh, receiver)
    event_id = _test_event(fresh, webhook)
    for number in range(4):
        _comes(fresh_cloud, receiver, number + 1)
        came = receiver.next()
        assert came.path == "/hook"  # and not where the 302 points to
        assert came.event_id == event_id
        assert came.headers["X-Webhook-Signature"] == signature(webhook["secret"], came)
    (ended,) = deliveries(fresh, webhook, 1)
    outcome = (ended["status"], ended["attempts"], ended["response_status"], ended["error_message"])
    assert outcome == ("success", 4, 204, "")
    assert ended["delivered_at"] is not None


def test_after_four_attempts_it_is_given_up(fresh_cloud, fresh, receiver):
    receiver.answers = [503] * 4
    webhook = listen(fresh, receiver)
    given_up = _test_event(fresh, webhook)
    _comes(fresh_cloud, receiver, 4)
    (ended,) = deliveries(fresh, webhook, 1)
    assert (ended["status"], ended["attempts"], ended["delivered_at"]) == ("failed", 4, None)
    assert "503" in ended["error_message"]
    fresh_cloud.advance(100_000)
    later = _test_event(fresh, webhook)
    assert [receiver.next().event_id for _ in range(5)] == [given_up] * 4 + [later]


def test_a_receiver_that_is_gone_is_the_error_of_a_delivery(fresh_cloud, fresh, refusing_port):
    url = f"http://127.0.0.1:{refusing_port}/hook"
    webhook = fresh.post(HOOKS, {"url": url, "events": list(EVENTS)}).json()
    _test_event(fresh, webhook)
    path = f"{HOOKS}/{webhook['id']}/deliveries"
    until(lambda: fresh_cloud.advance(2000) or fresh.get(path).json())
    (ended,) = fresh.get(path).json()
    assert (ended["status"], ended["response_status"]) == ("failed", 0)
    assert ended["error_message"].startswith("Not sent: ")


def test_who_does_not_answer_holds_up_nobody_else(own, receiver):
    with receiving() as slow:
        slow.may_answer.clear()
        waiting = listen(own, slow)
        began = time.monotonic()
        _test_event(own, waiting)
        slow.next()
        _test_event(own, waiting)
        other = listen(own, receiver)
        for _ in range(2):
            event_id = _test_event(own, other)
            assert receiver.next().event_id == event_id
        assert own.get(f"{HOOKS}/{waiting['id']}/deliveries").json() == []
        # of one webhook, one at a time; it is sent again when the first has run out of time
        assert slow.count == 1 or time.monotonic() - began > SECONDS
        slow.may_answer.set()
        assert len(deliveries(own, waiting, 2)) == 2


def test_what_waits_outlives_the_server(new_cloud, connect, receiver, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    cloud = new_cloud(seed="empty", speed=1, database=f"sqlite:///{tmp_path}/kept.sqlite")
    receiver.answers = [500]
    with cloud:
        webhook = listen(connect(cloud), receiver)
        event_id = _test_event(connect(cloud), webhook)
        assert receiver.next().event_id == event_id
        cvm = connect(cloud).create()
    with cloud:
        cloud.advance(120)
        came = {receiver.next().event for _ in range(2)}
        assert came == {"webhook.test", "cvm.created"}
        ended = deliveries(connect(cloud), webhook, 2)
    assert {one["status"] for one in ended} == {"success"}
    assert cvm["id"]


def test_a_webhook_that_is_disabled_or_deleted_is_sent_nothing_more(
    clocked_cloud, connect, receiver
):
    api = connect(clocked_cloud, key=clocked_cloud.new_workspace()["api_key"])
    receiver.answers = [500, 500]
    first, second = listen(api, receiver), listen(api, receiver)
    _test_event(api, first)
    receiver.next()
    assert api("PUT", f"{HOOKS}/{first['id']}", json={"enabled": False}).ok
    _test_event(api, second)
    receiver.next()
    assert api("DELETE", f"{HOOKS}/{second['id']}").status_code == 204
    assert api.post(f"{HOOKS}/{first['id']}/test").status_code == 409
    (ended,) = deliveries(api, first, 1)
    assert (ended["status"], ended["error_message"]) == ("failed", "The webhook was disabled")
    clocked_cloud.advance(100_000)
    event_id = _test_event(api, listen(api, receiver))
    assert receiver.next().event_id == event_id
    assert receiver.count == 3


# --- what can be asked ---------------------------------------------------------------------------


def test_a_secret_is_whole_once_and_signs_until_it_is_changed(own, receiver):
    webhook = listen(own, receiver, secret="whsec_chosen-by-me-0123")
    path = f"{HOOKS}/{webhook['id']}"
    assert webhook["secret"] == "whsec_chosen-by-me-0123"
    for answer in (own.get(path), own.get(HOOKS), own("PUT", path, json={"name": "mine"})):
        assert "chosen-by-me" not in answer.text
        assert "whsec_****...0123" in answer.text
    assert own.post(f"{path}/reveal-secret").json() == {"secret": webhook["secret"]}
    changed = own.post(f"{path}/rotate-secret").json()["secret"]
    assert changed.startswith("whsec_")
    assert changed != webhook["secret"]
    _test_event(own, webhook)
    came = receiver.next()
    assert came.headers["X-Webhook-Signature"] == signature(changed, came)


def test_what_is_sent_again_is_the_same_event_in_a_delivery_of_its_own(own, receiver):
    webhook = listen(own, receiver)
    event_id = _test_event(own, webhook)
    first = receiver.next()
    deliveries(own, webhook, 1)
    path = f"{HOOKS}/{webhook['id']}/deliveries"
    asked = own.post(f"{path}/{event_id}/resend").json()
    again = receiver.next()
    assert (again.event_id, again.body) == (event_id, first.body)
    newest, oldest = deliveries(own, webhook, 2)
    assert (newest["event_id"], newest["original_event_id"]) == (asked["event_id"], event_id)
    assert (oldest["event_id"], oldest["original_event_id"]) == (event_id, "")
    assert own.get(path, params={"limit": 1, "offset": 1}).json() == [oldest]
    assert own.post(f"{path}/evt_0000000000000000/resend").status_code == 404
    stats = own.get(f"{HOOKS}/{webhook['id']}/stats").json()
    assert (stats["total"], stats["success_count"], stats["failed_count"]) == (2, 2, 0)
    assert stats["success_rate"] == 100
    assert stats["last_delivery_at"] == newest["delivered_at"]


def test_a_webhook_belongs_to_its_workspace(own, api, receiver):
    webhook = listen(own, receiver)
    path = f"{HOOKS}/{webhook['id']}"
    assert webhook["id"] not in api.get(HOOKS).text
    for method, below in (
        *(("GET", ""), ("DELETE", ""), ("GET", "/deliveries"), ("GET", "/stats")),
        *(("POST", "/test"), ("POST", "/reveal-secret"), ("POST", "/rotate-secret")),
        ("POST", "/deliveries/evt_1/resend"),
    ):
        assert api(method, path + below).status_code == 404, below
    assert api("PUT", path, json={"enabled": False}).status_code == 404
    assert own.get(path).json()["enabled"] is True


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"url": "http://hooks.example.org/"}, "url"),
        ({"url": "https://user:secret@hooks.example.org/"}, "url"),
        ({"events": []}, "events"),
        ({"events": ["cvm.exploded"]}, "events"),
        ({"name": "x" * 101}, "name"),
        ({"secret": "short"}, "secret"),
    ],
)
def test_what_could_not_be_served_is_refused(own, change, field):
    body = {"url": "https://hooks.example.org/", "events": ["cvm.stopped"], **change}
    answer = own.post(HOOKS, body)
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"][:2] == ["body", field]
    assert own.get(HOOKS).json() == []


def test_a_workspace_has_so_many_webhooks_and_no_more(own, receiver):
    made = [listen(own, receiver) for _ in range(20)]
    body = {"url": receiver.url, "events": ["cvm.stopped"]}
    assert own.post(HOOKS, body).status_code == 400
    assert [one["id"] for one in own.get(HOOKS).json()] == [one["id"] for one in made]


# --- where deliveries may go ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        *("http://example.org/", "ftp://example.org/", "//example.org/", "example.org", ""),
        *("https://", "https://example.org:0/", "https://example.org:x/", "https://[::1/"),
        *("https://10.1.2.3/", "https://192.168.0.1/", "https://169.254.169.254/latest"),
        *("https://[fd00::1]/", "https://[fe80::1]/", "https://[::ffff:10.0.0.1]/"),
        *("https://224.0.0.1/", "https://0.0.0.0/", "https://printer.local/"),
        *("https://x.localhost/", "https://a b/", "https://exämple.org/", "https://a/\n"),
        *("https://u@example.org/", f"https://example.org/{'x' * 2048}", "https://[fe80::1%251]/"),
    ],
)
def test_no_delivery_goes_where_the_service_would_send_none(url):
    with pytest.raises(ValueError, match=r"^url "):
        read_target(url)


def test_a_name_reaches_no_address_that_it_should_not_stand_for():
    public, here = read_target("https://example.org/a?b=c"), read_target("http://localhost:81")
    assert (public.path, public.port, public.authority) == ("/a?b=c", 443, "example.org")
    assert (here.path, here.authority) == ("/", "localhost:81")
    assert may_reach(public, "93.184.216.34")
    for address in (
        "127.0.0.1",
        "10.0.0.1",
        "::1",
        "fe80::1%eth0",
        "::ffff:127.0.0.1",
        "224.0.0.1",
    ):
        assert not may_reach(public, address)
    assert may_reach(here, "127.0.0.1")
    assert may_reach(here, "::1")
    assert not may_reach(here, "93.184.216.34")


# --- what is kept --------------------------------------------------------------------------------


def test_of_each_webhook_the_newest_deliveries_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(housekeeping, "KEPT_DELIVERIES", 3)
    database = Database(f"sqlite:///{tmp_path}/some.sqlite")
    bring_up(database)
    with database.write() as session:
        session.add(Workspace(id=1, name="a", slug="a", tier="PRO", created_at=0.0))
        session.flush()
        for number in (1, 2):
            moments = dict.fromkeys(("since", "created_at", "updated_at"), 0.0)
            fields = {"url": "https://a.org", "secret": "s", "events": [], **moments}
            session.add(Webhook(id=number, workspace_id=1, **fields))
            session.flush()
            for count in range(5 * number - 4):
                session.add(
                    WebhookDelivery(
                        webhook_id=number,
                        event_id=f"evt_{count}",
                        event_type="cvm.stopped",
                        body="{}",
                        request_url="https://a.org",
                        due_at=0.0,
                        created_at=float(count),
                    )
                )
    housekeeping.purge(database)
    with database.read() as session:
        left = session.query(WebhookDelivery.webhook_id, WebhookDelivery.event_id).all()
    database.close()
    assert left == [(1, "evt_0"), (2, "evt_3"), (2, "evt_4"), (2, "evt_5")]


def test_a_database_from_before_webhooks_is_brought_up(
    new_cloud, connect, receiver, tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    path = tmp_path / "kept.sqlite"
    with new_cloud(seed="empty", speed=200, database=f"sqlite:///{path}") as cloud:
        api = connect(cloud)
        made = api.create()
        api.watch(made["id"], "running")  # or it would be announced when there are webhooks again
        cloud.close()
        with closing(sqlite3.connect(path)) as connection:
            connection.executescript(
                "DROP TABLE webhook_deliveries; DROP TABLE webhooks;"
                "UPDATE facts SET value = '2' WHERE name = 'schema';"
            )
        with cloud.start():
            api = connect(cloud)
            webhook = listen(api, receiver)
            assert api.post(f"/cvms/{made['id']}/stop").ok
            assert receiver.next().event == "cvm.stopped"
            assert deliveries(api, webhook, 1)
