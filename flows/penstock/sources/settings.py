"""The `source:` key of a pipeline: which files, in what format, and which columns name a row."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from penstock.values import FilePath

Format = Literal["csv", "jsonl", "parquet"]

ENDINGS: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
}
"""Which format a file's ending means."""


class SourceSettings(BaseModel):
    """Rows in: a file or a glob of files of one format."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: FilePath = Field(
        min_length=1,
        description="A file or a glob, relative to the pipeline file. Files are read in the order of their names.",
        examples=["../sample_data/reviews.csv", "../data/2026-*/part-*.parquet"],
    )
    format: Format | None = Field(
        default=None,
        description="The files' format; found from their ending (.csv, .tsv, .jsonl, .ndjson, .parquet) if left out.",
    )
    key: str | list[str] | None = Field(
        default=None,
        description=(
            "The column, or columns, that name a row for good. Without it rows are named by their content and "
            "position, so that rows which move count as new."
        ),
        examples=["review_id", ["shop", "order_id"]],
    )
    delimiter: str | None = Field(
        default=None,
        min_length=1,
        max_length=1,
        pattern=r"^[\t !#-~]$",
        description="What separates the cells of a CSV file: a comma, or a tab for .tsv, if left out.",
        examples=[";"],
    )
    types: dict[str, Literal["string", "integer", "number", "boolean", "date", "datetime"]] = Field(
        default_factory=dict,
        description=(
            "Types of columns, instead of those found at the beginning of the file; in JSON Lines also of keys that "
            "appear only later, which are no columns otherwise."
        ),
        examples=[{"zip_code": "string"}],
    )
    partition_rows: int | None = Field(
        default=None,
        ge=1,
        description="Rows in one partition, the unit of work and of resuming; chosen from the steps if left out.",
        examples=[10_000],
    )

    @property
    def keys(self) -> list[str]:
        """The key columns; empty when there is none."""
        if self.key is None:
            return []
        return [self.key] if isinstance(self.key, str) else list(self.key)
