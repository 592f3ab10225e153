"""LocalCloud judged by the description that the service publishes of itself.

That is no part of this project: ``CVM_NOTEBOOK_PUBLISHED_API`` names a copy (``.ci/run`` does where
one lies beside the project). Without it the same requests are judged by LocalCloud's own
description. Each operation that is served has requests here that the description allows, with every
field and parameter it has; they must be taken, and the answers must fit its schemas.
"""

import json
import os
import re
from pathlib import Path

import jsonschema
from helpers import NIGHTLY, ROOT
from hypothesis import HealthCheck, given, settings
from published_requests import REQUESTS, World

PUBLISHED = os.environ.get("CVM_NOTEBOOK_PUBLISHED_API", "")
PREFIX = "/api/v1"
REFUSED = {
    "GET /apps/{app_id}/pending-updates/{vm_uuid}/{compose_hash}/preview": 404,  # none waits
    "POST /user/ssh-keys/github-profile": 400,  # LocalCloud asks nothing of the network
    "POST /user/ssh-keys/github-sync": 400,
    "GET /cvms/{cvm_id}/commit-update": 466,  # on no chain, no token is ever given out
    "POST /cvms/{cvm_id}/commit-update": 466,
    "POST /cvms/{cvm_id}/commit-replica": 466,
}
"""What LocalCloud cannot have and refuses as the service would."""

_NO_TOKEN = (
    "a token that is unknown is refused by 466 and ERR-01-006, which the description has for "
    "changes that are confirmed without one; of tokens it says nothing. The official clients know "
    "the code: error_codes.py of the Python SDK 0.2.0, index.js of the JavaScript SDK 0.2.9"
)
DEVIATIONS = {
    "GET /cvms/{cvm_id}/commit-update": _NO_TOKEN,
    "POST /cvms/{cvm_id}/commit-update": _NO_TOKEN,
    "POST /cvms/{cvm_id}/commit-replica": _NO_TOKEN,
}
"""Operations that are served otherwise than published, each with the reason.

The bodies of PATCH docker-compose and pre-launch-script are described as forms. They are sent as
they are, as all official clients do (full_client.py of the Python SDK 0.2.0, index.js of the
JavaScript SDK 0.2.9), and their answers conform.
"""

ALL = 101
"""Operations that are published."""
LEAST = 101
"""Operations that are served: it may only grow."""

UNTRIED = {
    "POST /apps/{app_id}/instances": ["token"],  # as of commit-update: none is ever given out
}
"""Fields and parameters that no request here has."""

VERSIONS = ("2026-01-21", "2025-10-28")
"""The published description is of these: it is older than the later ones."""


def described(api):
    """The description to judge by, as paths below the prefix and components."""
    if not PUBLISHED:
        return described_by_itself(api)
    return operations_of(json.loads(Path(PUBLISHED).read_text(encoding="utf-8")))


def described_by_itself(api):
    return operations_of(own_of(api))


def own_of(api):
    origin = api.url.removesuffix(PREFIX)
    return api.session.get(f"{origin}/openapi.json", timeout=30).json()


def operations_of(whole):
    operations = {
        f"{method.upper()} {path.removeprefix(PREFIX)}": operation
        for path, methods in whole["paths"].items()
        for method, operation in methods.items()
        if method != "head"  # it is counted with its GET
    }
    return operations, whole["components"]


def send(world, name, request, version):
    method, path = name.split(" ")
    known = world.values
    path = re.sub(r"{(\w+)}", lambda found: known[found[1]](), path)
    more = {key: value for key, value in request.items() if key in {"json", "params", "data"}}
    if "make" in request:
        more["json"] = request["make"](world)
    if "files" in request:
        more["files"] = request["files"](world)
    answer = world.api(method, path, headers={"X-Phala-Version": version}, **more)
    return more, answer


def problems_of(name, operation, components, more, answer):
    """Say what of a request is not allowed, and what of its answer not promised."""
    found = []
    if "json" in more:
        content = operation.get("requestBody", {}).get("content", {})
        schema = content.get("application/json", {}).get("schema", False)
        found += [f"request: {problem}" for problem in misfits(more["json"], schema, components)]
    wanted = REFUSED.get(name)
    promised = operation["responses"].get(str(answer.status_code))
    taken = answer.status_code == wanted if wanted else answer.ok
    if promised is None or not taken:
        return [*found, f"answers {answer.status_code}: {answer.text[:300]}"]
    schema = promised.get("content", {}).get("application/json", {}).get("schema", True)
    if answer.ok and answer.headers.get("content-type") == "application/json":
        found += [f"answer: {problem}" for problem in misfits(answer.json(), schema, components)]
    return found


def misfits(value, schema, components):
    whole = schema if isinstance(schema, bool) else {**schema, "components": components}
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    judge = jsonschema.Draft202012Validator(whole, format_checker=checker)
    return [_described(error) for error in judge.iter_errors(value)]


def _described(error):
    """Say where a value does not fit; of alternatives, where the nearest does not."""
    nearest = jsonschema.exceptions.best_match([error])
    return f"{'/'.join(map(str, nearest.absolute_path))}: {nearest.message[:200]}"


def used_of(more):
    """The names of fields and parameters that a request has."""
    body = more.get("json")
    return {*(body if isinstance(body, dict) else ()), *more.get("params", ())}


def offered_by(operation, components):
    """The names of fields and parameters that an operation has, but for those of its path."""
    names = {one["name"] for one in operation.get("parameters", ()) if one["in"] == "query"}
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    schemas = [content.get("schema", {})]
    while schemas:
        schema = schemas.pop()
        if "$ref" in schema:
            schemas.append(components["schemas"][schema["$ref"].rpartition("/")[2]])
        schemas += schema.get("anyOf", ()) or schema.get("allOf", ())
        names |= schema.get("properties", {}).keys()
    return names


def try_all(world, operations, components):
    """Send the requests of each operation; return what does not fit, and what was not tried."""
    broken, untried = {}, {}
    world.new()
    for name in [one for one in REQUESTS if one in operations]:
        operation, found, used = operations[name], [], set()
        for request in REQUESTS[name]:
            if not name.startswith(("GET", "HEAD")):
                world.new()
            for version in VERSIONS if name.startswith("GET") else VERSIONS[:1]:
                more, answer = send(world, name, request, version)
                found += problems_of(name, operation, components, more, answer)
                used |= used_of(more)
        if found:
            broken[name] = found
        if offered_by(operation, components) - used:
            untried[name] = sorted(offered_by(operation, components) - used)
        if name.startswith("DELETE"):
            world.new()
    return broken, untried


def test_what_is_served_keeps_to_the_description(clocked_cloud, connect, capsys):
    api = connect(clocked_cloud, version=VERSIONS[0])
    operations, components = described(api)
    broken, untried = try_all(World(clocked_cloud, api), operations, components)
    own = described_by_itself(api)[0].keys()
    assert REQUESTS.keys() <= own
    if PUBLISHED:
        served = own & operations.keys()
        with capsys.disabled():
            conforming = len(served) - len(broken)
            print(f"\nserved {len(served)} of {len(operations)}, conforming {conforming}")
        assert served == REQUESTS.keys(), "an operation that is served has requests here"
        assert untried == UNTRIED
    assert broken.keys() == (DEVIATIONS.keys() if PUBLISHED else set()), broken


def test_the_documentation_says_how_many_there_are():
    text = (ROOT / "docs/explanation/localcloud.md").read_text(encoding="utf-8")
    counts = re.search(r"serves \*\*(\d+)\*\* of the (\d+) [^*]*\*\*(\d+)\*\* conform", text)
    assert counts is not None
    count = len(REQUESTS)
    assert tuple(map(int, counts.groups())) == (count, ALL, count - len(DEVIATIONS))
    assert count >= LEAST


def test_no_request_that_is_allowed_breaks_the_server_or_its_promises(clocked_cloud, connect):
    """By day a request of each operation, and by night fifty, whatever schemathesis thinks of."""
    import schemathesis  # slowly imported

    api = connect(clocked_cloud, version=VERSIONS[0])
    world = World(clocked_cloud, api).new()
    whole = json.loads(Path(PUBLISHED).read_text(encoding="utf-8")) if PUBLISHED else own_of(api)
    loaded = schemathesis.openapi.from_dict(whole)
    broken = {}
    for name in [one for one in REQUESTS if one in operations_of(whole)[0]]:
        method, path = name.split(" ")
        try:
            _think_of(loaded[PREFIX + path][method], api, world)
        except Exception as error:  # noqa: BLE001 - the others are tried too
            broken[name] = str(error)
        world.new()
    assert not broken


def _think_of(operation, api, world):
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi import checks

    known = world.values

    @given(operation.as_strategy())
    @settings(
        max_examples=50 if NIGHTLY else 1,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    def keeps(case):
        for name in (case.path_parameters or {}).keys() & known.keys():
            case.path_parameters[name] = known[name]()
        case.query.pop("target", None)  # what nobody reaches is waited for in real seconds
        case.call_and_validate(
            base_url=api.url.removesuffix(PREFIX),
            headers=dict(api.session.headers),
            checks=[not_a_server_error, checks.response_schema_conformance],
            timeout=30,
        )

    keeps()
