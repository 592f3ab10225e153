"""UpdatePreview: a dry run of an update, with its changes, price, restart and losses."""

import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from cvm_notebook._lazy import LOADING
from cvm_notebook.api.compose.hashing import compose_hash
from cvm_notebook.api.errors.tree import CvmError
from cvm_notebook.api.models.cvm import Cvm
from cvm_notebook.api.rental import term_of
from cvm_notebook.api.resources.update_request import (
    MODIFIERS,
    SIZE,
    VISIBILITY,
    allowed_after,
)
from cvm_notebook.api.secret import Secret
from cvm_notebook.api.status import phase_of
from cvm_notebook.attest.evidence.fields import bare_digits
from cvm_notebook.deploy.declaration import Changes
from cvm_notebook.deploy.size import Size, Surroundings, shrinks
from cvm_notebook.live.plans.data import UpdatedField
from cvm_notebook.live.plans.revisions import compose_diff
from cvm_notebook.text import clean_text, counted, html_table, text_table, usd

if TYPE_CHECKING:
    import pandas as pd

_SLUG_DIGITS: Final = 8  # of the image's hash, at the end of its slug
MOST_LINES: Final = 400  # of a diff that are shown
_WIDEST_LINE: Final = 400
_UNKNOWN: Final = "not known before it is sent"
_NO_RESTART: Final = frozenset({"listed"})
# half transparent, so that they are read on a light page and on a dark one
_COLOURS: Final = {"+": "rgba(46,160,67,.25)", "-": "rgba(248,81,73,.25)"}


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdatePreview:
    """A dry run of an update of one CVM; frozen, and nothing was sent.

    Attributes
    ----------
    word
        What it is called: ``update`` or ``rollback``.
    fields
        What would be otherwise; of texts and variables only that they would be.
    diff
        The compose file, as a unified diff, line by line.
    hash_before, hash_after
        The compose hash; `hash_after` is None where only the service knows it.
    restarts
        Whether the CVM restarts for it.
    usd_h_before, usd_h_after
        The price of an hour while it runs; None where nobody says.
    env_added, env_kept, env_lost
        Names of variables. An environment that is given replaces the whole set, so those that are
        not in it are lost.
    obstacles
        Why it cannot be, as far as is known: capacity, quota, a disk that would shrink.
    dangers
        Why it is only sent with the `phrase`.
    """

    cvm_id: str
    name: str
    word: str = "update"
    fields: tuple[UpdatedField, ...] = ()
    diff: tuple[str, ...] = field(default=(), repr=False)
    hash_before: str | None = None
    hash_after: str | None = None
    restarts: bool = False
    usd_h_before: Decimal | None = None
    usd_h_after: Decimal | None = None
    env_added: tuple[str, ...] = ()
    env_kept: tuple[str, ...] = ()
    env_lost: tuple[str, ...] = ()
    obstacles: tuple[str, ...] = ()
    dangers: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    body: Mapping[str, Any] = field(default_factory=dict, repr=False)
    env: Mapping[str, Secret] | None = field(default=None, repr=False)
    listed: bool | None = field(default=None, repr=False)
    allowed: tuple[str, ...] = field(default=(), repr=False)

    @property
    def differs(self) -> bool:
        """Whether anything would be otherwise."""
        return bool(self.fields)

    @property
    def phrase(self) -> str | None:
        """The phrase for ``confirm`` of the update; None where nothing needs to be confirmed."""
        return f"{self.word} 1" if self.differs and self.dangers else None

    def frame(self) -> "pd.DataFrame":
        """Return the fields that would be otherwise, one a row; see `update_frame`."""
        with LOADING:
            from cvm_notebook.frames.reports.plan import update_frame  # noqa: PLC0415 - pandas on demand

        return update_frame(self.fields)

    def facts(self) -> list[tuple[str, str, str]]:
        """Return what changes as rows of a table: what, before and after."""
        rows = [(one.field, one.before or "", one.after or "") for one in self.fields]
        if self.hash_before != self.hash_after and self._touches_compose:
            rows.append(("compose hash", self.hash_before or "", self.hash_after or _UNKNOWN))
        if self.usd_h_before != self.usd_h_after:
            after = usd(self.usd_h_after) or "not known"
            rows.append(("USD/h while it runs", usd(self.usd_h_before) or "not known", after))
        return rows

    @property
    def _touches_compose(self) -> bool:
        named = {"compose_file", "pre_launch_script", "env", *VISIBILITY}
        return any(one.field in named for one in self.fields)

    @property
    def title(self) -> str:
        """The summary, in a line."""
        name = clean_text(self.name, 80)
        if not self.differs:
            return f"{name}: nothing differs, and nothing would be sent"
        restart = "it restarts" if self.restarts else "without a restart"
        what = f"{self.word.capitalize()} of {name}"
        return f"{what}: {len(self.fields)} to change, {restart}; nothing was sent"

    @property
    def warnings(self) -> list[str]:
        """Warnings, a sentence each."""
        found = [f"Not possible: {obstacle}." for obstacle in self.obstacles]
        found += [f"Careful: {danger}." for danger in self.dangers]
        found += [f"{note}." for note in self.notes]
        if self.phrase is not None:
            found.append(f"It is sent only with confirm={self.phrase!r}.")
        return found

    def __str__(self) -> str:
        parts = [text_table(self.title, ("field", "now", "then"), self.facts())]
        if not self.differs:
            parts = [self.title]
        parts += ["\n".join(map(shown_line, self.diff[:MOST_LINES]))] if self.diff else []
        return "\n".join([*parts, *self._cut(), *self.warnings])

    def _cut(self) -> list[str]:
        more = len(self.diff) - MOST_LINES
        return [f"… and {counted(more, 'line')} more"] if more > 0 else []

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return {"text/plain": str(self), "text/html": self._html()}

    def _html(self) -> str:
        table = html_table(self.title, ("field", "now", "then"), self.facts())
        parts = [table if self.differs else f"<p>{html.escape(self.title)}</p>"]
        if self.diff:
            lines = "\n".join(_coloured(line) for line in self.diff[:MOST_LINES])
            parts.append(f'<pre class="cvm-diff" style="line-height:1.3">{lines}</pre>')
        messages = [*self._cut(), *self.warnings]
        parts += [f"<p>{html.escape(message)}</p>" for message in messages]
        return f'<div class="cvm-update">{"".join(parts)}</div>'


def shown_line(line: str) -> str:
    """Return a line of a file in which nothing acts; its indentation stays."""
    plain = "".join(c if c.isprintable() else " " if c == "\t" else repr(c)[1:-1] for c in line)
    return plain if len(plain) <= _WIDEST_LINE else plain[: _WIDEST_LINE - 1] + "…"


def _coloured(line: str) -> str:
    text = html.escape(shown_line(line))
    colour = "" if line.startswith(("+++", "---")) else _COLOURS.get(line[:1], "")
    tag = {"+": "ins", "-": "del"}.get(line[:1]) if colour else None
    if tag is None:
        return text
    return f'<{tag} style="background:{colour};text-decoration:none">{text}</{tag}>'


# --- judged --------------------------------------------------------------------------------------


def app_compose_of(cvm: Cvm) -> Mapping[str, Any]:
    """Return the app compose in a CVM's record; empty where it is not there."""
    return cvm.compose_file if isinstance(cvm.compose_file, Mapping) else {}


def preview_of(
    cvm: Cvm,
    changes: Changes,
    around: Surroundings | None = None,
    *,
    send_env: bool = True,
    values_known: bool = False,
    now: datetime | None = None,
) -> UpdatePreview:
    """Say what changes would do to a CVM as its record shows it: pure.

    Parameters
    ----------
    cvm
        Its record, with its app compose.
    around
        What a new size is judged by.
    send_env
        Whether an environment with the same names is sent: its values cannot be compared with
        those that are there.
    values_known
        Whether they were compared with what was sent last, after all.
    now
        The time, for the terms of GPUs.
    """
    around = around or Surroundings()
    compose = app_compose_of(cvm)
    env = _Variables.judged(compose, changes, send=send_env)
    found = list(_different(cvm, compose, changes))
    fields = [UpdatedField(_NAMED.get(name, name), old, new) for name, old, new in found]
    fields += [env.change] if env.sent is not None else []
    body = {name: changes.wire[name] for name, *_ in found if name in changes.wire}
    after = dict(compose) | {k: v for k, v in body.items() if k in _COMPOSE}
    after |= {"allowed_envs": env.allowed_after} if env.sent is not None else {}
    if body or env.sent is not None:
        body |= {name: changes.wire[name] for name in MODIFIERS if name in changes.wire}
    size = Size.of(cvm)
    size_after = around.size_after(size, changes)
    return UpdatePreview(
        cvm_id=cvm.id or "",
        name=cvm.name or cvm.id or "",
        fields=tuple(fields),
        diff=_diff(compose.get("docker_compose_file"), body.get("docker_compose_file")),
        hash_before=bare_digits(cvm.compose_hash),
        hash_after=_hash_after(cvm, compose, after),
        restarts=phase_of(cvm.status) == "running"
        and any(one.field not in _NO_RESTART for one in fields),
        usd_h_before=None if cvm.hourly_rate is None else cvm.hourly_rate.total_usd,
        usd_h_after=around.usd_h_after(cvm, size, size_after),
        env_added=env.added,
        env_kept=env.kept,
        env_lost=env.lost,
        obstacles=tuple(around.obstacles(size, size_after)),
        dangers=tuple(_dangers(cvm, env.lost, size, size_after, now or datetime.now(UTC))),
        notes=tuple(_notes(cvm, compared=values_known or env.sent is not None or not changes.env)),
        body=body,
        env=env.sent,
        listed=changes.listed if any(one.field == "listed" for one in fields) else None,
        allowed=env.allowed,
    )


@dataclass(frozen=True, slots=True)
class _Variables:
    """The environment before and after; without values where it is not sent."""

    allowed: tuple[str, ...]
    sent: Mapping[str, Secret] | None = None

    @classmethod
    def judged(cls, compose: Mapping[str, Any], changes: Changes, *, send: bool) -> "_Variables":
        allowed = tuple(str(name) for name in compose.get("allowed_envs") or ())
        wanted = changes.env
        same = wanted is not None and set(wanted) == set(allowed)
        sent = wanted is not None and (not same or (send and bool(wanted)))
        return cls(allowed, wanted if sent else None)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.sent or ())

    @property
    def allowed_after(self) -> list[str]:
        return allowed_after(self.allowed, self.names)

    @property
    def change(self) -> UpdatedField:
        return UpdatedField("env", ", ".join(self.allowed) or None, ", ".join(self.names) or None)

    @property
    def added(self) -> tuple[str, ...]:
        return tuple(name for name in self.names if name not in self.allowed)

    @property
    def kept(self) -> tuple[str, ...]:
        return tuple(name for name in self.names if name in self.allowed)

    @property
    def lost(self) -> tuple[str, ...]:
        gone = self.sent is not None
        return tuple(name for name in self.allowed if gone and name not in self.names)


_COMPOSE: Final = frozenset({"docker_compose_file", "pre_launch_script", *VISIBILITY})
_TEXTS: Final = frozenset({"docker_compose_file", "pre_launch_script", "user_config"})
_NAMED: Final = {"docker_compose_file": "compose_file"}


def _different(
    cvm: Cvm, compose: Mapping[str, Any], changes: Changes
) -> Iterator[tuple[str, str | None, str | None]]:
    """Yield what differs from the record, by the names of the API, before and after in words."""
    size = Size.of(cvm)
    now = {
        "docker_compose_file": compose.get("docker_compose_file") or "",
        "pre_launch_script": compose.get("pre_launch_script") or "",
        **{name: getattr(size, name) for name in SIZE},
        "image": cvm.os.name if cvm.os is not None else None,
        **{name: compose.get(name, getattr(cvm, name)) for name in VISIBILITY},
        "listed": cvm.listed,
        "user_config": None,  # the record does not have it
    }
    wanted = {**changes.wire, "listed": changes.listed}
    for name, is_now in now.items():
        then = wanted.get(name)
        if then is None or then == is_now or _is_same(name, is_now, then, cvm):
            continue
        yield name, _words(name, is_now), _words(name, then)


def _is_same(name: str, now: object, then: object, cvm: Cvm) -> bool:
    """Return whether two values mean the same: other line ends, or an image by its slug."""
    if not isinstance(now, str) or not isinstance(then, str):
        return False
    if name == "image":
        digest = (cvm.os.os_image_hash if cvm.os is not None else None) or ""
        slug = then.removeprefix(f"{now}-")
        return slug != then and len(slug) == _SLUG_DIGITS and digest.startswith(slug)
    return name in _TEXTS and now.splitlines() == then.splitlines()


def _words(name: str, value: object) -> str | None:
    if value is None:
        return None
    if name in _TEXTS:
        return _lines(value)
    return ("yes" if value else "no") if isinstance(value, bool) else clean_text(value, 80)


def _lines(text: object) -> str | None:
    if not isinstance(text, str) or not text:
        return None
    return counted(len(text.splitlines()), "line")


def _diff(before: object, after: object) -> tuple[str, ...]:
    if after is None:
        return ()
    return compose_diff(before, after, ("compose_file, now", "compose_file, then"))


def _hash_after(cvm: Cvm, before: Mapping[str, Any], after: Mapping[str, Any]) -> str | None:
    """Return the hash that the service will compute, where it computes that of now as we do."""
    try:
        if compose_hash(before) != bare_digits(cvm.compose_hash):
            return None
        return compose_hash(after)
    except CvmError:
        return None


def _dangers(cvm: Cvm, lost: Sequence[str], now: Size, after: Size, at: datetime) -> Iterator[str]:
    if lost:
        them = "it is" if len(lost) == 1 else "they are"
        yield f"{', '.join(lost)} would be lost, since {them} not among the variables given"
    if shrinks(now, after):
        yield f"it would shrink, from {_size(now)} to {_size(after)}"
    term = term_of(cvm, at)
    if term is not None and after.gpus < now.gpus:
        yield term.text


def _size(size: Size) -> str:
    memory = "? GB" if size.memory is None else f"{size.memory / 1024:g} GB"
    gpus = f" and {counted(size.gpus, 'GPU')}" if size.gpus else ""
    return f"{size.vcpu or '?'} vCPU with {memory}{gpus}"


def _notes(cvm: Cvm, *, compared: bool) -> Iterator[str]:
    if not compared:
        yield "The values of variables are not compared: what runs cannot be read back"
    if cvm.kms_info is not None and cvm.kms_info.chain_id:
        yield "Its keys are managed on a chain: a new compose hash has to be registered there first"
