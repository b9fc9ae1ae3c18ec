"""Steps that look at all rows: one task sees narrow columns of every part and leaves a decision for each row."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from penstock.errors import InputError
from penstock.execute.rows import Rows, made_part
from penstock.execute.setup import keys_of
from penstock.plan.model import Partition, Plan, Segment
from penstock.spec.model import Spec
from penstock.steps import BarrierStep
from penstock.steps.base import FATE, FILTERED, INTO, KEY, MERGED, PARTITION, ROW, SIMILARITY
from penstock.steps.decisions import Looked, decided, looked_at
from penstock.tables.parts import read_counts, write_part
from penstock.tables.state import State

if TYPE_CHECKING:
    from pathlib import Path

    import polars as pl
    import pyarrow as pa


def new_mark() -> str:
    """What tells a part from an earlier one of its name, so that whatever was made of that one is made again."""
    return secrets.token_hex(8)


def decide(plan: Plan, spec: Spec, segment: Segment, state: State) -> dict[str, Any]:
    """Look at the parts that the segment reads, and write the decision down; returns its counts.

    Raises:
        InputError: a part is not there.
        AccountError: a row has no decision, or several.
    """
    import polars as pl

    step = spec.steps[segment.steps[0]]
    assert isinstance(step, BarrierStep)  # noqa: S101  # what the planner makes such segments of
    reads = segment.reads or ""
    named = keys_of(spec, plan, plan.segment(reads))
    looked: list[Looked] = []
    of: list[str] = []
    for partition in plan.partitions:
        path, made = made_part(reads, partition, state)
        of.append(made)
        frame = pl.scan_parquet(path, glob=False)
        keys = [key for key in named if key in frame.collect_schema().names()]
        frame = frame.with_columns(pl.int_range(pl.len(), dtype=pl.Int64).alias(ROW))
        looked.append(looked_at(frame, step, keys, partition.index))
    decision = decided(step, looked)
    fates = decision[FATE]
    counts = {
        "read": len(decision),
        "written": int(fates.null_count()),
        "filtered": int((fates == FILTERED).sum()),
        "merged": int((fates == MERGED).sum()),
        # Rows that could not be looked at fail where the decision is carried out.
        "failed": 0,
        "failures": {},
        "run": plan.run_id,
        "pipeline": plan.pipeline,
        "segment": segment.id,
        "made": new_mark(),
        "of": of,
    }
    target = state.part_files(segment.id, plan.partitions[0].fingerprints[segment.id]).part
    tables = _by_partition(decision, len(plan.partitions))
    write_part(target, tables, _arrow(decision.clear()).schema, lambda: counts)
    return counts


def decision_on(segment: Segment, partition: Partition, state: State, rows: Rows) -> pl.DataFrame:
    """What was decided on the rows of one partition; `rows` then know of it.

    Raises:
        InputError: the decision is not there.
    """
    import polars as pl

    path = _decision_file(segment.decided_by or "", partition, state)
    counts = read_counts(path)
    if counts is None:
        raise InputError(f"the decision {path} is missing; run the pipeline again")
    rows.of.append(counts["made"])
    return pl.scan_parquet(path, glob=False).filter(pl.col(PARTITION) == partition.index).collect()


def merged_rows(plan: Plan, state: State) -> pl.DataFrame | None:
    """The rows that were merged into others: the step, their keys, the key of the other row, how alike they are."""
    import polars as pl

    tables = [
        pl.scan_parquet(_decision_file(segment.id, plan.partitions[0], state), glob=False)
        .filter(pl.col(FATE) == MERGED)
        .select(
            pl.lit(segment.id.partition(".")[0]).alias("step"),
            pl.col(KEY).alias("key"),
            pl.col(INTO).cast(pl.String).alias("into"),
            pl.col(SIMILARITY).cast(pl.Float64).alias("similarity"),
        )
        .collect()
        for segment in plan.segments
        if segment.whole
    ]
    found = pl.concat(tables) if tables else None
    return None if found is None or found.is_empty() else found


def _decision_file(segment: str, partition: Partition, state: State) -> Path:
    return state.part_files(segment, partition.fingerprints[segment]).part


def _by_partition(decision: pl.DataFrame, partitions: int) -> Iterator[pa.Table]:
    """A row group per partition, so that each finds its own rows without reading the others."""
    import polars as pl

    for index in range(partitions):
        part = decision.filter(pl.col(PARTITION) == index)
        if len(part):
            yield _arrow(part)


def _arrow(frame: pl.DataFrame) -> pa.Table:
    import polars as pl

    return frame.to_arrow(compat_level=pl.CompatLevel.oldest())
