"""`embed`: text to vectors by the embeddings endpoint (API reference, "Create embeddings")."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from penstock.expressions import Template
from penstock.items import Answer, Cause, Fault, Packing, Usage
from penstock.steps.base import ApiStep, Columns
from penstock.steps.overflow import fitted
from penstock.steps.rendering import rendered, template_fault
from penstock.steps.vectors import as_column, mean_vector, read_vectors, vector_type

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
    beside_wire: ClassVar[frozenset[str]] = frozenset({"input", "overflow", "max_input_tokens", "output"})
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
        description="Name of the new column: a fixed-size list of numbers.",
        examples=["embedding"],
    )
    dtype: Literal["float32", "float16"] = Field(
        default="float32",
        description="Numbers of the vectors. `float16` takes half the room and keeps three digits, which is enough for "
        "searching; an answer that does not fit into it is an error row.",
    )
    overflow: Literal["error", "truncate", "split"] = Field(
        default="error",
        description="What becomes of a text over `max_input_tokens`: `error` makes it an error row; `truncate` embeds "
        "its beginning; `split` embeds it in pieces and takes the mean of their vectors by length, at length 1.",
    )
    max_input_tokens: int = Field(
        default=8192,
        ge=16,
        le=1_000_000,
        description="Tokens of one text at most; 8,192 is the API's own limit. Exact for OpenAI's models, estimated at "
        "3 bytes a token for others, of which many take less.",
        examples=[512],
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
        number = "Float16" if self.dtype == "float16" else "Float32"
        return {**given, self.output: f"Array({number}, {size})" if size else None}

    @property
    def size(self) -> int | None:
        """Length of the vectors where it is known before the first answer."""
        return self.dimensions or SIZES.get(self.model)

    @property
    def packing(self) -> Packing:
        """The API's three limits (API reference and the service's own error texts)."""
        return Packing(
            max_items=self.batch_size,
            max_item_tokens=self.max_input_tokens,
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
        """The rendered texts, null where the template fails; with `overflow: split` the list of each text's pieces."""
        texts = rendered(self.input, frame)
        if self.overflow == "error":
            return texts
        return fitted(texts, self.model, self.max_input_tokens, split=self.overflow == "split")

    def payload_error(self, row: Mapping[str, Any]) -> Fault:
        """The template's error on this row."""
        return template_fault(self.input, row) or Fault(Cause.EXPRESSION, "the template gave no text")

    def combine(self, pieces: pa.RecordBatch, weights: Sequence[int]) -> pa.RecordBatch:
        """The mean of the pieces' vectors by their tokens, as long as they are, that is of length 1 for most models."""
        import pyarrow as pa

        vector = mean_vector(pieces.column(self.output), weights)
        return pa.record_batch([vector], schema=pa.schema([pa.field(self.output, vector.type)]))

    def result_schema(self) -> pa.Schema:
        """One column of vectors."""
        import pyarrow as pa

        number = pa.float16() if self.dtype == "float16" else pa.float32()
        return pa.schema([pa.field(self.output, vector_type(number, self.size))])

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

        vectors = read_vectors(body, len(payloads), self.size)
        column = as_column(vectors, len(payloads), half=self.dtype == "float16")
        schema = pa.schema([pa.field(self.output, column.type)])
        usage = Usage(model=vectors.model, prompt_tokens=vectors.prompt_tokens)
        return Answer(pa.record_batch([column], schema=schema), usage)
