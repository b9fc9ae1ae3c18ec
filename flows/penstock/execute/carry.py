"""What an earlier run left for a partition: paid answers go into the journal, errors not asked again stay errors."""

from __future__ import annotations

from collections.abc import Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.execute.asking import Questions
from penstock.items import Cause, usage_type
from penstock.steps import ApiStep
from penstock.tables.failures import RowError, key_column
from penstock.tables.journal import NUMBER, Journal
from penstock.tables.numbers import from_runs
from penstock.tables.parts import read_counts

if TYPE_CHECKING:
    import pyarrow as pa


def seed_journal(journal: Journal, part: Path, asked: Questions, step: ApiStep, usage_name: str) -> None:
    """Put the answers of a finished part into the journal, so that only its failed rows are asked again.

    Items that neither has an answer to, but one of whose rows has, are numbered by that row in `asked`.
    """
    from pyarrow import parquet

    counts = read_counts(part)
    place_of = {} if counts is None else {number: place for place, number in enumerate(from_runs(counts["numbers"]))}
    answered = journal.answered
    _adopt(asked, answered | place_of.keys())
    wanted = [item.number for item in asked.items if item.number in place_of and item.number not in answered]
    if not wanted:
        return
    columns = [field.name for field in step.result_schema()] + ([usage_name] if step.usage else [])
    first = 0
    with parquet.ParquetFile(part) as file:
        for group in range(file.num_row_groups):
            table = file.read_row_group(group, columns=columns)
            here = [number for number in wanted if first <= place_of[number] < first + table.num_rows]
            if here:
                rows = table.take([place_of[number] - first for number in here])
                journal.append(_as_answers(rows, here, step, usage_name))
            first += table.num_rows


def _adopt(asked: Questions, known: Set[int]) -> None:
    """Number items by the first of their rows that has an answer.

    The first row of an item may be a new one: it failed in the segment before, and a retry there has mended it. The
    answer that was paid for its copies is then its answer too.
    """
    numbers: dict[int, int] = {}
    for row, item in asked.asked_by.items():
        if row in known and item not in known:
            numbers.setdefault(item, row)
    if numbers:
        asked.items = [item._replace(number=numbers.get(item.number, item.number)) for item in asked.items]
        asked.asked_by = {row: numbers.get(item, item) for row, item in asked.asked_by.items()}


def _as_answers(rows: pa.Table, numbers: list[int], step: ApiStep, usage_name: str) -> pa.RecordBatch:
    import pyarrow as pa

    names = [field.name for field in step.result_schema()]
    usage = rows.column(usage_name).combine_chunks() if step.usage else pa.nulls(len(numbers), usage_type())
    columns = [rows.column(name).combine_chunks() for name in names]
    return pa.RecordBatch.from_arrays(
        [pa.array(numbers, pa.uint32()), *columns, usage], names=[NUMBER, *names, "usage"]
    )


def carried_errors(
    errors: Path, asked: Questions, retry_causes: Sequence[str] | None, keys: Sequence[str]
) -> list[RowError]:
    """The errors of before whose cause is not to be tried again; none when all are.

    A row whose text is also that of a row which was never asked is asked with it.
    """
    import polars as pl

    if retry_causes is None or not errors.exists():
        return []
    waiting = {item.number for item in asked.items}
    rows = [number for number, item in asked.asked_by.items() if item in waiting]
    kept = pl.read_parquet(errors, glob=False).filter(pl.col("number").is_in(rows))
    final = [
        RowError(
            number=row["number"],
            step=row["step"],
            cause=Cause(row["cause"]),
            message=row["message"],
            keys={key: row[key_column(key)] for key in keys},
            status=row["status"],
            code=row["code"],
            attempts=row["attempts"],
            request_id=row["request_id"],
            usd=row["usd"],
            text=row["text"],
        )
        for row in kept.iter_rows(named=True)
        if Cause(row["cause"]).asked and row["cause"] not in retry_causes
    ]
    numbers = {error.number for error in final}
    return [error for error in final if asked.asked_by[error.number] in numbers]
