"""A wrong or missing key, in a notebook: two lines and a box for the key, and never a traceback."""

import re

import pytest
from helpers import LONG_PATIENCE, new_kernel

ANSI = re.compile(r"\x1b\[[0-9;]*m")
WIDGET = "application/vnd.jupyter.widget-view+json"


class Notebook:
    """A kernel of its own, in which cells run as a front end, or nbclient, sends them."""

    def __init__(self, client):
        self._client = client

    def run(self, cell, *, answers=True):
        """Run a cell; return its error's lines, and what it displays by media type."""
        sent = self._client.execute(cell, allow_stdin=answers)
        lines, shown = [], []
        while True:
            message = self._client.get_iopub_msg(timeout=LONG_PATIENCE)
            kind, content = message["msg_type"], message["content"]
            if message["parent_header"].get("msg_id") != sent:
                continue
            if kind == "error":
                lines = [ANSI.sub("", line) for line in content["traceback"]]
            elif kind in {"display_data", "execute_result"}:
                shown.append(content["data"])
            elif kind == "stream":
                shown.append({"stream": content["text"]})
            elif kind == "status" and content["execution_state"] == "idle":
                return lines, shown


@pytest.fixture(scope="module")
def notebook(new_cloud, tmp_path_factory):
    """A notebook on a machine without a key, whose address is a LocalCloud's."""
    home = str(tmp_path_factory.mktemp("home"))
    with (
        new_cloud(seed="empty", speed=100) as cloud,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("PHALA_CLOUD_API_PREFIX", cloud.url)
        patch.setenv("PHALA_CLOUD_DIR", home)
        patch.delenv("PHALA_CLOUD_API_KEY", raising=False)
        with new_kernel() as client:
            notebook = Notebook(client)
            notebook.run("import cvm_notebook as cvm\nclient = cvm.Client(api_key='phak_wrong')")
            notebook.run("fleet = cvm.Fleet(client)")
            yield notebook


def test_a_wrong_key_is_two_lines_and_a_box_beneath_them(notebook):
    lines, shown = notebook.run("# first\nclient.list_cvms()")
    assert len(lines) == 2
    assert lines[0].startswith("AuthError: GET /cvms/paginated: Invalid or expired token. [HTTP")
    assert re.search(r"Check the key.*\(Cell In\[\d+\], line 2; %tb shows all of it\)$", lines[1])
    assert [WIDGET in one for one in shown] == [False, True]
    assert "not signed in" in shown[0]["text/plain"]


def test_no_key_is_two_lines_and_a_box_beneath_them(notebook):
    lines, shown = notebook.run(
        "from cvm_notebook.api.auth.credentials import find_api_key\nfind_api_key(prompt=None)"
    )
    assert len(lines) == 2
    assert lines[0].startswith("CredentialsError: Not signed in")
    assert "PHALA_CLOUD_API_KEY" in lines[1]
    assert [WIDGET in one for one in shown] == [False, True]


def test_the_traceback_is_there_for_whoever_asks_with_what_it_was_raised_from(notebook):
    raised = "try:\n    {}['x']\nexcept KeyError as error:\n    raise cvm.CvmError('no') from error"
    assert len(notebook.run(raised)[0]) == 2
    lines, shown = notebook.run("%tb")
    assert not shown  # no box: it was asked for by hand
    text = "\n".join(lines)
    assert "Traceback (most recent call last)" in text
    assert "KeyError" in text
    assert "direct cause of the following exception" in text


def test_where_nobody_can_answer_there_is_no_box(notebook):
    lines, shown = notebook.run("client.list_cvms()", answers=False)
    assert len(lines) == 2
    assert shown == []


@pytest.mark.parametrize("cell", ["fleet", "cvm.dashboard(client)", "cvm.dashboard(fleet)"])
def test_a_fleet_and_a_dashboard_are_drawn_and_say_what_is_missing(notebook, cell):
    lines, shown = notebook.run(cell)
    assert lines == []
    snapshot, view = shown
    assert "needs a key" in snapshot["text/html"]
    assert WIDGET in view


def test_what_needs_the_fleet_itself_says_it_in_two_lines(notebook):
    for cell in ("fleet['web-1']", "len(fleet)", "fleet.frame()"):
        lines, shown = notebook.run(cell)
        assert len(lines) == 2, cell
        assert "Invalid or expired token" in lines[0]
        assert WIDGET in shown[-1]


def test_an_error_that_is_not_about_the_key_asks_for_none(notebook):
    lines, shown = notebook.run("cvm.Client('phak_x', version='9')")
    assert lines[0].startswith("InvalidInput: version: it is '9', which is not known")
    assert (len(lines), shown) == (2, [])
