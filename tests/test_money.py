"""Sums of money are the same, and exact, in every decimal context that a user may have set."""

import decimal
from decimal import Decimal, localcontext

import pytest

import cvm_notebook as cvm
from cvm_notebook.api.models.cvm import Cvm, HourlyRate
from cvm_notebook.api.money import total
from cvm_notebook.deploy.pricing import Price, month_of
from cvm_notebook.frames.reports.gates import gates_frame
from cvm_notebook.text import usd, without_zeros

CONTEXTS = {
    "three digits": decimal.Context(prec=3),
    "rounds up": decimal.Context(prec=5, rounding=decimal.ROUND_UP),
    "traps what is not exact": decimal.Context(prec=4, traps=[decimal.Inexact, decimal.Rounded]),
    "traps floats": decimal.Context(prec=28, traps=[decimal.FloatOperation]),
    "traps nothing": decimal.Context(prec=2, traps=[]),
}


@pytest.fixture(params=CONTEXTS)
def context(request):
    with localcontext(CONTEXTS[request.param]):
        yield


@pytest.fixture
def frame():
    rate = HourlyRate(total="1.004567", disk="0.000139", compute="1.004428")
    cvms = [Cvm(id=f"cvm_{n}", name=f"c-{n}", status="running", hourly_rate=rate) for n in range(3)]
    stopped = [Cvm(id="cvm_9", name="c-9", status="stopped", hourly_rate=rate)]
    return cvm.fleet_frame([*cvms, *stopped], columns="wide")


def test_a_gate_that_fails_fails_whatever_the_context(frame, context):
    with pytest.raises(cvm.GatesFailed, match=r"3\.01384 USD/h, and at most 3\.0138 USD/h"):
        cvm.assert_fleet(frame, max_rate_usd_h="3.0138")
    cvm.assert_fleet(frame, max_rate_usd_h="3.01384")
    assert gates_frame(frame, max_idle_usd_h=1)["found"].tolist() == ["0.000139 USD/h"]


def test_sums_of_a_frame_are_exact(frame, context):
    assert frame.cvm.rate == Decimal("4.018268")
    assert frame.cvm.charged == Decimal("3.013840")
    amounts = frame.cvm.cost(hours=1000, money="decimal")["amount_usd"]
    assert total(amounts) == Decimal("3013.84")


def test_what_is_shown_has_every_digit(context):
    assert usd(Decimal("12.3456700")) == "12.34567"
    assert without_zeros(Decimal("1234567.890")) == "1234567.89"
    assert Price(compute=Decimal("1.234567"), disk_gb=20, replicas=3).hour == Decimal("3.712041")
    assert month_of(Decimal("1.234567")) == "901.23"
