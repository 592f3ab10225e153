"""Identifiers: formatted, generated, and resolved to CVMs.

``hashid("cvm", 17)`` → ``cvm_ykL5lbAn`` and ``unhash("cvm", ...)`` back.
``find_cvm(session, caller.workspace.id, text)`` resolves whatever a client put into the path:
hashid, row number, uuid (dashed or not), app id (bare, ``app_``, ``0x``), instance id (bare,
``instance_``, ``app_``), or name.
"""

import hashlib
import hmac
import re
import secrets
import uuid
from collections.abc import Iterable
from functools import cache, lru_cache

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.orm import Session, undefer

from cvm_notebook.local.core.database import Cvm, Workspace
from cvm_notebook.local.core.errors import ApiError, coded, detail
from cvm_notebook.local.core.keys import app_address, deployer_address

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_LENGTH = 8
_SPAN = 62**_LENGTH
_FACTOR = 164_275_361_117_009
_INVERSE = pow(_FACTOR, -1, _SPAN)

NAME = re.compile(r"[a-zA-Z](?!.*--)(?:[a-zA-Z0-9-]*[a-zA-Z0-9])?")
NAME_LENGTH = range(5, 64)
_HEX40 = re.compile(r"(?:app_|instance_|0x)?([0-9a-fA-F]{40})")
_UUID = re.compile(r"[0-9a-fA-F]{32}|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_HASHID = re.compile(r"cvm_[0-9A-Za-z]{8}")
_NUMBER = re.compile(r"[0-9]{1,18}")
_HASH64 = re.compile(r"(?:0x|sha256:)?([0-9a-fA-F]{64})")

WHOLE = (undefer(Cvm.compose_file), undefer(Cvm.encrypted_env), undefer(Cvm.user_config))
"""Options of a query that needs the large and the secret columns too."""


@lru_cache(maxsize=65_536)
def hashid(prefix: str, number: int) -> str:
    """Format a row number as the API does."""
    rest = (number * _FACTOR + _offset(prefix)) % _SPAN
    digits = []
    for _ in range(_LENGTH):
        rest, digit = divmod(rest, 62)
        digits.append(_ALPHABET[digit])
    return f"{prefix}_{''.join(digits)}"


def unhash(prefix: str, text: str) -> int | None:
    """Return the row number that ``hashid`` spelled so; None when it is no such id."""
    if not re.fullmatch(rf"{prefix}_[0-9A-Za-z]{{{_LENGTH}}}", text):
        return None
    value = 0
    for character in reversed(text[len(prefix) + 1 :]):
        value = value * 62 + _ALPHABET.index(character)
    number = (value - _offset(prefix)) * _INVERSE % _SPAN
    return number if number < 1 << 40 else None


@cache
def _offset(prefix: str) -> int:
    return int.from_bytes(hashlib.sha256(prefix.encode()).digest()[:6])


def is_name(text: str) -> bool:
    """Tell whether a CVM may be called so."""
    return len(text) in NAME_LENGTH and NAME.fullmatch(text) is not None


def hex40(text: str) -> str | None:
    """Return the 40 hex digits of an app or instance id, without prefix; None when it is none."""
    found = _HEX40.fullmatch(text)
    return found[1].lower() if found else None


def hash64(text: str) -> str | None:
    """Return the 64 hex digits of a compose hash, without prefix; None when it is none."""
    found = _HASH64.fullmatch(text)
    return found[1].lower() if found else None


def new_uuid() -> str:
    """Make a vm_uuid, dashed."""
    return str(uuid.uuid4())


def new_instance_id() -> str:
    """Make an instance id."""
    return secrets.token_hex(20)


def new_key() -> str:
    """Make an API key."""
    return f"phak_{secrets.token_urlsafe(32)}"


def key_hash(key: str) -> str:
    """Return what is kept of a key."""
    return hashlib.sha256(key.encode()).hexdigest()


def app_id_of(secret: bytes, workspace_id: int, nonce: int) -> str:
    """Return the app id that belongs to a nonce: the address its contract would be deployed at."""
    return app_address(deployer_address(secret, workspace_id), nonce).removeprefix("0x").lower()


def reserve_app_ids(
    session: Session, secret: bytes, workspace_id: int, count: int
) -> list[tuple[str, int]]:
    """Give out the next app ids and their nonces; nobody gets them again. Needs a write session."""
    after = session.scalar(
        update(Workspace)
        .where(Workspace.id == workspace_id)
        .values(next_nonce=Workspace.next_nonce + count)
        .returning(Workspace.next_nonce)
    )
    assert after is not None  # noqa: S101 - the caller's own workspace exists
    first = after - count
    return [(app_id_of(secret, workspace_id, nonce), nonce) for nonce in range(first, after)]


def log_token(secret: bytes, vm_uuid: str) -> str:
    """Return the token that a log URL carries, since logs are fetched without an API key."""
    return hmac.digest(secret, f"log:{vm_uuid}".encode(), "sha256").hex()[:32]


def visible_instance_id(cvm: Cvm, now: float) -> str | None:
    """Return the instance id once the CVM has booted."""
    booted = cvm.first_boot_at is not None and now >= cvm.first_boot_at
    return cvm.instance_id if booted else None


def not_found(text: str) -> ApiError:
    """Return the error of a CVM that isn't there, or isn't the caller's."""
    return coded(
        "ERR-03-001",
        f"No CVM found for {text[:80]!r} in this workspace.",
        details=[detail("cvm_id", text[:80], "not found")],
        suggestions=["List the CVMs of the workspace and take one of their ids."],
    )


def find_cvm(
    session: Session, workspace_id: int, text: str, *, whole: bool = False, for_change: bool = False
) -> Cvm:
    """Return the one live CVM that ``text`` means, or raise 404 or 409.

    Parameters
    ----------
    session
        Where to look.
    workspace_id
        Only this workspace's CVMs are looked at.
    text
        What the client wrote.
    whole
        Load the compose file and secrets too.
    for_change
        Keep others from changing the row until the transaction ends.
    """
    for condition, code, kind in _meanings(text):
        found = _live(session, workspace_id, condition, whole=whole, for_change=for_change)
        if len(found) > 1:
            raise _ambiguous(text, code, kind, found)
        if found:
            return found[0]
    raise not_found(text)


def find_cvms(
    session: Session, workspace_id: int, texts: Iterable[str]
) -> dict[str, Cvm | ApiError]:
    """Return the CVMs that several texts mean, or why not, and keep others from changing them.

    The rows are locked in one order, whatever order they were asked for in: two who want the same
    rows never wait for each other.
    """
    found: dict[str, Cvm | ApiError] = {}
    for text in texts:
        try:
            found[text] = find_cvm(session, workspace_id, text)
        except ApiError as error:
            found[text] = error
    ids = {cvm.id for cvm in found.values() if isinstance(cvm, Cvm)}
    locked = select(Cvm).where(Cvm.id.in_(ids)).order_by(Cvm.id).with_for_update()
    session.scalars(locked.execution_options(populate_existing=True)).all()
    for text, cvm in found.items():
        if isinstance(cvm, Cvm) and cvm.deleted_at is not None:
            found[text] = not_found(text)
    return found


def _meanings(text: str) -> list[tuple[ColumnElement[bool], str, str]]:
    meanings: list[tuple[ColumnElement[bool], str, str]] = []
    several = "ERR-03-010"
    if _HASHID.fullmatch(text) and (number := unhash("cvm", text)) is not None:
        meanings.append((Cvm.id == number, several, "id"))
    if _NUMBER.fullmatch(text):
        meanings.append((Cvm.id == int(text), several, "id"))
    if _UUID.fullmatch(text):
        meanings.append((Cvm.vm_uuid == str(uuid.UUID(text)), several, "uuid"))
    if (digits := hex40(text)) is not None:
        meanings.append((Cvm.app_id == digits, several, "app id"))
        meanings.append((Cvm.instance_id == digits, several, "instance id"))
    if is_name(text):
        meanings.append((Cvm.name == text, "ERR-03-002", "name"))
    return meanings


def _live(
    session: Session,
    workspace_id: int,
    condition: ColumnElement[bool],
    *,
    whole: bool,
    for_change: bool,
) -> list[Cvm]:
    query = select(Cvm).where(Cvm.workspace_id == workspace_id, Cvm.deleted_at.is_(None), condition)
    if whole:
        query = query.options(*WHOLE)
    if for_change:
        query = query.with_for_update()
    return list(session.scalars(query.order_by(Cvm.id).limit(20)))


def _ambiguous(text: str, code: str, kind: str, found: list[Cvm]) -> ApiError:
    return coded(
        code,
        f"{len(found)} CVMs have the name {text!r}."
        if kind == "name"
        else "Multiple CVMs match this identifier",
        details=[
            detail("cvm_id", hashid("cvm", cvm.id), f"{cvm.name} ({cvm.vm_uuid})") for cvm in found
        ],
        suggestions=["Give the id or the uuid of one of them."],
    )
