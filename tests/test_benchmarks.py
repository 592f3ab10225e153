"""What reaches the outside benchmark kit: an adapter of public methods, and plain words."""

import ast
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cvm_notebook.frames import fleet_frame

ROOT = Path(__file__).resolve().parent.parent
BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture
def target(cloud):
    spec = importlib.util.spec_from_file_location("cvm_adapter", BENCHMARKS / "cvm_adapter.py")
    adapter = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(adapter)
    target = adapter.make(cloud.url.removesuffix("/api/v1"), cloud.api_key)
    yield target
    target.close()


def test_every_renamed_column_is_in_the_frame(target):
    ours = {*fleet_frame([], columns="wide").columns, "cvm_id"}
    assert set(target.COLUMNS.values()) <= ours


def test_the_adapter_reads_what_the_cloud_holds(target):
    frame, items = target.list_frame(), target.list_items()
    assert sorted(frame["cvm_id"]) == sorted(c.id for c in items)
    assert set(target.COLUMNS.values()) <= set(frame.columns)


def test_the_adapter_uses_nothing_private():
    tree = ast.parse((BENCHMARKS / "cvm_adapter.py").read_text())
    names = [n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)]
    assert [n for n in names if n.startswith("_")] == []


def test_without_the_kit_one_line_says_what_is_missing(tmp_path):
    run = subprocess.run(
        [sys.executable, str(BENCHMARKS / "run.py"), "--kit", str(tmp_path / "no-kit")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 2
    assert run.stdout == ""
    assert run.stderr.count("\n") == 1
    assert "--kit" in run.stderr


def test_without_the_kit_the_fleet_is_measured_on_a_local_cloud(tmp_path):
    # the folder is empty: no kit, and no official SDK
    small = ["--quick", "--count", "120", "--reps", "1", "--only", "lists,stream"]
    run = subprocess.run(
        [sys.executable, str(BENCHMARKS / "fleet.py"), "--kit", str(tmp_path), *small],
        env=os.environ | {"XDG_CACHE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    found = {line[:48].strip(): line[48:].split() for line in run.stdout.splitlines()}
    assert float(found["unchanged / first, CPU"][0]) > 0
    assert found["stream byte -> subscriber, p50, p99"][-3:] == ["needs", "the", "kit"]
    assert run.returncode == ("MISS" in run.stdout), run.stderr
