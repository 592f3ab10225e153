"""``cvm-notebook cloud``: LocalCloud in the foreground."""

import argparse
import errno
from urllib.parse import urlsplit

from sqlalchemy.exc import SQLAlchemyError

from cvm_notebook.api.auth.address import is_loopback
from cvm_notebook.local import LocalCloudError, serve
from cvm_notebook.local.core.schema import DatabaseVersionError
from cvm_notebook.local.faults.spec import FaultError

BEYOND = """\
Warning      {host} is reachable from beyond this machine, and LocalCloud speaks plain HTTP:
             whoever reads the network has its key. Put TLS in front of it, or leave out --host.
"""
CONNECT = """\
LocalCloud   {url}
             {here}
               export PHALA_CLOUD_API_PREFIX={url}
               export PHALA_CLOUD_API_KEY={key}
             Ctrl-C ends it; what it holds is kept."""
HERE = 'A notebook here: cvm.connect("local"). Any other client, by its environment:'
BY_ENVIRONMENT = "A client, by its environment:"


def cloud(options: argparse.Namespace) -> int:
    """Serve until interrupted and return the exit code."""
    if not is_loopback(options.host):
        print(BEYOND.format(host=options.host), end="", flush=True)
    try:
        serve(
            host=options.host,
            port=options.port,
            database=options.database,
            speed=options.speed,
            seed=options.seed,
            faults=options.faults,
            workers=options.workers,
            allowed_hosts=tuple(options.allow_host),
            ready=_announce,
        )
    except KeyboardInterrupt:
        pass  # the asked-for end
    except (LocalCloudError, DatabaseVersionError) as error:
        raise SystemExit(f"cvm-notebook cloud: {error}") from error
    except OSError as error:
        raise SystemExit(_cannot_listen(error, options)) from error
    except FaultError as error:
        raise SystemExit(f"cvm-notebook cloud: --faults: {error}") from error
    except SQLAlchemyError as error:
        # its text may hold the password of the URL; the class says what it is about
        raise SystemExit(
            f"cvm-notebook cloud: the database cannot be used ({type(error).__name__}). "
            "Check --database: is the server up, the name right, the folder writable?"
        ) from error
    return 0


def _announce(url: str, key: str) -> None:
    found = is_loopback(urlsplit(url).hostname or "")  # connect("local") looks no further
    here = HERE if found else BY_ENVIRONMENT
    print(CONNECT.format(url=url, key=key, here=here), flush=True)


def _cannot_listen(error: OSError, options: argparse.Namespace) -> str:
    where = f"{options.host} port {options.port}"
    if error.filename is not None:  # of a file, and not of the port
        return f"cvm-notebook cloud: {error.filename}: {error.strerror}."
    if error.errno == errno.EADDRINUSE:
        return (
            f"cvm-notebook cloud: {where} is taken, perhaps by another LocalCloud. "
            "Choose another: --port N, or --port 0 for any."
        )
    return f"cvm-notebook cloud: {where}: {error.strerror}."
