"""Base of the groups of calls: one way to read, one way to change."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from cvm_notebook.api.http.deadline import Deadline
from cvm_notebook.api.http.prefetch import MOST_PAGES, PAGE_SIZE
from cvm_notebook.api.http.retry import RetryKind, RetryPolicy
from cvm_notebook.api.http.transport import Request, Transport, query, to_json
from cvm_notebook.api.models.decode import decode, decode_accepted

P = TypeVar("P")
T = TypeVar("T")


class Endpoints:
    """Calls over one transport; each group of endpoints is a subclass."""

    _transport: Transport

    @property
    def transport(self) -> Transport:
        """The way to the service."""
        return self._transport

    def apart(self, policy: RetryPolicy) -> Transport:
        """Return a way to the same service with the same key, over connections of its own.

        It retries as `policy` says. What is done to it, `Transport.abort` above all, leaves this
        client alone: so whatever runs in the background can be cut off at once.
        """
        return self._transport.apart(policy)

    def _deadline(self) -> Deadline:
        """Return the deadline of a call that begins now and is made of several requests."""
        return Deadline(self._transport.timeout.total)

    def _read(
        self,
        path: str,
        kind: type[T],
        *,
        version: str | None = None,
        deadline: Deadline | None = None,
    ) -> T:
        """GET one thing, in the shape of another API version where one is named."""
        headers = (("X-Phala-Version", version),) if version else ()
        request = Request(RetryKind.READ, "GET", path, headers=headers)
        return self._transport.call(
            request, lambda reply: decode(reply.body, kind, request.where), deadline=deadline
        )

    def _every(
        self,
        path: str,
        kind: type[P],
        read: Callable[[P], tuple[Sequence[T], int | None]],
        **asked: object,
    ) -> list[T]:
        """GET a list that comes in pages; `read` says what is in one, and how many there are."""
        found: list[T] = []
        deadline = self._deadline()
        for number in range(1, MOST_PAGES):
            where = path + query(page=number, page_size=PAGE_SIZE, **asked)
            rows, pages = read(self._read(where, kind, deadline=deadline))
            found += rows
            if not rows or number >= (pages or 1):
                break
        return found

    def _ask(self, path: str, kind: type[T], body: Mapping[str, object]) -> T:
        """POST a question, which changes nothing and may be asked again."""
        request = Request(RetryKind.READ, "POST", path, to_json(body))
        return self._transport.call(request, lambda reply: decode(reply.body, kind, request.where))

    def _text(self, path: str) -> str:
        """GET a text, which the service may send as a JSON string; null is the empty one."""
        reply = self._transport.send(Request(RetryKind.READ, "GET", path))
        if "json" in reply.headers.get("content-type", ""):
            return decode_accepted(reply.body, str, f"GET {path}")
        return reply.body.decode("utf-8", "replace")

    def _change(
        self,
        kind: RetryKind,
        method: str,
        path: str,
        answer: type[T],
        body: Mapping[str, object] | None = None,
        *,
        on_sent: Callable[[], None] | None = None,
        deadline: Deadline | None = None,
    ) -> T:
        """Send a change that is not read back.

        The answer to an update may be empty; that to a provision is what the commit needs.
        """
        where = f"{method} {path.partition('?')[0]}"
        content = None if body is None else to_json(body)
        read = decode_accepted if kind is RetryKind.UPDATE else decode
        return self._transport.call(
            Request(kind, method, path, content),
            lambda reply: read(reply.body, answer, where),
            on_sent=on_sent,
            deadline=deadline,
        )

    def _send(
        self, kind: RetryKind, method: str, path: str, body: Mapping[str, object] | None = None
    ) -> None:
        """Send a change that is answered with nothing."""
        content = None if body is None else to_json(body)
        self._transport.send(Request(kind, method, path, content))


def given(**fields: object) -> dict[str, object]:
    """Return the fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}
