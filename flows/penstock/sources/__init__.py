"""Rows in. A new kind of source is one file and one line here."""

from __future__ import annotations

from penstock.sources.base import BadRow, FileState, Slice, SliceData, Source
from penstock.sources.csv_files import CsvFiles
from penstock.sources.files import ROW_KEY, check_unchanged, file_state, find_files
from penstock.sources.jsonl_files import JsonlFiles
from penstock.sources.parquet_files import ParquetFiles
from penstock.sources.settings import ENDINGS, Format, SourceSettings

KINDS: dict[Format, type[CsvFiles | JsonlFiles | ParquetFiles]] = {
    "csv": CsvFiles,
    "jsonl": JsonlFiles,
    "parquet": ParquetFiles,
}


def open_source(settings: SourceSettings) -> CsvFiles | JsonlFiles | ParquetFiles:
    """The source that the settings mean. Lists files; reads none of them.

    Raises:
        InputError: no file is there, or their format cannot be told.
    """
    files, kind = find_files(settings)
    return KINDS[kind](files, settings)


__all__ = [
    "ENDINGS",
    "KINDS",
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
