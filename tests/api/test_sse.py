"""Server-sent events: the rules of the WHATWG standard, 9.2, and any cutting of the bytes."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvm_notebook.api.errors.tree import DecodeError
from cvm_notebook.api.http.sse import MAX_EVENT_BYTES, EventReader, SseEvent

E = SseEvent

RULES = {
    "one event": (b"data: a\n\n", [E("message", "a")]),
    "a name": (b"event: state\ndata: a\n\n", [E("state", "a")]),
    "an empty name is message": (b"event:\ndata: a\n\n", [E("message", "a")]),
    "a name does not outlive its event": (
        b"event: x\ndata: a\n\ndata: b\n\n",
        [E("x", "a"), E("message", "b")],
    ),
    "data lines are joined": (b"data: a\ndata: b\ndata: c\n\n", [E("message", "a\nb\nc")]),
    "empty data lines are kept": (b"data: a\ndata\ndata: b\n\n", [E("message", "a\n\nb")]),
    "data without a colon is an empty line": (b"data\n\n", [E("message", "")]),
    "two empty lines of data are one newline": (b"data\ndata\n\n", [E("message", "\n")]),
    "no data, no event": (b"event: x\n\n", []),
    "one space after the colon is dropped": (b"data:  a\n\n", [E("message", " a")]),
    "no space after the colon is fine": (b"data:a\n\n", [E("message", "a")]),
    "a tab after the colon is kept": (b"data:\ta\n\n", [E("message", "\ta")]),
    "a colon in the value is kept": (b"data: a:b: c\n\n", [E("message", "a:b: c")]),
    "comments are ignored": (b": hi\ndata: a\n:\n: there\n\n", [E("message", "a")]),
    "a block of comments is no event": (b": ping\n\n: ping\n\ndata: a\n\n", [E("message", "a")]),
    "unknown fields are ignored": (b"foo: 1\ndata: a\nData: b\n data: c\n\n", [E("message", "a")]),
    "CR": (b"event: x\rdata: a\r\rdata: b\r\r", [E("x", "a"), E("message", "b")]),
    "CRLF": (b"event: x\r\ndata: a\r\n\r\ndata: b\r\n\r\n", [E("x", "a"), E("message", "b")]),
    "mixed line ends": (
        b"data: a\n\r\ndata: b\r\n\ndata: c\r\n\rdata: d\n\n",
        [E("message", x) for x in "abcd"],
    ),
    "many blank lines": (
        b"\n\n\ndata: a\n\n\n\n\ndata: b\n\n",
        [E("message", "a"), E("message", "b")],
    ),
    "one byte order mark is dropped": (b"\xef\xbb\xbfdata: a\n\n", [E("message", "a")]),
    "a second byte order mark is text": (
        b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\ndata: b\n\n",
        [E("message", "b")],
    ),
    "a byte order mark later is text": (b"data: a\n\n\xef\xbb\xbfdata: b\n\n", [E("message", "a")]),
    "half an event at the end is dropped": (b"data: a\n\ndata: b\n", [E("message", "a")]),
    "half a line at the end is dropped": (b"data: a\n\nda", [E("message", "a")]),
    "text is UTF-8": ("data: žluť 🦄\n\n".encode(), [E("message", "žluť 🦄")]),
    "broken UTF-8 is replaced": (b"data: a\xffb\n\n", [E("message", "a\ufffdb")]),
    "other separators are text": (
        "data: a\u2028b\x85c\x0bd\n\n".encode(),
        [E("message", "a\u2028b\x85c\x0bd")],
    ),
    "an id stays": (
        b"id: 1\ndata: a\n\ndata: b\n\n",
        [E("message", "a", "1"), E("message", "b", "1")],
    ),
    "an empty id resets": (
        b"id: 1\ndata: a\n\nid\ndata: b\n\n",
        [E("message", "a", "1"), E("message", "b", "")],
    ),
    "an id with NUL is ignored": (
        b"id: 1\ndata: a\n\nid: 2\0\ndata: b\n\n",
        [E("message", "a", "1"), E("message", "b", "1")],
    ),
    "an id without data counts": (b"id: 7\n\ndata: a\n\n", [E("message", "a", "7")]),
    "nothing": (b"", []),
}


def read(*chunks: bytes) -> list[SseEvent]:
    return list(EventReader().events(chunks))


@pytest.mark.parametrize(("stream", "events"), RULES.values(), ids=RULES.keys())
def test_rule_of_the_standard(stream, events):
    assert read(stream) == events


@pytest.mark.parametrize(("stream", "events"), RULES.values(), ids=RULES.keys())
def test_a_stream_in_single_bytes_gives_the_same_events(stream, events):
    assert read(*(stream[i : i + 1] for i in range(len(stream)))) == events


PIECES = st.lists(
    st.sampled_from(
        [
            b"data: x",
            b"data:",
            b"event: e",
            b"id: 3",
            b"id: \0",
            b"retry: 5",
            b": c",
            b"\n",
            b"\r",
            b"\r\n",
            b"\n\n",
            b"\xef\xbb\xbf",
            "é".encode(),
            b"\xff",
            b"junk",
        ]
    ),
    max_size=30,
).map(b"".join)


@given(stream=PIECES, cuts=st.lists(st.integers(0, 200), max_size=20))
def test_any_cutting_of_the_bytes_gives_the_same_events(stream, cuts):
    ends = sorted({min(c, len(stream)) for c in cuts} | {0, len(stream)})
    chunks = [stream[a:b] for a, b in pairwise(ends)]
    assert read(*chunks) == read(stream)


@pytest.mark.parametrize("end", [b"\n\n", b"\r\r", b"\r\n\r\n"])
def test_an_event_is_seen_when_its_last_byte_arrives(end):
    asked = []

    def chunks():
        for byte in b"data: now" + end + b"data: later":
            asked.append(byte)
            yield bytes([byte])

    assert next(EventReader().events(chunks())).data == "now"
    # the LF of a last CRLF is not waited for: the CR before it ended the line
    assert len(asked) <= len(b"data: now" + end)


@pytest.mark.parametrize(("value", "seconds"), [("5", 0.005), ("0", 0.0), ("99999999", 99999.999)])
def test_retry_is_taken_in_milliseconds(value, seconds):
    reader = EventReader()
    assert not list(reader.events([f"retry: {value}\n\n".encode()]))
    assert reader.retry == seconds


@pytest.mark.parametrize("value", ["abc", "-5", "1.5", "", "9" * 400, "٣"])
def test_retry_that_is_not_digits_is_ignored(value):
    reader = EventReader()
    list(reader.events([f"retry: {value}\n\n".encode()]))
    assert reader.retry is None


def test_a_megabyte_in_one_line_is_one_event():
    line = b"data: " + b"x" * 2**20
    chunks = [line[i : i + 1000] for i in range(0, len(line), 1000)]
    (event,) = read(*chunks, b"\n\n")
    assert len(event.data) == 2**20


@pytest.mark.parametrize("chunk", [b"x" * 2**16, b"data: x\n" * 2**13])
def test_an_event_without_end_is_refused(chunk):
    with pytest.raises(DecodeError, match="more than 8 MiB"):
        read(*[chunk] * (MAX_EVENT_BYTES // len(chunk) + 2))
