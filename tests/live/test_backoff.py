"""The reflector's back-off: 0.8 to 30 s, doubling, spread at random, forgotten when all is well."""

import pytest

from cvm_notebook.live.clock import Backoff


def waits(rand, failures=9):
    backoff = Backoff(rand=lambda: rand)
    return [backoff.failed(float(i)) for i in range(failures)]


def test_waits_double_from_the_first_to_the_cap():
    assert waits(0.0) == [0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30, 30, 30]


@pytest.mark.parametrize("rand", [0.0, 0.25, 0.5, 0.999])
def test_no_wait_is_longer_than_the_cap_or_shorter_than_the_first(rand):
    assert all(0.8 <= wait <= 30 for wait in waits(rand, 100))


def test_waits_are_spread_at_the_cap_too():
    assert len({waits(rand)[-1] for rand in (0.0, 0.3, 0.6, 0.9)}) == 4


def test_two_healthy_minutes_begin_anew(clock):
    backoff = Backoff(rand=lambda: 0.0)
    for _ in range(5):
        backoff.failed(clock.monotonic())
    backoff.succeeded(clock.monotonic())
    clock.advance(120)
    assert backoff.failed(clock.monotonic()) == 0.8


def test_a_short_success_does_not_begin_anew(clock):
    backoff = Backoff(rand=lambda: 0.0)
    backoff.failed(clock.monotonic())
    backoff.succeeded(clock.monotonic())
    clock.advance(119)
    backoff.succeeded(clock.monotonic())
    assert backoff.failed(clock.monotonic()) == 1.6


def test_time_without_any_success_is_not_health(clock):
    backoff = Backoff(rand=lambda: 0.0)
    backoff.failed(clock.monotonic())
    clock.advance(1000)
    assert backoff.failed(clock.monotonic()) == 1.6


def test_what_another_try_will_not_cure_waits_near_the_cap():
    assert 15 <= Backoff().longest(0.0) <= 30


def test_a_million_failures_do_not_overflow():
    backoff = Backoff(rand=lambda: 0.0, failures=10**6)
    assert backoff.failed(0.0) == 30
