"""The other side of a join: a source read whole, once per process, and only its columns that are needed."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.errors import InputError
from penstock.sources import Source, SourceSettings, open_source
from penstock.sources.parquet_files import ParquetFiles
from penstock.values import format_size

if TYPE_CHECKING:
    import polars as pl

_SLICE_ROWS = 100_000
_OWN_KEY = re.compile(r"\bsource\.(?=path|format|types|key|delimiter)")
_States = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is read of the other source.

    Attributes:
        settings: which files.
        keys: the columns that are compared; rows with a null there match nothing and are left out.
        columns: the further columns; None for all there are.
        unique: whether two rows with the same key are a mistake.
        distinct: whether rows are only asked whether they are there.
        memory: bytes that the table may take.
    """

    settings: SourceSettings
    keys: tuple[str, ...]
    columns: tuple[str, ...] | None
    unique: bool
    distinct: bool
    memory: int


_tables: dict[str, tuple[_States, pl.DataFrame]] = {}
_loading = threading.Lock()


def column_names(settings: SourceSettings, keys: Sequence[str]) -> dict[str, str | None]:
    """The columns of the other source with their types as far as its header tells.

    Raises:
        InputError: there is no such file, or it cannot be read.
    """
    try:
        return open_source(_keyed(settings, keys)).column_names()
    except InputError as error:
        raise InputError(_reworded(error)) from None


def other_table(wanted: Wanted) -> pl.DataFrame:
    """The other side of a join, from memory when it was read before and its files are the same.

    Raises:
        InputError: it cannot be read whole, has two rows with one key, or takes too much memory.
    """
    try:
        source = open_source(_keyed(wanted.settings, wanted.keys))
        stats = [(path, Path(path).stat()) for path in source.files]
        states = tuple((str(path), stat.st_mtime_ns, stat.st_size) for path, stat in stats)
        name = repr(wanted)
        # One thread reads, the others wait for it: a table is in memory once.
        with _loading:
            known = _tables.get(name)
            if known is None or known[0] != states:
                _tables.pop(name, None)
                known = _tables[name] = (states, _read(source, wanted))
            return known[1]
    except InputError as error:
        raise InputError(_reworded(error)) from None


def _read(source: Source, wanted: Wanted) -> pl.DataFrame:
    import polars as pl

    schema = source.schema()
    others = schema if wanted.columns is None else wanted.columns
    needed = list(dict.fromkeys([*wanted.keys, *others]))
    if missing := [name for name in needed if name not in schema]:
        raise InputError(f"{wanted.settings.path} has no column {missing[0]!r}; it has: {', '.join(schema)}")
    if isinstance(source, ParquetFiles):
        schema = {name: schema[name] for name in needed}
    frames = [pl.DataFrame(schema={name: schema[name] for name in needed})]
    size = 0
    for piece in source.slices(_SLICE_ROWS):
        data = source.read(piece, schema)
        if data.bad:
            bad = data.bad[0]
            raise InputError(f"{bad.file}, line {bad.line}: {bad.message}. A join needs every row of the other side")
        frames.append(data.frame.select(needed).drop_nulls(list(wanted.keys)))
        size += int(frames[-1].estimated_size())
        if size > wanted.memory:
            raise InputError(
                f"the other side of the join, {wanted.settings.path}, takes more than {format_size(wanted.memory)} of "
                "memory; name fewer `columns`, join in a database first, or raise `memory`"
            )
    table = pl.concat(frames).rechunk()
    if wanted.distinct:
        return table.unique(maintain_order=True)
    if wanted.unique:
        _check_unique(table, wanted)
    return table


def _check_unique(table: pl.DataFrame, wanted: Wanted) -> None:
    keys = list(wanted.keys)
    twice = table.filter(table.select(keys).is_duplicated())
    if len(twice):
        value = ", ".join(f"{name} = {twice[name][0]!r}" for name in keys)
        raise InputError(
            f"{wanted.settings.path} has several rows with {value}, so that one row here would become several; "
            "name further columns in `on`, or allow it with `many: true`"
        )


def _keyed(settings: SourceSettings, keys: Sequence[str]) -> SourceSettings:
    # With a key of its own the source adds none, which would cost a hash per row.
    return settings.model_copy(update={"key": list(keys)})


def _reworded(error: InputError) -> str:
    return _OWN_KEY.sub("with.", str(error))
