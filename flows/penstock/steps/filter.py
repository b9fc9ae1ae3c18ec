"""`filter`: keep the rows for which a condition holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from penstock.expressions import Sql
from penstock.steps.base import Columns, TableStep

if TYPE_CHECKING:
    import polars as pl


class Filter(TableStep):
    """Rows for which `where` is false or null leave the pipeline and are counted as filtered."""

    kind: ClassVar[str] = "filter"
    summary: ClassVar[str] = "Keeps the rows for which an SQL condition holds; the others are counted as filtered."
    drops_rows: ClassVar[bool] = True
    example: ClassVar[str] = "uses: filter\nwhere: length(body) > 0\n"

    uses: Literal["filter"] = Field(description="The kind of step.")
    where: Sql = Field(
        min_length=1,
        description="SQL condition over the row's columns, run by polars. A row for which it is null is filtered too.",
        examples=["length(body) > 0", "language = 'en' AND stars >= 3"],
    )

    def columns_after(self, given: Mapping[str, str | None]) -> Columns:
        """The same columns."""
        return dict(given)

    def apply(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        """The rows for which the condition holds."""
        import polars as pl

        return frame.filter(pl.sql_expr(self.where))
