"""Binder's files make an environment in which the notebook it opens runs, with no key."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from helpers import LEAN
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[1]
BINDER = ROOT / "binder"
README = (ROOT / "README.md").read_text(encoding="utf-8")
SHARE = ROOT / "docs" / "share.md"
BUILT = "CVM_NOTEBOOK_BINDER"
"""Names an environment that binder/postBuild has made already; .ci/run has one."""
NEWS = "@jupyterlab/apputils-extension:announcements"

# In the place of the notebook server: tells what it was given, then runs what is opened.
STAND_IN = """
import json, os, sys, time
from cvm_notebook import Client
from cvm_notebook.local import LocalCloud
import nbformat
from nbclient import NotebookClient

end = time.monotonic() + 100
while (found := LocalCloud.running()) is None and time.monotonic() < end:
    time.sleep(0.05)  # a server takes seconds to come up; this does not
url, key = found
notebook = nbformat.read("notebooks/00_start_here.ipynb", as_version=4)
client = NotebookClient(notebook, timeout=60, store_widget_state=False)
client.execute(cwd="notebooks")
nbformat.write(notebook, "executed.ipynb")
facts = {
    "pid": os.getpid(),
    "arguments": sys.argv[1:],
    "token": os.environ["JUPYTER_TOKEN"],
    "made": Client(key, url).get_cvm_state("hello").status,
    "python": sys.prefix,
}
with open("facts.json", "w") as file:
    json.dump(facts, file)
sys.exit(7)
"""


def _of(home: Path, environment: Path) -> dict[str, str]:
    """What a program finds in a container of Binder's: the environment, and nobody's key."""
    kept = ("PYTHON", "PHALA", "CVM_NOTEBOOK", "VIRTUAL_ENV", "XDG", "JUPYTER", "IPYTHON")
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(kept)},
        "HOME": str(home),
        "PATH": f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}",
    }


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> Path:
    """What binder/postBuild makes of an empty environment and this checkout."""
    if built := os.environ.get(BUILT):
        return Path(built)
    folder = tmp_path_factory.mktemp("binder")
    made = folder / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", made], check=True, timeout=300)
    # pip finds there all that is needed, and has nothing to fetch
    (packages,) = made.glob("lib/python3*/site-packages")
    (packages / "of_the_tests.pth").write_text(f"{LEAN}\n{sysconfig.get_path('purelib')}\n")
    for name in ("pip", "jupyter", "jupyter-labextension", "jupyter-trust"):
        script = Path(sysconfig.get_path("scripts"), name).read_text().partition("\n")[2]
        (made / "bin" / name).write_text(f"#!{made / 'bin' / 'python'}\n{script}")
        (made / "bin" / name).chmod(0o755)
    done = subprocess.run(
        [BINDER / "postBuild"],
        cwd=ROOT,
        env=_of(folder, made) | {"PIP_NO_BUILD_ISOLATION": "0", "PIP_NO_INDEX": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return made


def test_binder_reads_each_of_the_files():
    assert {path.name for path in BINDER.iterdir()} == {"runtime.txt", "postBuild", "start"}
    version = re.fullmatch(r"python-(3\.\d+)\n", (BINDER / "runtime.txt").read_text())
    assert version is not None  # Binder takes a line, and no comment
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert version[1] in SpecifierSet(project["requires-python"])
    assert f"Programming Language :: Python :: {version[1]}" in project["classifiers"]
    for name in ("postBuild", "start"):
        assert os.access(BINDER / name, os.X_OK)
        assert (BINDER / name).read_text().startswith("#!/bin/bash\n")
    assert (BINDER / "start").read_text().endswith('\nexec "$@"\n')


def test_it_installs_what_the_readme_says():
    (asked,) = re.findall(r"^(pip install .*) && cvm-notebook demo$", README, re.MULTILINE)
    assert f"\n{asked}\n" in (BINDER / "postBuild").read_text()


@pytest.mark.timeout(900)  # it makes an environment
def test_what_binder_opens_runs_where_it_starts_with_no_key(environment, tmp_path):
    (package,) = environment.glob("lib/python3*/site-packages/cvm_notebook-*.dist-info")
    source = json.loads((package / "direct_url.json").read_text())
    assert source == {"url": ROOT.as_uri(), "dir_info": {}}  # this checkout, as it was built
    config = (environment / "etc" / "jupyter" / "labconfig" / "page_config.json").read_text()
    assert json.loads(config)["disabledExtensions"] == {NEWS: True}

    shutil.copytree(BINDER, tmp_path / "binder")
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")
    (tmp_path / "server.py").write_text(STAND_IN)
    arguments = ["lab", "--ip=0.0.0.0", "--port", "8888", "two words", '"$HOME"', ""]
    process = subprocess.Popen(
        ["binder/start", environment / "bin" / "python", "-P", "server.py", *arguments],
        cwd=tmp_path,
        env=_of(tmp_path, environment) | {"JUPYTER_TOKEN": "of-binder"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        output = process.communicate(timeout=300)[0]
        assert process.returncode == 7, output
        facts = json.loads((tmp_path / "facts.json").read_text())
    finally:
        process.kill()
        _end_cloud(tmp_path)
    assert facts["pid"] == process.pid  # signals reach the server itself
    assert facts["arguments"] == arguments
    assert facts["token"] == "of-binder"
    assert facts["python"] == str(environment)
    cells = json.loads((tmp_path / "executed.ipynb").read_text())["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", ())]
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert "".join(outputs[-1]["text"]).endswith("left of this notebook: hello\n")
    # the cloud that start has started, and not one of the notebook's own
    assert facts["made"] == "stopped"


def _end_cloud(home: Path) -> None:
    for facts in (home / ".local/share/cvm-notebook/local/running").glob("*.json"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(json.loads(facts.read_text())["pid"], signal.SIGTERM)


def _addresses(text: str) -> list[str]:
    return re.findall(r"https?://[^\s\"'`<>()\[\]\\]+", text)


def _repository() -> str | None:
    """Where the project says that it lives, if it does."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return project.get("urls", {}).get("Repository")


def test_the_address_of_binder_opens_a_notebook_that_exists():
    (address,) = [one for one in _addresses(SHARE.read_text("utf-8")) if "mybinder.org/v2" in one]
    parts = urlsplit(address)
    repository = _repository()
    place = "OWNER/REPOSITORY" if repository is None else urlsplit(repository).path.strip("/")
    assert parts.path == f"/v2/gh/{place}/HEAD"
    (opened,) = parse_qs(parts.query)["urlpath"]
    assert (ROOT / opened.removeprefix("lab/tree/")).is_file()
    badges = [one for one in _addresses(README) if "mybinder.org" in one]
    assert (address in badges) if repository is not None else badges == []


HOMES = ("github.com", "github.io", "gitlab.com", "mybinder.org", "readthedocs.io")


def test_no_file_names_a_home_of_this_project_but_the_one_there_is():
    repository = _repository() or "https://mybinder.org/v2/gh/OWNER/REPOSITORY"
    place = "/".join(urlsplit(repository).path.strip("/").split("/")[-2:])
    endings = {".md", ".toml", ".yml", ".ipynb", ".py", ".js", ".css", ""}
    folders = ("cvm_notebook", "docs", "notebooks", "binder", "benchmarks", ".ci")
    paths = [*ROOT.glob("*.*"), *(path for each in folders for path in (ROOT / each).rglob("*"))]
    for path in paths:
        if path.suffix not in endings or not path.is_file() or "__pycache__" in path.parts:
            continue
        for address in _addresses(path.read_text(encoding="utf-8")):
            host = urlsplit(address).netloc
            ours = "cvm-notebook" in address or "mybinder.org/v2" in address
            if host.endswith(HOMES) and ours:
                assert place in address, (path, address)


def test_the_tests_that_the_page_on_sharing_names_exist():
    text = SHARE.read_text(encoding="utf-8")
    named = re.findall(r"`(tests/\S+\.py)::(test_\w+)`", text)
    assert len(named) == text.count("::test_") >= 8
    for path, name in named:
        assert f"\ndef {name}(" in (ROOT / path).read_text(), (path, name)
    rows = [line.split("|") for line in text.splitlines() if re.match(r"\| (?!---|where )", line)]
    for row in rows:
        assert "::test_" in row[3] or "not tried" in row[3], row[1]
