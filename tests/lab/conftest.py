"""Real front ends: one Jupyter server and one Chromium for all tests of this folder in a process.

JupyterLab, Notebook 7 and Voila are served by the same server; kernels find a LocalCloud with the
demo fleet in their environment. A test fails when a page asks for anything beyond this machine,
when a page throws, and when a cell does.
"""

import asyncio
import contextlib
import fcntl
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from forked_kernels import KernelFork
from helpers import picture
from playwright.sync_api import Error as PlaywrightError
from playwright.sync_api import expect

from cvm_notebook.local import LocalCloud

ROOT = Path(__file__).resolve().parents[2]
STARTS_WITHIN = 60
PATIENCE = 60_000  # milliseconds, as playwright counts
ACTION = 15_000  # what one click, or what it leads to in the page, may take

expect.set_options(timeout=ACTION)
# An address bar that nobody sees would draw two pages of its own for each window, for a second of
# processor time. The last flag of a kind counts: what playwright turns off is named again.
OFF = (
    "WebUIOmniboxPopup",
    "WebUIOmniboxAimPopup",
    "AimEnabled",
    "AvoidUnnecessaryBeforeUnloadCheckSync",
    "DestroyProfileOnBrowserClose",
    "HttpsUpgrades",
    "LensOverlay",
    "MediaRouter",
    "OptimizationHints",
    "PaintHolding",
    "ThirdPartyStoragePartitioning",
)
FLAGS = (
    "--no-sandbox",  # containers run as root, where Chromium refuses its sandbox
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--mute-audio",
    "--disable-features=" + ",".join(OFF),
    # whatever is not on this machine goes to a proxy that is not there
    "--proxy-server=http://127.0.0.1:9",
)
# thrown without us: by Notebook 7, nbclassic, anywidget, which gives a model two seconds to load,
# and by JupyterLab, when a page is left that has just begun a kernel
NOISE = (
    "Canceled future for create_subshell_request",
    "reading 'schema'",
    "Command 'filebrowser:open-path' not registered",
    "[anywidget] Failed to initialize model.",
    "Host is not attached.",
)
# asked for by Voila's own page, without us
VOILA_ASKS = (
    "/ajax/libs/font-awesome/",
    "/@fortawesome/fontawesome-free@",
    "/ajax/libs/mathjax/",
    "/@fortawesome/",
)
# asked for by the pages of nbconvert, without us
EXPORTS_ASK = ("/ajax/libs/mathjax/", "/ajax/libs/require.js/", "/@jupyter-widgets/html-manager")

# what jupyter-collaboration brings: by it a notebook is opened and saved in another way
TOGETHER = ("jupyter_server_fileid", "jupyter_server_ydoc")
TOGETHER_IN_LAB = ("@jupyter/collaboration-extension", "@jupyter/docprovider-extension")

# `panel`: the notebook of a test, whatever has the focus
PANEL = """const panel = [...window.jupyterapp.shell.widgets('main')]
    .find(one => one.context?.path === name);"""


# --- Chromium ------------------------------------------------------------------------------------


def _found():
    asked = os.environ.get("CVM_NOTEBOOK_CHROMIUM")
    names = [asked] if asked else ["chromium", "chromium-browser", "google-chrome"]
    return next((path for name in names if (path := shutil.which(name))), None)


def _brought(own):
    """Return a Chromium that was not there before, or say in one line why there is none."""
    if Path(own).exists():
        return own
    root_of_debian = hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("apt-get")
    ways = [[sys.executable, "-m", "playwright", "install", "chromium"]]
    if root_of_debian:
        install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"]
        ways = [["apt-get", "update", "-qq"], install, *ways]
    attempts = []
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for way in ways:
        done = subprocess.run(way, capture_output=True, text=True, env=quiet, check=False)
        attempts.append(f"{' '.join(way)}: {(done.stderr or done.stdout).strip()[-300:]}")
        if found := _found() or (own if Path(own).exists() else None):
            return found
    pytest.fail(
        "No Chromium, and none could be had. apt-get install -y chromium, or set "
        "CVM_NOTEBOOK_CHROMIUM to its path.\n" + "\n".join(attempts),
        pytrace=False,
    )


class _Loop:
    """Playwright's event loop runs in this thread for ever; other tests want to run their own."""

    def __init__(self):
        self._loop = None

    def hide(self):
        self._loop = asyncio._get_running_loop()
        asyncio._set_running_loop(None)

    def show(self):
        asyncio._set_running_loop(self._loop)


@pytest.fixture(scope="session")
def _browser():
    from playwright.sync_api import sync_playwright

    loop = _Loop()
    playwright = sync_playwright().start()
    try:
        with (Path(tempfile.gettempdir()) / "cvm-notebook-chromium.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # one of the workers brings it, the others wait
            path = _found() or _brought(playwright.chromium.executable_path)
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        loop.hide()
        yield browser, loop
        loop.show()
        browser.close()
    finally:
        playwright.stop()


@pytest.fixture
def browser(_browser):
    """A real Chromium that cannot reach beyond this machine."""
    chromium, loop = _browser
    loop.show()
    yield chromium
    loop.hide()


# --- the server ----------------------------------------------------------------------------------


class Server:
    """JupyterLab, Notebook 7 and Voila on one port, with settings and state of their own.

    Parameters
    ----------
    together
        Whether a notebook that several windows show is one notebook, by jupyter-collaboration.
    """

    def __init__(self, home, env, *, together=False):
        self.home, self.folder, self.together = home, home / "notebooks", together
        self.log = home / "server.log"
        self.token = secrets.token_hex(16)
        self.env = {
            **os.environ,
            "JUPYTER_CONFIG_DIR": str(home / "config"),
            "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
            "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
            "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
            "IPYTHONDIR": str(home / "ipython"),
            **env,
        }
        for folder in (self.folder, home / "config", home / "runtime"):
            folder.mkdir()
        self._configure()
        self.kernels = KernelFork(home, self.env)
        self.env |= self.kernels.environment
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "jupyterlab"],
                env=self.env,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.base = self._address()

    def _configure(self):
        exposed = {"expose_app_in_browser": True}
        settings = {
            "ServerApp": {
                "ip": "127.0.0.1",
                "port": 0,
                "open_browser": False,
                "allow_root": True,
                "root_dir": str(self.folder),
                "terminals_enabled": False,
                "jpserver_extensions": {
                    "jupyter_lsp": False,
                    **dict.fromkeys(TOGETHER, self.together),
                },
            },
            "IdentityProvider": {"token": self.token},
            "KernelManager": {"shutdown_wait_time": 0.5},
            "LabApp": {
                **exposed,
                "check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
                "news_url": None,
            },
            "JupyterNotebookApp": exposed,
        }
        # at each load of a page it would look, partly with node, for a build, extensions, and
        # servers of languages
        off = ["@jupyterlab/extensionmanager-extension", "@jupyterlab/lsp-extension"]
        off += [] if self.together else TOGETHER_IN_LAB
        page = {"buildCheck": False, "disabledExtensions": dict.fromkeys(off, True)}
        (self.home / "config" / "labconfig").mkdir()
        (self.home / "config" / "labconfig" / "page_config.json").write_text(json.dumps(page))
        target = self.home / "config" / "jupyter_server_config.json"
        target.touch(mode=0o600)
        target.write_text(json.dumps(settings))
        quiet = {"fetchNews": "false", "checkForUpdates": False}
        self.settings("@jupyterlab/apputils-extension", "notification", quiet)

    def settings(self, extension, plugin, values):
        """Write the settings of a plugin, as a user would have kept them."""
        path = self.home / "settings" / extension / f"{plugin}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))

    def _address(self):
        end = time.monotonic() + STARTS_WITHIN
        facts = self.home / "runtime" / f"jpserver-{self.process.pid}.json"
        while time.monotonic() < end and self.process.poll() is None:
            with contextlib.suppress(OSError, ValueError):
                self.base = json.loads(facts.read_text())["url"].rstrip("/")
                self.ask("GET", "status")
                return self.base
            time.sleep(0.1)  # the server tells nobody that it is up
        self.close()
        pytest.fail(f"JupyterLab did not start:\n{self.log.read_text()[-3000:]}", pytrace=False)

    def ask(self, method, path):
        """Ask the server's own API."""
        headers = {"Authorization": f"token {self.token}"}
        request = urllib.request.Request(f"{self.base}/api/{path}", method=method, headers=headers)
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(request, timeout=15) as answer:
            return json.loads(answer.read() or b"null")

    def end_kernels(self):
        for session in self.ask("GET", "sessions"):
            self.ask("DELETE", f"sessions/{session['id']}")
        for kernel in self._listed_kernels():
            self.ask("DELETE", f"kernels/{kernel['id']}")

    def _listed_kernels(self):
        end = time.monotonic() + STARTS_WITHIN
        while True:
            try:
                return self.ask("GET", "kernels")
            except urllib.error.HTTPError as error:
                # A kernel that is being started has no `last_activity` yet, and the list needs it.
                if error.code != 500 or time.monotonic() > end:
                    raise
            time.sleep(0.1)  # the server tells nobody that a kernel has started

    def close(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.kernels.close()


@pytest.fixture(scope="session")
def lab_cloud(new_cloud):
    """The LocalCloud that kernels find: `cvm.connect("local")`. It begins with the demo fleet.

    Tests share it: name what you make, and don't count what others made.
    """
    with new_cloud(seed="demo", speed=100) as cloud:
        yield cloud


def surroundings(cloud):
    """Return the variables by which kernels find a LocalCloud, its key, and its root of trust."""
    return {
        "PHALA_CLOUD_API_PREFIX": cloud.url,
        "PHALA_CLOUD_API_KEY": cloud.api_key,
        "CVM_NOTEBOOK_LOCAL_ROOT": str(cloud.root_path),
    }


@pytest.fixture(scope="session")
def jupyter(tmp_path_factory, lab_cloud):
    """Serve JupyterLab, Notebook 7 and Voila."""
    server = Server(tmp_path_factory.mktemp("jupyter"), surroundings(lab_cloud))
    yield server
    server.close()


# --- the driver ----------------------------------------------------------------------------------


class Guard:
    """What pages did that they must not do."""

    def __init__(self, origin="http://127.0.0.1"):
        self.inside = (
            origin,
            origin.replace("http", "ws", 1),
            "data:",
            "blob:",
            "about:",
            "file:///tmp/",
        )
        self.outside, self.errors = [], []

    def watch(self, context):
        context.on("request", lambda request: self._asked(request.url))
        context.on("page", self._watch_page)

    def _watch_page(self, page):
        page.on("pageerror", lambda error: self.errors.append(error.stack or str(error)))
        page.on("websocket", lambda socket: self._asked(socket.url))

    def _asked(self, url):
        if not url.startswith(self.inside):
            self.outside.append(url)

    def check(self, *, known=()):
        outside = [url for url in self.outside if not any(one in url for one in known)]
        errors = [error for error in self.errors if not any(one in error for one in NOISE)]
        self.outside.clear()
        self.errors.clear()
        assert not outside, f"a page asked for {outside[:3]}"
        assert not errors, f"a page threw {errors[:3]}"


class Lab:
    """Drives one notebook in JupyterLab, Notebook 7 or Voila.

    Attributes
    ----------
    page
        Playwright's page, with the notebook that was opened last.
    server
        Its `home` holds all of the server's files, its `folder` the notebooks.
    """

    def __init__(self, chromium, server):
        self._chromium, self.server = chromium, server
        self._contexts, self._lab_page, self._dark = {}, None, False
        self.guard = Guard()
        self.app, self.name, self.page = "lab", "", None
        self._known, self._reloaded = [], False

    def context(self, app="lab"):
        """Return the browser context of an application: its cache outlives a test."""
        if app not in self._contexts:
            # animations are for people, and cost a sixth of what an operation costs
            made = self._chromium.new_context(
                viewport={"width": 1400, "height": 1000}, reduced_motion="reduce"
            )
            made.set_default_timeout(ACTION)
            self.guard.watch(made)
            self._contexts[app] = made
        return self._contexts[app]

    # --- a notebook ----------------------------------------------------------------------------

    def write(self, name, cells, kernel="python3"):
        """Write a notebook of code cells into the server's folder and return its path."""
        import nbformat  # where it is used: it is imported slowly

        spec = {"name": kernel, "display_name": kernel, "language": "python"}
        notebook = nbformat.v4.new_notebook(metadata={"kernelspec": spec})
        notebook.cells = [nbformat.v4.new_code_cell(cell) for cell in cells]
        nbformat.write(notebook, self.server.folder / name)
        return self.server.folder / name

    def open(self, name, cells=None, app="lab", *, kernel="python3", cloud=None):
        """Open a notebook in a fresh kernel and return when that is idle.

        Parameters
        ----------
        cells
            Its code, cell by cell; None opens the file as it is.
        app
            ``"lab"`` or ``"notebook"``.
        cloud
            Which LocalCloud the kernel finds; the shared one unless it is given.
        """
        self.app, self.name = app, name
        if cells is not None:
            self.write(name, cells, kernel)
        if app == "lab":
            self._open_in_lab()
        else:
            self.page = self.context(app).new_page()
            address = f"{self.server.base}/notebooks/{name}?token={self.server.token}"
            self.page.goto(address, timeout=PATIENCE)
        self.page.wait_for_function(
            "name => { if (!window.jupyterapp) return false;"
            + PANEL
            + """
                return panel?.context.isReady && panel.sessionContext.isReady
                    && panel.sessionContext.session?.kernel?.status === 'idle'
                    && window.jupyterapp.commands.isEnabled('notebook:run-all-cells') }""",
            arg=name,
            timeout=PATIENCE,
        )
        self._connect()
        return self if cloud is None else self.use(cloud)

    def _connect(self):
        """Have the kernel answer: JupyterLab may lose what it sends to one that has just begun."""
        for _ in range(3):
            try:
                self.kernel("None", within=20)
            except PlaywrightError as error:
                if "the kernel gives no answer" not in str(error):
                    raise
            else:
                return
            self._in_page("await panel.sessionContext.session.kernel.reconnect(); return null")
        pytest.fail(f"the kernel of {self.name} gives no answer, however often it is connected")

    def _open_in_lab(self):
        if self._lab_page is None:
            self._lab_page = self.context("lab").new_page()
            space = f"w{secrets.token_hex(4)}"
            self._lab_page.goto(
                f"{self.server.base}/lab/workspaces/{space}?reset&token={self.server.token}",
                timeout=PATIENCE,
            )
        self.page = self._lab_page
        self.page.wait_for_function(
            "() => window.jupyterapp?.commands.hasCommand('docmanager:open')", timeout=PATIENCE
        )
        self.page.evaluate(
            """async path => { const app = window.jupyterapp;
                await app.restored;
                if (!app.shell.leftCollapsed)
                    await app.commands.execute('application:toggle-left-area');
                await app.serviceManager.kernelspecs.refreshSpecs(); // there may be new ones
                await app.commands.execute('docmanager:open', { path, factory: 'Notebook' });
                return null }""",
            self.name,
        )

    def use(self, cloud):
        """Let the kernel find another LocalCloud; its key is in no cell."""
        self.kernel(f"import os; os.environ.update({surroundings(cloud)!r})")
        return self

    def voila(self, name, cells=None):
        """Open a notebook as a Voila app and return when its page is there."""
        if cells is not None:
            self.write(name, cells)
        self.app, self.name = "voila", name
        self._known += VOILA_ASKS
        self.page = self.context("voila").new_page()
        self.page.goto(
            f"{self.server.base}/voila/render/{name}?token={self.server.token}", timeout=PATIENCE
        )
        return self

    def classic(self, name, shown):
        """Open a notebook in nbclassic, and run its cells one after the other.

        Parameters
        ----------
        shown
            What a selector finds when a cell has done its work, by the code of the cell.
        """
        self.write(name, shown)
        self.app, self.name = "nbclassic", name
        self._known += VOILA_ASKS  # nbclassic asks for the same
        self.page = self.context("nbclassic").new_page()
        self.page.goto(
            f"{self.server.base}/nbclassic/notebooks/{name}?token={self.server.token}",
            timeout=PATIENCE,
        )
        self.page.wait_for_function(
            """() => { const kernel = window.Jupyter?.notebook?.kernel;
                return kernel?.is_connected() && kernel.widget_manager }""",
            timeout=PATIENCE,
        )
        # at first it asks the kernel for widgets, and then draws anew what is there, but for views
        self.page.evaluate(
            "() => window.Jupyter.notebook.kernel.widget_manager._loadFromKernel().then(() => null)"
        )
        for index, selector in enumerate(shown.values()):
            self.page.evaluate("at => { window.Jupyter.notebook.execute_cells([at]) }", index)
            self.page.locator(selector).first.wait_for(timeout=PATIENCE)
        return self

    def run_all(self, *, wait=True, errors=False):
        """Run all cells; by default until they are done, and fail with the first that raised."""
        return self._run("commands.execute('notebook:run-all-cells')", wait, errors)

    def run_cell(self, index, *, wait=True, errors=False):
        """Run one cell."""
        choose = f"panel.content.activeCellIndex = {int(index)}, "
        return self._run(f"({choose} commands.execute('notebook:run-cell'))", wait, errors)

    def _run(self, command, wait, errors):
        self._in_page(
            "const commands = window.jupyterapp.commands;"
            "window.jupyterapp.shell.activateById(panel.id);"
            f"const done = {command};" + ("await done; return null" if wait else "return null")
        )
        if wait and not errors and (raised := self._raised()):
            pytest.fail(f"a cell of {self.name} raised\n{raised[0]}", pytrace=False)
        return self

    def _raised(self):
        return [
            re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(output.get("traceback") or [str(output)]))
            for cell in self.cells()
            for output in cell.get("outputs", [])
            if output["output_type"] == "error"
        ]

    def cells(self):
        """Return the cells as they are in the page, with their outputs, saved or not."""
        return self._in_page("return panel.content.model.sharedModel.toJSON().cells")

    def kernel(self, code, within=30):
        """Execute code in the notebook's kernel, unseen by its history, and return what it says."""
        answer = self._in_page(
            """let text = '', error = null;
            const kernel = panel.sessionContext.session.kernel;
            const future = kernel.requestExecute({ code, store_history: false });
            future.onIOPub = ({ header, content }) => {
                if (header.msg_type === 'stream') text += content.text;
                if (header.msg_type === 'execute_result') text += content.data['text/plain'];
                if (header.msg_type === 'error') error = content.traceback.join('\\n');
            };
            const late = new Promise((_, no) =>
                setTimeout(() => no(new Error('the kernel gives no answer')), within));
            await Promise.race([future.done, late]);
            return { text, error }""",
            code=code,
            within=within * 1000,
        )
        assert answer["error"] is None, re.sub(r"\x1b\[[0-9;]*m", "", answer["error"])
        return answer["text"]

    def save(self):
        """Save the notebook."""
        self._in_page("await panel.context.save(); return null")
        return self

    def notebook_json(self):
        """Return the notebook as it was saved last."""
        return json.loads((self.server.folder / self.name).read_text())

    def shutdown(self):
        """End the notebook's kernel, as closing time does; its page stays."""
        self._in_page("await panel.sessionContext.shutdown(); return null")
        return self

    def html(self):
        """Return a page with what nbconvert makes of the notebook as it was saved."""
        import nbformat
        from nbconvert import HTMLExporter

        saved = nbformat.read(self.server.folder / self.name, as_version=4)
        target = self.server.home / f"{Path(self.name).stem}.html"
        target.write_text(HTMLExporter().from_notebook_node(saved)[0], encoding="utf-8")
        self._known += EXPORTS_ASK
        page = self.context("html").new_page()
        page.goto(target.as_uri())
        return page

    def _in_page(self, body, **given):
        names = "".join(f", {name}" for name in given)
        return self.page.evaluate(
            f"async ({{ name{names} }}) => {{ {PANEL} {body} }}", {"name": self.name, **given}
        )

    # --- looks ---------------------------------------------------------------------------------

    def theme(self, kind):
        """Switch to JupyterLab's ``"light"``, ``"dark"`` or ``"dark high contrast"`` theme."""
        self._dark = kind != "light"
        name = f"JupyterLab {kind.title()}"
        self.page.evaluate(
            """theme => window.jupyterapp.commands
                .execute('apputils:change-theme', { theme }).then(() => null)""",
            name,
        )
        self.page.wait_for_function("name => document.body.dataset.jpThemeName === name", arg=name)
        # Lab's curtain; a second one before it has fallen would make Lab throw
        self.page.locator("#jupyterlab-splash").wait_for(state="detached")
        return self

    def screenshot(self, name, target=None):
        """Make a picture of the page, or of one element in it, where pictures are asked for."""
        picture(self.page if target is None else target, name)

    def axe(self, selector="body", *, rules=None):
        """Return axe-core's serious and critical findings in a part of the page, a line each.

        Parameters
        ----------
        rules
            The rules to check; by default all of them.
        """
        if not self.page.evaluate("() => 'axe' in window"):
            from axe_playwright_python.base import AXE_SCRIPT

            self.page.evaluate(AXE_SCRIPT + "\n;null")
        found = self.page.evaluate(
            """async ({ selector, rules }) => {
                // JupyterLab's body is 0 px high and hides what is outside: no text would be seen
                document.body.style.overflow = 'visible';
                const { violations } = await window.axe.run(selector, {
                    resultTypes: ['violations'], ...(rules && { runOnly: rules }) });
                document.body.style.overflow = '';
                return violations.map(({ id, impact, help, nodes }) => ({ id, impact, help,
                    where: nodes.slice(0, 3).map(node => node.html.slice(0, 160)
                        + ' ' + (node.any[0]?.message ?? '')) })) }""",
            {"selector": selector, "rules": rules},
        )
        return [
            f"{one['impact']}: {one['id']}: {one['help']}: {' | '.join(one['where'])}"
            for one in found
            if one["impact"] in {"serious", "critical"}
        ]

    def in_both_themes(self, selector, name, target=None):
        """Return axe's findings in this theme and in the other one, which stays.

        The themes differ in colours alone: of the other one these are looked at.
        """
        found = []
        for rules in (None, ["color-contrast"]):
            found += self.axe(selector, rules=rules)
            self.screenshot(f"{name}-{'dark' if self._dark else 'light'}", target)
            if rules is None:
                self.theme("light" if self._dark else "dark")
        return found

    def reload(self, *shown):
        """Save, load the page of JupyterLab again, as F5 does, and wait until these are shown.

        The next test gets another page.
        """
        self.save()
        self._load_again()
        return self.shows(*shown)

    def shows(self, *shown):
        """Wait until all of these views of a running kernel are shown.

        JupyterLab and Voila look for the model of a view for two seconds. When the kernel's answer
        comes at the end of them, they take the model for lost, with "Error displaying widget: model
        not found": then the page is loaded again, as a user would.
        """
        broken = self.page.get_by_text("Error displaying widget")
        for _ in range(8):
            for each in shown:
                each.or_(broken).first.wait_for(timeout=PATIENCE)
            if all(each.first.is_visible() for each in shown):
                return self
            self._load_again()
        pytest.fail("the page does not show it, however often it is loaded")

    def _load_again(self):
        self.page.reload(timeout=PATIENCE)
        if self.app == "lab":
            self._reloaded = True  # what such a page restores, it may restore late
            self._open_in_lab()

    def renew(self):
        """Forget the page of JupyterLab, so that it reads its settings when it is opened next.

        It is closed with the others when the next test ends.
        """
        self._lab_page = None

    # --- between tests ---------------------------------------------------------------------------

    def tidy(self, *, failed):
        """Close what a test has opened; after a failed one begin with a new page."""
        anew = failed or self._reloaded
        if not anew and self._lab_page is not None:
            if self._dark:
                self.page = self._lab_page
                self.theme("light")
            self._lab_page.evaluate(
                """async () => { const app = window.jupyterapp;
                    for (const panel of [...app.shell.widgets('main')]) {
                        if (!panel.sessionContext) continue;
                        await panel.sessionContext.shutdown();
                        panel.context.model.dirty = false; // or it would ask
                        panel.close();
                    } }"""
            )
        for context in self._contexts.values():
            for page in context.pages:
                if anew or page is not self._lab_page:
                    page.close()
        if anew:
            self._lab_page = None
        if failed:
            self.server.settings("@jupyterlab/apputils-extension", "themes", {})
        self._dark = self._reloaded = False
        self.server.end_kernels()

    def verdict(self):
        """Fail when a page did what it must not do."""
        known, self._known = tuple(self._known), []
        self.guard.check(known=known)

    def close(self):
        for context in self._contexts.values():
            context.close()


@pytest.fixture(scope="session")
def _lab(_browser, jupyter):
    chromium, loop = _browser
    lab = Lab(chromium, jupyter)
    yield lab
    loop.show()
    lab.close()
    loop.hide()


@contextlib.contextmanager
def session(home):
    """Run all of it without pytest: a cloud, the server, Chromium; for measurements."""
    from playwright.sync_api import sync_playwright

    with LocalCloud(seed="demo", speed=100) as cloud, sync_playwright() as playwright:
        path = _found() or _brought(playwright.chromium.executable_path)
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        server = Server(home, surroundings(cloud))
        try:
            yield Lab(browser, server)
        finally:
            browser.close()
            server.close()


_failed = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.when == "call":
        item.stash[_failed] = report.failed
    return report


def _picture_of_failed(request, page, more=""):
    if page is not None and not page.is_closed():
        name = re.sub(r"\W+", "-", request.node.name) + more
        with contextlib.suppress(Exception):
            picture(page, f"failed-{name}", always=True)


@pytest.fixture
def lab(request, browser, _lab):
    """A notebook in a real front end; `Lab` says what it can do."""
    _lab.guard.outside.clear()
    _lab.guard.errors.clear()
    yield _lab
    failed = request.node.stash.get(_failed, True)
    if failed:
        _picture_of_failed(request, _lab.page)
    try:
        _lab.tidy(failed=failed)
    finally:
        if not failed:
            _lab.verdict()


@pytest.fixture
def windows(request, tmp_path, browser, lab_cloud):
    """Two windows of a JupyterLab in which a notebook that both have open is one notebook."""
    server = Server(tmp_path, surroundings(lab_cloud), together=True)
    both = Lab(browser, server), Lab(browser, server)
    yield both
    if request.node.stash.get(_failed, True):
        for at, one in enumerate(both, 1):
            _picture_of_failed(request, one.page, f"-{at}")
    for one in both:
        one.close()
    server.close()
    for one in both:
        one.verdict()


@pytest.fixture
def page(request, browser):
    """A page without JupyterLab's driver, in a context of its own."""
    guard = Guard()
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    guard.watch(context)
    page = context.new_page()
    yield page
    if request.node.stash.get(_failed, True):
        _picture_of_failed(request, page)
    context.close()
    guard.check()
