"""`derive`: new columns from SQL expressions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from penstock.expressions import Sql
from penstock.steps.base import Columns, TableStep

if TYPE_CHECKING:
    import polars as pl


class Derive(TableStep):
    """Each entry of `columns` becomes a column; all see the row as it was before the step."""

    kind: ClassVar[str] = "derive"
    summary: ClassVar[str] = "Adds columns, or replaces them, by SQL expressions over the row."
    example: ClassVar[str] = "uses: derive\ncolumns:\n  text: \"concat(title, '. ', body)\"\n"

    uses: Literal["derive"] = Field(description="The kind of step.")
    columns: dict[str, Sql] = Field(
        min_length=1,
        description="New column names, each with the SQL expression that makes it. An existing column is replaced.",
        examples=[{"text": "concat(title, '. ', body)", "is_short": "length(body) < 40"}],
    )

    def columns_after(self, given: Mapping[str, str | None]) -> Columns:
        """The columns before and the new ones, whose types are not known without data."""
        return {**given, **dict.fromkeys(self.columns)}

    def apply(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        """The rows with the new columns."""
        import polars as pl

        return frame.with_columns(**{name: pl.sql_expr(text) for name, text in self.columns.items()})
