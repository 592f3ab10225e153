"""Which CVM is meant, from every form in which users say it."""

import uuid
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.api.models.actions import CvmAction, CvmState, Provision
from cvm_notebook.api.models.cvm import Cvm
from cvm_notebook.api.resources.cvm_ref import path_segment, split

UUID = "0b9e2b6e-6f0b-4d55-8f0e-0d0f3c1b7c11"
NAMES = ("id", "app_id", "uuid", "vm_uuid", "instance_id", "cvm_id", "name", "cvmId", "appId")


@pytest.mark.parametrize("field", NAMES)
def test_each_identifier_field_is_taken_in_a_mapping_and_as_a_keyword(field):
    assert split({field: "my-app"}, {}, "start_cvm") == ("my-app", {})
    assert split(None, {field: "my-app"}, "start_cvm") == ("my-app", {})


@pytest.mark.parametrize(
    ("ref", "expected"),
    [
        ("my-app", "my-app"),
        ("  my-app\n", "my-app"),
        (uuid.UUID(UUID), UUID),
        (Cvm(id="cvm_1", app_id="a" * 40), "cvm_1"),
        (CvmAction(id=0, vm_uuid=UUID), UUID),  # API version 2026-01-21
        (CvmState(instance_id="b" * 40), "b" * 40),
        (Provision(app_id="c" * 40), "c" * 40),
    ],
)
def test_a_string_a_uuid_and_a_model_name_a_cvm(ref, expected):
    assert split(ref, {}, "start_cvm") == (expected, {})


def test_keywords_join_the_mapping_and_camel_case_is_read():
    ref = {"cvmId": "my-app", "maxRetries": 3}
    assert split(ref, {"target": "running"}, "watch", {"target", "max_retries"}) == (
        "my-app",
        {"max_retries": 3, "target": "running"},
    )


def test_a_none_identifier_counts_as_not_given():
    assert split({"id": None, "name": "db-1"}, {"uuid": None}, "stop_cvm") == ("db-1", {})


def test_the_same_identifier_twice_is_no_contradiction():
    assert split({"id": "x1", "app_id": "x1"}, {"id": "x1"}, "stop_cvm") == ("x1", {})


def test_two_identifiers_that_disagree_are_refused_by_name():
    with pytest.raises(InvalidInput, match=r"id='one', name='two'"):
        split({"id": "one", "name": "two"}, {}, "stop_cvm")
    with pytest.raises(InvalidInput, match=r"cvm='cvm_1'"):
        split(Cvm(id="cvm_1"), {"name": "other"}, "stop_cvm")


def test_a_field_in_mapping_and_keyword_with_another_value_is_refused():
    with pytest.raises(InvalidInput, match="force: restart_cvm was given it twice"):
        split({"id": "x", "force": True}, {"force": False}, "restart_cvm", {"force"})
    with pytest.raises(InvalidInput, match="twice"):  # True == 1, yet they are not the same wish
        split({"id": "x", "force": True}, {"force": 1}, "restart_cvm", {"force"})


def test_an_unknown_field_is_refused_with_its_nearest():
    with pytest.raises(InvalidInput) as caught:
        split({"id": "x", "forse": True}, {}, "restart_cvm", {"force"})
    assert "forse" in str(caught.value)
    assert "Did you mean force?" in str(caught.value)
    with pytest.raises(InvalidInput, match="It takes app_id, cvm_id"):
        split({"zzzz": 1}, {}, "start_cvm")
    with pytest.raises(InvalidInput, match="takes no such field"):
        split({5: 1}, {}, "start_cvm")


@pytest.mark.parametrize(
    "ref", [None, {}, {"id": None}, "", "  ", 5, b"x", True, object(), [], {"id": 7}]
)
def test_what_names_no_cvm_is_refused_with_what_to_give(ref):
    with pytest.raises(InvalidInput, match="Give its id"):
        split(ref, {}, "start_cvm")


@pytest.mark.parametrize(
    "text", ["", ".", "..", "a\0b", "a\r\nb", "\u202eabc", "x" * 257, "\ud800"]
)
def test_what_cannot_stand_in_a_path_is_refused(text):
    with pytest.raises(InvalidInput):
        path_segment(text)


@settings(deadline=None)
@given(st.text(min_size=1, max_size=80))
def test_a_segment_never_leaves_its_place_in_the_path(text):
    try:
        segment = path_segment(text)
    except InvalidInput:
        return
    parts = urlsplit(f"https://host/api/v1/cvms/{segment}/stop")
    assert (parts.netloc, parts.query, parts.fragment) == ("host", "", "")
    assert parts.path.split("/")[4:] == [segment, "stop"]
    assert segment.isascii()
    assert unquote(segment) == text


@settings(deadline=None)
@given(st.from_regex(r"[a-zA-Z][a-zA-Z0-9-]{4,40}", fullmatch=True), st.sampled_from(NAMES))
def test_every_form_of_one_identifier_means_the_same(value, field):
    forms = [(value, {}), ({field: value}, {}), (None, {field: value}), (Cvm(id=value), {})]
    assert {split(ref, fields, "get_cvm_info")[0] for ref, fields in forms} == {value}
