"""MinHash sketches of texts: how alike two texts are, told from a few bytes of each.

One permutation hashing (Li, Owen, Zhang: NIPS 2012): a shingle's hash says a bin and a value; the sketch is the
smallest value of each bin. The share of bins in which two sketches agree, of those that either fills, estimates the
Jaccard similarity of the two sets of shingles; on texts with fewer shingles than bins it is nearly exact. An empty bin
borrows the value of the next one (rotation: Shrivastava, Li: ICML 2014), so that all bins can be used to find
candidates, and is marked, so that it is not counted.

A sketch takes one byte per bin: 7 bits of the smallest value, and the mark. Eight bytes are one UInt64 column.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from penstock.texts.shingles import Unit, shingle_hashes

if TYPE_CHECKING:
    import polars as pl

_BORROWED = 0x80
_MARKS = 0x8080808080808080
_VALUES = 0x7F7F7F7F7F7F7F7F
_CHANCE = 1 / 128
"""How often two different smallest values look the same in 7 bits."""
_STRIDE = 37
"""Neighbours in a sketch are this many bins apart: bins that borrow from the same one do not stand side by side."""
_PAIRS_AT_ONCE = 100_000


def sketches(texts: pl.Series, unit: Unit, size: int, bins: int, prefix: str) -> pl.DataFrame:
    """Of each text `bins` / 8 columns, named by `prefix` and a number. The texts must be neither null nor empty.

    Args:
        texts: any number of them.
        unit: what shingles are made of.
        size: how many of these make a shingle.
        bins: a power of two, 8 or more.
        prefix: of the columns' names.
    """
    import polars as pl

    empty = pl.DataFrame(schema={f"{prefix}{word}": pl.UInt64 for word in range(bins // 8)})
    pieces = [
        pl.DataFrame({name: numbers.gather_every(bins // 8, word) for word, name in enumerate(empty.columns)})
        for _, rows, hashes in shingle_hashes(texts, unit, size)
        for numbers in [_sketch(hashes, rows, bins)]
    ]
    return pl.concat([empty, *pieces])


def similarities(sketch: pl.DataFrame, left: pl.Series, right: pl.Series) -> pl.Series:
    """How alike the rows `left` and `right` of `sketch` are, pair by pair: 0 to 1, Float64."""
    import polars as pl

    parts = [
        _similarity(sketch, left.slice(begin, _PAIRS_AT_ONCE), right.slice(begin, _PAIRS_AT_ONCE))
        for begin in range(0, len(left), _PAIRS_AT_ONCE)
    ]
    return pl.concat([pl.Series("similarity", dtype=pl.Float64), *parts])


def band_key(columns: Sequence[str], first: int, rows: int) -> pl.Expr:
    """One UInt64 of the values of `rows` bytes of a sketch, from byte `first` on; `columns` are its words."""
    import polars as pl

    key = pl.lit(0, dtype=pl.UInt64)
    for place in range(first, first + rows):
        byte = (pl.col(columns[place // 8]) // _u64(256 ** (place % 8))) & _u64(_BORROWED - 1)
        key = key * _u64(0x9E3779B97F4A7C15) + byte
    return key


def _sketch(hashes: pl.DataFrame, rows: int, bins: int) -> pl.Series:
    """Words of the sketches, one text after the other."""
    import polars as pl
    import pyarrow as pa

    bin_of = pl.col("hash") & _u64(bins - 1)
    # Sorted from the largest to the smallest, so that of several values for a bin the smallest is written last.
    order = (pl.col("text").cast(pl.UInt64) * _u64(2 * bins) + bin_of) * _u64(2**32) + pl.col("hash") // _u64(2**32)
    smallest = hashes.select(order.alias("order")).to_series().sort(descending=True)
    places = (smallest // 2**32).cast(pl.UInt32)
    values = (smallest & 0x7F).cast(pl.UInt8)
    # Each text has its bins twice, so that the last bins borrow from the first ones.
    twice = pl.Series([None], dtype=pl.UInt8).new_from_index(0, rows * 2 * bins)
    twice = twice.scatter(places, values).scatter(places + bins, values)
    marked = (
        twice.to_frame("value")
        .select(
            pl.col("value").backward_fill()
            | pl.when(pl.col("value").is_null()).then(_BORROWED).otherwise(0).cast(pl.UInt8)
        )
        .to_series()
    )
    byte = pl.int_range(rows * bins, dtype=pl.UInt32)
    taken = pl.select((byte // bins) * (2 * bins) + (byte % bins) * _STRIDE % bins).to_series()
    data = marked.gather(taken).rechunk().to_arrow().buffers()[1]
    return pl.Series(pa.Array.from_buffers(pa.uint64(), rows * bins // 8, [None, data]))


def _similarity(sketch: pl.DataFrame, left: pl.Series, right: pl.Series) -> pl.Series:
    import polars as pl

    agreeing = neither = pl.lit(0, dtype=pl.UInt32)
    for word in range(sketch.width):
        one, other = pl.col(f"left{word}"), pl.col(f"right{word}")
        # A byte is zero where both are filled and equal.
        differing = (one ^ other) | ((one | other) & _u64(_MARKS))
        nonzero = (((differing & _u64(_VALUES)) + _u64(_VALUES)) | differing) & _u64(_MARKS)
        agreeing = agreeing + 8 - nonzero.bitwise_count_ones()
        neither = neither + (one & other & _u64(_MARKS)).bitwise_count_ones()
    share = agreeing / (8 * sketch.width - neither)
    pairs = pl.DataFrame(
        [column.gather(rows).alias(f"{side}{word}")
         for side, rows in (("left", left), ("right", right))
         for word, column in enumerate(sketch.get_columns())]
    )  # fmt: skip
    likeness = ((share - _CHANCE) / (1 - _CHANCE)).clip(0.0, 1.0)
    return pairs.select(likeness.alias("similarity")).to_series()


def _u64(value: int) -> pl.Expr:
    import polars as pl

    return pl.lit(value, dtype=pl.UInt64)
