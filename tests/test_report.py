"""`cvm-notebook report`: one page, whole or not at all, and an exit code that cron understands."""

import argparse
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import claims

from cvm_notebook import Client
from cvm_notebook.cli import main as cli
from cvm_notebook.cli import report as cli_report

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def env(kernel_cloud, tmp_path, monkeypatch):
    """A kernel finds the cloud of this test, in a folder of this test."""
    monkeypatch.chdir(tmp_path)
    return kernel_cloud


def report(output, *parameters, target=None):
    options = argparse.Namespace(output=output, target=target, parameters=list(parameters))
    return cli_report.report(options)


@pytest.mark.cvm_cloud(seed="demo", speed=200)
def test_it_says_which_gates_failed_what_changed_and_never_the_key(env, tmp_path, capsys):
    page, kept = tmp_path / "report.html", tmp_path / "fleet.parquet"
    page.write_text("of yesterday")
    asked = ["--output", str(page), "-p", "max_failed=0", "-p", f"kept={kept}", "-p", "title=A <b>"]
    asked += ["-p", "verified=True"]
    done = subprocess.run(
        [sys.executable, "-m", "cvm_notebook.cli.main", "report", *asked],
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    failed = "2 of 6 gates failed: failed, not verified"
    assert done.stderr == f"cvm-notebook report: {failed}; see {page}\n"
    first = page.read_text()
    assert f'<p class="failed" role="alert">{failed}</p>' in first
    assert "- failed: 2, and at most 0 is allowed (ci-runner-dev, price-oracle-4)" in first
    running = re.search(r"(\d+) of (\d+) that run were asked what they run", first)
    assert running[1] == running[2]  # all of them, where all must have been verified
    assert f"- not verified: {running[1]}, and at most 0 is allowed (" in first
    assert re.search(r"\d+ SIMULATED, \d+ FAILED", first)
    assert "FAILED at tcb: OutOfDate" in first
    assert "<title>A &lt;b&gt;</title>" in first
    assert "No fleet was kept" in first

    with Client(env.api_key, env.url) as client:
        client.stop_cvm("agent-alpha")
        client.watch_cvm_state("agent-alpha", target="stopped")
    assert report(page, f"kept={kept}", target="local") == cli_report.OK
    assert capsys.readouterr().err == f"cvm-notebook report: all gates passed; see {page}\n"
    second = page.read_text()
    assert 'role="alert"' not in second
    changed = second[second.index("differences since") :]
    assert re.search(r"agent-alpha.*?status.*?running.*?stopped", changed, re.DOTALL)

    for text in (first, second):
        assert claims(text) == []  # LocalCloud's root is a development root
        assert env.api_key not in text
        assert "class Client" not in text
        assert "import cvm_notebook" not in text  # no code
        assert "papermill 90_fleet_report" not in text  # nor words about the notebook
        assert "<script" not in text
        assert text.count('src="data:image/png') == 1
        assert re.findall(r'(?:src|href)="(?!data:|#)', text) == []
        assert "default-src &#x27;none&#x27;" in text
    assert {one.name for one in tmp_path.iterdir()} <= {page.name, kept.name, "ipython"}


@pytest.mark.parametrize(
    ("output", "parameter", "says"),
    [
        ("report.html", "max_faild=0", "the report has no parameter 'max_faild', but target"),
        ("report.html", "max_failed", "-p max_failed is not name=value"),
        ("nowhere/report.html", "most=3", "there is no folder nowhere"),
        # seen when its notebook runs
        ("report.html", "max_rate_usd_h='dear'", "InvalidInput: max_rate_usd_h: 'dear' is no"),
        (".", "most=3", "could not run: . is a folder"),
    ],
)
@pytest.mark.usefixtures("env")
def test_what_cannot_be_done_is_reported_in_a_line_and_changes_no_page(
    tmp_path, capsys, output, parameter, says
):
    page = tmp_path / "report.html"
    page.write_text("of yesterday")
    assert report(Path(output), parameter) == cli_report.COULD_NOT_RUN
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line
    assert page.read_text() == "of yesterday"
    assert not list(tmp_path.glob(".*"))


def test_a_service_that_is_not_there_is_no_failed_gate(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PHALA_CLOUD_API_PREFIX", "http://127.0.0.1:9/api/v1")
    monkeypatch.setenv("PHALA_CLOUD_API_KEY", "phak_of_a_test")
    monkeypatch.chdir(tmp_path)
    assert report(tmp_path / "report.html") == cli_report.COULD_NOT_RUN
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("cvm-notebook report: could not run: TransportError: ")
    assert "phak_" not in line
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize("error", [KeyError("that"), MemoryError(), ZeroDivisionError("by zero")])
def test_a_bug_is_no_failed_gate_and_no_traceback(monkeypatch, capsys, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(cli_report, "_notebook", fail)
    monkeypatch.setattr(cli, "_take_signals", lambda: None)  # they are those of the tests
    assert cli.main(["report", "--output", "report.html"]) == cli.CRASHED
    assert cli.CRASHED not in {cli_report.OK, cli_report.GATES_FAILED, cli_report.COULD_NOT_RUN}
    printed = capsys.readouterr().err
    assert "Traceback" not in printed
    assert printed.startswith("cvm-notebook report: ended by ")
    monkeypatch.setenv(cli.TRACEBACK_VARIABLE, "1")
    assert cli.main(["report", "--output", "report.html"]) == cli.CRASHED
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.usefixtures("env")
def test_the_page_goes_into_a_pipe_through_a_link_where_there_is_no_cvm(tmp_path):
    (tmp_path / "link.html").symlink_to("/dev/stdout")
    asked = ["--output", "link.html", "-p", "title=Of nobody", "-p", "regions=['nowhere']"]
    done = subprocess.run(
        [sys.executable, "-m", "cvm_notebook.cli.main", "report", *asked],
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("<!doctype html>")
    assert done.stdout.endswith("</html>\n")
    assert ">Of nobody" in done.stdout
    assert (tmp_path / "link.html").is_symlink()


def test_parameters_are_python_or_else_text():
    known = dict.fromkeys("abcdefg")
    deep = "-" * 100_000 + "1"
    given = ["a=12.5", "b=None", "c=24h", "d=['x', 'y']", "e=A = B", "f=", f"g={deep}"]
    assert cli_report._parameters(given, known) == {
        "a": 12.5,
        "b": None,
        "c": "24h",
        "d": ["x", "y"],
        "e": "A = B",
        "f": "",
        "g": deep,
    }


def test_without_its_packages_it_could_not_run(monkeypatch, capsys):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "papermill" else found(name)
    )
    assert cli._report(argparse.Namespace()) == cli_report.COULD_NOT_RUN
    assert 'pip install "cvm-notebook[report]"' in capsys.readouterr().err
