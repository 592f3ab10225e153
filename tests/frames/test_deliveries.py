"""deliveries_frame: what webhooks were sent, in the words of its schema."""

import pandas as pd
import pandera.pandas as pa
import pytest
from helpers import until
from receiver import receiving

import cvm_notebook as cvm
from cvm_notebook.api.models.webhooks import Webhook, WebhookDelivery
from cvm_notebook.frames.deliveries import DELIVERIES, _Row

TEXT = pd.StringDtype()
MOMENT = pd.DatetimeTZDtype("us", "UTC")
SCHEMA = pa.DataFrameSchema(
    {
        "created_at": pa.Column(MOMENT, nullable=True),
        "event": pa.Column(TEXT, nullable=True),
        "status": pa.Column(TEXT, nullable=True),
        "attempts": pa.Column("Int64", nullable=True),
        "http_status": pa.Column("Int64", nullable=True),
        "error": pa.Column(TEXT, nullable=True),
        "duration": pa.Column("timedelta64[us]", nullable=True),
        "delivered_at": pa.Column(MOMENT, nullable=True),
        "original_event_id": pa.Column(TEXT, nullable=True),
        "webhook": pa.Column(TEXT, nullable=True),
        "url": pa.Column(TEXT, nullable=True),
    },
    index=pa.MultiIndex(
        [
            pa.Index(TEXT, name="webhook_id", nullable=True),
            pa.Index(TEXT, name="event_id", nullable=True),
        ]
    ),
    strict=True,
    ordered=True,
)
DELIVERY = WebhookDelivery(
    snowflake_id=2**62,
    event_id="evt_1",
    event_type="cvm.stopped",
    status="failed",
    attempts=4,
    request_url="https://a.org/x?token=sentinel",
    response_status=0,
    error_message="\x1b[31mNot sent",
    duration_ms=1500,
    created_at="2026-06-01T12:00:00+00:00",
    original_event_id="",
)


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [_Row(Webhook(), WebhookDelivery())],
        [_Row(Webhook(id="wh_1", name="mine"), DELIVERY)],
        [_Row(Webhook(id="wh_1"), WebhookDelivery(attempts=2**70, duration_ms=-5))],
    ],
)
def test_the_schema_holds_whatever_was_reported(rows):
    SCHEMA.validate(DELIVERIES.frame(rows))


def test_what_was_not_reported_is_missing_and_no_token_is_shown():
    frame = DELIVERIES.frame([_Row(Webhook(id="wh_1", name="mine"), DELIVERY)])
    row = frame.loc[("wh_1", "evt_1")]
    assert row["duration"] == pd.Timedelta("1.5s")
    assert (row["url"], row["error"], row["webhook"]) == ("https://a.org/x", "Not sent", "mine")
    assert row[["http_status", "delivered_at", "original_event_id"]].isna().all()
    assert frame.attrs["cvm"]["schema"] == "deliveries/1"


def test_all_webhooks_are_asked_or_the_one_that_is_named(cloud):
    key = cloud.new_workspace()["api_key"]
    with receiving() as receiver, cvm.Client(api_key=key, base_url=cloud.url) as client:
        SCHEMA.validate(cvm.deliveries_frame(client))
        made = [client.create_webhook(receiver.url, "cvm.stopped", name=n) for n in ("a", "b")]
        for webhook in (made[0], made[0], made[1]):
            client.test_webhook(webhook)
        until(lambda: len(cvm.deliveries_frame(client)) == 3)
        frame = cvm.deliveries_frame(client)
        SCHEMA.validate(frame)
        assert list(frame["webhook"]) == ["a", "a", "b"]
        assert set(frame["status"]) == {"success"}
        assert len(cvm.deliveries_frame(client, made[0])) == 2
        assert len(cvm.deliveries_frame(client, made[1].id)) == 1
        assert len(cvm.deliveries_frame(client, limit=1)) == 2
    with pytest.raises(cvm.InvalidInput, match="client"):
        cvm.deliveries_frame("client")
