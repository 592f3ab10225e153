"""Tab completion of ``%cvm``: verbs, options, CVMs and profiles, without a request."""

import os
import re
import shlex
from collections.abc import Iterable
from typing import Final

from IPython.core.completer import (
    CompletionContext,
    SimpleCompletion,
    SimpleMatcherResult,
    context_matcher,
)

from cvm_notebook.api.auth.profiles import credentials_path, profile_names
from cvm_notebook.api.errors.tree import CredentialsError
from cvm_notebook.magics.arguments import ACTIONS, options_of, values_of, verbs
from cvm_notebook.magics.session import Session

# also `df = %cvm ls`; up to the cursor
_LINE: Final = re.compile(r"(?:[\w., \t]+=)?\s*(%%?)cvm\s+(.*)", re.DOTALL)
_MOST: Final = 500
_NAMING: Final = frozenset({*ACTIONS, "show", "update", "watch", "logs", "verify"})


class Completions:
    """Matcher of the magics' lines, from what the session knows already."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @context_matcher()  # type: ignore[untyped-decorator]
    def match(self, context: CompletionContext) -> SimpleMatcherResult:
        """Return the completions at the cursor; none outside of the magics' lines."""
        line = _LINE.fullmatch(context.text_until_cursor)
        if line is None or (line[1] == "%%" and context.cursor_line > 0):
            return SimpleMatcherResult(completions=[], suppress=False)
        *before, begun = re.split(r"\s+", line[2])
        found = [word for word in self._candidates(line[1], before) if word.startswith(begun)]
        return SimpleMatcherResult(
            completions=[SimpleCompletion(text=word, type="magic") for word in found[:_MOST]],
            matched_fragment=begun,
            suppress=bool(found),
        )

    def _candidates(self, sign: str, before: list[str]) -> Iterable[str]:
        if not before:
            return ["deploy"] if sign == "%%" else [*(v for v in verbs() if v != "deploy"), "help"]
        verb, *given = before
        if verb == "help":
            return verbs()
        if verb not in verbs():
            return ()
        values = values_of(verb, given[-1]) if given else None
        if values is not None:
            return values  # files are completed by IPython itself
        free = [name for name in options_of(verb) if name not in given or name == "--env"]
        return [*self._words(verb, given), *free]

    def _words(self, verb: str, given: list[str]) -> Iterable[str]:
        if verb in _NAMING:
            fleet = self._session.open_fleet()
            names = () if fleet is None else fleet._ipython_key_completions_()
            known = [shlex.quote(name) for name in names if name.isprintable()]
            return [name for name in known if name not in given]
        if verb in {"use", "login"} and not given:
            local = ["local"] if verb == "use" else []
            return [*local, *map(shlex.quote, _profiles())]
        return ()


def _profiles() -> Iterable[str]:
    try:
        return [name for name in profile_names(credentials_path(os.environ)) if name.isprintable()]
    except CredentialsError:  # a file that cannot be used has none
        return ()
