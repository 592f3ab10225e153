"""login(): whose key is used here, where it came from, and a place to give one."""

import os
import secrets
import threading
import weakref
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import anywidget
import traitlets

from cvm_notebook.api.auth import credentials
from cvm_notebook.api.auth.credentials import Credentials, find_api_key
from cvm_notebook.api.auth.profiles import credentials_path, profile_names
from cvm_notebook.api.client import Client
from cvm_notebook.api.errors.tree import CredentialsError, CvmError
from cvm_notebook.api.models.catalogue import CurrentUser
from cvm_notebook.api.secret import Secret
from cvm_notebook.live.clock import SystemClock
from cvm_notebook.live.workers import Workers
from cvm_notebook.text import clean_text, html_table, text_table, usd
from cvm_notebook.widgets.base.assets import module, style
from cvm_notebook.widgets.base.closing import ClosesWhole
from cvm_notebook.widgets.base.mimebundle import has_kernel, with_widget
from cvm_notebook.widgets.base.secret_box import seal
from cvm_notebook.widgets.base.ui_thread import publish, ui_thread

_SOURCE: Final = "the login in this process (in memory only)"
_CLOSE_S: Final = 2.0


class Account:
    """Whose key is used. Safe to use from any thread; each call asks the service.

    Attributes
    ----------
    client
        Uses the key; None while there is none that the service knows.
    error
        Why there is none.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.client: Client | None = None
        self.error: CvmError | None = None
        self.profile: str | None = None
        self._found: Credentials | None = None
        self._user: CurrentUser | None = None
        self._at = datetime.now(UTC)

    def look(self, profile: str | None = None) -> None:
        """Find a key: that of a profile, from now on used here, or whichever there is."""
        try:
            self._take(find_api_key(profile=profile, prompt=None), profile, keep=bool(profile))
        except CvmError as error:
            self._refuse(error, profile)

    def give(self, key: Secret) -> None:
        """Take a key: the service is asked whose it is, and then it is used here."""
        try:
            found = find_api_key(api_key=key, prompt=None)
            self._take(replace(found, source=_SOURCE), None, keep=True)
        except CvmError as error:
            self._refuse(error, None)

    def forget(self) -> None:
        """Use no longer what was given or chosen here, but what is found."""
        credentials.remember(None)
        self.look()

    def _take(self, found: Credentials, profile: str | None, *, keep: bool) -> None:
        client = Client(api_key=found.secret, base_url=found.base_url)
        try:
            user = client.get_current_user()
        except CvmError:
            client.close()
            raise
        if keep:
            credentials.remember(found)
        with self._lock:
            self.client, self.error, self.profile = client, None, profile
            self._found, self._user, self._at = found, user, datetime.now(UTC)

    def _refuse(self, error: CvmError, profile: str | None) -> None:
        with self._lock:
            self.error, self.profile = error.with_traceback(None), profile
            self._at = datetime.now(UTC)

    # --- told -------------------------------------------------------------------------------------

    def rows(self) -> list[tuple[str, str]]:
        """Return what is known of the key that is used, in words."""
        if self._found is None or self._user is None:
            return []
        user, workspace, money = self._user.user, self._user.workspace, self._user.credits
        place = [workspace.name, workspace.tier, workspace.role] if workspace else []
        said = [
            ("key", f"from {self._found.source}"),
            ("address", self._found.base_url),
            ("user", clean_text((user.username or user.email or "") if user else "", 80)),
            ("workspace", ", ".join(clean_text(word, 60) for word in place if word)),
            ("credit", f"{usd(money.balance)} USD" if money and money.balance is not None else ""),
        ]
        return [(name, value) for name, value in said if value]

    @property
    def title(self) -> str:
        """One line that says how it stands, and when."""
        state = "signed in" if self.client is not None else "not signed in"
        wrong = f"; {clean_text(self.error, 400)}" if self.error is not None else ""
        return f"Phala Cloud: {state}, as of {self._at:%Y-%m-%d %H:%M:%S} UTC{wrong}"

    def tell(self) -> dict[str, Any]:
        """Return what a view draws."""
        wrong = None if self.error is None else clean_text(self.error, 600)
        missing = isinstance(self.error, CredentialsError)
        return {
            "in": self.client is not None,
            "rows": self.rows(),
            "wrong": wrong,
            "missing": missing and self.client is None,
            "profiles": _profiles(),
            "profile": self.profile,
        }

    def static(self) -> dict[str, str]:
        """Return it as text and as html."""
        return {
            "text/plain": text_table(self.title, ("", ""), self.rows()),
            "text/html": html_table(self.title, ("", ""), self.rows()),
        }

    def __repr__(self) -> str:
        return self.static()["text/plain"]


def _profiles() -> list[str]:
    """Return the profiles' names; a file that cannot be used has none."""
    try:
        return [clean_text(name, 80) for name in profile_names(credentials_path(os.environ))]
    except CredentialsError:
        return []


class Login(ClosesWhole, anywidget.AnyWidget):
    """The account that is used, a box for a key, and a choice of profiles.

    Attributes
    ----------
    account
        What it shows.
    """

    _esm = module("base/secret", "login")
    _css = style("base/secret", "login")
    # What is drawn first; no key is ever in it.
    _boot = traitlets.Dict().tag(sync=True)

    def __init__(self, account: Account) -> None:
        self.account = account
        self._token = secrets.token_hex(8)  # a message from a copy of the notebook has another
        self._busy = False
        me = weakref.ref(self)
        self._workers = Workers(SystemClock(), 1, "cvm-login", partial(_crashed, me))
        super().__init__(_boot=self._told())
        self.on_msg(partial(_received, me))

    @property
    def client(self) -> Client | None:
        """A client with the key; None while there is none."""
        return self.account.client

    def close(self) -> None:
        """End it; the key stays in use."""
        ui_thread.leave(self)
        self._workers.close(_CLOSE_S)
        super().close()

    # --- for the UI thread ------------------------------------------------------------------------

    def flush(self) -> None:
        """Say how it stands; see `View`."""
        publish(self, self._told())

    def pulse(self) -> None:
        """Nothing of it changes by itself; see `View`."""

    def failed(self, error: BaseException) -> None:
        """Show that something of ours went wrong; see `View`."""
        publish(self, {**self._told(), "wrong": f"{type(error).__name__} in the login."})

    def _told(self) -> dict[str, Any]:
        said = {"kind": "account", "token": self._token, "busy": self._busy}
        return {**said, **self.account.tell()}

    def _take(self, content: Mapping[str, Any]) -> None:
        kind, value = content.get("kind"), content.get("value")
        mine = content.get("token") == self._token and not self._busy
        name = content.get("profile")
        if mine and kind == "secret" and isinstance(value, Secret):
            self._ask(partial(self.account.give, value))
        elif mine and kind == "profile" and isinstance(name, str) and name in _profiles():
            self._ask(partial(self.account.look, name))
        elif mine and kind == "profile" and not name:
            self._ask(self.account.forget)
        ui_thread.mark(self)

    def _ask(self, question: Any) -> None:
        self._busy = True
        self._workers.do(partial(self._asked, question))

    def _asked(self, question: Any) -> None:
        try:
            question()
        finally:
            self._busy = False
            ui_thread.mark(self)

    # --- shown ------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        return repr(self.account)

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:  # type: ignore[override]
        return with_widget(self.account.static(), lambda: self)


def login(profile: str | None = None) -> "Login | Account":
    """Say whose key is used here and where it came from; ask for one when there is none.

    A key that is given here stays in this process's memory: `connect` and `Client` use it from then
    on. Without a notebook it is asked for at the terminal.

    Parameters
    ----------
    profile
        A profile of the Phala CLI, to be used here from now on.

    Returns
    -------
    Login or Account
        It shows itself; its ``client`` uses the key.
    """
    account = Account()
    account.look(profile)
    if has_kernel():
        return Login(account)
    if isinstance(account.error, CredentialsError) and profile is None:
        typed = credentials.ask("API key of Phala Cloud (not shown, not stored): ")
        if typed:
            account.give(Secret(typed))
    return account


def _crashed(me: "weakref.ref[Login]", error: BaseException) -> None:
    view = me()
    if view is not None:
        view.failed(error)


def _received(me: "weakref.ref[Login]", _widget: object, content: object, _buffers: object) -> None:
    view, sealed = me(), seal(content)  # no key goes further in the clear
    if view is not None:
        ui_thread.post(partial(view._take, sealed), view)  # noqa: SLF001 - its own handler
