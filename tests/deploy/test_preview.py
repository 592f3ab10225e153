"""What an update would change, cost, restart and lose: pure functions of a record and of wishes."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from helpers import COMPOSE

import cvm_notebook.frames.reports.plan  # noqa: F401 - whatever imports it opens a socket
from cvm_notebook.api.compose.hashing import compose_hash
from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.api.models.catalogue import InstanceType, Node, QuotaMetric, WorkspaceQuotas
from cvm_notebook.api.models.cvm import Cvm, GpuRentalOrder, HourlyRate, NodeRef, OsInfo, Resource
from cvm_notebook.api.secret import Secret
from cvm_notebook.deploy.declaration import Changes
from cvm_notebook.deploy.preview import preview_of
from cvm_notebook.deploy.size import Size, Surroundings

NEWER = COMPOSE.replace("1.27", "1.28")
SMALL = InstanceType(id="tdx.small", vcpu=1, memory_mb=2048, hourly_rate=Decimal("0.058"))
MEDIUM = InstanceType(id="tdx.medium", vcpu=2, memory_mb=4096, hourly_rate=Decimal("0.116"))
H200 = InstanceType(
    id="h200.small", vcpu=24, memory_mb=196608, hourly_rate=Decimal("3.50"), requires_gpu=True
)
TYPES = (SMALL, MEDIUM, H200)
NOW = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)


def a_cvm(*, allowed=(), size=SMALL, status="running", gpus=0, **more):
    compose = {
        "name": "",
        "runner": "docker-compose",
        "docker_compose_file": COMPOSE,
        "allowed_envs": list(allowed),
        "public_logs": True,
        "public_sysinfo": True,
        "public_tcbinfo": True,
    }
    fields = {
        "id": "cvm_00000001",
        "name": "web-1",
        "status": status,
        "compose_file": compose,
        "compose_hash": compose_hash(compose),
        "resource": Resource(
            instance_type=size.id,
            vcpu=size.vcpu,
            memory_in_gb=size.memory_mb / 1024,
            disk_in_gb=20,
            gpus=gpus,
        ),
        "node_info": NodeRef(id=3, name="prod3"),
        "os": OsInfo(name="dstack-0.5.7"),
        "hourly_rate": HourlyRate(total="0.06078", compute="0.058", disk="0.00278"),
        "listed": False,
    }
    return Cvm(**(fields | more))


def preview(cvm=None, around=None, send_env=True, **changes):
    around = around or Surroundings(types=TYPES)
    return preview_of(cvm or a_cvm(), Changes.read(changes), around, send_env=send_env, now=NOW)


def test_what_is_so_already_is_not_sent():
    found = preview(
        compose_file=COMPOSE,
        instance_type="tdx.small",
        disk_size=20,
        image="dstack-0.5.7",
        public_logs=True,
        listed=False,
        pre_launch_script="",
    )
    assert not found.differs
    assert found.body == {}
    assert found.phrase is None
    assert "nothing differs" in str(found)


def test_what_means_the_same_is_not_sent():
    assert not preview(compose_file=COMPOSE.replace("\n", "\r\n")).differs
    known = a_cvm(os=OsInfo(name="dstack-0.5.7", os_image_hash="0badc0de" + "0" * 56))
    assert not preview(known, image="dstack-0.5.7-0badc0de").differs
    assert preview(known, image="dstack-0.5.7-deadbeef").differs


def test_only_what_differs_is_sent():
    found = preview(compose_file=NEWER, instance_type="tdx.small", public_logs=False)
    assert found.body == {"docker_compose_file": NEWER, "public_logs": False}
    assert [one.field for one in found.fields] == ["compose_file", "public_logs"]
    assert found.restarts


def test_the_hash_before_and_after_is_that_of_the_app_compose():
    cvm = a_cvm()
    found = preview(cvm, compose_file=NEWER)
    assert found.hash_before == cvm.compose_hash
    assert found.hash_after == compose_hash({**cvm.compose_file, "docker_compose_file": NEWER})


def test_a_hash_that_is_computed_otherwise_is_not_predicted():
    found = preview(a_cvm(compose_hash="ab" * 32), compose_file=NEWER)
    assert found.hash_after is None
    assert "not known before it is sent" in str(found)


def test_a_stopped_cvm_does_not_restart_and_a_listing_restarts_none():
    assert not preview(a_cvm(status="stopped"), compose_file=NEWER).restarts
    found = preview(listed=True)
    assert not found.restarts
    assert (found.listed, found.body) == (True, {})


def test_variables_that_are_not_given_are_lost_and_that_wants_the_phrase():
    found = preview(a_cvm(allowed=["A", "B"]), env={"B": "1", "C": "2"})
    assert (found.env_added, found.env_kept, found.env_lost) == (("C",), ("B",), ("A",))
    assert found.phrase == "update 1"
    assert "A would be lost" in str(found)
    assert found.hash_after == compose_hash({**a_cvm(allowed=["B", "C"]).compose_file})


def test_an_environment_of_the_same_names_is_sent_where_that_is_wanted():
    cvm = a_cvm(allowed=["A"])
    assert preview(cvm, env={"A": "1"}).env == {"A": Secret("1")}
    quiet = preview(cvm, env={"A": "1"}, send_env=False)
    assert not quiet.differs
    assert "cannot be read back" in str(quiet)


def test_no_value_of_a_variable_is_shown():
    found = preview(a_cvm(allowed=["A"]), env={"A": "hunter2"}, user_config="s3cret")
    shown = found._repr_mimebundle_()
    for text in (
        str(found),
        repr(found),
        shown["text/html"],
        repr(Changes.read({"env": {"A": "hunter2"}})),
    ):
        assert "hunter2" not in text
        assert "s3cret" not in text


def test_what_is_in_a_file_does_not_act_in_html_or_text():
    strange = "# <script>alert(1)</script> \x1b[31m \u202e\n"
    was = {"docker_compose_file": COMPOSE + strange}
    found = preview(a_cvm(compose_file=was), compose_file=NEWER)
    shown = found._repr_mimebundle_()
    assert "<script>" not in shown["text/html"]
    assert "&lt;script&gt;" in shown["text/html"]
    for text in shown.values():
        assert "\x1b" not in text
        assert "\u202e" not in text


def test_the_diff_is_coloured_in_html_and_bounded():
    long = COMPOSE + "".join(f"# {number}\n" for number in range(1000))
    found = preview(compose_file=long)
    html = found._repr_mimebundle_()["text/html"]
    assert "<ins " in html
    assert "lines more" in html
    assert html.count("<ins ") < 500


def test_the_price_follows_the_type_and_the_disk():
    found = preview(instance_type="tdx.medium", disk_size=40)
    assert found.usd_h_before == Decimal("0.06078")
    assert found.usd_h_after == Decimal("0.116") + 40 * Decimal("0.000139")
    assert preview(vcpu=2, memory=4096).usd_h_after == Decimal("0.116") + Decimal("0.00278")
    assert preview(vcpu=3).usd_h_after is None


def test_shrinking_wants_the_phrase():
    found = preview(a_cvm(size=MEDIUM), instance_type="tdx.small")
    assert found.phrase == "update 1"
    assert "shrink, from 2 vCPU with 4 GB to 1 vCPU with 2 GB" in str(found)


def test_what_is_in_the_way_is_named():
    node = Node(teepod_id=3, remaining_vcpu=0, remaining_memory=1024)
    quotas = WorkspaceQuotas(
        vcpu=QuotaMetric(limit=8, remaining=8),
        memory_mb=QuotaMetric(limit=-1, remaining=-1),
        disk_gb=QuotaMetric(limit=30, remaining=5),
    )
    around = Surroundings(types=TYPES, node=node, quotas=quotas)
    found = preview(None, around, instance_type="tdx.medium", disk_size=40)
    assert found.obstacles == (
        "1 more vCPU of the node are needed, and 0 are left",
        "2048 more MB of memory of the node are needed, and 1024 are left",
        "20 more GB of disk of the quota are needed, and 5 are left",
    )
    assert preview(None, around, disk_size=10).obstacles == ("its disk has 20 GB and only grows",)


@pytest.mark.parametrize(
    ("order", "end"),
    [
        (None, NOW + timedelta(hours=20)),
        (
            GpuRentalOrder(commitment_days=7, activated_at="2026-06-01T00:00:00Z"),
            NOW + timedelta(days=6, hours=12),
        ),
    ],
)
def test_leaving_gpus_before_their_minimum_term_wants_the_phrase(order, end):
    made = (NOW - timedelta(hours=4)).isoformat()
    cvm = a_cvm(size=H200, gpus=1, created_at=made, gpu_rental_order=order)
    found = preview(cvm, instance_type="tdx.medium")
    until = f"computing costs the same until {end:%Y-%m-%d %H:%M} UTC"
    assert any(danger.startswith(until) for danger in found.dangers)


def test_a_record_that_says_little_is_judged_all_the_same():
    found = preview(Cvm(id="x"), compose_file=COMPOSE, vcpu=2, listed=True)
    assert [one.field for one in found.fields] == ["compose_file", "vcpu", "listed"]
    assert found.usd_h_after is None
    assert Size.of(Cvm()) == Size()


def test_the_frame_has_a_row_for_each_field():
    frame = preview(compose_file=NEWER, disk_size=40).frame()
    assert list(frame.index) == ["compose_file", "disk_size"]
    assert list(frame.loc["disk_size"]) == ["20", "40"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"disk_sise": 40}, "Did you mean disk_size"),
        ({"colour": "red"}, "takes no such field"),
        ({"compose_file": "no.yml"}, "no.yml"),
        ({"compose_file": 5}, "not a compose file"),
        ({"compose_file": "version: 3"}, "services"),
        ({"env": ["A"]}, "not a mapping"),
        ({"env": {"A B": "1"}}, "not a name"),
        ({"env": {"A": 1}}, "not text"),
        ({"memory": 4}, "MB"),
        ({"shutdown_timeout": 5}, "10 to 1200"),
    ],
)
def test_what_cannot_be_changed_is_refused_in_words(given, message):
    with pytest.raises(InvalidInput, match=message):
        Changes.read(given)
