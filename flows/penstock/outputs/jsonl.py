"""`jsonl`: one file, one JSON object per row and line."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from penstock.outputs.text_files import TextFile

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa


class JsonLines(TextFile):
    """Every row is an object with all columns: vectors are arrays, structs objects, nulls `null`."""

    kind: ClassVar[str] = "jsonl"
    summary: ClassVar[str] = "Writes a file of JSON Lines, replaced in one step: vectors as arrays, structs as objects."
    example: ClassVar[str] = "uses: jsonl\npath: ../out/reviews.jsonl.gz\n"
    endings: ClassVar[tuple[str, ...]] = (".jsonl", ".ndjson", ".json")

    uses: Literal["jsonl"] = Field(description="The kind of output.")

    def head(self, schema: pa.Schema) -> bytes:  # noqa: ARG002  # of the contract
        """Nothing: names stand in each row."""
        return b""

    def lines(self, frame: pl.DataFrame) -> bytes:
        """One object per row. JSON has no NaN and no infinity: both are `null`."""
        from penstock.outputs.textual import textual

        buffer = io.BytesIO()
        textual(frame).write_ndjson(buffer)
        return buffer.getvalue()
