"""`split`: rows into named sets that stay the same between runs and never part a group."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, field_validator

from penstock.expressions import Column
from penstock.steps.base import Columns, TableStep
from penstock.steps.column_types import check_new
from penstock.steps.shares import SCALE, chance, with_chances
from penstock.values import Share, names_in

if TYPE_CHECKING:
    import polars as pl

_ALLOWED_ERROR = 1e-9


class Split(TableStep):
    """A row's set is decided by a hash of its key, or of `by`: all rows of a group are in one set, in every run.

    Shares are met on average over groups, not exactly. Rows that are added later do not move the others. The order of
    `sets` matters: the same names in another order are another split. Null counts as one group.
    """

    kind: ClassVar[str] = "split"
    summary: ClassVar[str] = (
        "Puts each row into one of several named sets by a hash of its key or group, so that sets stay the same "
        "between runs and no group is in two of them."
    )
    example: ClassVar[str] = (
        "uses: split\nsets: {train: 80%, validation: 10%, test: 10%}\nby: customer_id\noutput: set\n"
    )

    uses: Literal["split"] = Field(description="The kind of step.")
    sets: dict[str, Share] = Field(
        min_length=1,
        description="The names of the sets, each with its share of the rows. The shares add up to 100%.",
        examples=[{"train": "80%", "validation": "10%", "test": "10%"}],
    )
    by: Column | list[Column] | None = Field(
        default=None,
        description=(
            "The column, or columns, that name a group, which is never parted: for example the customer, so that none "
            "is in two sets. The key of the source if left out, which makes each row its own group."
        ),
        examples=["customer_id", ["shop", "order_id"]],
    )
    output: str = Field(default="set", min_length=1, description="Name of the new column: the name of the row's set.")
    seed: int = Field(default=0, ge=0, lt=SCALE, description="Another number is another split.", examples=[7])

    @field_validator("sets")
    @classmethod
    def _whole(cls, sets: dict[str, float]) -> dict[str, float]:
        if empty := [name for name, share in sets.items() if share == 0]:
            raise ValueError(f"the share of {empty[0]!r} is 0, so that no row can be in it; leave it out")
        total = sum(sets.values())
        if abs(total - 1) > _ALLOWED_ERROR:
            raise ValueError(f"the shares add up to {total * 100:.6g}%, and they must add up to 100%")
        return sets

    @property
    def needs_key(self) -> bool:
        """Whether the rows must come with their key as text in `KEY`."""
        return not self.by

    def columns_after(self, given: Mapping[str, str | None]) -> Columns:
        """The columns before, and the name of the set."""
        check_new(given, {"output": self.output})
        return {**given, self.output: "String"}

    def apply(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        """All rows, each with its set."""
        import polars as pl

        rows = with_chances(frame, names_in(self.by), purpose=self.kind, seed=self.seed, step=self.name)
        names = list(self.sets)
        chosen: pl.Expr = pl.lit(names[-1])
        bounds = list(accumulate(self.sets.values()))
        for name, bound in reversed(list(zip(names[:-1], bounds[:-1], strict=True))):
            below = chance() < pl.lit(min(SCALE - 1, int(bound * SCALE)), dtype=pl.UInt64)
            chosen = pl.when(below).then(pl.lit(name)).otherwise(chosen)
        return rows.with_columns(chosen.alias(self.output)).drop(chance().meta.output_name())
