"""Saved views of the table: filter, columns and order by a name, in a file of the user's."""

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Literal, Self, TypeVar

import msgspec
from filelock import FileLock, Timeout

from cvm_notebook.api.auth.profiles import credentials_path
from cvm_notebook.api.errors.tree import CvmError, InvalidInput
from cvm_notebook.files import write_file
from cvm_notebook.text import clean_text, quoted
from cvm_notebook.widgets.table.presentation import COLUMNS, USUAL

DEFAULT: Final = "Default"
"""The view that is always there: the usual columns of all CVMs, in the service's order."""
_FILE: Final = "notebook-views.json"
_LARGEST: Final = 1 << 20
_MOST: Final = 100
_NAME_CHARS: Final = 60
_QUERY_CHARS: Final = 2_000
_NARROWEST, _WIDEST = 40, 4_000  # pixels of a column
_PATIENCE_S: Final = 2.0
T = TypeVar("T")


class Sort(msgspec.Struct, frozen=True):
    """The column that rows are sorted by, and whether the largest come first."""

    name: str
    down: bool = False


class SavedView(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The settings of a table; none of its data.

    Attributes
    ----------
    query
        The filter.
    columns
        By name, in their order.
    widths
        In pixels, of those that were made wider or narrower.
    by
        ``"app"`` where CVMs stand under their apps.
    """

    query: str = ""
    columns: tuple[str, ...] = USUAL
    widths: dict[str, int] = {}
    sort: Sort | None = None
    by: Literal["cvm", "app"] = "cvm"

    @classmethod
    def of(
        cls, query: str, columns: tuple[str, ...], by: Literal["cvm", "app"], look: object
    ) -> Self:
        """Make one of what Python knows of a table and of what a front end says of its look.

        Parameters
        ----------
        look
            ``{"widths": {name: pixels}, "sort": {"name": ..., "down": ...}}``; what of it is
            malformed is left out.
        """
        layout = look if isinstance(look, Mapping) else {}
        widths, sort = layout.get("widths"), None
        with suppress(msgspec.ValidationError):
            sort = msgspec.convert(layout.get("sort"), Sort | None)
        made = cls(
            query=query,
            columns=columns,
            widths=dict(widths) if isinstance(widths, Mapping) else {},
            sort=sort,
            by=by,
        )
        return made.sound()

    def sound(self) -> Self:
        """Return it without what this version does not have, and within bounds."""
        named = tuple(name for name in self.columns if name in COLUMNS)
        fits = {
            name: width
            for name, width in self.widths.items()
            if name in COLUMNS and type(width) is int and _NARROWEST <= width <= _WIDEST
        }
        sort = self.sort if self.sort is not None and self.sort.name in COLUMNS else None
        return msgspec.structs.replace(
            self,
            query=self.query[:_QUERY_CHARS],
            columns=named or USUAL,
            widths=fits,
            sort=sort,
        )

    def look(self) -> dict[str, Any]:
        """Return what front ends keep of it: widths and sorting."""
        sort = None if self.sort is None else {"name": self.sort.name, "down": self.sort.down}
        return {"widths": self.widths, "sort": sort}


class _File(msgspec.Struct, omit_defaults=True):
    version: int = 1
    views: dict[str, SavedView] = {}


class ViewBook:
    """The views that a user has saved; read anew each time, for other kernels save, too.

    Parameters
    ----------
    path
        The file, there or not; where the profiles of the command line are kept, when not given.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or credentials_path(os.environ).with_name(_FILE)

    def names(self) -> tuple[str, ...]:
        """Return the names of the views there are, in the order of the alphabet.

        Raises
        ------
        CvmError
            The file cannot be read, or does not hold views.
        """
        return tuple(sorted(self._read().views, key=str.casefold))

    def get(self, name: str) -> SavedView:
        """Return a view.

        Raises
        ------
        InvalidInput
            There is none of that name; the message has those there are.
        CvmError
            As `names`.
        """
        if _key(name) == _key(DEFAULT):
            return SavedView()
        views = self._read().views
        found = views.get(name) or next(
            (v for n, v in views.items() if _key(n) == _key(name)), None
        )
        if found is None:
            raise _unknown(name, views)
        return found.sound()

    def save(self, name: str, view: SavedView) -> str:
        """Save a view, in the place of one of the same name; return its name.

        Raises
        ------
        InvalidInput
            It cannot be called that, or there are too many.
        CvmError
            The file cannot be read or written.
        """
        name = checked_name(name)

        def put(views: dict[str, SavedView]) -> None:
            for other in [one for one in views if _key(one) == _key(name)]:
                del views[other]
            if len(views) >= _MOST:
                raise InvalidInput("name", f"there are {_MOST} views already", "Delete one first.")
            views[name] = view

        self._change(put)
        return name

    def delete(self, name: str) -> None:
        """Delete a view.

        Raises
        ------
        InvalidInput, CvmError
            As `get`, and `save`.
        """

        def drop(views: dict[str, SavedView]) -> None:
            found = [one for one in views if _key(one) == _key(name)]
            if not found:
                raise _unknown(name, views)
            for one in found:
                del views[one]

        self._change(drop)

    def _change(self, change: Callable[[dict[str, SavedView]], object]) -> None:
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with FileLock(f"{self.path}.lock", timeout=_PATIENCE_S):
                file = self._read()
                change(file.views)
                content = msgspec.json.format(msgspec.json.encode(file), indent=2)
                write_file(self.path, content, private=True)
        except Timeout:
            raise self._broken("cannot be written: another kernel holds its lock") from None
        except OSError as error:
            raise self._broken(f"cannot be written ({error.strerror})") from None

    def _read(self) -> _File:
        try:
            with self.path.open("rb") as opened:
                content = opened.read(_LARGEST + 1)
        except FileNotFoundError:
            return _File()
        except OSError as error:
            raise self._broken(f"cannot be read ({error.strerror})") from None
        if len(content) > _LARGEST:
            raise self._broken("is too large for a file of saved views")
        try:
            return msgspec.json.decode(content, type=_File)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise self._broken(f"is not a file of saved views ({clean_text(error, 120)})") from None

    def _broken(self, what: str) -> CvmError:
        return CvmError(f"{self.path} {what}.", hint="Fix it, or move it away to begin with none.")


def checked_name(name: object) -> str:
    """Return the validated name of a saved view.

    Raises
    ------
    InvalidInput
        It is none, too long, or that of the view that is always there.
    """
    if not isinstance(name, str) or not (cleaned := clean_text(name, 2 * _NAME_CHARS).strip()):
        raise InvalidInput("name", "it is empty", "Give the view a name.")
    if len(cleaned) > _NAME_CHARS:
        raise InvalidInput("name", f"it has more than {_NAME_CHARS} characters")
    if _key(cleaned) == _key(DEFAULT):
        raise InvalidInput("name", f"{DEFAULT!r} is always there", "Choose another name.")
    return cleaned


def _key(name: str) -> str:
    return name.strip().casefold()


def _unknown(name: object, views: Mapping[str, SavedView]) -> InvalidInput:
    listed = ", ".join(clean_text(known, _NAME_CHARS) for known in sorted(views, key=str.casefold))
    saved = f"Saved are: {listed}." if listed else "None is saved yet: save one in the table."
    return InvalidInput("name", f"there is no saved view {quoted(name, _NAME_CHARS)}", saved)
