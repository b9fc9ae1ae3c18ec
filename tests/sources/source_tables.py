"""A source from bytes, read whole and in slices, as a partition reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from penstock.sources import BadRow, SliceData, SourceSettings, open_source


def opened(path: Path, data: bytes | None = None, **settings: Any) -> Any:
    """The source of `path`, after `data` was written there."""
    if data is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return open_source(SourceSettings(path=str(path), **settings), copies=_plain(path) / ".copies")


def _plain(path: Path) -> Path:
    """The folder of a path, or that around its first part with a wildcard."""
    return next(one for one in (path.parent, *path.parents) if not any(mark in str(one) for mark in "*?"))


def pieces(source: Any, rows: int = 1000) -> list[SliceData]:
    schema = source.schema()
    return [source.read(piece, schema) for piece in source.slices(rows)]


def table(source: Any, rows: int = 1000) -> pl.DataFrame:
    """All rows that can be read, in order."""
    return pl.concat([pl.DataFrame(schema=source.schema()), *(piece.frame for piece in pieces(source, rows))])


def bad_rows(source: Any, rows: int = 1000) -> list[BadRow]:
    return [bad for piece in pieces(source, rows) for bad in piece.bad]
