"""The SSH keys frame: the keys that each CVM lets in, and whose they are."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pandas as pd

from cvm_notebook.api.errors.tree import CvmError
from cvm_notebook.api.models.cvm import Cvm
from cvm_notebook.api.models.guest import UserConfig
from cvm_notebook.api.models.ssh import SshKey
from cvm_notebook.api.workspace.public_key import read_public_key
from cvm_notebook.frames.schema import FLAG, MOMENT, TEXT, Field, Table
from cvm_notebook.frames.workspace.reading import client_and_cvms, read_each
from cvm_notebook.live.store.records import key_of
from cvm_notebook.text import clean_text

if TYPE_CHECKING:
    from cvm_notebook.api.client import Client
    from cvm_notebook.live.engine import FleetEngine


@dataclass(frozen=True, slots=True)
class LoginKey:
    """One key and one CVM that lets it in; or one of both alone."""

    cvm: Cvm | None = None
    key: SshKey | None = None
    key_type: str | None = None
    fingerprint: str | None = None
    comment: str | None = None
    error: str | None = None


def _id(login: LoginKey) -> str | None:
    return None if login.cvm is None else key_of(login.cvm)


def _is_dev(login: LoginKey) -> bool | None:
    return login.cvm.os.is_dev if login.cvm is not None and login.cvm.os is not None else None


SSH_KEYS: Final[Table[LoginKey]] = Table(
    "ssh_keys/1",
    (
        Field("cvm_id", TEXT, _id, "the CVM; missing for a key that no CVM lets in yet"),
        Field("fingerprint", TEXT, lambda n: n.fingerprint, "the key, as ssh-keygen -l shows it"),
    ),
    (
        Field("cvm_name", TEXT, lambda n: n.cvm and n.cvm.name, "the CVM's name"),
        Field("key_name", TEXT, lambda n: n.key and n.key.name, "what the account calls the key"),
        Field("in_account", FLAG, lambda n: n.key is not None, "whether this account has the key"),
        Field("key_type", TEXT, lambda n: n.key_type, "as ssh-ed25519"),
        Field("comment", TEXT, lambda n: n.comment, "at the key's end, often who made it where"),
        Field("source", TEXT, lambda n: n.key and n.key.source, "how it came to the account"),
        Field("added_at", MOMENT, lambda n: n.key and n.key.created_at, "when it came"),
        Field("dev_image", FLAG, _is_dev, "whether there is an SSH server: only in dev images"),
        Field("error", TEXT, lambda n: n.error, "why the CVM's keys could not be read"),
    ),
)


@SSH_KEYS.documents
def ssh_keys_frame(source: "Client | FleetEngine") -> pd.DataFrame:
    """Return the SSH keys that CVMs let in: one row a CVM and key.

    A key of the account that no CVM lets in has a row without a CVM; it reaches a CVM when that
    boots. A CVM whose keys cannot be read has a row without a key, and ``error`` says why.

    Parameters
    ----------
    source
        A client, whose CVMs are then listed; or a fleet.

    Examples
    --------
    >>> strangers = ssh_keys_frame(client).query("in_account == False and error.isna()")
    >>> len(strangers)
    0
    """
    client, cvms = client_and_cvms(source)
    own = {key.fingerprint: key for key in client.list_ssh_keys() if key.fingerprint}
    configs = read_each(cvms, client.get_cvm_user_config)
    logins = [*_of_cvms(cvms, configs, own)]
    used = {login.fingerprint for login in logins}
    unused = (_of_key(key) for print_, key in own.items() if print_ not in used)
    return SSH_KEYS.frame([*logins, *unused])


def _of_cvms(
    cvms: Sequence[Cvm],
    configs: Sequence[UserConfig | CvmError],
    own: Mapping[str, SshKey],
) -> Iterator[LoginKey]:
    for cvm, config in zip(cvms, configs, strict=True):
        if isinstance(config, CvmError):
            yield LoginKey(cvm, error=clean_text(config.message, 160))
            continue
        lines = [line for text in config.ssh_authorized_keys for line in text.splitlines()]
        for line in dict.fromkeys(filter(str.strip, lines)):
            read = read_public_key(line)
            if read is None:
                yield LoginKey(cvm, error="it lets in a line that is not a public key of OpenSSH")
            else:
                comment = clean_text(read.comment, 120) or None
                key = own.get(read.fingerprint)
                yield LoginKey(cvm, key, clean_text(read.key_type, 60), read.fingerprint, comment)


def _of_key(key: SshKey) -> LoginKey:
    read = read_public_key(key.public_key or "")
    comment = clean_text(read.comment, 120) or None if read else None
    return LoginKey(None, key, key.key_type, key.fingerprint, comment)
