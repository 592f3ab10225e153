"""A plan whose calls are made elsewhere: threads, processes, a dask cluster; each exactly once."""

import multiprocessing
import os
import pickle
import threading
from collections import Counter
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor

import pytest

from cvm_notebook.api.errors import CredentialsError
from cvm_notebook.live import calls
from cvm_notebook.live.calls import Job, run_job
from cvm_notebook.live.desk import OperationSettings
from cvm_notebook.live.plan import Plan


@pytest.fixture(autouse=True)
def nothing_leaks():
    """No thread of ours is left; dask and multiprocessing keep some of their own for the next."""
    before = set(threading.enumerate())  # what a wider fixture of other tests has running
    yield
    new = set(threading.enumerate()) - before
    assert [t.name for t in new if t.name.startswith("cvm-")] == []


@pytest.fixture(autouse=True)
def key_in_the_environment(shared_cloud, monkeypatch):
    """What the executor's processes find: they are given no key."""
    monkeypatch.setenv("PHALA_CLOUD_API_KEY", shared_cloud.api_key)
    yield
    calls.close_clients()


def spread(bench, rows, executor, verb="shutdown", **terms):
    plan = Plan(rows, verb, operations=bench.operations)
    terms = {"progress": False, "until": "reached", "concurrency": 4, **terms}
    return plan.execute(confirm=plan.phrase, executor=executor, **terms)


def acted(bench, verb="shutdown"):
    """Count, by CVM, the requests that act."""
    return Counter(
        r["path"].split("/")[-2]
        for r in bench.cloud.requests()
        if r["method"] == "POST" and r["path"].endswith(f"/{verb}")
    )


def test_threads_make_each_call_once(bench):
    rows = bench.make(5)

    with ThreadPoolExecutor(3) as executor:
        outcome = spread(bench, rows, executor)

    assert outcome.counts == {"reached": 5}
    assert acted(bench) == dict.fromkeys((row.id for row in rows), 1)


def test_processes_make_each_call_once_with_keys_of_their_own(bench):
    rows = bench.make(5)

    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as executor:
        outcome = spread(bench, rows, executor)

    assert outcome.counts == {"reached": 5}
    assert acted(bench) == dict.fromkeys((row.id for row in rows), 1)


def test_a_dask_cluster_makes_each_call_once(bench):
    distributed = pytest.importorskip("distributed")
    rows = bench.make(6)

    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=2,
            processes=True,
            dashboard_address=":0",
            host="127.0.0.1",
        ) as cluster,
        distributed.Client(cluster) as client,
        client.get_executor() as executor,
    ):
        outcome = spread(bench, rows, executor)

    assert outcome.counts == {"reached": 6}
    assert acted(bench) == dict.fromkeys((row.id for row in rows), 1)
    assert {r["status"] for r in bench.cloud.requests() if r["method"] == "POST"} == {200}


def job_of(bench, row, verb="restart", known=frozenset()):
    return Job(
        operation_id="op_1",
        base_url=bench.client.base_url,
        profile=None,
        verb=verb,
        cvm_id=row.id,
        known=known,
    )


def test_the_key_does_not_travel(bench):
    (row,) = bench.make()

    assert bench.cloud.api_key.encode() not in pickle.dumps(job_of(bench, row))


def test_a_job_that_is_run_again_does_not_act_again(bench):
    (row,) = bench.make()
    known = frozenset(one.correlation_id for one in bench.client.list_operations(row.id))
    job = job_of(bench, row, known=known)

    first = run_job(job)
    second = run_job(job)

    assert first.id == second.id == row.id
    assert acted(bench, "restart") == {row.id: 1}


def test_a_process_without_a_key_refuses_before_it_sends_and_asks_nobody(bench, monkeypatch):
    (row,) = bench.make()
    monkeypatch.delenv("PHALA_CLOUD_API_KEY")
    monkeypatch.setenv("PHALA_CLOUD_DIR", "/nonexistent")
    monkeypatch.setenv("HOME", "/nonexistent")
    calls.close_clients()

    with ThreadPoolExecutor(1) as executor:
        outcome = spread(bench, [row], executor)

    (only,) = outcome
    assert only.state == "failed"
    assert isinstance(bench.operations.get(only.operation_id).error, CredentialsError)
    assert acted(bench) == {}


class Dying:
    """An executor whose workers die: before they act, or after."""

    def __init__(self, *, acts):
        self._acts = acts

    def submit(self, call, /, *args):
        if self._acts:
            call(*args)
        future = Future()
        future.set_exception(RuntimeError("the worker died"))
        return future


def test_a_worker_that_dies_after_it_acted_is_found_out_by_reading(bench):
    (row,) = bench.make()

    outcome = spread(bench, [row], Dying(acts=True))

    assert outcome.counts == {"reached": 1}
    assert acted(bench) == {row.id: 1}


def test_a_worker_that_dies_before_it_acted_leaves_it_unknown_and_unsent(bench):
    (row,) = bench.make()
    operations = bench.new_operations(settings=OperationSettings(settle=0.8))
    plan = Plan([row], "shutdown", operations=operations)

    (only,) = plan.execute(executor=Dying(acts=False), progress=False)

    assert only.state == "unknown"
    assert "lost by the executor" in only.reason
    assert acted(bench) == {}


def test_a_pool_that_breaks_is_a_result(bench):
    rows = bench.make(2)
    operations = bench.new_operations(settings=OperationSettings(settle=0.8))
    executor = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
    executor.submit(os._exit, 1).exception()  # the pool is broken from now on

    plan = Plan(rows, "shutdown", operations=operations)
    outcome = plan.execute(confirm="shutdown 2", executor=executor, progress=False)
    executor.shutdown()

    assert outcome.counts == {"unknown": 2}
    assert acted(bench) == {}
