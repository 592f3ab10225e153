"""The command that opens a shell in a CVM, through the gateway's TLS; it is never run here."""

import re
import shlex
from typing import Final

from cvm_notebook.api import checks
from cvm_notebook.api.errors.tree import CvmError, InvalidInput
from cvm_notebook.api.models.cvm import Cvm

_HTTPS: Final = "443"
_HIGHEST_PORT: Final = 65535
# what comes of the service goes into a shell: nothing but names of hosts
_HOST: Final = re.compile(r"(?=.{1,253}$)[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(:\d{1,5})?")
_ID: Final = re.compile(r"[0-9a-fA-F]{40}")
_USER: Final = re.compile(r"[a-z_][a-z0-9_-]{0,31}")


def ssh_command(cvm: Cvm, *, user: str = "root", port: int = 22) -> str:
    """Return the command that logs in to a CVM.

    The gateway takes TLS and hands on what is inside; ``openssl`` on this machine wraps it. Only
    dev images have an SSH server of their own.

    Parameters
    ----------
    cvm
        As `get_cvm_info` returns it.
    user
        Whom to log in as.
    port
        Of the SSH server in the CVM: 22 for the dev image's own.

    Raises
    ------
    InvalidInput
        The user or the port can be none.
    CvmError
        The service names no gateway for it, or none that can stand in a command.
    """
    if not _USER.fullmatch(checks.text("user", user)):
        raise InvalidInput("user", "it is not a name of a user", 'Give "root".')
    number = checks.integer("port", port, most=_HIGHEST_PORT)
    name = cvm.instance_id or (cvm.app_id or "").removeprefix("app_")
    domain = cvm.gateway.base_domain if cvm.gateway is not None else None
    if not domain or not name:
        raise CvmError(
            f"'{cvm.name or cvm.id}' cannot be reached: the service names no gateway for it",
            hint="It has one when it has booted with the gateway on: look at gateway_enabled.",
        )
    if not _HOST.fullmatch(domain) or not _ID.fullmatch(name):
        raise CvmError(
            "The gateway's address, as the service gives it, is not a name of a host",
            hint="Report it to the service; client.get_cvm_info shows it.",
        )
    domain, _, at = domain.partition(":")
    proxy = "ProxyCommand=openssl s_client -quiet -servername %h -connect %h:%p"
    host = f"{user}@{name}-{number}.{domain}"
    return shlex.join(["ssh", "-o", proxy, "-p", at or _HTTPS, host])
