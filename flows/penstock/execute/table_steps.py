"""Table steps on one partition: one lazy query, and the rows that make it fail set apart one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from penstock.errors import ExpressionError
from penstock.execute.rows import Rows
from penstock.items import Cause
from penstock.steps import TableStep
from penstock.steps.base import ROW
from penstock.tables.failures import RowError

if TYPE_CHECKING:
    import polars as pl

_MOST_ISOLATED = 1_000


def run_table_steps(rows: Rows, steps: Sequence[TableStep], keys: Sequence[str]) -> dict[str, int]:
    """Take the rows through the steps; returns how many rows each step filtered. Rows that fail become errors.

    Raises:
        ExpressionError: a step fails on so many rows that the fault is its own.
    """
    filtered: dict[str, int] = {}
    for step in steps:
        before = len(rows.frame)
        kept, failed = isolating(rows.frame, step)
        rows.errors += [
            RowError(
                number=row[ROW],
                step=step.name,
                cause=Cause.EXPRESSION,
                message=message,
                keys={key: row.get(key) for key in keys},
                text=str({column: cell for column, cell in row.items() if column != ROW}),
            )
            for row, message in failed
        ]
        rows.frame = kept
        if step.drops_rows:
            filtered[step.name] = before - len(kept) - len(failed)
    return filtered


def isolating(frame: pl.DataFrame, step: TableStep) -> tuple[pl.DataFrame, list[tuple[dict[str, Any], str]]]:
    """The frame after the step without the rows that make it fail, and these with the reason.

    Raises:
        ExpressionError: it fails on so many rows that the fault is its own.
    """
    import polars as pl

    good: list[pl.DataFrame] = []
    failed: list[tuple[dict[str, Any], str]] = []
    waiting = [frame]
    while waiting:
        piece = waiting.pop()
        try:
            good.append(step.apply(piece.lazy()).collect())
        except pl.exceptions.PolarsError as error:
            reason = str(error).split("\n", 1)[0]
            if len(piece) <= 1:
                if piece.is_empty() or len(failed) >= _MOST_ISOLATED:
                    raise ExpressionError(f"the step {step.name!r} fails: {reason}") from None
                failed.append((piece.row(0, named=True), reason))
                continue
            half = len(piece) // 2
            waiting += [piece[half:], piece[:half]]
    if not good:
        # Every row failed, so the columns are found on none of them.
        good.append(step.apply(frame.clear().lazy()).collect())
    return pl.concat(good, how="vertical_relaxed"), failed
