"""Rows that ask several things: one answer of those to their pieces, and what was paid for a row that got none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from penstock.errors import UnusableAnswer
from penstock.execute.asking import Questions
from penstock.items import Cause, Failed
from penstock.steps import ApiStep
from penstock.steps.base import ROW
from penstock.tables.failures import RowError
from penstock.tables.journal import Journal

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

_SUMMED = ("prompt_tokens", "completion_tokens", "cached_tokens", "usd")


def put_together(step: ApiStep, asking: Questions, row: int, pieces: pa.Table) -> pa.Table:
    """One row of the answers to a row's pieces.

    Args:
        pieces: in their order: the columns of an answer and, at the end, the usage.

    Raises:
        UnusableAnswer: they cannot be put together.
    """
    import pyarrow as pa

    whole = pieces.combine_chunks().to_batches()[0]
    weights = [asking.tokens[digest] for digest in asking.asked.rows[row]]
    answer = step.combine(whole.select(range(whole.num_columns - 1)), weights)
    usage = _summed(whole.columns[-1])
    return pa.Table.from_batches([pa.RecordBatch.from_arrays([*answer.columns, usage], schema=pieces.schema)])


def misfits(asking: Questions, step: ApiStep, journal: Journal, fields: Sequence[pa.Field]) -> dict[int, str]:
    """Rows all of whose pieces are answered, and whose answers cannot be put together, each with the reason."""
    import pyarrow as pa

    answered = journal.answered
    found: dict[int, str] = {}
    for row, digests in asking.asked.rows.items():
        if len(digests) > 1 and answered.issuperset(digests):
            pieces = journal.take(digests)
            schema = pa.schema([*fields, pieces.schema[-1]])
            try:
                put_together(step, asking, row, pa.table(pieces.columns, schema=schema))
            except UnusableAnswer as error:
                found[row] = str(error)
    return found


def misfit_errors(  # noqa: PLR0917  # what names a row and its place
    found: Mapping[int, str], asking: Questions, journal: Journal, frame: pl.DataFrame, step: str, keys: Sequence[str]
) -> list[RowError]:
    """An error per row of `misfits`, which tells what its answers cost."""
    import polars as pl

    errors: list[RowError] = []
    for row in frame.filter(pl.col(ROW).is_in(list(found))).iter_rows(named=True):
        digests = asking.asked.rows[row[ROW]]
        usage = [piece for piece in journal.take(digests).columns[-1].to_pylist() if piece is not None]
        errors.append(
            RowError(
                number=row[ROW],
                step=step,
                cause=Cause.INVALID_ANSWER,
                message=found[row[ROW]],
                keys={key: row.get(key) for key in keys},
                attempts=sum(piece["attempts"] or 0 for piece in usage),
                usd=paid(row[ROW], asking, journal, {}),
                text=asking.asked.payloads[digests[0]],
                asked=digests[0],
            )
        )
    return errors


def paid(row: int, asking: Questions, journal: Journal, failed: Mapping[bytes, Failed]) -> float | None:
    """Dollars that a row without an answer cost: of its pieces that were answered, and of the attempts at the others.

    What an earlier row asks too is counted there. None as soon as something is not known.
    """
    asked = asking.asked
    own = [digest for digest in dict.fromkeys(asked.rows[row]) if asked.owners[digest] == row]
    costs = [failed[digest].usd for digest in own if digest in failed]
    known_answers = journal.answered
    answered = [digest for digest in own if digest in known_answers]
    if answered:
        costs += [None if piece is None else piece["usd"] for piece in journal.take(answered).columns[-1].to_pylist()]
    known = [cost for cost in costs if cost is not None]
    return sum(known) if len(known) == len(costs) else None


def _summed(usage: Any) -> Any:
    """The usage of several pieces as that of one row; dollars are unknown as soon as those of one piece are."""
    import pyarrow as pa

    pieces = [piece for piece in usage.to_pylist() if piece is not None]
    if not pieces:
        return usage.slice(0, 1)
    sums = {
        name: None if any(piece[name] is None for piece in pieces) else sum(piece[name] for piece in pieces)
        for name in _SUMMED
    }
    return pa.array([{**pieces[0], **sums, "attempts": max(piece["attempts"] or 0 for piece in pieces)}], usage.type)
