"""What /openapi.json promises is what the server does, for whatever schemathesis thinks of."""

import uuid

import pytest
import requests
from helpers import examples
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import booleans


@pytest.fixture(scope="module")
def described(new_cloud):
    """A LocalCloud, its origin, its own description of itself, and the operations in that."""
    import schemathesis  # slowly imported

    with new_cloud(seed="empty", speed=200, balance="100000000") as cloud:
        origin = cloud.url.removesuffix("/api/v1")
        loaded = schemathesis.openapi.from_url(f"{origin}/openapi.json")
        operations = [
            (method.upper(), path)
            for path, methods in loaded.raw_schema["paths"].items()
            for method in methods
        ]
        yield cloud, origin, loaded, operations


def make_cvm(cloud):
    """Make the CVM that requests are about; the last one may have been deleted."""
    headers = {"X-API-Key": cloud.api_key}
    body = {
        "name": f"for-{uuid.uuid4().hex[:12]}",
        "compose_file": {"docker_compose_file": "services: {a: {image: nginx}}"},
    }
    plan = requests.post(f"{cloud.url}/cvms/provision", json=body, headers=headers, timeout=30)
    made = requests.post(f"{cloud.url}/cvms", json=plan.json(), headers=headers, timeout=30)
    return made.json()


def keep_to_it(described, method, path):
    """Try the operation with whatever its description allows."""
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi import checks

    cloud, origin, loaded, _ = described
    made = make_cvm(cloud)
    known = {"cvm_id": made["id"], "app_id": made["app_id"], "vm_uuid": made["vm_uuid"]}

    @given(loaded[path][method].as_strategy(), booleans())
    @settings(
        max_examples=examples(8, least=3),
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    def keeps(case, about_the_cvm):
        if about_the_cvm:
            parameters = case.path_parameters or {}
            parameters.update({key: known[key] for key in known.keys() & parameters.keys()})
        if path.endswith("/state"):
            case.query.pop("target", None)  # what nobody reaches is waited for in real seconds
        case.call_and_validate(
            base_url=origin,
            headers={"X-API-Key": cloud.api_key},
            checks=[
                not_a_server_error,
                checks.status_code_conformance,
                checks.content_type_conformance,
                checks.response_schema_conformance,
            ],
            timeout=30,
        )

    keeps()


def test_the_server_keeps_to_its_description(described):
    broken = {}
    for method, path in described[-1]:
        try:
            keep_to_it(described, method, path)
        except Exception as error:  # noqa: BLE001 - the others are tried too
            broken[method, path] = str(error)
    assert not broken


def test_everything_the_api_has_is_described(described):
    operations = described[-1]
    paths = {path for _, path in operations}
    assert {"/api/v1/cvms/provision", "/api/v1/cvms/{cvm_id}/state"} <= paths
    assert not any(path.startswith("/_local") for path in paths)
    assert len(operations) > 60
