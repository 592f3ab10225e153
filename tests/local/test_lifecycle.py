"""The pure lifecycle: what a CVM does follows from its last operation, when it began, and now."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvm_notebook.local.engine.lifecycle import (
    BOOT_STEPS,
    KINDS,
    PLANS,
    STABLE,
    Operation,
    boots,
    duration,
    plan,
    target,
    view,
)

SPEED = 10.0


@pytest.mark.parametrize(
    ("kind", "origin", "path", "final"),
    [
        ("create", "", ["provisioning", "starting"], "running"),
        ("replicate", "", ["provisioning", "starting"], "running"),
        ("power_on", "stopped", ["starting"], "running"),
        ("power_off", "running", ["stopping"], "stopped"),
        ("shutdown", "running", ["shutting_down"], "stopped"),
        ("restart", "running", ["restarting", "starting"], "running"),
        ("force_restart", "running", ["restarting", "starting"], "running"),
        ("compose_update", "running", ["updating", "starting"], "running"),
        ("compose_update", "stopped", ["updating"], "stopped"),
        ("env_update", "error", ["updating"], "error"),
        ("resize", "exited", ["updating"], "exited"),
        ("image_update", "running", ["updating", "starting"], "running"),
    ],
)
def test_an_operation_goes_through_its_statuses_and_ends_where_it_should(kind, origin, path, final):
    operation = Operation(kind, began_at=1000.0, origin=origin)
    lasts = duration(operation, SPEED)
    seen = []
    for step in range(1000):
        now = view(operation, 1000.0 + lasts * step / 1000, SPEED)
        assert now.in_progress
        assert now.target == final
        if not seen or seen[-1] != now.status:
            seen.append(now.status)
    after = view(operation, 1000.0 + lasts, SPEED)
    assert seen == path
    assert (after.status, after.in_progress) == (final, False)
    assert target(operation) == final


def test_every_kind_of_operation_has_a_plan_that_ends_in_a_stable_status():
    for kind in KINDS:
        assert plan(kind, "running").final in STABLE | {"deleted"}


@pytest.mark.parametrize("kind", [kind for kind in PLANS if boots(Operation(kind, 0.0, "running"))])
def test_boot_progress_names_every_step_in_order_and_then_done(kind):
    operation = Operation(kind, 0.0, "running")
    lasts = duration(operation, 1.0)
    seen = []
    for step in range(2000):
        progress = view(operation, lasts * step / 2000, 1.0).boot_progress
        if progress is not None and (not seen or seen[-1] != progress):
            seen.append(progress)
    assert seen == list(BOOT_STEPS)
    assert view(operation, lasts, 1.0).boot_progress == "done"


def test_a_shutdown_says_powering_off_last():
    operation = Operation("shutdown", 0.0, "running")
    assert view(operation, 23.9, 1.0).shutdown_progress == "powering off"
    assert view(operation, 24.0, 1.0).shutdown_progress == "powering off"


def test_a_boot_that_fails_ends_in_error_with_its_reason():
    operation = Operation("power_on", 0.0, "stopped", final="error", error="no such image")
    assert view(operation, 44.0, 1.0).status == "starting"
    failed = view(operation, 45.0, 1.0)
    assert (failed.status, failed.boot_error, failed.running_since) == (
        "error",
        "no such image",
        None,
    )
    assert failed.exited_at == 45.0


def test_a_forced_restart_is_quicker_than_one_in_good_order():
    assert duration(Operation("force_restart", 0, "running"), 1) < duration(
        Operation("restart", 0, "running"), 1
    )


@pytest.mark.parametrize("origin", ["running", "stopped"])
@pytest.mark.parametrize("kind", KINDS)
@given(slot=st.integers(0, 250), speed=st.floats(0.01, 10_000))
def test_speed_only_divides_time(kind, origin, slot, speed):
    operation = Operation(kind, 0.0, origin)
    elapsed = slot + 0.5  # between the edges, which lie on whole seconds or eighths of 45 and 24
    quick, slow = view(operation, elapsed / speed, speed), view(operation, elapsed, 1.0)
    assert (quick.status, quick.in_progress) == (slow.status, slow.in_progress)


@given(early=st.floats(-1e6, -1e-3))
def test_a_clock_that_lags_sees_the_beginning(early):
    assert view(Operation("create", 0.0), early, 1.0).status == "provisioning"
