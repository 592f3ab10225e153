"""Metered usage: the records of an app are what its CVMs were charged, cut into hours."""

from datetime import UTC, datetime

import pytest

from cvm_notebook.local.core.usage import MeteredSpan
from cvm_notebook.local.engine import metering
from cvm_notebook.local.engine.metering import Period

HOUR = 3600.0


def span(begin, end, active=None, compute=7_000_001, storage=13):
    return MeteredSpan(
        cvm_id=1,
        begins_at=begin,
        ends_at=end,
        active_until=end if active is None else active,
        compute=compute,
        storage=storage,
    )


def cut(one, wanted):
    return [
        stretch.record(hour) for stretch in metering._parts(one) for hour in stretch.hours(wanted)
    ]


@pytest.mark.parametrize(
    "one",
    [
        span(0, 10 * HOUR),
        span(1_234.5, 1_234.6),
        span(3599.9, 7200.1, active=3600.0),
        span(HOUR, HOUR),
        span(HOUR - 1, HOUR, storage=0),
        span(5, 1000 * HOUR + 7, active=5, compute=0),
    ],
)
def test_the_hours_of_a_span_add_up_to_it(one):
    found = cut(one, Period(0, 1e9))
    assert sum(record.cost for record in found) == one.compute + one.storage
    for record in found:
        assert record.hour <= record.begins_at <= record.ends_at <= record.hour + HOUR


@pytest.mark.parametrize("border", [0, 1, 1_800, 3_600, 3_601, 20_000, 35_999])
def test_two_periods_side_by_side_share_no_record_and_lose_none(border):
    one = span(1_000, 10 * HOUR, active=4.5 * HOUR)
    first, second = cut(one, Period(0, border)), cut(one, Period(border, 11 * HOUR))
    assert sorted(first + second, key=repr) == sorted(cut(one, Period(0, 1e9)), key=repr)


def usage(api, app_id, **asked):
    answer = api.get(f"/apps/{app_id}/usage", params={"limit": 5000, **asked})
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.fixture
def billed(clocked_cloud, connect):
    """A client of a workspace whose one app had a life, and that app."""
    space = clocked_cloud.new_workspace(balance="1000")
    api = connect(clocked_cloud, key=space["api_key"])
    made = api.create(instance_type="tdx.large")
    clocked_cloud.advance(7_777)
    assert api.patch(f"/cvms/{made['id']}", {"instance_type": "tdx.xlarge"}).status_code == 202
    clocked_cloud.advance(10_000)
    replica = api.post(f"/cvms/{made['id']}/replicas").json()
    clocked_cloud.advance(5_000)
    api.post(f"/cvms/{made['id']}/stop")
    clocked_cloud.advance(90_000)
    assert api("DELETE", f"/cvms/{replica['id']}").status_code == 204
    clocked_cloud.advance(3_600)
    return api, made


def test_an_app_is_billed_what_its_workspace_has_paid_cvms_that_are_gone_included(billed):
    api, made = billed
    left, found = api.balance_and(lambda: usage(api, made["app_id"]))
    assert found["total_cost"] == pytest.approx(1000 - left, abs=1e-5)
    assert found["total"] == len(found["usage"]) > 50
    assert len({one["instance_id"] for one in found["usage"]}) == 2
    assert {one["usage_type"] for one in found["usage"]} == {"compute", "storage"}
    assert len({one["billing_key"] for one in found["usage"]}) == found["total"]


def test_usage_comes_in_pages_and_for_a_period(clocked_cloud, billed):
    api, made = billed
    assert api("DELETE", f"/cvms/{made['id']}").status_code == 204  # nothing more is charged
    clocked_cloud.advance(3_600)
    whole = usage(api, made["app_id"])["usage"]
    pages = []
    while page := usage(api, made["app_id"], limit=7, offset=len(pages))["usage"]:
        pages += page
    assert pages == whole
    border = sorted(one["billing_hour"] for one in whole)[len(whole) // 2]
    parts = [
        usage(api, made["app_id"], **{end: border})["total_cost"]
        for end in ("start_date", "end_date")
    ]
    assert sum(parts) == pytest.approx(sum(one["cost"] for one in whole), abs=1e-9)
    assert min(parts) > 0


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({"start_date": "2026-01-02T00:00:00", "end_date": "2026-01-01T00:00:00"}, 400),
        ({"start_date": "soon"}, 422),
        ({"limit": 5001}, 422),
    ],
)
def test_a_period_that_makes_no_sense_is_refused(billed, asked, status):
    api, made = billed
    assert api.get(f"/apps/{made['app_id']}/usage", params=asked).status_code == status


def test_others_see_nothing_of_it(billed, own):
    _, made = billed
    assert own.get(f"/apps/{made['app_id']}/usage").status_code == 404


def test_days_are_those_of_utc(billed):
    api, made = billed
    one = usage(api, made["app_id"])["usage"][0]
    at = datetime.fromisoformat(one["billing_hour"])
    assert at.astimezone(UTC).date().isoformat() == one["billing_day"]
    assert (at.minute, at.second) == (0, 0)
