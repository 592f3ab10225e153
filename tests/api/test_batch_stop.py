"""Stopping many CVMs with one request."""

import pytest

from cvm_notebook.api.errors.tree import InvalidInput, TransportError


def test_a_batch_stop_counts_and_names_those_that_failed(client, make):
    one, other = make(client), make(client)

    done = client.batch_stop_cvms([one, client.get_cvm_info(other), "no-such-cvm"])

    assert (done.total, done.stopped, done.skipped) == (3, 2, 0)
    (error,) = done.errors
    assert error.cvm_id == "no-such-cvm"
    assert error.error
    assert client.get_cvm_state(one).status in {"stopping", "stopped"}


@pytest.mark.parametrize("number", [0, 51])
def test_none_or_more_than_fifty_are_refused_before_anything_is_sent(client, number):
    with pytest.raises(InvalidInput, match=f"was given {number}"):
        client.batch_stop_cvms([f"web-{n}" for n in range(number)])


def test_a_batch_stop_that_may_have_arrived_is_not_sent_again(caller, broken, make):
    name = make(caller)
    broken.inject({"kind": "reset_after", "route": "POST /cvms/batch-stop"})

    with pytest.raises(TransportError) as caught:
        caller.batch_stop_cvms([name])

    assert caught.value.sent
    asked = [r for r in broken.requests() if r["path"].endswith("/batch-stop")]
    assert len(asked) == 1
