"""Scheduling of relists, in which the whole list is read; pure: the time is an argument."""

from cvm_notebook.live.clock import Backoff
from cvm_notebook.live.reflector.events import Failure, FailureKind, ReflectorSettings

_PAGE = 100
_NEVER = float("-inf")


class Relist:
    """One list at a time: at once when asked, else every `resync`, later after a failure.

    Attributes
    ----------
    due
        When the next begins, or None while one is under way.
    failure
        Why the last failed, or None.
    """

    def __init__(self, settings: ReflectorSettings, backoff: Backoff) -> None:
        self.due: float | None = _NEVER
        self.failure: Failure | None = None
        self._settings = settings
        self._backoff = backoff
        self._began = _NEVER
        self._last_page_at = _NEVER  # of the one under way: when its last page came
        self._asked_again = False
        self._hold_until = _NEVER  # by the service: nothing comes before
        self._wait_until = _NEVER  # by our own back-off: only what a user asks for comes before
        self._doubts = 0

    def ask(self, now: float, *, by_user: bool = False) -> None:
        """Read it soon; wishes that come together are one."""
        if self.due is None:
            self._asked_again = True
            return
        floor = self._hold_until if by_user else max(self._hold_until, self._wait_until)
        self.due = max(floor, min(self.due, max(now, self._began + self._settings.debounce)))

    def hold(self, until: float) -> None:
        """Let none begin before then: the service asked for it."""
        self._hold_until = max(self._hold_until, until)
        if self.due is not None:
            self.due = max(self.due, self._hold_until)

    def begin(self, now: float) -> bool:
        """Return whether one begins now."""
        if self.due is None or self.due > now:
            return False
        self.due, self._began, self._asked_again = None, now, False
        self._last_page_at = now
        return True

    def page_received(self, now: float) -> None:
        """Note that a part of the one under way came."""
        self._last_page_at = now

    @property
    def waits_since(self) -> float | None:
        """Since when the service has been silent about the one under way; None where none is."""
        return self._last_page_at if self.due is None else None

    def done(self, now: float, rows: int, *, whole: bool) -> None:
        """Count a success; after one that may lack rows another comes soon, but not for ever."""
        self._backoff.succeeded(now)
        self.failure, self._wait_until = None, _NEVER
        pace = max(self._settings.resync, -(-rows // _PAGE) / self._settings.per_second)
        self._doubts = 0 if whole else self._doubts + 1
        if not whole:
            pace = min(pace, self._settings.debounce * 2.0 ** min(self._doubts, 16))
        self._next(now + pace, now)

    def failed(self, now: float, failure: Failure) -> None:
        """Count a failure."""
        self.failure = failure
        if failure.kind is FailureKind.UNTRUSTED:
            wait = self._backoff.longest(now)
        else:
            wait = self._backoff.failed(now)
        if failure.kind is FailureKind.SLOW_DOWN:
            self.hold(now + max(wait, failure.retry_after))
        self._wait_until = now + wait
        self._next(max(self._wait_until, self._hold_until), now)

    def cut(self, now: float) -> None:
        """Forget the one under way; read it soon instead."""
        self.due, self._asked_again = max(now, self._hold_until), False
        self._wait_until = _NEVER

    def _next(self, due: float, now: float) -> None:
        self.due = due
        if self._asked_again:
            self._asked_again = False
            self.ask(now)
