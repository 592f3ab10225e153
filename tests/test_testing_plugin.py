"""The pytest plugin, as people use it: in pytest runs of their own, in a folder of their own."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from helpers import LONG_PATIENCE, PYTHON_PATH

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "how-to" / "test-with-localcloud.md"
STRICT = ["-W", "error", "--strict-markers", "-p", "no:cacheprovider", "-p", "no:schemathesis"]


@pytest.fixture
def run(tmp_path):
    """Write files and run pytest on them; the process that has ended."""

    def run_it(files, *options, path=()):
        for name, text in files.items():
            (tmp_path / name).write_text(textwrap.dedent(text))
        return subprocess.run(
            [sys.executable, "-m", "pytest", *STRICT, *options],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": os.pathsep.join([*map(str, path), PYTHON_PATH])},
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )

    return run_it


def passed(done):
    assert done.returncode == 0, done.stdout + done.stderr
    return int(re.search(r"(\d+) passed", done.stdout)[1])


def test_the_examples_of_the_page_pass_as_they_are_written(run, sdk):
    text = PAGE.read_text(encoding="utf-8")
    files = dict(
        re.findall(r'^```python title="(\S+)"\n(.*?)^```$', text, re.DOTALL | re.MULTILINE)
    )
    assert text.count("```python") == len(files) == 4
    assert "phala_cloud" in files["test_night_shift.py"]
    written = sum(len(re.findall(r"^def test_", code, re.MULTILINE)) for code in files.values())
    assert passed(run(files, path=[sdk])) == written >= 7


def test_what_the_page_says_of_faults_and_of_the_marker_is_so():
    from inspect import signature

    from cvm_notebook.local import LocalCloud
    from cvm_notebook.local.faults.spec import parse_fault
    from cvm_notebook.testing import _DEFAULTS, _NOT_OFFERED

    text = PAGE.read_text(encoding="utf-8")
    examples = re.findall(r"^\| .* \| `add\((.*)\)` \|$", text, re.MULTILINE)
    assert len(examples) == 8
    for example in examples:
        names = ("kind", "route", "arg")
        arguments, more = eval(f"(lambda *a, **k: (a, k))({example})")
        assert parse_fault({**dict(zip(names, arguments, strict=False)), **more})
    words = re.findall(r"^\| (`.*?`) \|", text, re.MULTILINE)
    documented = {word for some in words for word in re.findall(r"`(\w+)`", some)}
    assert documented >= {*signature(LocalCloud).parameters} - _NOT_OFFERED
    for name, value in _DEFAULTS.items():
        assert f"| `{name}` | `{json.dumps(value).removesuffix('.0')}` |" in text


OWN = {
    "test_own.py": """
    import urllib.request
    from datetime import datetime

    import pytest

    COMPOSE = "services: {web: {image: nginx}}"
    seen = {}

    @pytest.fixture
    def tidy(cvm_client):
        yield
        for one in cvm_client.list_cvms():
            cvm_client.delete_cvm(one)
        seen["tidied"] = True

    def test_one_spoils_its_cloud(tidy, cvm_cloud, cvm_client, cvm_faults):
        cvm_client.commit_cvm_provision(
            cvm_client.provision_cvm(name="left-over", compose_file=COMPOSE)
        )
        cvm_cloud.advance(10**9)
        cvm_faults.add("status", "*", 503, times=None)
        cvm_faults.add("refuse", "list")
        seen.update(url=cvm_cloud.url, key=cvm_cloud.api_key, now=cvm_cloud.requests()[-1]["at"])

    def test_the_next_sees_nothing_of_it(cvm_cloud, cvm_client, cvm_faults):
        assert seen["tidied"]  # by then the faults were gone
        assert cvm_cloud.requests() == cvm_faults.met() == []
        assert cvm_client.list_cvms() == []
        made = cvm_client.provision_cvm(name="left-over", compose_file=COMPOSE)
        created = datetime.fromisoformat(cvm_client.commit_cvm_provision(made).created_at)
        assert abs(created.timestamp() - seen["now"]) < 600  # the clock was not moved
        assert seen["key"] != cvm_cloud.api_key
        asked = urllib.request.Request(
            f"{seen['url']}/auth/me", headers={"X-API-Key": seen["key"]}
        )
        with pytest.raises(OSError):  # refused, if nobody else was given the port
            urllib.request.urlopen(asked)

    @pytest.mark.cvm_cloud(seed="demo", tier="LEVEL_1")
    class TestMarked:
        def test_by_its_class(self, cvm_cloud, cvm_client):
            assert len(cvm_client.list_cvms()) >= 40
            assert "100 times" in repr(cvm_cloud)

        @pytest.mark.cvm_cloud(seed="empty", speed=7)
        def test_the_nearer_marker_has_the_say(self, cvm_cloud, cvm_client):
            assert cvm_client.list_cvms() == []
            assert "7 times" in repr(cvm_cloud)

    def test_a_fault_is_met_as_often_as_asked(cvm_client, cvm_faults):
        cvm_faults.add("status", "GET /cvms/paginated", 429, times=2, retry_after=0)
        assert cvm_client.list_cvms() == []
        assert [(one["fault"], one["status"]) for one in cvm_faults.met()] == [("status", 429)] * 2

    def test_a_fault_that_does_not_exist_is_reported_before_anything_fails(cvm_client, cvm_faults):
        with pytest.raises(ValueError, match="kind: Input should be 'latency'"):
            cvm_faults.add("latenzy")
        with pytest.raises(ValueError, match="route 'stop' is neither"):
            cvm_faults.add("status", "stop", 503)
        assert cvm_client.list_cvms() == []
        assert cvm_faults.met() == []

    def test_a_cloud_that_the_test_has_closed_is_no_error(cvm_cloud, cvm_faults):
        cvm_cloud.close()
    """
}


def test_each_test_has_a_cloud_of_its_own(run):
    assert passed(run(OWN)) == 7


def test_a_wrong_marker_is_one_line(run):
    wrong = """
    import pytest

    @pytest.mark.cvm_cloud(sed="demo", port=1)
    def test_word(cvm_cloud): ...

    @pytest.mark.cvm_cloud(seed="demmo")
    def test_value(cvm_cloud): ...

    @pytest.mark.cvm_cloud(faults=[{"kind": "latenzy"}])
    def test_fault(cvm_cloud): ...
    """
    done = run({"test_wrong.py": wrong})
    assert "3 errors" in done.stdout
    assert "Traceback" not in done.stdout.partition("test_fault")[0]
    assert (
        "\n@pytest.mark.cvm_cloud takes no 'sed', 'port', but by name seed, speed, faults, tier"
        in done.stdout
    )
    assert '\n@pytest.mark.cvm_cloud: seed is \'demmo\'; give "empty" or "demo"\n' in done.stdout
    assert "kind: Input should be 'latency'" in done.stdout


def test_a_missing_extra_is_one_line_that_installs_it(run, tmp_path):
    absent = tmp_path / "absent"
    absent.mkdir()
    (absent / "fastapi.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'fastapi'\", name='fastapi')"
    )
    done = run({"test_it.py": "def test_it(cvm_client): ..."}, path=[absent])
    assert "1 error" in done.stdout
    lines = [line for line in done.stdout.splitlines() if "fastapi" in line]
    assert "cvm_cloud needs 'fastapi', not installed: pip install 'cvm-notebook[local]'" in lines
    assert "Traceback" not in done.stdout


def test_the_plugin_costs_next_to_nothing_where_no_test_asks_for_it():
    code = """
    import sys, pytest
    before = {*sys.modules}
    import cvm_notebook.testing
    print(*sorted({*sys.modules} - before))
    """
    printed = subprocess.check_output([sys.executable, "-c", textwrap.dedent(code)], text=True)
    loaded = set(printed.split())
    assert "cvm_notebook.testing" in loaded
    standard = {name for name in loaded if name.partition(".")[0] in sys.stdlib_module_names}
    assert loaded - standard == {"cvm_notebook", "cvm_notebook._lazy", "cvm_notebook.testing"}


def test_no_server_outlives_a_run_that_was_killed(run, tmp_path):
    killed = """
    import os, pathlib, signal

    def test_it(cvm_cloud):
        pathlib.Path("pid").write_text(f"{cvm_cloud.pid} {cvm_cloud.log_path.parent}")
        os.kill(os.getpid(), signal.SIGKILL)
    """
    assert run({"test_it.py": killed}).returncode == -signal.SIGKILL
    pid, scratch = (tmp_path / "pid").read_text().split()
    end = time.monotonic() + LONG_PATIENCE
    while _runs(int(pid)) and time.monotonic() < end:
        time.sleep(0.02)  # no child of ours: nobody tells us of its end
    assert not _runs(int(pid))
    assert not Path(scratch).exists()


def _runs(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False
