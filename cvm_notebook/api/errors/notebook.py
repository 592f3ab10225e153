"""Rendering of errors in a notebook: message, hint, and a box for a missing API key.

IPython asks an error for its lines. Where the error has been shown already, as when ``%tb`` asks
once more, it gets the whole traceback, with what the error was raised from.
"""

import sys
import traceback
from types import TracebackType
from typing import Any

from cvm_notebook._lazy import loaded


def notebook_lines(error: BaseException, hint: str | None) -> list[str]:
    """Return what IPython shows of an error.

    Parameters
    ----------
    hint
        What to do; a part of the error's text.
    """
    # another thread may be importing IPython just now
    get_ipython = getattr(sys.modules.get("IPython"), "get_ipython", None)
    shell = get_ipython() if get_ipython is not None else None
    if shell is not None and sys.exc_info()[1] is not error:
        trace = error.__traceback__
        lines: list[str] = shell.InteractiveTB.structured_traceback(type(error), error, trace)
        return lines
    if shell is not None and getattr(error, "is_of_the_key", False):
        show_beneath: Any = loaded("widgets.login", "show_beneath")
        show_beneath(shell)
    text = str(error)
    if hint and hint in text:
        text = "\n".join(line.rstrip() for line in text.replace(hint, "", 1).splitlines())
    first = f"{type(error).__name__}: {text.strip().replace('.  [', '. [')}".removesuffix(": ")
    where = f"({place}; %tb shows all of it)" if (place := _place(shell, error)) else ""
    return [first, *getattr(error, "__notes__", ()), " ".join(filter(None, (hint, where)))]


def _place(shell: Any, error: BaseException) -> str | None:
    """Return the last line of a cell that led to it, as IPython names cells: ``Cell In[3]``."""
    named = getattr(getattr(shell, "compile", None), "format_code_name", None)
    found, trace = None, error.__traceback__
    if named is None or not isinstance(trace, TracebackType):
        return None
    for frame, line in traceback.walk_tb(trace):
        if name := named(frame.f_code.co_filename):
            found = f"{' '.join(name)}, line {line}"
    return found
