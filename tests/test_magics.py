"""The magics: in IPython's own shell in this process, and in real kernels, against a LocalCloud."""

import atexit
import contextlib
import copyreg
import json
import re
import threading
import time
import traceback
from pathlib import Path

import nbformat
import pandas as pd
import papermill
import pytest
from helpers import COMPOSE, HANGS, new_kernel, run_all
from IPython.core.completer import provisionalcompleter
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from papermill.exceptions import PapermillExecutionError
from traitlets.config import Config

import cvm_notebook as cvm
from cvm_notebook.api.errors.tree import NotTrustedError
from cvm_notebook.live.query import QueryError
from cvm_notebook.live.store.index import UnknownCvm
from cvm_notebook.magics.arguments import verbs

NAMES = ["agent-1", "agent-2", "agent-3"]
SENTINEL = "sentinel-vq7Zt"
WITHIN = 60


@pytest.fixture(scope="module")
def cloud(new_cloud):
    with new_cloud(seed="empty", speed=200) as running:
        with cvm.Client(api_key=running.api_key, base_url=running.url) as client:
            run_all(client, *NAMES)
        yield running


@pytest.fixture
def at_home(cloud, monkeypatch, tmp_path):
    """A machine whose environment has the key, and a folder of its own."""
    monkeypatch.setenv("PHALA_CLOUD_API_PREFIX", cloud.url)
    monkeypatch.setenv("PHALA_CLOUD_API_KEY", cloud.api_key)
    monkeypatch.setenv("PHALA_CLOUD_DIR", str(tmp_path))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Shown(str):  # noqa: SLOT000 - a few of them
    """All that a cell showed, as text.

    Attributes
    ----------
    value, error
        What it came to.
    """

    value = error = None


class Prompt:
    """A plain IPython in which the magics are loaded."""

    def __init__(self, shell):
        self.shell = shell
        self.names = shell.user_ns

    def __call__(self, cell):
        with capture_output() as captured:
            done = self.shell.run_cell(cell, store_history=True)
        results = "".join(out.data["text/plain"] for out in captured.outputs)
        shown = Shown(captured.stdout + results + captured.stderr)
        shown.value, shown.error = done.result, done.error_in_exec or done.error_before_exec
        assert "Traceback" not in shown
        assert "cvm_notebook/" not in shown
        return shown

    def well(self, cell):
        shown = self(cell)
        assert shown.error is None, shown
        return shown

    def tab(self, text):
        with provisionalcompleter():
            return [one.text for one in self.shell.Completer.completions(text, len(text))]


@pytest.fixture
def ip(at_home):
    config = Config()
    config.HistoryManager.enabled = False  # of other sessions; its own is kept
    config.InteractiveShell.warn_venv = False  # whichever one the shell of who runs this is in
    shell = InteractiveShell.instance(config=config)
    try:
        prompt = Prompt(shell)
        prompt.well("%load_ext cvm_notebook")
        yield prompt
    finally:
        for value in list(shell.user_ns.values()):
            if isinstance(value, cvm.Fleet):
                value.close()
        shell.restore_sys_module_state()
        atexit.unregister(shell.atexit_operations)
        InteractiveShell.clear_instance()


@pytest.fixture
def sent(cloud):
    """What changes something, as the server has seen it since."""
    cloud.clear_requests()
    batch = "/status/batch"  # a question, though it is posted
    return lambda: [
        f"{one['method']} {one['path'].partition('/cvms')[2]}"
        for one in cloud.requests()
        if one["method"] != "GET" and batch not in one["path"]
    ]


@pytest.fixture
def interrupted(press_ctrl_c):
    """Press Ctrl-C as soon as something is so; nobody tells when."""

    def press(when):
        pause, end = threading.Event(), time.monotonic() + WITHIN
        while not when() and time.monotonic() < end:
            pause.wait(0.02)
        press_ctrl_c()

    @contextlib.contextmanager
    def meanwhile(when):
        pressing = threading.Thread(target=press, args=(when,))
        pressing.start()
        yield
        pressing.join()

    return meanwhile


# --- loading --------------------------------------------------------------------------------------


def test_it_is_loaded_reloaded_and_unloaded(ip):
    ip.well("%reload_ext cvm_notebook")
    completer = ip.shell.Completer
    assert len(completer.custom_matchers) == 1
    ip.well("%unload_ext cvm_notebook")
    assert completer.custom_matchers == []
    assert "not found" in ip("%cvm ls")
    ip.well("%load_ext cvm_notebook")


def test_help_has_every_verb_and_each_has_its_own(ip):
    shown = ip.well("%cvm")
    for verb in verbs():
        assert f"%cvm {verb}" in shown
        assert shown.count(f"cvm {verb}") >= 1
        own = ip.well(f"%cvm help {verb}")
        assert f"cvm {verb}" in own
        assert "\n" in own
    assert "--yes" in ip.well("%cvm stop --help")
    assert "%cvm" in ip.shell.magics_manager.magics["line"]["cvm"].__doc__


# --- whose fleet ----------------------------------------------------------------------------------


def test_without_a_fleet_one_is_made_and_it_is_printed_in_a_line(ip, cloud):
    shown = ip.well("%cvm ls;")
    assert shown.splitlines()[0].startswith("`fleet` and `client` are set: ")
    assert cloud.url in shown
    assert cloud.api_key not in shown
    assert isinstance(ip.names["fleet"], cvm.Fleet)
    assert "are set" not in ip.well("%cvm ls")  # the same one from then on
    first = ip.names["fleet"]
    first.close()
    assert "are set" in ip.well("%cvm ls")
    assert ip.names["fleet"] is not first


def test_a_client_of_the_notebook_is_kept_to(ip, cloud):
    made = cloud.new_workspace("Other")
    ip.names["client"] = client = cvm.Client(api_key=made["api_key"], base_url=cloud.url)
    assert ip.well("%cvm ls").value.empty
    assert ip.names["client"] is ip.names["fleet"].client is client


def test_a_fleet_that_is_something_else_is_not_replaced_unasked(ip):
    frame = ip.names["fleet"] = pd.DataFrame({"mine": [1]})
    shown = ip("%cvm ls")
    assert isinstance(shown.error, cvm.InvalidInput)
    assert "DataFrame" in shown
    assert "%cvm use" in shown
    assert ip.names["fleet"] is frame
    ip.well("%cvm use")
    assert isinstance(ip.names["fleet"], cvm.Fleet)


def test_a_profile_is_used_and_one_that_is_not_there_is_an_error(ip, cloud, at_home, monkeypatch):
    monkeypatch.delenv("PHALA_CLOUD_API_KEY")
    monkeypatch.delenv("PHALA_CLOUD_API_PREFIX")
    profiles = {"work team": {"token": cloud.api_key, "api_prefix": cloud.url}}
    path = at_home / "credentials.json"
    path.write_text(json.dumps({"schema_version": 1, "profiles": profiles}))
    path.chmod(0o600)
    assert "work team" in ip.well('%cvm use "work team"')
    assert ip.tab("%cvm use ") == ["'work team'", "local"]
    for line in ("%cvm use nobody", "%cvm login nobody"):
        shown = ip(line)
        assert "no profile 'nobody'; it has: work team" in shown
        assert shown.error is not None
    monkeypatch.setattr("cvm_notebook.api.auth.credentials._login", None)
    assert "signed in" in ip.well('%cvm login "work team"')


# --- looking --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        ("", NAMES),
        ("agent-2", ["agent-2"]),
        ("status=running", NAMES),
        ("status=running name=*-3", ["agent-3"]),
        ("name=agent-1 name=agent-3", ["agent-1", "agent-3"]),
        ("'name=agent-1'", ["agent-1"]),
        ("created_at='2020-01-01'", []),
        ("name = 'agent-2' and vcpu >= 1", ["agent-2"]),
        ("rate_usd_h > 0 order by name desc limit 2", ["agent-3", "agent-2"]),
        ("agent and status=running order by name limit 1", ["agent-1"]),
        ("nothing-like-it", []),
    ],
)
def test_ls_takes_words_conditions_and_queries(ip, asked, names):
    frame = ip.well(f"df = %cvm ls {asked}") and ip.names["df"]
    assert isinstance(frame, pd.DataFrame)
    found = list(frame["name"])
    assert (found if "order by" in asked else sorted(found)) == names
    pd.testing.assert_index_equal(frame.columns, ip.names["fleet"].frame().columns)


def test_what_is_shown_is_the_object_and_can_be_captured(ip):
    ip.well("%cvm ls;")
    one = ip.well("%cvm show agent-1")
    assert one.value.name == "agent-1"
    assert "agent-1: running; snapshot of" in one
    assert ip.well("%%capture held\n%cvm ls\nprint('printed')") == ""
    assert "printed" in ip.names["held"].stdout
    cost = ip.well("%cvm cost 2h").value
    assert set(cost.index.get_level_values("window")) == {"2h"}
    assert list(cost.columns) == ["name", "running_h", "rate_usd_h", "amount_usd"]
    assert cost["amount_usd"].is_monotonic_decreasing
    ip.well("name = 'agent-2'")
    assert ip.well("%cvm show {name}").value.name == "agent-2"


def test_diff_tells_what_changed_since_the_last_look(ip):
    ip.well("%cvm use")
    assert "no earlier %cvm ls" in ip("%cvm diff")
    ip.well("%cvm ls;")
    ip.well("%cvm stop agent-1 --wait")
    changed = ip.well("%cvm diff").value
    assert ("running", "stopped") in set(zip(changed["before"], changed["after"], strict=True))
    assert set(changed["name"]) == {"agent-1"}
    ip.well("%cvm start agent-1 --wait")
    assert "stopped" in set(ip.well("%cvm diff").value["before"])


# --- what is wrong --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "kind", "says"),
    [
        ("%cvm lst", UsageError, "has no 'lst'. Did you mean ls?"),
        ("%cvm stop", UsageError, "NAME. Usage: %cvm stop NAME... [--yes] [--wait]"),
        ("%cvm stop agent-1 --ye", UsageError, "unrecognized arguments: --ye."),
        ("%cvm stop 'agent-1", UsageError, "no closing quotation"),
        ("%cvm deploy web-1", UsageError, "deploy takes a whole cell"),
        ("%%cvm stop agent-1\nx", UsageError, "stop takes one line"),
        ("%cvm watch agent-1 --until runing", UsageError, "did you mean running?"),
        ("%cvm watch agent-1 --timeout soon", UsageError, "'soon' is not a time"),
        ("%cvm logs agent-1 --tail x", UsageError, "'x' is not a number of lines"),
        ("%cvm logs agent-1 --since yesterday", cvm.InvalidInput, "'yesterday' is not a time"),
        ("%cvm logs agent-1 --container none", cvm.InvalidInput, "There is: "),
        ("%cvm cost a lot", UsageError, "unrecognized arguments: lot"),
        ("%cvm cost never", cvm.InvalidInput, "never"),
        ("%cvm verify", UsageError, "NAME. Usage: %cvm verify NAME [--policy FILE]"),
        ("%cvm verify agent-1 --policy no.toml", cvm.InvalidInput, "no.toml is not a policy"),
        ("%cvm verify agent-9", UnknownCvm, "Did you mean 'agent-"),
        ("%cvm ls stauts=running", cvm.InvalidInput, "Did you mean status"),
        ("%cvm ls rate_usd_h >", QueryError, "it ends too early"),
        ("%cvm show agent1", UnknownCvm, "Did you mean 'agent-1'"),
        ("%cvm stop agent-1 nobody --yes", UnknownCvm, "no CVM 'nobody'"),
    ],
)
def test_what_is_wrong_is_one_clear_error_and_nothing_is_sent(ip, sent, line, kind, says):
    shown = ip(line)
    assert isinstance(shown.error, kind)
    assert says in shown
    assert f"{kind.__name__}: " in shown
    assert "Traceback" not in ip("%tb")
    assert sent() == []


# --- acting ---------------------------------------------------------------------------------------


def test_one_action_is_an_operation(ip):
    ip.well("op = %cvm restart agent-1 --force --wait")
    assert ip.names["op"].state == "reached"
    shown = ip.well("%cvm stop agent-1 --wait")
    assert re.search(r"^\d\d:\d\d:\d\d UTC  stop agent-1: done$", shown, re.MULTILINE)
    shown = ip.well("op = %cvm start agent-1")
    assert ip.names["op"].state in {"accepted", "reached"}
    assert ip.well("%cvm watch agent-1 --timeout 60").value.status == "running"
    refused = ip("%cvm restart agent-1 --wait --yes") and ip.well("%cvm watch agent-1")
    assert refused.value.status == "running"


def test_what_wants_to_be_confirmed_is_shown_with_the_line_to_run(ip, sent):
    ip.well("%cvm use")
    for line in ("%cvm delete agent-1 --wait", "%cvm stop agent-1 agent-2"):
        shown = ip.well(line)
        assert isinstance(shown.value, cvm.FleetPlan)
        assert f"Preview; nothing was sent. To run it: {line} --yes" in shown
        assert "agent-1" in shown
    assert sent() == []
    (typed,) = re.findall(r"To run it: (.*)", shown)
    outcome = ip.well(f"{typed} --wait").value
    assert outcome.ok
    assert [row.state for row in outcome] == ["reached", "reached"]
    outcome = ip.well("%cvm start agent-1 agent-2 agent-1 --wait").value  # named twice is once
    assert [row.state for row in outcome] == ["reached", "reached"]
    assert len([one for one in sent() if one.endswith("/start")]) == 2


def test_a_replica_is_made_and_deleted(ip, sent):
    ip.well("op = %cvm replicate agent-3 --wait")
    made = ip.names["op"].made_id
    ip.well(f"%cvm delete {made} --yes --wait")
    assert [one.split(" ")[0] for one in sent()] == ["POST", "DELETE"]
    assert made not in ip.names["fleet"]


def test_a_failure_of_one_among_several_is_an_error_that_has_them_all(ip, cloud):
    ip.well("%cvm use")
    cvm_id = ip.names["fleet"]["agent-2"].id
    cloud.inject({"kind": "status", "arg": 403, "route": f"POST /cvms/{cvm_id}/restart"})
    shown = ip("%cvm restart agent-1 agent-2 --yes --wait")
    assert [row.state for row in shown.error.outcome] == ["reached", "failed"]
    assert "1 reached, 1 failed" in shown
    assert "agent-2: failed" in shown
    assert len([line for line in shown.splitlines() if "NotAllDone" in line]) == 1


def test_a_refusal_of_the_service_keeps_what_the_service_answered(ip, sent):
    shown = ip(f"%%cvm deploy agent-1\n{COMPOSE}")
    error = shown.error
    assert isinstance(error, cvm.ResourceError)
    assert error.error_code == "ERR-01-004"
    for part in (error.error_code, error.request_id, error.hint, "HTTP 409"):
        assert part in shown
    assert sent() == ["POST /provision"]


# --- waiting and reading --------------------------------------------------------------------------


def test_a_watch_has_a_deadline_and_ctrl_c_ends_it_without_harm(ip, sent, interrupted):
    ip.well("%cvm use")
    shown = ip("%cvm watch agent-1 --until stopped --timeout 1s")
    assert isinstance(shown.error, cvm.WatchTimeout)
    assert "agent-1 (running)" in shown
    assert "agent-1  running" in shown  # the progress
    with interrupted(lambda: ip.names["fleet"]._reflector._interests._follows):
        shown = ip("%cvm watch agent-1 --until stopped")
    assert isinstance(shown.error, KeyboardInterrupt)
    assert "no longer watching <CVM 'agent-1': running>; nothing was done to it" in shown
    assert sent() == []


def test_a_log_is_text_in_which_nothing_acts(ip, cloud):
    ip.well("%cvm use")
    shown = ip.well("lines = %cvm logs agent-1 --tail 2\nlines")
    assert len(shown.removeprefix("Out[3]: ").strip().splitlines()) == 2
    assert {line.channel for line in ip.names["lines"]} == {"serial"}
    assert "is no" not in ip.well("%cvm logs agent-1 --container app --since 1h")
    log = "\x1b]52;c;aGk=\x07\x1b[31mred\x1b[2J \x1b]8;;http://192.0.2.1/\x07x\x1b]8;;\x07\n"
    log = f"{log}\u202eevil\x07\n"
    body = log.encode()
    head = f"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {len(body)}\r\n\r\n"
    answer = head + body.decode("latin-1")
    cloud.inject({"kind": "raw", "route": "GET /logs/**", "arg": answer, "times": 2})
    for line in ("%cvm logs agent-1", "%cvm logs agent-1 -f"):
        shown = ip.well(line)
        assert "\x1b[31mred x\x1b[0m\nevil" in shown
        assert re.sub(r"\x1b\[\d+m", "", shown).isprintable() is False  # its line breaks
        assert not set("\x07\u202e") & set(shown)
        assert "]52" not in shown


def test_a_log_is_followed_until_the_cvm_ends_or_ctrl_c(ip, cloud, sent, interrupted):
    ip.well("%cvm ls;")

    def read():
        return sum("/logs/" in one["path"] for one in cloud.requests())

    before = read()
    with interrupted(lambda: read() > before):
        shown = ip.well("%cvm logs agent-2 -f --tail 1")
    assert "No longer following the log of agent-2." in shown
    assert sent() == []
    client = ip.names["client"]
    stop = threading.Timer(0.2, client.stop_cvm, ["agent-2"])
    stop.start()
    shown = ip.well("%cvm logs agent-2 -f --tail 1")
    stop.join()
    assert "The log of agent-2 has ended." in shown
    ip.well("%cvm watch agent-2 --until stopped")
    ip.well("%cvm start agent-2 --wait")


# --- deploying ------------------------------------------------------------------------------------


def test_a_dry_run_says_what_it_would_be_and_makes_nothing(ip, sent):
    cell = f"%%cvm deploy dry-web --type tdx.medium --env DB --dry-run\n{COMPOSE}"
    shown = ip.well(cell)
    offer = shown.value
    assert len(offer.provision.compose_hash) == 64
    for part in (offer.provision.compose_hash, "tdx.medium", "USD/h", "a month", "node", "DB"):
        assert part in shown
    assert offer.usd_h > 0
    assert "<table" in offer._repr_mimebundle_()["text/html"]
    assert sent() == ["POST /provision"]


def test_what_is_deployed_runs_the_cell_and_can_be_deleted(ip, cloud, monkeypatch):
    monkeypatch.setenv("DB_PASSWORD", SENTINEL)
    Path(".env").write_text(f"# of the shop\nTOKEN='{SENTINEL}'\n")
    options = "--env-file .env --env DB_PASSWORD --wait"
    shown = ip.well(f"%%cvm deploy deployed-web {options}\n{COMPOSE}")
    assert "deployed-web  commit: done" in shown
    made = shown.value
    assert made.status == "running"
    compose = ip.names["client"].get_cvm_compose_file(made.id)
    assert compose["docker_compose_file"] == COMPOSE
    assert set(compose["allowed_envs"]) == {"TOKEN", "DB_PASSWORD"}
    ip.well("%cvm logs deployed-web --container app;")
    seen = [*ip.names["In"], *map(repr, ip.names["Out"].values()), shown, ip.well("%history -n")]
    assert options in "".join(seen)
    assert SENTINEL not in "".join(seen)
    assert SENTINEL not in json.dumps(cloud.requests())
    ip.well("%cvm delete deployed-web --yes --wait")


def test_a_forged_key_encrypts_nothing(ip, cloud, sent, monkeypatch):
    monkeypatch.setenv("DB_PASSWORD", SENTINEL)
    cloud.inject({"kind": "env_key_forged"})
    try:
        shown = ip(f"%%cvm deploy forged-web --env DB_PASSWORD\n{COMPOSE}")
    finally:
        cloud.clear_faults()
    assert isinstance(shown.error, NotTrustedError)
    assert "nothing was encrypted or sent" in shown
    assert SENTINEL not in shown
    assert sent() == ["POST /provision"]


@pytest.mark.parametrize(
    ("line", "body", "says"),
    [
        ("deploy web-5", "services:\n  app: [\n", "the cell: line 4: "),
        ("deploy web-5", "services:\n  app:\n    x: 1\n", "line 4: the service 'app' has neither"),
        ("deploy web_5", COMPOSE, "name: 'web_5' holds '_'"),
        ("deploy web-5 --env NOT_SET_HERE", COMPOSE, "NOT_SET_HERE: not set"),
        ("deploy web-5 --env 5x", COMPOSE, "'5x' is not a name of an environment variable"),
        ("deploy web-5 --env HOME --env HOME", COMPOSE, "HOME: it is given twice"),
        ("deploy web-5 --env-file none.env", COMPOSE, "none.env cannot be read (No such file"),
        ("deploy web-5 --env-file a\0b", COMPOSE, "cannot be read (ValueError)"),
        ("deploy web-5 --env-file bad.env", COMPOSE, "bad.env, line 2: it is not NAME=value"),
        ("deploy web-5 --env-file wrapped.env", COMPOSE, "wrapped.env, line 2: it is not NAME=val"),
        (
            "deploy web-5 --env-file nothing.env",
            COMPOSE,
            "it has no variables. Write NAME=value on",
        ),
        (
            "deploy web-5 --env TOO_LONG",
            COMPOSE,
            "TOO_LONG: its value has 128.0 KiB; a CVM takes 1",
        ),
        (f"deploy web-5 --env A={SENTINEL}", COMPOSE, "would be saved in the notebook"),
        (f"deploy web-5 --env 'A=b {SENTINEL}'", COMPOSE, "would be saved in the notebook"),
        (f"deploy web-5 --envs A={SENTINEL}", COMPOSE, "there are words that it does not take"),
        (f"deploy web-5 --env A {SENTINEL}", COMPOSE, "there are words that it does not take"),
    ],
)
def test_what_cannot_be_deployed_is_reported_before_anything_is_sent(
    ip, sent, line, body, *, says, monkeypatch
):
    Path("bad.env").write_text(f"A=1\n{SENTINEL}\n")
    Path("wrapped.env").write_text(
        f"A={'Ab0+' * 19}\n{SENTINEL}/{'x' * (-len(SENTINEL) % 4 + 2)}=\n"
    )
    Path("nothing.env").write_text("# nothing is set here\n\n")
    monkeypatch.setenv("TOO_LONG", SENTINEL + "x" * (128 * 1024 - len(SENTINEL) + 1))
    for verbose in ("Plain", "Verbose"):
        ip.well(f"%xmode {verbose}")
        shown = ip(f"%%cvm {line}\n{body}")
        assert shown.error is not None
        assert says in shown
        assert SENTINEL not in shown
        assert SENTINEL not in ip("%tb")
        assert shown.error.__context__ is None  # no frame that holds a value is kept
    assert sent() == []


def test_no_frame_is_kept_where_a_library_has_errors_copied_with_theirs(ip, monkeypatch):
    def reduced(error):  # as tblib does, which distributed installs
        return with_context, (error.__reduce__(), error.__traceback__, error.__context__)

    def with_context(parts, frames, context):
        error = parts[0](*parts[1])
        error.__context__ = error.__cause__ = context
        return error.with_traceback(frames)

    monkeypatch.setitem(copyreg.dispatch_table, cvm.InvalidInput, reduced)
    Path("bad.env").write_text(f"A=1\n{SENTINEL}\n")
    ip.well("%xmode Verbose")
    shown = ip(f"%%cvm deploy web-5 --env-file bad.env\n{COMPOSE}")
    assert "bad.env, line 2" in shown
    assert SENTINEL not in ip("%tb")
    assert shown.error.__context__ is shown.error.__cause__ is None
    frames = [
        frame.f_globals["__name__"] for frame, _ in traceback.walk_tb(shown.error.__traceback__)
    ]
    assert "cvm_notebook.magics.deploy" not in frames


def test_a_commit_that_is_refused_is_reported_and_not_sent_twice(ip, cloud, sent):
    ip.well("%cvm use")
    cloud.inject({"kind": "status", "route": "commit", "arg": 403})
    shown = ip(f"%%cvm deploy refused-web\n{COMPOSE}")
    assert isinstance(shown.error, cvm.AuthError)
    assert "HTTP 403" in shown
    assert sent() == ["POST /provision", "POST "]


def test_a_commit_whose_answer_is_lost_is_read_back_and_not_sent_twice(ip, cloud, sent):
    ip.well("%cvm use")
    cloud.inject({"kind": "reset_after", "route": "commit"})
    shown = ip.well(f"%%cvm deploy lost-web --wait\n{COMPOSE}")
    assert "lost-web: running" in shown
    ip.well("%cvm delete lost-web --yes --wait")
    assert [one for one in sent() if one.startswith("POST")] == ["POST /provision", "POST "]


def test_what_pasting_adds_to_a_line_is_not_of_it(ip):
    ip.well("%cvm use local")
    assert "agent-1" in ip.well("%cvm show\xa0agent-1\u200b\ufeff")
    shown = ip("%cvm show agent-\u200b1")
    assert "no CVM 'agent-\\u200b1' in the fleet. Did you mean 'agent-1' or " in str(shown.error)
    assert "has no 'sh\\u200bow'. Did you mean show?" in str(ip("%cvm sh\u200bow agent-1").error)


def test_ctrl_c_while_something_is_done_says_that_it_goes_on(ip, press_ctrl_c):
    ip.well("%cvm ls;")
    pressed, shown_it = set(), threading.Event()

    def press(record):
        if record.state == "sent" and not pressed:
            pressed.add(record.id)
            press_ctrl_c()
            shown_it.wait(HANGS)  # the request goes on when this returns

    for line in ("%cvm restart agent-1", "%cvm restart agent-2 agent-3 --yes"):
        pressed.clear()
        shown_it.clear()
        end = ip.names["fleet"].operator.attach(press)
        shown = ip(line)
        shown_it.set()
        end()
        assert isinstance(shown.error, KeyboardInterrupt)
        assert "goes on" in shown
    assert "agent-2" in list(ip.names["fleet"].operations()["name"])
    ip.well("fleet.wait(*NAMES, progress=False);".replace("NAMES", repr(NAMES)))


# --- completion -----------------------------------------------------------------------------------


@pytest.mark.parametrize("use_jedi", [True, False])
def test_verbs_options_and_names_are_completed(ip, use_jedi, sent):
    ip.shell.Completer.use_jedi = use_jedi
    assert "agent-1" not in ip.tab("%cvm show ")  # no fleet is made for it
    assert "fleet" not in ip.names
    ip.well("%cvm ls;")
    assert set(ip.tab("%cvm ")) == {*verbs(), "help"} - {"deploy"}
    assert ip.tab("%%cvm ") == ["deploy"]
    assert ip.tab("%cvm sh") == ["show", "shutdown"]
    assert ip.tab("%cvm stop agent-") == NAMES
    assert ip.tab("df = %cvm show agent-1") == ["agent-1"]
    assert ip.tab("%cvm stop agent-1 agent") == ["agent-2", "agent-3"]
    assert ip.tab("%cvm stop agent-1 --") == ["--wait", "--yes"]
    assert ip.tab("%cvm restart --f") == ["--force"]
    assert ip.tab("%cvm verify agent-1 --p") == ["--policy"]
    assert ip.tab("%cvm verify agent-2") == ["agent-2"]
    assert ip.tab("%cvm watch agent-1 --until run") == ["running"]
    assert ip.tab("%%cvm deploy web-1 --en") == ["--env", "--env-file"]
    body = "%%cvm deploy web-1\nser"
    assert "--env" not in ip.tab(body)
    Path("prod.env").touch()
    assert "prod.env" in ip.tab("%%cvm deploy web-1 --env-file pr")
    assert sent() == []


# --- changing -------------------------------------------------------------------------------------

NEWER = COMPOSE.replace("1.27", "1.28")


def test_a_cell_makes_a_cvm_changes_it_and_then_nothing_more(ip, sent, monkeypatch):
    monkeypatch.setenv("TOKEN", SENTINEL)
    cell = "%%cvm deploy cell-web --update --env TOKEN --wait\n"
    assert "1 of 1 changed" in ip.well(cell + COMPOSE)
    made = sent()

    assert "Nothing differed" in ip.well(cell + COMPOSE)
    assert sent() == made
    assert "compose_file" in ip.well(cell.replace("--wait", "--dry-run") + NEWER)
    assert sent() == made
    ip.well(cell + NEWER)
    assert len(sent()) == len(made) + 1
    assert "1.28" in ip.names["client"].get_cvm_docker_compose("cell-web")
    assert SENTINEL not in "".join([*ip.names["In"], *map(repr, ip.names["Out"].values())])
    ip.well("%cvm delete cell-web --yes --wait")


def test_a_file_of_apps_is_applied_and_what_would_be_lost_is_shown_first(ip, sent):
    Path("compose.yml").write_text(COMPOSE)
    Path("web.env").write_text(f"A={SENTINEL}\nB=2\n")
    Path("apps.yaml").write_text("file-web:\n  compose_file: compose.yml\n  env_file: web.env\n")
    assert "1 to create" in ip.well("%cvm apply apps.yaml --dry-run")
    assert sent() == []
    ip.well("%cvm apply apps.yaml --wait")
    made = sent()
    assert "Nothing differed" in ip.well("%cvm apply apps.yaml")

    Path("web.env").write_text(f"A={SENTINEL}\n")
    shown = ip.well("%cvm apply apps.yaml --wait")
    assert "B would be lost" in shown
    assert "%cvm apply apps.yaml --wait --yes" in shown
    assert SENTINEL not in shown
    assert sent() == made
    ip.well("%cvm apply apps.yaml --wait --yes")
    assert sent()[len(made) :] == [f"PATCH /{ip.names['fleet']['file-web'].id}"]
    ip.well("%cvm delete file-web --yes --wait")


def test_one_cvm_is_changed_in_a_line(ip, sent):
    shown = ip.well("%cvm update agent-3 --disk 40 --dry-run")
    assert "disk_size" in shown
    assert sent() == []
    ip.well("%cvm update agent-3 --disk 40 --wait")
    assert ip.names["fleet"]["agent-3"].cvm.resource.disk_in_gb == 40
    assert "only grows" in ip.well("%cvm update agent-3 --disk 30 --dry-run")
    refused = ip("%cvm update agent-3 --disk 30")
    assert isinstance(refused.error, cvm.CvmError)
    assert ip.tab("%cvm update agent-") == NAMES


# --- real kernels ---------------------------------------------------------------------------------


def test_a_run_by_papermill_passes_until_a_verb_fails(at_home, monkeypatch):
    monkeypatch.setenv("DB_PASSWORD", SENTINEL)
    made = nbformat.v4.new_notebook()
    made.metadata["kernelspec"] = {"name": "python3", "display_name": "3", "language": "python"}
    cells = (
        "%load_ext cvm_notebook\n%cvm ls status=running",
        f"%%cvm deploy run-web --env DB_PASSWORD --wait\n{COMPOSE}",
        "%cvm logs run-web --tail 1",
        "%cvm delete run-web --yes --wait",
        "%cvm stop",  # a UsageError is no output of the cell, and counts
        "%cvm ls",
    )
    made.cells = [nbformat.v4.new_code_cell(cell) for cell in cells]
    nbformat.write(made, "in.ipynb")
    with pytest.raises(PapermillExecutionError) as raised:
        papermill.execute_notebook("in.ipynb", "out.ipynb", progress_bar=False)
    assert raised.value.cell_index == 4
    run = nbformat.read("out.ipynb", 4)
    counted = [cell.execution_count for cell in run.cells if cell.cell_type == "code"]
    assert counted == [1, 2, 3, 4, 5, None]
    saved = Path("out.ipynb").read_text()
    for part in ("agent-1", "run-web  commit: done", "boot: done", "delete run-web: done"):
        assert part in saved
    assert "UsageError: %cvm stop: the following arguments are required: NAME" in saved
    assert SENTINEL not in saved


class Kernel:
    """A real kernel, and a front end that can answer."""

    def __init__(self, client):
        self.client = client
        self.outputs, self.asked = [], []

    def run(self, code, answer=None):
        """Run a cell; return its outputs."""
        self.outputs = []
        reply = self.client.execute_interactive(
            code,
            allow_stdin=answer is not None,
            stdin_hook=lambda asked: (self.asked.append(asked), self.client.input(answer)),
            output_hook=self.outputs.append,
            timeout=WITHIN,
        )
        return reply["content"]

    @property
    def printed(self):
        """What was printed; a print may come in pieces."""
        said = [one["content"] for one in self.outputs if one["msg_type"] == "stream"]
        return "".join(one["text"] for one in said)

    @property
    def shown(self):
        return json.dumps([one["content"] for one in self.outputs], default=str) + self.printed

    def type_into(self, model_id, token, value):
        """Send what the front end of a secret box sends."""
        content = {"kind": "secret", "token": token, "value": value}
        data = {"method": "custom", "content": content}
        message = self.client.session.msg("comm_msg", {"comm_id": model_id, "data": data})
        self.client.shell_channel.send(message)


@pytest.fixture
def kernel(at_home):
    with new_kernel() as client:
        yield Kernel(client)


def test_a_value_is_asked_for_in_a_box_or_at_a_prompt_and_is_saved_nowhere(kernel, cloud, sent):
    kernel.run("%load_ext cvm_notebook\n%cvm use", answer="")
    sent_before = len(sent())
    reply = kernel.run(f"%%cvm deploy boxed-web --env A --env B\n{COMPOSE}")
    assert reply["status"] == "error"  # nobody can be asked
    assert (reply["ename"], len(reply["traceback"])) == ("InvalidInput", 1)
    assert "A, B: not set in the environment" in kernel.shown
    assert len(sent()) == sent_before

    reply = kernel.run(f"%%cvm deploy boxed-web --env A --env B\n{COMPOSE}", answer="")
    assert reply["status"] == "ok"
    assert kernel.asked == []  # the cell does not wait
    shown = [one for one in kernel.outputs if one["msg_type"] == "execute_result"]
    assert "is made as soon as A, B is given" in shown[0]["content"]["data"]["text/plain"]
    opened = [one["content"] for one in kernel.outputs if one["msg_type"] == "comm_open"]
    boxes = [
        one["comm_id"]
        for one in opened
        if one["data"]["state"].get("label", "").startswith("Value of")
    ]
    assert len(boxes) == 2
    instances = "__import__('ipywidgets').widgets.widget._instances"  # what a snapshot would tell
    kernel.run(f"print(*({instances}[one]._token for one in {boxes!r}))")
    tokens = kernel.printed.split()
    typed = [*zip(boxes, tokens, strict=True)]
    pressed = [kernel.type_into(*box, SENTINEL) for box in (*typed, typed[1], typed[1])]
    assert len(pressed) == 4  # whoever is impatient makes one CVM
    wait = "import time\nwhile 'boxed-web' not in fleet: fleet.refresh(); time.sleep(0.05)\n"
    kernel.run(f"deployment = _\n{wait}fleet['boxed-web'].wait('running', 60);")
    kernel.run("print(deployment, len(fleet.operations()), deployment.missing, len(In), In[-3])")
    assert "Deployment of 'boxed-web': commit" in kernel.printed
    assert " 1 ('A', 'B')" in kernel.printed  # one operation, and no value is kept
    kernel.run("deployment")
    assert "boxed-web: running" in kernel.shown
    assert SENTINEL not in kernel.shown

    reply = kernel.run(f"%%cvm deploy asked-web --env A --wait\n{COMPOSE}", answer=SENTINEL)
    assert reply["status"] == "ok", kernel.shown
    (asked,) = kernel.asked
    assert asked["content"] == {"prompt": "Value of A (not shown, not stored): ", "password": True}
    assert "asked-web: running" in kernel.shown
    assert SENTINEL not in kernel.shown
    kernel.run("%history -n\nprint(In, Out)")
    assert SENTINEL not in kernel.shown
    assert [one for one in sent() if one == "POST "] == ["POST ", "POST "]
    kernel.run("%cvm delete boxed-web asked-web --yes --wait")
    assert SENTINEL not in json.dumps(cloud.requests())
