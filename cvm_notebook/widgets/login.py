"""login(): a widget that shows the account of the API key, and takes another key."""

import os
import threading
import weakref
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

from cvm_notebook.api.auth import credentials
from cvm_notebook.api.auth.credentials import Credentials, find_api_key
from cvm_notebook.api.auth.profiles import credentials_path, profile_names
from cvm_notebook.api.client import Client
from cvm_notebook.api.errors.tree import CredentialsError, CvmError
from cvm_notebook.api.models.catalogue import CurrentUser
from cvm_notebook.api.secret import Secret
from cvm_notebook.connection import sign_in, typed_key
from cvm_notebook.text import clean_text, html_table, text_table
from cvm_notebook.widgets.base.assets import module, style
from cvm_notebook.widgets.base.mimebundle import allows_input, has_kernel
from cvm_notebook.widgets.base.view import LiveView, Message


class Account:
    """The account of the API key. Safe to use from any thread; each call asks the service.

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
            self._take(typed_key(key), None, keep=True)
        except CvmError as error:
            self._refuse(error, None)

    def forget(self) -> None:
        """Use no longer what was given or chosen here, but what is found."""
        credentials.remember(None)
        self.look()

    def _take(self, found: Credentials, profile: str | None, *, keep: bool) -> None:
        client, user = sign_in(found, keep=keep)
        with self._lock:
            self.client, self.error, self.profile = client, None, profile
            self._found, self._user, self._at = found, user, datetime.now(UTC)

    def _refuse(self, error: CvmError, profile: str | None) -> None:
        with self._lock:
            self.error, self.profile = error.with_traceback(None), profile
            self._at = datetime.now(UTC)

    # --- shown ------------------------------------------------------------------------------------

    def rows(self) -> list[tuple[str, str]]:
        """Return what is known of the key that is used, in words."""
        if self._found is None or self._user is None:
            return []
        user, workspace, money = self._user.user, self._user.workspace, self._user.credits
        place = [workspace.name, workspace.tier, workspace.role] if workspace else []
        facts = [
            ("key", f"from {self._found.source}"),
            ("address", self._found.base_url),
            ("user", clean_text((user.username or user.email or "") if user else "", 80)),
            ("workspace", ", ".join(clean_text(word, 60) for word in place if word)),
            ("credit", f"{money.balance:,.2f} USD" if money and money.balance is not None else ""),
        ]
        return [(name, value) for name, value in facts if value]

    @property
    def title(self) -> str:
        """The state of the account in one line, with its time."""
        state = "signed in" if self.client is not None else "not signed in"
        wrong = f"; {clean_text(self.error, 400)}" if self.error is not None else ""
        return f"Phala Cloud: {state}, as of {self._at:%Y-%m-%d %H:%M:%S} UTC{wrong}"

    def payload(self) -> dict[str, Any]:
        """Return what a view draws."""
        wrong = None if self.error is None else clean_text(self.error, 600)
        missing = isinstance(self.error, CredentialsError)
        return {
            "in": self.client is not None,
            "local": self._found is not None and self._found.base_url.startswith("http://"),
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


class Login(LiveView):
    """The account that is used, a box for a key, and a choice of profiles.

    Attributes
    ----------
    account
        What it shows; no key is ever in it.

    Parameters
    ----------
    then
        What to do once somebody is signed in.
    """

    _esm = module("base/secret", "login")
    _css = style("base/secret", "login")
    _FAULT = " in the login."

    def __init__(self, account: Account, *, then: str = "") -> None:
        self.account = account
        self._then = then
        self._busy = False
        self._crew("cvm-login")
        super().__init__()

    @property
    def client(self) -> Client | None:
        """A client with the key; None while there is none."""
        return self.account.client

    def _state(self) -> Message:
        return {"busy": self._busy, "then": self._then, **self.account.payload()}

    def _on_secret(self, message: Mapping[str, Any]) -> None:
        value = message.get("value")
        if isinstance(value, Secret):
            self._ask(partial(self.account.give, value))

    def _on_profile(self, message: Mapping[str, Any]) -> None:
        name = message.get("profile")
        if isinstance(name, str) and name in _profiles():
            self._ask(partial(self.account.look, name))
        elif not name:
            self._ask(self.account.forget)
        else:
            self._forget()  # a profile that is gone: what stands there is to be drawn again
            self._mark()

    def _ask(self, question: Callable[[], None]) -> None:
        if not self._busy:
            self._busy = True
            self._workers.do(partial(self._asked, question))
            self._mark()

    def _asked(self, question: Callable[[], None]) -> None:
        try:
            question()
        finally:
            self._busy = False
            self._mark()

    def __repr__(self) -> str:
        return repr(self.account)

    def _static(self) -> dict[str, str]:
        return self.account.static()


_beneath: "weakref.ref[Login] | None" = None


def show_beneath(shell: Any) -> None:
    """Show a box for a key beneath the running cell, once it has ended, if input is possible.

    Parameters
    ----------
    shell
        The IPython that runs the cell.
    """
    if not allows_input(shell):
        return

    def show(*_: object) -> None:
        global _beneath  # noqa: PLW0603 - one box: the one before is of no use any more
        from IPython.display import display  # noqa: PLC0415 - there is one, or there is no shell

        shell.events.unregister("post_run_cell", show)
        before = _beneath() if _beneath is not None else None
        if before is not None:
            before.close()
        box = Login(Account(), then="Run the cell again.")
        _beneath = weakref.ref(box)
        display(box)  # type: ignore[no-untyped-call]

    shell.events.register("post_run_cell", show)


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
