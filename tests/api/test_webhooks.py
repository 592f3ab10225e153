"""Webhooks by the client, and whether what arrives is genuine."""

import copy
import hashlib
import hmac
import json
import pickle
import time

import pytest
from helpers import until
from hypothesis import given
from hypothesis import strategies as st
from receiver import receiving

import cvm_notebook as cvm
from cvm_notebook.api.models.webhooks import Webhook
from cvm_notebook.api.resources.webhooks import WEBHOOK_EVENTS
from cvm_notebook.local.webhooks.events import EVENTS

SECRET = "whsec_0123456789abcdef"
NOW = 1_780_000_000
EVENT = {
    "id": "evt_a1b2c3d4e5f67890",
    "event": "cvm.stopped",
    "version": "1",
    "created_at": "2026-05-28T20:26:40Z",
    "workspace": {"id": "my-team", "name": "My team"},
    "data": {"cvm_id": "1a09d706", "cvm_name": "web-1", "app_id": "0xabc", "status": "stopped"},
}
BODY = json.dumps(EVENT).encode()


def signed(body=BODY, secret=SECRET, at=NOW):
    """Return the headers that go with a body, as the service's documentation says it."""
    digest = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return {"X-Webhook-Timestamp": str(at), "X-Webhook-Signature": f"sha256={digest}"}


def verify(body=BODY, headers=None, secret=SECRET, **more):
    return cvm.verify_webhook(
        body, signed() if headers is None else headers, secret, **{"now": NOW} | more
    )


# --- what arrives --------------------------------------------------------------------------------


@pytest.mark.parametrize("secret", [SECRET, cvm.Secret(SECRET), f" {SECRET}\n"])
@pytest.mark.parametrize("body", [BODY, BODY.decode(), bytearray(BODY), memoryview(BODY)])
def test_what_is_genuine_is_the_event_that_it_tells(body, secret):
    event = verify(body, secret=secret)
    assert (event.id, event.event, event.workspace.name) == (EVENT["id"], "cvm.stopped", "My team")
    assert (event.cvm_id, event.cvm_name, event.status) == ("1a09d706", "web-1", "stopped")
    assert (event.app_id, event.error) == ("abc", None)


def test_names_of_headers_are_read_in_any_case():
    assert verify(headers={name.lower(): value for name, value in signed().items()}).id
    assert verify(headers={name.upper(): value for name, value in signed().items()}).id


@given(st.integers(0, len(BODY) - 1), st.integers(1, 255))
def test_a_body_with_any_byte_changed_is_rejected(place, change):
    body = bytearray(BODY)
    body[place] ^= change
    with pytest.raises(cvm.WebhookRejected, match="X-Webhook-Signature does not fit"):
        verify(bytes(body))


@pytest.mark.parametrize("at", [NOW - 301, NOW + 301, 0])
def test_what_is_too_old_or_of_the_future_is_rejected(at):
    with pytest.raises(cvm.WebhookRejected, match="300 s are allowed") as rejected:
        verify(headers=signed(at=at))
    assert rejected.value.field == "X-Webhook-Timestamp"
    assert verify(headers=signed(at=NOW - 300)).id
    assert verify(headers=signed(at=at), tolerance=2 * NOW).id


def test_without_another_time_it_is_the_machines():
    assert cvm.verify_webhook(BODY, signed(at=int(time.time())), SECRET).id
    with pytest.raises(cvm.WebhookRejected):
        cvm.verify_webhook(BODY, signed(at=int(time.time()) - 400), SECRET)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"X-Webhook-Signature": ""}, "X-Webhook-Signature is missing"),
        ({"X-Webhook-Timestamp": ""}, "X-Webhook-Timestamp is missing"),
        ({"x-webhook-signature": "sha256=00"}, "X-Webhook-Signature is there twice"),
        ({"X-Webhook-Timestamp": str(NOW + 1)}, "does not fit"),
        ({"X-Webhook-Signature": "sha256=" + "0" * 64}, "does not fit"),
        ({"X-Webhook-Signature": signed()["X-Webhook-Signature"][7:]}, "does not fit"),
        ({"X-Webhook-Signature": "sha256=é\ud800"}, "does not fit"),
        (signed(at="soon"), "is not a time in seconds"),
        (signed(at="٣"), "is not a time in seconds"),
        (signed(at="9" * 13), "is not a time in seconds"),
        (signed(secret="whsec_another-one-is"), "does not fit"),
    ],
)
def test_headers_that_do_not_prove_it_are_rejected(change, why):
    with pytest.raises(cvm.WebhookRejected, match=why) as rejected:
        verify(headers=signed() | change)
    assert "Answer 401" in str(rejected.value)
    assert SECRET not in str(rejected.value)


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"[]", b"null", b"{", b"\xff", b"[" * 100_000, b'{"id": 5, "event": "x"}'),
        *(b'{"id": "evt_1"}', b'{"id": "evt_1", "event": "x", "data": []}'),
    ],
)
def test_what_is_signed_and_no_event_is_rejected(body):
    with pytest.raises(cvm.WebhookRejected, match="body is signed, but") as rejected:
        verify(body, headers=signed(body))
    assert rejected.value.field == "body"


def test_what_no_event_is_as_large_as_is_rejected_unread():
    body = b" " * (1024 * 1024 + 1)
    with pytest.raises(cvm.WebhookRejected, match="larger than a MiB"):
        verify(body, headers=signed(body))


@given(st.binary(max_size=200) | st.text(max_size=50), st.dictionaries(st.text(), st.text()))
def test_whatever_strangers_send_is_rejected_and_nothing_else(body, headers):
    for name in ({}, {"X-Webhook-Timestamp": "1", "X-Webhook-Signature": "x"}):
        with pytest.raises(cvm.WebhookRejected):
            cvm.verify_webhook(body, headers | name, SECRET)


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"secret": ""}, "secret"),
        ({"secret": b"x"}, "secret"),
        ({"secret": "whsec_****...xxxx"}, "secret"),
        ({"body": EVENT}, "body"),
        ({"headers": [("a", "b")]}, "headers"),
        ({"headers": dict}, "headers"),
        ({"tolerance": float("nan")}, "tolerance"),
        ({"now": "noon"}, "now"),
    ],
)
def test_a_mistake_of_the_receivers_own_differs_from_a_request_that_is_rejected(arguments, field):
    with pytest.raises(cvm.InvalidInput) as refused:
        verify(**arguments)
    assert refused.value.field == field


def test_what_grants_access_in_an_event_is_sealed():
    delivered = EVENT | {"data": {"commit_token": "sentinel-1", "note": "kept"}}
    body = json.dumps(delivered).encode()
    event = verify(body, headers=signed(body))
    assert event.data["commit_token"] == cvm.Secret("sentinel-1")
    assert event.data["note"] == "kept"
    assert b"sentinel" not in pickle.dumps(event)


# --- what is asked of the service ----------------------------------------------------------------


@pytest.fixture
def receiver():
    with receiving() as made:
        yield made


@pytest.fixture
def own_client(cloud):
    """A client of a workspace of the test's own."""
    key = cloud.new_workspace()["api_key"]
    with cvm.Client(api_key=key, base_url=cloud.url) as made:
        yield made


def test_both_sides_know_the_same_events():
    assert WEBHOOK_EVENTS == EVENTS


def test_a_webhook_from_its_making_to_its_end(own_client, make, receiver):
    webhook = own_client.create_webhook(receiver.url, WEBHOOK_EVENTS, name="tests")
    assert own_client.list_webhooks()[0].id == webhook.id
    assert own_client.get_webhook(webhook).url == receiver.url
    name = make(own_client)
    came = receiver.next()
    event = cvm.verify_webhook(came.body, came.headers, webhook.secret)
    assert (event.event, event.cvm_name) == ("cvm.created", name)
    assert own_client.get_cvm_info(event.cvm_id).name == name
    until(lambda: own_client.list_webhook_deliveries(webhook))
    (delivery,) = own_client.list_webhook_deliveries(webhook)
    assert (delivery.event_id, delivery.status, delivery.attempts) == (event.id, "success", 1)
    own_client.resend_webhook_delivery(webhook.id, delivery)
    again = receiver.next()
    assert cvm.verify_webhook(again.body, again.headers, webhook.secret).id == event.id
    until(lambda: own_client.get_webhook_stats(webhook).total == 2)
    changed = own_client.update_webhook(webhook, events="cvm.deleted", name="other", enabled=False)
    assert (changed.events, changed.name, changed.enabled) == (("cvm.deleted",), "other", False)
    own_client.delete_webhook(webhook)
    assert own_client.list_webhooks() == []
    with pytest.raises(cvm.NotFoundError):
        own_client.get_webhook(webhook)


def test_deliveries_are_listed_over_pages_each_once(own_client, receiver):
    webhook = own_client.create_webhook(receiver.url, "cvm.stopped")
    asked = [own_client.test_webhook(webhook)["event_id"] for _ in range(3)]
    until(lambda: len(own_client.list_webhook_deliveries(webhook)) == 3)
    assert [one.event_id for one in own_client.list_webhook_deliveries(webhook)] == asked[::-1]
    assert [one.event_id for one in own_client.list_webhook_deliveries(webhook, limit=2)] == asked[
        :0:-1
    ]


def test_the_secret_is_shown_nowhere_and_can_be_asked_for(own_client, receiver):
    webhook = own_client.create_webhook(receiver.url, "cvm.stopped")
    whole = webhook.secret.reveal()
    assert whole.startswith("whsec_")
    assert whole not in f"{webhook!r} {webhook} {pickle.dumps(webhook)!r}"
    assert copy.copy(webhook).secret == webhook.secret
    assert own_client.reveal_webhook_secret(webhook) == webhook.secret
    rotated = own_client.rotate_webhook_secret(webhook)
    assert rotated not in (webhook.secret, None)
    assert own_client.reveal_webhook_secret(webhook.id) == rotated
    masked = own_client.get_webhook(webhook).secret
    with pytest.raises(cvm.InvalidInput, match="masked"):
        cvm.verify_webhook(BODY, signed(), masked)
    chosen = own_client.create_webhook(receiver.url, "cvm.stopped", secret=cvm.Secret(SECRET))
    assert chosen.secret == cvm.Secret(SECRET)


def test_a_token_in_an_address_is_not_printed():
    webhook = Webhook(id="wh_1", url="https://a.org/x?token=sentinel", events=("cvm.stopped",))
    assert repr(webhook) == "<Webhook wh_1 to https://a.org/x: cvm.stopped>"


@pytest.mark.parametrize("status", [403, 428])
def test_a_second_factor_that_is_wanted_is_named(broken, caller, receiver, status):
    webhook = caller.create_webhook(receiver.url, "cvm.stopped")
    route = "POST /workspace/webhooks/*/rotate-secret"
    broken.inject({"kind": "status", "route": route, "arg": status})
    with pytest.raises(cvm.ApiError) as refused:
        caller.rotate_webhook_secret(webhook)
    assert refused.value.status == status
    assert caller.reveal_webhook_secret(webhook) == webhook.secret
    caller.delete_webhook(webhook)  # its port may be somebody else's soon


def test_a_webhook_whose_answer_is_lost_is_not_made_twice(broken, caller, receiver):
    broken.inject({"kind": "reset_after", "route": "POST /workspace/webhooks"})
    before = len(caller.list_webhooks())
    with pytest.raises(cvm.TransportError) as lost:
        caller.create_webhook(receiver.url, "cvm.stopped")
    assert lost.value.sent
    assert len(caller.list_webhooks()) == before + 1
    for left in caller.list_webhooks():
        caller.delete_webhook(left)  # its port may be somebody else's soon


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://hooks.example.org/", "is not https"),
        ("ftp://hooks.example.org/", "is not an address"),
        ("hooks.example.org", "is not an address"),
        ("https://u:sentinel@hooks.example.org/", "holds a user or a password"),
        ("https://10.0.0.1/", "is not public"),
        ("https://printer.local/", "is not public"),
        ("https://hooks.example.org:port/", "is not an address"),
        ("https://exämple.org/", "plain characters"),
        (f"https://hooks.example.org/{'x' * 2048}", "plain characters"),
        (5, "not a text"),
    ],
)
def test_an_address_to_which_nothing_would_be_sent_is_refused(broken, caller, url, why):
    with pytest.raises(cvm.InvalidInput, match=why) as refused:
        caller.create_webhook(url, "cvm.stopped")
    assert refused.value.field == "url"
    assert "sentinel" not in str(refused.value)
    assert broken.requests() == []


def test_of_the_service_itself_no_address_of_this_machine_is_asked_for():
    with cvm.Client(api_key="phak_x", base_url="https://cloud-api.phala.com/api/v1") as client:
        for url in ("http://127.0.0.1:8000/", "https://localhost/", "https://[::1]/"):
            with pytest.raises(cvm.InvalidInput, match="url"):
                client.create_webhook(url, "cvm.stopped")


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"events": []}, "none is named"),
        ({"events": "cvm.stoped"}, "Did you mean 'cvm.stopped'"),
        ({"events": ["all of them"]}, "is not an event"),
        ({"events": 5}, "not a list of events"),
        ({"name": "x" * 101}, "101 characters"),
        ({"secret": "short"}, "16 to 200"),
        ({"secret": cvm.Secret("sentinel with blanks")}, "16 to 200"),
    ],
)
def test_what_the_service_would_refuse_is_not_sent(broken, caller, more, why):
    with pytest.raises(cvm.InvalidInput, match=why) as refused:
        caller.create_webhook("https://hooks.example.org/", **{"events": "cvm.stopped"} | more)
    assert "sentinel" not in str(refused.value)
    with pytest.raises(cvm.InvalidInput, match="nothing to change"):
        caller.update_webhook("wh_1")
    assert broken.requests() == []


def test_an_event_that_came_since_is_left_to_the_service(caller):
    with pytest.raises(cvm.ApiError, match="an event is one of"):
        caller.create_webhook("https://hooks.example.org/", "billing.balance_low")


def test_a_client_that_only_reads_changes_no_webhook(cloud, receiver):
    with cvm.Client(api_key=cloud.api_key, base_url=cloud.url, read_only=True) as client:
        assert client.list_webhooks() is not None
        with pytest.raises(cvm.ReadOnly):
            client.create_webhook(receiver.url, "cvm.stopped")
