"""Columns as text formats can hold them: bytes as base64, times in ISO 8601, whatever depth they stand at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl


def textual(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with what JSON cannot hold made text; all else, numbers and nulls too, is as it was."""
    import polars as pl

    changed = [
        _texts(pl.col(name), kind).alias(name) for name, kind in frame.schema.items() if _needs_text(kind)
    ]  # fmt: skip
    return frame.with_columns(changed) if changed else frame


def is_nested(kind: Any) -> bool:
    """Whether a polars type is a list, an array or a struct."""
    return bool(kind.is_nested())


def _needs_text(kind: Any) -> bool:
    import polars as pl

    if isinstance(kind, pl.Struct):
        return any(_needs_text(field.dtype) for field in kind.fields)
    if isinstance(kind, pl.List | pl.Array):
        return _needs_text(kind.inner)
    return isinstance(kind, pl.Binary | pl.Datetime | pl.Duration | pl.Time)


def _texts(column: pl.Expr, kind: Any) -> pl.Expr:
    import polars as pl

    if isinstance(kind, pl.Binary):
        return column.bin.encode("base64")
    if isinstance(kind, pl.Datetime | pl.Duration):
        return column.dt.to_string("iso:strict")
    if isinstance(kind, pl.Time):
        return column.dt.to_string("iso")
    if isinstance(kind, pl.Struct) and kind.fields:
        fields = [_texts(column.struct.field(field.name), field.dtype).alias(field.name) for field in kind.fields]
        return pl.when(column.is_not_null()).then(pl.struct(fields))
    if isinstance(kind, pl.Array):
        return _texts(column.arr.to_list(), pl.List(kind.inner))
    if isinstance(kind, pl.List) and _needs_text(kind.inner):
        return column.list.eval(_texts(pl.element(), kind.inner))
    return column
