"""Pages side by side: order, window, errors and the end of the threads."""

import threading

import pytest

from cvm_notebook.api.http.prefetch import PageFetcher, window_for


class Source:
    """Pages that come when the test lets them, in any order."""

    def __init__(self, slowed=()):
        self.slowed = set(slowed)
        self.asked = []
        self.changed = threading.Condition()
        self.free = set()

    def fetch(self, page):
        with self.changed:
            self.asked.append(page)
            self.changed.notify_all()
            self.changed.wait_for(lambda: page in self.free or 0 in self.free, timeout=30)
        return f"page {page}", page in self.slowed

    def let(self, *pages):
        with self.changed:
            self.free.update(pages)
            self.changed.notify_all()

    def wait_for(self, pages):
        with self.changed:
            assert self.changed.wait_for(lambda: set(self.asked) >= set(pages), timeout=30)


def test_pages_come_in_order_whatever_order_they_arrive_in():
    source = Source()
    pages = iter(PageFetcher(source.fetch, 2, 6, window=5))
    first = []
    taker = threading.Thread(target=lambda: first.extend(pages))
    taker.start()
    source.wait_for([2, 3, 4, 5, 6])
    for page in (6, 4, 3, 5, 2):
        source.let(page)
    taker.join(30)
    assert first == [f"page {n}" for n in (2, 3, 4, 5, 6)]


def test_no_more_than_the_window_is_in_flight():
    source = Source()
    pages = iter(PageFetcher(source.fetch, 1, 100, window=3))
    taken = threading.Thread(target=lambda: next(pages))
    taken.start()
    source.wait_for([1, 2, 3])
    assert sorted(source.asked) == [1, 2, 3]
    source.let(1)
    taken.join(30)
    source.wait_for([4])
    assert sorted(source.asked) == [1, 2, 3, 4]
    pages.close()
    source.let(0)


def test_the_window_halves_when_the_service_says_slow_down():
    source = Source(slowed=[1])
    pages = iter(PageFetcher(source.fetch, 1, 100, window=8))
    taken = threading.Thread(target=lambda: [next(pages) for _ in range(8)])
    taken.start()
    source.wait_for(range(1, 9))
    source.let(*range(1, 9))
    taken.join(30)
    source.wait_for(range(1, 13))
    assert sorted(source.asked) == list(range(1, 13))  # 8 taken, and a window of 4
    pages.close()
    source.let(0)


def test_an_error_is_raised_where_its_page_would_have_come():
    def fetch(page):
        if page == 3:
            raise RuntimeError("no page 3")
        return page, False

    pages = iter(PageFetcher(fetch, 1, 9, window=4))
    assert [next(pages), next(pages)] == [1, 2]
    with pytest.raises(RuntimeError, match="no page 3"):
        next(pages)


def page_threads():
    return [one for one in threading.enumerate() if one.name.startswith("cvm-page")]


def test_leaving_early_ends_the_threads():
    pages = iter(PageFetcher(lambda page: (page, False), 1, 1000, window=4))
    assert next(pages) == 1
    assert page_threads()
    pages.close()
    for thread in page_threads():
        thread.join(30)
    assert not page_threads()


def test_no_pages_start_no_thread():
    assert list(PageFetcher(lambda page: (page, False), 2, 1, window=4)) == []
    assert not page_threads()


@pytest.mark.parametrize(
    ("wait", "busy", "window"),
    [(0.002, 0.002, 2), (0.052, 0.002, 16), (0.010, 0.002, 6), (1.0, 0.0, 16)],
)
def test_the_window_keeps_the_reader_busy(wait, busy, window):
    assert window_for(wait, busy, 16) == window
