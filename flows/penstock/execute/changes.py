"""Which rows of the source are new, changed, unchanged or deleted since the last complete run.

Each complete run of an incremental pipeline leaves a table with one line per row: its key columns, a hash of the key,
and a hash of the columns that the pipeline reads. The next run makes its own and compares the two by their hashes, some
rows at a time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from penstock.plan.model import Changes, Plan
from penstock.sources import ROW_KEY, Source, open_source
from penstock.spec import Loaded
from penstock.spec.columns import columns_read
from penstock.tables.parts import rows_of, whole_or_absent
from penstock.tables.state import State
from penstock.texts.stable_hash import hash_128, row_texts

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

    from penstock.execute.baseline import Before

KEY_HASH = ("__key_low", "__key_high")
_CONTENT_HASH = ("__content_low", "__content_high")
_AT_ONCE = 250_000
"""Rows that are compared at a time: the table that finds them takes some 150 bytes of each, and polars keeps it."""
_MOST_BUCKETS = 64
"""Each reads the whole table, so that a very large one is compared more rows at a time."""


def with_changes(plan: Plan, loaded: Loaded, state: State, before: Before | None, target: Path) -> Plan:
    """The plan with what changed since the last complete run; the table of its rows is written to `target`."""
    source = open_source(loaded.spec.source, copies=state.sources, planned=plan.files)
    read = columns_read(loaded.spec.steps, loaded.columns)
    write_rows(plan, source, loaded.spec.source.keys, read, target)
    since = before.record.run_id if before is not None else ""
    changes = compare(target, before.rows if before is not None else None, since)
    return msgspec.structs.replace(plan, changes=changes)


def write_rows(plan: Plan, source: Source, keys: Sequence[str], read: set[str], target: Path) -> None:
    """Write the table of the rows that a plan takes.

    Args:
        keys: the columns that name a row; without any its content does.
        read: the columns whose change is a change of the row.
        target: the file.
    """
    from pyarrow import parquet

    schema = plan.source_schema
    content = [name for name in schema if name in read and name != ROW_KEY]
    with whole_or_absent(target) as temporary:
        writer: parquet.ParquetWriter | None = None
        try:
            for frame in _frames(plan, source, schema):
                table = _hashed(frame, keys, content or list(schema))
                writer = writer or parquet.ParquetWriter(temporary, table.schema, compression="zstd")
                writer.write_table(table)
        finally:
            if writer is not None:
                writer.close()


def _frames(plan: Plan, source: Source, schema: dict[str, pl.DataType]) -> Iterator[pl.DataFrame]:
    import polars as pl

    yield pl.DataFrame(schema=schema)
    for partition in plan.partitions:
        for piece in partition.slices:
            yield source.read(piece, schema).frame


def _hashed(frame: pl.DataFrame, keys: Sequence[str], content: Sequence[str]) -> pa.Table:
    import polars as pl

    contents = key_hashes(frame, content)
    names = key_hashes(frame, keys) if keys else contents
    hashes = [
        *names.get_columns(),
        *(contents[old].alias(new) for old, new in zip(KEY_HASH, _CONTENT_HASH, strict=True)),
    ]
    table: pa.Table = pl.DataFrame([*frame.select(keys).get_columns(), *hashes]).to_arrow(
        compat_level=pl.CompatLevel.oldest()
    )
    return table


def compare(now: Path, before: Path | None, since: str = "") -> Changes:
    """How the rows of one table differ from those of another; of None all are new."""
    import polars as pl

    count = rows_of(now)
    if before is None:
        return Changes(new=count, changed=0, unchanged=0, deleted=0)
    rows = max(count, rows_of(before))
    known = same = gone = 0
    for one, other in zip(_buckets(now, rows), _buckets(before, rows), strict=True):
        both = [*KEY_HASH, *_CONTENT_HASH]
        joins = [
            one.join(other, on=list(KEY_HASH), how="semi"),
            one.join(other, on=both, how="semi"),
            other.join(one, on=list(KEY_HASH), how="anti"),
        ]
        # One after the other: each holds a table of the hashes of one side.
        found = [join.select(pl.len()).collect(engine="streaming").item() for join in joins]
        known, same, gone = known + found[0], same + found[1], gone + found[2]
    return Changes(new=count - known, changed=known - same, unchanged=same, deleted=gone, since=since)


def _buckets(table: Path, rows: int) -> Iterator[pl.LazyFrame]:
    """The hashes of a table in several parts, each row in that of its key."""
    import polars as pl

    hashes = pl.scan_parquet(table, glob=False).select(*KEY_HASH, *_CONTENT_HASH)
    buckets = min(_MOST_BUCKETS, max(1, math.ceil(rows / _AT_ONCE)))
    for number in range(buckets):
        yield hashes.filter(pl.col(KEY_HASH[0]) % buckets == number) if buckets > 1 else hashes


def gone(now: Path, before: Path) -> pl.DataFrame:
    """The hashes of keys that stand in the one table and not in the other: 16 bytes of memory each."""
    import polars as pl

    rows = max(rows_of(now), rows_of(before))
    keys = list(KEY_HASH)
    found = [
        other.select(keys).join(one.select(keys), on=keys, how="anti").unique().collect(engine="streaming")
        for one, other in zip(_buckets(now, rows), _buckets(before, rows), strict=True)
    ]
    return pl.concat(found)


def key_hashes(frame: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    """The hashes of the keys of some rows, as they stand in the table."""
    import polars as pl

    hashes = hash_128(row_texts(frame, keys, nulls_equal=True))
    return pl.DataFrame([half.alias(name) for name, half in zip(KEY_HASH, hashes, strict=True)])
