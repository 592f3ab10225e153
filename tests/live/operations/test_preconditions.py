"""What may be asked of a CVM in which state, why not, and what it would do."""

import pytest

from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.api.status import phase_of
from cvm_notebook.live.operations.preconditions import Admission, check_verb, precheck, what_changed
from cvm_notebook.live.store.observation import Reading
from cvm_notebook.live.store.records import Provenance, Row

S, N, J, R = Admission.SEND, Admission.ALREADY, Admission.JOIN, Admission.REFUSE
STATUSES = (
    *("running", "stopped", "failed", "provisioning", "starting", "stopping"),
    *("shutting_down", "restarting", "updating", "deleting", "deleted", "frobnicated"),
)
TABLE = {
    "start": (N, S, S, J, J, R, R, R, R, R, R, S),
    "stop": (S, N, S, S, S, J, S, S, S, S, N, S),
    "shutdown": (S, N, S, R, R, J, J, R, R, R, R, S),
    "restart": (S, R, S, R, R, R, R, J, R, R, R, S),
    "delete": (S, S, S, S, S, S, S, S, S, J, N, S),
    "replicate": (S, S, S, S, S, S, S, S, S, R, R, S),
}
CELLS = [
    (verb, status, answer)
    for verb, answers in TABLE.items()
    for status, answer in zip(STATUSES, answers, strict=True)
]


def seen(status, **more):
    return Reading(name="web-1", status=status, **more)


def row(make_cvm, **fields):
    return Row.of_cvm(make_cvm(1, **fields), Provenance(0.0, None, "list"))


@pytest.mark.parametrize(("verb", "status", "answer"), CELLS)
def test_each_verb_has_an_answer_in_each_state(verb, status, answer):
    check = precheck(verb, seen(status))

    assert check.admission is answer
    assert check.allowed is (answer is not R)
    assert check.effect
    assert bool(check.reason) is (answer is not S), "silent where it is sent, else it says why"


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("verb", ["stop", "delete"])
def test_stop_and_delete_are_never_refused(verb, status):
    assert precheck(verb, seen(status)).allowed
    assert precheck(verb, seen(status, in_progress=True)).allowed


def test_a_busy_cvm_says_what_it_does_and_since_when(make_cvm):
    doing = {"target": "running", "started_at": "2026-06-23T14:03:20Z", "correlation_id": "c-1"}
    busy = Reading.of_cvm(make_cvm(1, status="restarting", progress=doing))

    check = precheck("shutdown", busy)

    assert check.admission is R
    assert "'web-1' is restarting since 14:03:20 UTC" in check.reason
    assert "stop it" in check.reason, "and what to do"


def test_starting_what_runs_is_nothing_and_the_reason_says_so():
    check = precheck("start", seen("running"))

    assert check.allowed
    assert not check.sends
    assert check.reason == "'web-1' is already running"
    assert check.effect == "nothing: is already running"


def test_an_operation_under_way_counts_though_the_status_looks_idle():
    for verb in ("start", "shutdown", "restart"):
        assert precheck(verb, seen("running", in_progress=True)).admission is R
    assert precheck("stop", seen("stopped", in_progress=True)).sends, "it is the way out"


def test_stopping_a_busy_cvm_says_that_it_ends_what_goes_on():
    assert "cancels starting, then stops" in precheck("stop", seen("starting")).effect


def test_restarting_what_is_stopped_says_to_start_it():
    assert "Start it instead" in precheck("restart", seen("stopped")).reason


def test_an_unknown_verb_names_those_there_are():
    with pytest.raises(InvalidInput, match="shutdown"):
        check_verb("reboot")


@pytest.mark.parametrize(
    ("word", "phase"),
    [("Running", "running"), (" exited ", "stopped"), ("removing", "deleting"), (None, "unknown")],
)
def test_the_services_words_are_sorted_whatever_their_case(word, phase):
    assert phase_of(word) == phase


def test_a_row_that_has_turned_says_from_what_to_what(make_cvm):
    then, now = row(make_cvm), row(make_cvm, status="stopping")

    assert what_changed(then, now) == "'web-1' was running when it was shown, and is stopping now"
    assert "no longer in the fleet" in what_changed(then, None)


def test_a_row_whose_uptime_alone_has_moved_is_the_one_that_was_shown(make_cvm):
    then, now = row(make_cvm), row(make_cvm, updated_at="2026-06-02T10:00:00Z")

    assert what_changed(then, now) is None


def test_hostile_names_do_not_reach_the_words_with_their_escapes(make_cvm):
    shown = Reading.of_cvm(make_cvm(1, name="a\x1b[31m\u202eb\n<b>"))

    assert precheck("start", shown).reason == "'ab <b>' is already running"
