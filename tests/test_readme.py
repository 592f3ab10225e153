"""Every command and every line of Python in the README is true."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = sorted(ROOT.glob("*.md"))


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def test_the_python_of_the_readme_runs_from_top_to_bottom(cloud, tmp_path):
    code = "\n".join(blocks("python"))
    assert "connect" in code
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={
            **os.environ,
            "HOME": str(tmp_path),
            "XDG_DATA_HOME": str(tmp_path / "data"),
            "PHALA_CLOUD_API_PREFIX": cloud.url,
            "PHALA_CLOUD_API_KEY": cloud.api_key,
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert "running" in done.stdout
    assert "no-such-cvm" in done.stdout  # the error that the README shows


def test_the_quickstart_has_ten_lines():
    (quickstart,) = [block for block in blocks("python") if "provision_cvm" in block]
    assert len([line for line in quickstart.splitlines() if line.strip()]) <= 10


def test_the_clean_machine_runs_the_commands_of_the_readme():
    script = (ROOT / ".ci" / "run").read_text()
    commands = " ".join(blocks("bash"))
    assert 'pip install ".[demo]" && cvm-notebook demo\n' in commands
    assert 'pip install -e ".[test]" && pytest\n' in commands
    assert """'pip install -e ".[test]" && pytest'""" in script
    assert 'pip install ".[demo]"\n  cvm-notebook demo --run' in script


def test_commands_of_the_readme_are_commands_of_the_program():
    for command in set(re.findall(r"cvm-notebook (demo|cloud|doctor)", README)):
        done = subprocess.run(
            [sys.executable, "-m", "cvm_notebook.cli", command, "--help"],
            capture_output=True,
            text=True,
            check=True,
        )
        told = set(re.findall(r"--[a-z][a-z-]*", done.stdout))
        shown = re.findall(rf"cvm-notebook {command} ([^`\n]*)", README)
        assert set(re.findall(r"--[a-z-]+", " ".join(shown))) <= told


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_what_a_document_points_to_in_the_project_exists(document):
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text(encoding="utf-8"))
    assert not [link for link in links if not (document.parent / link).exists()]
