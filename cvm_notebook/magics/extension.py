"""The magics ``%cvm`` and ``%%cvm``: ``%load_ext cvm_notebook``."""

import copy
from functools import partial
from typing import TYPE_CHECKING, Final

from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_cell_magic, magics_class

from cvm_notebook.api.errors.tree import CvmError
from cvm_notebook.magics.arguments import help_text, parse, parser_of, plain_blanks
from cvm_notebook.magics.completion import Completions
from cvm_notebook.magics.deploy import deploy
from cvm_notebook.magics.session import Session
from cvm_notebook.magics.verbs import VERBS
from cvm_notebook.text import trimmed
from cvm_notebook.widgets.login import show_beneath

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

_DEPLOY: Final = "deploy"


@magics_class
class CvmMagics(Magics):
    """``%cvm``, for one IPython."""

    def __init__(self, shell: "InteractiveShell") -> None:
        super().__init__(shell)
        self.session = Session(shell)

    @line_cell_magic
    def cvm(self, line: str, cell: str | None = None) -> object:
        """Act on the CVMs of this notebook's fleet; %cvm alone shows how."""
        typed = trimmed(plain_blanks(line))
        verb, _, text = typed.removesuffix(";").strip().partition(" ")
        verb = trimmed(verb)
        if verb in {"", "help", "-h", "--help"}:
            print(help_text(text.strip() or None))
            return None
        _check_place(verb, cell)
        args = parse(verb, text)
        if args.help:
            print(help_text(verb))
            return None
        args.verb = verb
        handler = VERBS.get(verb) or partial(deploy, compose=cell or "")
        try:
            result = handler(self.session, args)
        except (CvmError, KeyboardInterrupt) as error:
            failed = _without_traceback(error)
            if getattr(error, "is_of_the_key", False):
                show_beneath(self.shell)
        else:
            return None if typed.endswith(";") else result  # as with any last line of a cell
        # outside of the handler: what is raised has no frames that hold a value
        raise failed


def _check_place(verb: str, cell: str | None) -> None:
    """Raise a UsageError for a verb in the wrong kind of cell."""
    usage = parser_of(verb).usage_line
    if verb == _DEPLOY and cell is None:
        raise UsageError(f"deploy takes a whole cell, with the Docker Compose file in it: {usage}")
    if verb != _DEPLOY and cell is not None:
        raise UsageError(f"{verb} takes one line, and no cell: {usage}")


def _without_traceback(error: CvmError | KeyboardInterrupt) -> CvmError | KeyboardInterrupt:
    """Return a copy of an error that IPython shows in a line, without a traceback."""
    shown = copy.copy(error) if isinstance(error, CvmError) else type(error)(*error.args)
    # a library that sends exceptions to other processes, as tblib does, has them copied with these
    shown.__cause__ = shown.__context__ = shown.__traceback__ = None
    # IPython asks an error for its lines; a run by nbclient or papermill fails all the same
    name = type(error).__name__
    lines = [f"{name}: {shown}" if str(shown) else name]
    vars(shown)["_render_traceback_"] = partial(list, lines)
    return shown


def load_ipython_extension(shell: "InteractiveShell") -> None:
    """Add the magics to an IPython: ``%load_ext cvm_notebook``."""
    unload_ipython_extension(shell)  # `%reload_ext` leaves one of each
    magics = CvmMagics(shell)
    shell.register_magics(magics)
    shell.Completer.custom_matchers.append(Completions(magics.session).match)


def unload_ipython_extension(shell: "InteractiveShell") -> None:
    """Take the magics away again: ``%unload_ext cvm_notebook``."""
    for kind in ("line", "cell"):
        shell.magics_manager.magics[kind].pop("cvm", None)
    matchers = shell.Completer.custom_matchers
    matchers[:] = [
        one for one in matchers if not isinstance(getattr(one, "__self__", None), Completions)
    ]
