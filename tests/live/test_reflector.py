"""The rules by which a fleet is kept up to date, one test each, on a clock that tests move."""

from datetime import timedelta
from itertools import pairwise

import pytest

from cvm_notebook.api.errors.tree import (
    ApiError,
    AuthError,
    ConfigurationError,
    DeadlineExceeded,
    DecodeError,
    NotFoundError,
    NotTrustedError,
    RateLimited,
    ServerError,
    TransportError,
    UnsafeRedirect,
)
from cvm_notebook.live.clock import SleepDetector
from cvm_notebook.live.reflector.events import (
    AbortAll,
    CloseReason,
    CloseStream,
    Crashed,
    Failure,
    FailureKind,
    FetchList,
    FetchStatuses,
    Follow,
    Interest,
    ListFailed,
    ListFetched,
    MarkFailed,
    OpenStream,
    PageFetched,
    ReflectorSettings,
    Refresh,
    Resumed,
    RowsChanged,
    SetHealth,
    StatusesFailed,
    StatusesFetched,
    StreamClosed,
    StreamOpened,
    Tick,
    Touched,
    WatchTarget,
    Woke,
)
from cvm_notebook.live.reflector.machine import Machine, Mode
from cvm_notebook.live.store.records import Provenance, Row

REQUESTS = (FetchList, FetchStatuses, OpenStream)


def watched(number, *, node="n1", busy=False, settling=False):
    return WatchTarget(f"cvm_{number}", f"uuid-{number}", node, busy, settling)


class Play:
    """A machine, a clock, and a service that answers at once unless set otherwise."""

    def __init__(self, clock, rows=(), **settings):
        self.clock = clock
        self.machine = Machine(ReflectorSettings(**settings), rand=lambda: 0.0)
        self.rows = list(rows)
        self.did = []  # (time, action)
        self.answer = {}  # kind of action -> function to event, or None for no answer

    def tell(self, event):
        now = self.clock.monotonic()
        made = self.machine.next(event, now)
        self.did += [(now, action) for action in made]
        for action in made:
            if (reply := self.reply(action)) is not None:
                self.tell(reply)
        return made

    def reply(self, action):
        kind = type(action)
        if kind in self.answer:
            return self.answer[kind](action)
        if kind is FetchList:
            self.tell(RowsChanged(tuple(self.rows)))
            return ListFetched(len(self.rows))
        if kind is FetchStatuses:
            return StatusesFetched(action)
        if kind is OpenStream:
            return StreamOpened(action.cvm_id)
        if kind is CloseStream:
            return StreamClosed(action.cvm_id, CloseReason.CLOSED)
        return None

    def advance(self, seconds):
        end = self.clock.monotonic() + seconds
        ticks = 0
        while (due := self.machine.due(self.clock.monotonic())) <= end:
            self.clock.advance(max(due - self.clock.monotonic(), 0.01))
            self.tell(Tick())
            ticks += 1
            assert ticks <= 10 * seconds + 100, "a busy loop"
        self.clock.advance(max(end - self.clock.monotonic(), 0))
        self.tell(Tick())

    def forget(self):
        self.did.clear()

    def of(self, kind):
        return [action for _, action in self.did if isinstance(action, kind)]

    def times(self, kind):
        began = self.did[0][0] if self.did else 0
        return [round(at - began, 2) for at, action in self.did if isinstance(action, kind)]

    @property
    def requests(self):
        return self.of(REQUESTS)

    @property
    def health(self):
        return self.of(SetHealth)[-1].state if self.of(SetHealth) else None


@pytest.fixture
def play(clock):
    def made(*rows, **settings):
        play = Play(clock, rows, **settings)
        play.tell(Interest(held=True))
        return play

    return made


def fails(error):
    return lambda action: (
        ListFailed(Failure.of(error))
        if isinstance(action, FetchList)
        else StatusesFailed(action, Failure.of(error))
        if isinstance(action, FetchStatuses)
        else StreamClosed(action.cvm_id, CloseReason.FAILED, Failure.of(error))
    )


REFUSED = TransportError("cannot be reached", sent=False)
TOO_MANY = RateLimited(429, "slow down", retry_after=7.0)
NO_KEY = AuthError(401, "the key was revoked")
FORBIDDEN = AuthError(403, "not for you")
MISSING = NotFoundError(404, "no such CVM")


# --- interest ------------------------------------------------------------------------------------


def test_nobody_listening_means_no_requests(clock):
    play = Play(clock, [watched(1, busy=True)])
    play.tell(RowsChanged(tuple(play.rows)))
    play.tell(Follow("cvm_1"))
    play.advance(3600)
    assert play.requests == []
    assert play.health == "paused"


def test_requests_end_a_while_after_the_last_interest_did(play):
    play = play(watched(1))
    play.tell(Interest(held=False))
    play.advance(59)
    assert play.machine.mode is Mode.ACTIVE
    play.advance(2)
    assert play.machine.mode is Mode.PARKED
    assert isinstance(play.did[-2][1], AbortAll)
    assert play.health == "paused"
    play.forget()
    play.advance(3600)
    assert play.did == []


def test_a_look_keeps_it_going_for_a_while(clock):
    play = Play(clock, [watched(1)])
    play.tell(Touched())
    play.tell(Interest(held=False))
    play.advance(59)
    play.tell(Touched())
    play.advance(59)
    assert play.machine.mode is Mode.ACTIVE
    play.advance(2)
    assert play.machine.mode is Mode.PARKED


def test_new_interest_catches_up_with_one_list(play):
    play = play(watched(1))
    play.tell(Interest(held=False))
    play.advance(3600)
    play.forget()
    play.tell(Interest(held=True))
    play.tell(Interest(held=True))
    assert len(play.of(FetchList)) == 1
    assert [show.state for show in play.of(SetHealth)] == ["catching up", "live"]


# --- list, statuses, streams ---------------------------------------------------------------------


def test_the_list_comes_first_then_statuses_and_streams(play):
    play = play(watched(1), watched(2, busy=True))
    assert [type(action) for _, action in play.did if isinstance(action, REQUESTS)] == [
        FetchList,
        FetchStatuses,
        OpenStream,
    ]


def test_statuses_are_asked_for_by_node_in_chunks(play):
    play = play(
        *(watched(i, node="big") for i in range(250)), *(watched(i, node="x") for i in (500, 501))
    )
    asks = play.of(FetchStatuses)
    assert sorted((ask.node, len(ask.uuids)) for ask in asks) == [
        ("big", 50),
        ("big", 100),
        ("big", 100),
        ("x", 2),
    ]
    assert len({uuid for ask in asks for uuid in ask.uuids}) == 252


def test_a_node_has_one_question_under_way(play, clock):
    play = Play(clock, [watched(i) for i in range(250)])
    play.answer[FetchStatuses] = lambda _: None
    play.tell(Interest(held=True))
    play.advance(120)
    assert len(play.of(FetchStatuses)) == 1


def test_a_slow_node_does_not_hold_up_the_others(clock):
    play = Play(clock, [watched(1, node="slow"), watched(2, node="fast")])
    play.answer[FetchStatuses] = lambda ask: None if ask.node == "slow" else StatusesFetched(ask)
    play.tell(Interest(held=True))
    play.advance(60)
    assert len([a for a in play.of(FetchStatuses) if a.node == "slow"]) == 1
    assert len([a for a in play.of(FetchStatuses) if a.node == "fast"]) >= 4


def test_rows_of_a_slow_node_say_why(clock):
    play = Play(clock, [watched(1, node="slow"), watched(2, node="fast")])
    play.answer[FetchStatuses] = lambda ask: None if ask.node == "slow" else StatusesFetched(ask)
    play.tell(Interest(held=True))
    play.advance(9)
    assert play.of(MarkFailed) == []
    play.advance(2)
    (mark,) = play.of(MarkFailed)
    assert (mark.cvms, mark.why) == (("uuid-1",), "node slow has not answered for 10 s")
    assert mark.asked == play.did[0][0]
    assert play.health == "live"
    play.advance(60)
    assert len(play.of(MarkFailed)) == 1


def test_nothing_is_called_live_when_answers_are_owed_and_none_comes(clock):
    play = Play(clock, [watched(1, node="a"), watched(2, node="b")])
    play.tell(Interest(held=True))
    play.answer[FetchStatuses] = lambda _: None
    play.answer[FetchList] = lambda _: None
    play.advance(29)  # the sweep that finds it silent began after 15 s
    assert play.health == "live"
    play.advance(2)
    assert play.health == "catching up"
    assert play.of(SetHealth)[-1].cause == "no answer for 15 s"
    play.answer = {}
    for ask in play.of(FetchStatuses)[-2:]:
        play.tell(StatusesFetched(ask))
    assert play.health == "live"


def test_one_node_that_is_silent_while_others_answer_leaves_it_live(clock):
    play = Play(clock, [watched(1, node="slow"), watched(2, node="fast")], resync=1000)
    play.answer[FetchStatuses] = lambda ask: None if ask.node == "slow" else StatusesFetched(ask)
    play.tell(Interest(held=True))
    play.advance(120)
    assert {show.state for show in play.of(SetHealth)} <= {"catching up", "live"}
    assert len(play.of(SetHealth)) == len({show.state for show in play.of(SetHealth)})


def test_a_list_of_many_pages_may_take_its_time(clock):
    play = Play(clock, [watched(1)], sweep=1000, resync=50)
    play.tell(Interest(held=True))
    play.forget()
    play.answer[FetchList] = lambda _: None
    play.advance(51)
    for _ in range(6):
        play.tell(PageFetched())
        play.advance(10)
    assert play.health is None
    play.advance(11)
    assert play.health == "catching up"


def test_slow_nodes_leave_room_for_the_others(clock):
    rows = [watched(i, node=f"slow{i}") for i in range(6)] + [watched(9, node="fast")]
    play = Play(clock, rows)
    play.answer[FetchStatuses] = lambda ask: (
        None if ask.node.startswith("slow") else StatusesFetched(ask)
    )
    play.tell(Interest(held=True))
    play.advance(11)  # four are slow now, and known to be
    for ask in play.of(FetchStatuses):
        if ask.node.startswith("slow"):
            play.tell(StatusesFetched(ask))
    play.forget()
    play.advance(60)
    assert len([a for a in play.of(FetchStatuses) if a.node == "fast"]) >= 3


def test_a_node_that_fails_is_asked_again_later_and_later(clock):
    play = Play(clock, [watched(1, node="bad"), watched(2, node="good")])
    late = DeadlineExceeded("no byte came")
    play.answer[FetchStatuses] = lambda a: (
        StatusesFailed(a, Failure.of(late)) if a.node == "bad" else StatusesFetched(a)
    )
    play.tell(Interest(held=True))
    play.advance(30)
    bad = [at for at, a in play.did if isinstance(a, FetchStatuses) and a.node == "bad"]
    waits = [b - a for a, b in pairwise(bad)]
    assert waits == sorted(waits)
    assert 3 <= len(bad) <= 7
    assert play.of(MarkFailed)[0].cvms == ("uuid-1",)
    assert play.health == "live"


def test_a_cvm_in_transition_without_a_stream_is_asked_for_oftener(clock):
    play = Play(clock, [watched(1, busy=True), watched(2)], streams=0, sweep=1000, resync=1000)
    play.tell(Interest(held=True))
    play.forget()
    play.advance(21)
    assert play.of(FetchStatuses) == [FetchStatuses("n1", ("uuid-1",))] * 4


def test_a_cvm_with_a_stream_is_not_asked_for_oftener(clock):
    play = Play(clock, [watched(1, busy=True)], sweep=1000, resync=1000)
    play.tell(Interest(held=True))
    play.forget()
    play.advance(60)
    assert play.of(FetchStatuses) == []


def test_a_cvm_that_has_settled_on_its_stream_is_asked_for_at_once(play):
    play = play(watched(1, busy=True))
    play.forget()
    play.tell(RowsChanged((watched(1, busy=True, settling=True),)))
    assert play.of(FetchStatuses) == [FetchStatuses("n1", ("uuid-1",))]


def test_every_cvm_is_asked_for_now_and_then(play):
    play = play(watched(1), watched(2), resync=1000.0)
    play.forget()
    play.advance(61)
    assert len(play.of(FetchStatuses)) == 4


def test_a_whole_list_is_read_every_minute(play):
    play = play(watched(1))
    play.forget()
    play.advance(301)
    assert len(play.of(FetchList)) == 5


def test_a_large_fleet_is_listed_and_asked_for_less_often(play):
    play = play(*(watched(i, node=f"n{i % 7}") for i in range(10_000)))
    play.forget()
    play.advance(1000)
    assert len(play.of(FetchList)) == 8
    assert len(play.requests) < 1000 * 2 * 0.85


def test_a_silent_cvm_is_confirmed_by_one_list(play):
    play = play(watched(1), watched(2), resync=10_000.0)
    play.forget()
    play.answer[FetchStatuses] = lambda ask: StatusesFetched(ask, silent=("uuid-2",))
    play.advance(200)
    assert len(play.of(FetchList)) == 1
    assert play.of(MarkFailed)[0].cvms == ("cvm_2",)


def test_a_list_that_may_lack_rows_is_read_again_soon_but_not_for_ever(clock):
    play = Play(clock, [watched(1)])
    play.answer[FetchList] = lambda _: ListFetched(1, whole=False)
    play.tell(Interest(held=True))
    play.advance(300)
    times = play.times(FetchList)
    assert times[:3] == [0, 2, 6]
    assert len(times) <= 10


# --- asking to refresh ---------------------------------------------------------------------------


def test_wishes_that_come_together_are_one_list(play):
    play = play(watched(1))
    play.advance(10)
    play.forget()
    for _ in range(50):
        play.tell(Refresh())
    assert len(play.of(FetchList)) == 1
    play.advance(5)
    assert len(play.of(FetchList)) == 2


def test_a_wish_while_a_list_is_under_way_brings_another(clock):
    play = Play(clock, [watched(1)])
    play.answer[FetchList] = lambda _: None
    play.tell(Interest(held=True))
    play.tell(Refresh())
    play.advance(5)
    assert len(play.of(FetchList)) == 1
    del play.answer[FetchList]
    play.tell(ListFetched(1))
    assert len(play.of(FetchList)) == 2


# --- failures ------------------------------------------------------------------------------------


def test_an_outage_is_probed_by_lists_that_come_ever_later(clock):
    play = Play(clock, [watched(1)])
    play.answer = dict.fromkeys(REQUESTS, fails(REFUSED))
    play.tell(Interest(held=True))
    play.advance(120)
    assert play.times(FetchList)[:6] == [0, 0.8, 2.4, 5.6, 12.0, 24.8]
    assert play.requests == play.of(FetchList)
    first, *rest = [show.state for show in play.of(SetHealth)]
    assert (first, set(rest)) == ("catching up", {"offline"})


def test_who_is_offline_says_when_it_tries_next(clock):
    play = Play(clock, [watched(1)])
    play.answer[FetchList] = fails(REFUSED)
    play.tell(Interest(held=True))
    (shown,) = [show for show in play.of(SetHealth) if show.state == "offline"]
    play.advance(100)
    asked = [at for at, action in play.did if isinstance(action, FetchList)]
    tries = [show.next_try for show in play.of(SetHealth) if show.state == "offline"]
    assert shown.next_try == asked[1]
    assert [due for due in tries if due is not None][: len(asked) - 1] == asked[1:]
    play.answer[FetchList] = lambda _: None  # it is under way
    play.tell(Refresh())
    assert play.of(SetHealth)[-1].next_try is None


def test_after_an_outage_everything_goes_on_by_itself(clock):
    play = Play(clock, [watched(1, busy=True)])
    play.answer = dict.fromkeys(REQUESTS, fails(REFUSED))
    play.tell(Interest(held=True))
    play.advance(60)
    play.answer = {}
    play.forget()
    play.advance(31)
    assert play.health == "live"
    assert len(play.of(FetchList)) == 1
    assert len(play.of(OpenStream)) == 1


def test_a_question_without_a_connection_is_settled_by_one_list(play):
    play = play(watched(1, node="a"), watched(2, node="b"))
    play.answer = dict.fromkeys(REQUESTS, fails(REFUSED))
    play.forget()
    play.advance(16)
    assert play.health == "offline"
    play.forget()
    play.advance(10)
    assert play.requests == play.of(FetchList)


def test_one_failing_node_does_not_bring_list_after_list(clock):
    play = Play(clock, [watched(1, node="bad"), watched(2, node="good")], resync=10_000)
    error = ServerError(503, "node unreachable")
    play.answer[FetchStatuses] = lambda a: (
        StatusesFailed(a, Failure.of(error)) if a.node == "bad" else StatusesFetched(a)
    )
    play.tell(Interest(held=True))
    play.forget()
    play.advance(300)
    assert len(play.of(FetchList)) <= 1


def test_429_backs_off_without_relist(play):
    play = play(watched(1), resync=1000.0)
    play.answer[FetchStatuses] = fails(TOO_MANY)
    play.forget()
    play.advance(15)
    asked = len(play.of(FetchStatuses))
    assert asked == 1
    assert play.health == "catching up"
    play.advance(6.9)
    assert len(play.of(FetchStatuses)) == 1
    assert play.of(FetchList) == []


def test_429_delays_the_list_too(play):
    play = play(watched(1), resync=20.0)
    play.answer[FetchStatuses] = fails(RateLimited(429, "slow down", retry_after=30.0))
    play.forget()
    play.advance(44)
    assert play.of(FetchList) == []
    play.advance(2)
    assert len(play.of(FetchList)) == 1


def test_429_on_everything_is_at_most_one_probe_per_backoff(clock):
    play = Play(clock, [watched(i, node=f"n{i}") for i in range(8)])
    play.tell(Interest(held=True))
    play.forget()
    play.answer = dict.fromkeys(REQUESTS, fails(RateLimited(429, "slow down")))
    play.advance(300)
    assert len(play.requests) <= 20
    at = play.times(REQUESTS)
    assert len([t for t in at if t > 200]) <= 5


@pytest.mark.parametrize("retry_after", [None, 0.0, 10.0**9])
def test_what_a_429_asks_for_is_clamped(retry_after):
    error = RateLimited(429, "slow down", retry_after=retry_after)
    assert 0 <= Failure.of(error).retry_after <= 60


def test_a_refresh_does_not_wait_for_a_backoff_but_for_what_the_service_asked(clock):
    play = Play(clock, [watched(1)])
    play.answer[FetchList] = fails(REFUSED)
    play.tell(Interest(held=True))
    play.advance(60)
    play.forget()
    play.tell(Refresh())
    assert len(play.of(FetchList)) == 1
    play.answer[FetchList] = fails(RateLimited(429, "slow down", retry_after=60.0))
    play.advance(60)
    play.forget()
    play.tell(Refresh())
    assert play.of(FetchList) == []


def test_a_certificate_that_is_not_trusted_is_not_asked_again_at_once(clock):
    play = Play(clock, [watched(1)])
    play.answer[FetchList] = fails(NotTrustedError("the certificate was not accepted"))
    play.tell(Interest(held=True))
    play.advance(100)
    assert play.times(FetchList) == [0, 30, 60, 90]
    assert play.health == "offline"


# --- the key -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [FetchList, FetchStatuses, OpenStream])
def test_a_refused_key_stops_all_loops_and_asks_for_one_once(clock, kind):
    play = Play(clock, [watched(1, busy=True), watched(2, node="b")])
    play.answer[kind] = fails(NO_KEY)
    play.tell(Interest(held=True))
    play.advance(20)
    assert play.machine.mode is Mode.LOCKED
    play.forget()
    play.tell(Refresh())
    play.tell(Touched())
    play.tell(RowsChanged((watched(3, busy=True),)))
    play.advance(3600)
    assert play.did == []


def test_a_refused_key_is_shown_once_with_the_next_step(clock):
    play = Play(clock, [watched(1)])
    play.answer = dict.fromkeys(REQUESTS, fails(NO_KEY))
    play.tell(Interest(held=True))
    play.tell(ListFailed(Failure.of(NO_KEY)))
    shown = [show for show in play.of(SetHealth) if show.state == "needs a key"]
    assert len(shown) == 1
    assert "revoked" in shown[0].cause
    assert "resume" in shown[0].next_step


def test_a_new_key_resumes(clock):
    play = Play(clock, [watched(1, busy=True)])
    play.answer = dict.fromkeys(REQUESTS, fails(NO_KEY))
    play.tell(Interest(held=True))
    play.answer = {}
    play.forget()
    play.tell(Resumed())
    assert play.health == "live"
    assert len(play.of(FetchList)) == len(play.of(OpenStream)) == 1


def test_403_of_one_cvm_marks_only_its_row(play):
    play = play(watched(1, busy=True), watched(2, busy=True))
    play.forget()
    play.tell(StreamClosed("cvm_1", CloseReason.FAILED, Failure.of(FORBIDDEN)))
    play.advance(30)
    assert [(mark.cvms, mark.why) for mark in play.of(MarkFailed)] == [(("cvm_1",), "not for you")]
    assert play.of(OpenStream) == []
    assert play.health is None


# --- streams -------------------------------------------------------------------------------------


def test_one_of_the_five_streams_is_left_free(play):
    play = play(*(watched(i, busy=True) for i in range(20)))
    assert len(play.of(OpenStream)) == 4


def test_followed_cvms_come_before_those_in_transition(play):
    play = play(*(watched(i, busy=True) for i in range(4)), watched(9))
    play.forget()
    play.tell(Follow("cvm_9"))
    play.tell(Tick())
    assert len(play.of(CloseStream)) == 1
    assert play.of(OpenStream) == [OpenStream("cvm_9")]


def test_a_stream_ends_with_its_transition(play):
    play = play(watched(1, busy=True))
    play.tell(RowsChanged((watched(1),)))
    assert play.of(CloseStream) == [CloseStream("cvm_1")]


def test_a_followed_cvm_keeps_its_stream_until_nobody_follows(play):
    play = play(watched(1))
    play.tell(Follow("cvm_1"))
    play.advance(100)
    assert play.of(CloseStream) == []
    play.tell(Follow("cvm_1", on=False))
    assert play.of(CloseStream) == [CloseStream("cvm_1")]


def test_a_refused_stream_turns_to_polling_and_does_not_fight(clock):
    play = Play(clock, [watched(i, busy=True) for i in range(4)], sweep=1000, resync=1000)
    full = RateLimited(429, "5 streams are open")
    play.answer[OpenStream] = fails(full)
    play.tell(Interest(held=True))
    opened = len(play.of(OpenStream))
    play.forget()
    play.advance(59)
    assert play.of(OpenStream) == []
    assert play.of(FetchList) == []
    assert {uuid for ask in play.of(FetchStatuses) for uuid in ask.uuids} == {
        f"uuid-{i}" for i in range(4)
    }
    assert opened <= 4
    play.forget()
    play.advance(600)
    assert 1 <= len(play.of(OpenStream)) <= 4


def test_who_is_refused_gives_one_place_back(clock):
    play = Play(clock, [watched(i, busy=True) for i in range(4)])
    places = iter([True, True, False])
    full = fails(RateLimited(429, "5 streams are open"))
    play.answer[OpenStream] = lambda a: StreamOpened(a.cvm_id) if next(places, False) else full(a)
    play.tell(Interest(held=True))
    assert len(play.of(CloseStream)) >= 1
    assert len(play.machine.streams) <= 1


def test_a_refused_stream_does_not_make_the_fleet_look_unhealthy(clock):
    play = Play(clock, [watched(1, busy=True)])
    play.answer[OpenStream] = fails(RateLimited(429, "5 streams are open"))
    play.tell(Interest(held=True))
    assert play.health == "live"


def test_a_stream_whose_time_is_over_is_opened_again(play):
    play = play(watched(1, busy=True))
    play.advance(400)
    play.forget()
    play.tell(StreamClosed("cvm_1", CloseReason.ENDED))
    play.advance(2)
    assert play.of(OpenStream) == [OpenStream("cvm_1")]


def test_streams_that_end_at_once_back_off_and_turn_to_polling(clock):
    play = Play(clock, [watched(1, busy=True)], sweep=1000, resync=1000)

    def opens(action):
        play.tell(StreamOpened(action.cvm_id))
        return StreamClosed(action.cvm_id, CloseReason.ENDED)

    play.answer[OpenStream] = opens
    play.tell(Interest(held=True))
    play.advance(100)
    assert len(play.of(OpenStream)) == 3
    assert len(play.of(FetchStatuses)) >= 15


def test_the_wait_a_stream_asks_for_is_kept(play):
    play = play(watched(1, busy=True))
    play.forget()
    play.tell(StreamClosed("cvm_1", CloseReason.ENDED, retry=20.0))
    play.advance(19)
    assert play.of(OpenStream) == []
    play.advance(2)
    assert len(play.of(OpenStream)) == 1


def test_where_no_stream_comes_through_none_is_tried_for_ten_minutes(clock):
    play = Play(clock, [watched(i, busy=True) for i in range(4)])
    play.answer[OpenStream] = fails(DecodeError("the answer is text/html, not an event stream"))
    play.tell(Interest(held=True))
    assert "asked for instead" in play.of(SetHealth)[-1].cause
    assert play.health == "live"
    play.forget()
    play.advance(590)
    assert play.of(OpenStream) == []


@pytest.mark.parametrize(
    "end",
    [
        StreamClosed("cvm_1", CloseReason.FAILED, Failure.of(MISSING)),
        StreamClosed("cvm_1", CloseReason.GONE),
    ],
    ids=["404", "deleted"],
)
def test_a_404_row_is_confirmed_by_a_list_before_it_goes(play, end):
    play = play(watched(1, busy=True), resync=1000.0)
    play.advance(10)
    play.forget()
    play.rows = []
    play.answer[FetchList] = lambda _: RowsChanged((), gone=("cvm_1",))
    play.tell(end)
    assert len(play.of(FetchList)) == 1
    play.advance(30)
    assert play.of(OpenStream) == []
    assert play.of(FetchStatuses) == []


def test_a_404_of_a_listed_cvm_makes_no_loop(play):
    play = play(watched(1, busy=True), resync=1000.0)
    play.answer[OpenStream] = fails(MISSING)
    play.advance(10)
    play.forget()
    play.tell(StreamClosed("cvm_1", CloseReason.FAILED, Failure.of(MISSING)))
    play.advance(200)
    assert len(play.of(FetchList)) <= 2
    assert len(play.of(OpenStream)) <= 2
    assert "gone, or not yours" in play.of(MarkFailed)[0].why


# --- sleep ---------------------------------------------------------------------------------------


def test_after_a_sleep_there_is_one_relist_and_no_burst(play):
    play = play(watched(1, busy=True), watched(2, node="b"))
    play.forget()
    play.clock.jump(8 * 3600)
    play.tell(Woke())
    play.tell(Tick())
    assert len(play.of(FetchList)) == 1
    assert len(play.of(OpenStream)) == 1
    assert len(play.of(FetchStatuses)) == 2
    assert isinstance(play.did[0][1], AbortAll)
    assert [show.state for show in play.of(SetHealth)] == ["catching up", "live"]


def test_a_sleep_while_parked_asks_for_nothing(clock):
    play = Play(clock, [watched(1)])
    play.tell(Woke())
    assert play.requests == []


@pytest.mark.parametrize(
    ("times", "slept"),
    [
        ((5, 5, 5), False),
        ((5, 8 * 3600, 5), True),  # the monotonic clock stood still
        ((8 * 3600, 8 * 3600, 5), True),  # it did not
        ((5, -3600, 5), False),  # the wall clock was set back
        ((600, 600, 600), False),
    ],
)
def test_a_sleep_is_distinguished_from_a_clock_that_is_set(clock, times, slept):
    passed, wall, waited = times
    detector, now = SleepDetector(), clock.now()
    assert not detector.woke(100.0, now, 0)
    woke = detector.woke(100.0 + passed, now + timedelta(seconds=wall), waited)
    assert woke == (now if slept else None)


# --- the thread ----------------------------------------------------------------------------------


def test_a_crash_is_shown_until_the_next_list_is_in(play):
    play = play(watched(1, busy=True))
    play.forget()
    play.answer[FetchList] = lambda _: None
    play.tell(Crashed("the background thread fell over (MemoryError: )"))
    assert play.health == "catching up"
    assert "MemoryError" in play.of(SetHealth)[-1].cause
    assert play.of(OpenStream) == play.of(OpenStream)[:1]
    play.tell(ListFetched(1))
    assert play.health == "live"


def test_a_second_crash_ends_it_until_somebody_asks(play):
    play = play(watched(1))
    play.tell(Crashed("fell over", final=True))
    assert play.machine.mode is Mode.BROKEN
    assert play.health == "offline"
    play.forget()
    play.tell(Touched())
    play.advance(3600)
    assert play.did == []
    play.tell(Refresh())
    assert play.health == "live"


# --- what is read from rows and errors -----------------------------------------------------------


@pytest.mark.parametrize(
    ("reported", "busy", "settling"),
    [
        (("running", False), False, False),
        (("Starting", False), True, False),
        (("starting", True), True, False),
        (("running", True), True, True),
        (("a-new-word", False), False, False),
        ((None, False), False, False),
    ],
)
def test_a_row_is_in_transition_by_its_status_or_its_progress(
    make_cvm, clock, reported, busy, settling
):
    status, in_progress = reported
    row = Row(
        cvm=make_cvm(1, node="prod5"),
        status=status,
        in_progress=in_progress,
        seen=Provenance(0.0, clock.now(), "list"),
    )
    assert WatchTarget.of(row) == WatchTarget(row.id, row.vm_uuid, "prod5", busy, settling)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (NO_KEY, FailureKind.KEY),
        (FORBIDDEN, FailureKind.DENIED),
        (TOO_MANY, FailureKind.SLOW_DOWN),
        (MISSING, FailureKind.MISSING),
        (NotTrustedError("certificate"), FailureKind.UNTRUSTED),
        (ConfigurationError("no certificates"), FailureKind.UNTRUSTED),
        (UnsafeRedirect("elsewhere"), FailureKind.UNTRUSTED),
        (DecodeError("no JSON"), FailureKind.NO_SENSE),
        (DeadlineExceeded("late"), FailureKind.LATE),
        (REFUSED, FailureKind.FAILED),
        (ServerError(503, "down"), FailureKind.FAILED),
        (ApiError(418, "teapot"), FailureKind.FAILED),
        (MemoryError(), FailureKind.FAILED),
    ],
)
def test_errors_are_sorted_by_what_to_do_about_them(error, kind):
    assert Failure.of(error).kind is kind
