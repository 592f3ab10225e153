"""What the owner of a LocalCloud asks of it: put into words that can be sent, and why not."""

import json
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote

from cvm_notebook.local.core.settings import LocalCloudError


class RefusalError(LocalCloudError, ValueError):
    """What LocalCloud was asked to do cannot be, and was not done; it says why."""


def part(name: object) -> str:
    """Return a name as a part of a path."""
    if not isinstance(name, str) or not name.strip():
        raise RefusalError(f"{type(name).__name__} is no id and no slug; give its text")
    return quote(name, safe="", errors="replace")


def why(error: HTTPError) -> str:
    """Return what the server says of what it refused."""
    try:
        said = json.loads(error.read())["detail"]
    except (ValueError, KeyError, TypeError):
        said = None
    if isinstance(said, list):  # of pydantic: what is wrong with each field
        told = [one for one in said if isinstance(one, dict)]
        said = "; ".join(f"{(one.get('loc') or ['it'])[-1]}: {one.get('msg')}" for one in told)
    return said if isinstance(said, str) and said else f"HTTP {error.code}: {error.reason}"


def mappings(faults: Any) -> tuple[dict[str, Any], ...]:
    """Return faults as they are sent; anything else is refused."""
    if faults is None:
        return ()
    listed = isinstance(faults, Iterable) and not isinstance(faults, str | Mapping)
    given = list(faults) if listed else [faults]
    if not listed or not all(isinstance(fault, Mapping) for fault in given):
        raise RefusalError('faults is no list of mappings; give such as [{"kind": "latency"}]')
    return tuple(dict(fault) for fault in given)
