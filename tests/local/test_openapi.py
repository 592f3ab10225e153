"""What /openapi.json promises is what the server does, for whatever schemathesis thinks of."""

import uuid

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import booleans
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from cvm_notebook.local import LocalCloud
from cvm_notebook.local.app import create_app
from cvm_notebook.local.core.settings import Settings

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


OPERATIONS = [
    (method.upper(), path)
    for path, methods in create_app(
        Settings(database="sqlite:///never-opened", api_key="k", control_token="t")
    )
    .openapi()["paths"]
    .items()
    for method in methods
]


@pytest.fixture(scope="module")
def described():
    """A LocalCloud with a CVM in it, and its own description of itself."""
    with LocalCloud(seed="empty", speed=200, balance="100000000") as cloud:
        origin = cloud.url.removesuffix("/api/v1")
        loaded = schemathesis.openapi.from_url(f"{origin}/openapi.json")
        yield cloud, origin, loaded


def make_cvm(cloud):
    """Make the CVM that requests are about; the last one may have been deleted."""
    headers = {"X-API-Key": cloud.api_key}
    body = {
        "name": f"for-{uuid.uuid4().hex[:12]}",
        "compose_file": {"docker_compose_file": "services: {a: {image: nginx}}"},
    }
    plan = requests.post(f"{cloud.url}/cvms/provision", json=body, headers=headers, timeout=10)
    made = requests.post(f"{cloud.url}/cvms", json=plan.json(), headers=headers, timeout=10)
    return made.json()


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_the_server_keeps_to_its_description(described, method, path):
    cloud, origin, loaded = described
    made = make_cvm(cloud)
    known = {"cvm_id": made["id"], "app_id": made["app_id"], "vm_uuid": made["vm_uuid"]}

    @given(loaded[path][method].as_strategy(), booleans())
    @settings(
        max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    def keeps(case, about_the_cvm):
        if about_the_cvm:
            parameters = case.path_parameters or {}
            parameters.update({key: known[key] for key in known.keys() & parameters.keys()})
        if path.endswith("/state"):
            case.query.pop("target", None)  # what nobody reaches is waited for in real seconds
        case.call_and_validate(
            base_url=origin, headers={"X-API-Key": cloud.api_key}, checks=CHECKS, timeout=10
        )

    keeps()


def test_everything_the_api_has_is_described():
    paths = {path for _, path in OPERATIONS}
    assert {"/api/v1/cvms/provision", "/api/v1/cvms/{cvm_id}/state"} <= paths
    assert not any(path.startswith("/_local") for path in paths)
    assert len(OPERATIONS) > 60
