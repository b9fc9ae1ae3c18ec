"""The `errors:` key: how much may fail before the run stops, and where error rows go."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from penstock.values import Duration, FilePath, Share

FIRST_ROWS = 200
"""The share of failed rows is looked at from this many rows on."""


class ErrorSettings(BaseModel):
    """When to give up, and where rows go that failed. A stopped run can be resumed."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    stop_above: Share = Field(
        default=0.10,
        description=f"Stop when more than this share of the rows failed; counted after the first {FIRST_ROWS} rows.",
        examples=["5%", 0.05],
    )
    stop_after: Duration = Field(
        default=900.0,
        gt=0,
        description="Stop when no request succeeded for this long.",
        examples=["15m"],
    )
    path: FilePath | None = Field(
        default=None,
        min_length=1,
        description=(
            "A Parquet file where the errors table is published too, relative to the pipeline file. "
            "It is always kept with the run."
        ),
        examples=["../out/reviews_errors.parquet"],
    )
