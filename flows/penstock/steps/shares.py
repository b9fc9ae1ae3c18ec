"""Chances that never change: a number for a row from the text of some of its columns.

The same text gives the same number on every machine, in every process and with every version of the libraries below:
it is BLAKE2b (RFC 7693), not the hash of a table library, which may change from version to version.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from penstock.errors import InputError
from penstock.steps.base import KEY

if TYPE_CHECKING:
    import polars as pl

SCALE = 2**64
"""Numbers are from 0 to below this."""
_COLUMN = "__chance"


def with_chances(frame: pl.LazyFrame, by: Sequence[str], *, purpose: str, seed: int, step: str) -> pl.LazyFrame:
    """The rows with a hidden column `chance`: a number from 0 to `SCALE`, spread evenly over the distinct values.

    Whole numbers, booleans and text of the same characters count as the same value; null is a value of its own.

    Args:
        by: the columns whose values decide; the row's key if there are none.
        purpose: so that a sample and a split by the same column have nothing to do with each other.
        seed: other numbers for the same values.

    Raises:
        InputError: a column holds lists or structs, or rows have no key here.
    """
    import polars as pl

    schema = dict(frame.collect_schema())
    columns = list(by) or [KEY]
    for name in columns:
        if name in schema and schema[name].is_nested():
            raise InputError(f"the step {step!r} cannot go by the column {name!r}, which is {schema[name]}")

    def numbered(rows: pl.DataFrame) -> pl.DataFrame:
        if rows.is_empty():
            return rows.with_columns(pl.lit(0, dtype=pl.UInt64).alias(_COLUMN))
        if not by and KEY not in rows.columns:
            raise InputError(f"the key's columns do not reach the step {step!r}; name the columns it goes by in `by`")
        return rows.with_columns(pl.Series(_COLUMN, _numbers(rows.select(columns), purpose, seed), dtype=pl.UInt64))

    return frame.map_batches(numbered, schema={**schema, _COLUMN: pl.UInt64()})


def chance() -> pl.Expr:
    """The numbers that `with_chances` added."""
    import polars as pl

    return pl.col(_COLUMN)


def _numbers(values: pl.DataFrame, purpose: str, seed: int) -> list[int]:
    import polars as pl

    texts = values.select(pl.all().cast(pl.String))
    start = hashlib.blake2b(digest_size=8, person=purpose.encode(), salt=seed.to_bytes(8))
    numbers: list[int] = []
    for row in texts.iter_rows():
        hashed = start.copy()
        # With their lengths, so that ("a", "bc") and ("ab", "c") are two values.
        hashed.update("".join("-" if text is None else f"{len(text)}:{text}" for text in row).encode())
        numbers.append(int.from_bytes(hashed.digest()))
    return numbers
