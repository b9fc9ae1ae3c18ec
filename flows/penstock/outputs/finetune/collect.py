"""The rows of an output in the order in which they make examples, each with its place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.outputs.finetune.settings import Conversation
from penstock.outputs.finetune.templates import FIRST, LAST
from penstock.outputs.rows import batch_rows, tables

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

PART, NUMBER = "__part", "__number"
"""A row's part, and its number in it."""
_AT, _BEGIN = "__at", "__begin"


def single(parts: Sequence[Path], schema: pa.Schema) -> Iterator[pl.DataFrame]:
    """Rows of which each makes an example, as they come."""
    import polars as pl

    for frame in _placed(parts, schema):
        yield frame.with_columns(pl.lit(value=True).alias(FIRST), pl.lit(value=True).alias(LAST))


def gathered(
    parts: Sequence[Path], schema: pa.Schema, conversation: Conversation, scratch: Path
) -> Iterator[pl.DataFrame]:
    """Rows of which several make an example, one example after the other, in the order of their first rows.

    polars sorts them as a stream, beside the rows a table of the conversations' names.
    """
    import polars as pl
    from pyarrow import parquet

    placed, ordered = scratch / "placed.parquet", scratch / "ordered.parquet"
    _write(placed, _placed(parts, schema))
    _ordered(pl.scan_parquet(placed, glob=False), conversation).sink_parquet(ordered, compression="zstd")
    placed.unlink()
    with parquet.ParquetFile(ordered) as file:
        for batch in file.iter_batches(batch_size=batch_rows(file.metadata), use_threads=False):
            frame = pl.from_arrow(batch)
            assert isinstance(frame, pl.DataFrame)  # noqa: S101  # for mypy: of a table
            yield frame
    ordered.unlink()


def in_memory(frame: pl.DataFrame, conversation: Conversation | None) -> pl.DataFrame:
    """Rows of a table as `single` or `gathered` gives them."""
    import polars as pl

    at = pl.int_range(pl.len(), dtype=pl.Int64)
    placed = frame.with_columns(pl.lit(0, pl.Int64).alias(PART), at.alias(NUMBER), at.alias(_AT))
    if conversation is None:
        return placed.with_columns(pl.lit(value=True).alias(FIRST), pl.lit(value=True).alias(LAST))
    return _ordered(placed.lazy(), conversation).collect()


def _ordered(rows: pl.LazyFrame, conversation: Conversation) -> pl.LazyFrame:
    import polars as pl

    by = conversation.columns
    begins = rows.group_by(by).agg(pl.col(_AT).min().alias(_BEGIN))
    order = [_BEGIN, *([conversation.order_by] if conversation.order_by else []), _AT]
    return (
        rows.join(begins, on=by, how="left", nulls_equal=True)
        .sort(order, nulls_last=True)
        .with_columns(
            (pl.col(_BEGIN) != pl.col(_BEGIN).shift(1)).fill_null(value=True).alias(FIRST),
            (pl.col(_BEGIN) != pl.col(_BEGIN).shift(-1)).fill_null(value=True).alias(LAST),
        )
    )


def _placed(parts: Sequence[Path], schema: pa.Schema) -> Iterator[pl.DataFrame]:
    import polars as pl

    at = 0
    for part, path in enumerate(parts):
        number = 0
        for table in tables([path], schema):
            frame = pl.from_arrow(table)
            assert isinstance(frame, pl.DataFrame)  # noqa: S101  # for mypy: of a table
            count = len(frame)
            yield frame.with_columns(
                pl.lit(part, pl.Int64).alias(PART),
                pl.int_range(number, number + count, dtype=pl.Int64).alias(NUMBER),
                pl.int_range(at, at + count, dtype=pl.Int64).alias(_AT),
            )
            number += count
            at += count


def _write(file: Path, frames: Iterator[pl.DataFrame]) -> None:
    import polars as pl
    from pyarrow import parquet

    writer: parquet.ParquetWriter | None = None
    try:
        for frame in frames:
            table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
            writer = writer or parquet.ParquetWriter(file, table.schema, compression="zstd")
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()
