"""Gathering: read the list or statuses into the store, and tell how it went as an event."""

import logging

from cvm_notebook.live.clock import Clock
from cvm_notebook.live.facts import Fact
from cvm_notebook.live.rows import key_of
from cvm_notebook.live.signals import Answered, Ask, Event, Listed, Tick
from cvm_notebook.live.store import FleetStore
from cvm_notebook.live.wire import Faults, Listing, Whole, Wire

_log = logging.getLogger(__name__)
_UNREADABLE = "the service's record of it cannot be read"


class Gatherer:
    """Reads into one store. A call that was cut off brings nothing to it."""

    def __init__(self, store: FleetStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._listing = Listing()
        self._missed: frozenset[str] = frozenset()
        self._told = False

    def restart(self) -> None:
        """Begin lists from their first page again."""
        self._listing = Listing(self._listing)

    def list(self, wire: Wire) -> Event:
        """Read all pages."""
        whole = self._listing.read(wire, self._clock.monotonic())
        if wire.ended:
            return Tick()
        self._tell(whole.faults)
        return Listed(len(whole.cvms), self._keep(whole))

    def ask(self, ask: Ask, wire: Wire) -> Event:
        """Read statuses."""
        asked = self._clock.monotonic()
        found, faults = wire.statuses(ask.uuids)
        if wire.ended:
            return Tick()
        self._tell(faults)
        received = self._clock.monotonic()
        self._store.patch(
            [
                Fact.of_status(status, vm_uuid=uuid, received=received, asked=asked)
                for uuid, status in found.items()
            ]
        )
        return Answered(ask, tuple(uuid for uuid in ask.uuids if uuid not in found))

    def _keep(self, whole: Whole) -> bool:
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
            Fact.of_cvm(cvm, received=received, asked=asked, source="list") for cvm in whole.cvms
        ]
        if whole.faults:
            facts += [
                Fact.of_error(_UNREADABLE, id=i, received=received, source="list") for i in missed
            ]
        self._store.patch(facts)
        return bool(whole.faults)

    def _tell(self, faults: Faults) -> None:
        """Log what cannot be read, once: it comes again with every answer."""
        if faults and not self._told:
            self._told = True
            _log.warning("%s (told once)", faults[0])
