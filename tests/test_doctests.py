"""The first example of each public call runs, as it is written, against a LocalCloud."""

import doctest
import importlib
import inspect
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from attest.issuer import Cvm as Guest
from helpers import COMPOSE, run_all, until

import cvm_notebook as cvm
from cvm_notebook.api.errors.tree import NotFoundError
from cvm_notebook.api.models.cvm import Cvm
from cvm_notebook.fleet.selection import Selection
from cvm_notebook.live.rules.autostop import AutoStop


def documented() -> Iterator[doctest.DocTest]:
    """Yield the examples of every public name, and of the methods of every public class."""
    finder = doctest.DocTestFinder(recurse=True, exclude_empty=True)
    for public in (*(getattr(cvm, name) for name in cvm.__all__), Selection, AutoStop):
        if inspect.isclass(public) or inspect.isfunction(public):
            seen = [public, *inspect.getmro(public)[1:-1]] if inspect.isclass(public) else [public]
            for one in seen:
                if one.__module__.startswith("cvm_notebook"):
                    module = importlib.import_module(one.__module__)
                    yield from finder.find(one, one.__name__, module=module)


EXAMPLES = {test.name: test for test in documented() if test.examples}


@pytest.fixture(scope="module")
def names(
    new_cloud: Callable[..., cvm.LocalCloud], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, object]]:
    """What the examples take for granted: a cloud, its client, some CVMs that run, a verdict."""
    with (
        new_cloud(seed="empty", speed=100) as cloud,
        cvm.Client(api_key=cloud.api_key, base_url=cloud.url) as client,
        pytest.MonkeyPatch.context() as patch,
    ):
        fleet = ["my-app", *(f"web-{number}" for number in range(1, 8))]
        run_all(client, *fleet)
        patch.chdir(tmp_path_factory.mktemp("examples"))  # some write files
        patch.setattr(cvm.LocalCloud, "running", staticmethod(lambda: (cloud.url, cloud.api_key)))
        with cvm.Fleet(client) as live:
            yield {
                "cvm": cvm,
                "client": client,
                "cloud": cloud,
                "compose": COMPOSE,
                "Client": cvm.Client,
                "fleet": live,
                "verdict": cvm.verify(client, "my-app", evidence=Guest().evidence()),
            }


@pytest.fixture
def ready(names: dict[str, object], request: pytest.FixtureRequest) -> dict[str, object]:
    """The same, with my-app running, or stopped where the example starts it."""
    client, live = names["client"], names["fleet"]
    assert isinstance(client, cvm.Client)
    assert isinstance(live, cvm.Fleet)

    def replicas() -> list[Cvm]:
        return [one for one in client.list_cvms() if (one.name or "").startswith("my-app-")]

    for one in replicas():  # of another example
        with suppress(NotFoundError):  # its own example may have deleted it
            client.delete_cvm(one)
        until(lambda: not replicas())
    state = client.get_cvm_state("my-app").status
    if "start_cvm" in request.node.name and "restart" not in request.node.name:
        client.stop_cvm("my-app")
        client.watch_cvm_state("my-app", target="stopped")
    elif state != "running":
        client.watch_cvm_state("my-app", target="running")
    if live.where(name="my-app-*").names:
        live.refresh()
        until(lambda: not live.where(name="my-app-*").names)
    if "start_cvm" not in request.node.name:
        live.wait("my-app", timeout=60)
    return names


@pytest.mark.parametrize("name", EXAMPLES)
def test_example(name: str, ready: dict[str, object]):
    test = EXAMPLES[name]
    test.globs |= ready
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    report: list[str] = []
    result = runner.run(test, out=report.append)
    assert result.attempted
    assert not result.failed, "".join(report)


LIFECYCLE = [
    *("provision_cvm", "commit_cvm_provision", "watch_cvm_state", "get_cvm_info"),
    *("start_cvm", "stop_cvm", "shutdown_cvm", "restart_cvm", "delete_cvm", "replicate_cvm"),
]


@pytest.mark.parametrize("call", LIFECYCLE)
def test_each_call_of_the_lifecycle_has_an_example(call: str):
    assert any(name.endswith(f".{call}") for name in EXAMPLES)
