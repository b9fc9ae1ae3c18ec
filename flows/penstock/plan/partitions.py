"""Cutting the source into partitions: large enough to keep the engine busy, small enough for memory and resuming."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from penstock.sources import Slice
from penstock.steps import ApiStep, Step
from penstock.steps.embed import Embed

_VECTOR_BYTES = 48 << 20
_ANSWER_ROWS = 5_000
_TABLE_ROWS = 100_000
_FEWEST, _MOST = 1_000, 50_000


def partition_rows(steps: Sequence[Step], chosen: int | None) -> int:
    """Rows per partition: the pipeline's choice, or what fits its widest step.

    A partition's vectors stay under 48 MB; a partition of other API steps has 5,000 rows, so that Prefect sees a
    few hundred tasks for a million rows.
    """
    if chosen is not None:
        return chosen
    rows = _TABLE_ROWS
    for step in steps:
        if isinstance(step, Embed):
            fitting = _VECTOR_BYTES // (4 * (step.size or 1536))
            rows = min(rows, max(_FEWEST, min(_MOST, fitting)))
        elif isinstance(step, ApiStep):
            rows = min(rows, _ANSWER_ROWS)
    return rows


def limit_slices(slices: Iterable[Slice], limit: int | None) -> list[Slice]:
    """The first `limit` rows; what comes after them is not looked at."""
    if limit is None:
        return list(slices)
    kept: list[Slice] = []
    left = limit
    for piece in slices:
        kept.append(replace(piece, rows=min(left, piece.rows)))
        left -= piece.rows
        if left <= 0:
            break
    return kept


def group_slices(slices: Sequence[Slice], rows: int) -> list[tuple[Slice, ...]]:
    """Slices put together to partitions of at most `rows` rows, so that many small files are not many small tasks."""
    groups: list[tuple[Slice, ...]] = []
    begun: list[Slice] = []
    count = 0
    for piece in slices:
        if begun and count + piece.rows > rows:
            groups.append(tuple(begun))
            begun, count = [], 0
        begun.append(piece)
        count += piece.rows
    if begun or not groups:
        # A source without rows still makes an output, with its columns and no rows.
        groups.append(tuple(begun))
    return groups
