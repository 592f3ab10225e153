"""Reading an address outside of the service: one GET, without the key, read to its end."""

from cvm_notebook.api.errors.tree import ApiError, CvmError
from cvm_notebook.api.http.deadline import Deadline
from cvm_notebook.api.http.exchange import Exchange
from cvm_notebook.api.http.transport import Reply, Transport


def read_elsewhere(transport: Transport, url: str, where: str) -> Reply:
    """GET an address; see `Attestations.read_elsewhere`."""
    origin, path = transport.elsewhere(url, where)
    exchange = Exchange(origin, None, {"Accept": "*/*", "Accept-Encoding": "gzip"})
    try:
        answer = exchange.send(
            "GET",
            path,
            headers={"User-Agent": transport.user_agent},
            body=None,
            limit=transport.timeout,
            deadline=Deadline(transport.timeout.total),
        )
    finally:
        exchange.close()
    if isinstance(answer, CvmError):
        raise answer
    if not 200 <= answer.status < 300:  # noqa: PLR2004 - RFC 9110: success
        raise ApiError.from_response(
            answer.status, answer.headers, answer.body, method="GET", path=where
        )
    return Reply(answer.headers, answer.body)
