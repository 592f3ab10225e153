"""Rows of a fleet repeat each other: equal parts are kept once (33 MB, not 60, for 10,000 CVMs)."""

import sys
from collections.abc import Iterable
from operator import attrgetter
from typing import Any, Final

from msgspec import structs

from cvm_notebook.api.cvm import Cvm

_WORDS: Final = ("status", "kms_type", "storage_fs", "base_image", "runner", "manifest_version")
_WORDS_OF_RESOURCE: Final = ("instance_type", "compute_billing_price", "billing_period")
_WORDS_OF_RATE: Final = ("total", "compute", "disk")
_ROW: Final = attrgetter(*_WORDS)
_RESOURCE: Final = attrgetter(*_WORDS_OF_RESOURCE)
_RATE: Final = attrgetter(*_WORDS_OF_RATE)
_MOST: Final = 10_000

# By what is most its own; bounded. A race of two threads costs one copy.
_parts: dict[object, Any] = {}


def share(rows: Iterable[Cvm]) -> None:
    """Let rows that were just decoded, and that nobody else has seen, share what is equal."""
    if len(_parts) > _MOST:
        _parts.clear()
    for row in rows:
        _share_parts(row)
        _intern(row, _WORDS, _ROW(row))
        if row.resource is not None:
            _intern(row.resource, _WORDS_OF_RESOURCE, _RESOURCE(row.resource))
        if row.hourly_rate is not None:
            _intern(row.hourly_rate, _WORDS_OF_RATE, _RATE(row.hourly_rate))


def _share_parts(row: Cvm) -> None:
    # Written out: this runs for every row of every page.
    node, image, workspace, creator = row.node_info, row.os, row.workspace, row.creator
    gateway, features = row.gateway, row.features
    if node is not None:
        structs.force_setattr(row, "node_info", _kept(node.device_id, node))
    if image is not None:
        structs.force_setattr(row, "os", _kept(image.os_image_hash, image))
    if workspace is not None:
        structs.force_setattr(row, "workspace", _kept(workspace.id, workspace))
    if creator is not None:
        structs.force_setattr(row, "creator", _kept(creator.id, creator))
    if gateway is not None:
        structs.force_setattr(row, "gateway", _kept(gateway.base_domain, gateway))
    if features is not None:
        structs.force_setattr(row, "features", _kept(features, features))


def _kept(key: object, part: Any) -> Any:
    """Return the equal part that is kept, or keep this one."""
    kept = _parts.get(key)
    if kept == part:
        return kept
    _parts[key] = part
    return part


def _intern(part: Any, names: tuple[str, ...], words: tuple[Any, ...]) -> None:
    for name, word in zip(names, words):  # noqa: B905 - of one length by what they are
        if word.__class__ is str:
            structs.force_setattr(part, name, sys.intern(word))
