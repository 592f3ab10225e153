"""The reflector's requests: lists and statuses, over connections that can be aborted at once."""

import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cvm_notebook.api.errors.tree import DecodeError
from cvm_notebook.api.http.deadline import Deadline
from cvm_notebook.api.http.exchange import ByteStream, Timeout
from cvm_notebook.api.http.prefetch import PAGE_SIZE, PageFetcher, pages_of
from cvm_notebook.api.http.retry import AttemptOutcome, Decision, GiveUp, RetryKind, RetryPolicy
from cvm_notebook.api.http.transport import Request, query, to_json
from cvm_notebook.api.models.actions import CvmStatus, Page, decode_page, decode_statuses
from cvm_notebook.api.models.cvm import Cvm
from cvm_notebook.api.resources.base import Endpoints
from cvm_notebook.api.resources.cvm_ref import path_segment
from cvm_notebook.live.clock import Clock
from cvm_notebook.live.reflector.events import (
    Event,
    FetchStatuses,
    ListFetched,
    ReflectorSettings,
    StatusesFetched,
    Tick,
)
from cvm_notebook.live.store.observation import Observation
from cvm_notebook.live.store.records import key_of
from cvm_notebook.live.store.store import FleetStore

_PAGES_AT_ONCE: Final = 8
_KEPT: Final = 60.0
_INTERVAL: Final = 5
_STALL: Final = 3.0 * _INTERVAL
_SHORTEST, _LONGEST = 300, 600  # seconds of a stream: many opened together end apart
_GRACE: Final = 10.0  # after which a stream that the service should have ended is ended here
_FOR_EVER: Final = "deleted"  # the target that lets a stream go on for as long as there is a CVM


class OneMoreTry(RetryPolicy):
    """One more try where a connection broke; everything longer is the reflector's to decide."""

    __slots__ = ()

    def decide(
        self,
        kind: RetryKind,
        attempt: int,
        outcome: AttemptOutcome,
        *,
        retry_after: float | None = None,
        rand: Callable[[], float] = random.random,
    ) -> Decision:
        """Give up on rate limits and unsent requests; else decide as the policy does."""
        if outcome in (AttemptOutcome.RATE_LIMITED, AttemptOutcome.NOT_SENT):
            return GiveUp()
        return super().decide(kind, attempt, outcome, retry_after=retry_after, rand=rand)


DecodeErrors = tuple[DecodeError, ...]


@dataclass(slots=True)
class Source:
    """The client whose key and address are used; after a refused key it may be another."""

    client: Endpoints

    @property
    def address(self) -> str:
        """The address of the API."""
        return self.client.transport.base_url


class FleetApi:
    """The calls of one reflector; `on_page` is called when a page of the list came."""

    def __init__(
        self,
        client: Endpoints,
        settings: ReflectorSettings,
        on_page: Callable[[], object] = lambda: None,
    ) -> None:
        wait = settings.give_up_after
        self._limit = Timeout(min(5.0, wait), wait, wait)
        self.ended = False
        self._on_page = on_page
        self._transport = client.apart(OneMoreTry(attempts=2))

    def page(self, number: int) -> bytes:
        """Fetch a page of the list."""
        path = "/cvms/paginated" + query(page=number, page_size=PAGE_SIZE)
        request = Request(RetryKind.READ, "GET", path, timeout=self._limit)
        body = self._transport.send(request).body
        self._on_page()
        return body

    def statuses(self, uuids: tuple[str, ...]) -> tuple[dict[str, CvmStatus], DecodeErrors]:
        """Fetch statuses, by uuid; and what of the answer could not be read."""
        body = to_json({"vm_uuids": uuids})
        request = Request(RetryKind.READ, "POST", "/status/batch", body, timeout=self._limit)
        return self._transport.call(request, lambda reply: decode_statuses(reply.body))

    def stream(self, cvm_id: str) -> ByteStream:
        """Open the stream of a CVM's states."""
        seconds = random.randint(_SHORTEST, _LONGEST)  # noqa: S311 - jitter, not a secret
        asked = query(target=_FOR_EVER, interval=_INTERVAL, timeout=seconds)
        path = f"/cvms/{path_segment(cvm_id)}/state{asked}"
        deadline = Deadline(seconds + _GRACE)
        return self._transport.open(path, stall=_STALL, headers={}, deadline=deadline)

    def cut(self) -> None:
        """Break off everything, for good."""
        self.ended = True
        self._transport.abort()


@dataclass(frozen=True, slots=True)
class ListResult:
    """A list read to its end.

    Attributes
    ----------
    asked
        The moment from which its first page is.
    consistent
        False when CVMs came or went while it was read, or the service's own count is not met.
    faults
        The rows that could not be read.
    """

    cvms: list[Cvm]
    asked: float
    consistent: bool
    faults: DecodeErrors


class ListRequest:
    """Reads the list, page by page.

    Pages that came are kept for a minute when another fails, so that `read` goes on there; and a
    page that has not changed since the last list is not decoded again: its records stay the same
    objects.

    Parameters
    ----------
    before
        One that is to be read no more, for what it knows.
    """

    def __init__(self, before: "ListRequest | None" = None) -> None:
        self._known: dict[int, tuple[int, Page[Cvm], DecodeErrors]] = (
            {} if before is None else dict(before._known)  # noqa: SLF001 - its own kind
        )
        self._fresh: set[int] = set()
        self._began = 0.0

    def read(self, wire: FleetApi, now: float) -> ListResult:
        """Read what is missing; raises as the call that failed."""
        if not self._fresh or now - self._began > _KEPT:
            self._fresh.clear()
            self._began = now
        pages = [self._page(wire, 1)]
        while pages[-1].items and len(pages) < pages_of(pages[-1]):
            first, last = len(pages) + 1, pages_of(pages[-1])
            fetch = self._fetch(wire)
            for page in PageFetcher(fetch, first, last, _PAGES_AT_ONCE):
                pages.append(page)
                if not page.items:
                    break
        self._fresh.clear()
        for number in [n for n in self._known if n > len(pages)]:
            del self._known[number]
        return self._joined(pages)

    def _fetch(self, wire: FleetApi) -> Callable[[int], tuple[Page[Cvm], bool]]:
        return lambda number: (self._page(wire, number), False)

    def _page(self, wire: FleetApi, number: int) -> Page[Cvm]:
        if number in self._fresh:
            return self._known[number][1]
        body = wire.page(number)
        mark, known = hash(body), self._known.get(number)
        if known is None or known[0] != mark:
            known = mark, *decode_page(body)
            self._known[number] = known
        self._fresh.add(number)
        return known[1]

    def _joined(self, pages: list[Page[Cvm]]) -> ListResult:
        found: dict[str | None, Cvm] = {}
        rows = 0
        for page in pages:
            for cvm in page.items:
                rows += 1
                key = key_of(cvm)
                before = found.get(key)
                if before is None or (cvm.updated_at or "") > (before.updated_at or ""):
                    found[key] = cvm
        faults = tuple(f for n in range(1, len(pages) + 1) for f in self._known[n][2])
        totals = {page.total for page in pages}
        agrees = totals == {None} or totals == {len(found) + len(faults)}
        consistent = agrees and rows == len(found)
        return ListResult(list(found.values()), self._began, consistent, faults)


_log = logging.getLogger(__name__)
_UNREADABLE = "the service's record of it cannot be read"


class Lister:
    """Reads into one store. A call that was cut off brings nothing to it."""

    def __init__(self, store: FleetStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._listing = ListRequest()
        self._missed: frozenset[str] = frozenset()
        self._warned = False

    def restart(self) -> None:
        """Begin lists from their first page again."""
        self._listing = ListRequest(self._listing)

    def list(self, wire: FleetApi) -> Event:
        """Read all pages."""
        whole = self._listing.read(wire, self._clock.monotonic())
        if wire.ended:
            return Tick()
        self._report(whole.faults)
        return ListFetched(len(whole.cvms), self._keep(whole))

    def ask(self, ask: FetchStatuses, wire: FleetApi) -> Event:
        """Read statuses."""
        asked = self._clock.monotonic()
        found, faults = wire.statuses(ask.uuids)
        if wire.ended:
            return Tick()
        self._report(faults)
        received = self._clock.monotonic()
        self._store.patch(
            [
                Observation.of_status(status, vm_uuid=uuid, received=received, asked=asked)
                for uuid, status in found.items()
            ]
        )
        return StatusesFetched(ask, tuple(uuid for uuid in ask.uuids if uuid not in found))

    def _keep(self, whole: ListResult) -> bool:
        """Put a list into the store; return False when it is too doubtful to let rows go by.

        A CVM that came or went while pages were read moves others from page to page, so that one
        may be on none: a row goes when a doubtful list lacks it twice.
        """
        received, asked = self._clock.monotonic(), whole.asked
        listed = {key_of(cvm) for cvm in whole.cvms}
        missed = frozenset(row.id for row in self._store.snapshot().rows if row.id not in listed)
        sure = whole.consistent or missed <= self._missed
        self._missed = missed
        if not missed or (sure and not whole.faults):
            self._store.replace(whole.cvms, received=received, asked=asked)
            self._missed = frozenset()
            return True
        facts = [
            Observation.of_cvm(cvm, received=received, asked=asked, source="list")
            for cvm in whole.cvms
        ]
        if whole.faults:
            facts += [
                Observation.of_error(_UNREADABLE, id=i, received=received, source="list")
                for i in missed
            ]
        self._store.patch(facts)
        return bool(whole.faults)

    def _report(self, faults: DecodeErrors) -> None:
        """Log what cannot be read, once: it comes again with every answer."""
        if faults and not self._warned:
            self._warned = True
            _log.warning("%s (logged once)", faults[0])
