"""A CVM is found by the value of an identifier, in every spelling the clients use."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvm_notebook.local.core.identifiers import hashid, is_name, unhash


@given(st.integers(0, (1 << 40) - 1), st.sampled_from(["cvm", "usr", "wks", "kms", "rev"]))
def test_a_hashid_leads_back_to_its_number(number, prefix):
    text = hashid(prefix, number)
    assert text.startswith(f"{prefix}_")
    assert len(text) == len(prefix) + 9
    assert unhash(prefix, text) == number


def test_hashids_of_neighbours_look_nothing_alike():
    ids = [hashid("cvm", number) for number in range(1000)]
    assert len({text[4:7] for text in ids}) > 300
    assert unhash("usr", ids[0]) is None


@given(st.text(max_size=80))
def test_no_text_breaks_the_reading_of_a_hashid_or_a_name(text):
    assert unhash("cvm", text) is None or text.startswith("cvm_")
    assert isinstance(is_name(text), bool)


@pytest.fixture(scope="module")
def one(cloud):
    """A CVM that has booted, as its detail says it."""
    from requests import Session

    session = Session()
    session.headers["X-API-Key"] = cloud.api_key
    with session:
        body = {"compose_file": {"docker_compose_file": "services: {a: {image: nginx}}"}}
        name = f"found-{uuid.uuid4().hex[:8]}"
        plan = session.post(f"{cloud.url}/cvms/provision", json=body | {"name": name}).json()
        made = session.post(f"{cloud.url}/cvms", json=plan).json()
        session.get(f"{cloud.url}/cvms/{made['id']}/state", params={"target": "running"})
        yield session.get(f"{cloud.url}/cvms/{made['id']}").json()


@pytest.mark.parametrize(
    "spelled",
    [
        "{id}",
        "{vm_uuid}",
        "{bare_uuid}",
        "{upper_uuid}",
        "{app_id}",
        "app_{app_id}",
        "0x{app_id}",
        "{instance_id}",
        "instance_{instance_id}",
        "app_{instance_id}",
        "{name}",
    ],
)
@pytest.mark.parametrize("path", ["", "/state", "/compose_file"])
def test_every_spelling_finds_it(api, one, spelled, path):
    facts = one | {
        "bare_uuid": one["vm_uuid"].replace("-", ""),
        "upper_uuid": one["vm_uuid"].upper(),
    }
    assert api.get(f"/cvms/{spelled.format(**facts)}{path}").status_code == 200


@pytest.mark.parametrize(
    "text",
    [
        "nobody",
        "cvm_00000000",
        "cvm_zzzzzzzz",
        "0" * 40,
        "1d192e0f-b0ea-4835-996c-eee5e6d1ad09",
        "%00",
        "a%20b",
        "%F0%9F%98%80",
        "..%2f",
        "9" * 18,
        "-1",
        "x" * 3000,
        "app_",
    ],
)
def test_what_is_nobodys_is_not_found(api, text):
    answer = api.get(f"/cvms/{text}")
    assert answer.status_code == 404
    assert answer.json().get("error_code", "ERR-03-001") == "ERR-03-001"


def test_an_app_with_two_cvms_is_ambiguous_and_the_answer_names_both(api):
    made = api.create()
    replica = api.post(f"/cvms/{made['id']}/replicas").json()
    answer = api.get(f"/cvms/{made['app_id']}")
    assert (answer.status_code, answer.json()["error_code"]) == (409, "ERR-03-010")
    assert {one["value"] for one in answer.json()["details"]} == {made["id"], replica["id"]}
    assert answer.json()["message"] == "Multiple CVMs match this identifier"
    api.delete(replica["id"])
    assert api.get(f"/cvms/{made['app_id']}").json()["id"] == made["id"]
