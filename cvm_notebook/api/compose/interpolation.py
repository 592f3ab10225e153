"""Variable interpolation of Docker Compose: the names in a file, required and optional."""

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

_NAME: Final = "[A-Za-z_][A-Za-z0-9_]*"
_REFERENCE: Final = re.compile(
    rf"\$(?:\$|(?P<bare>{_NAME})|\{{(?P<braced>{_NAME})(?P<form>:?[-+?]|(?=\}})))|(?P<end>\}})"
)


class Variables(NamedTuple):
    """Names of environment variables.

    Attributes
    ----------
    needed
        Without a value the file is not what was meant: ``$X``, ``${X}``, ``${X:?message}``.
    optional
        It says what holds without one: ``${X:-default}``, ``${X:+other}``.
    """

    needed: frozenset[str]
    optional: frozenset[str]


def variables_of(values: Iterable[str]) -> Variables:
    """Return the variables named in values; ``$$`` is an escaped dollar sign.

    What a default names is needed; what stands in ``${X:+other}`` is not, as it counts with X only.
    """
    needed: set[str] = set()
    optional: set[str] = set()
    for value in values:
        if "$" in value:
            _read(value, needed, optional)
    return Variables(frozenset(needed), frozenset(optional - needed))


def _read(value: str, needed: set[str], optional: set[str]) -> None:
    within: list[bool] = []  # of each open brace, whether what stands in it may be left out
    for found in _REFERENCE.finditer(value):
        loose = bool(within) and within[-1]
        if found["end"]:
            if within:
                within.pop()
        elif found["bare"]:
            (optional if loose else needed).add(found["bare"])
        elif found["braced"]:
            form = found["form"][-1:]
            (optional if loose or form in {"-", "+"} else needed).add(found["braced"])
            within.append(loose or form == "+")
