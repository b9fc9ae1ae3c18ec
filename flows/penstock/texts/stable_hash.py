"""Hashes of rows that stay the same for good: on every machine, and with every version of polars.

polars documents its own hash as different from version to version. BLAKE2b (RFC 7693) of the standard library takes
half a microsecond a text, which is little beside anything that is done with a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl


def hash_64(texts: pl.Series) -> pl.Series:
    """Of each text, taken as UTF-8, a UInt64; null of a null."""
    import polars as pl

    numbers = _digests(texts, 8)
    return pl.select(pl.when(texts.is_not_null()).then(numbers).alias(texts.name)).to_series()


def hash_128(texts: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Of each text two UInt64, null of a null: among 10 billion texts two with the same are less likely than 1e-18."""
    import polars as pl

    numbers = _digests(texts, 16)
    there = texts.is_not_null()
    low, high = numbers.gather_every(2), numbers.gather_every(2, 1)
    halves = pl.select(low=pl.when(there).then(low), high=pl.when(there).then(high))
    return halves["low"], halves["high"]


def row_texts(frame: pl.DataFrame, columns: Sequence[str], *, nulls_equal: bool = False) -> pl.Series:
    """Of each row one text that two rows share only where all of `columns` are equal.

    Null where all the columns are null, unless `nulls_equal`. NaN equals NaN, and -0.0 equals 0.0.
    """
    import polars as pl

    texts = pl.DataFrame([_column_text(frame[name]).alias(name) for name in columns])
    # Each text stands behind its length, so that no text can look like the border between two.
    marked = [
        pl.concat_str(pl.col(name).str.len_bytes().cast(pl.String), pl.lit(":"), pl.col(name)).fill_null("-")
        for name in columns
    ]
    empty = pl.lit(not nulls_equal) & pl.all_horizontal(pl.col(name).is_null() for name in columns)
    return texts.select(pl.when(~empty).then(pl.concat_str(marked)).alias("text")).to_series()


def _column_text(column: pl.Series) -> pl.Series:
    """The cells as text, equal where the cells are; by Python where a version of polars could write them otherwise."""
    import polars as pl

    kind = column.dtype
    if kind.is_temporal():
        column, kind = column.to_physical(), pl.Int64()
    if isinstance(kind, (pl.String, pl.Boolean, pl.Categorical, pl.Enum)) or kind.is_integer():
        return column.cast(pl.String)
    return pl.Series([None if cell is None else _written(cell) for cell in column.to_list()], dtype=pl.String)


def _written(cell: Any) -> str:
    return repr(cell + 0.0 if isinstance(cell, float) else cell)


def _digests(texts: pl.Series, size: int) -> pl.Series:
    import polars as pl
    import pyarrow as pa

    data = b"".join([blake2b((text or "").encode(), digest_size=size).digest() for text in texts.to_list()])
    return pl.Series(pa.Array.from_buffers(pa.uint64(), len(data) // 8, [None, pa.py_buffer(data)]), dtype=pl.UInt64)
