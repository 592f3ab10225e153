"""What grants access is a Secret wherever the service sends it, and is shown nowhere."""

import copy
import io
import json
import pickle
import re
import traceback
import typing

import msgspec
import pytest

from cvm_notebook.api import models
from cvm_notebook.api.errors import codes as error_codes
from cvm_notebook.api.errors.tree import ApiError, DecodeError
from cvm_notebook.api.http.retry import RetryKind
from cvm_notebook.api.http.transport import Request
from cvm_notebook.api.models.actions import HashRequired, decode_page, decode_state
from cvm_notebook.api.models.cvm import Cvm, LogUrls
from cvm_notebook.api.models.decode import decode
from cvm_notebook.api.models.guest import CvmContainers
from cvm_notebook.api.secret import MASK, Secret, sealed
from cvm_notebook.frames import fleet_frame

SENTINEL = "sentinel-c0ffee-grant"
URL = f"https://logs.example/x?token={SENTINEL}"

STRUCTS = {
    kind
    for kind in (getattr(models, name) for name in models.__all__)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct)
}
# names that could be those of what grants access; the right column says why some of them do not
GRANTS = re.compile(
    r"token|secret|passw|key|credential|auth|sign|(^|_)(log|url|endpoint|env|code)s?(_|$)|raw$|_config"
)
HARMLESS = {
    *("encrypted_env_pubkey", "k256_pubkey", "app_env_encrypt_pubkey", "ca_pubkey", "public_key"),
    *("signature", "signature_v1", "signature_algorithm"),  # of a public key
    *("flag_has_password", "has_backup_codes", "public_logs", "event_log"),  # facts about them
    *("url", "app_url", "avatar_url", "app_icon_url", "public_urls", "endpoints"),  # for anybody
    *("rpc_endpoint", "sku_code"),
    "request_url",  # of a webhook, as its url: where its owner listens; shown without a query
    *("encrypted_env", "allowed_envs", "allowed_envs_changed"),  # ciphertext, and names
    *("user_config", "ssh_authorized_keys"),  # public halves
    *("key_type", "key_metadata", "keys", "billing_key"),  # of public keys; a record's name
    *(f"keys_{done}" for done in ("added", "skipped", "updated", "removed")),  # numbers
    *("endpoint", "kms_urls", "gateway_urls", "safe_app_url"),  # for anybody
    *("logs", "raw"),  # see below
}


def test_every_field_that_may_grant_access_is_a_secret_or_known_to_be_harmless():
    open_fields = []
    for kind in STRUCTS:
        for name, hint in typing.get_type_hints(kind).items():
            if name not in kind.__struct_fields__ or not GRANTS.search(name):
                continue
            if Secret not in typing.get_args(hint) and name not in HARMLESS:
                open_fields.append(f"{kind.__name__}.{name}")
    assert open_fields == []


def answer(details):
    body = {"error_code": error_codes.HASH_REGISTRATION_REQUIRED, "message": "m", **details}
    return ApiError.from_response(
        465, {"content-type": "application/json"}, json.dumps(body).encode(), method="P", path="/x"
    )


GRANTING = {"commit_token": SENTINEL, "commit_url": URL, "api_commit_url": URL}
LISTED = {"details": [{"field": name, "value": value} for name, value in GRANTING.items()]}


def refused():
    return [
        answer(LISTED),
        answer({"details": GRANTING}),
        answer(GRANTING),
        answer({"detail": {**GRANTING, "message": "m"}}),
        answer({"details": [{"field": "more", "value": {"docker": [{"password": SENTINEL}]}}]}),
    ]


def read():
    logs = dict.fromkeys(("serial", "stdout", "stderr", "container_log_base"), URL)
    row = {"id": "cvm_1", "logs": logs}
    container = {"names": ["/a"], "log_endpoint": URL}
    answer = {"status": "running", "logs": logs, "deep": [{"api_key": SENTINEL}], "token": SENTINEL}
    containers = json.dumps({"containers": [container, container]})
    return [
        decode_page(json.dumps({"items": [row]}).encode())[0],
        decode(json.dumps(row).encode(), Cvm, "w"),
        decode(containers, CvmContainers, "w"),
        decode_state(json.dumps({**answer, "log_endpoint": URL}).encode(), "w"),
    ]


def everything():
    return [*read(), *refused(), *map(HashRequired.from_error, refused())]


def shown(thing):
    """Return all that anybody is shown of a thing."""
    yield from (repr(thing), str(thing), f"{thing}")
    if hasattr(thing, "__struct_fields__"):
        yield repr(msgspec.structs.asdict(thing))
    if hasattr(thing, "__dict__"):
        yield repr(vars(thing))
    if isinstance(thing, Exception):
        yield from (repr(thing.args), repr(thing.details))
        try:
            raise thing
        except ApiError as error:
            trace = traceback.TracebackException.from_exception(error, capture_locals=True)
            yield "".join(trace.format())


@pytest.mark.parametrize("at", range(len(everything())))
def test_what_grants_access_is_shown_nowhere(at):
    thing = everything()[at]
    for text in shown(thing):
        assert SENTINEL not in text
    with pytest.raises(TypeError):
        json.dumps(thing)
    file = io.BytesIO()
    pickle.dump(thing, file)
    assert SENTINEL.encode() not in file.getvalue()
    assert SENTINEL not in repr(copy.copy(thing))


def test_a_request_shows_what_is_asked_and_not_with_what():
    path, headers = f"/x?token={SENTINEL}", (("X-Transaction-Hash", SENTINEL),)
    request = Request(RetryKind.READ, "GET", path, SENTINEL.encode(), "text/plain", headers)
    assert SENTINEL not in repr(request) + request.where


def test_no_frame_has_it():
    page, row, *_ = read()
    for frame in (fleet_frame([row]), fleet_frame(list(page.items), columns="wide")):
        assert SENTINEL not in frame.to_csv()


def test_it_is_given_to_who_asks_for_it():
    page, _row, containers, state = read()
    assert page.items[0].logs.serial.reveal() == URL
    assert containers.containers[1].log_endpoint.reveal() == URL
    assert state.raw["token"].reveal() == SENTINEL
    for error in refused()[:4]:
        required = HashRequired.from_error(error)
        assert required.commit_token.reveal() == SENTINEL
        assert required.commit_url.reveal() == required.api_commit_url.reveal() == URL
        assert error.detail("commit_token").reveal() == SENTINEL
    again = pickle.loads(pickle.dumps(page))
    assert (again.items[0].id, again.items[0].logs) == ("cvm_1", LogUrls())
    assert pickle.loads(pickle.dumps(refused()[0])).detail("commit_token") == MASK


def test_a_grant_of_another_shape_is_reported_without_its_value():
    with pytest.raises(DecodeError) as caught:
        decode(json.dumps({"logs": {"serial": [SENTINEL]}}), Cvm, "w")
    assert "$.logs.serial" in str(caught.value)
    assert SENTINEL not in str(caught.value)
    required = HashRequired.from_error(
        answer({"details": {"commit_token": [SENTINEL], "app_id": 5}})
    )
    assert (required.commit_token, required.app_id) == (None, None)


def test_what_is_nested_too_deep_is_left_out():
    deep = SENTINEL
    for _ in range(200):
        deep = {"token": [deep]}
    assert SENTINEL not in repr(sealed(deep))
    assert sealed({"token": None, "tokens_left": 5, "name": "x"}) == {
        "token": None,
        "tokens_left": 5,
        "name": "x",
    }
