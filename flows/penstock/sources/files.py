"""What all kinds of files share: finding them, telling whether they changed, and naming rows without a key."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.errors import InputError, SourceChanged
from penstock.sources.base import FileState, SliceData, expand
from penstock.sources.settings import ENDINGS, Format, SourceSettings

if TYPE_CHECKING:
    import polars as pl

ROW_KEY = "row_key"
"""The column that names rows where the pipeline names no key."""

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_WHOLE = 64 << 20
_SAMPLE = 4 << 20


def find_files(settings: SourceSettings) -> tuple[list[Path], Format]:
    """The files that the settings mean and their format.

    Raises:
        InputError: no file, files of several formats, or a format that cannot be told from the ending.
    """
    if _ADDRESS.match(settings.path):
        raise InputError(
            f"source.path: {settings.path} is an address, and only files of this machine are read; "
            "copy it here, or mount it"
        )
    path = Path(settings.path)
    files = expand(path)
    if not files:
        what = "matches no file" if any(mark in str(path) for mark in "*?[") else "does not exist"
        folder = "is a folder; name its files with a glob such as *.csv"
        raise InputError(f"source.path: {path} {folder if path.is_dir() else what}")
    if settings.format:
        return files, settings.format
    formats = {ENDINGS.get(file.suffix.lower()) for file in files}
    if None in formats:
        odd = next(file for file in files if file.suffix.lower() not in ENDINGS)
        raise InputError(
            f"source.path: the ending of {odd.name} says no format; set source.format to csv, jsonl or parquet"
        )
    if len(formats) > 1:
        raise InputError(f"source.path: {path} means files of several formats: {', '.join(sorted(map(str, formats)))}")
    found = formats.pop()
    assert found is not None  # noqa: S101  # narrowed above
    return files, found


def file_state(path: Path) -> FileState:
    """Size, time and digest of a file; large files are hashed by their beginning, middle and end."""
    stat = path.stat()
    digest = hashlib.blake2b(str(stat.st_size).encode(), digest_size=16)
    with path.open("rb") as handle:
        if stat.st_size <= _WHOLE:
            while block := handle.read(_SAMPLE):
                digest.update(block)
        else:
            digest.update(str(stat.st_mtime_ns).encode())
            for place in (0, (stat.st_size - _SAMPLE) // 2, stat.st_size - _SAMPLE):
                handle.seek(place)
                digest.update(handle.read(_SAMPLE))
    return FileState(str(path), stat.st_size, stat.st_mtime_ns, digest.hexdigest())


def check_unchanged(planned: FileState) -> None:
    """Compare a file with what was planned, by size and time; the content decides when only the time differs.

    Raises:
        SourceChanged: the file is gone or not the same.
    """
    path = Path(planned.path)
    try:
        stat = path.stat()
        same = stat.st_size == planned.size and stat.st_mtime_ns == planned.modified_ns
        if not same and stat.st_size == planned.size:
            same = file_state(path).digest == planned.digest
    except OSError as error:
        raise SourceChanged(
            f"the source file {path} cannot be read any more ({error.strerror}). "
            "Put it back and resume, or start a new run"
        ) from None
    if not same:
        raise SourceChanged(
            f"the source file {path} changed during the run. What was answered is kept; resuming plans the new content"
        )


def check_row_key(names: Iterable[str], settings: SourceSettings, path: Path) -> None:
    """Penstock's own names of rows must not overwrite a column of that name.

    Raises:
        InputError: the file has a column `ROW_KEY` and the pipeline names no key.
    """
    if not settings.keys and ROW_KEY in names:
        raise InputError(
            f"source.path: {path.name} has a column {ROW_KEY!r}, which Penstock adds where the pipeline names no key; "
            f"write source.key: {ROW_KEY} if it names the rows, or name another key"
        )


def with_row_keys(data: SliceData, file: int) -> SliceData:
    """Add `ROW_KEY`: file number, row number, and a hash of the row's content."""
    import polars as pl

    written = [_writable(column) for column in data.frame]
    rows = pl.DataFrame(written).select(pl.struct(pl.all()).struct.json_encode().alias("row")).to_series()
    keys = [
        f"{file}-{number}-{hashlib.blake2b(text.encode(), digest_size=6).hexdigest()}"
        for number, text in zip(data.numbers, rows, strict=True)
    ]
    data.frame = data.frame.insert_column(0, pl.Series(ROW_KEY, keys, dtype=pl.String))
    return data


def _writable(column: pl.Series) -> pl.Series:
    """Bytes as text, since JSON has none."""
    import polars as pl

    if column.dtype == pl.Binary:
        return column.bin.encode("hex")
    if "Binary" in str(column.dtype):
        return pl.Series(column.name, [repr(value) for value in column.to_list()], dtype=pl.String)
    return column


def polars_type(name: str) -> pl.DataType:
    """The polars type that a word of `source.types` means."""
    import polars as pl

    kinds: dict[str, pl.DataType] = {
        "string": pl.String(),
        "integer": pl.Int64(),
        "number": pl.Float64(),
        "boolean": pl.Boolean(),
        "date": pl.Date(),
        "datetime": pl.Datetime("us"),
    }
    return kinds[name]
