"""`embed`: text to vectors by the embeddings endpoint (API reference, "Create embeddings")."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from penstock.errors import ExpressionError
from penstock.expressions import Template, plain_pieces, renderer
from penstock.items import Answer, Cause, Fault, Packing, Usage
from penstock.steps.base import ApiStep, Columns

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

SIZES = {"text-embedding-3-small": 1536, "text-embedding-3-large": 3072, "text-embedding-ada-002": 1536}
"""Length of the vectors of models that say so in their documentation, when `dimensions` is not given."""


_LARGE = 3072


class Embed(ApiStep):
    """Packs many texts into a request, asks for base64, and moves the bytes into a column of vectors."""

    kind: ClassVar[str] = "embed"
    summary: ClassVar[str] = "Turns a text per row into a vector, many rows per request."
    endpoint: ClassVar[str] = "/embeddings"
    prompt_only: ClassVar[bool] = True
    example: ClassVar[str] = (
        "uses: embed\n"
        'input: "{{ title }}. {{ body }}"\n'
        "model: text-embedding-3-small\n"
        "dimensions: 512\n"
        "output: embedding\n"
    )

    uses: Literal["embed"] = Field(description="The kind of step.")
    input: Template = Field(
        min_length=1,
        description="Template of the text to embed. Nulls render as nothing; a text that is empty is an error row.",
        examples=["{{ title }}. {{ body }}"],
    )
    dimensions: int | None = Field(
        default=None,
        ge=1,
        le=100_000,
        description="Length of the vectors; the model's own if left out. Models before text-embedding-3 refuse it.",
        examples=[512],
    )
    output: str = Field(
        default="embedding",
        min_length=1,
        description="Name of the new column: a fixed-size list of float32.",
        examples=["embedding"],
    )
    batch_size: int = Field(
        default=128,
        ge=1,
        le=2048,
        description="Texts per request at most. The API's own limit is 2,048 texts and 300,000 tokens.",
    )

    @field_validator("dimensions")
    @classmethod
    def _fits_the_model(cls, dimensions: int | None, info: ValidationInfo) -> int | None:
        model = info.data.get("model")
        if dimensions is None or model not in SIZES:
            return dimensions
        if model == "text-embedding-ada-002":
            raise ValueError(f"vectors of {model} always have {SIZES[model]:,} numbers; leave it out")
        if dimensions > SIZES[model]:
            raise ValueError(f"vectors of {model} have {SIZES[model]:,} numbers at most")
        return dimensions

    def columns_after(self, given: Mapping[str, str | None]) -> Columns:
        """The columns before, and the vector."""
        if self.output in given:
            raise ValueError(f"the column {self.output!r} exists already; give `output` another name")
        size = self.size
        return {**given, self.output: f"Array(Float32, {size})" if size else None}

    @property
    def size(self) -> int | None:
        """Length of the vectors where it is known before the first answer."""
        return self.dimensions or SIZES.get(self.model)

    @property
    def packing(self) -> Packing:
        """The API's three limits (API reference and the service's own error texts)."""
        return Packing(
            max_items=self.batch_size,
            max_item_tokens=8192,
            max_request_tokens=300_000,
            answer_bytes=(self.size or _LARGE) * 16 // 3,
        )

    @property
    def at_once(self) -> bool:
        """Vectors are made in one pass."""
        return True

    def content(self) -> dict[str, Any]:
        """How texts are packed does not change a vector."""
        return {name: value for name, value in super().content().items() if name != "batch_size"}

    def payloads(self, frame: pl.DataFrame) -> pl.Series:
        """The rendered texts, null where the template fails."""
        import polars as pl

        pieces = plain_pieces(self.input)
        plain = {pl.String, pl.Int64, pl.Int32, pl.UInt32}
        columns = [text for text, named in pieces or [] if named]
        if pieces is not None and columns and all(frame.schema[name] in plain for name in columns):
            parts = [
                pl.col(text).cast(pl.String).fill_null("") if named else pl.lit(text, dtype=pl.String)
                for text, named in pieces
            ]
            return frame.select(pl.concat_str(parts).alias("payload")).to_series()
        render = renderer(self.input)

        def rendered(row: Mapping[str, Any]) -> str | None:
            try:
                return render(row)
            except ExpressionError:
                return None

        return pl.Series("payload", [rendered(row) for row in frame.iter_rows(named=True)], dtype=pl.String)

    def payload_error(self, row: Mapping[str, Any]) -> Fault:
        """The template's error on this row."""
        try:
            renderer(self.input)(row)
        except ExpressionError as error:
            return Fault(Cause.EXPRESSION, error.message)
        return Fault(Cause.EXPRESSION, "the template gave no text")

    def result_schema(self) -> pa.Schema:
        """One column of vectors."""
        import pyarrow as pa

        item = pa.field("item", pa.float32(), nullable=False)
        return pa.schema([pa.field(self.output, pa.list_(item, self.size) if self.size else pa.list_(item))])

    def body(self, payloads: Sequence[Any]) -> bytes:
        """Texts as one array, vectors asked for as base64: a third of the bytes, and no number is ever parsed."""
        import msgspec

        request: dict[str, Any] = {"model": self.model, "input": list(payloads), "encoding_format": "base64"}
        if self.dimensions is not None:
            request["dimensions"] = self.dimensions
        return msgspec.json.encode({**request, **self.extra_body})

    def read(self, body: bytes | memoryview, payloads: Sequence[Any]) -> Answer:
        """Vectors in the order of `payloads`, checked for number, order, length and being finite."""
        import pyarrow as pa

        from penstock.steps.vectors import read_vectors

        vectors = read_vectors(body, len(payloads), self.size)
        item = pa.field("item", pa.float32(), nullable=False)
        size = len(vectors.data) // 4 // len(payloads)
        values = pa.Array.from_buffers(pa.float32(), size * len(payloads), [None, pa.py_buffer(vectors.data)])
        column = pa.FixedSizeListArray.from_arrays(values, type=pa.list_(item, size))
        schema = pa.schema([pa.field(self.output, column.type)])
        usage = Usage(model=vectors.model, prompt_tokens=vectors.prompt_tokens)
        return Answer(pa.record_batch([column], schema=schema), usage)
