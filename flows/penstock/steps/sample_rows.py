"""`sample_rows`: an exact number of rows, or an exact share of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from penstock.expressions import Column
from penstock.steps.allotment import STRATUM, UNITS, in_fair_order, strata, whole_numbers, with_key_chances
from penstock.steps.base import FATE, FILTERED, KEY, PARTITION, ROW, BarrierStep, Columns
from penstock.steps.shares import SCALE, chance, with_chances
from penstock.values import Count, Share, names_in

if TYPE_CHECKING:
    import polars as pl


class SampleRows(BarrierStep):
    """The rows with the lowest hashes of their keys stay, whatever the order of the rows.

    Where there are fewer rows than asked for, all stay. `sample` takes a share on average, without looking at all rows.
    """

    kind: ClassVar[str] = "sample_rows"
    summary: ClassVar[str] = (
        "Keeps an exact number or share of the rows, the same ones in every run, if wanted of each category; "
        "the others are counted as filtered."
    )
    example: ClassVar[str] = "uses: sample_rows\nrows: 100\nby: category\n"

    uses: Literal["sample_rows"] = Field(description="The kind of step.")
    rows: Count | None = Field(
        default=None, description="How many rows stay; with `by` of each category.", examples=[1000, "20k"]
    )
    share: Share | None = Field(
        default=None, description="What share of the rows stays; with `by` of each category.", examples=["10%"]
    )
    by: Column | list[Column] | None = Field(
        default=None,
        description="The column, or columns, that name a category; null is one too.",
        examples=["category", ["language", "stars"]],
    )
    hashed: Column | list[Column] | None = Field(
        default=None,
        description="The column, or columns, whose hash decides which rows stay; the key of the source if left out. "
        "Rows with the same values stay together as far as the number allows.",
        examples=["customer_id"],
    )
    seed: int = Field(default=0, ge=0, lt=SCALE, description="Another number is another choice.", examples=[7])

    @model_validator(mode="after")
    def _says_how_many(self) -> SampleRows:
        if (self.rows is None) == (self.share is None):
            raise ValueError("say how many rows stay: either `rows: 1000` or `share: 10%`")
        if self.rows == 0 or self.share == 0:
            raise ValueError("a sample of nothing keeps no row")
        return self

    def columns_after(self, given: Mapping[str, str | None]) -> Columns:
        """The same columns."""
        return dict(given)

    def look(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        """Of each row the number of its category, and its hash where it is not that of its key."""
        import polars as pl

        by, hashed = names_in(self.by), names_in(self.hashed)
        given = frame.collect_schema()
        schema = {ROW: given[ROW], STRATUM: pl.UInt64()}
        looked = frame.select(ROW, *dict.fromkeys([*by, *hashed])).map_batches(
            lambda rows: rows.with_columns(strata(rows, by)).select(*schema, *hashed),
            schema={**schema, **{name: given[name] for name in hashed}},
        )
        if hashed:
            looked = with_chances(looked, hashed, purpose=self.kind, seed=self.seed, step=self.name)
            return looked.select(*schema, chance())
        return looked

    def decide(self, looked: pl.DataFrame) -> pl.DataFrame:
        """The rows with the lowest hashes stay; with `by` those of each category."""
        import polars as pl

        if not self.hashed:
            looked = with_key_chances(looked, self.kind, self.seed, self.name)
        order = [chance().meta.output_name(), KEY, PARTITION, ROW]
        rows = looked.select(STRATUM, *order)
        if self.rows is not None:
            line = rows.sort(STRATUM, *order)
            stays = pl.int_range(pl.len()).over(STRATUM) < self.rows
        else:
            line = in_fair_order(rows.with_columns(pl.lit(1, dtype=pl.Int64).alias(UNITS)), order)
            stays = pl.int_range(pl.len()) < whole_numbers({"sample": self.share or 0.0}, len(rows))["sample"]
        return line.select(PARTITION, ROW, pl.when(~stays).then(pl.lit(FILTERED)).alias(FATE))
