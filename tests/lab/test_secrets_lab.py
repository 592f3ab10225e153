"""Nothing secret is kept: every widget was used, and no secret lies where one could."""

import base64
import html
import json
import os
import secrets
import sqlite3
from functools import partial
from pathlib import Path
from urllib.parse import quote

import nbformat
import pytest
from playwright.sync_api import expect

from cvm_notebook import Client

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 40_000

# --- the search ----------------------------------------------------------------------------------


def disguises(secret):
    """Return the byte strings of which one is in any text or file that holds a secret."""
    raw = secret.encode()
    texts = {
        secret,
        html.escape(secret),
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        quote(secret),
        quote(secret, safe=""),
        raw.hex(),
    }
    # base64 of whatever contains it: what is always there, for each of the three ways it can lie
    encoded = {
        base64.b64encode(bytes(n) + raw)[-(-n * 8 // 6) : (n + len(raw)) * 8 // 6] for n in range(3)
    }
    return {text.encode() for text in texts} | encoded | {secret.encode("utf-16-le")}


def texts_of(path):
    """Return the contents of a file, and what a reader of its format would see."""
    raw = path.read_bytes()
    found = [raw]
    if raw.startswith(b"SQLite format 3"):
        with sqlite3.connect(path) as database:
            found.append("\n".join(database.iterdump()).encode())
        database.close()
    if raw.startswith(b"PAR1"):
        import pyarrow.parquet

        table = pyarrow.parquet.read_table(path)
        found += [str(table.to_pylist()).encode(), str(table.schema.metadata).encode()]
    return found


def _keep(frames, data):
    frames.append(data.encode() if isinstance(data, str) else data)


class Search:
    """Where a secret could have been left by a notebook in JupyterLab.

    It listens from the beginning to what goes over the websockets of the page.
    """

    def __init__(self, lab, cloud):
        self.lab, self.cloud = lab, cloud
        self.to_page, self.to_kernel = [], []
        lab.context("lab").on("page", self._listen)  # before the page, and with it its sockets
        for page in lab.context("lab").pages:
            self._listen(page)

    def end(self):
        """Listen no more."""
        self.lab.context("lab").remove_listener("page", self._listen)
        for page in self.lab.context("lab").pages:
            page.remove_listener("websocket", self._socket)

    def _listen(self, page):
        page.on("websocket", self._socket)

    def _socket(self, socket):
        socket.on("framereceived", partial(_keep, self.to_page))
        socket.on("framesent", partial(_keep, self.to_kernel))

    def places(self):
        """Yield what was left: a name, and the bytes."""
        home = self.lab.server.home
        for path in sorted(home.rglob("*")):
            try:
                texts = texts_of(path) if path.is_file() else ()
            except FileNotFoundError:
                continue  # a database's journal, which is there for a moment
            for text in texts:
                yield str(path.relative_to(home)), text
        yield "html export", exported(home / "notebooks" / self.lab.name)
        yield "page", self.lab.page.content().encode()
        yield "fields of the page", self._fields().encode()
        yield "storage of the browser", self._storage().encode()
        yield "widgets of the kernel", self._widgets().encode()
        yield "log of the service", self.cloud.log_path.read_bytes()
        for frame in self.to_page:
            yield "messages to the page", frame
        for process in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                yield "arguments of processes", process.read_bytes()
            except OSError:
                continue  # it has ended

    def found(self, secrets_by_name):
        """Return `{name: places}` of the secrets that lie somewhere."""
        sought = {name: disguises(secret) for name, secret in secrets_by_name.items()}
        found = {}
        for place, text in self.places():
            for name, forms in sought.items():
                if any(form in text for form in forms):
                    found.setdefault(name, set()).add(place)
        return found

    def sent(self, secret):
        """Return how many messages to the kernel had a secret in them."""
        forms = disguises(secret)
        return sum(any(form in frame for form in forms) for frame in self.to_kernel)

    def _fields(self):
        return self.lab.page.evaluate(
            """() => [...document.querySelectorAll('input, textarea')]
                .map(one => one.value).join('\\n')"""
        )

    def _storage(self):
        kept = self.lab.context("lab").storage_state(indexed_db=True)
        return json.dumps(kept) + self.lab.page.evaluate(
            "() => JSON.stringify({...sessionStorage})"
        )

    def _widgets(self):
        return self.lab.kernel(
            "import ipywidgets, json\n"
            "print(json.dumps(ipywidgets.Widget.get_manager_state()), "
            "[repr(one) for one in ipywidgets.widgets.widget._instances.values()])"
        )


def exported(path):
    """Return a notebook as nbconvert's page."""
    from nbconvert import HTMLExporter

    return HTMLExporter().from_notebook_node(nbformat.read(path, as_version=4))[0].encode()


@pytest.fixture(scope="module")
def autosave(_lab):
    """Let JupyterLab save the state of widgets with the notebook."""
    where = ("@jupyter-widgets/jupyterlab-manager", "plugin")
    _lab.server.settings(*where, {"saveState": True})
    _lab.renew()  # Lab reads its settings when it begins
    yield
    _lab.server.settings(*where, {})
    _lab.renew()


@pytest.fixture
def search(autosave, lab, lab_cloud):
    search = Search(lab, lab_cloud)
    yield search
    search.end()


@pytest.mark.parametrize("secret", ["plain-Sentinel-3f9a", 'with "quotes" / and ünïcode'])
def test_a_secret_is_found_in_each_disguise(secret):
    raw = secret.encode()
    written = {
        "as it is": b"<" + raw + b">",
        "json": json.dumps({"key": secret}).encode(),
        "address": ("https://example.com/?q=" + quote(secret)).encode(),
        "utf-16": secret.encode("utf-16"),
        "hex": raw.hex().encode(),
        **{f"base64 from {n}": base64.b64encode(b"x" * n + raw + b"y" * 5) for n in range(7)},
        "basic": base64.b64encode(b"user:" + raw),
    }
    missed = {k for k, v in written.items() if not any(form in v for form in disguises(secret))}
    assert not missed
    assert not any(form in b"something else entirely" * 9 for form in disguises(secret))


def test_a_planted_leak_of_each_kind_is_found(lab, search, lab_cloud):
    """The search that finds nothing below finds everything here."""
    kinds = (
        *(
            "stream",
            "result",
            "trait",
            "bytes",
            "message",
            "repr",
            "traceback",
            "history",
            "stderr",
        ),
        *("log", "csv", "parquet", "ledger", "argument", "dom", "field", "local", "session"),
        *("source", "checkpoint", "service"),
    )
    planted = {kind: f"planted-{kind}-{secrets.token_hex(8)}" for kind in kinds}
    cells = [
        "import ipywidgets, anywidget, traitlets, sys, logging, subprocess, pandas as pd",
        "print(planted['stream'])",
        "planted['result']",
        # nobody shows it: only the widgets' own state holds it
        "text = ipywidgets.Text(value=planted['trait'])\nipywidgets.VBox([text])",
        """
class Box(anywidget.AnyWidget):
    _esm = "export default () => ({ render({ el }) { el.textContent = 'box' } })"
    data = traitlets.Bytes().tag(sync=True)
    def __repr__(self):
        return "a box" if self.data else planted["repr"]
box = Box(data=b"{" + planted["bytes"].encode() + b"}")
box.send({"text": planted["message"]})
other = Box()
box
""",
        """
%xmode Verbose
def broken(key):
    raise ValueError("it broke")
broken(planted["traceback"])
""",
        """
%xmode Context
get_ipython().history_manager.store_inputs(99, planted["history"])
get_ipython().history_manager.writeout_cache()
print(planted["stderr"], file=sys.__stderr__, flush=True)
logging.getLogger().addHandler(logging.FileHandler("leak.log"))
logging.warning(planted["log"])
pd.DataFrame({"a": [planted["csv"]]}).to_csv("leak.csv")
pd.DataFrame({"a": [planted["parquet"]] * 9}).to_parquet("leak.parquet")
pd.DataFrame({"why": [planted["ledger"]]}).to_json("ledger.jsonl")
sleeper = [sys.executable, "-c", "input()", planted["argument"]]
sleeper = subprocess.Popen(sleeper, stdin=subprocess.PIPE)
""",
        f"'{planted['source']}'[:0]",
    ]
    lab.open("planted.ipynb", cells)
    lab.kernel(f"planted = {planted!r}")
    lab.run_all(errors=True)
    for index in (6, 7):  # Run All ends at what raises
        lab.run_cell(index, errors=True)
    lab.page.locator(".jp-OutputArea-output").get_by_text("box", exact=True).wait_for()
    lab.page.evaluate(
        """({ dom, field, local, session }) => {
            document.body.append(Object.assign(document.createElement('i'), { textContent: dom }));
            document.body.append(Object.assign(document.createElement('input'), { value: field }));
            localStorage.setItem('planted', local);
            sessionStorage.setItem('planted', session) }""",
        planted,
    )
    with lab_cloud.log_path.open("a") as log:
        log.write(planted["service"])
    lab.save()
    kept = lab.server.folder / ".ipynb_checkpoints"
    kept.mkdir(exist_ok=True)
    (kept / "planted-checkpoint.ipynb").write_text(json.dumps({"text": planted["checkpoint"]}))
    try:
        found = search.found(planted)
    finally:
        lab.kernel("sleeper.kill(); sleeper.wait()")
        lab.page.evaluate("() => { localStorage.removeItem('planted'); sessionStorage.clear() }")
    notebook = "notebooks/planted.ipynb"
    for kind, place in {
        **dict.fromkeys(("stream", "result", "trait", "bytes", "traceback", "source"), notebook),
        "message": "messages to the page",
        "repr": "widgets of the kernel",
        "history": "ipython/profile_default/history.sqlite",
        "stderr": "server.log",
        "log": "notebooks/leak.log",
        "csv": "notebooks/leak.csv",
        "parquet": "notebooks/leak.parquet",
        "ledger": "notebooks/ledger.jsonl",
        "argument": "arguments of processes",
        "dom": "page",
        "field": "fields of the page",
        "local": "storage of the browser",
        "session": "storage of the browser",
        "checkpoint": "notebooks/.ipynb_checkpoints/planted-checkpoint.ipynb",
        "service": "log of the service",
    }.items():
        assert place in found.get(kind, ()), (kind, found.get(kind))
    for kind in ("stream", "result", "traceback", "source"):
        assert "html export" in found[kind]
    assert search.sent(planted["stream"]) == 1


COMPOSE = """services:
  web:
    image: nginx:1.27
    environment:
      - TYPED
      - FROM_FILE
      - PASTED
"""
CELLS = [
    """
%xmode Verbose
import logging
logging.basicConfig(level=logging.DEBUG, filename="debug.log", force=True)
import cvm_notebook as cvm
from cvm_notebook.widgets.base.secret_box import SecretBox
client = cvm.connect("local")
fleet = cvm.Fleet(client)
fleet
""",
    "form = cvm.ProvisionForm(client, fleet=fleet)\nform",
    "box = SecretBox()\nbox",
    "cvm.login()",
    "fleet['kept-secret']",
    "cvm.dashboard(fleet)",
    # what is refused, and shown with all its variables
    "cvm.Client(api_key=box.secret, base_url='http://127.0.0.1:9/api/v1').list_cvms()",
    "client.get_cvm_info('no-such-cvm')",
    "cvm.encrypt_env({'GIVEN': box.secret}, 'no public key')",
    "cvm.ProvisionForm(client, env={'GIVEN': box.secret, 'with=sign': box.secret})",
    """
frame = fleet.frame("wide")
frame.to_csv("fleet.csv")
frame.to_parquet("fleet.parquet")
fleet.operations().to_json("ledger.jsonl", orient="records", lines=True, date_format="iso")
fleet.events().to_parquet("events.parquet")
print(form.request, form, box, box.secret, client, fleet, fleet.operator, fleet["kept-secret"])
frame, fleet.operations(), vars(form), client.__dict__
""",
]


def test_no_secret_is_kept_of_what_was_typed_uploaded_and_sent(lab, search, lab_cloud):
    kept = {
        "key": lab_cloud.api_key,
        **{name: f"{name}-{secrets.token_hex(12)}" for name in ("typed", "file", "pasted")},
        "box": "phak_" + secrets.token_urlsafe(32),
        "login": lab_cloud.new_workspace()["api_key"],
    }
    page = lab.open("secrets.ipynb", CELLS).page
    for cell in (0, 1, 2):
        lab.run_cell(cell)
    form = page.locator(".cvm-form")
    form.get_by_label("Name", exact=True).fill("kept-secret")
    form.get_by_role("textbox", name="Compose file", exact=True).fill(COMPOSE)
    form.get_by_label("Name of a variable").fill("TYPED")
    form.get_by_label("Value of the variable").fill(kept["typed"])
    form.get_by_role("button", name="Add", exact=True).click()
    form.get_by_role("button", name="Remove TYPED").wait_for()
    env = {"name": ".env", "mimeType": "text/plain"}
    env["buffer"] = f"FROM_FILE={kept['file']}\n".encode()
    form.locator(".cvm-env input[type=file]").set_input_files(env)
    form.get_by_role("button", name="Remove FROM_FILE").wait_for()
    form.get_by_text("Paste a .env file").click()
    form.get_by_label("Lines of a .env file").fill(f"PASTED='{kept['pasted']}'")
    form.get_by_role("button", name="Add all").click()
    form.get_by_role("button", name="Remove PASTED").wait_for()
    form.get_by_role("button", name="Check price and placement").click()
    form.get_by_role("button", name="Deploy (").click()
    form.locator('.cvm-boot-text[data-status="running"]').wait_for(timeout=60_000)
    lab.run_cell(3)
    page.get_by_text("Use another key").click()
    key = page.locator(".cvm-login input[type=password]")
    key.fill(kept["login"])
    key.press("Enter")
    page.locator(".cvm-login").get_by_text("Another workspace").first.wait_for()
    key = page.locator(".cvm-alone input")
    key.fill(kept["box"])
    key.press("Enter")
    page.get_by_text("in this kernel's memory only").wait_for()
    for cell in range(4, len(CELLS)):
        lab.run_cell(cell, errors=True)
    card = page.locator(".cvm-card").first
    card.get_by_role("tab", name="Trust").click()
    card.get_by_text("Measurements and certificates").click()
    lab.save()

    raised = [o["ename"] for c in lab.cells() for o in c["outputs"] if o["output_type"] == "error"]
    assert raised == ["TransportError", "ResourceNotFound", "InvalidInput", "InvalidInput"]
    state = lab.notebook_json()["metadata"]["widgets"]["application/vnd.jupyter.widget-state+json"]
    assert len(state["state"]) > 5  # it was saved, and the search has seen it
    assert search.found(kept) == {}
    assert {name: search.sent(secret) for name, secret in kept.items()} == {
        "key": 0,
        "typed": 1,
        "file": 1,
        "pasted": 1,
        "box": 1,
        "login": 1,
    }


NOTEBOOKS = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
TYPED = "04_deploy"  # the one in which somebody types a secret; the others take a while


@pytest.mark.parametrize("stem", NOTEBOOKS if os.environ.get("CVM_NOTEBOOK_NIGHTLY") else [TYPED])
def test_a_notebook_as_it_is_shipped_keeps_no_secret(lab, search, lab_cloud, stem):
    kept = {"key": lab_cloud.api_key}
    notebook = nbformat.read(ROOT / "notebooks" / f"{stem}.ipynb", as_version=4)
    nbformat.write(notebook, lab.server.folder / f"{stem}.ipynb")
    page = lab.open(f"{stem}.ipynb").page
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type == "code":
            lab.run_cell(index)
        if stem == TYPED and cell.source.endswith("\nbox"):
            kept["typed"] = f"typed-{secrets.token_hex(12)}"
            field = page.locator('.jp-OutputArea-output input[type="password"]').first
            field.fill(kept["typed"])
            field.press("Enter")
            page.get_by_text("in this kernel's memory only").wait_for()
    if stem == TYPED:
        it_has_drawn_its_form_and_leaves_its_card_live(lab, lab_cloud)
    lab.save()
    assert search.found(kept) == {}
    assert search.sent(kept["key"]) == 0
    assert stem != TYPED or search.sent(kept["typed"]) == 1


def it_has_drawn_its_form_and_leaves_its_card_live(lab, lab_cloud):
    form = lab.page.locator(".cvm-form")
    form.scroll_into_view_if_needed(timeout=PATIENCE)
    form.get_by_text("You pay nothing until you deploy").wait_for(timeout=PATIENCE)
    expect(form.get_by_label("Name", exact=True)).to_have_value("hello-form")
    card = lab.page.locator(".cvm-card", has=lab.page.get_by_role("heading", name="hello-calls"))
    card.locator('.cvm-health[data-state="live"]').wait_for(timeout=PATIENCE)
    outputs = [one for cell in lab.cells() for one in cell.get("outputs", [])]
    assert not [one for one in outputs if one.get("name") == "stderr"]
    assert "Dry run: nothing runs" in json.dumps(outputs)
    with Client(lab_cloud.api_key, lab_cloud.url) as client:  # the cloud is shared with other tests
        for name in ("hello-calls", "hello-magic"):
            client.delete_cvm(name)
