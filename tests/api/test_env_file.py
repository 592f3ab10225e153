"""Files of environment variables are read as python-dotenv reads them; no error shows a value."""

import contextlib
import io
import logging

import dotenv
import pytest
from helpers import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from cvm_notebook.api.compose.env_file import parse_env_file
from cvm_notebook.api.errors.tree import InvalidInput


def read(text):
    return {name: value.reveal() for name, value in parse_env_file(text).items()}


def read_by_dotenv(text):
    """Return what python-dotenv reads in a file of that text, opened as it opens one."""
    unix = text.replace("\r\n", "\n").replace("\r", "\n")
    return dotenv.dotenv_values(stream=io.StringIO(unix), interpolate=False)


# Each text with what it is read as; the last column is what `parseEnv` of @phala/cloud 0.2.9 gives
# for it where that is something else (run under Node.js 20).
CORPUS = [
    ("A=1", {"A": "1"}, None),
    ('\ufeffA="1"\r\nB=2\r', {"A": "1", "B": "2"}, None),
    ("export A = x y  ", {"A": "x y"}, None),
    ("A=", {"A": ""}, None),
    ("A=\nB=2", {"A": "", "B": "2"}, None),
    ("A=  # none", {"A": ""}, None),
    ("A=#x", {"A": "#x"}, {"A": ""}),
    ("A=x # told", {"A": "x"}, None),
    ("B=x#kept", {"B": "x#kept"}, {"B": "x"}),
    ("A=x\t# told # twice", {"A": "x"}, None),
    ("A='a # \\n $B' # c", {"A": "a # \\n $B"}, None),
    ('A="a # b" # c', {"A": "a # b"}, None),
    ('A="a\\nb"', {"A": "a\nb"}, None),
    ('A="a\\rb"', {"A": "a\rb"}, None),
    ('A="a\\tb"', {"A": "a\tb"}, {"A": "a\\tb"}),
    ('A="a\\"b"', {"A": 'a"b'}, {"A": 'a\\"b'}),
    ('A="a\\\\b"', {"A": "a\\b"}, {"A": "a\\\\b"}),
    ("A='it\\'s'", {"A": "it's"}, {"A": "it\\'s"}),
    ("A='a\\\\b'", {"A": "a\\b"}, {"A": "a\\\\b"}),
    ('RE="^\\d+\\.\\d+$"', {"RE": "^\\d+\\.\\d+$"}, None),
    ('WIN="C:\\Users\\me"', {"WIN": "C:\\Users\\me"}, None),
    ('PW="a\\!b\\$c\\`d"', {"PW": "a\\!b\\$c\\`d"}, None),
    ("WIN=C:\\new\\table", {"WIN": "C:\\new\\table"}, None),
    ('A="line 1\nline 2"\nB=2', {"A": "line 1\nline 2", "B": "2"}, None),
    ("A='line 1\n=x'\nB=2", {"A": "line 1\n=x", "B": "2"}, None),
    ("A=a=b==", {"A": "a=b=="}, None),
    ("A=1\nA=2", {"A": "2"}, None),
    ("A=$(rm -rf /)`id`${B}", {"A": "$(rm -rf /)`id`${B}"}, None),
    ("  A=it's\n", {"A": "it's"}, None),
    ('JSON={"a": "b"}', {"JSON": '{"a": "b"}'}, None),
    ("A=x 'y' \"z\"", {"A": "x 'y' \"z\""}, None),
    ("\n\n# only\n\nA=1\n  # more\n", {"A": "1"}, None),
    ("A=''\nB=\"\"", {"A": "", "B": ""}, None),
    ("URL=postgres://u:p@h/db?a=b#c", {"URL": "postgres://u:p@h/db?a=b#c"},
     {"URL": "postgres://u:p@h/db?a=b"}),
    ("exported=1", {"exported": "1"}, None),
    ("export=1", {"export": "1"}, None),
    ("A=\u00a0x\u2003", {"A": "x"}, None),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected", "official"), CORPUS)
def test_a_file_is_read_as_python_dotenv_reads_it(text, expected, official):
    assert read(text) == expected
    assert read_by_dotenv(text) == expected
    assert official != expected


SPELLING = st.text("AB_1='\"\\ntu#$ \t\n\r`{}:\ufeffé", max_size=30)


@settings(deadline=None, max_examples=examples(400))
@given(st.lists(st.tuples(st.sampled_from(["", "export ", " "]), SPELLING), max_size=4))
def test_what_is_read_at_all_is_read_as_python_dotenv_reads_it(lines):
    text = "".join(f"{before}A{n}={rest}\n" for n, (before, rest) in enumerate(lines))
    logging.disable(logging.WARNING)
    try:
        found = read(text)
    except InvalidInput:
        return
    finally:
        logging.disable(logging.NOTSET)
    assert found == read_by_dotenv(text)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("SENTINEL", 1),
        ("A=1\n\nSENTINEL x=1", 3),
        ("A='SENTINEL", 1),
        ('A="SENTINEL\nB=1\n', 1),
        ("A='SENTINEL' more", 1),
        ("=SENTINEL", 1),
        ("B=1\n1A=SENTINEL", 2),
        ("A.B=SENTINEL", 1),
        ("A=1\nSENTINEL-x=1", 2),
        ("A=1\nSENTINEL: 1", 2),
        ("'SENTINEL'=1", 1),
        ("A=1\nexport SENTINEL", 2),
        ("A=x\nB=SENTINEL\0", 2),
        ("A=x\nB=SENTINEL\ud800", 2),
        ("A=x\nB=" + "SENTINEL" * 16_385, 2),
        ("A=x\n" + "SENTINEL" * 32 + "=1", 2),
        # a base64 text, and what of it stands in the next line
        ("TOKEN=QUJDREVGR0hJSktM\nc2VjcmV0LXRhaWw/Pz4+Pj4=\n", 2),
        ("TOKEN=QUJDREVGR0hJSktM\nSENTINELl2VjcmV0LXRhaWw=\n", 2),
        ("TOKEN=QUJDREVGR0hJSktM\nSENTINELc2VjcmV0LXRhaQ==\n", 2),
        ("TOKEN=QUJDREVGR0hJSktM\nSENTINELSENTINELSENTIQ==\n", 2),
        ("TOKEN=QUJDREVGR0hJSktM\nSENTINELSEN=\n", 2),
        ("TOKEN=QUJDREVGR0hJSktM\n  SENTINELl2VjcmV0LXRhaWw=  \n", 2),
        ("TOKEN=QUJDREVGR0hJSktMQ\r\nSENTINELl2VjcmV0LXRhaW=\r\nB=1", 2),
        ("TOKEN=QUJDREVGR0hJSk-M\nSENTINEL_2Vjcm_0LXRhaWw=\n", 2),
        ("A=x\nB=QUJDREVGR0hJSktM\nSENTINEL\nSENTINELl2VjcmV0LXRhaWw=\n", 3),
    ],
)
def test_a_line_that_is_none_is_named_and_nothing_of_it_is_shown(text, line):
    with pytest.raises(InvalidInput, match=rf"^line {line}: ") as caught:
        parse_env_file(text)
    assert caught.value.field == f"line {line}"
    for part in ("SENTINEL", "c2Vjcm", "QUJD"):
        assert part not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "API_KEY=0123456789abcdef0123456789abcdef\nDB_PASS=\n",
        "API_KEY=sk-AbCdEfGhIjKlMnOpQrStUvWx\nHOST=\nURL=\n",
        "API_KEY=QUJDREVGR0hJSktM\nDB_PASS=\n",
        "PORT=8080\nhost=\n",
        "A=QUJDREVGR0hJSktM\nB=QUJDREVGR0hJSktM\n",
        'A=QUJDREVGR0hJSktM\nabcdefg=""\n',
        "A='QUJDREVGR0hJSktM'\nabcdefg=\n",
    ],
)
def test_an_empty_value_below_a_long_one_is_no_end_of_it(text):
    assert read(text) == read_by_dotenv(text)


@pytest.mark.parametrize(
    "text", ["", "\n\n# only a comment", "# nothing is set here\n\n", "\ufeff"]
)
def test_a_file_that_sets_nothing_is_refused(text):
    with pytest.raises(InvalidInput, match="it has no variables"):
        parse_env_file(text)


@settings(deadline=None)
@given(st.text(max_size=60))
def test_no_text_hangs_or_breaks_the_reader(text):
    with contextlib.suppress(InvalidInput):
        read(text)


def _quoted(value):
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


ENV = st.dictionaries(
    st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,10}", fullmatch=True),
    st.text(st.characters(codec="utf-8"), max_size=30).filter(lambda s: "\0" not in s),
    min_size=1,
    max_size=5,
)


@settings(deadline=None)
@given(ENV)
def test_quoted_values_come_back_as_they_were(env):
    text = "".join(f"{name}={_quoted(value)}\n" for name, value in env.items())
    expected = {k: v.replace("\r\n", "\n").replace("\r", "\n") for k, v in env.items()}
    assert read(text) == expected


def test_a_large_text_is_read_in_one_go():
    text = "A='" + "x" * 100_000 + "'\n" + "B=1\n" * 2000
    assert {name: len(value) for name, value in read(text).items()} == {"A": 100_000, "B": 1}
    assert len(read("A=x" + " " * 120_000 + "y")["A"]) == 120_002
    for text in (
        'A="' + "\\" * 100_001,
        "A=1\n" + "\n" * 200_000 + "'",
        "A=" + " " * 100_000 + "'",
    ):
        with pytest.raises(InvalidInput):
            read(text)
