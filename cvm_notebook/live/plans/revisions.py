"""Revisions of an app: the changes from one to the next, and the target of a rollback.

The service keeps an entry for each CVM that was given something else to run. A version is what
several of them have in common: an app compose, and the variables that it was given.
"""

import difflib
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Self

from cvm_notebook.api.errors.tree import CvmError, InvalidInput
from cvm_notebook.api.models.catalogue import AppRevision
from cvm_notebook.attest.evidence.fields import bare_digits
from cvm_notebook.text import clean_text, counted

if TYPE_CHECKING:
    from cvm_notebook.api.client import Client

_READ: Final = 50  # revisions whose contents are read: each is a request
_SHORT: Final = 12  # characters of a hash in a message
_NAMES: Final = {"docker_compose_file": "compose_file", "allowed_envs": "env"}


@dataclass(frozen=True, slots=True)
class Content:
    """The content of a revision; of what is encrypted only a digest.

    Attributes
    ----------
    compose
        The app compose.
    sealed
        A digest of the encrypted variables and of the user config.
    """

    compose: Mapping[str, Any] = field(default_factory=dict, repr=False)
    sealed: str = ""

    @classmethod
    def of(cls, found: AppRevision) -> Self:
        """Take what matters of a revision that was read by itself."""
        compose = _read_compose(found.compose_file)
        digest = hashlib.sha256()
        for text in (found.encrypted_env or "", found.user_config or ""):
            data = text.encode("utf-8", "replace")
            digest.update(len(data).to_bytes(8, "big") + data)
        return cls(compose, digest.hexdigest())

    def app_compose(self) -> Mapping[str, Any]:
        """Return the app compose.

        Raises
        ------
        CvmError
            There is none in it.
        """
        if not self.compose:
            raise CvmError("The service gives no compose file of this revision")
        return self.compose

    @property
    def variables(self) -> tuple[str, ...]:
        """The names of the variables that it allows."""
        return tuple(str(name) for name in self.compose.get("allowed_envs") or ())


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionChange:
    """A revision of a CVM, and what it changed from the one before.

    Attributes
    ----------
    changes
        Which parts differ; None where the contents were not read.
    diff
        The compose file, as a unified diff, line by line.
    """

    revision_id: str
    vm_uuid: str | None = None
    name: str | None = None
    compose_hash: str | None = None
    created: datetime | None = None
    operation: str | None = None
    by: str | None = None
    trace_id: str | None = None
    changes: tuple[str, ...] | None = None
    diff: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class AppVersion:
    """One version of an app; `revision_id` is the newest entry with it."""

    revision_id: str
    compose_hash: str | None
    key: tuple[str | None, str] = field(repr=False)


class AppHistory:
    """The revisions of an app, or of one of its CVMs: pure, once they are read.

    Parameters
    ----------
    revisions
        The newest first, as the service lists them.
    contents
        By revision; of those that share a compose hash, what tells them apart.
    """

    def __init__(
        self, revisions: Sequence[AppRevision], contents: Mapping[str, Content] | None = None
    ) -> None:
        self.revisions = tuple(one for one in revisions if one.revision_id)
        self.contents = dict(contents or {})
        self.versions, self.at = self._folded()

    @classmethod
    def read(
        cls, client: "Client", app_id: str, known: Mapping[str, Content] | None = None
    ) -> Self:
        """Read the revisions of an app, and the contents of the newest, as far as needed.

        Parameters
        ----------
        known
            Contents that were read before: they do not change.

        Raises
        ------
        CvmError
            They cannot be read.
        """
        revisions = client.get_app_revisions(app_id)
        contents = dict(known or {})
        for one in _unread(revisions, contents):
            contents[one] = Content.of(client.get_app_revision(app_id, one))
        return cls(revisions, contents)

    @classmethod
    def near(
        cls,
        client: "Client",
        app_id: str,
        revision: str,
        vm_uuid: str | None,
        known: Mapping[str, Content] | None = None,
    ) -> Self:
        """Read the revisions of an app, and what two hold: one that is named, and a CVM's newest.

        Raises
        ------
        InvalidInput
            There is no such revision.
        CvmError
            They cannot be read.
        """
        found = cls(client.get_app_revisions(app_id), known)
        wanted = {found.find(revision).revision_id, found.newest_of(vm_uuid)} - {None}
        for one in wanted - set(found.contents):
            found.contents[one or ""] = Content.of(client.get_app_revision(app_id, one or ""))
        return cls(found.revisions, found.contents)

    def of(self, vm_uuid: str | None) -> "AppHistory":
        """Return the history of one CVM alone."""
        own = [one for one in self.revisions if bare_digits(one.vm_uuid) == bare_digits(vm_uuid)]
        return AppHistory(own, self.contents)

    def _key(self, one: AppRevision) -> tuple[str | None, str]:
        content = self.contents.get(one.revision_id or "")
        return bare_digits(one.compose_hash), "" if content is None else content.sealed

    def _folded(self) -> tuple[tuple[AppVersion, ...], int]:
        """Return the versions in order, and which of them is the newest revision's.

        Going back to one is no new version; what comes after a return takes the place of what was
        left behind.
        """
        versions: list[AppVersion] = []
        at = -1
        counts = Counter(bare_digits(one.compose_hash) for one in self.revisions)
        for one in reversed(self.revisions):
            hashed, sealed = self._key(one)
            # a unique hash identifies its version by itself
            key = (hashed, sealed if counts[hashed] > 1 else "")
            same = next((i for i, old in enumerate(versions) if old.key == key), None)
            if same is None:
                versions = versions[: at + 1]
                same = len(versions)
                versions.append(AppVersion(revision_id="", compose_hash=hashed, key=key))
            at = same
            versions[at] = replace(versions[at], revision_id=one.revision_id or "")
        return tuple(versions), at

    @property
    def now(self) -> AppVersion | None:
        """The version of the newest revision."""
        return self.versions[self.at] if self.versions else None

    def newest_of(self, vm_uuid: str | None) -> str | None:
        """Return the id of the newest revision of a CVM."""
        own = (one for one in self.revisions if bare_digits(one.vm_uuid) == bare_digits(vm_uuid))
        return next((one.revision_id for one in own), None)

    def find(self, revision: int | str) -> AppVersion:
        """Return the version that is meant.

        Parameters
        ----------
        revision
            ``-1`` is the one before the newest change, whether that was undone already or not:
            asking twice goes back once. ``-2`` is one further. Or the id of a revision, or a
            compose hash.

        Raises
        ------
        InvalidInput
            There is none.
        """
        if isinstance(revision, int) and not isinstance(revision, bool):
            return self._back(revision)
        if not isinstance(revision, str) or not revision.strip():
            problem = f"{clean_text(repr(revision), 60)} is not a revision"
            raise InvalidInput("revision", problem, "Give -1, a revision's id or a compose hash.")
        wanted = revision.strip()
        for one in self.revisions:
            if wanted == one.revision_id or bare_digits(wanted) == bare_digits(one.compose_hash):
                hashed, sealed = self._key(one)
                return AppVersion(
                    revision_id=one.revision_id or "", compose_hash=hashed, key=(hashed, sealed)
                )
        problem = f"there is not a revision {clean_text(wanted, 80)!r}"
        raise InvalidInput("revision", problem, "app.revisions() has their ids and hashes.")

    def _back(self, revision: int) -> AppVersion:
        if revision >= 0:
            problem = f"{revision} goes back to nothing"
            raise InvalidInput("revision", problem, "-1 is the one before; or give its id.")
        place = len(self.versions) - 1 + revision
        if place < 0:
            number = max(len(self.versions) - 1, 0)
            problem = f"{counted(number, 'version')} before the newest: {-revision} is too many"
            raise InvalidInput("revision", problem, "app.revisions() lists them.")
        return self.versions[place]

    def has(self, vm_uuid: str | None, version: AppVersion) -> bool:
        """Tell whether a version is what a CVM was given last."""
        for one in self.revisions:
            if bare_digits(one.vm_uuid) == bare_digits(vm_uuid):
                hashed, sealed = self._key(one)
                return hashed == version.key[0] and version.key[1] in {sealed, ""}
        return False

    def content_of(self, client: "Client", app_id: str, version: AppVersion) -> Content:
        """Return what a version holds, read where it was not yet.

        Raises
        ------
        CvmError
            It cannot be read.
        """
        found = self.contents.get(version.revision_id)
        if found is None:
            found = Content.of(client.get_app_revision(app_id, version.revision_id))
            self.contents[version.revision_id] = found
        return found

    # --- shown -----------------------------------------------------------------------------------

    def changes(self) -> tuple[RevisionChange, ...]:
        """Return each revision with what it changed from the one before of the same CVM."""
        return tuple(self._changes())

    def _changes(self) -> Iterator[RevisionChange]:
        by_hash = self._composes()
        before: dict[str | None, AppRevision] = {}
        found = []
        for one in reversed(self.revisions):
            old = before.get(bare_digits(one.vm_uuid))
            before[bare_digits(one.vm_uuid)] = one
            found.append(self._change(one, old, by_hash))
        yield from reversed(found)

    def _composes(self) -> dict[str | None, Mapping[str, Any]]:
        """Return the app composes by their hashes: one hash is one compose."""
        found = {}
        for one in self.revisions:
            content = self.contents.get(one.revision_id or "")
            if content is not None and content.compose:
                found[bare_digits(one.compose_hash)] = content.compose
        return found

    def _change(
        self,
        one: AppRevision,
        old: AppRevision | None,
        by_hash: Mapping[str | None, Mapping[str, Any]],
    ) -> RevisionChange:
        change = RevisionChange(
            revision_id=one.revision_id or "",
            vm_uuid=one.vm_uuid,
            name=one.cvm.name if one.cvm is not None else None,
            compose_hash=bare_digits(one.compose_hash),
            created=one.created,
            operation=one.operation_type,
            by=one.triggered_by.username if one.triggered_by is not None else None,
            trace_id=one.trace_id,
        )
        if old is None:
            return replace(change, changes=("made",))
        then, now = (by_hash.get(bare_digits(r.compose_hash)) for r in (old, one))
        if then is None or now is None:
            return change
        names = [_NAMES.get(key, key) for key in {**then, **now} if then.get(key) != now.get(key)]
        (_, was), (_, is_now) = self._key(old), self._key(one)
        if was and is_now and was != is_now and "env" not in names:
            names.append("env")
        files = then.get("docker_compose_file"), now.get("docker_compose_file")
        return replace(change, changes=tuple(names), diff=compose_diff(*files))


def _unread(revisions: Sequence[AppRevision], known: Mapping[str, Content]) -> list[str]:
    """Return the revisions whose contents are needed: one of each hash, and all that share one.

    Of many the newest, and the newest of each CVM, which tells what that has.
    """
    newest = {bare_digits(one.vm_uuid): one.revision_id for one in reversed(revisions)}
    counts = Counter(bare_digits(one.compose_hash) for one in revisions)
    seen: set[str | None] = set()
    wanted = []
    for place, one in enumerate(revisions):
        hashed = bare_digits(one.compose_hash)
        near = place < _READ or newest[bare_digits(one.vm_uuid)] == one.revision_id
        if one.revision_id and near and (counts[hashed] > 1 or hashed not in seen):
            wanted.append(one.revision_id)
        seen.add(hashed)
    return [one for one in wanted if one not in known]


def compose_diff(
    before: object, after: object, labels: tuple[str, str] = ("compose_file before", "compose_file")
) -> tuple[str, ...]:
    """Return how two texts differ, as a unified diff; nothing where they are equal."""
    old, new = ([] if text is None else str(text).splitlines() for text in (before, after))
    return tuple(difflib.unified_diff(old, new, *labels, lineterm=""))


def short(hashed: str | None) -> str:
    """Return the abbreviation of a hash."""
    return (hashed or "unknown")[:_SHORT]


def _read_compose(compose: object) -> Mapping[str, Any]:
    """Return the app compose of a revision, which may come as a text; empty where it is none."""
    if isinstance(compose, str):
        try:
            compose = json.loads(compose)
        except ValueError:
            compose = None
    return compose if isinstance(compose, Mapping) else {}
