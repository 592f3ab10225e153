"""What can be said to ``%cvm``: its verbs, what each takes, and how a line is read."""

import argparse
import re
import shlex
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import cache
from typing import Any, Final, NoReturn

from IPython.core.error import UsageError
from IPython.core.magic_arguments import MagicArgumentParser

from cvm_notebook.api.models.base import seconds_of
from cvm_notebook.api.resources.logs import CHANNELS
from cvm_notebook.api.status import STATUSES, closest_status, is_status
from cvm_notebook.text import as_sentence, clean_text, quoted, trimmed

ACTIONS: Final = ("start", "stop", "shutdown", "restart", "delete", "replicate")
_GIVEN: Final = re.compile(r"=.*", re.DOTALL)
_HELP: Final = {
    "use": "choose the cloud: LocalCloud, a profile, or the usual key",
    "login": "say whose key is used here, and take another",
    "ls": "list CVMs: all, by words, or by conditions such as status=running",
    "show": "show one CVM",
    "start": "start CVMs",
    "stop": "stop CVMs at once",
    "shutdown": "stop CVMs, letting their containers end",
    "restart": "restart CVMs",
    "delete": "delete CVMs and their disks, for good",
    "replicate": "make another CVM of the same app",
    "watch": "wait until a CVM has a status",
    "logs": "read or follow a log",
    "cost": "tell what each CVM has cost",
    "diff": "tell what has changed since the last ls or diff",
    "deploy": "make a CVM of the Docker Compose file in the cell",
}


class Parser(MagicArgumentParser):
    """Reads what follows one verb; a mistake is a UsageError, in one line."""

    def __init__(self, verb: str) -> None:
        self.takes: list[argparse.Action] = []
        super().__init__(prog=f"cvm {verb}", add_help=False)  # type: ignore[no-untyped-call]
        self.verb = verb
        self.sign = "%%" if verb == "deploy" else "%"
        self.allow_abbrev = False  # a --y must not be a --yes
        self.add_argument("-h", "--help", action="store_true", help=argparse.SUPPRESS)

    def add_argument(self, *names: Any, **said: Any) -> argparse.Action:
        """Take one word or option more; see argparse."""
        self.takes.append(super().add_argument(*names, **said))
        return self.takes[-1]

    @property
    def usage_line(self) -> str:
        """How it is written."""
        return (
            f"{self.sign}{self.prog} {' '.join(filter(None, map(_usage_of, self.takes)))}".rstrip()
        )

    def error(self, message: str) -> NoReturn:
        """Refuse what was said; no value is repeated, for it may be a secret."""
        if self.verb == "deploy" and message.startswith("unrecognized"):
            message = "there are words that it does not take"
        said = clean_text(_GIVEN.sub("=…", message), 200)
        raise UsageError(
            f"{self.sign}cvm {self.verb}: {as_sentence(said)} Usage: {self.usage_line}"
        )


def _usage_of(action: argparse.Action) -> str:
    """Return how one argument is written, in brackets where it need not be."""
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


def read(verb: str, text: str) -> argparse.Namespace:
    """Return what is asked of a verb; ``--help`` needs nothing else, and ls takes it as it is.

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
    """Return what reads the words of a verb.

    Raises
    ------
    UsageError
        There is no such verb.
    """
    if verb not in _ARGUMENTS:
        near = get_close_matches(verb, _ARGUMENTS, n=1)
        meant = f"Did you mean {near[0]}? " if near else ""
        known = ", ".join(_ARGUMENTS)
        raise UsageError(f"%cvm has no {quoted(verb, 40)}. {meant}It has: {known}.")
    parser = Parser(verb)
    _ARGUMENTS[verb](parser)
    return parser


def verbs() -> tuple[str, ...]:
    """Return the verbs there are."""
    return tuple(_ARGUMENTS)


def options_of(verb: str) -> tuple[str, ...]:
    """Return the options of a verb, as they are typed."""
    said = [action for action in parser_of(verb).takes if action.help != argparse.SUPPRESS]
    named = [max(action.option_strings, key=len, default="") for action in said]
    return tuple(sorted(name for name in named if name))


def help_text(verb: str | None = None) -> str:
    """Say what a verb takes, or which there are."""
    if verb is not None:
        parser = parser_of(verb)
        lines = [f"{parser.usage_line}\n  {_HELP[verb]}\n"]
        for action in parser.takes:
            if action.help and action.help != argparse.SUPPRESS:
                name = ", ".join(action.option_strings) or str(action.metavar or action.dest)
                lines.append(f"  {name:<16}{action.help}")
        return "\n".join(lines)
    usages = {verb: parser_of(verb).usage_line for verb in _ARGUMENTS}
    lines = [f"  {usage}\n      {_HELP[verb]}" for verb, usage in usages.items()]
    return "\n".join(["Act on the CVMs of this notebook's `fleet`:", "", *lines])


# --- what each verb takes ------------------------------------------------------------------------


def _use(parser: Parser) -> None:
    parser.add_argument("target", nargs="?", metavar="local|PROFILE", help="the usual key if none")


def _login(parser: Parser) -> None:
    parser.add_argument("profile", nargs="?", metavar="PROFILE", help="of the phala command line")


def _ls(parser: Parser) -> None:
    parser.add_argument("words", nargs="*", metavar="WORDS", help="words, conditions, or a query")


def _show(parser: Parser) -> None:
    _one(parser)


def _action(parser: Parser) -> None:
    parser.add_argument("names", nargs="+", metavar="NAME", help="names or identifiers")
    parser.add_argument("--yes", action="store_true", help="do it, where that is asked")
    parser.add_argument("--wait", action="store_true", help="until it is done")
    if parser.verb == "restart":
        parser.add_argument("--force", action="store_true", help="skip the clean shutdown")


def _watch(parser: Parser) -> None:
    _one(parser)
    parser.add_argument(
        "--until", type=_status, default="running", metavar="STATUS", help="which; running"
    )
    parser.add_argument(
        "--timeout", type=_time, default=600.0, metavar="TIME", help="the most: 90s, 10m"
    )


def _logs(parser: Parser) -> None:
    _one(parser)
    parser.add_argument("-f", "--follow", action="store_true", help="until it ends, or Ctrl-C")
    parser.add_argument("--tail", type=_count, default=100, metavar="N", help="the last N lines")
    parser.add_argument("--since", metavar="TIME", help="only later ones: 10m, or a time")
    parser.add_argument("--container", metavar="C", help="of a container, else of the machine")
    parser.add_argument("--channel", choices=CHANNELS, default="serial", help="of the machine")
    parser.add_argument("--timestamps", action="store_true", help="begin each line with its time")


def _cost(parser: Parser) -> None:
    parser.add_argument("window", nargs="?", default="24h", metavar="24h", help="how far back")


def _diff(parser: Parser) -> None:
    """Take nothing."""


def _deploy(parser: Parser) -> None:
    parser.add_argument("name", metavar="NAME", help="of the new CVM")
    parser.add_argument("--type", default="tdx.small", metavar="TYPE", help="the instance type")
    parser.add_argument("--region", default="", metavar="R", help="where; else anywhere")
    parser.add_argument("--env-file", metavar="FILE", help="environment variables, NAME=value")
    parser.add_argument(
        "--env",
        action="append",
        default=[],
        metavar="NAME",
        help="a variable: its value is the one it has here, or is asked for",
    )
    parser.add_argument("--dry-run", action="store_true", help="show what it would be, and cost")
    parser.add_argument("--wait", action="store_true", help="until it runs")


_ARGUMENTS: Final[Mapping[str, Callable[[Parser], None]]] = {
    "use": _use,
    "login": _login,
    "ls": _ls,
    "show": _show,
    **dict.fromkeys(ACTIONS, _action),
    "watch": _watch,
    "logs": _logs,
    "cost": _cost,
    "diff": _diff,
    "deploy": _deploy,
}


def _one(parser: Parser) -> None:
    parser.add_argument("name", metavar="NAME", help="its name, or an identifier")


def _status(text: str) -> str:
    word = text.strip().lower()
    if not is_status(word):
        near = closest_status(word)
        usual = ", ".join(one for one in STATUSES if one not in {"gone", "unknown"})
        what = f"did you mean {near}?" if near else f"it is one of {usual}, deleted"
        raise argparse.ArgumentTypeError(f"{clean_text(text, 40)!r} is no status; {what}")
    return word


def _time(text: str) -> float:
    seconds = float(text) if text.isdecimal() else seconds_of(text)
    if not seconds or seconds <= 0:
        raise argparse.ArgumentTypeError(f"{quoted(text, 40)} is no time; such as 90s, 10m")
    return float(seconds)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{quoted(text, 40)} is no number of lines")
    return int(text)
