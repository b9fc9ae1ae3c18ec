"""How the decisions of a step that looks at all rows are asked for and carried out, partition by partition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from penstock.errors import AccountError, ExpressionError, InputError
from penstock.steps.base import (
    FAILED,
    FATE,
    FILTERED,
    INTO,
    KEY,
    MERGED,
    PARTITION,
    ROW,
    SIMILARITY,
    WHY,
    BarrierStep,
    TableStep,
)

if TYPE_CHECKING:
    import polars as pl

_OWN = (PARTITION, ROW, KEY, FATE, INTO, SIMILARITY, WHY)
_MOST_ISOLATED = 1_000


@dataclass(frozen=True, slots=True)
class Looked:
    """What a step sees of some rows, and those of which it can see nothing, each with the reason."""

    frame: pl.DataFrame
    failed: pl.DataFrame


@dataclass(frozen=True, slots=True)
class CarriedOut:
    """The rows that go on, with the decision's columns, how many do not, and those that failed with the reason."""

    frame: pl.DataFrame
    filtered: int
    merged: int
    failed: list[tuple[dict[str, Any], str]]


def looked_at(frame: pl.LazyFrame, step: BarrierStep, keys: Sequence[str], partition: int) -> Looked:
    """What the step sees of a partition's rows, which carry `ROW`: with `PARTITION` and `KEY`.

    Raises:
        ExpressionError: it can see nothing of so many rows that the fault is its own.
    """
    import polars as pl

    named = frame.select(pl.lit(partition, dtype=pl.Int64).alias(PARTITION), ROW, key_text(keys, partition).alias(KEY))
    reasons: dict[int, str] = {}
    try:
        looked, places = pl.collect_all([step.look(frame), named])
    except pl.exceptions.PolarsError:
        whole, places = pl.collect_all([frame, named])
        looked = pl.concat(_isolated(whole, step, reasons), how="vertical_relaxed")
    seen = looked.join(places, on=ROW, how="left", maintain_order="left")
    failed = places.filter(pl.col(ROW).is_in(list(reasons))).with_columns(
        pl.Series(WHY, list(reasons.values()), dtype=pl.String)
    )
    return Looked(seen, failed)


def _isolated(frame: pl.DataFrame, step: BarrierStep, reasons: dict[int, str]) -> list[pl.DataFrame]:
    """What the step sees of the rows that it can look at; the others are entered in `reasons`, in their order."""
    import polars as pl

    try:
        return [step.look(frame.lazy()).collect()]
    except pl.exceptions.PolarsError as error:
        reason = str(error).split("\n", 1)[0]
    if len(frame) <= 1:
        if frame.is_empty() or len(reasons) >= _MOST_ISOLATED:
            raise ExpressionError(f"the step {step.name!r} fails: {reason}") from None
        reasons[frame[ROW].item()] = reason
        return [step.look(frame.clear().lazy()).collect()]
    half = len(frame) // 2
    return [*_isolated(frame[:half], step, reasons), *_isolated(frame[half:], step, reasons)]


def decided(step: BarrierStep, looked: Sequence[Looked]) -> pl.DataFrame:
    """The step's decision on all rows, with their `KEY`, in the order of partitions.

    Raises:
        AccountError: a row has no decision, or more than one.
        InputError: what the step was asked for cannot be had of these rows.
    """
    import polars as pl

    seen = pl.concat([one.frame for one in looked])
    failed = pl.concat([one.failed for one in looked])
    decision = step.decide(seen)
    missing = [pl.lit(None, dtype=kind).alias(name) for name, kind in ((INTO, pl.String()), (SIMILARITY, pl.Float64()))
               if name not in decision.columns]  # fmt: skip
    whole = seen.select(PARTITION, ROW, KEY).join(
        decision.drop(KEY, strict=False).with_columns(*missing, pl.lit(True).alias("__told")),
        on=[PARTITION, ROW],
        how="left",
        maintain_order="left",
    )
    if len(whole) != len(seen) or len(decision) != len(seen) or whole["__told"].null_count():
        raise AccountError(f"the step {step.name!r} decided on {len(decision)} rows and saw {len(seen)}")
    told = [whole.drop("__told").with_columns(pl.col(FATE).cast(pl.String))]
    told += [failed.with_columns(pl.lit(FAILED).alias(FATE))] if len(failed) else []
    result = pl.concat(told, how="diagonal_relaxed")
    return result if WHY in result.columns else result.with_columns(pl.lit(None, dtype=pl.String).alias(WHY))


def carried_out(frame: pl.DataFrame, decision: pl.DataFrame, step: BarrierStep) -> CarriedOut:
    """The rows of one partition as was decided on them.

    Raises:
        AccountError: the decision is not one on these rows.
    """
    import polars as pl

    new = [name for name in decision.columns if name not in _OWN]
    joined = frame.drop(new, strict=False).join(
        decision.select(ROW, FATE, WHY, *new), on=ROW, how="left", maintain_order="left"
    )
    if len(decision) != len(frame) or len(joined) != len(frame) or decision[ROW].n_unique() != len(frame):
        raise AccountError(f"the step {step.name!r} decided on {len(decision)} rows, and {len(frame)} came")
    fates = joined[FATE]
    lost = joined.filter(pl.col(FATE) == FAILED)
    return CarriedOut(
        frame=joined.filter(pl.col(FATE).is_null()).drop(FATE, WHY),
        filtered=int((fates == FILTERED).sum()),
        merged=int((fates == MERGED).sum()),
        failed=list(zip(lost.drop(FATE, WHY, *new).iter_rows(named=True), lost[WHY].to_list(), strict=True)),
    )


def applied(step: TableStep, frame: pl.LazyFrame, keys: Sequence[str]) -> pl.LazyFrame:
    """The rows after a step, which gets their key as text where it needs it.

    The key is made of the columns as they reach the step, and of those of the source only: so what a step decides by it
    is the same wherever the steps before it were written down.

    Args:
        keys: the columns of the source's key.

    Raises:
        InputError: the step needs them, and they do not reach it.
    """
    if not step.needs_key:
        return step.apply(frame)
    given = frame.collect_schema()
    if missing := [key for key in keys if key not in given]:
        raise InputError(key_missing(step.name, missing[0]))
    return step.apply(frame.with_columns(key_text(keys, 0).alias(KEY))).drop(KEY)


def key_missing(step: str, key: str) -> str:
    """What to say of a step that goes by the source's key where a column of that is no more."""
    return f"the key's column {key!r} does not reach the step {step!r}; name the columns that it goes by in `by`"


def key_text(keys: Sequence[str], partition: int) -> pl.Expr:
    """A row's key as one text; its place where it has none."""
    import polars as pl

    if not keys:
        return pl.concat_str(pl.lit(f"{partition}:"), pl.col(ROW).cast(pl.String))
    return pl.concat_str([pl.col(key).cast(pl.String).fill_null("") for key in keys], separator=" | ")
