"""Settings of a LocalCloud that cannot be: each is named before anything is made."""

import json
import pathlib
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

import cvm_notebook as cvm


@pytest.mark.parametrize(
    ("named", "setting"),
    [
        ({"seed": ["demo"]}, "seed"),
        ({"speed": "fast"}, "speed"),
        ({"speed": Decimal("sNaN")}, "speed"),
        ({"workers": 1.5}, "workers"),
        ({"port": "http"}, "port"),
        ({"port": 70_000}, "port"),
        ({"database": pathlib.Path("a.sqlite")}, "database"),
        ({"faults": 3}, "faults"),
        ({"faults": ["latency"]}, "faults"),
        ({"faults": {"kind": "latency"}}, "faults"),
        ({"tier": {}}, "tier"),
        ({"balance": None}, "balance"),
        ({"rate_limit": pd.NA}, "rate_limit"),
        ({"provision_days": 10**400}, "provision_days"),
    ],
    ids=repr,
)
def test_a_local_cloud_names_the_setting_that_is_wrong_and_leaves_no_folder(
    monkeypatch, tmp_path, named, setting
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(ValueError, match=rf"^{setting} is "):
        cvm.LocalCloud(**named)
    assert not list(tmp_path.iterdir())


def test_a_local_cloud_takes_numbers_of_numpy():
    cloud = cvm.LocalCloud(workers=np.int64(1), speed=np.float32(2), balance=100)
    target = {}
    cloud._settings.export(target)
    (settings,) = map(json.loads, target.values())
    assert (settings["workers"], settings["speed"], settings["balance"]) == (1, 2.0, "100")


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda cloud: cloud.inject({"kind": "latencey"}), "latencey|kind"),
        (lambda cloud: cloud.inject("latency"), "mappings"),
        (lambda cloud: cloud.inject(None), "mappings"),
        (lambda cloud: cloud.inject({"kind": pd.NA}), "JSON"),
        (lambda cloud: cloud.advance("soon"), "seconds"),
        (lambda cloud: cloud.advance(float("nan")), "seconds"),
        (lambda cloud: cloud.suspend("no/such workspace"), "workspace"),
        (lambda cloud: cloud.suspend(None), "no slug"),
        (lambda cloud: cloud.fail("no-such-cvm"), "no-such-cvm"),
        (lambda cloud: cloud.new_workspace(tier="GOLD"), "GOLD"),
    ],
)
def test_what_a_local_cloud_is_asked_for_and_cannot_do_is_a_value_error_that_says_why(
    cloud, ask, says
):
    with pytest.raises(ValueError, match=says):
        ask(cloud)
