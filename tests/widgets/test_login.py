"""The login: whose key is used, and a key that is given stays in memory."""

import json
import stat

import pytest

import cvm_notebook as cvm
from cvm_notebook.api.auth import credentials
from cvm_notebook.api.secret import Secret
from cvm_notebook.widgets.login import Account, Login, login


@pytest.fixture
def home(monkeypatch, tmp_path, cloud):
    """A machine without a key, whose address is the LocalCloud's."""
    monkeypatch.setenv("PHALA_CLOUD_API_PREFIX", cloud.url)
    monkeypatch.setenv("PHALA_CLOUD_DIR", str(tmp_path))
    monkeypatch.delenv("PHALA_CLOUD_API_KEY", raising=False)
    yield tmp_path
    credentials.remember(None)


@pytest.fixture
def view(home, wire):
    account = Account()
    account.look()
    view = Login(account)
    yield view
    view.close()


def write_profiles(home, **tokens):
    path = home / "credentials.json"
    profiles = {name: {"token": token, "api_prefix": url} for name, (token, url) in tokens.items()}
    path.write_text(json.dumps({"schema_version": 1, "profiles": profiles}))
    path.chmod(stat.S_IRUSR | stat.S_IWUSR)


def say(wire, view, **message):
    wire.say(view, {"token": view._token, **message})


def test_where_there_is_no_key_it_says_where_it_looked(view, wire):
    assert view.client is None
    assert wire.state(view)["missing"]
    assert "PHALA_CLOUD_API_KEY (not set)" in wire.state(view)["wrong"]
    assert "not signed in" in repr(view)


def test_a_key_that_is_given_is_used_by_connect_and_is_nowhere_else(view, wire, cloud):
    made = cloud.new_workspace("Given")
    key = made["api_key"]
    say(wire, view, kind="secret", value=key)
    rows = dict(wire.until(view, lambda m: m["in"] and not m["busy"])["rows"])
    assert rows["workspace"] == "Given, ENTERPRISE, owner"
    assert wire.state(view)["local"]  # and not of Phala Cloud
    assert rows["credit"] == "10,000.00 USD"
    assert rows["key"] == "from the login in this process (in memory only)"
    with cvm.connect() as client:
        assert client.get_current_user().user.username == made["username"]
        assert "in memory only" in client.key_source
    shown = [view.get_state(), wire.log, repr(view), view._repr_mimebundle_(), vars(view.account)]
    assert key not in repr(shown)


def test_a_wrong_key_is_refused_and_the_one_in_use_stays(view, wire, cloud):
    say(wire, view, kind="secret", value=cloud.api_key)
    wire.until(view, lambda m: m["in"] and not m["busy"])
    say(wire, view, kind="secret", value="phak_wrong")
    wire.until(view, lambda m: m["wrong"] and not m["busy"])
    assert view.client is not None
    assert credentials.find_api_key(prompt=None).secret == Secret(cloud.api_key)
    assert "phak_wrong" not in repr(wire.log)


def test_a_key_that_cannot_be_one_is_not_sent(view, wire):
    say(wire, view, kind="secret", value="Bearer sentinel-key")
    wire.until(view, lambda m: m["wrong"] and "Bearer" in m["wrong"] and not m["busy"])
    assert "sentinel-key" not in repr(wire.log)
    assert view.client is None


def test_profiles_are_switched_and_left_again(home, wire, cloud):
    other = cloud.new_workspace("Other")
    write_profiles(home, work=(cloud.api_key, cloud.url), play=(other["api_key"], cloud.url))
    account = Account()
    account.look()
    view = Login(account)
    assert wire.state(view)["profiles"] == ["work", "play"]
    say(wire, view, kind="profile", profile="play")
    wire.until(view, lambda m: m["profile"] == "play" and not m["busy"])
    with cvm.connect() as client:
        assert client.get_current_user().workspace.name == "Other"
    say(wire, view, kind="profile", profile="none of them")
    say(wire, view, kind="profile", profile="")
    wire.until(view, lambda m: m["wrong"] and not m["busy"])
    with pytest.raises(cvm.CvmError, match="no API key"):
        cvm.Client(api_key=None)
    view.close()


def test_a_view_of_another_time_cannot_give_a_key(view, wire, cloud):
    wire.say(view, {"kind": "secret", "token": "another", "value": cloud.api_key})
    say(wire, view, kind="secret", value=5)
    say(wire, view, kind="profile", profile=["work"])
    say(wire, view, kind="hello")
    wire.wait(view, "snapshot")  # what was sent before was received, too
    assert view.client is None


def test_without_a_notebook_it_asks_at_the_terminal_and_answers_in_text(home, monkeypatch, cloud):
    monkeypatch.setattr(credentials, "ask", lambda _question: cloud.api_key)
    account = login()
    assert isinstance(account, Account)
    assert account.client is not None
    assert "signed in" in repr(account)
    assert cloud.api_key not in repr(account)


def test_a_profile_that_is_named_is_used_from_then_on(home, cloud):
    write_profiles(home, work=(cloud.api_key, cloud.url), play=("phak_wrong", cloud.url))
    assert login("work").client is not None
    assert "profile 'work'" in repr(login())
    refused = login("play")
    assert "Invalid or expired token" in repr(refused)
    assert "has no profile" in repr(login("none"))


def test_a_login_for_one_address_is_not_used_for_another(home, cloud):
    account = Account()
    account.give(Secret(cloud.api_key))
    with pytest.raises(cvm.CvmError, match="the login in this process"):
        credentials.find_api_key(base_url="https://example.com/api/v1", prompt=None)


def test_a_table_whose_key_is_refused_asks_for_another_and_goes_on(home, wire, cloud):
    made = cloud.new_workspace("Later")
    with cvm.Fleet(cvm.Client(api_key="phak_wrong")) as fleet:
        table = fleet.table()
        with pytest.raises(cvm.AuthError):
            fleet.snapshot()
        assert "needs a key" in repr(fleet)
        assert "needs a key" in fleet._repr_mimebundle_()["text/plain"]
        wire.say(table, {"kind": "hello"})
        while wire.wait(table, "pulse", after=(n := len(wire.sent(table, "pulse"))))["reading"]:
            health = wire.sent(table, "pulse")[n]["health"]
            if health["state"] == "needs a key":
                break
        assert health["cause"] == "Invalid or expired token"
        say(wire, table, kind="secret", value="phak_wrong_too")
        assert "Invalid or expired token" in wire.wait(table, "signing")["wrong"]
        say(wire, table, kind="secret", value=made["api_key"])
        assert wire.wait(table, "signing", after=1)["wrong"] == ""
        assert len(fleet.snapshot()) == 0
        assert fleet.client.get_current_user().workspace.name == "Later"
        with cvm.connect() as client:
            assert client.get_current_user().workspace.name == "Later"
        assert made["api_key"] not in repr(wire.log)
        table.close()
