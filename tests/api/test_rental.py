"""The minimum term of GPUs, and the command that logs in: pure functions of a record."""

import datetime as dt
import shlex

import pytest
from helpers import COMPOSE

from cvm_notebook import Client
from cvm_notebook.api.errors.tree import CvmError, InvalidInput
from cvm_notebook.api.models.cvm import Cvm, Gateway, GpuRentalOrder, Resource
from cvm_notebook.api.rental import term_of
from cvm_notebook.api.workspace.ssh_command import ssh_command

NOON = dt.datetime(2026, 6, 1, 12, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)


def gpu(**order):
    return Cvm(
        resource=Resource(gpus=1),
        created_at="2026-06-01T02:00:00Z",
        gpu_rental_order=GpuRentalOrder(order_id="ord_1", **order) if order else None,
    )


def test_gpus_are_charged_for_a_day_from_when_the_cvm_was_made():
    term = term_of(gpu(), NOON)

    assert term.until == NOON + 14 * HOUR
    assert term.text == (
        "computing costs the same until 2026-06-02 02:00 UTC: "
        "GPUs are charged for at least 24 hours"
    )
    assert term_of(gpu(), NOON + 14 * HOUR) is None


def test_an_order_binds_for_its_days_from_its_activation():
    order = {"activated_at": "2026-05-20T00:00:00Z", "commitment_days": 30}

    term = term_of(gpu(**order), NOON)

    assert term.until == dt.datetime(2026, 6, 19, tzinfo=dt.UTC)
    assert term.reason == "rented for 30 days (order ord_1)"
    assert term_of(gpu(**order), NOON + 30 * 24 * HOUR) is None


def test_an_order_without_commitment_binds_for_a_day_from_its_activation():
    order = {"activated_at": "2026-06-01T10:00:00Z"}

    assert term_of(gpu(**order), NOON).until == NOON + 22 * HOUR


@pytest.mark.parametrize("end", ["completed_at", "cancelled_at", "decoupled_at"])
def test_an_order_that_has_ended_binds_no_more(end):
    order = {"activated_at": "2026-05-20T00:00:00Z", "commitment_days": 30}

    term = term_of(gpu(**order, **{end: "2026-05-21T00:00:00Z"}), NOON)

    assert term.reason == "GPUs are charged for at least 24 hours"


@pytest.mark.parametrize(
    "cvm",
    [
        Cvm(),
        Cvm(resource=Resource(gpus=0), created_at="2026-06-01T02:00:00Z"),
        Cvm(resource=Resource(gpus=1)),
        Cvm(resource=Resource(gpus=1), created_at="yesterday"),
    ],
)
def test_without_gpus_or_without_a_time_there_is_no_term(cvm):
    assert term_of(cvm, NOON) is None


@pytest.mark.parametrize("days", [-1, 0, 2**53])
def test_days_that_are_no_commitment_are_passed_over(days):
    cvm = gpu(activated_at="2026-06-01T10:00:00Z", commitment_days=days)

    assert term_of(cvm, NOON).until == NOON + 22 * HOUR


def test_the_terms_of_localcloud_are_shown_as_it_charges_them(new_cloud):
    with (
        new_cloud(seed="empty", speed=200) as cloud,
        Client(cloud.api_key, cloud.url) as client,
    ):
        asked = {"name": "gpu-one", "compose_file": COMPOSE, "instance_type": "h200.small"}
        client.commit_cvm_provision(client.provision_cvm(asked))
        client.watch_cvm_state("gpu-one", target="running")
        made = client.get_cvm_info("gpu-one")
        now = made.created

        assert term_of(made, now).until - now == 24 * HOUR
        cloud.rent(made.id, 7)
        rented = term_of(client.get_cvm_info("gpu-one"), now)
        assert rented.reason.startswith("rented for 7 days (order ")
        assert dt.timedelta(days=7) <= rented.until - now < dt.timedelta(days=8)


# --- ssh -----------------------------------------------------------------------------------------

REACHED = Cvm(name="web-1", instance_id="b" * 40, gateway=Gateway(base_domain="gw.example.net"))


def test_the_command_goes_through_the_gateways_tls():
    words = shlex.split(ssh_command(REACHED))

    assert words == [
        "ssh",
        "-o",
        "ProxyCommand=openssl s_client -quiet -servername %h -connect %h:%p",
        "-p",
        "443",
        f"root@{'b' * 40}-22.gw.example.net",
    ]


def test_another_port_another_user_and_a_gateway_at_a_port():
    cvm = Cvm(app_id="app_" + "a" * 40, gateway=Gateway(base_domain="gw.example.net:8443"))

    words = shlex.split(ssh_command(cvm, user="ana", port=2222))

    assert words[-2:] == ["8443", f"ana@{'a' * 40}-2222.gw.example.net"]


@pytest.mark.parametrize(
    "domain", ["gw.net; rm -rf ~", "$(id).net", "gw.net\nx", "-oProxyCommand=id", "gw.net/../", ""]
)
def test_nothing_but_the_name_of_a_host_comes_into_a_command(domain):
    cvm = Cvm(name="web-1", instance_id="b" * 40, gateway=Gateway(base_domain=domain))

    with pytest.raises(CvmError):
        ssh_command(cvm)


@pytest.mark.parametrize("bad", [{"user": "root;id"}, {"port": 0}, {"port": 70000}, {"user": ""}])
def test_a_user_or_a_port_that_is_none_is_refused(bad):
    with pytest.raises(InvalidInput):
        ssh_command(REACHED, **bad)


@pytest.mark.parametrize("cvm", [Cvm(name="web-1"), Cvm(gateway=Gateway(base_domain="gw.net"))])
def test_a_cvm_without_gateway_or_id_cannot_be_reached(cvm):
    with pytest.raises(CvmError, match="cannot be reached"):
        ssh_command(cvm)
