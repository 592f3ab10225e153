"""Figures: what one sample tells of, how long a CVM was idle, and what is kept of it."""

import math
from datetime import UTC, datetime

import pytest
from helpers import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from cvm_notebook.api.models.guest import SystemInfo
from cvm_notebook.frames.metrics import metrics_frame, plot_metrics
from cvm_notebook.live.columns import SEARCHED, Context
from cvm_notebook.live.query import QueryError, search
from cvm_notebook.live.store.figures import FRESH, FigureHistory, Measured, Sample
from cvm_notebook.live.store.records import Gap, Health
from cvm_notebook.live.store.store import FleetStore
from cvm_notebook.live.store.subscriptions import _with_gap

EPOCH = 1_790_000_000.0
NOW = datetime(2026, 6, 23, 12, 0, tzinfo=UTC)


def sample(at, cpu, *, five=None, fifteen=None, uptime=10_000_000.0, memory=0.5, cvm="a"):
    loads = (cpu, cpu if five is None else five, cpu if fifteen is None else fifteen)
    return Sample(cvm, EPOCH + at, at, loads, memory, uptime)


def history(*samples):
    made = FigureHistory()
    for one in samples:
        made.take([one])
    return made


def test_a_guest_counts_loads_in_hundredths_and_of_all_its_cpus():
    info = SystemInfo(loadavg_one=50.0, num_cpus=4, total_memory=100, used_memory=25)
    assert (info.load(), info.cpu(), info.memory) == (0.5, 0.125, 0.25)
    assert SystemInfo(total_memory=100, available_memory=40).memory == 0.6


@pytest.mark.parametrize(
    "fields",
    [
        {"loadavg_one": math.nan, "num_cpus": 1},
        {"loadavg_one": -1.0, "num_cpus": 1},
        {"loadavg_one": math.inf, "num_cpus": 1},
        {"loadavg_one": 5.0, "num_cpus": 0},
        {"loadavg_one": 5.0},
        {"num_cpus": 2},
        {"total_memory": 0, "used_memory": 0},
    ],
)
def test_what_is_no_figure_is_none(fields):
    info = SystemInfo(**fields)
    assert info.cpu() is None
    assert info.memory is None


def test_idleness_is_as_long_as_it_was_seen_without_a_break():
    made = history(*(sample(at, 0.02) for at in (0, 30, 60, 90)))
    assert made.idle_for("a", 0.1, 100.0) == 90.0
    assert made.idle_for("a", 0.05, 100.0) == 90.0
    assert made.idle_for("a", 0.01, 100.0) == 0.0


def test_one_look_proves_no_idleness():
    assert history(sample(0, 0.0)).idle_for("a", 0.1, 0.0) == 0.0


def test_work_ends_idleness_and_it_begins_anew_after_it():
    made = history(sample(0, 0.0), sample(30, 0.9), sample(60, 0.05), sample(90, 0.05))
    assert made.idle_for("a", 0.1, 90.0) == 60.0
    assert history(sample(0, 0.0), sample(30, 0.9)).idle_for("a", 0.1, 30.0) == 0.0


@pytest.mark.parametrize("below", [0.1, 0.2])
def test_a_gap_is_judged_by_the_average_that_reaches_over_it(below):
    quiet = history(sample(0, 0.0), sample(240, 0.0, five=0.05))
    worked = history(sample(0, 0.0), sample(240, 0.0, five=0.5))
    long_ago = history(sample(0, 0.0), sample(600, 0.0, five=0.0, fifteen=0.5))
    assert quiet.idle_for("a", below, 240.0) == 240.0
    assert worked.idle_for("a", below, 240.0) == 0.0
    assert long_ago.idle_for("a", below, 600.0) == 0.0


@pytest.mark.parametrize("below", [0.1, 0.2])
def test_what_no_average_reaches_over_was_not_observed(below):
    made = history(sample(0, 0.0), sample(30, 0.0), sample(2_000, 0.0), sample(2_030, 0.0))
    assert made.idle_for("a", below, 2_030.0) == 30.0


def test_a_machine_that_slept_has_seen_nothing_meanwhile():
    """Its monotonic clock stood still; the wall clock did not."""
    slept = sample(60, 0.0)._replace(at=EPOCH + 7_200)
    assert history(sample(0, 0.0), sample(30, 0.0), slept).idle_for("a", 0.1, 60.0) == 0.0


@pytest.mark.parametrize("below", [0.1, 0.2])
def test_a_boot_is_work(below):
    made = history(sample(0, 0.0), sample(30, 0.0), sample(60, 0.0, uptime=20.0))
    assert made.idle_for("a", below, 60.0) == 0.0


@pytest.mark.parametrize("below", [0.1, 0.2])
def test_where_the_guest_does_not_say_nobody_knows_that_it_is_idle(below):
    made = history(sample(0, 0.0), sample(30, None), sample(60, 0.0))
    assert made.idle_for("a", below, 60.0) == 30.0


def test_work_counts_since_the_last_gap_and_not_before_it():
    idle, busy = (0.0, 0.0), (0.0, 0.5)
    assert not history(*(sample(30 * n, load) for n, load in enumerate(idle))).was_busy("a", 0.1)
    assert history(*(sample(30 * n, load) for n, load in enumerate(busy))).was_busy("a", 0.1)
    assert history(sample(0, 0.5)).was_busy("a", 0.1)
    gap = history(sample(0, 0.5), sample(30, 0.5), sample(2_000, 0.0), sample(2_030, 0.0))
    assert not gap.was_busy("a", 0.1)
    assert not gap.was_busy("nobody", 0.1)


def test_old_figures_are_none():
    made = history(sample(0, 0.0), sample(30, 0.0))
    assert made.idle_for("a", 0.1, 30.0 + FRESH) == 30.0
    assert made.idle_for("a", 0.1, 31.0 + FRESH) is None
    assert made.idle_for("nobody", 0.1, 0.0) is None


def test_a_late_sample_of_the_past_changes_nothing():
    made = history(sample(30, 0.9), sample(0, 0.0))
    assert len(made.points("a")) == 1
    assert made.latest["a"].cpu == 0.9


def test_a_quarter_of_an_hour_is_kept_in_full_and_a_day_in_five_minutes():
    made = history(*(sample(30.0 * n, 0.01 * (n % 2)) for n in range(2 * 60 * 30)))
    points = made.points("a")
    newest = points[-1].received
    full = [p for p in points if newest - p.received <= 900]
    thin = [p for p in points if newest - p.received > 900]
    assert len(full) == 31
    assert len(thin) == pytest.approx(86_400 / 300 - 3, abs=2)
    assert {p.samples for p in thin[1:-1]} == {10.0}
    assert thin[5].cpu == pytest.approx(0.005)
    assert newest - points[0].received <= 86_400
    assert made.idle_for("a", 0.2, newest) == pytest.approx(86_400, rel=0.01)
    assert made.idle_for("a", 0.1, newest) == newest  # which is counted, and needs no history


def test_of_no_more_than_a_thousand_is_anything_kept():
    made = FigureHistory()
    made.take(sample(0, 0.0, cvm=f"cvm-{n}") for n in range(1_001))
    assert len(made.latest) == 1_000
    assert made.points("cvm-0") == ()
    assert made.points("cvm-1000")


SAMPLES = st.lists(
    st.tuples(
        st.sampled_from([10.0, 30.0, 60.0, 200.0, 700.0, 1_500.0]),
        st.sampled_from([0.0, 0.05, 0.15, 0.9, None]),
        st.sampled_from([5.0, 1e7]),
    ),
    min_size=1,
    max_size=60,
)


@settings(max_examples=examples(200), deadline=None)
@given(SAMPLES, st.sampled_from([0.1, 0.05, 0.2]))
def test_nobody_is_idle_for_longer_than_the_samples_say(steps, below):
    """The same, slowly: walk back over the samples; five-minute points may only say less."""
    made, at, seen = FigureHistory(), 0.0, []
    for gap, cpu, uptime in steps:
        at += gap
        one = sample(at, cpu, uptime=uptime)
        covers, highest = one.since(gap if seen else None)
        seen.append((at, covers, highest))
        made.take([one])
    began = None
    for moment, covers, highest in reversed(seen):
        if not highest < below:
            break
        began = moment - covers
        if not covers:
            break
    expected = 0.0 if began is None else at - began
    found = made.idle_for("a", below, at)
    assert found <= expected + 1e-6
    assert found == pytest.approx(expected, abs=1e-6) or expected > 900


# --- in the store, and what is read from it -----------------------------------------------------


@pytest.fixture
def store(clock, make_cvm):
    made = FleetStore(clock)
    cvms = [make_cvm(n, public_sysinfo=n != 3) for n in range(4)]
    made.replace([*cvms, make_cvm(4, status="stopped")], received=clock.monotonic())
    return made


def sample_now(store, clock, number, cpu, **more):
    cvm_id = f"cvm_{number:08d}"
    at, received = clock.now().timestamp(), clock.monotonic()
    return Sample(cvm_id, at, received, (cpu, cpu, cpu), more.get("memory", 0.4), 1e7)


def cells(store, name):
    context = Context(store.snapshot())
    return [SEARCHED[name].value(row, context) for row in context.rows]


def test_figures_change_no_row_and_no_revision(store, clock):
    before, events = store.snapshot(), []
    hook = store.attach(events.append, figures=events.append)
    store.measure([sample_now(store, clock, 0, 0.5)])
    after = store.snapshot()
    assert after.revision == before.revision
    assert all(a is b for a, b in zip(before.rows, after.rows, strict=True))
    assert [one.cvm_ids for one in events] == [("cvm_00000000",)]
    assert not before.figures, "a snapshot stays as it was"
    assert after.figures["cvm_00000000"].cpu == 0.5
    hook.close()


def test_where_too_much_waits_for_an_observer_it_is_reported_once_whose_figures_are_new():
    events = [Measured(("a", "b")), Health("live", NOW), Measured(("b", "c")), Gap(3, 5, 7)]
    assert list(_with_gap(events)) == [Gap(3, 7, 7), Health("live", NOW), Measured(("a", "b", "c"))]


def test_the_columns_say_what_is_known_of_those_that_run(store, clock):
    ids = [f"cvm_{n:08d}" for n in range(5)]
    store.measure(
        [sample_now(store, clock, n, 0.05) for n in (0, 4)],
        private={ids[3]: "it is private"},
        failed={ids[1]: "no answer"},
    )
    clock.jump(30)
    store.measure([sample_now(store, clock, 0, 0.05)])
    assert [None if v is None else float(v) for v in cells(store, "cpu")] == [0.05, *[None] * 4]
    assert float(cells(store, "idle_for")[0]) == 30
    assert cells(store, "metrics") == ["known", "failed", None, "private", None]


def test_what_is_old_is_not_shown_as_the_present(store, clock):
    store.measure([sample_now(store, clock, 0, 0.05)])
    clock.jump(FRESH + 1)
    assert cells(store, "cpu")[0] is None
    assert cells(store, "idle_for")[0] is None


def test_a_cvm_that_is_gone_is_forgotten(store, clock, make_cvm):
    store.measure([sample_now(store, clock, 0, 0.05), sample_now(store, clock, 1, 0.05)])
    clock.jump(1)
    store.replace([make_cvm(1)], received=clock.monotonic())
    store.measure([sample_now(store, clock, 1, 0.05)])
    assert set(store.snapshot().figures) == {"cvm_00000001"}
    assert store.figures.points("cvm_00000000") == ()


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("cpu < 10%", ["web-0"]),
        ("cpu < 0.1", ["web-0"]),
        ("cpu >= 10 %", ["web-1", "web-2"]),
        ("cpu >= '10 %'", ["web-1", "web-2"]),
        ("cpu > 100%", ["web-2"]),
        ("cpu > 10", QueryError),
        ("cpu > much", QueryError),
        ("idle_for >= 30s and mem < 50%", ["web-0"]),
        ("idle_for > 1d", []),
        ("idle_for > 10%", QueryError),
        ("metrics = private", ["web-3"]),
        ("cpu is null and status = running", ["web-3"]),
        ("cpu < 10% order by cpu desc", ["web-0"]),
    ],
)
def test_the_search_knows_shares_and_lengths_of_time(store, clock, text, names):
    store.measure([sample_now(store, clock, n, cpu) for n, cpu in enumerate((0.01, 0.5, 1.2))])
    clock.jump(30)
    store.measure(
        [sample_now(store, clock, n, cpu) for n, cpu in enumerate((0.01, 0.5, 1.2))],
        private={"cvm_00000003": "it is private"},
    )
    if names is QueryError:
        with pytest.raises(QueryError):
            search(text)
    else:
        found = [row.name for row in search(text).rows(store.snapshot())]
        assert found == names


def test_the_error_says_how_a_share_is_written():
    with pytest.raises(QueryError, match="10%"):
        search("cpu < 10")


# --- the frame, and the picture ------------------------------------------------------------------

DTYPES = {
    "name": "string",
    "cpu": "Float64",
    "cpu_highest": "Float64",
    "memory": "Float64",
    "disk": "Float64",
    "observed_s": "Float64",
}


@pytest.mark.parametrize("samples", [0, 3])
def test_the_frame_has_one_schema(store, clock, samples):
    for _ in range(samples):
        store.measure([sample_now(store, clock, 0, 0.25), sample_now(store, clock, 1, None)])
        clock.jump(30)
    frame = metrics_frame(store)
    assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == DTYPES
    assert frame.index.names == ["cvm_id", "at"]
    assert str(frame.index.levels[1].dtype) == "datetime64[us, UTC]"
    assert len(frame) == 2 * samples
    if samples:
        first = frame.loc["cvm_00000000"]
        assert list(first["cpu"]) == [0.25] * 3
        assert list(first["observed_s"]) == [0.0, 30.0, 30.0]
        assert first.index[0].to_pydatetime() == datetime(2026, 6, 23, 12, 0, tzinfo=UTC)
        assert frame.loc["cvm_00000001", "cpu"].isna().all()
        assert frame.loc["cvm_00000001", "cpu_highest"].isna().all()


def test_a_window_is_as_far_back_as_is_asked(store, clock):
    for _ in range(10):
        store.measure([sample_now(store, clock, 0, 0.25)])
        clock.jump(30)
    assert len(metrics_frame(store, "60s")) == 2
    assert len(metrics_frame(store, "15m")) == 10


def test_the_picture_has_a_line_each_and_none_where_nobody_looked(store, clock):
    for pause in (30, 30, 3_600, 30):
        store.measure([sample_now(store, clock, 0, 0.5), sample_now(store, clock, 1, 0.1)])
        clock.jump(pause)
    ax = plot_metrics(metrics_frame(store, "24h"))
    first, second = ax.lines
    assert [line.get_label().strip() for line in (first, second)] == ["web-0", "web-1"]
    values = first.get_ydata()
    assert [v for v in values if not math.isnan(v)] == [50.0] * 2  # the first three in one
    assert sum(map(math.isnan, values)) == 1
    assert "CPU" in ax.get_title(loc="left")
    memory = plot_metrics(metrics_frame(store, "24h"), of="memory", limit=1)
    assert "1 of 2 CVMs shown" in memory.get_title(loc="left")


def test_nothing_measured_is_a_picture_that_says_so(store):
    ax = plot_metrics(metrics_frame(store))
    assert not ax.lines
    assert "no history yet" in {text.get_text() for text in ax.texts}
