"""Requests of a LocalCloud's owner: checked, sent past all proxies, and refusals explained."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import OpenerDirector, ProxyHandler, Request, build_opener

from cvm_notebook.local.core.settings import LocalCloudError

_ANSWER_SECONDS: Final = 30.0


class RefusalError(LocalCloudError, ValueError):
    """A request that LocalCloud refused and did not carry out; the message has the reason."""


def path_part(name: object) -> str:
    """Return an id or a slug as one segment of a path."""
    if not isinstance(name, str) or not name.strip():
        raise RefusalError(f"{type(name).__name__} is no id and no slug; give its text")
    return quote(name, safe="", errors="replace")


def fault_mappings(faults: Any) -> tuple[dict[str, Any], ...]:
    """Return faults as they are sent; anything else is refused."""
    if faults is None:
        return ()
    listed = isinstance(faults, Iterable) and not isinstance(faults, str | Mapping)
    given = list(faults) if listed else [faults]
    if not listed or not all(isinstance(fault, Mapping) for fault in given):
        raise RefusalError('faults is no list of mappings; give such as [{"kind": "latency"}]')
    return tuple(dict(fault) for fault in given)


def direct_opener() -> OpenerDirector:
    """Return an opener that asks no proxy for the way to our own machine."""
    return build_opener(ProxyHandler({}))


def send(origin: str, token: str, method: str, path: str, body: Any = None) -> Any:
    """Send a request to the control routes of a LocalCloud, and return its decoded answer."""
    try:
        content = None if body is None else json.dumps(body).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise RefusalError(f"{path}: it cannot be sent as JSON: {error}") from None
    request = Request(  # noqa: S310 - our own server on the loopback interface
        f"{origin}/_local/{path}",
        method=method,
        data=content,
        headers={"X-Local-Token": token, "Content-Type": "application/json"},
    )
    try:
        with direct_opener().open(request, timeout=_ANSWER_SECONDS) as answer:
            text = answer.read()
    except HTTPError as error:
        with error:
            raise RefusalError(f"{path}: {_reason(error)}") from None
    return json.loads(text) if text else None


def _reason(error: HTTPError) -> str:
    """Return the reason of a refusal, from its body."""
    try:
        detail = json.loads(error.read())["detail"]
    except (ValueError, KeyError, TypeError):
        detail = None
    if isinstance(detail, list):  # of pydantic: what is wrong with each field
        fields = [one for one in detail if isinstance(one, dict)]
        detail = "; ".join(f"{(one.get('loc') or ['it'])[-1]}: {one.get('msg')}" for one in fields)
    return detail if isinstance(detail, str) and detail else f"HTTP {error.code}: {error.reason}"
