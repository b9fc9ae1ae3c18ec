"""What an earlier run left for a partition: paid answers go into the journal, errors not asked again stay errors."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.execute.asking import Questions
from penstock.items import Cause
from penstock.steps.base import ROW
from penstock.tables.answers import AnswerStore
from penstock.tables.failures import RowError, key_column
from penstock.tables.journal import Journal

if TYPE_CHECKING:
    import polars as pl


def seed_journal(journal: Journal, folder: Path, wire: str, digests: Sequence[bytes]) -> None:
    """Put the answers that were paid for before, wherever they stand, into the journal, so that only the rest is asked.

    Args:
        folder: of the pipeline's state.
        wire: what names the answers.
        digests: what is asked.
    """
    answered = journal.answered
    wanted = [digest for digest in digests if digest not in answered]
    if wanted:
        with AnswerStore(folder) as store:
            for batch in store.answers(wire, wanted):
                journal.append(batch)


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
