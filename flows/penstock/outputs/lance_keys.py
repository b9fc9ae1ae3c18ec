"""Keys as a condition on a LanceDB table: which rows have one of them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from itertools import groupby
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

MOST_KEYS = 100_000
"""Keys of one condition. Each takes some hundred bytes of memory while it is looked for."""


def one_of(keys: pa.Table) -> Any:
    """The condition that a row has one of these keys.

    Args:
        keys: at least one row, with the columns of the key; of texts, whole numbers, dates or the like, and none null.
    """
    from lancedb.expr import lit

    columns, values = zip(*map(_comparable, keys.columns, keys.column_names), strict=True)
    # The column with the most values is looked up in a list; what the others are, is compared for each list.
    listed = max(range(len(columns)), key=lambda place: len(set(values[place])))
    others = [place for place in range(len(columns)) if place != listed]
    rows = sorted(zip(*(values[place] for place in (*others, listed)), strict=True))
    conditions = []
    for shared, group in groupby(rows, key=lambda row: row[:-1]):
        same = [columns[place] == lit(value) for place, value in zip(others, shared, strict=True)]
        conditions.append(reduce(_both, same, columns[listed].isin([lit(row[-1]) for row in group])))
    while len(conditions) > 1:
        # In pairs: a condition that is as deep as it is long would overflow the library's stack.
        conditions = list(_pairs(conditions))
    return conditions[0]


def _both(one: Any, other: Any) -> Any:
    return one & other


def _pairs(conditions: list[Any]) -> Iterator[Any]:
    for first in range(0, len(conditions), 2):
        yield conditions[first] if first + 1 == len(conditions) else conditions[first] | conditions[first + 1]


def _comparable(column: pa.ChunkedArray, name: str) -> tuple[Any, list[Any]]:
    """A column of the table and its values, in a form in which the library compares them exactly."""
    import pyarrow as pa
    from lancedb.expr import col
    from pyarrow import types

    kind = column.type
    if types.is_uint64(kind):
        # Literals above the largest signed number would be fractions.
        return col(name).cast(pa.string()), column.cast(pa.string()).to_pylist()
    if types.is_temporal(kind):
        # Python has no nanoseconds.
        numbers = column.cast(pa.int32()) if kind.bit_width == 32 else column
        return col(name).cast(pa.int64()), numbers.cast(pa.int64()).to_pylist()
    if types.is_dictionary(kind):
        column = column.cast(kind.value_type)
    return col(name), column.to_pylist()
