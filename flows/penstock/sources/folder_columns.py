"""Data sets in folders named `key=value`: each such name is a column of the rows below it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from penstock.errors import InputError
from penstock.sources.base import FileState, Slice, SliceData, Source
from penstock.sources.casting import cast_columns
from penstock.sources.files import check_row_key, folder_part
from penstock.sources.settings import SourceSettings
from penstock.sources.stored import StoredFile
from penstock.sources.text_files import mixed
from penstock.values import TypeWord, polars_type

if TYPE_CHECKING:
    import polars as pl

_NAMED = re.compile(r"([^=]+)=(.*)", re.DOTALL)
_NULL = "__HIVE_DEFAULT_PARTITION__"
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,17})")

Values = dict[str, str | None]


def folder_values(settings: SourceSettings, stored: Sequence[StoredFile]) -> list[Values]:
    """What the folders of each file name, as text; empty when none of them names anything.

    Raises:
        InputError: some files lie in folders of other names than the first.
    """
    base = folder_part(settings.path)
    values = [_named(file.address.removeprefix(base)) for file in stored]
    if not any(values):
        return []
    for file, named in zip(stored, values, strict=True):
        if named.keys() != values[0].keys():
            raise InputError(
                f"source.path: {stored[0].address} lies in folders that name {_listed(values[0])}, and {file.address} "
                f"in such that name {_listed(named)}; all files need the same"
            )
    return values


def _named(below: str) -> Values:
    found: Values = {}
    for part in below.split("/")[:-1]:
        if match := _NAMED.fullmatch(part):
            found[unquote(match[1])] = None if match[2] == _NULL else unquote(match[2])
    return found


def _listed(values: Values) -> str:
    return ", ".join(values) or "nothing"


class FolderColumns:
    """A source whose files lie in named folders. A column that the files have themselves is theirs."""

    def __init__(self, inner: Source, settings: SourceSettings, values: list[Values]) -> None:
        self._inner = inner
        self._settings = settings
        self._values = values
        self._own: set[str] | None = None

    @property
    def files(self) -> Sequence[str | Path]:
        """The files as they are stored."""
        return self._inner.files

    def states(self) -> tuple[FileState, ...]:
        """What tells whether each file is still what was planned."""
        return self._inner.states()

    def column_names(self) -> dict[str, str | None]:
        """The files' columns, then those of their folders."""
        own = self._inner.column_names()
        self._own = set(own)
        return {**own, **dict.fromkeys(self._added())}

    def schema(self) -> dict[str, pl.DataType]:
        """The files' columns, then those of their folders: whole numbers, dates, or else text."""
        own = self._inner.schema()
        self._own = set(own)
        if twice := sorted(self._own & set(self._values[0]) & set(self._settings.types)):
            raise InputError(
                f"source.types: {twice[0]!r} is a column of the files and a name of their folders; use a derive step"
            )
        check_row_key(self._added(), self._settings, str(self.files[0]))
        return {**own, **{name: polars_type(self._word(name)) for name in self._added()}}

    def slices(self, rows: int, *, may_estimate: bool = False) -> Iterator[Slice]:
        """The files' slices."""
        for piece in self._inner.slices(rows, may_estimate=may_estimate):
            values = self._values[piece.file]
            yield replace(piece, digest=mixed(piece.digest, [[name, values[name]] for name in self._added()]))

    def read(self, piece: Slice, schema: dict[str, pl.DataType]) -> SliceData:
        """The slice's rows with the values of their folders."""
        import polars as pl

        added = self._added(schema)
        data = self._inner.read(piece, {name: kind for name, kind in schema.items() if name not in added})
        texts = pl.DataFrame(
            {name: [self._values[piece.file][name]] for name in added}, schema=dict.fromkeys(added, pl.String())
        )
        typed, good, culprit = cast_columns(texts, {name: schema[name] for name in added})
        if culprit or not good.all():
            raise InputError(
                f"source.types: the folder {culprit}={self._values[piece.file][culprit]} is no "
                f"{self._settings.types.get(culprit, schema[culprit])}"
            )
        data.frame = data.frame.with_columns(
            pl.lit(typed[name].item(), dtype=schema[name]).alias(name) for name in added
        )
        data.frame = data.frame.select(list(schema))
        return data

    def _added(self, schema: dict[str, pl.DataType] | None = None) -> list[str]:
        """The columns that the folders add."""
        if self._own is None:
            self._own = set(self._inner.column_names())
        return [name for name in self._values[0] if name not in self._own and (schema is None or name in schema)]

    def _word(self, name: str) -> TypeWord:
        if name in self._settings.types:
            return self._settings.types[name]
        texts = [values[name] or "" for values in self._values if values[name] is not None]
        if texts and all(_INTEGER.fullmatch(text) for text in texts):
            return "integer"
        return "date" if texts and all(_is_date(text) for text in texts) else "string"


def _is_date(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False
