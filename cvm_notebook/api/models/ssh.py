"""Models of public SSH keys, of an account and of a CVM."""

from typing import Any

from cvm_notebook.api.models.base import Int, Model, Rows, Tidy


class SshKey(Model, frozen=True, kw_only=True, gc=False):
    """A public SSH key of the account; new CVMs of a dev image let its owner in."""

    id: str | None = None
    user_id: str | int | None = None
    name: str | None = None
    public_key: str | None = None
    fingerprint: str | None = None
    key_type: str | None = None
    source: str | None = None
    key_metadata: dict[str, Any] | None = None
    last_synced_at: str | None = None
    created_at: str | None = None
    updated_at: str | None = None


class GithubImport(Tidy, frozen=True, kw_only=True, gc=False):
    """The result of importing the keys of a GitHub profile."""

    github_username: str | None = None
    keys_added: Int | None = None
    keys_skipped: Int | None = None
    errors: Rows[str] = ()


class GithubSync(Tidy, frozen=True, kw_only=True, gc=False):
    """The result of synchronising imported keys with GitHub."""

    synced_count: Int | None = None
    keys_added: Int | None = None
    keys_updated: Int | None = None
    keys_removed: Int | None = None
    errors: Rows[str] = ()


class CvmSshKey(Model, frozen=True, kw_only=True, gc=False):
    """A key that a CVM is set to let in, and whose it is."""

    id: str | None = None
    owner_user_id: str | None = None
    owner_username: str | None = None
    added_by_user_id: str | None = None
    name: str | None = None
    public_key: str | None = None
    fingerprint: str | None = None
    key_type: str | None = None


class CvmSshKeys(Tidy, frozen=True, kw_only=True, gc=False):
    """The keys a CVM is set to let in; with ``restart_required`` it does so from its next boot."""

    keys: Rows[CvmSshKey] = ()
    restart_required: bool | None = None
