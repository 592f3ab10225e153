"""Put the server together: routers, error answers, request ids, faults."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from anyio import to_thread
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DataError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cvm_notebook.local.apps import apps as apps_apps
from cvm_notebook.local.apps import revisions as apps_revisions
from cvm_notebook.local.apps import templates as apps_templates
from cvm_notebook.local.apps import usage as apps_usage
from cvm_notebook.local.core.context import Context, json_answer
from cvm_notebook.local.core.database import Database
from cvm_notebook.local.core.errors import ApiError, documented_schemas
from cvm_notebook.local.core.settings import Settings
from cvm_notebook.local.engine.housekeeping import keep_house, resume_time
from cvm_notebook.local.evidence import attestations, gateway
from cvm_notebook.local.evidence.tls import TlsListeners
from cvm_notebook.local.faults import control
from cvm_notebook.local.faults.connection import quiet_accept_errors
from cvm_notebook.local.guard import Guard
from cvm_notebook.local.routes import account as routes_account
from cvm_notebook.local.routes import actions as routes_actions
from cvm_notebook.local.routes import catalogue as routes_catalogue
from cvm_notebook.local.routes import cvms as routes_cvms
from cvm_notebook.local.routes import device_login as routes_device_login
from cvm_notebook.local.routes import documents as routes_documents
from cvm_notebook.local.routes import logs as routes_logs
from cvm_notebook.local.routes import network as routes_network
from cvm_notebook.local.routes import operations as routes_operations
from cvm_notebook.local.routes import state as stream
from cvm_notebook.local.routes import updates as routes_updates
from cvm_notebook.local.server import end_with_parent
from cvm_notebook.local.webhooks import routes as routes_webhooks
from cvm_notebook.local.webhooks.sending import deliver

_THREADS = 3
"""As many requests are worked on at once.

`sqlite3` gives the interpreter away at every row, and takes it back behind each other thread: 64
clients get 55 answers a second from 3 threads, and 41 from 12
(``python benchmarks/local_cloud.py --only load``).
"""

_ROUTERS: tuple[APIRouter, ...] = (
    stream.router,
    routes_actions.router,
    routes_updates.router,
    routes_documents.router,
    routes_catalogue.router,
    routes_account.router,
    routes_device_login.router,
    routes_webhooks.router,
    attestations.router,
    apps_apps.router,
    apps_revisions.router,
    apps_usage.router,
    apps_templates.router,
    routes_network.router,
    routes_operations.router,
    routes_cvms.router,
    routes_logs.router,
    gateway.router,
    control.router,
    control.owner,
)
"""Fixed paths stand before ``/cvms/{cvm_id}``."""


class LocalCloudApp(FastAPI):
    """The application; its description has the schemas of all errors."""

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI description."""
        if self.openapi_schema is None:
            described = super().openapi()
            described["components"]["schemas"] |= documented_schemas()
        return super().openapi()


class RequestIds:
    """Give each request an id, in ``scope["state"]["request_id"]`` and in ``X-Request-ID``."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its id."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = f"req_{uuid.uuid4().hex[:20]}"
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message.get("headers", []),
                    (b"x-request-id", request_id.encode()),
                ]
            await send(message)

        await self._app(scope, receive, send_with_id)


def _request_id(request: Request) -> str:
    return str(getattr(request.state, "request_id", ""))


def _on_api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)  # noqa: S101 - registered for it
    if error.body is None:
        body: dict[str, Any] = {"detail": error.detail}
    else:
        body = error.body | {"request_id": _request_id(request)}
    return json_answer(body, error.status, error.headers)


def _on_http_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for it
    return json_answer({"detail": error.detail}, error.status_code, dict(error.headers or {}))


def _on_invalid(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for it
    found = [
        {key: _plain(value) for key, value in one.items() if key != "url"} for one in error.errors()
    ]
    return json_answer({"detail": found}, 422)


def _plain(value: Any) -> Any:
    """Make a validation error's parts fit for JSON, whatever the request contained."""
    match value:
        case dict():
            plain: Any = {str(_plain(key)): _plain(part) for key, part in value.items()}
        case list() | tuple():
            plain = [_plain(part) for part in value]
        case str():
            plain = value.encode("utf-8", "replace").decode()
        case None | bool() | int():
            plain = value
        case float() if abs(value) < float("inf"):
            plain = value
        case _:
            plain = str(value)
    return plain


def _on_unstorable(_request: Request, _error: Exception) -> Response:
    text = "A value of the request can't be kept: too large, too deep, or no valid text."
    return json_answer({"detail": text}, 400)


def _on_crowded(_request: Request, error: Exception) -> Response:
    """Answer 503 when the database had no time for the request; it has done nothing."""
    waited = isinstance(error, PoolTimeout) or "database is locked" in str(error)
    if not waited:
        raise error
    text = "The database is busy with other requests. Try again."
    return json_answer({"detail": text}, 503, {"Retry-After": "1"})


def _on_fault(request: Request, _error: Exception) -> Response:
    # The error goes on to the server, which logs it and closes the connection: say so.
    request_id = _request_id(request)
    return json_answer(
        {"error": "Internal Server Error", "request_id": request_id},
        500,
        {"X-Request-ID": request_id, "Connection": "close"},
    )


_HANDLERS: dict[type[Exception], Callable[[Request, Exception], Response]] = {
    ApiError: _on_api_error,
    HTTPException: _on_http_error,
    RequestValidationError: _on_invalid,
    DataError: _on_unstorable,
    OverflowError: _on_unstorable,
    RecursionError: _on_unstorable,
    UnicodeEncodeError: _on_unstorable,
    OperationalError: _on_crowded,
    PoolTimeout: _on_crowded,
    Exception: _on_fault,
}


def create_app(settings: Settings) -> LocalCloudApp:
    """Return the application that serves one database with these settings."""
    database = Database(settings.database)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        quiet_accept_errors(asyncio.get_running_loop())
        to_thread.current_default_thread_limiter().total_tokens = _THREADS
        await run_in_threadpool(resume_time, database)
        background = [
            asyncio.create_task(work) for work in (keep_house(database), deliver(app.state.context))
        ]
        yield {"request_seconds": settings.request_seconds}
        app.state.tls.close()
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        database.close()

    app = LocalCloudApp(
        title="Phala Cloud CVM API, served by LocalCloud",
        version="2026-06-23",
        description="Not hardware: what it attests is signed under a root of its own.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.context = Context(settings=settings, database=database)
    app.state.tls = TlsListeners()
    for router in _ROUTERS:
        app.router.routes.extend(router.routes)
    for kind, handler in _HANDLERS.items():
        app.add_exception_handler(kind, handler)
    control.install(app, settings)
    app.add_middleware(Guard, host=settings.host, allowed_hosts=settings.allowed_hosts)
    app.add_middleware(RequestIds)
    return app


def from_environment() -> LocalCloudApp:
    """Return the application of a worker process, whose settings are in its environment."""
    end_with_parent()
    return create_app(Settings.from_environment())
