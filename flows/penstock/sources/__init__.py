"""Rows in. A new kind of source is one file and one line here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from penstock.sources.base import BadRow, FileState, Slice, SliceData, Source
from penstock.sources.copies import Copies
from penstock.sources.csv_files import CsvFiles
from penstock.sources.file_rows import FileRows
from penstock.sources.files import ROW_KEY, find_files
from penstock.sources.folder_columns import FolderColumns, folder_values
from penstock.sources.jsonl_files import JsonlFiles
from penstock.sources.parquet_files import ParquetFiles
from penstock.sources.query_rows import QueryRows
from penstock.sources.settings import ENDINGS, Format, SourceSettings
from penstock.sources.stored import StoredFile, TextFile, check_unchanged, file_state


def open_source(
    settings: SourceSettings, *, copies: Path | None = None, planned: Sequence[FileState] | None = None
) -> Source:
    """The source that the settings mean. Lists files; reads none of them.

    Args:
        settings: the `source:` key.
        copies: the folder for copies of what cannot be read in place, best in the state folder; else one of the user's
            cache.
        planned: what `Source.states` said when a plan was made, so that its slices mean the same files and rows, also
            when others came to the folder since.

    Raises:
        InputError: no file is there, or their format cannot be told.
    """
    kept = Copies(copies)
    if settings.sql:
        return QueryRows(settings, kept, planned or ())
    if settings.kind == "files":
        return FileRows(settings, kept, planned or ())
    stored, kind = find_files(settings, planned or ())
    values = folder_values(settings, stored)
    if not values:
        return _tables(stored, kind, settings, kept)
    own = {name: word for name, word in settings.types.items() if name not in values[0]}
    inner = _tables(stored, kind, settings.model_copy(update={"types": own}), kept)
    return FolderColumns(inner, settings, values)


def _tables(stored: list[StoredFile], kind: Format, settings: SourceSettings, copies: Copies) -> Source:
    if kind == "parquet":
        return ParquetFiles(stored, settings, copies)
    texts = [TextFile(file, kind, settings.encoding, copies) for file in stored]
    return CsvFiles(texts, settings) if kind == "csv" else JsonlFiles(texts, settings)


__all__ = [
    "ENDINGS",
    "ROW_KEY",
    "BadRow",
    "FileState",
    "Slice",
    "SliceData",
    "Source",
    "SourceSettings",
    "check_unchanged",
    "file_state",
    "find_files",
    "open_source",
]
