"""What all kinds of files share: finding them, and naming rows without a key."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from penstock.errors import InputError
from penstock.sources.base import FileState, SliceData, expand
from penstock.sources.objects import is_address, list_objects
from penstock.sources.settings import Format, SourceSettings, format_of
from penstock.sources.stored import StoredFile

if TYPE_CHECKING:
    import polars as pl

ROW_KEY = "row_key"
"""The column that names rows where the pipeline names no key."""


def find_files(settings: SourceSettings, planned: Sequence[FileState] = ()) -> tuple[list[StoredFile], Format]:
    """The files that the settings mean and their format.

    Args:
        planned: the files as a plan has them, in place of looking for them again.

    Raises:
        InputError: no file, files of several formats, or a format that cannot be told from the ending.
    """
    stored = [StoredFile(state.path, state) for state in planned] or _found(settings.path)
    if settings.format:
        kind = settings.format
    else:
        formats = {format_of(file.name) for file in stored}
        if None in formats:
            odd = next(file for file in stored if format_of(file.name) is None)
            raise InputError(
                f"source.path: the ending of {odd.name} says no format; set source.format to csv, jsonl, json or "
                "parquet, or to files if each file is a row"
            )
        if len(formats) > 1:
            names = ", ".join(sorted(map(str, formats)))
            raise InputError(f"source.path: {settings.path} means files of several formats: {names}")
        found = formats.pop()
        assert found is not None  # noqa: S101  # narrowed above
        kind = found
        if kind == "files" != settings.kind:
            raise InputError(
                f"source.path: {settings.path} holds files such as {stored[0].name}, which are no tables; "
                "write `format: files` to have each as a row"
            )
    try:
        settings.check_format(kind)
    except ValueError as error:
        raise InputError(str(error)) from None
    return stored, kind


def _found(text: str) -> list[StoredFile]:
    if is_address(text):
        stored = [StoredFile(state.path, state) for state in list_objects(text)]
        if not stored:
            raise InputError(f"source.path: {text} matches no object")
        return stored
    return [StoredFile(str(file)) for file in local_files(text)]


def local_files(text: str) -> list[Path]:
    """The files of this machine that a path, a folder or a glob means, sorted by name.

    Raises:
        InputError: there is none.
    """
    path = Path(text)
    files = expand(path)
    if not files:
        what = "matches no file" if any(mark in text for mark in "*?[") else "does not exist"
        raise InputError(f"source.path: {path} {'is a folder without files' if path.is_dir() else what}")
    return files


def folder_part(text: str) -> str:
    """The part of a path or address below which its files were looked for: up to the first part with a wildcard.

    Names of folders count as `key=value` only below it.
    """
    parts = text.split("/")
    for place, part in enumerate(parts):
        if any(mark in part for mark in "*?["):
            return "/".join(parts[:place])
    is_folder = text.endswith("/") or (not is_address(text) and Path(text).is_dir())
    if is_folder or is_address(text):
        return text.rstrip("/")
    return str(PurePosixPath(text).parent)


def check_row_key(names: Iterable[str], settings: SourceSettings, name: str) -> None:
    """Penstock's own names of rows must not overwrite a column of that name.

    Raises:
        InputError: the file has a column `ROW_KEY` and the pipeline names no key.
    """
    if not settings.keys and ROW_KEY in names:
        raise InputError(
            f"source.path: {name} has a column {ROW_KEY!r}, which Penstock adds where the pipeline names no key; "
            f"write source.key: {ROW_KEY} if it names the rows, or name another key"
        )


def with_row_keys(data: SliceData, file: int) -> SliceData:
    """Add `ROW_KEY`: file number, row number, and a hash of the row's content."""
    import polars as pl

    keys = [
        f"{file}-{number}-{hashlib.blake2b(text.encode(), digest_size=6).hexdigest()}"
        for number, text in zip(data.numbers, row_texts(data.frame), strict=True)
    ]
    data.frame = data.frame.insert_column(0, pl.Series(ROW_KEY, keys, dtype=pl.String))
    return data


def row_texts(frame: pl.DataFrame) -> pl.Series:
    """Each row as JSON, the same for the same content."""
    import polars as pl

    written = [_writable(column) for column in frame]
    return pl.DataFrame(written).select(pl.struct(pl.all()).struct.json_encode().alias("row")).to_series()


def _writable(column: pl.Series) -> pl.Series:
    """Bytes as text, since JSON has none."""
    import polars as pl

    if column.dtype == pl.Binary:
        return column.bin.encode("hex")
    if "Binary" in str(column.dtype):
        return pl.Series(column.name, [repr(value) for value in column.to_list()], dtype=pl.String)
    return column
