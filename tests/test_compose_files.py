"""Client, form, drift and LocalCloud say the same of a compose text, which is what Docker says."""

import asyncio
import contextlib
import itertools

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cvm_notebook.api.client import Client
from cvm_notebook.api.compose.interpolation import variables_of
from cvm_notebook.api.compose.validation import check_compose_file, read_compose_file
from cvm_notebook.api.errors.tree import InvalidInput, ResourceError
from cvm_notebook.frames.reports.declared import read_declaration
from cvm_notebook.local.app import create_app
from cvm_notebook.local.core.errors import ApiError
from cvm_notebook.local.core.settings import Settings
from cvm_notebook.local.demo.bootstrap import prepare
from cvm_notebook.local.engine import compose as local_compose
from cvm_notebook.widgets.form.sections import Look

WEB = "services:\n  web:\n    image: nginx:1\n"

# what Docker Compose 2 takes; the images that the services of the file have
TAKEN = {
    "plain": (WEB, {"web": "nginx:1"}),
    "no services": ("services: {}\n", {}),
    "one line": ("{services: {web: {image: nginx}}}", {"web": "nginx"}),
    "extends": (
        "services:\n  base:\n    image: nginx\n  web:\n    extends: base\n",
        {"base": "nginx", "web": "nginx"},
    ),
    "extends a service": (
        "services:\n  web:\n    extends: {service: base}\n  base: {image: nginx}\n",
        {"web": "nginx", "base": "nginx"},
    ),
    "extends a file": (
        "services:\n  web:\n    extends: {service: base, file: common.yml}\n",
        {"web": ""},
    ),
    "build": ("services:\n  web:\n    build: .\n", {"web": ""}),
    "tab": ("services:\n  web:\n    image:\tnginx\n", {"web": "nginx"}),
    "tabbed JSON": ('{\n\t"services": {"web": {"image": "nginx"}}\n}\n', {"web": "nginx"}),
    "equals": (WEB + "    environment:\n      OP: =\n", {"web": "nginx:1"}),
    "date": (WEB + "    labels:\n      no: 2024-13-45\n      ok: 2024-01-02\n", {"web": "nginx:1"}),
    "numbers": (
        WEB + "    ports: [22:22, 80, 0o17, 1e3]\n    x-n: [.inf, 1_000, 0x_, 1:60]\n",
        {"web": "nginx:1"},
    ),
    "image like a number": ("services:\n  web:\n    image: 1.10\n", {"web": "1.10"}),
    "yes": ("services:\n  on:\n    image: yes\n", {"on": "yes"}),
    "BOM": ("\ufeff" + WEB, {"web": "nginx:1"}),
    "CRLF": (WEB.replace("\n", "\r\n"), {"web": "nginx:1"}),
    "one document": ("---\n" + WEB + "...\n", {"web": "nginx:1"}),
    "directive": ("%YAML 1.1\n---\n" + WEB, {"web": "nginx:1"}),
    "merge": (
        """x-a: &a {image: a, restart: always}
x-b: &b {image: b}
services:
  one:
    <<: [*a, *b]
  two:
    image: c
    <<: *a
""",
        {"one": "a", "two": "c"},
    ),
    "merge of services": (
        "x-s: &s\n  web: {image: a}\nservices:\n  <<: *s\n  db: {image: b}\n",
        {"web": "a", "db": "b"},
    ),
    "anchor again": (
        "x-a: &a nginx\nx-b: &a redis\nservices:\n  web:\n    image: *a\n",
        {"web": "redis"},
    ),
    "quoted merge": ("x: {<<: {a: 1}, '<<': 2}\n" + WEB, {"web": "nginx:1"}),
    "same name elsewhere": ("image: x\n" + WEB + "volumes:\n  web:\n", {"web": "nginx:1"}),
    "reset": (
        "x-a: &a {image: a, build: .}\nservices:\n  web:\n    <<: *a\n    image: !reset null\n",
        {"web": ""},
    ),
    "override": (WEB + "    ports: !override ['80:80']\n", {"web": "nginx:1"}),
    "standard tags": ("services:\n  web:\n    image: !!str 5\n    x: ! 'y'\n", {"web": "5"}),
    "long list": (WEB + "x: [" + "a, " * 20_000 + "]\n", {"web": "nginx:1"}),
    "much shared": (
        "x-e: &e {" + ", ".join(f"V{n}: x" for n in range(200)) + "}\nservices:\n"
        + "".join(f"  s{n}: {{image: i, environment: *e}}\n" for n in range(100)),
        {f"s{n}": "i" for n in range(100)},
    ),
}  # fmt: skip

BOMB = "x0: &a0 [" + "x," * 8 + "]\n" + "".join(
    f"x{n}: &a{n} [" + f"*a{n - 1}," * 8 + "]\n" for n in range(1, 8)
)  # fmt: skip
WIDE = "x: &x [" + "a," * 900 + "]\ny: [" + "*x," * 900 + "]\n"
LONG = "x: &x '" + "i" * 100_000 + "'\nservices:\n" + "".join(
    f"  s{n}: {{image: *x}}\n" for n in range(2000)
)  # fmt: skip

# what Docker refuses, or would take for ever for; the line that must be named, None for none
REFUSED = {
    "empty": ("", None),
    "comment": ("# nothing\n", None),
    "null": ("---\n~\n", None),
    "text": ("just words", None),
    "list": ("- a\n- b\n", None),
    "no services": ("version: '3'\n", None),
    "services null": ("services:\n", 1),
    "services list": ("x: 1\nservices: [a]\n", 2),
    "service text": (WEB + "  db: redis\n", 4),
    "service null": (WEB + "  db:\n", 4),
    "nothing to run": ("services:\n  web: {ports: ['80']}\n", 2),
    "image null": ("services:\n  web: {image: }\n", 2),
    "image empty": ("services:\n  web: {image: ''}\n", 2),
    "image list": ("services:\n  web: {image: [a]}\n", 2),
    "duplicate key": ("services:\n  web:\n    image: a\n    image: b\n", 4),
    "duplicate service": ("services:\n  web: {image: a}\n  web: {image: b}\n", 3),
    "duplicate at the top": (WEB + "services: {}\n", 4),
    "duplicate in JSON": ('{"services": {"web": {"image": "a",\n"image": "b"}}}', 2),
    "duplicate by quotes": ("services:\n  web: {image: a}\n  'web': {image: b}\n", 3),
    "duplicate far below": (WEB + "    labels:\n      a: {b: [{c: 1,\n        c: 2}]}\n", 6),
    "two merges": (
        """x-a: &a {restart: always}
x-b: &b {dns: 1.1.1.1}
services:
  web:
    <<: *a
    <<: *b
    image: a
""",
        6,
    ),
    "merge of a text": (WEB + "    <<: nginx\n", 4),
    "template": ("services:\n  web:\n    image: {{ image }}\n", 3),
    "list as a name": ("? [a]\n: b\n" + WEB, 1),
    "extends nothing": ("services:\n  web:\n    extends: base\n", 3),
    "extends itself": ("services:\n  a:\n    extends: b\n  b:\n    extends: a\n", 5),
    "tag": ("a: !vault x\n" + WEB, 1),
    "python": ("a: 1\nb: !!python/object/apply:os.system ['id']\n" + WEB, 2),
    "python, spelt out": ("a: !<tag:yaml.org,2002:python/name:os.system> x\n" + WEB, 1),
    "python, by a handle": ("%TAG !p! tag:yaml.org,2002:python/\n---\na: !p!x y\n" + WEB, 3),
    "two documents": (WEB + "---\na: 1\n", 4),
    "unknown alias": ("a: *b\n" + WEB, 1),
    "recursion": ("a: 1\nb: &a [*a]\n" + WEB, 2),
    "recursion by a merge": ("services:\n  web: &w\n    image: x\n    <<: *w\n", 4),
    "alias bomb": (BOMB + "services:\n  web:\n    image: *a7\n", 6),
    "wide bomb": (WIDE + WEB, 2),
    "long bomb": (LONG, None),
    "chain": (
        "x0: &a0 [x]\n" + "".join(f"x{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 400)) + WEB,
        59,
    ),
    "nesting": ("x: 1\na: " + "[" * 5000 + "]" * 5000 + "\n" + WEB, 2),
    "NUL": (WEB + "x: \0\n", 4),
    "control": (WEB + "x: '\x1b[0m'\n", 4),
    "BOM within": (WEB + "x: \ufeffy\n", 4),
    "indentation": ("services:\n  web:\n    image: x\n   y: z\n", 4),
    "tab for indentation": ("services:\n\tweb: {image: x}\n", 2),
    "open quote": ("services:\n  web:\n    image: 'x\n", None),
}


@pytest.fixture(scope="module")
def cloud(new_cloud):

    with new_cloud(seed="empty", speed=400) as running:
        yield running


@pytest.fixture(scope="module")
def wire(cloud):
    """Sends a compose text to LocalCloud as it is, and returns what it says of it."""
    with Client(api_key=cloud.api_key, base_url=cloud.url) as client:

        def send(text):
            compose = {"name": "", "docker_compose_file": text}
            return client.post("/cvms/provision", {"name": "any-name", "compose_file": compose})

        yield send


@pytest.mark.parametrize("name", TAKEN)
def test_what_docker_takes_is_taken_by_all(name, wire):
    text, images = TAKEN[name]
    assert check_compose_file(text) is text
    assert read_compose_file(text).images == images
    assert read_declaration(text, "expected").images == images
    look = Look.at(text, None)
    assert (look.problem, dict(look.services)) == (None, images)
    assert wire(text)["compose_hash"]
    services = local_compose.services_of({"docker_compose_file": text})
    assert {service["name"]: service["image"] for service in services} == images


@pytest.mark.parametrize("name", REFUSED)
def test_what_docker_refuses_is_refused_by_all_with_its_line(name, wire):
    text, line = REFUSED[name]
    named = "" if line is None else f"line {line}: "
    for refused in (check_compose_file, read_compose_file):
        with pytest.raises(InvalidInput) as caught:
            refused(text)
        assert named in str(caught.value)
    if text.strip():
        with pytest.raises(InvalidInput):
            read_declaration(text, "expected")
        assert named in str(Look.at(text, None).problem)
    with pytest.raises(ResourceError) as answered:
        wire(text)
    assert answered.value.error_code in {"ERR-01-002", "ERR-01-003"} or "NUL" in name
    assert named in str(answered.value)
    assert len(str(answered.value)) < 600


@settings(deadline=None)
@given(
    st.text("{}[]:&*!<>-'\"|#?%@ \n\tabs,\r\u2028\x85\ufeff", max_size=40)
    | st.lists(
        st.sampled_from(["services:", "\n", "  ", "web:", " image: x", "&a ", "*a", "<<: ", "- "]),
        max_size=24,
    ).map("".join)
)
def test_client_and_localcloud_agree_on_any_text(text):
    by_client = by_cloud = None
    with contextlib.suppress(InvalidInput):
        by_client = dict(read_compose_file(text).images)
    with contextlib.suppress(ApiError):
        found = local_compose.services_of({"docker_compose_file": text})
        by_cloud = {service["name"]: service["image"] for service in found}
    assert by_client == by_cloud


def test_a_text_is_read_before_the_transaction_that_others_wait_for(tmp_path, monkeypatch):
    chosen = Settings(
        database=f"sqlite:///{tmp_path}/a.db", api_key="k", control_token="t", speed=1
    )
    prepare(chosen)
    app = create_app(chosen)
    writing, seen = [], []
    database, read = app.state.context.database, local_compose.compose_text.read
    write = database.write

    @contextlib.contextmanager
    def watched():
        with write() as session:
            writing.append(True)
            try:
                yield session
            finally:
                writing.clear()

    monkeypatch.setattr(database, "write", watched)
    monkeypatch.setattr(
        local_compose.compose_text, "read", lambda text: (seen.append(bool(writing)), read(text))[1]
    )

    async def requests():
        transport = httpx.ASGITransport(app=app)
        base = "http://testserver/api/v1/cvms"
        texts = (WEB + f"# {n}\n" for n in itertools.count())
        async with httpx.AsyncClient(transport=transport, headers={"X-API-Key": "k"}) as client:
            compose = {"name": "", "docker_compose_file": next(texts)}
            body = {"name": "one-app", "compose_file": compose}
            offer = await client.post(f"{base}/provision", json=body)
            made = await client.post(base, json=offer.json())
            cvm = f"{base}/{made.json()['id']}"
            again = {**compose, "docker_compose_file": next(texts)}
            bomb = {"name": "two-app", "compose_file": {"name": "", "docker_compose_file": BOMB}}
            return [
                (await client.patch(f"{cvm}/docker-compose", content=next(texts))).status_code,
                (await client.patch(cvm, json={"docker_compose_file": next(texts)})).status_code,
                (await client.post(f"{cvm}/compose_file/provision", json=again)).status_code,
                (await client.post(f"{base}/provision", json=bomb)).status_code,
            ]

    assert asyncio.run(requests()) == [409, 409, 200, 400]  # it is still being made
    app.state.context.database.close()
    assert seen == [False] * 5


# --- variables ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "needed", "optional"),
    [
        ("$A ${B} ${c_1}", "A B c_1", ""),
        ("$$A $${B} $$$C", "C", ""),
        ("${A:-x} ${B-y} ${C:-} ${D-}", "", "A B C D"),
        ("${A:?say} ${B?say} ${C:?} ${D?}", "A B C D", ""),
        ("${A:+x} ${B+y}", "", "A B"),
        ("${A:-${B}} ${C:-$D}", "B D", "A C"),
        ("${A:-${B:-${C:-x}}}", "", "A B C"),
        ("${A:+${B}} $C", "C", "A B"),
        ("${A:-x} $A", "A", ""),
        ("$1 $ ${} ${1} $(B) {A} }", "", ""),
        ("${A:-x", "", "A"),
        ("a$A-b$B", "A B", ""),
    ],
)
def test_variables_are_those_that_docker_puts_in(value, needed, optional):
    found = variables_of([value])
    assert (" ".join(sorted(found.needed)), " ".join(sorted(found.optional))) == (needed, optional)


def test_variables_stand_in_values_and_not_in_comments_or_names():
    text = (
        "services:\n  web:\n    image: nginx:${TAG}\n    # was: ${OLD}\n    environment:\n"
        "      ${KEY}: x\n      A: ${A:-x}\n      PASSED:\n      SET: ''\n"
        "  db:\n    image: x\n    environment: [LISTED, B=1, 'C=${D}']\n    command: [echo, $$E]\n"
    )
    found = read_compose_file(text).variables
    assert found.needed == {"TAG", "PASSED", "LISTED", "D"}
    assert found.optional == {"A"}
    assert Look.at(text, None).variables == ("D", "LISTED", "PASSED", "TAG")


def test_a_deep_default_is_read_in_one_go():
    found = variables_of(["${A:-" * 30_000, "${B:+" * 30_000 + "$C"])
    assert found == (frozenset(), frozenset({"A", "B", "C"}))
