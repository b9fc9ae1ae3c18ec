"""What an earlier run left for a partition: paid answers go into the journal, errors not asked again stay errors."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.execute.asking import Questions, asked_by
from penstock.items import Cause, usage_type
from penstock.steps import ApiStep
from penstock.steps.base import ROW
from penstock.tables.failures import RowError, key_column
from penstock.tables.file_lists import read_file_lists
from penstock.tables.journal import DIGEST, DIGEST_BYTES, Journal
from penstock.tables.parts import read_counts
from penstock.tables.state import PartFiles

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa


def seed_journal(journal: Journal, files: PartFiles, asking: Questions, step: ApiStep, usage_name: str) -> None:
    """Put the answers of a finished part into the journal, so that only its failed rows are asked again.

    The part has the rows as they were asked, so what they asked is made again from them. Answers that a part does not
    hold as they came (put together of pieces, or written to files) are still in the journal, which is kept for that.
    """
    import polars as pl
    from pyarrow import parquet

    counts = read_counts(files.part)
    if counts is None or step.saved:
        return
    lists = read_file_lists(files.file_lists, counts["made"])
    named = set(lists.named if lists else ())
    answered = journal.answered
    wanted = {digest for digest in asking.digests if digest not in answered}
    added = [field.name for field in step.added_schema()]
    if not wanted:
        return
    with parquet.ParquetFile(files.part) as file:
        for group in range(file.num_row_groups):
            table = file.read_row_group(group)
            frame = pl.from_arrow(table.drop_columns([name for name in added if name in table.column_names]))
            assert isinstance(frame, pl.DataFrame)  # noqa: S101  # a table is one
            rows = asked_by(frame.with_columns(pl.int_range(pl.len(), dtype=pl.Int64).alias(ROW)), step.name, step, [])
            # Of rows that ask the same, the first has the cost.
            found = {
                digest: row
                for digest, row in rows.owners.items()
                # A file that changed since gives a digest that its row in the part has no answer to.
                if len(rows.rows[row]) == 1 and named.issuperset(step.named_files(rows.payloads[digest]))
            }
            here = [digest for digest in found if digest in wanted]
            if here:
                wanted.difference_update(here)
                journal.append(_as_answers(table.take([found[digest] for digest in here]), here, step, usage_name))


def _as_answers(rows: pa.Table, digests: list[bytes], step: ApiStep, usage_name: str) -> pa.RecordBatch:
    import pyarrow as pa

    names = step.answer_schema().names
    usage = rows.column(usage_name).combine_chunks() if step.usage else pa.nulls(len(digests), usage_type())
    columns = [rows.column(name).combine_chunks() for name in names]
    return pa.RecordBatch.from_arrays(
        [pa.array(digests, pa.binary(DIGEST_BYTES)), *columns, usage], names=[DIGEST, *names, "usage"]
    )


def carried_errors(
    errors: Path,
    asking: Questions,
    frame: pl.DataFrame,
    *,
    answered: Set[bytes],
    retry_causes: Sequence[str] | None,
    keys: Sequence[str],
) -> list[RowError]:
    """The errors of before whose cause is not to be tried again, of all rows that ask the same; none when all are."""
    import polars as pl

    if retry_causes is None or not errors.exists():
        return []
    before = pl.read_parquet(errors, glob=False).filter(pl.col("asked").is_not_null())
    final = {
        row["asked"]: _restored(row, keys)
        for row in before.iter_rows(named=True)
        if Cause(row["cause"]).asked and row["cause"] not in retry_causes and row["asked"] not in answered
    }
    rows = {
        row: next(digest for digest in digests if digest in final)
        for row, digests in asking.asked.rows.items()
        if not final.keys().isdisjoint(digests)
    }
    named = {row[ROW]: row for row in frame.filter(pl.col(ROW).is_in(list(rows))).iter_rows(named=True)}
    owners = asking.asked.owners
    return [
        replace(
            final[digest],
            number=row,
            keys={key: named[row].get(key) for key in keys},
            usd=final[digest].usd if owners[digest] == row else 0.0,
        )
        for row, digest in rows.items()
    ]


def _restored(row: dict[str, object], keys: Sequence[str]) -> RowError:
    fields = {
        name: row[name]
        for name in ("number", "step", "message", "status", "code", "attempts", "request_id", "usd", "text", "asked")
    }
    named = {key: row.get(key_column(key)) for key in keys}
    return RowError(cause=Cause(str(row["cause"])), keys=named, **fields)  # type: ignore[arg-type]  # as they were written
