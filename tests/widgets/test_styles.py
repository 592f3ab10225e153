"""Style sheets of views that stand in one page: none says anything of another's elements."""

import itertools
import re
from importlib.resources import files
from pathlib import Path

import pytest
import tinycss2

FOLDER = {
    **dict.fromkeys(
        (
            "activity",
            "choices",
            "common",
            "confirm",
            "diff",
            "log_find",
            "logs",
            "offline",
            "secret",
            "secret_box",
            "sign_in",
            "tabs",
            "view_model",
        ),
        "base",
    ),
    **dict.fromkeys(
        (
            *("change", "change_parts", "compose_editor", "deploy"),
            *("form", "form_parts", "form_start", "form_store"),
        ),
        "form",
    ),
    **dict.fromkeys(
        (
            *("table", "table_columns", "table_empty", "table_facets", "table_filter"),
            *("table_grid", "table_groups", "table_menu", "table_store", "table_summary"),
            *("table_toasts", "table_views"),
        ),
        "table",
    ),
    **dict.fromkeys(("card", "metrics", "overview", "revisions", "terms", "trust"), "card"),
    **dict.fromkeys(("attention", "costs", "dashboard", "split"), "dashboard"),
}
# the root elements of each sheet: a view's own, or those of a part that several views show
VIEWS = {
    "dashboard": ("cvm-dashboard",),
    "card": ("cvm-card",),
    "form": ("cvm-form",),
    "login": ("cvm-login",),
    "secret_box": ("cvm-alone",),
    "table": ("cvm-table",),
}
PARTS = {
    "activity": ("cvm-activity-rows",),
    "choices": ("cvm-choices", "cvm-switch"),
    "confirm": ("cvm-confirm", "cvm-undo"),
    "diff": ("cvm-diff",),
    "logs": ("cvm-logs",),
    "offline": ("cvm-offline",),
    "secret": ("cvm-secret", "cvm-env"),
    "sign_in": ("cvm-sign-in",),
    "tabs": ("cvm-tabs", "cvm-panel"),
}
SHEETS = {**VIEWS, **PARTS, "common": ("cvm",)}
SCRIPTS = {
    "dashboard": ("attention", "costs", "dashboard", "split"),
    "card": ("card", "metrics", "overview", "revisions", "terms", "trust"),
    "form": (
        *("change", "change_parts", "compose_editor", "deploy"),
        *("form", "form_parts", "form_start", "form_store"),
    ),
    "login": ("login",),
    "secret_box": ("secret_box",),
    "table": (
        *("table", "table_columns", "table_empty", "table_facets", "table_filter"),
        *("table_grid", "table_groups", "table_menu", "table_store", "table_summary"),
        *("table_toasts", "table_views"),
    ),
}


def text(name):
    folder = files("cvm_notebook.widgets") / FOLDER.get(name.partition(".")[0], "")
    return (folder / name).read_text("utf-8")


def rules(nodes):
    """Yield the rules of a style sheet, those in conditions too; and what animations it names."""
    for node in nodes:
        assert node.type != "error", node.message
        if node.type == "qualified-rule":
            yield "rule", node.prelude
        elif node.type == "at-rule" and node.lower_at_keyword == "keyframes":
            yield "keyframes", tinycss2.serialize(node.prelude).strip()
        elif node.type == "at-rule":
            assert node.lower_at_keyword in {"media", "container", "supports"}
            inside = tinycss2.parse_rule_list(
                node.content, skip_comments=True, skip_whitespace=True
            )
            yield from rules(inside)


def parsed(name):
    sheet = tinycss2.parse_stylesheet(text(f"{name}.css"), skip_comments=True, skip_whitespace=True)
    return list(rules(sheet))


def selectors(name):
    """Return a sheet's selectors, each as its tokens."""
    found = []
    for kind, prelude in parsed(name):
        if kind == "rule":
            apart = itertools.groupby(prelude, key=lambda token: token == ",")
            found += [list(tokens) for comma, tokens in apart if not comma]
    return found


def compounds(tokens):
    """Return the classes of each compound of a selector, from left to right."""
    parts = [set()]
    dot = False
    for token in tokens:
        if token.type == "whitespace" or token in (">", "+", "~"):
            parts.append(set())
        elif token.type == "ident" and dot:
            parts[-1].add(token.value)
        elif token.type == "function" and token.lower_name == "where":
            parts[-1] |= set().union(*compounds(token.arguments))
        dot = token == "."
    return [part for part in parts if part] or [set()]


def test_every_style_sheet_is_known_here():
    package = Path(str(files("cvm_notebook.widgets")))
    assert {path.stem for path in package.rglob("*.css")} == set(SHEETS)
    scripts = {path.stem for path in package.rglob("*.js")}
    assert scripts == {
        *itertools.chain(*SCRIPTS.values()),
        *PARTS,
        "common",
        "log_find",
        "view_model",
    }


@pytest.mark.parametrize("name", SHEETS)
def test_every_selector_begins_at_the_root_of_its_own_view(name):
    assert selectors(name)
    for tokens in selectors(name):
        first, *rest = compounds(tokens)
        own = first if name not in PARTS else rest[0] if rest else set()
        assert own & set(SHEETS[name]), tinycss2.serialize(tokens)
        assert name not in PARTS or first == {"cvm"}, tinycss2.serialize(tokens)


def test_no_selector_and_no_animation_stands_in_two_sheets():
    owners = {}
    for name in SHEETS:
        for kind, prelude in parsed(name):
            named = [prelude] if kind == "keyframes" else []
            for one in named:
                assert owners.setdefault(("keyframes", one), name) == name
        for tokens in selectors(name):
            one = re.sub(r"\s+", " ", tinycss2.serialize(tokens)).strip()
            assert owners.setdefault(("rule", one), name) == name, one


def test_no_class_is_used_by_two_views():
    shared = {
        one for name in ("common", *PARTS) for one in re.findall(r"cvm-[\w-]+", text(f"{name}.css"))
    }
    used = {
        view: {
            name
            for script in scripts
            for name in re.findall(r"(?<![\w-])cvm-[\w-]+", text(f"{script}.js"))
        }
        - shared
        for view, scripts in SCRIPTS.items()
    }
    for one, other in itertools.combinations(used, 2):
        assert not used[one] & used[other], (one, other)
    for view, roots in VIEWS.items():
        assert set(roots) <= used[view]


def test_a_view_styles_no_class_that_its_scripts_never_give():
    """What is left of a class that was renamed would be dead, or another view's."""
    for view, scripts in SCRIPTS.items():
        given = "".join(text(f"{script}.js") for script in scripts)
        parts = "".join(text(f"{name}.js") for name in ("common", *PARTS))
        shared = set(re.findall(r"cvm-[\w-]+", text("common.css")))
        for tokens in selectors(view):
            for one in set(re.findall(r"\.(cvm-[\w-]+)", tinycss2.serialize(tokens))) - shared:
                whole = one in given or one in parts
                stem = one.rpartition("-")[0] + "-"  # `cvm-kind-${kind}`
                assert whole or f"{stem}$" in given, f"{view}: {one}"


def test_moments_money_and_numbers_of_things_are_written_in_one_way():
    """By `momentText`, `usdText`, `howMany` and their like, which every view has."""
    own = r"hour12|dateStyle|toLocale(Date|Time)String|new Date\([^()]*\)\.toLocaleString"
    own += r"|s?\$\{[^{}]* === 1 \? \"\" : \"s\"\}|\.toFixed\(2\)\} USD"
    package = Path(str(files("cvm_notebook.widgets")))
    for script in set(package.glob("*/*.js")) - {package / "base" / "common.js"}:
        assert not re.findall(own, script.read_text("utf-8")), script
