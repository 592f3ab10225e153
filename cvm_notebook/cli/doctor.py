"""``cvm-notebook doctor``: diagnosis of the installation, the key and the connection.

Everything it finds is a `Finding`; text and JSON show the same list, and what to do next. No
finding holds a secret, a person's name or the path of a home folder, so that all of it can be
pasted into an issue.
"""

import importlib.util
import json
import os
import platform
import re
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib import metadata
from itertools import chain
from pathlib import Path
from typing import Literal, TypeAlias

from cvm_notebook import __version__
from cvm_notebook.api.auth.credentials import Credentials, find_api_key
from cvm_notebook.api.auth.profiles import credentials_path
from cvm_notebook.api.client import VERSIONS
from cvm_notebook.api.errors.tree import ApiError, CvmError
from cvm_notebook.api.http.exchange import Timeout
from cvm_notebook.api.http.retry import RetryKind
from cvm_notebook.api.http.transport import Reply, Request, Transport
from cvm_notebook.api.secret import Secret

CORE = ("cryptography", "ipywidgets", "msgspec", "pandas", "requests", "sseclient-py", "urllib3")
EXTRAS = ("ipykernel", "jupyterlab", "fastapi", "sqlalchemy", "uvicorn", "nbclient", "keyring")
MANAGER = "@jupyter-widgets/jupyterlab-manager"
MARKS = {"ok": "ok", "note": "-", "warning": "!", "problem": "X"}
Running: TypeAlias = tuple[str, str] | None
PATIENCE = Timeout(connect=5, read=10, total=20)
# a Date header has whole seconds and the way takes time: less than this says nothing
CLOCK_TOLERANCE = 30.0
ENVIRONMENT = (
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "SSL_CERT_FILE",
)


@dataclass(frozen=True)
class Finding:
    """Result of one check."""

    section: str
    name: str
    state: Literal["ok", "note", "warning", "problem"]
    text: str


def doctor(*, profile: str | None, local: bool, as_json: bool) -> int:
    """Print the findings and return 0 when none is a problem, 1 otherwise.

    Parameters
    ----------
    local
        Ask the LocalCloud that runs on this machine, and not the service.
    """
    at, running = datetime.now(UTC), _running()
    findings = [
        *_installation(),
        *_front_end(),
        *_connection(profile, running, local=local),
        *_folders(),
    ]
    findings = [replace(found, text=_without_home(found.text)) for found in findings]
    steps = _next_steps(findings, running, local=local)
    show = _as_json if as_json else _as_text
    print(show(findings, steps, at=at))
    return 0 if _is_healthy(findings) else 1


def _is_healthy(findings: list[Finding]) -> bool:
    return all(found.state != "problem" for found in findings)


def _next_steps(findings: list[Finding], running: Running, *, local: bool) -> list[str]:
    """Return what to do next, the most likely first."""
    broken = {found.name for found in findings if found.state == "problem"}
    if not broken:
        way = 'cvm.connect("local")' if local else "cvm.connect()"
        return [f"In a notebook: import cvm_notebook as cvm; cvm.dashboard({way})"]
    steps = []
    if broken & set(CORE):
        steps.append("Install what is missing: the lines above say how.")
    if local and "LocalCloud" in broken:
        steps.append("cvm-notebook demo starts one with notebooks, cvm-notebook cloud one alone.")
    elif "key" in broken:
        steps.append(
            "Set PHALA_CLOUD_API_KEY, or run `phala login`; in a notebook cvm.login() asks for one."
        )
    elif "GET /auth/me" in broken:
        steps.append("Check the key and the address above; they are sent together.")
    if not local and broken & {"key", "GET /auth/me"}:
        steps.append(
            'A LocalCloud runs here, and needs no key: cvm.connect("local"). To check it: '
            "cvm-notebook doctor --local"
            if running
            else "To try it without a key: cvm-notebook demo"
        )
    return steps


def _as_json(findings: list[Finding], steps: list[str], *, at: datetime) -> str:
    return json.dumps(
        {
            "cvm_notebook": __version__,
            "at": at.isoformat(timespec="seconds"),
            "healthy": _is_healthy(findings),
            "findings": [asdict(found) for found in findings],
            "next": steps,
        },
        indent=2,
    )


def _as_text(findings: list[Finding], steps: list[str], *, at: datetime) -> str:
    lines = [f"cvm-notebook {__version__}, {at:%Y-%m-%d %H:%M:%S} UTC"]
    section = ""
    for found in findings:
        if found.section != section:
            section = found.section
            lines += ["", section]
        wrapped = [
            textwrap.wrap(line, 72, break_long_words=False, break_on_hyphens=False)
            for line in found.text.split("\n")
        ]
        first, *more = chain(*wrapped)
        lines.append(f"  {MARKS[found.state]:<3}{found.name:<20} {first}")
        lines += [f"{'':<26}{line}" for line in more]
    problems = [found.name for found in findings if found.state == "problem"]
    many = "s" if len(problems) > 1 else ""
    verdict = f"{len(problems)} problem{many}: {', '.join(problems)}." if problems else "Healthy."
    return "\n".join([*lines, "", verdict, *(f"  {step}" for step in steps)])


# --- what is installed -----------------------------------------------------------------------


def _installation() -> Iterator[Finding]:
    section = "Installation"
    python = f"{platform.python_version()} ({platform.python_implementation()})"
    yield Finding(section, "Python", "ok", python)
    yield Finding(section, "platform", "note", platform.platform())
    for name in CORE:
        version = _version(name)
        text = version or f'missing: python -m pip install "{name}"'
        yield Finding(section, name, "ok" if version else "problem", text)
    for name in EXTRAS:
        yield Finding(section, name, "note", _version(name) or "not installed (an extra)")


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


# --- what notebooks will do ------------------------------------------------------------------


def _front_end() -> Iterator[Finding]:
    section = "Notebook"
    yield _kernel(section, _version("ipykernel"))
    folder = Path(sys.prefix, "share", "jupyter", "labextensions", *MANAGER.split("/"))
    try:
        manager = json.loads((folder / "package.json").read_text(encoding="utf-8"))["version"]
    except (OSError, ValueError, KeyError):
        yield Finding(
            section,
            "widgets in Lab",
            "warning",
            "JupyterLab's widget manager is not in this environment; widgets show as text.\n"
            "Where JupyterLab runs: python -m pip install jupyterlab_widgets",
        )
    else:
        yield Finding(section, "widgets in Lab", "ok", f"{MANAGER} {manager}")


def _kernel(section: str, version: str | None) -> Finding:
    """Return when a click on a widget is handled: it depends on the kernel."""
    if version is None:
        return Finding(section, "kernel", "note", "ipykernel is not in this environment")
    number = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    faults = {(7, 2): "loses what threads show", (7, 4): "may stop taking what pages send"}
    if number < (7, 0):
        clicks = "clicks are handled after the running cell"
    elif fault := next((fault for below, fault in faults.items() if number < below), None):
        update = f"ipykernel {version} {fault}: python -m pip install -U ipykernel"
        return Finding(section, "kernel", "warning", update)
    else:
        clicks = "clicks are handled at once, in a thread, unless Lab's subshells are off"
    return Finding(section, "kernel", "ok", f"ipykernel {version}: {clicks}")


# --- the connection --------------------------------------------------------------------------


def _running() -> Running:
    """Return address and key of the LocalCloud that runs on this machine, or None."""
    try:
        from cvm_notebook.local import LocalCloud  # noqa: PLC0415 - an extra
    except ImportError:
        return None
    return LocalCloud.running()


def _connection(profile: str | None, running: Running, *, local: bool) -> Iterator[Finding]:
    section = "Connection"
    for name in ENVIRONMENT:
        if os.environ.get(name) or os.environ.get(name.lower()):
            yield Finding(section, name, "note", "is set")
    if running is not None:
        yield Finding(section, "LocalCloud", "ok" if local else "note", f"runs at {running[0]}")
    if not local:
        yield from _with_the_key(section, profile)
    elif running is None:
        yield Finding(section, "LocalCloud", "problem", "none runs on this machine")
    else:
        yield from _reach(section, Credentials(Secret(running[1]), "LocalCloud", running[0]))


def _with_the_key(section: str, profile: str | None) -> Iterator[Finding]:
    try:
        found = find_api_key(profile=profile, prompt=None)
    except CvmError as error:
        yield Finding(section, "key", "problem", str(error))
        return
    yield Finding(section, "key", "ok", f"from {found.source}")
    yield Finding(section, "address", "ok", found.base_url)
    for finding in _reach(section, found):
        # what the service says may repeat what it was sent
        yield replace(finding, text=finding.text.replace(found.secret.reveal(), "****"))


def _reach(section: str, found: Credentials) -> Iterator[Finding]:
    transport = Transport(
        found.base_url,
        found.secret,
        version=VERSIONS[-1],
        user_agent=f"cvm-notebook/{__version__} doctor",
        timeout=PATIENCE,
    )
    began, clock = time.monotonic(), time.time()
    try:
        reply = transport.send(Request(RetryKind.READ, "GET", "/auth/me"))
    except ApiError as error:
        yield Finding(section, "GET /auth/me", "problem", f"{error.status}: {error}")
    except CvmError as error:
        yield Finding(section, "GET /auth/me", "problem", str(error))
    else:
        took = time.monotonic() - began
        text = f"200 in {took * 1000:.0f} ms, connection included"
        yield Finding(section, "GET /auth/me", "ok", text)
        yield _clock(section, reply, clock + took / 2)
    finally:
        transport.close()


def _clock(section: str, reply: Reply, here: float) -> Finding:
    try:
        there = parsedate_to_datetime(reply.headers.get("date", "")).timestamp() + 0.5
    except ValueError:
        return Finding(section, "clock", "note", "the service does not say what time it is")
    ahead = here - there
    if abs(ahead) <= CLOCK_TOLERANCE:
        text = f"within {max(1, round(abs(ahead)))} s of the service"
        return Finding(section, "clock", "ok", text)
    way = "ahead of" if ahead > 0 else "behind"
    text = f"{abs(ahead):.0f} s {way} the service: set this machine's clock"
    return Finding(section, "clock", "warning", text)


# --- what it keeps on this machine -----------------------------------------------------------


def _folders() -> Iterator[Finding]:
    section = "Folders"
    try:
        profiles = credentials_path(os.environ)
    except CvmError as error:
        yield Finding(section, "profiles", "note", str(error))
    else:
        there = "" if os.path.lexists(profiles) else " (not there)"
        yield Finding(section, "profiles", "note", f"{profiles}{there}")
    yield _temporary(section)
    if importlib.util.find_spec("platformdirs") is None:
        yield Finding(section, "LocalCloud's data", "note", "not installed (an extra)")
        return
    from cvm_notebook.local.core.settings import LocalCloudError, data_folder  # noqa: PLC0415 - an extra

    try:
        folder = data_folder()
    except LocalCloudError as error:
        yield Finding(section, "LocalCloud's data", "warning", str(error))
        return
    if _can_be_written(folder):
        yield Finding(section, "LocalCloud's data", "ok", str(folder))
    else:
        text = f"{folder} cannot be written: set XDG_DATA_HOME, or LocalCloud can keep nothing"
        yield Finding(section, "LocalCloud's data", "warning", text)


def _temporary(section: str) -> Finding:
    try:
        return Finding(section, "temporary files", "ok", tempfile.gettempdir())
    except OSError:
        text = "no folder for them can be written: set TMPDIR, or LocalCloud cannot start"
        return Finding(section, "temporary files", "warning", text)


def _can_be_written(folder: Path) -> bool:
    """Return whether a file could be made there; none is made to find out."""
    while not os.path.lexists(folder) and folder != folder.parent:
        folder = folder.parent
    return os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK)  # noqa: PTH112 - or no right to look


def _without_home(text: str) -> str:
    try:
        home = str(Path.home())
    except RuntimeError:
        return text
    return text.replace(home, "~") if len(home) > 1 else text
