"""Tables of every kind of column, and parts made of them."""

from __future__ import annotations

import datetime as dt
import decimal
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

from penstock.tables.parts import write_part

VECTOR = pa.list_(pa.field("item", pa.float32(), nullable=False), 3)
USAGE = pa.struct([("model", pa.string()), ("usd", pa.float64())])
KINDS: dict[str, tuple[Any, st.SearchStrategy[Any]]] = {
    "text": (
        pa.string(),
        st.one_of(
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12),
            st.sampled_from(
                ["", " ", '"', "a,b", "a\nb", "a\r\nb", "ü", "😀", "=1+1", "null", "NaN", "00501", "\\", "'"]
            ),
        ),
    ),
    "whole": (pa.int64(), st.integers(-(2**53), 2**53)),
    "unsigned": (pa.uint32(), st.integers(0, 2**32 - 1)),
    "number": (pa.float64(), st.floats(allow_nan=False, allow_infinity=False)),
    "flag": (pa.bool_(), st.booleans()),
    "day": (pa.date32(), st.dates(dt.date(1900, 1, 1), dt.date(2100, 1, 1))),
    "moment": (
        pa.timestamp("us"),
        st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2100, 1, 1)),  # noqa: DTZ001
    ),
    "amount": (pa.decimal128(12, 2), st.decimals(-1_000_000, 1_000_000, places=2).map(decimal.Decimal)),
    "vector": (VECTOR, st.lists(st.floats(-100, 100, width=32), min_size=3, max_size=3)),
    "words": (pa.list_(pa.string()), st.lists(st.one_of(st.none(), st.text('ab"\n,😀', max_size=3)), max_size=3)),
    "usage": (
        USAGE,
        st.fixed_dictionaries({"model": st.text("gpt-4", max_size=4), "usd": st.one_of(st.none(), st.floats(0, 9))}),
    ),
}


@st.composite
def tables(draw: st.DrawFn, *, least_rows: int = 0) -> pa.Table:
    """A table of some of these columns, with nulls, and a column `row` of numbers."""
    names = draw(st.lists(st.sampled_from(sorted(KINDS)), unique=True, min_size=1, max_size=5))
    count = draw(st.integers(least_rows, 12))
    columns: dict[str, Any] = {"row": pa.array(range(count), pa.int64())}
    for name in names:
        kind, values = KINDS[name]
        cells = draw(st.lists(st.one_of(st.none(), values), min_size=count, max_size=count))
        columns[name] = pa.array(cells, kind)
    return pa.table(columns)


def part(path: Path, table: pa.Table, run: str = "20261122-100000-aaaa") -> Path:
    """A finished part of one table."""
    counts = {"run": run, "pipeline": "reviews", "written": table.num_rows}
    write_part(path, iter([table]), table.schema, lambda: counts)
    return path


def parts_of(folder: Path, table: pa.Table, cuts: Sequence[int]) -> list[Path]:
    """The table cut into parts; between two cuts there may be no row."""
    places = [0, *sorted(min(cut, table.num_rows) for cut in cuts), table.num_rows]
    pairs = itertools.pairwise(places)
    return [part(folder / f"{n}.parquet", table.slice(a, b - a)) for n, (a, b) in enumerate(pairs)]


def numbers(values: Sequence[int], **more: Sequence[Any]) -> pa.Table:
    """A table with a column `a` of whole numbers, and others."""
    return pa.table({"a": pa.array(values, pa.int64()), **{name: pa.array(cells) for name, cells in more.items()}})
