"""The retry table, cell by cell, and the budget. No clock and no network: the policy is pure."""

import pytest

from cvm_notebook.api.http.retry import (
    AttemptOutcome,
    GiveUp,
    Reconcile,
    Retry,
    RetryBudget,
    RetryKind,
    RetryPolicy,
)

K, O = RetryKind, AttemptOutcome  # noqa: E741 - the table below is read by columns
KINDS = [K.READ, K.PROVISION, K.COMMIT, K.UPDATE]
#                     READ       PROVISION  COMMIT     UPDATE
TABLE = {
    O.NOT_SENT:      [Retry,     Retry,     Retry,     Retry],
    O.NO_ANSWER:     [Retry,     Retry,     Reconcile, GiveUp],
    O.UNTRUSTED:     [GiveUp,    GiveUp,    GiveUp,    GiveUp],
    O.RATE_LIMITED:  [Retry,     Retry,     Retry,     Retry],
    O.UNAVAILABLE:   [Retry,     Retry,     Reconcile, GiveUp],
    O.SERVER_ERROR:  [Retry,     GiveUp,    Reconcile, GiveUp],
    O.REDIRECT:      [GiveUp,    GiveUp,    GiveUp,    GiveUp],
    O.CONFLICT:      [GiveUp,    GiveUp,    Reconcile, GiveUp],
    O.REFUSED:       [GiveUp,    GiveUp,    GiveUp,    GiveUp],
}  # fmt: skip
CELLS = [(k, o, row[i]) for o, row in TABLE.items() for i, k in enumerate(KINDS)]
POLICY = RetryPolicy(attempts=4, base=0.2, cap=8, retry_after_cap=60)


def test_the_table_has_every_cell():
    assert {(k, o) for k, o, _ in CELLS} == {(k, o) for k in RetryKind for o in AttemptOutcome}


@pytest.mark.parametrize(
    ("kind", "outcome", "expected"), CELLS, ids=[f"{k.name}-{o.name}" for k, o, _ in CELLS]
)
def test_cell(kind, outcome, expected):
    assert type(POLICY.decide(kind, 1, outcome)) is expected


@pytest.mark.parametrize("outcome", AttemptOutcome)
@pytest.mark.parametrize("kind", RetryKind)
def test_no_attempt_without_end(kind, outcome):
    assert POLICY.decide(kind, 8, outcome) == GiveUp()


def test_a_fault_of_the_service_is_asked_about_once_more():
    assert isinstance(POLICY.decide(K.READ, 1, O.SERVER_ERROR), Retry)
    assert POLICY.decide(K.READ, 2, O.SERVER_ERROR) == GiveUp()


def test_being_asked_to_slow_down_may_take_twice_the_attempts():
    assert isinstance(POLICY.decide(K.READ, 7, O.RATE_LIMITED), Retry)
    assert POLICY.decide(K.READ, 8, O.RATE_LIMITED) == GiveUp()


@pytest.mark.parametrize(("attempt", "most"), [(1, 0.2), (2, 0.4), (3, 0.8)])
def test_the_wait_doubles_and_is_shortened_by_up_to_half(attempt, most):
    longest = POLICY.decide(K.READ, attempt, O.NO_ANSWER, rand=lambda: 0.0)
    shortest = POLICY.decide(K.READ, attempt, O.NO_ANSWER, rand=lambda: 1.0)
    assert longest == Retry(most)
    assert shortest == Retry(most / 2)


def test_the_wait_is_bounded():
    policy = RetryPolicy(attempts=100, cap=8)
    assert policy.decide(K.READ, 90, O.NO_ANSWER, rand=lambda: 0.0) == Retry(8)


@pytest.mark.parametrize(
    ("retry_after", "waits"), [(0.0, 0.0), (1.0, 1.0), (60.0, 60.0), (1e9, 60.0)]
)
def test_what_the_service_asks_for_is_kept_within_bounds(retry_after, waits):
    decision = POLICY.decide(K.READ, 1, O.RATE_LIMITED, retry_after=retry_after, rand=lambda: 0.0)
    assert decision == Retry(waits)


def test_no_wait_is_shorter_than_the_service_asked():
    for jitter in (0.0, 0.3, 0.999):
        after = POLICY.decide(K.READ, 1, O.RATE_LIMITED, retry_after=2.0, rand=lambda j=jitter: j)
        assert isinstance(after, Retry)
        assert 2.0 <= after.after <= 2.3


def test_an_outage_is_not_multiplied():
    """300 calls that all fail: the retries are the budget, not three times the calls."""
    budget = RetryBudget(tokens=20)
    retries = sum(budget.take() for _ in range(300) for _ in range(3))
    assert retries == 20


def test_ten_successes_pay_for_one_retry():
    budget = RetryBudget(tokens=2)
    assert budget.take()
    assert budget.take()
    assert not budget.take()
    for _ in range(11):
        budget.succeeded()
    assert budget.take()
    assert not budget.take()


def test_successes_do_not_save_up_without_bound():
    budget = RetryBudget(tokens=5)
    for _ in range(1000):
        budget.succeeded()
    assert budget.left == 5
