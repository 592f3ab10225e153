"""Command line ``cvm-notebook``: its options, its signals and its exit codes."""

import argparse
import importlib.util
import io
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cvm_notebook import __version__

COULD_NOT_RUN: Final = 2  # as argparse ends when it does not understand
CRASHED: Final = 3  # by a fault of this program: no other outcome has this code
INTERRUPTED: Final = 130  # as shells say of a program that SIGINT has ended
NOBODY_READS: Final = 141  # the same of SIGPIPE
TRACEBACK_VARIABLE: Final = "CVM_NOTEBOOK_TRACEBACK"

EXAMPLES = """\
examples:
  cvm-notebook demo                    JupyterLab on the dashboard, with a cloud of its own
  cvm-notebook demo --run              the first tutorial without a browser, its results as text
  cvm-notebook cloud --port 8787       the same API as Phala Cloud, served on this machine
  cvm-notebook report --output r.html  what the fleet is, costs and breaks: one page, for cron
  cvm-notebook autostop rules.toml     shut down what is idle, or at a time: one look, for cron
  cvm-notebook doctor                  versions, key, address, connection: safe to share
  cvm-notebook doctor --local          the same of the LocalCloud that runs on this machine
  cvm-notebook doctor --record r.json  the shapes of the service's answers, for a bug report

exit codes: 0 done, 1 it failed (each command says what that means), 2 not understood,
3 a fault of cvm-notebook itself, 130 interrupted, 141 nobody reads what it prints
"""
REPORT = """\
exit codes: 0 within all limits, 1 a limit is exceeded (the report says which), 2 it could not run,
3 a fault of cvm-notebook itself, 130 interrupted

  cvm-notebook report --output report.html -p max_rate_usd_h=12.5 -p max_failed=0
  cvm-notebook report --output report.html --target work -p title="Team fleet" -p kept=fleet.parquet

The parameters are those of the notebook 90_fleet_report.ipynb; values are parsed as Python,
otherwise used as text.
"""


AUTOSTOP = """\
A file of rules, in TOML:

  [[rule]]
  where = "name like 'dev-%'"       # as fleet.search takes it
  idle = "1h"                       # under 10 % of CPU for so long
  [[rule]]
  name = "evenings"
  where = "region = us-west-1 and gpus = 0"
  schedule = "Mon-Fri 20:00 Europe/Berlin"

  idle or schedule, or both: either is enough. below = "5%" sets another share of CPU.

A look tells of the 15 minutes before it: run it every five or ten minutes, as by this line of cron.
What looks have seen is kept in --state between them; what no look reached over was not idle.

  */5 * * * * cvm-notebook autostop /etc/cvm/rules.toml --target work

exit codes: 0 done, 1 some were not shut down, 2 it could not run, 3 a fault of cvm-notebook itself,
130 interrupted
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    _print_any_text()
    options = _parser().parse_args(argv)
    _take_signals()
    try:
        code = int(options.answer(options))
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our text went away, as `| head` does
        with open(os.devnull, "wb") as nobody:  # noqa: PTH123 - a device, for the flush at the end
            os.dup2(nobody.fileno(), sys.stdout.fileno())
        return NOBODY_READS
    except Exception as error:  # noqa: BLE001 - the program's top: reported in a line, with a code
        return _crashed(options.command, error)
    return code


def _print_any_text() -> None:
    """Escape characters that the terminal or the file cannot show; never fail by one."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _take_signals() -> None:
    """Set the signal handlers: Ctrl-C, kill and a closed terminal end what was started.

    What started us may have signals ignored, and we inherit that: a script ignores SIGINT for what
    it runs in the background. SIGHUP stays ignored, for nohup asks for just that.
    """
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is None or (name == "SIGHUP" and signal.getsignal(number) == signal.SIG_IGN):
            continue
        signal.signal(number, signal.default_int_handler)
    if hasattr(signal, "SIGCHLD"):  # ignored, how a process ended could not be asked
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def _crashed(command: str, error: Exception) -> int:
    """Print the error in a line; with the variable set, its traceback, too."""
    if os.environ.get(TRACEBACK_VARIABLE):
        traceback.print_exception(error)
    problem = " ".join(f"{type(error).__name__}: {error}".split())
    print(
        f"cvm-notebook {command}: ended by {problem}\n"
        f"This should not happen. {TRACEBACK_VARIABLE}=1 shows where it did.",
        file=sys.stderr,
    )
    return CRASHED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cvm-notebook",
        description="Run confidential virtual machines from a notebook.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"cvm-notebook {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", dest="command", required=True)
    _add_demo(commands)
    _add_cloud(commands)
    _add_report(commands)
    _add_autostop(commands)
    _add_doctor(commands)
    return parser


def _add_demo(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    text = "open JupyterLab on the dashboard and the tutorials, with a demo cloud on this machine"
    demo = commands.add_parser("demo", help=text, description=_sentence(text))
    demo.add_argument("--no-browser", action="store_true", help="print the address, open nothing")
    demo.add_argument("--port", type=_port, help="port of JupyterLab (8888, or the next free one)")
    demo.add_argument(
        "--dir",
        type=Path,
        default=Path("cvm-notebooks"),
        metavar="FOLDER",
        help="where the notebooks are copied to (%(default)s); what you edited there is kept",
    )
    demo.add_argument(
        "--run", action="store_true", help="run the first tutorial here and print what it shows"
    )
    _add_speed(demo)
    demo.set_defaults(answer=_demo)


def _add_cloud(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    text = "serve LocalCloud, the same API as Phala Cloud, until Ctrl-C"
    cloud = commands.add_parser("cloud", help=text, description=_sentence(text))
    cloud.add_argument(
        "--host", type=_host, default="127.0.0.1", help="address to bind (%(default)s)"
    )
    cloud.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a further name it is reached under, as through a proxy; may be repeated",
    )
    cloud.add_argument("--port", type=_port, default=8787, help="port (%(default)s; 0: any free)")
    cloud.add_argument(
        "--database",
        metavar="URL",
        help="SQLAlchemy URL (a SQLite file in the data folder), or postgresql+psycopg://HOST/NAME",
    )
    cloud.add_argument(
        "--seed",
        choices=("demo", "empty"),
        default="demo",
        help="what is in it at first (%(default)s)",
    )
    cloud.add_argument("--faults", type=Path, metavar="FILE", help="faults to inject, JSON or YAML")
    cloud.add_argument("--workers", type=_workers, default=1, help="processes (%(default)s)")
    _add_speed(cloud)
    cloud.set_defaults(answer=_cloud)


def _add_report(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    text = "write the report of a fleet as one HTML page, and check its limits"
    report = commands.add_parser(
        "report",
        help=text,
        description=_sentence(text),
        epilog=REPORT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    report.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="FILE",
        help="the page; a file that is there is replaced whole and keeps its mode",
    )
    _add_target(report)
    report.add_argument(
        "-p",
        dest="parameters",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a parameter of the report",
    )
    report.set_defaults(answer=_report)


def _add_autostop(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    text = "shut CVMs down that are idle, or at a time of day, by a file of rules; for cron"
    autostop = commands.add_parser(
        "autostop",
        help=text,
        description=_sentence(text),
        epilog=AUTOSTOP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    autostop.add_argument("file", type=Path, metavar="FILE", help="the rules, in TOML")
    _add_target(autostop)
    autostop.add_argument(
        "--state",
        type=Path,
        metavar="FILE",
        help="where observations are kept between two looks (FILE.state.json beside the rules)",
    )
    autostop.add_argument(
        "--dry-run",
        action="store_true",
        help="print what would be shut down; nothing is sent, and nothing is kept",
    )
    autostop.set_defaults(answer=_autostop)


def _add_doctor(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    text = "check this installation and its connection, and say what to do; shows no secret"
    doctor = commands.add_parser("doctor", help=text, description=_sentence(text))
    whose = doctor.add_mutually_exclusive_group()
    whose.add_argument("--profile", help="profile of ~/.phala-cloud/credentials.json to check")
    whose.add_argument(
        "--local", action="store_true", help="check the LocalCloud that runs on this machine"
    )
    doctor.add_argument("--json", action="store_true", help="the same, for a program")
    doctor.add_argument(
        "--record",
        type=Path,
        metavar="FILE",
        help="make the calls that only read, and write the fields, types and fixed words of their "
        "answers, without a value that could name anybody: to be attached to a bug report",
    )
    doctor.add_argument(
        "--against",
        choices=("localcloud",),
        help="print where a LocalCloud answers the same calls in another shape",
    )
    doctor.set_defaults(answer=_doctor)


def _add_target(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--target",
        metavar="local|PROFILE",
        help="LocalCloud, or a profile of the Phala CLI; otherwise your default credentials",
    )


def _add_speed(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--speed",
        type=_speed,
        default=20.0,
        metavar="N",
        help="divide the durations of boots and stops by N (%(default)g)",
    )


def _sentence(text: str) -> str:
    """Return it as a sentence; names in it keep their capitals."""
    return f"{text[0].upper()}{text[1:]}."


def _host(text: str) -> str:
    try:
        text.encode("idna")
    except UnicodeError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a host; 127.0.0.1 is this machine"
        ) from None
    return text


def _port(text: str) -> int:
    number = int(text) if text.isdecimal() else -1
    if not 0 <= number <= 65535:  # noqa: PLR2004 - the range of ports
        raise argparse.ArgumentTypeError(f"{text!r} is not a port; give a number from 0 to 65535")
    return number


def _speed(text: str) -> float:
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a speed; give a number above 0")
    return speed


def _workers(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of processes; give 1 or more")
    return int(text)


def _demo(options: argparse.Namespace) -> int:
    _require("demo", "fastapi", "sqlalchemy", "uvicorn", "jupyterlab", "nbclient", "matplotlib")
    _require_home("demo")
    from cvm_notebook.cli import demo as cli_demo  # noqa: PLC0415 - needs the extra

    return cli_demo.demo(options)


def _cloud(options: argparse.Namespace) -> int:
    _require("local", "fastapi", "sqlalchemy", "uvicorn", "sse_starlette", "platformdirs")
    from cvm_notebook.cli import cloud as cli_cloud  # noqa: PLC0415 - needs the extra

    return cli_cloud.cloud(options)


def _report(options: argparse.Namespace) -> int:
    try:
        _require("report", "ipykernel", "matplotlib", "nbclient", "nbconvert", "papermill")
        _require_home("report")
    except SystemExit as error:  # 1 would say that gates failed
        print(error, file=sys.stderr)
        return COULD_NOT_RUN
    from cvm_notebook.cli import report as cli_report  # noqa: PLC0415 - needs the extra

    return cli_report.report(options)


def _autostop(options: argparse.Namespace) -> int:
    from cvm_notebook.cli import autostop as cli_autostop  # noqa: PLC0415 - the other commands need none of it

    return cli_autostop.autostop(options)


def _doctor(options: argparse.Namespace) -> int:
    if options.record is not None or options.against is not None:
        if options.against is not None:
            _require("local", "fastapi", "sqlalchemy", "uvicorn", "sse_starlette", "platformdirs")
        from cvm_notebook.cli import recording  # noqa: PLC0415 - the other commands need none of it

        against_local = options.against is not None
        return recording.record(options.profile, options.record, against_local=against_local)
    from cvm_notebook.cli import doctor as cli_doctor  # noqa: PLC0415 - the other commands need none of it

    return cli_doctor.doctor(profile=options.profile, local=options.local, as_json=options.json)


def _require(extra: str, *modules: str) -> None:
    """End with the one line that installs `extra` when a module of it is missing."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise SystemExit(
            f"cvm-notebook {sys.argv[1] if len(sys.argv) > 1 else extra}: "
            f"{', '.join(missing)} not installed. Install what it needs with:\n"
            f'  {sys.executable} -m pip install "cvm-notebook[{extra}]"'
        )


def _require_home(command: str) -> None:
    """End with a line where Jupyter would find no place for its files."""
    try:
        Path.home()
    except RuntimeError as error:
        raise SystemExit(
            f"cvm-notebook {command}: Jupyter needs a home folder, and none is known. "
            "Set HOME to a folder that you can write to."
        ) from error


if __name__ == "__main__":
    sys.exit(main())
