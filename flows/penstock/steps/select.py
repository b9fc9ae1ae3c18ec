"""`select`: choose, order and rename columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from penstock.expressions import Column
from penstock.steps.base import Columns, TableStep

if TYPE_CHECKING:
    import polars as pl


class Select(TableStep):
    """Only the columns named are kept, in the order named; a mapping renames."""

    kind: ClassVar[str] = "select"
    summary: ClassVar[str] = "Keeps the columns named, in that order; a mapping `new: old` renames them."
    example: ClassVar[str] = "uses: select\ncolumns: [review_id, body]\n"

    uses: Literal["select"] = Field(description="The kind of step.")
    columns: list[Column] | dict[str, Column] = Field(
        min_length=1,
        description="The columns to keep: a list of names, or a mapping of new names to the columns they come from.",
        examples=[["review_id", "body"], {"id": "review_id", "text": "body"}],
    )

    @property
    def renamed(self) -> dict[str, str]:
        """New name to old name, in order."""
        return self.columns if isinstance(self.columns, dict) else {name: name for name in self.columns}

    def columns_after(self, given: Mapping[str, str | None]) -> Columns:
        """The columns named."""
        if isinstance(self.columns, list) and len(set(self.columns)) < len(self.columns):
            twice = next(name for name in self.columns if self.columns.count(name) > 1)
            raise ValueError(f"the column {twice!r} is named twice")
        return {new: given.get(old) for new, old in self.renamed.items()}

    def apply(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        """The columns named, and those that only Penstock uses."""
        import polars as pl
        from polars import selectors

        return frame.select(selectors.starts_with("__"), *(pl.col(old).alias(new) for new, old in self.renamed.items()))
