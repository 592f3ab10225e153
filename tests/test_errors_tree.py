"""Errors are found in one place, and what is of a wrong type is refused by name."""

import importlib
import inspect
import pkgutil
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest
from helpers import commit

import cvm_notebook as cvm
from cvm_notebook import errors, frames


def all_of(kind):
    for one in kind.__subclasses__():
        yield one
        yield from all_of(one)


def test_every_error_is_found_in_errors():
    for module in pkgutil.walk_packages(cvm.__path__, "cvm_notebook."):
        if not module.name.startswith("cvm_notebook.local.") and "__main__" not in module.name:
            importlib.import_module(module.name)
    raised = {
        one.__name__: one
        for one in all_of(cvm.CvmError)
        if one.__module__.startswith("cvm_notebook") and not one.__name__.startswith("_")
    }
    assert len(raised) > 20
    assert {name: getattr(errors, name, None) for name in raised} == raised
    assert raised.keys() <= set(errors.__all__)
    assert all(inspect.isclass(getattr(errors, name)) for name in errors.__all__)
    assert errors.LocalCloudError is cvm.local.LocalCloudError
    assert cvm.errors is errors


def test_what_is_named_in_cvm_is_the_same_as_in_errors():
    shared = set(cvm.__all__) & set(errors.__all__)
    assert {"NotFoundError", "GatesFailed", "WatchTimeout"} <= shared
    assert all(getattr(cvm, name) is getattr(errors, name) for name in shared)


@pytest.fixture(scope="module")
def client(new_cloud):
    with (
        new_cloud(seed="empty", speed=100) as cloud,
        cvm.Client(api_key=cloud.api_key, base_url=cloud.url) as made,
    ):
        for name in ("typed-1", "typed-2"):
            commit(made, name)
            made.watch_cvm_state(name, target="running")
        yield made


@pytest.fixture(scope="module")
def fleet(client):
    with cvm.Fleet(client) as made:
        len(made)
        yield made


WRONG = [None, 5, -1, 1.5, b"x", object(), [], {}, "", "\u200b", [None], True, float("nan")]


def walk(function, valid):
    """Call a function with each wrong value for each parameter; errors of others come through."""
    parameters = inspect.signature(function).parameters.values()
    for wrong_one in parameters:
        if wrong_one.kind is wrong_one.VAR_KEYWORD:
            continue
        for wrong in WRONG:
            positional, keywords = [], {}
            for one in parameters:
                if one is not wrong_one and one.name not in valid:
                    continue
                value = wrong if one is wrong_one else valid[one.name]
                if one.kind is one.KEYWORD_ONLY:
                    keywords[one.name] = value
                elif one.kind is not one.VAR_KEYWORD:
                    positional.append(value)
            try:
                made = function(*positional, **keywords)
                if inspect.isgenerator(made):
                    next(made, None)
            except cvm.CvmError:
                continue
            except (AttributeError, KeyError, TypeError) as error:
                if error.__traceback__.tb_next is None:
                    continue  # Python's own: an argument is missing
                pytest.fail(f"{function.__qualname__}({wrong_one.name}={wrong!r}): {error!r}")


# these wait, or end what the other tests use
NOT_WALKED = {"close", "follow_cvm_logs", "watch_cvm_state"}
CLIENT = [
    name
    for name, _ in inspect.getmembers(cvm.Client, inspect.isfunction)
    if not name.startswith("_") and name not in NOT_WALKED
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CLIENT)
def test_the_client_refuses_wrong_types_by_name(client, name):
    valid = {"cvm": "nobody", "path": "/nothing", "envs": {"A": "b"}}
    walk(getattr(client, name), valid)


FLEET = ["at", "cost", "drift", "frame", "get", "known", "follow", "unfollow", "search", "table"]


@pytest.mark.parametrize("name", FLEET)
def test_the_fleet_refuses_wrong_types_by_name(fleet, name):
    walk(getattr(fleet, name), {"identifier": "typed-1", "moment": "00:00"})


def test_selections_and_handles_refuse_wrong_types_by_name(fleet):
    chosen, handle = fleet.where(), fleet["typed-1"]
    for function in (chosen.search, chosen.frame, chosen.plan):
        walk(function, {})
    for verb in ("stop", "delete", "restart", "replicate"):
        name = (
            "delay" if verb in ("stop", "delete") else "force" if verb == "restart" else "node_id"
        )
        for wrong in WRONG[1:] if name == "node_id" else WRONG:
            if wrong not in (5, 1.5, True, 0) or (name == "force" and wrong is not True):
                with pytest.raises(cvm.InvalidInput, match=name):
                    getattr(handle, verb)(**{name: wrong})
    for wrong in WRONG:
        for look in (fleet.__getitem__, chosen.__getitem__, lambda one: fleet.where(name=one)):
            try:
                look(wrong)
            except (cvm.CvmError, IndexError):
                continue
        assert wrong not in fleet or wrong is True


FRAMES = [name for name in frames.__all__ if not inspect.isclass(getattr(frames, name))]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", FRAMES)
def test_frames_refuse_wrong_types_by_name(fleet, client, tmp_path, name):
    wide, log = fleet.frame("wide"), fleet.store.log()
    valid = {
        "cvms": client.list_cvms(),
        "client": client,
        "snapshot": fleet.snapshot(),
        "source": fleet.snapshot(),
        "log": log,
        "expected": {},
        "fleet": wide,
        "frame": wide,
        "before": wide,
        "after": wide,
        "path": tmp_path / "fleet.csv",
        "timeline": frames.timeline_frame(log),
        "max_cvms": 100,
    }
    if name == "fleet_frame":
        valid["source"] = "list"
    walk(getattr(frames, name), valid)


# --- what frames give, calls take ----------------------------------------------------------------


def test_what_a_frame_gives_is_taken_by_calls(fleet, client):
    frame = fleet.frame("wide")
    one = frame.index[0]
    row = frame.loc[one]
    assert client.get_cvm_info(one).id == one
    assert fleet[np.str_(one)].id == one
    assert len(fleet.wait(*frame.index, timeout=60)) == 2
    assert fleet.where(vcpu=row["vcpu"]).names == fleet.where(vcpu=int(row["vcpu"])).names
    for column in ("vcpu", "memory_gb", "gpus", "rate_usd_h", "region", "is_dev", "created_at"):
        values = frame[column]
        assert one in fleet.where(**{column: values.iloc[0]}), column
        assert len(fleet.where(**{column: values})) == 2, column
        assert len(fleet.where(**{column: values.dropna().to_numpy()})) == len(values.dropna()), (
            column
        )
    assert fleet.where(vcpu=np.int64(row["vcpu"]), is_dev=np.bool_(row["is_dev"])).names
    assert len(fleet.where(vcpu=np.array([1, 2, 4, 8]))) == 2
    assert client.get_cvm_status_batch(frame["vm_uuid"]).keys() == set(frame["vm_uuid"])
    assert len(fleet.at(row["observed_at"])) == 2
    assert len(fleet.cost(pd.Timedelta("2h"))) == len(fleet.cost(np.timedelta64(2, "h"))) == 2
    assert len(cvm.attestation_frame(client, frame.index)) == 2
    assert list(fleet.frame(pd.Index(["name", "status"])).columns) == ["name", "status"]
    gates = cvm.assert_fleet(frame, max_cvms=np.int64(5), regions=frame["region"].dropna())
    assert gates is None


def test_times_of_frames_say_since_when_logs_and_operations_are_read(fleet, client):
    seen = fleet.frame("wide")["created_at"].iloc[0]
    for since in (seen, seen.to_pydatetime(), seen.to_datetime64(), str(seen), date(2026, 1, 1)):
        assert client.list_operations("typed-1", since=since) is not None
        assert client.get_cvm_logs("typed-1", since=since) is not None
    for since in (timedelta(hours=1), pd.Timedelta("1h"), np.timedelta64(1, "h"), "1h"):
        assert client.get_cvm_logs("typed-1", since=since) is not None


def test_numbers_of_frames_are_sent(fleet, client):
    frame = fleet.frame("wide")
    vcpu = frame["vcpu"].astype("int64").to_numpy()[0]
    client.update_resources("typed-2", vcpu=vcpu, memory=np.int32(2048))
    client.watch_cvm_state("typed-2", target="running")
    stopped = client.batch_stop_cvms(frame.index)
    assert stopped.total == 2


def test_no_error_holds_an_escape_for_a_terminal_whatever_it_repeats():
    hostile = "\x1b[31mred\x1b]8;;http://evil.example\x07 \u202eabc\x9b2J\ud800"
    for error in (
        errors.CvmError(f"{hostile}\nbelow it", hint=hostile),
        errors.InvalidInput(hostile, hostile, hostile),
        errors.WatchTimeout(hostile, hint=hostile),
    ):
        for text in (str(error), repr(error), *error.args, error.message, error.hint or ""):
            assert all(c == "\n" or c.isprintable() for c in text), ascii(text)
            assert "red abc" in text
    assert str(errors.CvmError("two\nlines")) == "two\nlines."
