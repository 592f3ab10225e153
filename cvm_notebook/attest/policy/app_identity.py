"""AppIdentity: the compose file that should run, as the hashes that would be measured of it."""

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from cvm_notebook.api.compose.hashing import compose_hash, text_hashes
from cvm_notebook.api.compose.validation import LARGEST_BYTES, read_compose_file, read_text_file
from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.attest.evidence.fields import fields_of

_HASH: Final = re.compile(r"(?:sha256:|0x)?([0-9a-fA-F]{64})")
_FIELDS: Final = ("compose_hash", "docker_compose_hashes")
_REMEDY: Final = "Give a compose file (path or text), an app compose, or a compose hash."


@dataclass(frozen=True, slots=True)
class AppIdentity:
    """The app that should run, by the hash of the app compose, or of the compose file in it.

    Attributes
    ----------
    compose_hash
        SHA-256 of the app compose, as the service and the CVM hash it.
    docker_compose_hashes
        SHA-256 of the Docker Compose file: as it is, and with either kind of line ends.
    """

    compose_hash: str | None = None
    docker_compose_hashes: tuple[str, ...] = ()

    @classmethod
    def of(cls, app: object) -> Self:
        """Read what should run.

        Raises
        ------
        InvalidInput
            It is nothing that can run, or a file cannot be read.
        """
        if isinstance(app, AppIdentity):
            return cls(app.compose_hash, app.docker_compose_hashes)
        if isinstance(app, Mapping):
            return cls(compose_hash=compose_hash({"runner": "docker-compose", **app}))
        if not isinstance(app, str | os.PathLike):
            raise InvalidInput("app", f"{type(app).__name__} is nothing that can run", _REMEDY)
        bare = _HASH.fullmatch(app.strip()) if isinstance(app, str) else None
        if bare is not None:
            return cls(compose_hash=bare[1].lower())
        return cls._of_text(_text(app))

    @classmethod
    def _of_text(cls, text: str) -> Self:
        if text.lstrip().startswith("{") and _is_app_compose(text):
            return cls(compose_hash=hashlib.sha256(text.encode()).hexdigest())
        read_compose_file(text, "app")
        return cls(docker_compose_hashes=tuple(dict.fromkeys(text_hashes(text))))

    @staticmethod
    def is_one(fields: Mapping[str, Any]) -> bool:
        """Return whether these are the fields of an identity, and not an app compose."""
        return bool(fields) and fields.keys() <= set(_FIELDS)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Read what `as_dict` gave."""
        whole, parts = fields.get(_FIELDS[0]), fields.get(_FIELDS[1]) or ()
        for one in (*([whole] if whole else []), *parts):
            if not isinstance(one, str) or not _HASH.fullmatch(one):
                raise InvalidInput("app", "it has a hash that is none", _REMEDY)
        return cls(whole, tuple(parts))

    def as_dict(self) -> dict[str, Any]:
        """Return its fields, as JSON and TOML have them."""
        if self.compose_hash is not None:
            return {"compose_hash": self.compose_hash}
        return {"docker_compose_hashes": list(self.docker_compose_hashes)}


def _text(app: str | os.PathLike[str]) -> str:
    if isinstance(app, str) and ("\n" in app or app.lstrip().startswith("{")):
        return app
    return read_text_file("app", os.fspath(app), LARGEST_BYTES)


def _is_app_compose(text: str) -> bool:
    return not {"runner", "docker_compose_file"}.isdisjoint(fields_of(text))
