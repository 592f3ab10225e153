"""Hooks for the end of the interpreter, run in one order that no order of imports changes."""

import atexit
from collections.abc import Callable
from contextlib import ExitStack
from enum import IntEnum
from typing import Final, TypeAlias

Ending: TypeAlias = Callable[[], object]
_endings: Final[list[tuple["Stage", Ending]]] = []


class Stage(IntEnum):
    """The stages of the end, in the order they are reached; each may need those after it."""

    HALT = 1
    """Rolling updates begin nothing new."""
    SEND = 2
    """What was asked for is sent."""
    VIEWS = 3
    """Widgets say no more."""
    STREAMS = 4
    """Streams are given back."""
    THREADS = 5
    """Threads are waited for, a moment."""
    SERVER = 6
    """The LocalCloud of this process is closed."""


def at_exit(stage: Stage, ending: Ending) -> None:
    """Call a function at the end of the interpreter."""
    _endings.append((stage, ending))


@atexit.register
def _end() -> None:
    with ExitStack() as stack:  # which goes on after an error, and raises it in the end
        for _, ending in sorted(_endings, key=lambda known: known[0], reverse=True):
            stack.callback(ending)
