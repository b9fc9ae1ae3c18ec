"""Table steps on one partition: neighbours in one lazy query, and rows that make it fail set apart one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from penstock.errors import AccountError, ExpressionError
from penstock.execute.rows import Rows
from penstock.items import Cause
from penstock.steps import BarrierStep, Step, TableStep
from penstock.steps.base import ROW
from penstock.steps.decisions import applied, carried_out
from penstock.tables.failures import RowError

if TYPE_CHECKING:
    import polars as pl

_MOST_ISOLATED = 1_000


@dataclass(slots=True)
class Tally:
    """Where rows went on their way through table steps, by step; `added` are those made besides the ones that came."""

    filtered: dict[str, int] = field(default_factory=dict)
    merged: dict[str, int] = field(default_factory=dict)
    added: dict[str, int] = field(default_factory=dict)

    @property
    def gone(self) -> int:
        """Rows that went no further without failing."""
        return sum(self.filtered.values()) + sum(self.merged.values())


def run_table_steps(
    rows: Rows,
    steps: Sequence[Step],
    keys: Sequence[str],
    source_keys: Sequence[str],
    decision: Callable[[], pl.DataFrame],
) -> Tally:
    """Take the rows through the steps. Rows that fail become errors.

    Args:
        keys: the columns that name a row.
        source_keys: those of them that are the source's.
        decision: on these rows, where the first step is one that looks at all of them.

    Raises:
        ExpressionError: a step fails on so many rows that the fault is its own.
        AccountError: a step loses or makes rows of which it does not say so.
    """
    tally = Tally()
    group: list[TableStep] = []
    for step in steps:
        if isinstance(step, BarrierStep):
            done = carried_out(rows.frame, decision(), step)
            rows.frame = done.frame
            rows.errors += _errors(step, keys, done.failed)
            tally.filtered[step.name], tally.merged[step.name] = done.filtered, done.merged
        elif isinstance(step, TableStep):
            if step.alone:
                _run(rows, group, keys, source_keys, tally)
                group = []
                _isolated(rows, step, keys, source_keys, tally)
            else:
                group.append(step)
    _run(rows, group, keys, source_keys, tally)
    return tally


def _run(rows: Rows, steps: Sequence[TableStep], keys: Sequence[str], source_keys: Sequence[str], tally: Tally) -> None:
    import polars as pl

    if not steps:
        return
    try:
        _fused(rows, steps, source_keys, tally)
    except pl.exceptions.PolarsError:
        for step in steps:
            _isolated(rows, step, keys, source_keys, tally)


def _fused(rows: Rows, steps: Sequence[TableStep], source_keys: Sequence[str], tally: Tally) -> None:
    """All steps in one query, and the number of rows after each that may change it."""
    import polars as pl

    query = rows.frame.lazy()
    counting: list[tuple[TableStep, pl.LazyFrame]] = []
    for step in steps:
        query = applied(step, query, source_keys)
        if step.adds_rows or step.drops_rows:
            counting.append((step, query.select(pl.len().alias("rows"), pl.col(ROW).n_unique().alias("of"))))
        if step.adds_rows:
            query = query.with_columns(pl.int_range(pl.len(), dtype=pl.Int64).alias(ROW))
    result, *counts = pl.collect_all([query, *(one for _, one in counting)])
    before = len(rows.frame)
    for (step, _), count in zip(counting, counts, strict=True):
        before = _entered(tally, step, before, *count.row(0))
    if before != len(result):
        raise AccountError(f"{before} rows came out of {steps[-1].name!r} by its account, and {len(result)} in fact")
    rows.frame = result


def _isolated(rows: Rows, step: TableStep, keys: Sequence[str], source_keys: Sequence[str], tally: Tally) -> None:
    import polars as pl

    before = len(rows.frame)
    kept, failed = isolating(rows.frame, step, source_keys)
    rows.errors += _errors(step, keys, failed)
    _entered(tally, step, before - len(failed), len(kept), kept[ROW].n_unique())
    if step.adds_rows:
        kept = kept.with_columns(pl.int_range(pl.len(), dtype=pl.Int64).alias(ROW))
    rows.frame = kept


def _errors(step: Step, keys: Sequence[str], failed: Sequence[tuple[dict[str, Any], str]]) -> list[RowError]:
    return [
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


def _entered(tally: Tally, step: TableStep, before: int, after: int, of: int) -> int:
    """Enter what became of `before` rows: `after` rows, made of `of` of them. Returns `after`."""
    lost, made = before - of, after - of
    if (lost and not (step.drops_rows or step.adds_rows)) or (made and not step.adds_rows) or lost < 0:
        raise AccountError(f"the step {step.name!r} made {after} rows of {before}, which its kind does not do")
    if step.drops_rows or lost:
        tally.filtered[step.name] = lost
    if made:
        tally.added[step.name] = made
    return after


def isolating(
    frame: pl.DataFrame, step: TableStep, source_keys: Sequence[str] = ()
) -> tuple[pl.DataFrame, list[tuple[dict[str, Any], str]]]:
    """The frame after the step without the rows that make it fail, and these with the reason.

    Args:
        source_keys: the columns of the source's key, for a step that goes by it.

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
            good.append(applied(step, piece.lazy(), source_keys).collect())
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
        good.append(applied(step, frame.clear().lazy(), source_keys).collect())
    return pl.concat(good, how="vertical_relaxed"), failed
