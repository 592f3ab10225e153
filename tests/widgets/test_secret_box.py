"""A secret goes to the kernel once, and is a part of nothing that is shown or saved."""

from cvm_notebook.api.secret import Secret
from cvm_notebook.deploy.environment import EnvTable
from cvm_notebook.widgets.base.sealing import seal
from cvm_notebook.widgets.base.secret_box import SecretBox

SENTINEL = "sentinel-77ad"


def give(wire, box, value):
    wire.say(box, {"kind": "secret", "token": box._token, "value": value})


def test_what_is_given_is_a_secret_and_in_no_message_or_state(wire):
    box = SecretBox("Password")
    give(wire, box, SENTINEL)
    shown = wire.until(box, lambda state: state.get("text") == "in this kernel's memory only")
    assert box.secret.reveal() == SENTINEL
    assert SENTINEL not in repr([wire.log, box.get_state(), box, vars(box), shown])
    box.clear()
    assert box.secret is None
    wire.until(box, lambda state: state["text"] == "not set")


def test_nonsense_from_a_front_end_is_taken_for_nothing(wire):
    box = SecretBox()
    for message in (5, None, {"kind": "secret"}, {"kind": "secret", "value": 5}, {"kind": "other"}):
        wire.say(
            box, message if not isinstance(message, dict) else {"token": box._token, **message}
        )
    give(wire, box, "x" * (1 << 21))
    wire.say(box, {"kind": "secret", "token": "of another kernel", "value": SENTINEL})
    wire.say(box, {"kind": "hello"})
    wire.wait(box, "snapshot")
    assert box.secret is None


def test_a_message_is_sealed_before_it_goes_further():
    sealed = seal({"kind": "env", "name": "A", "value": SENTINEL, "text": SENTINEL})
    assert sealed == {
        "kind": "env",
        "name": "A",
        "value": Secret(SENTINEL),
        "text": Secret(SENTINEL),
    }
    assert SENTINEL not in repr(sealed)


def test_an_environment_shows_names_and_keeps_values_until_they_are_forgotten():
    table = EnvTable({"A": SENTINEL})
    assert table.receive(seal({"kind": "env", "name": " B ", "value": "2"}))
    assert not table.receive({"kind": "commit"})
    assert table.names == ("A", "B")
    assert table.values()["A"].reveal() == SENTINEL
    assert table.payload() == {
        "rows": [["A", True], ["B", True]],
        "problem": None,
        "without": "needed",
    }
    table.forget()
    assert table.values() == {}
    assert table.missing == ("A", "B")
    assert SENTINEL not in repr([table, vars(table)])


def test_a_bad_name_and_an_empty_file_are_reported_without_values():
    table = EnvTable()
    table.receive(seal({"kind": "env", "name": "1-BAD", "value": SENTINEL}))
    assert "is not a name of an environment variable" in table.problem
    table.receive(seal({"kind": "env_file", "text": "# nothing\n"}))
    assert "no variables" in table.problem
    table.receive(seal({"kind": "env", "name": "NUL", "value": SENTINEL + "\0"}))
    assert "NUL" in table.problem
    assert table.names == ()
    assert SENTINEL not in table.problem
