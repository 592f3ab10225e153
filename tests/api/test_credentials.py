"""Where the key comes from, where it may go, and that no refusal shows it."""

import importlib
import importlib.util
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import new_kernel
from hypothesis import given, settings
from hypothesis import strategies as st

from cvm_notebook.api.auth.address import DEFAULT_BASE_URL, check_base_url
from cvm_notebook.api.auth.credentials import check_api_key, find_api_key
from cvm_notebook.api.errors.tree import CredentialsError, InvalidInput
from cvm_notebook.api.secret import Secret

KEY = "phak_SENTINEL"
OTHER = "https://other.example/api/v1"


@pytest.fixture(autouse=True)
def no_keyring_of_this_machine():
    """Keep the tests out of the keyring of whoever runs them."""
    if importlib.util.find_spec("keyring") is None:
        yield
        return
    keyring = importlib.import_module("keyring")
    null = importlib.import_module("keyring.backends.null")
    before = keyring.get_keyring()
    keyring.set_keyring(null.Keyring())
    yield
    keyring.set_keyring(before)


@pytest.fixture
def home(tmp_path):
    return tmp_path


def write(home, content, mode=0o600, folder=".phala-cloud"):
    path = home / folder / "credentials.json"
    path.parent.mkdir(exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_text(text)
    path.chmod(mode)
    return path


def profiles(current="work", **tokens):
    made = {
        name: {"token": token, "api_prefix": DEFAULT_BASE_URL, "workspace": {"slug": f"{name}-ws"}}
        for name, token in (tokens or {"work": KEY}).items()
    }
    return {"schema_version": 1, "current_profile": current, "profiles": made}


def find(home, env=(), **args):
    return find_api_key(env=dict(env), home=home, **{"prompt": None, **args})


ENV = {"PHALA_CLOUD_API_KEY": "phak_env"}


def test_the_first_place_that_has_a_key_wins(home):
    def prompt(question):
        assert DEFAULT_BASE_URL in question
        return "phak_typed"

    def found(env=(), **args):
        got = find(home, env, prompt=prompt, **args)
        return got.secret.reveal(), got.source

    assert found() == ("phak_typed", "the prompt")
    path = write(home, profiles())
    assert found() == (KEY, f"profile 'work' of {path}")
    assert found(ENV) == ("phak_env", "the environment variable PHALA_CLOUD_API_KEY")
    assert found(ENV, profile="work")[0] == KEY
    assert found(ENV, api_key="phak_arg") == ("phak_arg", "the api_key argument")
    assert found(ENV, api_key=Secret("phak_arg"))[0] == "phak_arg"


def test_a_profile_and_a_key_at_once_is_a_contradiction(home):
    with pytest.raises(CredentialsError, match="Give one of them"):
        find(home, api_key="x", profile="work")


def test_an_empty_variable_counts_as_not_set(home):
    write(home, profiles())
    assert find(home, {"PHALA_CLOUD_API_KEY": " "}).secret.reveal() == KEY


def test_no_key_names_every_place_looked_at(home):
    with pytest.raises(CredentialsError) as caught:
        find(home, prompt=lambda _: None)
    message = str(caught.value)
    for place in (
        "api_key",
        "PHALA_CLOUD_API_KEY",
        "credentials.json",
        "keyring",
        "Colab",
        "prompt",
    ):
        assert place in message
    assert "phala login" in message
    assert "connect('local')" in message


# --- which key may go where ---------------------------------------------------------------------


def test_the_address_is_the_argument_then_the_environment_then_the_default(home):
    env = {**ENV, "PHALA_CLOUD_API_PREFIX": OTHER + "/"}
    assert find(home, ENV).base_url == DEFAULT_BASE_URL
    assert find(home, env).base_url == OTHER
    assert find(home, env, base_url="http://127.0.0.1:8000/api/v1").base_url == (
        "http://127.0.0.1:8000/api/v1"
    )


def test_a_key_of_the_environment_never_goes_to_a_profile_s_address(home):
    content = profiles()
    content["profiles"]["work"]["api_prefix"] = OTHER
    write(home, content)
    assert find(home, ENV).base_url == DEFAULT_BASE_URL


@pytest.mark.parametrize(
    ("args", "env", "who"),
    [
        ({"base_url": OTHER}, {}, "base_url"),
        ({}, {"PHALA_CLOUD_API_PREFIX": OTHER}, "PHALA_CLOUD_API_PREFIX"),
        ({"base_url": "https://cloud-api.phala.com.evil.example/api/v1"}, {}, "base_url"),
        ({"base_url": "http://127.0.0.1:9/api/v1", "profile": "work"}, {}, "base_url"),
    ],
)
def test_a_profile_s_key_goes_to_its_own_address_only(home, args, env, who):
    write(home, profiles())
    with pytest.raises(CredentialsError, match=f"belongs to {DEFAULT_BASE_URL}.*{who} asks for"):
        find(home, env, **args)
    same = find(home, base_url="https://CLOUD-API.phala.com:443/api/v1/")
    assert (same.base_url, same.workspace) == (DEFAULT_BASE_URL, "work-ws")


def test_a_profile_s_address_must_be_safe_too(home):
    content = profiles()
    content["profiles"]["work"]["api_prefix"] = "http://cloud-api.phala.com/api/v1"
    write(home, content)
    with pytest.raises(InvalidInput, match=r"api_prefix of profile 'work'.*not https"):
        find(home)


# --- the file of profiles -----------------------------------------------------------------------


def test_the_folder_may_be_elsewhere(home):
    write(home, profiles(), folder="elsewhere")
    assert find(home, {"PHALA_CLOUD_DIR": str(home / "elsewhere")}).secret.reveal() == KEY


def test_a_profile_is_chosen_by_name_then_by_current_then_as_the_only_one(home):
    write(home, profiles(work="phak_w", home="phak_h"))
    assert find(home).secret.reveal() == "phak_w"
    assert find(home, profile="home").secret.reveal() == "phak_h"
    write(home, profiles(current=None, only="phak_o"))
    assert find(home).secret.reveal() == "phak_o"
    write(home, profiles(current=None, a="phak_a", b="phak_b"))
    with pytest.raises(CredentialsError, match="no current profile"):
        find(home)
    with pytest.raises(CredentialsError, match="it has: a, b"):
        find(home, profile="c")


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o602, 0o610])
def test_a_file_that_others_may_read_is_refused_with_the_command(home, mode):
    path = write(home, profiles(), mode)
    with pytest.raises(CredentialsError) as caught:
        find(home)
    assert f"Run: chmod 600 {path}" in str(caught.value)
    path.chmod(0o600)
    assert find(home).secret.reveal() == KEY


def test_a_folder_that_all_may_write_is_refused_with_the_command(home):
    folder = write(home, profiles()).parent
    folder.chmod(0o777)
    with pytest.raises(CredentialsError, match=f"Run: chmod o-w {folder}"):
        find(home)


def test_a_link_to_elsewhere_is_refused_and_one_beside_it_is_not(home):
    path = write(home, profiles())
    elsewhere = write(home, profiles(), folder="other")
    beside = path.with_name("real.json")
    path.rename(beside)
    path.symlink_to(beside)
    assert find(home).secret.reveal() == KEY
    path.unlink()
    path.symlink_to(elsewhere)
    with pytest.raises(CredentialsError, match="is a link to"):
        find(home)
    path.unlink()
    path.symlink_to(path.parent / "nowhere")
    with pytest.raises(CredentialsError, match="cannot be read"):
        find(home)


def test_a_pipe_does_not_hang_the_reader(home):
    path = write(home, profiles())
    path.unlink()
    os.mkfifo(path, 0o600)
    with pytest.raises(CredentialsError, match="is not a file"):
        find(home)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_refused(home):
    path = write(home, profiles())
    os.chown(path, 12345, -1)
    with pytest.raises(CredentialsError, match="another user"):
        find(home)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "SENTINEL",
        "[]",
        "{",
        '{"profiles": {"a": SENTINEL}}',
        "[" * 100_000,
        " " * (1 << 20) + "{}",
        {"current_profile": "a", "profiles": {"a": 5}},
        {"current_profile": "a", "profiles": {"a": {"token": None}}},
        {"current_profile": "a", "profiles": {"a": {"token": ""}}},
        {"current_profile": "a", "profiles": {"a": {"token": "SENTINEL\r\nX: y"}}},
        {"current_profile": "a", "profiles": []},
        {"profiles": {}},
        {},
    ],
)
def test_a_broken_file_is_an_error_that_names_it_and_shows_nothing_of_it(home, content):
    path = write(home, content)
    with pytest.raises(CredentialsError) as caught:
        find(home)
    assert str(path) in str(caught.value)
    assert "SENTINEL" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_file_may_begin_with_the_mark_that_some_editors_write(home):
    write(home, "\ufeff" + json.dumps(profiles()))
    assert find(home).secret.reveal() == KEY


def test_a_root_in_the_home_of_nobody_is_an_error(home):
    content = profiles()
    content["profiles"]["work"]["root_of_trust"] = "~nobody-has-this-name/root.pem"
    path = write(home, content)
    with pytest.raises(CredentialsError, match=str(path)):
        find(home)


@pytest.mark.parametrize("profile", [3, b"work", ["work"]])
def test_what_is_no_name_of_a_profile_is_refused(home, profile):
    write(home, profiles())
    with pytest.raises(InvalidInput, match="profile"):
        find(home, profile=profile)


def test_unknown_members_of_a_profile_are_ignored(home):
    content = profiles()
    content["profiles"]["work"] |= {
        "workspace": "text",
        "user": None,
        "new": [1],
        "api_prefix": None,
    }
    content["schema_version"] = 9
    write(home, content)
    got = find(home)
    assert (got.secret.reveal(), got.base_url, got.workspace) == (KEY, DEFAULT_BASE_URL, None)


# --- what may be a key --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("", "is empty"),
        (" \n", "is empty"),
        (f"Bearer {KEY}", "'Bearer'"),
        (f"bearer: {KEY}", "'Bearer'"),
        (f"X-API-Key: {KEY}", "name of a header"),
        (f'"{KEY}"', "quotes"),
        (f"{KEY}'", "quotes"),
        (f"{KEY}\r\nX-Evil: 1", "line break"),
        (f"{KEY}\nx", "line break"),
        (f"{KEY}\0", "control character"),
        (f"{KEY} x", "a space"),
        (f"{KEY}\u00a0x", "a space"),
        (f"{KEY}\u200b", "characters that no key has"),
        (f"{KEY}é", "characters that no key has"),
        (KEY * 200, "characters, which no key has"),
        (KEY.encode(), "bytes, not text"),
        (5, "int, not text"),
    ],
)
def test_what_cannot_be_a_key_is_refused_unseen(value, problem, home):
    with pytest.raises(CredentialsError) as caught:
        check_api_key(value, "a test")
    assert problem in str(caught.value)
    assert "a test" in str(caught.value)
    assert "SENTINEL" not in str(caught.value)
    if isinstance(value, str) and value.strip():
        for args in ({"api_key": value}, {"env": {"PHALA_CLOUD_API_KEY": value}}):
            with pytest.raises(CredentialsError):
                find_api_key(**{"env": {}, "home": home, "prompt": None, **args})


@settings(deadline=None)
@given(st.text(max_size=40))
def test_every_key_that_passes_can_be_a_header(text):
    try:
        key = check_api_key(text, "a test").reveal()
    except CredentialsError as error:
        key = "" if str(error) else "unexplained"
    assert all(33 <= ord(c) <= 126 for c in key)


def test_space_around_a_pasted_key_is_dropped():
    assert check_api_key(f"  {KEY}\r\n", "a test") == Secret(KEY)


# --- what may be an address ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (DEFAULT_BASE_URL, DEFAULT_BASE_URL),
        (f" {DEFAULT_BASE_URL}// ", DEFAULT_BASE_URL),
        ("HTTPS://Cloud-API.phala.com:443/api/v1/", DEFAULT_BASE_URL),
        ("https://cloud.example:8443/x", "https://cloud.example:8443/x"),
        ("http://localhost:8000/api/v1", "http://localhost:8000/api/v1"),
        ("http://127.0.0.1:80/api/v1", "http://127.0.0.1/api/v1"),
        ("http://127.9.8.7", "http://127.9.8.7"),
        ("http://[::1]:8000/api/v1", "http://[::1]:8000/api/v1"),
    ],
)
def test_an_address_has_one_spelling(url, expected):
    assert check_base_url(url) == expected
    assert check_base_url(expected) == expected


@pytest.mark.parametrize(
    "url",
    [
        "",
        None,
        5,
        "cloud-api.phala.com/api/v1",
        "//cloud-api.phala.com",
        "http://cloud-api.phala.com/api/v1",
        "http://localhost.evil.example",
        "http://127.0.0.1.evil.example",
        "http://0.0.0.0:8000",
        "http://0x7f.1",
        "http://2130706433",
        "http://[::ffff:10.0.0.1]",
        "ftp://localhost",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "https://",
        "https://:443",
        "https://host:99999",
        "https://host:x",
        "https://[::1",
        "https://user@host/api/v1",
        "https://user:SENTINEL@host/api/v1",
        "https://@host",
        "https://cloud-api.phala.com\\@evil.example/",
        "https://host/api v1",
        "https://host/\r\nX: y",
        "https://host\t.evil",
        "https://host/api?x=1",
        "https://host/api?",
        "https://host/api#",
        "https://host/api/../v2",
        "https://cloud-\u0430pi.phala.com/api/v1",
        "https://cloud-api.phala.com\u3002evil.example",
        "https://ho%73t/api",
        "https://host/" + "a" * 600,
        "https://.",
        "https://a..b/api/v1",
        "https://" + "a" * 64 + ".example",
        "https://" + "a." * 130 + "example",
    ],
)
def test_an_address_that_could_leak_the_key_is_refused(url):
    with pytest.raises(InvalidInput) as caught:
        check_base_url(url)
    assert "SENTINEL" not in str(caught.value)
    assert str(caught.value).isprintable()


@settings(deadline=None)
@given(st.text(max_size=60) | st.from_regex(r"https?://[^\s]{0,40}", fullmatch=True))
def test_every_address_that_passes_is_https_or_this_machine(text):
    try:
        url = check_base_url(text)
    except InvalidInput:
        return
    assert url.startswith(("https://", "http://localhost", "http://127.", "http://[::1]"))
    assert check_base_url(url) == url


# --- the prompt, and Colab ----------------------------------------------------------------------

ASK = """
from cvm_notebook.api.auth.credentials import find_api_key
from pathlib import Path
found = find_api_key(env={}, home=Path("/nonexistent"))
print("FOUND", len(found.secret.reveal()), found.source, found.secret)
"""


def run(code, **options):
    env = {
        **os.environ,
        "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
    }
    return [sys.executable, "-c", code], {"env": {**env, **options.pop("env", {})}, **options}


def test_a_terminal_is_asked_and_shows_nothing_of_what_is_typed():
    command, options = run(ASK)
    terminal, child_side = pty.openpty()
    with subprocess.Popen(
        command,
        stdin=child_side,
        stdout=child_side,
        stderr=child_side,
        start_new_session=True,
        **options,
    ) as process:
        os.close(child_side)
        seen = b""
        while b"not stored): " not in seen:
            seen += os.read(terminal, 1000)
        os.write(terminal, KEY.encode() + b"\n")
        while b"FOUND" not in seen or not seen.endswith(b"\n"):
            seen += os.read(terminal, 1000)
        process.wait(30)
    os.close(terminal)
    assert f"FOUND {len(KEY)} the prompt ••••" in seen.decode()
    assert b"SENTINEL" not in seen


def test_without_a_terminal_nobody_is_asked():
    command, options = run(ASK)
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **options,
    )
    assert "a prompt (nobody can answer here)" in done.stderr
    assert "FOUND" not in done.stdout


COLAB = """
class SecretNotFoundError(Exception): ...
class NotebookAccessError(Exception): ...
def get(key):
    if {raises}: raise NotebookAccessError("no")
    return {value!r} if key == "PHALA_CLOUD_API_KEY" else None
"""


@pytest.mark.parametrize(
    ("raises", "value", "output"),
    [
        (False, KEY, "FOUND 13 Colab's secret PHALA_CLOUD_API_KEY ••••"),
        (True, "", "NotebookAccessError"),
        (False, "", "(empty)"),
    ],
)
def test_in_colab_its_secrets_are_looked_at(tmp_path, raises, value, output):
    package = tmp_path / "google" / "colab"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "userdata.py").write_text(COLAB.format(raises=raises, value=value))
    inside = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import google.colab" + ASK
    command, options = run(inside)
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **options,
    )
    assert output in done.stdout + done.stderr
    assert "SENTINEL" not in done.stdout + done.stderr


# --- a kernel -----------------------------------------------------------------------------------

KERNEL = """
import sys; sys.path.insert(0, {root!r})
import os; os.environ["PYTHON_KEYRING_BACKEND"] = "keyring.backends.null.Keyring"
import pathlib
from cvm_notebook.api.auth.credentials import find_api_key
found = find_api_key(env={{}}, home=pathlib.Path("/nonexistent"))
print("FOUND", len(found.secret.reveal()), found.source)
found
"""


@pytest.fixture(scope="module")
def kernel():
    with new_kernel() as client:
        yield client


def execute(kernel, code, *, answer):
    """Run a cell; return all it showed, and the questions it asked."""
    shown, asked = [], []

    def on_question(message):
        asked.append(message["content"])
        kernel.input(answer)

    kernel.execute_interactive(
        code,
        allow_stdin=answer is not None,
        stdin_hook=on_question,
        output_hook=lambda message: shown.append(json.dumps(message["content"])),
        timeout=60,
    )
    return "".join(shown), asked


def test_a_notebook_is_asked_as_for_a_password_and_keeps_no_trace(kernel):
    code = KERNEL.format(root=str(Path(__file__).parents[2]))
    shown, [question] = execute(kernel, code, answer=KEY)
    assert question["password"] is True
    assert DEFAULT_BASE_URL in question["prompt"]
    assert "FOUND 13 the prompt" in shown
    trace, _ = execute(kernel, "%history -n\nprint(In, Out, dir(), sep='\\n')", answer=None)
    assert "find_api_key" in trace
    assert "SENTINEL" not in shown + trace


def test_an_error_in_a_headless_notebook_names_what_to_set(kernel):
    code = KERNEL.format(root=str(Path(__file__).parents[2]))
    shown, asked = execute(kernel, code, answer=None)
    assert asked == []
    assert "a prompt (nobody can answer here)" in shown


def test_what_pasting_adds_to_the_name_of_a_profile_is_not_of_it(tmp_path):
    profiles = {"work": {"token": KEY}}
    path = tmp_path / "credentials.json"
    path.write_text(json.dumps({"profiles": profiles}))
    path.chmod(0o600)
    env = {"PHALA_CLOUD_DIR": str(tmp_path)}
    assert find_api_key(profile="\ufeffwork\u200b", env=env, prompt=None).secret.reveal() == KEY
    with pytest.raises(CredentialsError, match=r"no profile 'wo\\u200brk'; it has: work"):
        find_api_key(profile="wo\u200brk", env=env, prompt=None)
