"""`sample`: a share of the rows, the same ones in every run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, field_validator

from penstock.expressions import Column
from penstock.steps.base import Columns, TableStep
from penstock.steps.shares import SCALE, chance, with_chances
from penstock.values import Share, names_in

if TYPE_CHECKING:
    import polars as pl


class Sample(TableStep):
    """A row stays or goes by a hash of its key, or of `by`: rows that are added later do not change the others' lot.

    The share is met on average, not exactly: of many rows very nearly, of a handful not. A second sample by the same
    columns needs another `seed`, or it keeps what the first one kept.
    """

    kind: ClassVar[str] = "sample"
    summary: ClassVar[str] = (
        "Keeps about a share of the rows, chosen by a hash of their key and so the same in every run; "
        "the others are counted as filtered."
    )
    drops_rows: ClassVar[bool] = True
    example: ClassVar[str] = "uses: sample\nshare: 10%\nby: customer_id\n"

    uses: Literal["sample"] = Field(description="The kind of step.")
    share: Share = Field(description="About what share of the rows stays.", examples=["10%"])
    by: Column | list[Column] | None = Field(
        default=None,
        description=(
            "The column, or columns, that are hashed: rows with the same values stay or go together. The key of the "
            "source if left out."
        ),
        examples=["customer_id", ["shop", "day"]],
    )
    seed: int = Field(default=0, ge=0, lt=SCALE, description="Another number is another choice.", examples=[7])

    @field_validator("share")
    @classmethod
    def _keeps_something(cls, share: float) -> float:
        if share == 0:
            raise ValueError("a share of 0 keeps no row")
        return share

    @property
    def needs_key(self) -> bool:
        """Whether the rows must come with their key as text in `KEY`."""
        return not self.by

    def columns_after(self, given: Mapping[str, str | None]) -> Columns:
        """The same columns."""
        return dict(given)

    def apply(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        """The rows that stay."""
        import polars as pl

        rows = with_chances(frame, names_in(self.by), purpose=self.kind, seed=self.seed, step=self.name)
        highest = int(self.share * SCALE) - 1
        return rows.filter(chance() <= pl.lit(highest, dtype=pl.UInt64)).drop(chance().meta.output_name())
