"""How the decisions of a step that looks at all rows are asked for and carried out, partition by partition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from penstock.errors import AccountError
from penstock.steps.base import FATE, FILTERED, INTO, KEY, MERGED, PARTITION, ROW, SIMILARITY, BarrierStep

if TYPE_CHECKING:
    import polars as pl

_OWN = (PARTITION, KEY, FATE, INTO, SIMILARITY)


@dataclass(frozen=True, slots=True)
class CarriedOut:
    """The rows that go on, with the decision's columns, and how many do not."""

    frame: pl.DataFrame
    filtered: int
    merged: int


def looked_at(frame: pl.LazyFrame, step: BarrierStep, keys: Sequence[str], partition: int) -> pl.DataFrame:
    """What the step sees of a partition's rows, which carry `ROW`: with `PARTITION` and `KEY`."""
    import polars as pl

    looked, named = pl.collect_all([step.look(frame), frame.select(ROW, key_text(keys, partition).alias(KEY))])
    return looked.join(named, on=ROW, how="left", maintain_order="left").with_columns(
        pl.lit(partition, dtype=pl.Int64).alias(PARTITION)
    )


def decided(step: BarrierStep, looked: pl.DataFrame) -> pl.DataFrame:
    """The step's decision on all rows, with their `KEY`, in the order of partitions and rows.

    Raises:
        AccountError: a row has no decision, or more than one.
    """
    import polars as pl

    decision = step.decide(looked)
    missing = [pl.lit(None, dtype=kind).alias(name) for name, kind in ((INTO, pl.String()), (SIMILARITY, pl.Float64()))
               if name not in decision.columns]  # fmt: skip
    places = looked.select(PARTITION, ROW, KEY)
    own = [name for name in (KEY,) if name in decision.columns]
    whole = places.join(
        decision.drop(own).with_columns(*missing, pl.lit(True).alias("__told")),
        on=[PARTITION, ROW],
        how="left",
        maintain_order="left",
    )
    if len(whole) != len(places) or len(decision) != len(places) or whole["__told"].null_count():
        raise AccountError(f"the step {step.name!r} decided on {len(decision)} rows and saw {len(places)}")
    return whole.drop("__told")


def carried_out(frame: pl.DataFrame, decision: pl.DataFrame, step: BarrierStep) -> CarriedOut:
    """The rows of one partition as was decided on them.

    Raises:
        AccountError: the decision is not one on these rows.
    """
    import polars as pl

    new = [name for name in decision.columns if name not in {*_OWN, ROW}]
    joined = frame.drop([name for name in new if name in frame.columns]).join(
        decision.select(ROW, FATE, *new), on=ROW, how="left", maintain_order="left"
    )
    if len(decision) != len(frame) or len(joined) != len(frame) or decision[ROW].n_unique() != len(frame):
        raise AccountError(f"the step {step.name!r} decided on {len(decision)} rows, and {len(frame)} came")
    fates = joined[FATE]
    kept = joined.filter(pl.col(FATE).is_null()).drop(FATE)
    return CarriedOut(kept, int((fates == FILTERED).sum()), int((fates == MERGED).sum()))


def key_text(keys: Sequence[str], partition: int) -> pl.Expr:
    """A row's key as one text; its place where it has none."""
    import polars as pl

    if not keys:
        return pl.concat_str(pl.lit(f"{partition}:"), pl.col(ROW).cast(pl.String))
    return pl.concat_str([pl.col(key).cast(pl.String).fill_null("") for key in keys], separator=" | ")
