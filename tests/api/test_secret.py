"""A Secret shows itself to nobody who does not ask for it by name."""

import copy
import json
import logging
import pickle
import traceback

import msgspec
import pytest

from cvm_notebook.api.auth.credentials import Credentials
from cvm_notebook.api.secret import MASK, Secret

SENTINEL = "phak_SENTINEL_0123456789"


@pytest.fixture
def secret():
    return Secret(SENTINEL)


def test_it_reveals_only_when_asked(secret):
    assert secret.reveal() == SENTINEL


@pytest.mark.parametrize(
    "show",
    [
        repr,
        str,
        format,
        ascii,
        "{:>40}".format,
        "{!r:.3}".format,
        lambda s: f"{s}",
        lambda s: "%s %r" % (s, s),  # noqa: UP031 - the old form is what is tested
        lambda s: repr([s]) + repr({"key": s}) + repr((s,)),
        lambda s: str(dir(s)),
        lambda s: repr(Credentials(s, "a test", "https://host")),
        lambda s: json.dumps({"key": s}, default=str),
    ],
)
def test_no_form_of_text_shows_it(show, secret):
    assert "SENTINEL" not in show(secret)


def test_the_mask_does_not_tell_the_length():
    assert str(Secret("a")) == str(Secret("a" * 100)) == format(Secret(""), "50") == MASK


def test_logging_and_tracebacks_do_not_show_it(secret, caplog):
    logging.getLogger("test").warning("key %s %r", secret, secret)
    try:
        raise ValueError(secret)  # noqa: TRY301 - the traceback is what is tested
    except ValueError as error:
        text = "".join(
            traceback.TracebackException.from_exception(error, capture_locals=True).format()
        )
    assert "secret = " in text
    assert "SENTINEL" not in text + caplog.text


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickling_is_refused_and_says_what_to_do(protocol, secret):
    with pytest.raises(TypeError, match="PHALA_CLOUD_API_KEY") as caught:
        pickle.dumps(secret, protocol)
    assert "SENTINEL" not in str(caught.value)
    with pytest.raises(TypeError, match="not pickled"):
        secret.__getstate__()


def test_a_copy_is_the_secret_itself(secret):
    assert copy.copy(secret) is secret
    assert copy.deepcopy([secret])[0] is secret


def test_json_refuses_it(secret):
    with pytest.raises(TypeError):
        json.dumps(secret)
    with pytest.raises(TypeError):
        msgspec.json.encode({"key": secret})
    with pytest.raises(TypeError):
        msgspec.to_builtins(secret)


def test_it_has_no_dict_and_is_no_sequence(secret):
    with pytest.raises(TypeError):
        vars(secret)
    with pytest.raises(TypeError):
        list(secret)
    with pytest.raises(TypeError):
        len(secret)
    with pytest.raises(TypeError):
        secret[0]
    with pytest.raises(TypeError):
        secret + ""


def test_it_does_not_change(secret):
    for name in ("_value", "other"):
        with pytest.raises(AttributeError):
            setattr(secret, name, "x")
    with pytest.raises(AttributeError):
        del secret._value
    assert secret.reveal() == SENTINEL


def test_equality_is_by_value_and_with_secrets_only(secret):
    assert secret == Secret(SENTINEL)
    assert hash(secret) == hash(Secret(SENTINEL))
    assert secret != Secret(SENTINEL + "x")
    assert secret != SENTINEL
    assert Secret("\ud800") != Secret("\udfff")
    assert bool(secret)
    assert not Secret("")


def test_bytes_are_refused_without_being_shown():
    with pytest.raises(TypeError) as caught:
        Secret(SENTINEL.encode())
    assert "SENTINEL" not in str(caught.value)
