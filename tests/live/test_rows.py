"""The rules of rows, facts and snapshots, and of the clock the tests move."""

import threading

import pytest
from helpers import HANGS
from msgspec import UNSET

from cvm_notebook.api.models.actions import CvmAction, CvmState, CvmStatus
from cvm_notebook.api.models.cvm import Cvm
from cvm_notebook.live.clock import SystemClock
from cvm_notebook.live.store.index import AmbiguousCvm, UnknownCvm
from cvm_notebook.live.store.observation import Observation
from cvm_notebook.live.store.records import Provenance, Row, key_of
from cvm_notebook.live.store.store import FleetStore

ID = "cvm_00000001"


@pytest.fixture
def store(clock, make_cvm):
    store = FleetStore(clock)
    store.replace([make_cvm(1)], received=clock.monotonic())
    return store


def test_a_row_is_frozen_and_equal_by_what_it_says(clock, make_cvm):
    one = Row.of_cvm(make_cvm(1), Provenance(1.0, clock.now(), "list"), 3)
    other = Row.of_cvm(make_cvm(1), Provenance(2.0, clock.now(), "get"), 3)
    assert one == other
    assert hash(one) == hash(other)
    assert one != Row.of_cvm(make_cvm(1, status="stopped"), one.seen, 3)
    with pytest.raises(AttributeError):
        one.status = "stopped"


def test_an_age_is_never_negative(clock, make_cvm):
    row = Row.of_cvm(make_cvm(1), Provenance(10.0, clock.now(), "list"))
    assert (row.age(12.5), row.age(9.0)) == (2.5, 0.0)


def test_a_cvm_without_an_id_is_kept_under_its_next_best_identifier():
    assert key_of(Cvm(vm_uuid="u", name="n")) == "u"
    assert key_of(Cvm(name="n")) == "n"
    assert key_of(Cvm()) is None


def test_an_answer_is_as_old_as_its_question():
    assert Observation(received=9.0, asked=4.0, source="batch").moment == 4.0
    assert Observation(received=9.0, source="stream").moment == 9.0


def test_each_answer_becomes_a_fact_of_what_it_speaks_of(make_cvm):
    state = Observation.of_state(CvmState(id="a", status="running", uptime="1m"), received=1.0)
    assert (state.id, state.status, state.in_progress) == ("a", "running", UNSET)
    numbered = Observation.of_state(CvmState(id=7, vm_uuid="u"), received=1.0)
    assert (numbered.id, numbered.vm_uuid, numbered.status) == (None, "u", UNSET)
    flat = CvmStatus(status="stopping", in_progress=True, operation_type="stop",
                     operation_started_at="2026-06-23T12:00:00Z", correlation_id="c")  # fmt: skip
    batch = Observation.of_status(flat, vm_uuid="u", received=1.0)
    assert (batch.vm_uuid, batch.operation.type, batch.correlation_id) == ("u", "stop", "c")
    action = Observation.of_action(CvmAction(id=0, status="stopping"), id="a", received=1.0)
    assert (action.id, action.status, action.boot_progress) == ("a", "stopping", UNSET)
    busy = make_cvm(1, progress={"target": "stopped", "started_at": "2026-06-23T12:00:00Z"})
    assert Observation.of_cvm(busy, received=1.0).operation.type == "stopped"


def test_a_row_is_found_by_any_identifier(store):
    row = store.get(ID)
    cvm = row.cvm
    for identifier in (cvm.id, cvm.vm_uuid, cvm.app_id, cvm.instance_id, cvm.name):
        assert store.snapshot().find(identifier) is row
        assert identifier in store.snapshot()
    assert "" not in store.snapshot()


def test_a_row_is_found_by_any_spelling_of_an_id_that_the_service_takes(clock, make_cvm):
    store = FleetStore(clock)
    app, instance = "ab" * 20, "cd" * 20
    made = make_cvm(
        1,
        app_id=app,
        instance_id=instance,
        vm_uuid="0f8fad5b-d9cb-469f-a165-70867728950e",
    )
    store.replace([made, make_cvm(2, name="ab-" * 9 + "ab")], received=clock.monotonic())
    rows = store.snapshot()
    spellings = [
        *(f"{before}{app}" for before in ("app_", "0x", "instance_")),
        *(f"{before}{instance}" for before in ("", "app_", "instance_")),
        app.upper(),
        made.vm_uuid.replace("-", ""),
        made.vm_uuid.upper(),
        f" app_{app}\n",
    ]
    assert {rows.find(spelling).id for spelling in spellings} == {ID}
    for other in (f"app-{app}", f"0X{app}", made.vm_uuid[:-1], f"cvm_{app}", "-" + made.vm_uuid):
        assert other not in rows


def test_an_unknown_name_is_answered_with_close_ones(store):
    with pytest.raises(UnknownCvm, match=r"no CVM 'wbe-1'.*Did you mean 'web-1'\?"):
        store.snapshot().find("wbe-1")
    with pytest.raises(LookupError, match="The fleet has no CVMs"):
        FleetStore().snapshot().find("x")


@pytest.mark.parametrize(
    "pasted", ["\u200b", "\ufeff", "\xa0", "\u2060", " ", "\n", "\u200b \u200e"]
)
def test_what_pasting_adds_around_a_name_is_not_of_it(store, make_cvm, pasted):
    name = make_cvm(1).name
    rows = store.snapshot()
    for identifier in (f"{name}{pasted}", f"{pasted}{name}", f"{pasted}{ID}{pasted}"):
        assert rows.find(identifier).id == ID
        assert identifier in rows


@pytest.mark.parametrize("hidden", ["\u200b", "\xad", "\xa0", "\u202e", "\u3164", "\ufe0f"])
def test_what_cannot_be_seen_in_a_name_is_shown(clock, make_cvm, hidden):
    store = FleetStore(clock)
    store.replace([make_cvm(1, name="agent-alpha")], received=clock.monotonic())
    escape = hidden.encode("unicode_escape").decode()
    with pytest.raises(UnknownCvm) as error:
        store.snapshot().find(f"agent-{hidden}alpha")
    assert f"no CVM 'agent-{escape}alpha' in the fleet" in str(error.value)
    assert "Did you mean 'agent-alpha'?" in str(error.value)
    store.replace([make_cvm(1, name=f"agent-{hidden}alpha")], received=clock.monotonic())
    with pytest.raises(UnknownCvm, match="Did you mean") as error:
        store.snapshot().find("agent-alpha")
    assert f"Did you mean 'agent-{escape}alpha'?" in str(error.value)


def test_an_app_of_several_cvms_is_ambiguous_and_they_are_listed(clock, make_cvm):
    store = FleetStore(clock)
    store.replace([make_cvm(n, app_id="a" * 40) for n in range(9)], received=1.0)
    with pytest.raises(AmbiguousCvm, match=r"names 9 CVMs: web-0 \(cvm_00000000\).* and 4 more"):
        store.snapshot().find("a" * 40)


@pytest.mark.parametrize("name", ["<img src=x>", "a\x1b[2Jb", "x" * 10_000, "\u202egnp"])
def test_hostile_names_are_cleaned_and_clipped_in_messages(clock, name):
    store = FleetStore(clock)
    store.replace([Cvm(id=f"c{n}", name=name) for n in range(2)], received=1.0)
    for asked in (name, name + "?"):
        with pytest.raises(LookupError) as caught:
            store.snapshot().find(asked)
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 500


def test_the_test_clock_wakes_a_loop_once_for_each_time_it_is_due(clock):
    stop, woken = threading.Event(), []

    def loop():
        while not clock.wait(stop, 5.0):
            woken.append(clock.monotonic())

    thread = threading.Thread(target=loop)
    thread.start()
    assert clock.settle()
    start = clock.monotonic()
    clock.advance(12)
    assert woken == [start + 5, start + 10]
    clock.jump(8 * 3600)
    assert len(woken) == 3
    stop.set()
    thread.join(HANGS)
    assert not thread.is_alive()


def test_the_system_clock_tells_utc_and_waits_no_longer_than_asked():
    clock, event = SystemClock(), threading.Event()
    assert clock.now().utcoffset().total_seconds() == 0
    assert not clock.wait(event, -1.0)
    event.set()
    assert clock.wait(event, float("inf"))
    assert clock.monotonic() <= clock.monotonic()
