"""What is asked of this machine: homes that cannot be written, or that nobody knows."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from helpers import PYTHON_PATH

from cvm_notebook import CvmError, LocalCloud, connect
from cvm_notebook.api.auth.credentials import find_api_key
from cvm_notebook.api.errors.tree import CredentialsError
from cvm_notebook.local import LocalCloudError

ROOT = Path(__file__).resolve().parents[1]
NOT_A_FOLDER = "/dev/null"  # nobody can make a folder there, not even root
# What Python finds of a user who has no entry, in this process and in those it starts.
NOBODY = """
import pwd
def unknown(_): raise KeyError("no entry")
pwd.getpwuid = unknown
"""
OF_THE_USER = ("PHALA_", "XDG_", "JUPYTER", "IPYTHON", "CVM_NOTEBOOK", "HOME", "PYTHON")


@pytest.fixture
def surroundings(tmp_path) -> dict[str, str]:
    """An environment that names no folder of the user's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OF_THE_USER)}
    return {**kept, "PYTHONPATH": PYTHON_PATH}


@pytest.fixture
def nobody(surroundings, tmp_path) -> dict[str, str]:
    """An environment without a home, of a user without an entry: as in many containers."""
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "sitecustomize.py").write_text(NOBODY)
    return {**surroundings, "PYTHONPATH": f"{tmp_path / 'path'}{os.pathsep}{PYTHON_PATH}"}


@pytest.fixture
def bad_home(surroundings, nobody):
    """Name what is bad: a variable that names no folder, or the user who has no home."""
    return lambda named: nobody if named == "nobody" else {**surroundings, named: NOT_A_FOLDER}


def python(code, env, cwd):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env=env,
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


def command(*words, env, cwd):
    return subprocess.run(
        [sys.executable, "-m", "cvm_notebook.cli.main", *words],
        env=env,
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


CONNECT = """
import cvm_notebook as cvm
print(len(cvm.connect("local").list_cvms()))
"""


@pytest.mark.parametrize("named", ["HOME", "XDG_DATA_HOME", "nobody"])
def test_a_cloud_that_keeps_nothing_needs_no_home(bad_home, tmp_path, named):
    env = bad_home(named)
    (tmp_path / "here").mkdir()
    done = python(CONNECT, env, tmp_path / "here")
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 30
    assert list((tmp_path / "here").iterdir()) == []  # nor a folder that is called ~


def test_who_looks_makes_no_folder(surroundings, tmp_path):
    env = {**surroundings, "HOME": str(tmp_path)}
    looks = """
    from cvm_notebook import LocalCloud
    from cvm_notebook.api.auth.credentials import find_api_key
    from cvm_notebook.api.errors.tree import CredentialsError
    assert LocalCloud.running() is None
    try:
        find_api_key(prompt=None)
    except CredentialsError:
        pass
    """
    assert python(looks, env, tmp_path).stderr == ""
    done = command("doctor", env=env, cwd=tmp_path)
    assert "LocalCloud's data" in done.stdout
    assert list(tmp_path.iterdir()) == []


CLIENT = """
import cvm_notebook as cvm
print(cvm.Client())
"""


def test_a_key_in_the_environment_needs_no_home(nobody, tmp_path):
    done = python(CLIENT, {**nobody, "PHALA_CLOUD_API_KEY": "phak_of_a_test"}, tmp_path)
    assert "PHALA_CLOUD_API_KEY" in done.stdout, done.stderr
    asked = python(CLIENT, nobody, tmp_path)
    assert "CredentialsError: Not signed in" in asked.stderr
    assert "the profiles (no home folder is known)" in asked.stderr
    named = python(CLIENT.replace("()", "(profile='work')"), nobody, tmp_path)
    assert "Set HOME, or PHALA_CLOUD_DIR to their folder." in named.stderr


@pytest.mark.parametrize("named", ["HOME", "nobody"])
def test_doctor_says_what_cannot_be_written_and_goes_on(bad_home, tmp_path, named):
    env = bad_home(named)
    done = command("doctor", env=env, cwd=tmp_path)
    assert "1 problem: key." in done.stdout, done.stderr
    assert "!  LocalCloud's data" in done.stdout
    assert "XDG_DATA_HOME" in done.stdout


@pytest.mark.parametrize(
    ("named", "says"),
    [
        ("HOME", "keep its data in /dev/null/.local/share/cvm-notebook/local"),
        ("XDG_DATA_HOME", "keep its data in /dev/null/cvm-notebook/local"),
        ("nobody", "no home folder is known"),
    ],
)
def test_cloud_says_which_folder_it_cannot_write(bad_home, tmp_path, named, says):
    env = bad_home(named)
    for more in ([], ["--database", f"sqlite:///{tmp_path / 'named.sqlite'}"]):
        done = command("cloud", "--port", "0", *more, env=env, cwd=tmp_path)
        assert done.returncode == 1
        assert says in done.stderr
        assert "XDG_DATA_HOME" in done.stderr
        assert "port" not in done.stderr
        assert "Traceback" not in done.stderr


def test_without_a_folder_for_temporary_files_it_says_what_to_set(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(LocalCloudError, match="Set TMPDIR to a folder that you can write to"):
        LocalCloud()
    monkeypatch.setattr("cvm_notebook.connection._own", None)
    monkeypatch.setattr(LocalCloud, "running", staticmethod(lambda: None))
    with pytest.raises(CvmError, match="Set TMPDIR"):
        connect("local")


def test_a_scratch_folder_that_is_gone_is_reported(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    cloud = LocalCloud(seed="empty")
    cloud.log_path.parent.rmdir()
    tmp_path.rename(tmp_path.with_name("elsewhere"))
    with pytest.raises(LocalCloudError, match="No such file or directory"):
        cloud.start()


def test_profiles_whose_links_go_in_a_circle_are_an_error_of_the_package(tmp_path):
    (tmp_path / "credentials.json").symlink_to("credentials.json")
    with pytest.raises(CredentialsError, match=r"credentials\.json cannot be read"):
        find_api_key(profile="work", env={"PHALA_CLOUD_DIR": str(tmp_path)}, prompt=None)


def test_a_keyring_that_cannot_read_its_settings_is_passed_over(nobody, tmp_path):
    pytest.importorskip("keyring", reason="needs the keyring extra")
    env = {**nobody, "XDG_CONFIG_HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)}
    (tmp_path / "python_keyring").mkdir()
    settings = tmp_path / "python_keyring" / "keyringrc.cfg"
    settings.write_text("[backend]\ndefault-keyring=no_such_module.Keyring\n")
    assert "CredentialsError: Not signed in" in python(CLIENT, env, tmp_path).stderr


@pytest.mark.parametrize(
    ("words", "code"), [(["demo", "--run"], 1), (["report", "--output", "r.html"], 2)]
)
def test_who_needs_a_home_says_so(nobody, tmp_path, words, code):
    done = command(*words, env=nobody, cwd=tmp_path)
    assert (done.returncode, "Traceback" in done.stderr) == (code, False)
    assert "Set HOME to a folder that you can write to." in done.stderr


def test_demo_says_that_a_user_has_no_home(surroundings, tmp_path):
    env, folder = {**surroundings, "HOME": str(tmp_path)}, "~nobody-of-that-name/notebooks"
    done = command("demo", "--run", "--dir", folder, env=env, cwd=tmp_path)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert f"Cannot find the folder {folder}" in done.stderr


def test_demo_says_that_the_folder_it_starts_in_is_gone(surroundings, tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    env = {**surroundings, "HOME": str(tmp_path)}
    code = (
        "import os; os.rmdir(os.getcwd()); from cvm_notebook.cli.main import main; main(['demo'])"
    )
    done = python(code, env, gone)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert "Give its whole path: --dir FOLDER" in done.stderr
