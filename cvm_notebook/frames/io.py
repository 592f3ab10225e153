"""Fleet frames in files: written as Parquet, CSV or JSON, and read back with the exact schema."""

import csv
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeAlias

import pandas as pd

from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.api.models.base import instant
from cvm_notebook.files import write_file
from cvm_notebook.frames.convert import INDEX, Texts, as_text, build, check_columns, conform
from cvm_notebook.frames.fleet import SCHEMA
from cvm_notebook.frames.schema import TEXT, kind_of
from cvm_notebook.live.columns import FRAMED
from cvm_notebook.text import clean_text

# A spreadsheet takes a cell that begins so for a formula. The wide forms are of East Asian
# keyboards; blanks before them do not help.
_FORMULA: Final = frozenset("=+-@\uff1d\uff0b\uff0d\uff20|%")
_MARK: Final = "'"


def write_fleet(frame: pd.DataFrame, path: str | os.PathLike[str]) -> Path:
    """Write a frame of the fleet to a file, in the format that its name ends with.

    A CSV holds no formula: text that a spreadsheet would take for one has an apostrophe before
    it, and so has empty text, to differ from what is missing. `read_fleet` takes it away again.

    Parameters
    ----------
    frame
        A frame of `fleet_frame`, with any of its columns.
    path
        Ends with ``.parquet``, ``.csv`` or ``.json``. A file that is there is replaced whole, or
        not at all; it keeps its mode, and a symbolic link stays one.

    Returns
    -------
    pathlib.Path
        The path.

    Raises
    ------
    InvalidInput
        The ending is another, or the frame has columns that are not of the fleet table.
    OSError
        The file cannot be written.
    """
    target = _path(path)
    write, _ = _format(target)
    shaped = conform(frame)
    shaped.attrs["cvm"] = {"schema": SCHEMA}
    write_file(target, write(shaped))
    return target


def read_fleet(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read a frame of the fleet from a file, with the exact dtypes it was written with.

    Reads what `write_fleet` wrote, and what pandas' own ``to_parquet``, ``to_csv`` and
    ``to_json`` wrote of such a frame, as far as those keep it: their CSV has no difference between
    empty and missing, their JSON has times to the millisecond only.

    Parameters
    ----------
    path
        Ends with ``.parquet``, ``.csv`` or ``.json``.

    Raises
    ------
    InvalidInput
        It holds something else; the message names the column and the value.
    FileNotFoundError
        There is no such file.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = fleet.frame("wide").cvm.to_csv(pathlib.Path(folder, "monday.csv"))
    ...     monday = read_fleet(path)
    >>> monday.cvm.diff(monday).empty
    True
    """
    source = _path(path)
    _, read = _format(source)
    frame = read(source)
    frame.attrs = {"cvm": {"schema": SCHEMA}}
    return frame


def _path(path: object) -> Path:
    if not isinstance(path, str | os.PathLike):
        raise InvalidInput("path", f"it is {type(path).__name__}, not a path")
    return Path(path)


# --- Parquet ------------------------------------------------------------------------------------


def _write_parquet(frame: pd.DataFrame) -> bytes:
    try:
        return frame.to_parquet(engine="pyarrow")
    except ImportError as error:
        raise ImportError("Parquet needs pyarrow: pip install pyarrow") from error


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        from pyarrow import ArrowException, parquet  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise ImportError("Parquet needs pyarrow: pip install pyarrow") from error
    try:
        table = parquet.ParquetFile(path).read()
        return conform(pd.DataFrame(table.to_pandas()))
    except ArrowException as error:
        raise _not_readable(path, "Parquet file", error) from None


# --- CSV ----------------------------------------------------------------------------------------


def _write_csv(frame: pd.DataFrame) -> bytes:
    columns = {INDEX: _defused(INDEX, as_text(frame.index.to_series()))}
    columns |= {name: _defused(name, as_text(frame[name])) for name in frame.columns}
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return file.getvalue().encode(errors="surrogatepass")


def _defused(name: str, texts: Texts) -> list[str]:
    if not _is_text(name):
        return ["" if text is None else text for text in texts]
    return [_defuse(text) for text in texts]


def _defuse(text: str | None) -> str:
    if text is None:
        return ""
    first = text.lstrip()[:1]
    if not text or first in _FORMULA or first == _MARK or text[0] != first:
        return _MARK + text
    return text


def _read_csv(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(
            path,
            dtype=str,
            keep_default_na=False,
            na_filter=False,
            skip_blank_lines=False,
            encoding="utf-8-sig",
            encoding_errors="surrogatepass",
        )
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise _not_readable(path, "CSV file", error) from None
    cells = {str(name): [_armed(str(name), cell) for cell in table[name]] for name in table.columns}
    return _of_texts(path, cells, len(table))


def _armed(name: str, cell: str) -> str | None:
    if cell == "":
        return None
    return cell.removeprefix(_MARK) if _is_text(name) else cell


# --- JSON ---------------------------------------------------------------------------------------


def _write_json(frame: pd.DataFrame) -> bytes:
    columns = {INDEX: as_text(frame.index.to_series())}
    columns |= {name: as_text(frame[name]) for name in frame.columns}
    rows = zip(*columns.values(), strict=True)
    lines = ",\n".join(json.dumps(dict(zip(columns, row, strict=True))) for row in rows)
    head = json.dumps({"schema": SCHEMA, "columns": list(frame.columns)})
    return f'{head[:-1]}, "rows": [\n{lines}\n]}}\n'.encode()


def _read_json(path: Path) -> pd.DataFrame:
    try:
        document = json.loads(path.read_bytes(), parse_constant=lambda _: None)
    except (ValueError, RecursionError) as error:
        raise _not_readable(path, "JSON file", error) from None
    try:
        if "rows" in document:
            names = [INDEX, *document["columns"]]
            cells = {
                name: [_cell_text(name, row.get(name)) for row in document["rows"]]
                for name in names
            }
            return _of_texts(path, cells, len(document["rows"]))
        # as pandas writes it: of each column, each row by its id
        ids = dict.fromkeys(id_ for column in document.values() for id_ in column)
        cells = {
            name: [_cell_text(name, document[name].get(id_)) for id_ in ids] for name in document
        }
    except (AttributeError, KeyError, TypeError) as error:
        raise _not_readable(path, "fleet", error) from None
    return _of_texts(path, {INDEX: list(ids), **cells}, len(ids))


def _cell_text(name: str, value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        at = instant(value) if _dtype(name).startswith("datetime") else None
        return repr(value) if at is None else at.isoformat()
    raise TypeError(f"{name} holds a {type(value).__name__}")


# --- what they share ----------------------------------------------------------------------------


def _of_texts(path: Path, cells: dict[str, list[str | None]], rows: int) -> pd.DataFrame:
    if INDEX not in cells:
        raise InvalidInput("path", f"{clean_text(path.name)} has no column {INDEX}", _REMEDY)
    names = [name for name in cells if name != INDEX]
    check_columns(pd.Index(names, dtype=object))
    data = {name: build(name, cells[name]) for name in names}
    index = pd.Index(build(INDEX, cells[INDEX]), name=INDEX)
    assert len(index) == rows  # noqa: S101 - every reader makes columns of one length
    return conform(pd.DataFrame(data, index=index, copy=False))


def _is_text(name: str) -> bool:
    return _dtype(name) == TEXT.dtype


def _dtype(name: str) -> str:
    return kind_of(FRAMED[name]).dtype if name in FRAMED else TEXT.dtype


_REMEDY: Final = "Give a file that df.cvm.to_parquet, to_csv or to_json has written."


def _not_readable(path: Path, what: str, error: Exception) -> InvalidInput:
    reason = clean_text(error, 120)
    return InvalidInput(
        "path", f"{clean_text(path.name)} is not a readable {what}: {reason}", _REMEDY
    )


_Format: TypeAlias = tuple[Callable[[pd.DataFrame], bytes], Callable[[Path], pd.DataFrame]]
_FORMATS: Final[dict[str, _Format]] = {
    ".parquet": (_write_parquet, _read_parquet),
    ".csv": (_write_csv, _read_csv),
    ".json": (_write_json, _read_json),
}


def _format(path: Path) -> _Format:
    try:
        return _FORMATS[path.suffix.lower()]
    except KeyError:
        ending = clean_text(path.suffix, 20) or "no ending"
        known = ", ".join(_FORMATS)
        raise InvalidInput("path", f"{ending} is none of {known}", "Name it so.") from None
