"""Bill, exposure and logins: schemas, exact sums, and what is not known is never nothing."""

import base64
import datetime as dt
from decimal import Decimal, localcontext

import pandas as pd
import pandera.pandas as pa
import pytest
from helpers import commit

from cvm_notebook import Client, Fleet
from cvm_notebook.api.errors.tree import ApiError, AuthError, InvalidInput, NotFoundError
from cvm_notebook.api.models.apps import UsageRecord
from cvm_notebook.api.models.guest import UserConfig
from cvm_notebook.api.models.network import FirewallStatus, PortMapping
from cvm_notebook.api.models.ssh import SshKey
from cvm_notebook.api.money import EXACT
from cvm_notebook.frames import exposure_frame, ssh_keys_frame, usage_frame
from cvm_notebook.frames.workspace.exposure import EXPOSURE, Exposure
from cvm_notebook.frames.workspace.logins import SSH_KEYS, _of_cvms
from cvm_notebook.frames.workspace.reading import read_each
from cvm_notebook.frames.workspace.usage import (
    BILL,
    USAGE,
    VERDICTS,
    _bounded,
    _Entry,
    _matched,
    bill_frame,
)
from cvm_notebook.live.costs.spent import costs_of
from cvm_notebook.live.store.changelog import Log
from cvm_notebook.live.store.records import Health

TEXT = pd.StringDtype()
MOMENT = pd.DatetimeTZDtype("us", "UTC")
NOON = dt.datetime(2026, 6, 1, 12, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)
MONEY = "float64"
DTYPES = {
    USAGE: {
        "vm_uuid": TEXT,
        "usage_type": TEXT,
        "event_type": TEXT,
        "billed_hour": MOMENT,
        "began": MOMENT,
        "ended": MOMENT,
        "minutes": "Float64",
        "cost_usd": MONEY,
        "recorded_at": MOMENT,
        "details": TEXT,
    },
    BILL: {
        "name": TEXT,
        "app_id": TEXT,
        "window_start": MOMENT,
        "window_end": MOMENT,
        **dict.fromkeys(("metered_usd", "compute_usd", "storage_usd", "other_usd"), MONEY),
        **dict.fromkeys(("estimate_usd", "difference_usd"), MONEY),
        "difference": "Float64",
        "verdict": pd.CategoricalDtype(list(VERDICTS)),
        "basis": TEXT,
        "note": TEXT,
    },
    EXPOSURE: {
        "name": TEXT,
        "status": None,
        "shows": TEXT,
        "listed": "boolean",
        "public_logs": "boolean",
        "public_sysinfo": "boolean",
        "public_tcbinfo": "boolean",
        "gateway": "boolean",
        "endpoint": TEXT,
        "custom_domain": TEXT,
        "open_ports": "Int64",
        "ports": TEXT,
        "firewall": "boolean",
        "firewall_reason": TEXT,
        "error": TEXT,
    },
    SSH_KEYS: {
        "cvm_name": TEXT,
        "key_name": TEXT,
        "in_account": "boolean",
        "key_type": TEXT,
        "comment": TEXT,
        "source": TEXT,
        "added_at": MOMENT,
        "dev_image": "boolean",
        "error": TEXT,
    },
}


def check(table, frame):
    dtypes = DTYPES[table]
    assert list(frame.columns) == list(dtypes)
    wrong = {n: frame[n].dtype for n, d in dtypes.items() if d and frame[n].dtype != d}
    assert not wrong
    columns = {n: pa.Column(d, nullable=True) for n, d in dtypes.items() if d and d != MONEY}
    pa.DataFrameSchema(columns).validate(frame)
    return frame


@pytest.mark.parametrize("table", DTYPES, ids=lambda table: table.schema)
def test_a_schema_does_not_depend_on_what_is_in_it(table):
    check(table, table.frame([]))


# --- the bill ------------------------------------------------------------------------------------


@pytest.fixture
def log(make):
    """The log of two CVMs that were seen to run for a day, at 0.06078 USD an hour."""
    made = {"created_at": "2026-05-01T00:00:00Z"}
    rows = [make.row(n, record=made) for n in (1, 2)]
    since = NOON - 24 * HOUR
    return Log((), (Health("live", since),), since, since, make.snapshot(*rows))


def uuid(number):
    return f"00000000-0000-4000-8000-{number:012d}"


def record(number=1, kind="compute", cost="0.058", hour="2026-06-01T10:00:00Z", **more):
    return UsageRecord(
        instance_id=uuid(number), usage_type=kind, cost=cost, billing_hour=hour, **more
    )


def bill(log, *records, threshold="0.05", hours=2):
    start = NOON - hours * HOUR
    entries = [_Entry(f"{1:040x}", one) for one in records]
    with localcontext(EXACT):
        estimates = costs_of(log, hours * HOUR, NOON)
        bounded = _bounded(entries, start, NOON)
        bills = _matched(log, estimates, bounded, Decimal(threshold))
        return check(BILL, BILL.frame(bills, money="float"))


TWO_HOURS = [
    record(hour="2026-06-01T10:00:00Z"),
    record(hour="2026-06-01T11:00:00Z"),
    record(kind="storage", cost="0.00278", hour="2026-06-01T10:00:00Z"),
    record(kind="storage", cost="0.00278", hour="2026-06-01T11:00:00Z"),
]


def test_a_bill_that_is_as_estimated_agrees_to_the_last_digit(log):
    row = bill(log, *TWO_HOURS).loc["cvm_00000001"]

    assert row["metered_usd"] == row["estimate_usd"] == 0.12156
    assert (row["compute_usd"], row["storage_usd"]) == (0.116, 0.00556)
    assert pd.isna(row["other_usd"])
    assert row["difference_usd"] == row["difference"] == 0
    assert row["verdict"] == "agrees"
    assert pd.isna(row["note"])


@pytest.mark.parametrize(
    ("cost", "threshold", "verdict"),
    [
        ("1.20", "0.05", "billed more"),
        ("0.01", "0.05", "billed less"),
        ("0.125", "0.05", "agrees"),  # 2.8 per cent
        ("0.131", "0", "agrees"),  # less than a cent
        ("0.14", "0.05", "billed more"),
        ("0.14", "0.2", "agrees"),
    ],
)
def test_a_difference_over_the_threshold_is_named(log, cost, threshold, verdict):
    frame = bill(log, record(cost=cost), threshold=threshold)

    row = frame.loc["cvm_00000001"]
    assert row["verdict"] == verdict
    assert pd.isna(row["note"]) == (verdict == "agrees")


def test_a_cvm_of_which_nothing_was_metered_is_listed(log):
    row = bill(log, *TWO_HOURS).loc["cvm_00000002"]

    assert row["verdict"] == "not billed"
    assert pd.isna(row["metered_usd"])
    assert row["note"] == "the service has metered nothing of it in this time"


def test_what_was_billed_of_a_cvm_that_is_not_known_here_is_in_the_bill_too(log):
    row = bill(log, record(9, cost="4.2")).loc[uuid(9)]

    assert row["metered_usd"] == 4.2
    assert pd.isna(row["estimate_usd"])
    assert row["verdict"] == "not known"


def test_an_amount_that_is_not_known_is_not_nothing(log):
    row = bill(log, record(cost="1"), record(cost="what?", hour="2026-06-01T11:00:00Z")).loc[
        "cvm_00000001"
    ]

    assert pd.isna(row["metered_usd"])
    assert row["verdict"] == "not known"
    assert row["note"] == "a price is not known"


def test_hours_outside_of_the_window_do_not_count(log):
    frame = bill(log, record(hour="2026-06-01T09:00:00Z"), record(hour="2026-06-01T12:00:00Z"))

    assert frame["metered_usd"].isna().all()


def test_what_is_neither_computing_nor_storage_has_a_column(log):
    row = bill(log, *TWO_HOURS, record(kind="egress", cost="0.5")).loc["cvm_00000001"]

    assert row["other_usd"] == 0.5
    assert row["metered_usd"] == pytest.approx(0.62156)


@pytest.mark.parametrize("bad", [{"threshold": -1}, {"threshold": "5 %"}, {"end": NOON - 9 * HOUR}])
def test_a_bill_of_no_time_or_threshold_is_refused(log, bad):
    with Client("phak_nobody", "http://127.0.0.1:9/api/v1") as nobody, pytest.raises(InvalidInput):
        bill_frame(nobody, log, **{"start": NOON - 8 * HOUR, "end": NOON, **bad})


# --- exposure ------------------------------------------------------------------------------------


def test_what_anybody_can_reach_is_shown_in_words(make):
    ports = [PortMapping(vm_port=22, host_port=20022, protocol="tcp")]
    found = Exposure(make.cvm(1), ports, FirewallStatus(available=False, reason="too old"))

    row = check(EXPOSURE, EXPOSURE.frame([found])).iloc[0]

    assert row["shows"] == "logs, system figures, measurements, web addresses, node ports"
    assert (row["open_ports"], row["ports"]) == (1, "22/tcp on 20022")
    assert row["endpoint"] == "https://web.example.net"
    assert row["custom_domain"] == "shop.example.com"
    assert (row["firewall"], row["firewall_reason"]) == (False, "too old")
    assert pd.isna(row["error"])


def test_ports_that_could_not_be_read_are_missing_and_not_closed(make):
    lost = ApiError(502, "the node does not answer")

    row = EXPOSURE.frame([Exposure(make.cvm(1), lost, lost)]).iloc[0]

    assert pd.isna(row["open_ports"])
    assert pd.isna(row["ports"])
    assert pd.isna(row["firewall"])
    assert "node ports" not in row["shows"]
    assert "ports: the node does not answer" in row["error"]


# --- who can log in ------------------------------------------------------------------------------


def key_line(seed=b"k", comment="ana@laptop"):
    kind = b"ssh-ed25519"
    blob = len(kind).to_bytes(4, "big") + kind + (32).to_bytes(4, "big") + seed * 32
    return f"ssh-ed25519 {base64.b64encode(blob).decode()} {comment}"


def test_each_key_of_a_cvm_has_a_row_and_says_whose_it_is(make):
    print_ = "SHA256:sArVyTbDlP2ByuRNM59Xf/iwOUmdy69sxylyNl3iUQQ"
    own = {print_: SshKey(id="key_1", name="laptop", fingerprint=print_, source="manual")}
    config = UserConfig(ssh_authorized_keys=(f"{key_line()}\n{key_line(b's', 'eve')}\n\n", "?"))
    lost = NotFoundError(404, "it is gone")

    logins = list(_of_cvms([make.cvm(1), make.cvm(2)], [config, lost], own))
    frame = check(SSH_KEYS, SSH_KEYS.frame(logins))

    assert frame["in_account"].to_list() == [True, False, False, False]
    assert frame["key_name"].to_list() == ["laptop", pd.NA, pd.NA, pd.NA]
    assert frame["comment"].to_list()[:2] == ["ana@laptop", "eve"]
    assert frame["dev_image"].to_list()[0] is False
    assert frame["error"].to_list() == [
        pd.NA,
        pd.NA,
        "it lets in a line that is not a public key of OpenSSH",
        "it is gone",
    ]


# --- against LocalCloud --------------------------------------------------------------------------


@pytest.fixture
def client(cloud):
    with Client(cloud.api_key, cloud.url) as made:
        yield made


def deployed(client, name, **more):
    commit(client, name, **more)
    client.watch_cvm_state(name, target="running")
    return client.get_cvm_info(name)


def test_what_a_cvm_lets_in_is_read_of_localcloud(client):
    key = client.add_ssh_key("frame-key", key_line(b"f"))
    cvm = deployed(client, "with-a-key")

    frame = check(SSH_KEYS, ssh_keys_frame(client))

    assert key.fingerprint in frame.index.get_level_values("fingerprint")
    assert cvm.id in frame.index.get_level_values("cvm_id") or not (
        client.get_cvm_user_config(cvm).ssh_authorized_keys
    )
    client.delete_ssh_key(key)


def test_a_refused_key_is_raised_and_not_a_column(cloud):
    with Client("phak_wrong", cloud.url) as stranger, pytest.raises(AuthError):
        read_each([1], lambda _: stranger.list_ssh_keys())


@pytest.mark.parametrize("frame", [exposure_frame, ssh_keys_frame, usage_frame])
def test_what_is_neither_a_client_nor_a_fleet_is_refused(frame):
    with pytest.raises(InvalidInput):
        frame("https://cloud-api.phala.com")


def test_the_bill_of_localcloud_agrees_with_rates_times_the_time(fresh_cloud):
    with Client(fresh_cloud.api_key, fresh_cloud.url) as client:
        cvm = deployed(client, "billed-one")
        start = dt.datetime.now(dt.UTC).replace(minute=0, second=0, microsecond=0)
        fresh_cloud.advance(5 * 3600)

        end = start + dt.timedelta(hours=4)  # the fifth hour is not over
        usage = check(USAGE, usage_frame(client, cvm.app_id, start=start, end=end))
        with Fleet(client) as fleet:
            bill = check(BILL, fleet.bill(start, end))

    assert set(usage["usage_type"]) == {"compute", "storage"}
    assert set(usage["vm_uuid"]) == {cvm.vm_uuid}
    row = bill.loc[cvm.id]
    assert row["verdict"] == "agrees"
    assert row["metered_usd"] == pytest.approx(usage["cost_usd"].sum())
    assert row["metered_usd"] == pytest.approx(row["estimate_usd"], rel=0.01)
    assert row["name"] == "billed-one"


def test_what_a_cvm_cost_that_is_gone_with_its_app_is_in_the_bill(fresh_cloud):
    with Client(fresh_cloud.api_key, fresh_cloud.url) as client:
        cvm = deployed(client, "gone-soon")
        start = dt.datetime.now(dt.UTC).replace(minute=0, second=0, microsecond=0)
        with Fleet(client) as fleet:
            fleet.snapshot()
            fresh_cloud.advance(3 * 3600)
            fleet[cvm.id].delete().wait(60)
            fleet.wait(cvm.id, status="deleted", progress=False)

            bill = check(BILL, fleet.bill(start, start + dt.timedelta(hours=3)))

    row = bill.loc[cvm.id]
    assert row["metered_usd"] > 0.05
    assert row["app_id"] == cvm.app_id


def test_use_is_paged_and_each_record_counts_once(fresh_cloud, monkeypatch):
    monkeypatch.setattr("cvm_notebook.api.workspace.apps._PAGE", 3)
    with Client(fresh_cloud.api_key, fresh_cloud.url) as client:
        cvm = deployed(client, "paged-one")
        fresh_cloud.advance(5 * 3600)
        usage = client.get_app_usage(cvm.app_id)

    assert usage.total == len(usage.usage) == len({one.billing_key for one in usage.usage}) >= 10
    assert usage.total_cost == sum(one.cost for one in usage.usage)


def test_what_is_exposed_is_read_of_localcloud(client):
    cvm = deployed(client, "exposed-one")
    client.update_listed(cvm, listed=True)
    can = client.get_firewall_status(cvm).available
    ports = client.update_ports(cvm, ports=[8080, "53/udp"]) if can else []

    frame = check(EXPOSURE, exposure_frame(client))

    row = frame.loc[cvm.id]
    assert row["listed"]
    assert "listed" in row["shows"]
    assert row["firewall"] == can
    assert row["open_ports"] == len(ports)
    assert pd.isna(row["error"])
    with Fleet(client) as fleet:
        assert fleet.exposure().loc[cvm.id, "open_ports"] == len(ports)
        assert list(ssh_keys_frame(fleet).columns) == list(DTYPES[SSH_KEYS])
        assert cvm.instance_id in fleet[cvm.id].ssh_command()
    assert {port.vm_port for port in client.list_ports(cvm)} == {port.vm_port for port in ports}
