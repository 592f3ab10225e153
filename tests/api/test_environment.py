"""What this machine's environment says of proxies and certificates, where it cannot be used."""

import contextlib
import importlib.util
import socket

import pytest

import cvm_notebook as cvm
from cvm_notebook.api.errors.tree import ConfigurationError
from cvm_notebook.api.http.retry import RetryKind
from cvm_notebook.api.http.transport import Request

SECRET = "hunter2"
_NAMES = (
    *("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSLKEYLOGFILE"),
    *("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"),
)


@pytest.fixture(autouse=True)
def _clean(monkeypatch):
    for name in _NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def connect():
    with contextlib.ExitStack() as made:
        yield lambda url: made.enter_context(cvm.Client(api_key="phak_x", base_url=url))


@pytest.fixture
def listener():
    """A port of this machine that counts nobody in: who connects waits in its queue."""
    # at an address of its own: at the usual one somebody may look for what had this port before
    with socket.create_server(("127.9.8.7", 0)) as listening:
        listening.setblocking(False)
        yield listening


def refused(client, listening=None):
    """Every call, one that changes something too, ends at once and was never sent."""
    transport, sent = client._transport, []
    for kind, method in (
        (RetryKind.READ, "GET"),
        (RetryKind.UPDATE, "PATCH"),
        (RetryKind.COMMIT, "POST"),
    ):
        with pytest.raises(ConfigurationError) as caught:
            transport.call(Request(kind, method, "/x"), bytes, on_sent=lambda: sent.append(1))
        assert not caught.value.sent
        assert not isinstance(caught.value, cvm.TransportError)
    assert not sent
    assert transport.budget.left == 100  # nothing was tried again
    if listening is not None:
        with pytest.raises(BlockingIOError):
            listening.accept()  # nobody came
    return caught.value


UNUSABLE = {
    "no PEM": b"-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n",
    "empty": b"",
    "nonsense": bytes(range(1, 256)),
}


@pytest.fixture(params=["missing", "folder", *UNUSABLE])
def path(request, tmp_path):
    made = tmp_path / "ca.pem"
    if request.param == "folder":
        made.mkdir()
    elif request.param in UNUSABLE:
        made.write_bytes(UNUSABLE[request.param])
    return made


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
def test_certificates_that_cannot_be_used(connect, listener, monkeypatch, path, variable):
    monkeypatch.setenv(variable, str(path))
    error = refused(connect(f"https://127.9.8.7:{listener.getsockname()[1]}/api/v1"), listener)
    assert error.variable == variable
    assert str(path) in str(error)
    assert f"Set {variable}" in error.hint


def test_a_folder_in_which_openssl_finds_certificates_is_used(
    connect, authority, monkeypatch, tmp_path, refusing_port
):
    authority.cert_pem.write_to_path(tmp_path / "0a1b2c3d.0")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path))
    with pytest.raises(cvm.TransportError, match="cannot be reached"):
        connect(f"https://localhost:{refusing_port}/api/v1").get_current_user()


def test_certificates_that_vanish_later_are_named_as_such(
    connect, authority, monkeypatch, tmp_path, refusing_port
):
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(path))
    client = connect(f"https://localhost:{refusing_port}/api/v1")
    with pytest.raises(cvm.TransportError, match="cannot be reached"):
        client.get_current_user()
    path.unlink()
    with pytest.raises(ConfigurationError, match="REQUESTS_CA_BUNDLE"):
        client.stop_cvm("my-app")


def test_a_key_log_that_cannot_be_written(connect, listener, monkeypatch, tmp_path):
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "none" / "keys"))
    client = connect(f"https://127.9.8.7:{listener.getsockname()[1]}/api/v1")
    assert refused(client, listener).variable == "SSLKEYLOGFILE"


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
@pytest.mark.parametrize(
    ("proxy", "message"),
    [
        (f"http://user:{SECRET}@", "not the address of a proxy"),
        (f"http://user:{SECRET}@proxy.invalid:port", "not the address of a proxy"),
        (f"http://user:{SECRET}@proxy.invalid:99999", "not the address of a proxy"),
        (f"http://user:{SECRET}@[::1", "not the address of a proxy"),
        (f"http://user:{SECRET}@:3128", "not the address of a proxy"),
        (f"ftp://user:{SECRET}@proxy.invalid:21", "a kind that is not supported"),
        (f"htp://user:{SECRET}@proxy.invalid:3128", "a kind that is not supported"),
        (f"socks9://user:{SECRET}@proxy.invalid:1080", "a kind that is not supported"),
    ],
)
def test_a_proxy_that_cannot_be_used(connect, monkeypatch, variable, proxy, message):
    monkeypatch.setenv(variable, proxy)
    error = refused(connect("https://api.invalid/api/v1"))
    assert error.variable == variable
    assert message in str(error)
    assert variable in str(error)
    assert SECRET not in f"{error!r} {error} {error.hint} {error.args}"


@pytest.mark.skipif(importlib.util.find_spec("socks") is not None, reason="PySocks is installed")
@pytest.mark.parametrize("scheme", ["socks4", "socks4a", "socks5", "socks5h"])
def test_a_socks_proxy_without_pysocks(connect, monkeypatch, scheme):
    monkeypatch.setenv("ALL_PROXY", f"{scheme}://user:{SECRET}@127.0.0.1:1080")
    error = refused(connect("https://api.invalid/api/v1"))
    assert "requests[socks]" in error.hint
    assert SECRET not in str(error)


def test_what_is_not_used_does_not_matter(cloud, monkeypatch, tmp_path):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "missing.pem"))  # for https only
    monkeypatch.setenv("HTTP_PROXY", "nonsense://")  # not for this machine
    with cvm.Client(api_key=cloud.api_key, base_url=cloud.url) as client:
        assert client.get_current_user().user.username


def test_it_can_be_caught_by_its_public_name():
    assert cvm.ConfigurationError is ConfigurationError
    assert issubclass(ConfigurationError, cvm.CvmError)
