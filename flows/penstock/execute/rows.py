"""A partition's rows as a segment reads them: from the source's slices, or from the part of the segment before."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.errors import InputError
from penstock.items import Cause
from penstock.plan.model import Partition, Plan, Segment
from penstock.sources import Source, check_unchanged
from penstock.steps.base import ROW
from penstock.tables.failures import RowError
from penstock.tables.parts import read_counts
from penstock.tables.state import State

if TYPE_CHECKING:
    import polars as pl


@dataclass(slots=True)
class Rows:
    """Rows in the order of their numbers, and those that could not be read. `read` counts both.

    Attributes:
        of: the parts they were read from, by what tells these from others of their names.
    """

    frame: pl.DataFrame
    errors: list[RowError] = field(default_factory=list)
    of: list[str] = field(default_factory=list)

    @property
    def read(self) -> int:
        """How many rows came in."""
        return len(self.frame) + len(self.errors)


def source_rows(plan: Plan, partition: Partition, source: Source) -> Rows:
    """The partition's rows from the source.

    Raises:
        SourceChanged: a file is not the one that was planned.
    """
    import polars as pl

    for number in sorted({piece.file for piece in partition.slices}):
        check_unchanged(plan.files[number])
    frames: list[pl.DataFrame] = []
    errors: list[RowError] = []
    begin = 0
    schema = plan.source_schema
    for piece in partition.slices:
        data = source.read(piece, schema)
        span = piece.rows if piece.counted else data.records
        places = [begin + number - piece.first_row for number in data.numbers]
        frame = data.frame.with_columns(pl.Series(ROW, places, dtype=pl.Int64))
        frames.append(frame.filter(pl.col(ROW) < begin + span))
        errors += [
            RowError(
                number=begin + bad.number - piece.first_row,
                step="source",
                cause=Cause.SOURCE,
                message=bad.message,
                file=bad.file,
                line=bad.line,
                text=bad.text,
            )
            for bad in data.bad
            if bad.number < piece.first_row + span
        ]
        begin += span
    for number in sorted({piece.file for piece in partition.slices}):
        check_unchanged(plan.files[number])
    empty = pl.DataFrame(schema={**schema, ROW: pl.Int64()})
    return Rows(pl.concat([empty, *frames]), errors)


def part_rows(segment: Segment, partition: Partition, state: State) -> Rows:
    """The partition's rows from the part of the segment before.

    Raises:
        InputError: that part is not there.
    """
    import polars as pl

    path, made = made_part(segment.reads or "", partition, state)
    rows = pl.read_parquet(path, glob=False).with_columns(pl.int_range(pl.len(), dtype=pl.Int64).alias(ROW))
    return Rows(rows, of=[made])


def made_part(segment: str, partition: Partition, state: State) -> tuple[Path, str]:
    """A finished part, and what tells it from others of its name.

    Raises:
        InputError: it is not there.
    """
    path = state.part_files(segment, partition.fingerprints[segment]).part
    counts = read_counts(path)
    if counts is None:
        raise InputError(f"the part {path} of segment {segment!r} is missing; run the pipeline again")
    return path, counts["made"]
