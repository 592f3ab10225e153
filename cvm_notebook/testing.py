"""LocalCloud for tests: a pytest plugin, there wherever cvm-notebook is installed.

``cvm_cloud`` is a cloud of the test's own, ``cvm_client`` a client of it, and ``cvm_faults`` makes
it fail. Any client of the API can be tested with it: ``docs/how-to/test-with-localcloud.md``.

Every pytest run loads this module, so it imports nothing but what pytest has: the rest comes when
a test asks for it.
"""

import inspect
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

if TYPE_CHECKING:
    from cvm_notebook.api.client import Client
    from cvm_notebook.local import LocalCloud
    from cvm_notebook.local.forkserver import ForkServer

_MARKER = "cvm_cloud"
_DEFAULTS = {"seed": "empty", "speed": 100.0}
# A database that is kept and a port that another test has are not the test's own; and each worker
# would count faults and requests for itself.
_NOT_OFFERED = {"database", "port", "workers"}


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known, also under ``--strict-markers``."""
    config.addinivalue_line(
        "markers",
        f"{_MARKER}(seed='empty', speed=100, faults=None, tier='ENTERPRISE', "
        "balance='10000', provision_days=14, rate_limit=None): what the test's LocalCloud is like",
    )


class Faults:
    """Makes the cloud of one test fail, on request."""

    def __init__(self, cloud: "LocalCloud") -> None:
        self._cloud = cloud

    def add(self, kind: str, route: str | None = None, arg: object = None, **more: object) -> None:
        """Let the next request that fits meet a fault.

        Parameters
        ----------
        kind
            What happens: ``"status"``, ``"latency"``, ``"reset"``, ``"cut"`` and all other kinds
            of `cvm_notebook.local.faults.kinds`.
        route
            Which requests: ``"POST /cvms/*/stop"`` below the API's prefix, or a name of that
            module such as ``"list"`` or ``"action"``. By default those that the kind is about.
        arg
            What the kind needs: the status, the seconds, the number of events.
        more
            ``times`` (how many requests meet it; None is all), ``skip`` (how many pass before),
            ``retry_after``, ``code``, ``node``, ``cvm``.

        Raises
        ------
        ValueError
            There is no such fault; the text says which part is wrong.
        """
        named = {"route": route, "arg": arg}
        fault = {"kind": kind, **{k: v for k, v in named.items() if v is not None}, **more}
        self._cloud.inject(fault)

    def met(self) -> list[dict[str, Any]]:
        """Return the requests that have met a fault, oldest first: assert that yours did.

        Each is a mapping with ``method``, ``path``, ``status`` (None where nothing was answered)
        and ``fault``, the kind.
        """
        return [request for request in self._cloud.requests() if request["fault"] is not None]

    def clear(self) -> None:
        """Take back all faults; done anyway when the test has ended."""
        self._cloud.clear_faults()


@pytest.fixture(scope="session")
def _cvm_fork_server() -> "Iterator[ForkServer | None]":
    try:
        from cvm_notebook.local.forkserver import SUPPORTED, ForkServer  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        _missing(error)
    if not SUPPORTED:
        yield None
        return
    with ForkServer() as fork_server:
        yield fork_server


@pytest.fixture
def cvm_cloud(
    request: pytest.FixtureRequest, _cvm_fork_server: "ForkServer | None"
) -> "Iterator[LocalCloud]":
    """Run a LocalCloud for this test alone, empty at first; `url` and `api_key` suit any client.

    The marker ``@pytest.mark.cvm_cloud(seed="demo")`` on a test, a class or a module changes what
    it is like; the words are those of `cvm_notebook.LocalCloud`.
    """
    from cvm_notebook.local import LocalCloud, LocalCloudError  # noqa: PLC0415 - as above

    options = _options(request.node, LocalCloud)
    make = LocalCloud if _cvm_fork_server is None else _cvm_fork_server.cloud
    with ExitStack() as stack:
        try:
            cloud = stack.enter_context(make(**options))
        except ModuleNotFoundError as error:
            _missing(error)
        except (ValueError, LocalCloudError) as error:
            _fail(f"@pytest.mark.{_MARKER}: {error}")
        yield cloud


@pytest.fixture
def cvm_client(cvm_cloud: "LocalCloud") -> "Iterator[Client]":
    """Give a `cvm_notebook.Client` of the test's cloud, closed afterwards."""
    from cvm_notebook.api.client import Client  # noqa: PLC0415 - only where it is asked for

    with Client(api_key=cvm_cloud.api_key, base_url=cvm_cloud.url) as client:
        yield client


@pytest.fixture
def cvm_faults(cvm_cloud: "LocalCloud") -> Iterator[Faults]:
    """Make the test's cloud fail: ``cvm_faults.add("status", "POST /cvms/*/stop", 503)``."""
    faults = Faults(cvm_cloud)
    yield faults
    if cvm_cloud.alive:
        faults.clear()  # teardown after the test must not meet them


def _options(node: pytest.Item, cloud: "type[LocalCloud]") -> dict[str, Any]:
    """Join the markers of a test; the nearer one has the say."""
    offered = [name for name in inspect.signature(cloud).parameters if name not in _NOT_OFFERED]
    options: dict[str, Any] = dict(_DEFAULTS)
    for marker in reversed(list(node.iter_markers(_MARKER))):
        unknown = [repr(each) for each in (*marker.args, *marker.kwargs) if each not in offered]
        if marker.args or unknown:
            _fail(
                f"@pytest.mark.{_MARKER} takes no {', '.join(unknown)}, but by name "
                f"{', '.join(offered)}"
            )
        options |= marker.kwargs
    return options


def _missing(error: ModuleNotFoundError) -> NoReturn:
    _fail(f"{_MARKER} needs {error.name!r}, not installed: pip install 'cvm-notebook[local]'")


def _fail(why: str) -> NoReturn:
    raise pytest.fail.Exception(why, pytrace=False) from None
