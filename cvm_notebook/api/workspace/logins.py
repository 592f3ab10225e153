"""SSH keys of the account, and those that one CVM lets in."""

import re
from collections.abc import Iterable
from typing import Final

from cvm_notebook.api import checks
from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.api.http.retry import RetryKind
from cvm_notebook.api.models.guest import UserConfig
from cvm_notebook.api.models.ssh import CvmSshKeys, GithubImport, GithubSync, SshKey
from cvm_notebook.api.resources.base import Endpoints, given
from cvm_notebook.api.resources.cvm_ref import Ref, cvm_path, path_segment
from cvm_notebook.api.workspace.public_key import check_public_key
from cvm_notebook.text import clean_text

_LONGEST_NAME: Final = 100
_GITHUB_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,37}[A-Za-z0-9])?")


class Logins(Endpoints):
    """Keys of the account reach a CVM when it boots; only dev images have an SSH server."""

    def list_ssh_keys(self) -> list[SshKey]:
        """Return the public SSH keys of the key's owner."""
        return self._read("/user/ssh-keys", list[SshKey])

    def add_ssh_key(self, name: str, public_key: str) -> SshKey:
        """Add a public SSH key to the account.

        Parameters
        ----------
        name
            What to call it, up to 100 characters.
        public_key
            The line of a ``.pub`` file. A private key is refused before anything is sent.

        Raises
        ------
        InvalidInput
            It is no public key, or the name is empty or too long.
        """
        label = checks.text("name", name)
        if len(label) > _LONGEST_NAME:
            raise InvalidInput("name", f"it has {len(label)} characters", "100 at most.")
        body = {"name": label, "public_key": check_public_key("public_key", public_key)}
        return self._change(RetryKind.UPDATE, "POST", "/user/ssh-keys", SshKey, body)

    def delete_ssh_key(self, key: str | SshKey) -> None:
        """Remove a public SSH key from the account; CVMs that have it keep it until they boot."""
        key_id = key.id if isinstance(key, SshKey) else checks.text("key", key)
        self._send(RetryKind.UPDATE, "DELETE", f"/user/ssh-keys/{path_segment(key_id)}")

    def import_github_ssh_keys(self, github_username: str) -> GithubImport:
        """Add the public SSH keys of a GitHub profile to the account."""
        name = checks.text("github_username", github_username)
        if not _GITHUB_NAME.fullmatch(name):
            problem = f"{clean_text(name, 60)!r} is not a name of GitHub"
            raise InvalidInput("github_username", problem, "Letters, digits and single dashes.")
        body = {"github_username": name}
        path = "/user/ssh-keys/github-profile"
        return self._change(RetryKind.UPDATE, "POST", path, GithubImport, body)

    def sync_github_ssh_keys(self) -> GithubSync:
        """Bring the keys that were imported from GitHub in line with it."""
        return self._change(RetryKind.UPDATE, "POST", "/user/ssh-keys/github-sync", GithubSync)

    # --- one CVM -----------------------------------------------------------------------------

    def get_cvm_user_config(self, cvm: Ref = None, /, **identifier: object) -> UserConfig:
        """Return a CVM's user configuration: the SSH keys that it lets in, and its host name."""
        path = cvm_path(cvm, identifier, "get_cvm_user_config", "/user_config")
        return self._read(path, UserConfig)

    def get_cvm_ssh_keys(self, cvm: Ref = None, /, **identifier: object) -> CvmSshKeys:
        """Return the keys that a CVM is set to let in from its next boot, and whose they are.

        `get_cvm_user_config` has those that it lets in now. The published description (2026-04)
        does not have this call; the official JavaScript SDK of July 2026 makes it.
        """
        path = cvm_path(cvm, identifier, "get_cvm_ssh_keys", "/ssh-keys")
        return self._read(path, CvmSshKeys)

    def update_cvm_ssh_keys(
        self,
        cvm: Ref = None,
        /,
        *,
        ssh_key_ids: Iterable[str],
        usernames: Iterable[str] | None = None,
        apply_now: bool = False,
        **identifier: object,
    ) -> CvmSshKeys:
        """Replace the keys that a CVM lets in.

        Parameters
        ----------
        ssh_key_ids
            All that it is to let in; none leaves it to `usernames`.
        usernames
            Members of the workspace whose keys it lets in, too.
        apply_now
            Restart it, so that this holds at once; otherwise from its next boot.
        """
        ids = checks.several("ssh_key_ids", ssh_key_ids, "ids of keys")
        names = None if usernames is None else checks.several("usernames", usernames, "names")
        body = given(
            ssh_key_ids=[checks.text("ssh_key_ids", one) for one in ids],
            usernames=names and [checks.text("usernames", one) for one in names],
            apply_now=checks.boolean("apply_now", apply_now),
        )
        path = cvm_path(cvm, identifier, "update_cvm_ssh_keys", "/ssh-keys")
        return self._change(RetryKind.UPDATE, "PUT", path, CvmSshKeys, body)
