"""Arguments of ``%cvm``: a parser for each verb, its usage and its help."""

import argparse
import re
import shlex
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from typing import Any, Final, NamedTuple, NoReturn, TypeAlias

from IPython.core.error import UsageError
from IPython.core.magic_arguments import MagicArgumentParser

from cvm_notebook.api.models.base import seconds_of
from cvm_notebook.api.resources.logs import CHANNELS
from cvm_notebook.api.status import STATUSES, closest_status, is_status
from cvm_notebook.api.verbs import SPECS
from cvm_notebook.text import as_sentence, clean_text, quoted, trimmed

ACTIONS: Final = tuple(verb for verb, spec in SPECS.items() if spec.help)
_GIVEN: Final = re.compile(r"=.*", re.DOTALL)
_STATUS_WORDS: Final = (*(one for one in STATUSES if one not in {"gone", "unknown"}), "deleted")


class Parser(MagicArgumentParser):
    """Parser of one verb's arguments; a mistake is a UsageError, in one line."""

    def __init__(self, verb: str) -> None:
        self.takes: list[argparse.Action] = []  # the superclass adds to it
        super().__init__(prog=f"cvm {verb}", add_help=False)  # type: ignore[no-untyped-call]
        self.verb = verb
        self.sign = "%%" if verb == "deploy" else "%"
        self.allow_abbrev = False  # a --y must not be a --yes
        self.add_argument("-h", "--help", action="store_true", help=argparse.SUPPRESS)
        for names, settings in _VERBS[verb].takes:
            self.add_argument(*names, **settings)

    def add_argument(self, *names: Any, **settings: Any) -> argparse.Action:
        """Add an argument or option; see argparse."""
        self.takes.append(super().add_argument(*names, **settings))
        return self.takes[-1]

    @property
    def usage_line(self) -> str:
        """The synopsis of the verb."""
        return (
            f"{self.sign}{self.prog} {' '.join(filter(None, map(_usage_of, self.takes)))}".rstrip()
        )

    def error(self, message: str) -> NoReturn:
        """Raise a UsageError; no value is repeated, for it may be a secret."""
        if self.verb == "deploy" and message.startswith("unrecognized"):
            message = "there are words that it does not take"
        problem = clean_text(_GIVEN.sub("=…", message), 200)
        raise UsageError(
            f"{self.sign}cvm {self.verb}: {as_sentence(problem)} Usage: {self.usage_line}"
        )


def _usage_of(action: argparse.Action) -> str:
    if action.help == argparse.SUPPRESS:
        return ""
    if not action.option_strings:
        name = f"{action.metavar}..." if action.nargs in ("+", "*") else str(action.metavar)
        return f"[{name}]" if action.nargs in ("?", "*") else name
    value = "" if action.nargs == 0 else f" {action.metavar or '|'.join(action.choices or ())}"
    return f"[{action.option_strings[0]}{value}]"


def split(line: str) -> list[str]:
    """Return the words of a line, quotes taken off as in a shell.

    What pasting adds, invisible characters around a word and blanks of other kinds, is left out.

    Raises
    ------
    UsageError
        A quote is not closed.
    """
    try:
        return [trimmed(word) for word in shlex.split(plain_blanks(line))]
    except ValueError as error:
        raise UsageError(f"%cvm: {str(error).lower()}; a quote must be closed.") from None


def plain_blanks(line: str) -> str:
    """Return the line with every kind of blank, a no-break space say, as the usual one."""
    return "".join(" " if c.isspace() else c for c in line)


def parse(verb: str, text: str) -> argparse.Namespace:
    """Return the parsed arguments of a verb; ``--help`` needs no other, and ls takes any text.

    Raises
    ------
    UsageError
        There is no such verb, or it does not take these words; the line says what it takes.
    """
    parser = parser_of(verb)
    if not {"-h", "--help"}.isdisjoint(text.split()):
        return argparse.Namespace(help=True)
    if verb == "ls":  # quotes belong to the search
        return argparse.Namespace(help=False, text=text)
    return parser.parse_intermixed_args(split(text))


@cache
def parser_of(verb: str) -> Parser:
    """Return the parser of a verb.

    Raises
    ------
    UsageError
        There is no such verb.
    """
    if verb not in _VERBS:
        near = get_close_matches(verb, _VERBS, n=1)
        meant = f"Did you mean {near[0]}? " if near else ""
        known = ", ".join(_VERBS)
        raise UsageError(f"%cvm has no {quoted(verb, 40)}. {meant}It has: {known}.")
    return Parser(verb)


def verbs() -> tuple[str, ...]:
    """Return all verbs."""
    return tuple(_VERBS)


def options_of(verb: str) -> tuple[str, ...]:
    """Return the options of a verb, as they are typed."""
    listed = [action for action in parser_of(verb).takes if action.help != argparse.SUPPRESS]
    named = [max(action.option_strings, key=len, default="") for action in listed]
    return tuple(sorted(name for name in named if name))


def values_of(verb: str, option: str) -> Sequence[str] | None:
    """Return the known values of an option, none where only the user knows; None if it has none."""
    for action in parser_of(verb).takes:
        if option in action.option_strings and action.nargs != 0:
            return _STATUS_WORDS if action.type is _status else tuple(action.choices or ())
    return None


def help_text(verb: str | None = None) -> str:
    """Return the help of a verb, or of all."""
    if verb is not None:
        parser = parser_of(verb)
        lines = [f"{parser.usage_line}\n  {_VERBS[verb].help}\n"]
        for action in parser.takes:
            if action.help and action.help != argparse.SUPPRESS:
                name = ", ".join(action.option_strings) or str(action.metavar or action.dest)
                lines.append(f"  {name:<16}{action.help}")
        return "\n".join(lines)
    lines = [f"  {parser_of(v).usage_line}\n      {known.help}" for v, known in _VERBS.items()]
    return "\n".join(["Act on the CVMs of this notebook's `fleet`:", "", *lines])


# --- values -------------------------------------------------------------------------------------


def _status(text: str) -> str:
    word = text.strip().lower()
    if not is_status(word):
        near = closest_status(word)
        what = f"did you mean {near}?" if near else f"it is one of {', '.join(_STATUS_WORDS)}"
        raise argparse.ArgumentTypeError(f"{clean_text(text, 40)!r} is not a status; {what}")
    return word


def _time(text: str) -> float:
    seconds = float(text) if text.isdecimal() else seconds_of(text)
    if not seconds or seconds <= 0:
        raise argparse.ArgumentTypeError(f"{quoted(text, 40)} is not a time; such as 90s, 10m")
    return float(seconds)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{quoted(text, 40)} is not a number of lines")
    return int(text)


# --- the verbs -----------------------------------------------------------------------------------

_Argument: TypeAlias = tuple[tuple[str, ...], dict[str, Any]]


class _Verb(NamedTuple):
    help: str
    takes: Sequence[_Argument] = ()


def _argument(*names: str, **settings: Any) -> _Argument:
    return names, settings


def _flag(*names: str, help: str) -> _Argument:  # noqa: A002 - argparse's word
    return names, {"action": "store_true", "help": help}


_NAME: Final = _argument("name", metavar="NAME", help="its name, or an identifier")
_ACTION: Final = (
    _argument("names", nargs="+", metavar="NAME", help="names or identifiers"),
    _flag("--yes", help="do it, where that is asked"),
    _flag("--wait", help="until it is done"),
)
_WATCH: Final = (
    _NAME,
    _argument("--until", type=_status, default="running", metavar="STATUS", help="which; running"),
    _argument("--timeout", type=_time, default=600.0, metavar="TIME", help="the most: 90s, 10m"),
)
_LOGS: Final = (
    _NAME,
    _flag("-f", "--follow", help="until it ends, or Ctrl-C"),
    _argument("--tail", type=_count, default=100, metavar="N", help="the last N lines"),
    _argument("--since", metavar="TIME", help="only later ones: 10m, or a time"),
    _argument("--container", metavar="C", help="of a container, else of the machine"),
    _argument("--channel", choices=CHANNELS, default="serial", help="of the machine"),
    _flag("--timestamps", help="begin each line with its time"),
)
_ENV: Final = (
    _argument("--env-file", metavar="FILE", help="environment variables, NAME=value"),
    _argument(
        "--env",
        action="append",
        default=[],
        metavar="NAME",
        help="a variable: its value is the one it has here, or is asked for",
    ),
)
_YES: Final = _flag("--yes", help="do it, where that is asked")
_TYPE: Final = _argument("--type", metavar="TYPE", help="the instance type; tdx.small if new")
_DEPLOY: Final = (
    _argument("name", metavar="NAME", help="of the new CVM"),
    _TYPE,
    _argument("--region", default="", metavar="R", help="where; else anywhere"),
    *_ENV,
    _flag("--update", help="change the CVM of that name, if it is there already"),
    _flag("--dry-run", help="show what it would be, and cost"),
    _YES,
    _flag("--wait", help="until it runs"),
)
_UPDATE: Final = (
    _NAME,
    _argument("--compose", metavar="FILE", help="the Docker Compose file"),
    _TYPE,
    _argument("--disk", type=int, metavar="GB", help="the size of its disk, which only grows"),
    _argument("--image", metavar="IMAGE", help="the OS image"),
    *_ENV,
    _flag("--dry-run", help="show what would change"),
    _YES,
    _flag("--wait", help="until it is done"),
)
_APPLY: Final = (
    _argument("file", metavar="FILE", help="YAML: names, and what is declared of each"),
    _flag("--dry-run", help="show what would be made and changed"),
    _YES,
    _flag("--wait", help="until all of it runs"),
)
_TARGET: Final = _argument(
    "target", nargs="?", metavar="local|PROFILE", help="the usual key if none"
)
_PROFILE: Final = _argument(
    "profile", nargs="?", metavar="PROFILE", help="of the phala command line"
)
_WORDS: Final = _argument("words", nargs="*", metavar="WORDS", help="words, conditions, or a query")
_WINDOW: Final = _argument("window", nargs="?", default="24h", metavar="24h", help="how far back")
_VERIFY: Final = (
    _NAME,
    _argument("--policy", metavar="FILE", help="what is expected of it: a policy as TOML"),
)
_FORCE: Final = _flag("--force", help="skip the clean shutdown")
_VERBS: Final[Mapping[str, _Verb]] = {
    "use": _Verb("choose the cloud: LocalCloud, a profile, or the usual key", (_TARGET,)),
    "login": _Verb("say whose key is used here, and take another", (_PROFILE,)),
    "ls": _Verb("list CVMs: all, by words, or by conditions such as status=running", (_WORDS,)),
    "show": _Verb("show one CVM", (_NAME,)),
    **{verb: _Verb(SPECS[verb].help, _ACTION) for verb in ACTIONS},
    "restart": _Verb(SPECS["restart"].help, (*_ACTION, _FORCE)),
    "update": _Verb("change a CVM in one restart", _UPDATE),
    "apply": _Verb("make and change CVMs until they are as a file declares", _APPLY),
    "watch": _Verb("wait until a CVM has a status", _WATCH),
    "logs": _Verb("read or follow a log", _LOGS),
    "verify": _Verb("check what a CVM runs, and on what", _VERIFY),
    "cost": _Verb("tell what each CVM has cost", (_WINDOW,)),
    "diff": _Verb("tell what has changed since the last ls or diff"),
    "deploy": _Verb("make a CVM of the Docker Compose file in the cell", _DEPLOY),
}
