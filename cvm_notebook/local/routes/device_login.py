"""Serve the log-in of a device, as the official CLI does it: begin, then ask until there is a key.

Nobody has to approve it: who asks from this machine is let in the second time.
"""

import hmac
import ipaddress
import secrets
from typing import Final

from fastapi import Request, Response
from pydantic import BaseModel, Field
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from cvm_notebook.local.answers import account as answers
from cvm_notebook.local.core.clock import machine_now
from cvm_notebook.local.core.context import Context, Ctx, clock_now, json_answer
from cvm_notebook.local.core.database import ApiKey, DeviceCode, lock
from cvm_notebook.local.core.errors import PlainError
from cvm_notebook.local.core.identifiers import key_hash, new_key
from cvm_notebook.local.routing import api_router

router = api_router(tags=["account"])

_SECONDS: Final = 900
_INTERVAL: Final = 1
_MOST_OPEN: Final = 1_000
"""As many device codes can wait for their key at once."""


class DeviceRequest(BaseModel):
    """The request that begins a device log-in."""

    client_id: str = Field(max_length=200)
    scope: str = Field(default="", max_length=1000)


class DeviceTokenRequest(BaseModel):
    """The request that polls a device log-in."""

    device_code: str = Field(max_length=500)
    client_id: str = Field(default="", max_length=200)
    grant_type: str = Field(default="", max_length=200)


@router.post("/auth/device/code", response_model=answers.DeviceCode)
def begin_device_login(ctx: Ctx, request: Request, _body: DeviceRequest) -> Response:
    """Begin the log-in of a device; no key is needed."""
    expires = int(machine_now()) + _SECONDS
    unsigned = f"{expires}.{secrets.token_urlsafe(12)}"
    user_code = secrets.token_hex(4).upper()
    page = f"{request.url.scheme}://{request.url.netloc}/_local/health"
    shown = f"{user_code[:4]}-{user_code[4:]}"
    return json_answer(
        {
            "device_code": f"{unsigned}.{_signature(ctx, unsigned)}",
            "user_code": shown,
            "verification_uri": page,
            "verification_uri_complete": f"{page}?user_code={shown}",
            "expires_in": _SECONDS,
            "interval": _INTERVAL,
        }
    )


@router.post(
    "/auth/device/token",
    response_model=answers.DeviceToken,
    responses={400: {"model": answers.OAuthError | PlainError}},
)
def end_device_login(ctx: Ctx, request: Request, body: DeviceTokenRequest) -> Response:
    """Give the device its key: on this machine everyone who asks twice is let in."""
    unsigned, _, signature = body.device_code.rpartition(".")
    if not hmac.compare_digest(signature.encode(), _signature(ctx, unsigned).encode()):
        return _refused("invalid_grant", "This device code was not given out here.")
    if _expired(body.device_code):
        return _refused("expired_token", "This device code has expired. Begin again.")
    if not _is_near(request):
        return _refused("access_denied", "LocalCloud lets only its own machine log in like this.")
    with ctx.database.write() as session:
        key, refusal = _exchange(session, ctx, body.device_code)
    if refusal is not None:
        return refusal
    return json_answer({"access_token": key, "token_type": "bearer", "scope": "user:profile"})


def _exchange(session: Session, ctx: Context, code: str) -> tuple[str, Response | None]:
    """Return a key for a device code that was asked about before and has given none yet."""
    lock(session, "device codes")
    session.execute(delete(DeviceCode).where(DeviceCode.expires_at < machine_now()))
    known = session.get(DeviceCode, key_hash(code))
    if known is not None and known.used:
        return "", _refused("invalid_grant", "This device code has given its key. Begin again.")
    if known is not None:
        known.used = True
        return _issue_key(session, ctx), None
    if (session.scalar(select(func.count()).select_from(DeviceCode)) or 0) >= _MOST_OPEN:
        return "", _refused("slow_down", "Too many devices are logging in. Try again later.")
    session.add(DeviceCode(code_hash=key_hash(code), expires_at=_expiry(code)))
    return "", _refused("authorization_pending", "Ask again.")


def _is_near(request: Request) -> bool:
    """Tell whether a request comes from this machine."""
    if request.client is None:
        return False
    try:
        return ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False


def _expired(code: str) -> bool:
    return machine_now() > _expiry(code)


def _expiry(code: str) -> int:
    return int(code.partition(".")[0])


def _signature(ctx: Context, unsigned: str) -> str:
    return hmac.new(ctx.secret, f"device:{unsigned}".encode(), "sha256").hexdigest()


def _refused(error: str, description: str) -> Response:
    # As OAuth says it, and once more where the official CLI looks for it.
    fields = {"error": error, "error_description": description}
    return json_answer(fields | {"detail": fields}, 400)


def _issue_key(session: Session, ctx: Context) -> str:
    """Make another key to the default workspace."""
    digest = key_hash(ctx.settings.api_key)
    default = session.scalars(select(ApiKey).where(ApiKey.key_hash == digest)).one()
    key = new_key()
    session.add(
        ApiKey(
            key_hash=key_hash(key),
            name="device",
            user_id=default.user_id,
            workspace_id=default.workspace_id,
            created_at=clock_now(session),
        )
    )
    return key
