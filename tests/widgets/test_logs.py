"""The viewer of logs, its Python half: bounded, stoppable, and with nothing in a line that acts."""

import threading
import time

import pytest
from helpers import LONG_PATIENCE, until

import cvm_notebook as cvm
from cvm_notebook.api.resources.logs import LogLine
from cvm_notebook.live.clock import SystemClock
from cvm_notebook.live.workers import Workers
from cvm_notebook.widgets.base.log_lines import clean_line, level_of, split_time
from cvm_notebook.widgets.base.log_tail import MOST_LINES, LogTail

COMPOSE = "services:\n  web:\n    image: nginx:1.27\n  db:\n    image: postgres:17\n"


@pytest.fixture(scope="module")
def workspace(cloud):
    """A workspace with one CVM that runs."""
    workspace = cloud.new_workspace()
    with cvm.Client(api_key=workspace["api_key"], base_url=cloud.url) as client:
        client.commit_cvm_provision(client.provision_cvm(name="talker", compose_file=COMPOSE))
        client.watch_cvm_state("talker", target="running", interval=5)
    return workspace


class View:
    """A view of a log: flushes when it is asked to, and answers as its script does."""

    def __init__(self, client):
        self.messages, self.changed = [], threading.Condition()
        self.workers = Workers(SystemClock(), 2, "test-logs", pytest.fail)
        self.answers = True
        self.tail = LogTail(lambda: client, self.workers, self.say, self.mark)

    def say(self, message):
        with self.changed:
            self.messages.append(message)
            self.changed.notify_all()

    def mark(self):
        with self.changed:
            self.changed.notify_all()

    def ask(self, do, **content):
        asked = {"kind": "log", "do": do, "channel": "serial", "tail": 100, **content}
        return self.tail.receive(asked, "talker")

    def until(self, right, within=LONG_PATIENCE):
        """Flush, as the UI thread would, until a sent message is right; return that message."""
        for _ in range(int(within / 0.02)):
            self.tail.flush()
            if self.answers and self.messages and (n := self.messages[-1].get("n")) is not None:
                self.ask("ack", n=n)
            found = [message for message in self.messages if right(message)]
            if found:
                return found[0]
            with self.changed:
                self.changed.wait(0.02)
        raise AssertionError(self.messages[-3:])

    def lines(self):
        return [text for text, *_ in self.entries()]

    def entries(self):
        return [line for message in self.messages for line in message.get("lines", ())]


@pytest.fixture
def view(cloud, workspace):
    with cvm.Client(api_key=workspace["api_key"], base_url=cloud.url) as client:
        view = View(client)
        yield view
        view.tail.stop()
        view.workers.close(2.0)


def state(word):
    return lambda message: message.get("state") == word


def test_a_log_is_read_from_the_machine_and_from_a_container(view):
    view.ask("read", tail=5)
    view.until(state("read"))
    assert len(view.lines()) == 5
    view.ask("sources")
    sources = view.until(lambda message: message.get("sources"))["sources"]
    assert sources[0] == ["dstack-web-1", "dstack-web-1", True]
    view.messages.clear()
    view.ask("read", container=sources[0][0], tail=2)
    view.until(state("read"))
    assert 1 <= len(view.lines()) <= 2  # it has only just begun
    text, channel, at, _level, source = view.entries()[0]
    assert (channel, source) == ("stdout", "")
    assert abs(at / 1000 - time.time()) < 86_400
    assert not text.startswith("20")  # its time stands beside it


def test_the_logs_of_all_containers_are_read_as_one_and_each_line_says_whose_it_is(view):
    view.ask("read", all=True, tail=3)
    view.until(state("read"))
    whose = {source for *_, source in view.entries()}
    assert whose == {"dstack-web-1", "dstack-db-1"}
    assert all(at is not None for _, _, at, _, _ in view.entries())
    view.messages.clear()
    view.ask("follow", all=True, tail=2)
    view.until(state("following"))
    view.until(lambda _: {source for *_, source in view.entries()} == whose)
    view.ask("stop")
    view.until(state("stopped"))
    view.workers.close(2.0)
    until(lambda: not [one for one in threading.enumerate() if one.name.startswith("test-logs")])


def test_where_no_container_shows_its_log_that_is_shown(cloud, view):
    route = "GET /cvms/*/composition"
    cloud.inject({"kind": "rewrite", "route": route, "arg": {"/containers": []}, "times": 1})
    view.ask("read", all=True)
    assert "public_logs" in view.until(state("failed"))["text"]


def test_what_is_followed_goes_on_until_it_is_stopped_and_its_thread_ends(view):
    view.ask("follow", tail=3)
    view.until(state("following"))
    view.until(lambda message: message.get("lines"))
    view.ask("stop")
    view.until(state("stopped"))
    view.workers.close(2.0)
    until(lambda: not [one for one in threading.enumerate() if one.name.startswith("test-logs")])


def test_what_is_asked_for_later_takes_the_place_of_what_came_before(view):
    view.ask("follow", tail=50)
    view.until(state("following"))
    view.ask("read", tail=4)
    view.until(state("read"))
    runs = [message["run"] for message in view.messages if "run" in message]
    assert runs == sorted(runs)
    last = [message for message in view.messages if message.get("run") == runs[-1]]
    assert sum(len(message.get("lines", ())) for message in last) == 4


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"tail": 0}, "tail"),
        ({"tail": "many"}, "tail"),
        ({"tail": 10**9}, "tail"),
        ({"since": "yesterday"}, "since: 'yesterday' is not a time"),
        ({"container": "nobody"}, "no container"),
        ({"container": 7}, "container"),
    ],
)
def test_what_cannot_be_read_is_shown_in_a_line(view, asked, reason):
    view.ask("read", **asked)
    message = view.until(state("failed"))
    assert reason in message["text"]
    assert "\n" not in message["text"]


def test_a_flood_is_bounded_and_what_is_dropped_is_counted(view):
    view.answers = False
    with view.tail._lock:
        run = view.tail._run
    for number in range(MOST_LINES + 700):
        assert view.tail._take(run, LogLine(f"line {number}", "stdout"))
    for _ in range(10):
        view.tail.flush()
    first = [message for message in view.messages if message.get("lines")]
    assert first[0]["dropped"] == 700
    assert first[0]["lines"][0] == ["line 700", "stdout", None, "", ""]
    assert len(first) == 3  # a view that does not answer is not sent more
    assert all(len(message["lines"]) <= 500 for message in first)
    view.ask("ack", n=first[-1]["n"])
    view.tail.flush()
    assert len([message for message in view.messages if message.get("lines")]) == 4


def test_a_reader_that_was_overtaken_is_notified(view):
    with view.tail._lock:
        run = view.tail._run
    view.tail.stop()
    assert not view.tail._take(run, LogLine("late", "stdout"))
    view.tail.flush()
    assert "late" not in view.lines()


HOSTILE = [
    ("\x1b]8;;https://evil.example\x1b\\click\x1b]8;;\x1b\\", "click"),
    ("\x1b]0;title\x07plain", "plain"),
    ("\x1b]52;c;aGFjaw==\x07clip", "clip"),
    ("\x1b[2J\x1b[1;1Hcleared", "cleared"),
    ("\x1b[?1049hother screen", "other screen"),
    ("loading 10%\rloading 99%\rdone\r", "done"),
    ("bidi \u202egnp.exe\u2066", "bidi gnp.exe"),
    ("zero\u200bwidth\u0000nul\u0007", "zerowidthnul"),
    ("\x1b", ""),
    ("\x9b31mcsi of eight bits", "csi of eight bits"),
    ("\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m"),
    ("\x1b[31mred\x1b]0;x\x07\x1b[0m", "\x1b[31mred\x1b[0m"),
    ("<img src=x onerror=alert(1)>", "<img src=x onerror=alert(1)>"),
    ("a\tb", "a\tb"),
    ("", ""),
]


@pytest.mark.parametrize(("line", "clean"), HOSTILE)
def test_of_escapes_only_colours_stay_and_hidden_characters_go(line, clean):
    assert clean_line(line) == clean


def test_a_line_without_end_is_cut_and_its_length_shown():
    clean = clean_line("x" * 100_000)
    assert len(clean) < 5_000
    assert clean.endswith("(100000 characters)")


@pytest.mark.parametrize(
    ("line", "level"),
    [
        ("ERROR: relation does not exist", "error"),
        ("app-compose.sh: error: failed to start containers", "error"),
        ("[E 2026-01-31 ServerApp] no kernel", "error"),
        ("E0131 12:00:00.1 1 pod.go:5] gone", "error"),
        ('{"time":1,"level":"fatal","msg":"x"}', "error"),
        ("\x1b[31mERROR\x1b[0m red", "error"),
        ("Traceback (most recent call last):", "error"),
        ("2026/01/31 [warn] 1#1: low on memory", "warn"),
        ('level=WARN msg="slow"', "warn"),
        ("INFO: a client sent ERROR", "info"),  # the line's own word comes first
        ("LOG:  checkpoint starting: time", "info"),
        ("[notice] 1#1: start worker process 29", "info"),
        ("debug: heartbeat 7", "debug"),
        ("0 errors were found, and no warning", ""),
        ('10.4.0.1 - - "GET /error HTTP/1.1" 200', ""),
        ("I am a line", ""),
        ("", ""),
    ],
)
def test_a_line_is_as_grave_as_its_first_level_says(line, level):
    assert level_of(line) == level


def test_a_time_is_taken_off_a_line_and_what_is_none_stays():
    assert split_time("2026-01-31T12:00:00.123456789Z hello") == (1769860800123.456, "hello")
    assert split_time("2026-01-31T12:00:00+01:00 x y") == (1769857200000.0, "x y")
    for odd in ("2026-02-31T12:00:00Z x", "2026-01-31 12:00 x", "x 2026-01-31T12:00:00Z y", ""):
        assert split_time(odd) == (None, odd)
