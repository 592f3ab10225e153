"""``doctor --record``: the answers of a service to calls that only read, as shapes and words.

The file is fit to be attached to a bug report: `cvm_notebook.cli.shapes` lists what may stay.
"""

import json
import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from cvm_notebook import __version__
from cvm_notebook.api.auth.address import DEFAULT_BASE_URL
from cvm_notebook.api.auth.credentials import find_api_key
from cvm_notebook.api.client import VERSIONS
from cvm_notebook.api.errors.tree import ApiError, AuthError, CvmError
from cvm_notebook.api.http.exchange import Timeout
from cvm_notebook.api.http.retry import RetryKind
from cvm_notebook.api.http.transport import Request, Transport, to_json
from cvm_notebook.api.resources.cvm_ref import path_segment
from cvm_notebook.api.secret import Secret
from cvm_notebook.cli.shapes import Shape, shape_of, types_of
from cvm_notebook.files import write_file

FORMAT: Final = "cvm-notebook record 1"
_PATIENCE: Final = Timeout(connect=5, read=30, total=40)
_SAMPLES: Final = 3  # CVMs, apps and the like that are asked about
_LARGEST: Final = 32 * 2**20  # bytes of an answer that are looked at

_OF_WORKSPACE: Final = (
    "/auth/me",
    "/workspaces",
    "/user/ssh-keys",
    "/cvms/paginated?page=1&page_size=100",
    "/apps?page=1&page_size=100",
    "/apps/filter-options",
    "/teepods/available",
    "/teepods/cvm-create-resources",
    "/instance-types",
    "/os-images?page=1&page_size=100",
    "/kms?page=1&page_size=100",
)
_OF_CVM: Final = (
    *("", "/state", "/stats", "/network", "/composition", "/attestation", "/compose_file"),
    *("/docker-compose.yml", "/pre-launch-script", "/pre-launch-script/upgrade-status"),
    *("/user_config", "/ssh-keys", "/available-os-images", "/operations?limit=50"),
    *("/operation-status", "/ports", "/network-config", "/firewall-status"),
)
_OF_APP: Final = (
    *("", "/cvms", "/revisions?page_size=50", "/usage", "/attestations", "/kms-info"),
    *("/device-allowlist", "/pending-updates", "/attestations/tcb-evaluation"),
)


@dataclass(slots=True)
class Recording:
    """A recording: for each call and status, the shape of the answer.

    Attributes
    ----------
    lost
        Calls that got no answer, and why in a word.
    """

    calls: dict[str, dict[str, Shape]] = field(default_factory=dict)
    lost: dict[str, str] = field(default_factory=dict)

    def add(self, call: str, status: int, shape: Shape) -> None:
        """Take in one more answer to a call."""
        known = self.calls.setdefault(call, {}).setdefault(str(status), {})
        for place, kinds in shape.items():
            known[place] = tuple(sorted({*known.get(place, ()), *kinds}))

    def as_json(self, service: str) -> bytes:
        """Return it as the file that is written."""
        head = {
            "format": FORMAT,
            "cvm_notebook": __version__,
            "python": platform.python_version(),
            "api_version": VERSIONS[-1],
            "service": service,
        }
        calls = {
            call: {
                status: {place: " | ".join(kinds) for place, kinds in shape.items()}
                for status, shape in answers.items()
            }
            for call, answers in self.calls.items()
        }
        body = {**head, "calls": calls, "no_answer": self.lost}
        return json.dumps(body, indent=1).encode() + b"\n"


def record(profile: str | None, path: Path | None, *, against_local: bool) -> int:
    """Make the calls that only read, write what they answer to a file, and compare if asked to.

    Returns
    -------
    int
        0 when it is done, 1 when the service could not be asked.
    """
    try:
        found = find_api_key(profile=profile, prompt=None)
        recording = recorded(found.base_url, found.secret)
    except CvmError as error:
        print(f"cvm-notebook doctor: nothing was recorded: {error}", file=sys.stderr)
        return 1
    service = "Phala Cloud" if found.base_url == DEFAULT_BASE_URL else "another address"
    print(f"{len(recording.calls)} calls were answered, {len(recording.lost)} were not.")
    if path is not None:
        try:
            write_file(path.expanduser(), recording.as_json(service), private=True)
        except (OSError, RuntimeError) as error:  # ~ without a home folder is the latter
            why = getattr(error, "strerror", None) or str(error)
            print(f"cvm-notebook doctor: {path}: {why}", file=sys.stderr)
            return 1
        print(f"{path} has their fields, types and fixed words, and no value. Read it, attach it.")
    return _compare(recording) if against_local else 0


def _compare(recording: Recording) -> int:
    """Print where a LocalCloud with the demo fleet differs."""
    from cvm_notebook.local import LocalCloud, LocalCloudError  # noqa: PLC0415 - an extra

    try:
        with LocalCloud(seed="demo") as cloud:
            local = recorded(cloud.url, Secret(cloud.api_key))
    except (CvmError, LocalCloudError) as error:
        print(f"cvm-notebook doctor: LocalCloud could not be asked: {error}", file=sys.stderr)
        return 1
    print("\n".join(differences(recording, local)))
    return 0


def recorded(base_url: str, secret: Secret) -> Recording:
    """Make the calls that only read, and return what came.

    Raises
    ------
    CvmError
        The first call got no answer, or the key was refused.
    """
    transport = Transport(
        base_url,
        secret,
        version=VERSIONS[-1],
        user_agent=f"cvm-notebook/{__version__} doctor",
        timeout=_PATIENCE,
        read_only=False,  # a batch status is a POST; all that is sent here reads
    )
    with ExitStack() as stack:
        stack.callback(transport.close)
        transport.send(Request(RetryKind.READ, "GET", "/auth/me"))
        return _Recorder(transport).run()


class _Recorder:
    """Makes the calls, those about a workspace first: they name CVMs and apps to ask about."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._made = Recording()

    def run(self) -> Recording:
        answers = {path: self._ask(path, path.partition("?")[0]) for path in _OF_WORKSPACE}
        cvms = _rows(answers["/cvms/paginated?page=1&page_size=100"], "items")
        apps = _rows(answers["/apps?page=1&page_size=100"], "dstack_apps")
        for cvm_id in _various(cvms, "id", "status"):
            self._ask_below("/cvms/{cvm_id}", cvm_id, _OF_CVM)
        for app_id in _various(apps, "app_id", "kms_type"):
            self._ask_below("/apps/{app_id}", app_id, _OF_APP)
            self._ask_revision(app_id)
        for slug in _various(_rows(answers["/workspaces"], "data"), "slug", "role"):
            self._ask_below("/workspaces/{slug}", slug, ("/quotas", "/nodes"))
        for kms_id in _various(
            _rows(answers["/kms?page=1&page_size=100"], "items"), "id", "chain_id"
        ):
            self._ask_below("/kms/{kms_id}", kms_id, ("", "/nodes", "/info"))
        uuids = _various(cvms, "vm_uuid", "status")
        self._ask("/status/batch", "/status/batch", to_json({"vm_uuids": uuids}))
        self._ask_below("/cvms/{cvm_id}", "cvm_00000000", ("",))  # for the shape of a 404
        return self._made

    def _ask_below(self, template: str, name: str, below: Sequence[str]) -> None:
        stem = template.rpartition("/")[0]
        for tail in below:
            path = f"{stem}/{path_segment(name)}{tail}"
            self._ask(path, template + tail.partition("?")[0])

    def _ask_revision(self, app_id: str) -> None:
        path = f"/apps/{path_segment(app_id)}/revisions"
        revisions = _rows(self._ask(path, "/apps/{app_id}/revisions"), "revisions")
        for revision in _various(revisions, "revision_id", "operation_type")[:1]:
            template = "/apps/{app_id}/revisions/{revision_id}"
            self._ask(f"{path}/{path_segment(revision)}", template)

    def _ask(self, path: str, template: str, body: bytes | None = None) -> Any:
        """Make one call, keep the shape of its answer, and return the answer itself."""
        method = "GET" if body is None else "POST"
        call = f"{method} {template}"
        try:
            reply = self._transport.send(Request(RetryKind.READ, method, path, body))
        except ApiError as error:
            if isinstance(error, AuthError) and error.is_of_the_key:
                raise
            self._made.add(call, error.status, shape_of(_refusal(error)))
            return None
        except CvmError as error:
            self._made.lost[call] = type(error).__name__
            return None
        answer = _decoded(reply.body[:_LARGEST])
        # a batch status has an object by uuid: those are rows, and no names
        rows = list(answer.values()) if template == "/status/batch" and answer else answer
        self._made.add(call, 200, shape_of(rows))
        return answer


def _refusal(error: ApiError) -> dict[str, Any]:
    """Return what an error answer states, in the service's own fields."""
    details = [{"field": d.field, "message": d.message} for d in error.details]
    fields = {
        "error_code": error.error_code,
        "message": error.message,
        "details": details,
        "suggestions": list(error.suggestions),
        "request_id": error.request_id,
    }
    return {name: value for name, value in fields.items() if value}


def _decoded(body: bytes) -> Any:
    """Return an answer; what is no JSON is a text."""
    try:
        return msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return body.decode("utf-8", "replace")


def _rows(answer: object, key: str) -> list[Mapping[str, Any]]:
    rows = answer.get(key) if isinstance(answer, Mapping) else None
    return [row for row in rows if isinstance(row, Mapping)] if isinstance(rows, list) else []


def _various(rows: Sequence[Mapping[str, Any]], name: str, by: str) -> list[str]:
    """Return the names of a few rows, those that differ first."""
    named = [row for row in rows if isinstance(row.get(name), str) and row[name]]
    first = {str(row.get(by)): str(row[name]) for row in reversed(named)}
    return list(dict.fromkeys([*first.values(), *(str(row[name]) for row in named)]))[:_SAMPLES]


# --- beside LocalCloud -----------------------------------------------------------------------


def differences(there: Recording, local: Recording) -> Iterator[str]:
    """Yield, a line each, where LocalCloud's answers are of another shape.

    Only what both have answered with the same status is compared, and only types: which words and
    ranges occur depends on what is in a workspace.
    """
    found = 0
    for call in sorted(there.calls.keys() | local.calls.keys()):
        one, other = there.calls.get(call, {}), local.calls.get(call, {})
        if not set(one) & set(other):
            found += 1
            yield f"{call}: {_statuses(one)} there, {_statuses(other)} on LocalCloud"
        for status in sorted(set(one) & set(other)):
            for line in _unlike(one[status], other[status]):
                found += 1
                yield f"{call} {status} {line}"
    yield f"{found} differences." if found else "LocalCloud answers in the same shapes."


def _statuses(answers: Mapping[str, Shape]) -> str:
    return ", ".join(sorted(answers)) or "no answer"


def _unlike(there: Shape, local: Shape) -> Iterator[str]:
    for place in sorted(there.keys() | local.keys()):
        if place in there and place in local:
            one, other = types_of(there[place]) - {"null"}, types_of(local[place]) - {"null"}
            if one and other and one != other:
                yield f"{place}: {_listed(one)} there, {_listed(other)} on LocalCloud"
            continue
        parent = place.rpartition(".")[0]
        # of a list without members, and of an object that is null, nothing is known
        if not place.endswith("[]") and _has_object(there, parent) and _has_object(local, parent):
            yield f"{place}: only {'there' if place in there else 'on LocalCloud'}"


def _has_object(shape: Shape, place: str) -> bool:
    return "object" in shape.get(place, ())


def _listed(types: frozenset[str]) -> str:
    return " or ".join(sorted(types))
