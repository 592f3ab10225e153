"""Policy: the trust and the expectations of a user; immutable, and readable as TOML for review."""

import os
import re
import tomllib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Literal, Self, TypeAlias, get_args
from urllib.parse import urlsplit

from cvm_notebook.api import checks
from cvm_notebook.api.auth.address import is_loopback
from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.api.models.base import seconds_of
from cvm_notebook.attest.evidence.fields import MalformedEvidence, from_hex
from cvm_notebook.attest.images import MeasuredImage, images_of
from cvm_notebook.attest.policy.app_identity import AppIdentity
from cvm_notebook.attest.policy.roots import read_root
from cvm_notebook.attest.policy.toml import to_toml
from cvm_notebook.files import write_file
from cvm_notebook.text import clean_text, quoted

CheckName: TypeAlias = Literal[
    "hardware", "tcb", "debug", "log", "image", "app", "key_provider", "endpoint", "gpu"
]
CHECK_NAMES: Final[tuple[CheckName, ...]] = get_args(CheckName)
"""The nine checks, in their order."""
STATUSES: Final = frozenset(
    {
        "UpToDate",
        "SWHardeningNeeded",
        "ConfigurationNeeded",
        "ConfigurationAndSWHardeningNeeded",
        "OutOfDate",
        "OutOfDateConfigurationNeeded",
    }
)
"""The TCB statuses that a policy may allow; ``Revoked`` never."""
_REQUIRED: Final = frozenset({"hardware", "tcb", "debug", "log", "image", "app"})
_REPORT_DATA_BYTES: Final = 64
_ADVISORY: Final = re.compile(r"[A-Z]+(?:-[A-Z0-9]+)+")
_LARGEST: Final = 1 << 20


@dataclass(frozen=True, kw_only=True, repr=False)
class Policy:
    """A verification policy. What it does not name is not compared, and its check says so.

    Parameters
    ----------
    tcb
        TCB statuses that are allowed; of a status that is not, `grace` may still decide.
    advisories_refused
        Intel's advisories, such as ``INTEL-SA-01313``, that no machine may be open to. An UpToDate
        machine may carry some that are notices only: refuse by name.
    grace
        How long after the date of its own TCB level a machine may be out of date: ``"30d"`` or a
        timedelta.
    min_evaluation
        The lowest TCB evaluation data number that collateral may have: the prover can choose old
        collateral, and old evidence stays good until that ends.
    images
        OS images that are trusted: `known_images`, names of those, or what `learn_image` returned.
        When not given, those that are known here.
    dev_images
        Trust development images, too: one can log in to those.
    app
        What should run: a compose file (path or text), an app compose (mapping, path or text), or a
        compose hash.
    key_provider
        The id of who can derive its keys, or a name as ``"kms"``; ``"any"`` accepts each.
    nonce
        The report data that the quote must have, at most 64 bytes: made for you, it is fresh.
    endpoint
        Address of an RA-TLS server in the CVM, ``https://…-443s.…``: the key that it serves must be
        the one in the quote of its certificate.
    quote_url
        Address of a sidecar in the CVM that answers ``?nonce=`` with a new quote.
    gpus
        How many GPUs must have been attested at boot.
    root
        ``"intel"``, or a development root: the path of a PEM file, or PEM itself. When not given,
        Intel's; but a LocalCloud's own for its client, and what a profile names for the client of
        that profile. Under any other root than Intel's the verdict reads ``SIMULATED``.
    require
        Checks that must pass for ``verdict.ok``; what is asked for by the parameters above is
        required, too.

    Raises
    ------
    InvalidInput
        A parameter is not what it should be; the error says which.

    Examples
    --------
    >>> policy = cvm.Policy(tcb={"UpToDate", "SWHardeningNeeded"}, app=compose, gpus=8)
    >>> sorted(policy.required - cvm.Policy().required)
    ['gpu']
    """

    tcb: Collection[str] = frozenset({"UpToDate"})
    advisories_refused: Collection[str] = frozenset()
    grace: timedelta | str = timedelta()
    min_evaluation: int | None = None
    images: Iterable[MeasuredImage | str | Mapping[str, Any]] | None = None
    dev_images: bool = False
    app: AppIdentity | str | os.PathLike[str] | Mapping[str, Any] | None = None
    key_provider: str | None = None
    nonce: bytes | str | None = None
    endpoint: str | None = None
    quote_url: str | None = None
    gpus: int | None = None
    root: bytes | str | os.PathLike[str] | None = None
    require: Collection[str] = _REQUIRED

    def __post_init__(self) -> None:
        kept = {
            "tcb": _names("tcb", self.tcb, STATUSES),
            "advisories_refused": _advisories(self.advisories_refused),
            "grace": _duration(self.grace),
            "min_evaluation": _number("min_evaluation", self.min_evaluation),
            "images": None if self.images is None else images_of(self.images),
            "dev_images": checks.boolean("dev_images", self.dev_images),
            "app": None if self.app is None else AppIdentity.of(self.app),
            "key_provider": _text("key_provider", self.key_provider),
            "nonce": _nonce(self.nonce),
            "endpoint": _address("endpoint", self.endpoint),
            "quote_url": _address("quote_url", self.quote_url),
            "gpus": _number("gpus", self.gpus),
            "root": None if self.root is None else read_root("root", self.root),
            "require": _names("require", self.require, frozenset(CHECK_NAMES)),
        }
        for name, value in kept.items():
            object.__setattr__(self, name, value)
        ways = [n for n in ("nonce", "endpoint", "quote_url") if kept[n] is not None]
        if len(ways) > 1:
            problem = f"{' and '.join(ways)} are given, and each asks for another report data"
            raise InvalidInput(ways[1], problem, "Give one of them.")

    # --- what the checks read ------------------------------------------------------------------

    @property
    def grace_period(self) -> timedelta:
        """`grace`, as a timedelta."""
        return _duration(self.grace)

    @property
    def trusted_images(self) -> tuple[MeasuredImage, ...] | None:
        """`images`; None where none are named."""
        return None if self.images is None else images_of(self.images)

    @property
    def identity(self) -> AppIdentity | None:
        """`app`, read."""
        return self.app if isinstance(self.app, AppIdentity) else None

    @property
    def report_data(self) -> bytes | None:
        """`nonce` in the 64 bytes of a quote's report data."""
        return (
            self.nonce.ljust(_REPORT_DATA_BYTES, b"\0") if isinstance(self.nonce, bytes) else None
        )

    @property
    def root_pem(self) -> str | None:
        """The development root, PEM; None where it is Intel's, or none is given."""
        return self.root if isinstance(self.root, str) and self.root != "intel" else None

    @property
    def is_bound(self) -> bool:
        """Whether freshness or an endpoint is asked for."""
        return any(one is not None for one in (self.nonce, self.endpoint, self.quote_url))

    @property
    def required(self) -> frozenset[str]:
        """The checks that must pass."""
        asked = {
            "endpoint": self.is_bound,
            "gpu": self.gpus is not None,
            "key_provider": self.key_provider not in (None, "any"),
            "image": self.images is not None,
            "app": self.app is not None,
        }
        return frozenset(self.require) | {name for name, is_asked in asked.items() if is_asked}

    def under(self, root: str | None) -> "Policy":
        """Return this policy with a root where it names none: PEM, or None for Intel's."""
        return self if self.root is not None else replace(self, root=root or "intel")

    # --- as TOML -------------------------------------------------------------------------------

    @classmethod
    def from_toml(cls, path: str | os.PathLike[str]) -> Self:
        """Read a policy from a TOML file, whose keys are the parameters.

        Paths in it, of `app` and `root`, are relative to the file. A nonce is hex.

        Raises
        ------
        InvalidInput
            The file cannot be read, or what it says is no policy.

        Examples
        --------
        >>> cvm.Policy(min_evaluation=19).to_toml("policy.toml")
        >>> cvm.Policy.from_toml("policy.toml").min_evaluation
        19
        """
        file = checks.path("path", path)
        try:
            document = tomllib.loads(_text_of(file))
        except (OSError, ValueError) as error:  # TOMLDecodeError and UnicodeDecodeError are these
            why = getattr(error, "strerror", None) or clean_text(error, 120)
            problem = f"{clean_text(file, 120)} is not a policy that can be read: {why}"
            raise InvalidInput("path", problem) from None
        return cls.from_dict(document, file.parent)

    @classmethod
    def from_dict(cls, said: Mapping[str, Any], folder: Path | None = None) -> Self:
        """Read a policy from what `as_dict` gave, or from a TOML document."""
        document = checks.mapping("policy", said)
        names = {field.name for field in fields(cls)}
        unknown = [clean_text(name, 40) for name in document if name not in names]
        if unknown:
            problem = f"{', '.join(unknown[:5])}: a policy has no such field"
            raise InvalidInput("policy", problem, f"It has {', '.join(sorted(names))}.")
        given = dict(document)
        if isinstance(given.get("app"), Mapping) and AppIdentity.is_one(given["app"]):
            given["app"] = AppIdentity.from_dict(given["app"])
        if folder is not None:
            given |= _relative(given, folder)
        return cls(**given)

    def as_dict(self) -> dict[str, Any]:
        """Return what is not as by default, as JSON and TOML have it."""
        plain: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if value != field.default:
                plain[field.name] = _plain(value)
        return plain

    def to_toml(self, path: str | os.PathLike[str] | None = None) -> str | None:
        """Return the policy as TOML, or write it to a file."""
        text = to_toml(self.as_dict())
        if path is None:
            return text
        write_file(checks.path("path", path), text.encode())
        return None

    def __repr__(self) -> str:
        shown = {name: value for name, value in self.as_dict().items() if name != "root"}
        if self.root is not None:
            shown["root"] = "intel" if self.root_pem is None else "a development root"
        if self.images is not None:
            shown["images"] = [image.name for image in self.trusted_images or ()]
        return f"Policy({', '.join(f'{name}={value!r}' for name, value in shown.items())})"


def policy_for_many(field: str, policy: object) -> Policy:
    """Return a policy that several CVMs can be judged by.

    Raises
    ------
    InvalidInput
        It is none, or names a nonce or an endpoint.
    """
    found = checks.instance(field, policy, Policy, "Give a cvm.Policy.")
    if found.is_bound:
        problem = "it names a nonce or an endpoint, and each CVM has its own"
        raise InvalidInput(field, problem, "Verify such a CVM by cvm.verify.")
    return found


def _relative(given: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return those fields that name a file, from the folder of the policy."""
    paths = {}
    for name in ("app", "root"):
        value = given.get(name)
        if isinstance(value, str) and "\n" not in value and (folder / value).is_file():
            paths[name] = folder / value
    return paths


def _plain(value: object) -> object:
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, timedelta):
        return f"{int(value.total_seconds())}s"
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, AppIdentity):
        return value.as_dict()
    if isinstance(value, tuple):
        return [one.as_dict() for one in value]
    return value


# --- reading parameters ------------------------------------------------------------------------


def _names(field: str, value: object, known: frozenset[str]) -> frozenset[str]:
    found = checks.several(field, value, "words")
    strange = [clean_text(one, 40) for one in found if not _is_word(one, known)]
    if strange:
        problem = f"{', '.join(strange[:3])}: not known"
        raise InvalidInput(field, problem, f"Give some of {', '.join(sorted(known))}.")
    return frozenset(found)


def _is_word(one: object, known: frozenset[str]) -> bool:
    return isinstance(one, str) and one in known


def _advisories(value: object) -> frozenset[str]:
    found = checks.several("advisories_refused", value, "advisories")
    for one in found:
        if not isinstance(one, str) or not _ADVISORY.fullmatch(one):
            problem = f"{quoted(one, 40)} is not a name of an advisory"
            raise InvalidInput("advisories_refused", problem, "Such as INTEL-SA-01313.")
    return frozenset(found)


def _duration(value: object) -> timedelta:
    seconds = seconds_of(value) if isinstance(value, str) else None
    found = value if isinstance(value, timedelta) else None
    found = timedelta(seconds=seconds) if seconds is not None else found
    if found is None or found < timedelta():
        raise InvalidInput("grace", f"{quoted(value, 40)} is not a time", 'Such as "30d".')
    return found


def _number(field: str, value: object) -> int | None:
    return None if value is None else checks.integer(field, value)


def _text(field: str, value: object) -> str | None:
    return None if value is None else checks.text(field, value)


def _nonce(value: object) -> bytes | None:
    if value is None:
        return None
    try:
        found = bytes(value) if isinstance(value, bytes | bytearray) else from_hex("nonce", value)
    except MalformedEvidence as error:
        raise InvalidInput("nonce", error.problem, "Give bytes, or hex.") from None
    if not 0 < len(found) <= _REPORT_DATA_BYTES or not any(found):
        problem = f"has {len(found)} bytes, or none that is not zero"
        raise InvalidInput("nonce", problem, "Give 1 to 64 bytes, such as os.urandom(32).")
    return found


def _address(field: str, value: object) -> str | None:
    if value is None:
        return None
    text = checks.text(field, value)
    plain = text.isascii() and text.isprintable() and not set(text) & set(' \\"<>^`{|}#@')
    if not plain or not _is_safe(text):
        raise InvalidInput(field, f"{quoted(text, 60)} is not an https address")
    return text


def _text_of(file: Path) -> str:
    """Return the whole text of a file; a part of one that is too large would allow more."""
    with file.open("rb") as opened:
        content = opened.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise ValueError(f"it has more than {_LARGEST >> 20} MiB")
    return content.decode("utf-8-sig")


def _is_safe(url: str) -> bool:
    """Return whether it is https, or on this machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    near = parts.scheme == "http" and is_loopback(host)
    return bool(host) and (parts.scheme == "https" or near)
