"""Progress bars for cells that wait; in a notebook a widget."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Protocol


class Bar(Protocol):
    """A progress bar."""

    def update(self, n: float | None = 1) -> object:
        """Go on by n."""


class _NoBar:
    """Shows nothing."""

    def update(self, n: float | None = 1) -> None:
        """Do nothing."""


@contextmanager
def progress_bar(what: str, total: int, *, shown: bool, delay: float = 0.0) -> Iterator[Bar]:
    """Show how many of `total` CVMs are done, until the block ends; after `delay` seconds."""
    if not shown:
        yield _NoBar()
        return
    from tqdm.auto import tqdm  # noqa: PLC0415 - only where a bar is shown

    class Quiet(tqdm):  # type: ignore[type-arg]  # generic in its stubs only
        monitor_interval = 0  # no thread of its own, which would outlive it

    with closing(Quiet(total=total, desc=what, unit="CVM", miniters=1, delay=delay)) as bar:
        yield bar
