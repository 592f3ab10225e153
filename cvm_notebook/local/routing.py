"""Routes of the API: the key is looked at before the body; broken transactions are repeated."""

import re
from collections.abc import Awaitable, Callable, Coroutine
from enum import Enum
from typing import Annotated, Any, Final, TypeVar

from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.routing import APIRoute
from sqlalchemy.exc import DBAPIError
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from cvm_notebook.local.auth import authenticate
from cvm_notebook.local.core.context import caller_of, json_answer
from cvm_notebook.local.core.errors import coded, documented
from cvm_notebook.local.core.settings import API_PREFIX

_T = TypeVar("_T")

Handler = Callable[[Request], Coroutine[Any, Any, Response]]

_BROKEN_OFF: Final = frozenset({"40001", "40P01"})  # serialization failure, deadlock
_ATTEMPTS: Final = 5
_COMMON: Final = documented(400, 401, 403, 413, 422, 429, 503)


class ApiRoute(APIRoute):
    """A route whose caller is known before the body is read.

    A transaction that PostgreSQL has broken off for the sake of another has done nothing: it is
    begun again.
    """

    def get_route_handler(self) -> Handler:
        """Return what handles a request."""
        handle = super().get_route_handler()
        keyed = any(one.call is caller_of for one in self.dependant.dependencies)

        async def answer(request: Request) -> Response:
            if keyed:
                request.state.caller = await _repeated(
                    lambda: run_in_threadpool(authenticate, request)
                )
            try:
                await request.body()  # it is remembered, and can be read again
            except ClientDisconnect:
                return json_answer({"detail": "The request has not come to its end."}, 400)
            return await _repeated(lambda: handle(request))

        return answer


async def _repeated(act: Callable[[], Awaitable[_T]]) -> _T:
    """Do something in the database, again when the database has broken it off."""
    for _ in range(_ATTEMPTS - 1):
        try:
            return await act()
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) not in _BROKEN_OFF:
                raise
    return await act()


def no_preparing(x_prepare_only: Annotated[str | None, Header()] = None) -> None:
    """Refuse to only prepare, rather than to do what was only to be prepared."""
    if x_prepare_only and x_prepare_only.lower() not in {"0", "false", "no"}:
        raise coded(
            "ERR-02-008",
            "X-Prepare-Only is for apps with an on-chain KMS; this one changes at once.",
            suggestions=["Leave the header out."],
        )


NO_PREPARING: Final = (Depends(no_preparing),)
"""``dependencies`` of a route that the service lets callers only prepare."""


def api_router(
    *, tags: list[str | Enum], responses: dict[int | str, dict[str, Any]] | None = None
) -> APIRouter:
    """Return a router of the API, whose routes are complete as they are written.

    A router that FastAPI includes in another has all of its routes made a second time, by the
    first request to a server.
    """
    return APIRouter(
        prefix=API_PREFIX,
        tags=tags,
        responses=_COMMON | (responses or {}),
        route_class=ApiRoute,
        generate_unique_id_function=_operation_id,
    )


def _operation_id(route: APIRoute) -> str:
    return re.sub(r"\W+", "_", f"{route.name}_{'_'.join(sorted(route.methods or ()))}").lower()
