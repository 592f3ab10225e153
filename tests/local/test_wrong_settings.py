"""Settings of a LocalCloud that cannot be: each is named before anything is made."""

import json
import pathlib
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

import cvm_notebook as cvm


@pytest.mark.parametrize(
    ("named", "said"),
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
    monkeypatch, tmp_path, named, said
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(ValueError, match=rf"^{said} is "):
        cvm.LocalCloud(**named)
    assert not list(tmp_path.iterdir())


def test_a_local_cloud_takes_numbers_of_numpy():
    cloud = cvm.LocalCloud(workers=np.int64(1), speed=np.float32(2), balance=100)
    target = {}
    cloud._settings.export(target)
    (said,) = map(json.loads, target.values())
    assert (said["workers"], said["speed"], said["balance"]) == (1, 2.0, "100")
