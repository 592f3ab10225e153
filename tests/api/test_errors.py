"""The error tree, and the reading of every envelope of the service."""

import concurrent.futures
import json
import multiprocessing
import pickle
import re
from multiprocessing import resource_tracker

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cvm_notebook.api.errors import codes as error_codes
from cvm_notebook.api.errors import tree as errors
from cvm_notebook.api.errors.tree import (
    ApiError,
    AuthError,
    ConflictError,
    CvmError,
    DeadlineExceeded,
    DecodeError,
    InvalidInput,
    NotFoundError,
    RateLimited,
    ResourceError,
    ServerError,
    TargetUnreachable,
    TransportError,
    UnsafeRedirect,
    WatchTimeout,
    parse_retry_after,
)
from cvm_notebook.api.models.actions import CvmState, HashRequired
from cvm_notebook.text import clean_text

JSON = {"Content-Type": "application/json"}


def answer(status, body, headers=JSON, method="POST", path="/cvms"):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return ApiError.from_response(status, headers, content, method=method, path=path)


CLASSES = [
    (400, ApiError, ResourceError),
    (401, AuthError, AuthError),
    (403, AuthError, AuthError),
    (404, NotFoundError, NotFoundError),
    (409, ConflictError, ConflictError),
    (422, ApiError, ResourceError),
    (429, RateLimited, RateLimited),
    (465, ApiError, ResourceError),
    (500, ServerError, ServerError),
    (503, ServerError, ServerError),
]


@pytest.mark.parametrize(("status", "plain", "structured"), CLASSES)
def test_the_status_chooses_the_class_and_a_code_makes_it_a_resource_error(
    status, plain, structured
):
    without = answer(status, {"detail": "no"})
    assert isinstance(without, plain)
    assert not isinstance(without, ResourceError)
    assert without.error_code is None
    with_code = answer(status, {"error_code": "ERR-99-999", "message": "no"})
    assert isinstance(with_code, structured)
    assert isinstance(with_code, ResourceError)
    assert with_code.error_code == "ERR-99-999"


def test_an_app_id_conflict_is_both_a_resource_error_and_a_conflict():
    error = answer(409, {"error_code": "ERR-03-007", "message": "other hash"})
    assert isinstance(error, ResourceError)
    assert isinstance(error, ConflictError)
    assert error.error_code == error_codes.CVM_APP_ID_CONFLICT


def test_a_structured_answer_is_kept_whole():
    error = answer(
        400,
        {
            "error_code": "ERR-02-004",
            "message": "not enough memory",
            "details": [{"field": "memory", "value": 4096, "message": "2048 left"}],
            "suggestions": ["Choose another node", "Ask for less"],
            "links": [{"url": "https://docs.phala.com/x", "label": "Docs"}],
            "request_id": "body-id",
        },
        {**JSON, "X-Request-ID": "header-id"},
    )
    assert (error.status, error.message, error.request_id) == (400, "not enough memory", "body-id")
    assert error.details == (("memory", 4096, "2048 left"),)
    assert error.detail("memory") == 4096
    assert error.links == (("https://docs.phala.com/x", "Docs"),)
    assert str(error) == (
        "POST /cvms: not enough memory. Choose another node. Ask for less. "
        "[ERR-02-004, HTTP 400, request body-id]"
    )


def test_an_envelope_inside_detail_is_read_as_well():
    error = answer(404, {"detail": {"error_code": "ERR-03-001", "message": "no such CVM"}})
    assert isinstance(error, NotFoundError)
    assert (error.error_code, error.message) == ("ERR-03-001", "no such CVM")


def test_a_422_names_fields_and_does_not_echo_what_was_sent():
    wrong = {"type": "x", "loc": ["body", "env", 0], "msg": "too short", "input": "phak_SENTINEL"}
    error = answer(422, {"detail": [wrong, {"loc": ["name"], "msg": "missing"}]})
    assert "env.0: too short; name: missing" in str(error)
    assert "SENTINEL" not in str(error) + repr(error.__dict__)


def test_an_oauth_device_answer_is_read():
    error = answer(400, {"error": "slow_down", "error_description": "Too fast"})
    assert error.message == "Too fast"
    assert answer(400, {"error": "authorization_pending"}).message == "authorization_pending"


@pytest.mark.parametrize(
    "body",
    [
        {
            "error_code": "ERR-01-005",
            "message": "register first",
            "details": [
                {"field": "compose_hash", "value": "ab" * 32},
                {"field": "app_id", "value": "cd" * 20},
                {"field": "onchain_status", "value": {"is_allowed": False}},
                {"field": "kms_info", "value": "not an object"},
                {"field": "status", "value": "forged"},
            ],
        },
        {"message": "register first", "compose_hash": "ab" * 32, "app_id": "cd" * 20},
    ],
)
def test_both_shapes_of_a_465_become_a_result(body):
    required = HashRequired.from_error(answer(465, body))
    assert (required.compose_hash, required.app_id) == ("ab" * 32, "cd" * 20)
    assert (required.status, required.kms_info) == ("precondition_required", None)
    if "details" in body:
        assert required.onchain_status == {"is_allowed": False}


@pytest.mark.parametrize("status", [400, 404, 466, 467, 468, 500, 502])
def test_html_is_named_and_never_shown(status):
    html = b"<html><script>alert('x')</script> nginx"
    error = answer(
        status, html, {"Content-Type": "text/html; charset=utf-8", "x-request-id": "7f3a"}
    )
    assert "answered with text/html instead of JSON" in str(error)
    assert "nginx" not in str(error) + repr(error.__dict__)
    assert f"HTTP {status}, request 7f3a" in str(error)


@pytest.mark.parametrize("status", [465, 466, 467, 468])
def test_the_hash_statuses_speak_without_a_body(status):
    error = answer(status, b"", {})
    assert "hash" in str(error) or "transaction" in str(error)


@pytest.mark.parametrize("code", sorted(error_codes.CODES))
def test_every_code_has_a_name_a_sentence_and_a_next_step(code):
    known = error_codes.CODES[code]
    assert getattr(error_codes, known.name) == code
    error = answer(400, {"error_code": code})
    assert known.sentence in str(error)
    assert known.next_step in str(error)
    assert known.sentence.endswith(".")
    assert known.next_step.endswith(".")


def test_no_code_has_two_names():
    names = {n for n in vars(error_codes) if n.isupper() and not n.startswith("_")} - {"CODES"}
    assert names == {code.name for code in error_codes.CODES.values()}
    assert len(error_codes.CODES) == 8 + 16 + 10 + 3 + 2 + 2


def test_an_unknown_code_falls_back_to_the_status():
    error = answer(404, {"error_code": "ERR-77-001"})
    assert "There is no such thing here" in str(error)


HOSTILE = "a\x1b[31mred\x1b]8;;http://e\x07b\r\nc\x00\u202ed\u200b\x9b1m"


def test_text_of_the_service_is_cleaned_and_clipped():
    assert clean_text(HOSTILE) == "aredb cd"
    assert clean_text("x" * 2000, 50) == "x" * 49 + "…"
    error = answer(
        400,
        {
            "error_code": HOSTILE * 50,
            "message": HOSTILE * 200,
            "suggestions": [HOSTILE] * 100,
            "details": [{"field": HOSTILE, "message": HOSTILE}] * 1000,
            "request_id": HOSTILE * 90,
        },
    )
    assert str(error).isprintable()
    assert len(str(error)) < 1500
    assert len(error.details) <= 20
    assert len(error.suggestions) <= 20


@pytest.mark.parametrize(
    "url",
    [
        "http://docs.phala.com",
        "javascript:alert(1)",
        "data:text/html,x",
        "https://user@evil.example",
        "https://evil.example/ x",
        "https://ev\u0456l.example",
        "https:///nohost",
        "https://[",
        "https://x.example/" + "a" * 600,
        5,
        None,
    ],
)
def test_only_plain_https_links_are_kept(url):
    assert answer(400, {"message": "no", "links": [{"url": url, "label": "x"}]}).links == ()


def test_the_query_of_a_request_is_not_kept():
    error = answer(404, b"", {}, path="/cvms/a/commit-update?token=SENTINEL")
    assert error.path == "/cvms/a/commit-update"
    assert TransportError("No answer", path="/x?token=SENTINEL").path == "/x"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ("", None),
        ("NaN", None),
        ("inf", None),
        ("soon", None),
        ("3", 3.0),
        (" 2.5 ", 2.5),
        ("-5", 0.0),
        ("9" * 100, 315360000.0),
        ("Mon, 01 Jan 2024 00:00:10 GMT", 10.0),
        ("Monday, 01-Jan-24 00:00:10 GMT", 10.0),
        ("Sun, 31 Dec 2023 23:59:00 GMT", 0.0),
        ("Mon, 99 Jan 2024 00:00:10 GMT", None),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 315360000.0),
        ("\u0663", None),
        ("x" * 500, None),
    ],
)
def test_retry_after_is_seconds_in_both_forms(value, expected):
    assert parse_retry_after(value, now=1704067200.0) == expected


def test_a_rate_limit_says_how_long_to_wait():
    error = answer(429, {"detail": "slow down"}, {**JSON, "retry-after": "7"})
    assert error.retry_after == 7.0
    assert "Wait 7 s" in str(error)


EVERY = [
    CvmError("It broke", hint="Mend it."),
    TransportError("No answer", sent=False, method="GET", path="/cvms", attempts=3),
    DeadlineExceeded("No answer in 30 s", hint="Try again.", method="POST", path="/cvms"),
    UnsafeRedirect("It points elsewhere"),
    DecodeError("It cannot be read", where="GET /cvms", path="$.items[3].status"),
    InvalidInput("memory", "2 is too little", "Give 2048."),
    WatchTimeout("Not reached", state=CvmState(status="starting"), target="running"),
    TargetUnreachable("It failed", state=CvmState(status="error"), target="running"),
    answer(409, {"error_code": "ERR-03-007", "message": "no", "request_id": "r"}),
    answer(503, b"", {"retry-after": "3"}),
]


@pytest.mark.parametrize("error", EVERY, ids=lambda e: type(e).__name__)
def test_each_error_survives_a_pickle(error):
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert (str(again), again.args, again.__dict__) == (str(error), error.args, error.__dict__)


@pytest.fixture(scope="module")
def _tracker():
    """What multiprocessing keeps open for good, once it has spawned a process."""
    resource_tracker.ensure_running()


@pytest.mark.usefixtures("_tracker")
def test_an_error_crosses_a_process_pool():
    body = b'{"error_code": "ERR-03-007", "message": "no"}'
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        future = pool.submit(ApiError.from_response, 409, JSON, body, method="POST", path="/cvms")
        error = future.result(timeout=60)
    assert isinstance(error, ConflictError)
    assert error.error_code == "ERR-03-007"


def test_the_timeouts_are_builtin_timeouts_and_bad_input_a_value_error():
    assert issubclass(WatchTimeout, TimeoutError)
    assert issubclass(DeadlineExceeded, TimeoutError)
    assert issubclass(InvalidInput, ValueError)
    assert not issubclass(TransportError, TimeoutError)


@pytest.mark.parametrize(
    "kind",
    [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, Exception)],
)
def test_the_tree_has_one_root(kind):
    assert issubclass(kind, CvmError)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4)
    ),
    max_leaves=12,
)
ENVELOPES = st.dictionaries(
    st.sampled_from(
        [
            "detail",
            "message",
            "error_code",
            "details",
            "suggestions",
            "links",
            "request_id",
            "error",
        ]
    ),
    JSON_VALUES,
).map(lambda body: json.dumps(body).encode())


@settings(deadline=None)
@given(
    status=st.integers(300, 599),
    headers=st.dictionaries(
        st.sampled_from(["Retry-After", "Content-Type", "X-Request-ID"]), st.text(max_size=40)
    ),
    body=st.binary(max_size=200) | ENVELOPES,
)
@example(status=500, headers={}, body=b"[" * 100_000)
@example(status=500, headers={}, body=b'{"a":' * 50_000)
@example(status=400, headers=JSON, body=b'{"message":' + b"1" * 5000 + b"}")
@example(status=400, headers=JSON, body=b'{"message":"\\ud800"}')
@example(status=400, headers=JSON, body=b'{"message":NaN}')
@example(status=400, headers=JSON, body=b'{"message":"\xff"}')
@example(status=400, headers=JSON, body=b'{"message":"' + b"x" * 2_000_000 + b'"}')
def test_no_answer_makes_the_reading_fail(status, headers, body):
    error = answer(status, body, headers, method="GET", path="/cvms/x")
    assert isinstance(error, ApiError)
    assert error.status == status
    assert str(error).isprintable()
    assert re.search(rf"\bHTTP {status}\b", str(error))
    assert len(str(error)) < 1500
    pickle.loads(pickle.dumps(error))
