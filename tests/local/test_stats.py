"""Figures move with time, stay within bounds, and are the same for the same moment."""

import itertools

import pytest

from cvm_notebook.local.core.database import Cvm
from cvm_notebook.local.simulated import stats

NOW = 1_800_000_000.0
UUIDS = [f"{number:08d}-2222-4333-8444-555555555555" for number in range(60)]


def cvm(vm_uuid=UUIDS[0]):
    return Cvm(
        vm_uuid=vm_uuid,
        vcpu=4,
        memory=8192,
        disk_size=40,
        gpus=0,
        image="dstack-0.5.9",
        storage_fs="zfs",
    )


@pytest.mark.parametrize("vm_uuid", UUIDS)
def test_usage_stays_within_what_there_is(vm_uuid):
    for up in (0.0, 1.0, 60.0, 3_600.0, 30 * 86_400.0):
        used = stats.usage(cvm(vm_uuid), NOW + up, up)
        assert 0 < used.cpu_percent <= 100
        assert 0 < used.memory_used < used.memory_total == 8 << 30
        assert 0 < used.disk_used < used.disk_total == 40 << 30
        assert all(0 <= load <= 4 for load in used.load)


def test_the_same_moment_gives_the_same_figures():
    assert stats.usage(cvm(), NOW, 500) == stats.usage(cvm(), NOW, 500)


def test_figures_move():
    found = {stats.usage(cvm(), NOW + second, 3_600 + second).cpu_percent for second in range(60)}
    assert len(found) > 30


def test_egress_never_goes_back():
    sent = [stats.usage(cvm(), NOW + up, up).egress for up in range(0, 20_000, 7)]
    assert all(later >= earlier for earlier, later in itertools.pairwise(sent))
    assert sent[-1] > sent[0]


def test_memory_fills_after_the_boot():
    fresh, warm = (stats.usage(cvm(), NOW + up, up).memory_used for up in (1, 3_600))
    assert warm > fresh


def test_not_all_cvms_are_alike():
    assert len({stats.usage(cvm(vm_uuid), NOW, 9_000).cpu_percent for vm_uuid in UUIDS}) > 50


def test_stats_of_a_running_cvm_and_of_a_stopped_one(api):
    made = api.create()
    api.watch(made["id"], "running")
    online = api.get(f"/cvms/{made['id']}/stats").json()
    assert online["is_online"]
    assert online["error"] is None
    assert online["sysinfo"]["num_cpus"] == made["vcpu"]
    api.post(f"/cvms/{made['id']}/stop")
    api.watch(made["id"], "stopped")
    offline = api.get(f"/cvms/{made['id']}/stats").json()
    assert set(offline) == set(online)
    assert (offline["is_online"], offline["sysinfo"], offline["status"]) == (False, None, "stopped")


def test_network_and_composition_of_a_stopped_cvm_have_all_keys(api):
    made = api.create()
    api.watch(made["id"], "running")
    paths = [f"/cvms/{made['id']}/{what}" for what in ("network", "composition", "attestation")]
    online = [api.get(path).json() for path in paths]
    api.post(f"/cvms/{made['id']}/stop")
    api.watch(made["id"], "stopped")
    offline = [api.get(path).json() for path in paths]
    assert [set(one) for one in online] == [set(one) for one in offline]
    assert [one["is_online"] for one in online + offline] == [True] * 3 + [False] * 3
    assert offline[1]["containers"] is None
    assert online[1]["containers"][0]["image"] == "nginx:latest"
    assert online[0]["public_urls"][0]["app"].startswith(f"https://{made['app_id']}-80.")
