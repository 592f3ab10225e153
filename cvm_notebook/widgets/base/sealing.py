"""Sealing of messages: fields of a front end's message that may be secret become Secrets."""

import logging
from collections.abc import Mapping
from typing import Any, Final

from cvm_notebook.api.secret import Secret

_LONGEST: Final = 1 << 20
_SECRETS: Final = frozenset({"value", "text"})


def _hide(record: logging.LogRecord) -> bool:
    """Take the message out of the comm library's note of it, which it makes at DEBUG."""
    if isinstance(record.args, tuple) and str(record.msg).startswith("handle_msg"):
        record.args = (*record.args[:-1], "its content is not logged: it may be secret")
    return True


logging.getLogger("Comm").addFilter(_hide)


def seal(content: object) -> dict[str, Any]:
    """Return a message of a front end with what may be secret in it as Secrets.

    It is done first, in the handler: what goes further may be shown in a traceback.
    """
    if not isinstance(content, Mapping):
        return {}
    return {str(key): _sealed(str(key), value) for key, value in content.items()}


def _sealed(key: str, value: object) -> object:
    if key == "message" and isinstance(value, Mapping):
        return seal(value)  # to a view within the view
    if key not in _SECRETS or not isinstance(value, str):
        return value
    return Secret(value) if len(value) <= _LONGEST else None
