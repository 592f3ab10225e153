"""The package as a stranger finds it: small folders, small modules, and one name for one thing."""

import ast
from collections import defaultdict
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "cvm_notebook"
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if "__pycache__" not in path.parts)
FOLDERS = sorted({path.parent for path in MODULES})
TOP = {"connection", "errors", "files", "testing", "text"}
MOST_FILES = 12
MOST_LINES = 400
# A module is cut where a concept ends; these hold one each that is a little longer.
LONGER = {
    "api/errors/tree.py": 480,
    "api/http/transport.py": 460,
    "api/resources/cvms.py": 480,
    "api/resources/intent.py": 530,
    "api/resources/lifecycle.py": 410,
    "api/resources/updates.py": 520,
    "fleet/fleet.py": 450,
    "live/columns.py": 620,  # a declaration for each column
    "live/operations/database.py": 440,
    "live/operations/service.py": 520,
    "live/operations/tracker.py": 450,
    "live/reflector/reflector.py": 425,
    "live/store/store.py": 480,
    "local/cloud.py": 420,
    "local/core/database.py": 480,  # a declaration for each table
    "rollouts/runner.py": 440,
}
# LocalCloud shares no code with the client, and has names of its own for the same things.
SHARED = {
    "App": "the service's record of an app (a model), and the view of it in a live fleet",
    "Operation": "the service's entry in a CVM's history (a model), and ours in the ledger",
}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_folder_is_read_at_a_glance(folder):
    modules = [path for path in MODULES if path.parent == folder and path.stem != "__init__"]
    assert len(modules) <= MOST_FILES
    assert len(folder.relative_to(PACKAGE).parts) <= 2
    assert ast.get_docstring(ast.parse((folder / "__init__.py").read_text()))


def test_the_top_of_the_package_has_a_handful_of_modules():
    found = {path.stem for path in MODULES if path.parent == PACKAGE}
    assert found - {"__init__", "_lazy"} == TOP


def test_modules_are_short():
    lines = {str(path.relative_to(PACKAGE)): len(path.read_text().splitlines()) for path in MODULES}
    too_long = {
        name: count for name, count in lines.items() if count > LONGER.get(name, MOST_LINES)
    }
    assert not too_long
    assert not {name for name in LONGER if lines[name] <= MOST_LINES}, "no longer an exception"


def test_no_two_public_classes_share_a_name():
    homes = defaultdict(set)
    for path in MODULES:
        room = path.relative_to(PACKAGE).parts[0]
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes[node.name, room == "local"].add(path)
    twice = {name for (name, local), paths in homes.items() if len(paths) > 1 and not local}
    assert twice == set(SHARED)
