"""`chunk`: long texts to pieces of so many tokens, one row each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from penstock.expressions import Column
from penstock.steps.base import Columns, TableStep
from penstock.steps.chunking import FEWEST, At, Chunker
from penstock.steps.column_types import check_new, check_text, require_text
from penstock.tokens import TokenCounter, counter, vocabulary_counter
from penstock.values import Count

if TYPE_CHECKING:
    import polars as pl

_DEFAULT = "cl100k_base"


class Chunk(TableStep):
    """Each piece is a row with all columns of its text's row; rows whose text is null or blank are filtered.

    A piece is at most `tokens` tokens when counted by itself. It begins and ends with no white space, so that
    ``text[start:end]`` of the original, in characters, is the piece exactly. No character as a reader sees it is
    parted, unless it alone is more than a piece (dozens of marks on one letter).
    """

    kind: ClassVar[str] = "chunk"
    summary: ClassVar[str] = (
        "Cuts long texts into pieces of so many tokens, one row each; rows without text are counted as filtered."
    )
    drops_rows: ClassVar[bool] = True
    adds_rows: ClassVar[bool] = True
    # In one query with its neighbours it would be computed once more for the count of its rows.
    alone: ClassVar[bool] = True
    example: ClassVar[str] = (
        "uses: chunk\ninput: body\ntokens: 512\noverlap: 64\nmodel: text-embedding-3-small\noutput: passage\n"
    )

    uses: Literal["chunk"] = Field(description="The kind of step.")
    input: Column = Field(description="The column of texts.", examples=["body"])
    tokens: Count = Field(
        default=512, ge=FEWEST, le=10_000_000, description="Tokens of one piece at most.", examples=[512]
    )
    overlap: Count = Field(
        default=0,
        description="Tokens, at most, of the end of a piece that also begin the next one; up to half of `tokens`.",
        examples=[64],
    )
    at: At = Field(
        default="sentences",
        description=(
            "Where a piece preferably ends, if there is such a place in its second half: after a paragraph, a "
            "sentence, a word, or wherever it is full. Where there is none, the next finer place is taken."
        ),
    )
    model: str | None = Field(
        default=None,
        description=(
            "The model whose tokens are counted. Exact for OpenAI's families; for others an estimate that is meant to "
            "be too high (one token per three bytes), so that pieces come out smaller."
        ),
        examples=["text-embedding-3-small"],
    )
    vocabulary: Literal["cl100k_base", "o200k_base"] | None = Field(
        default=None,
        description="The vocabulary that counts, instead of a `model`; cl100k_base if both are left out.",
    )
    output: str = Field(
        default="chunk_text",
        min_length=1,
        description="Name of the column of pieces. The name of `input` puts them in its place.",
        examples=["passage"],
    )
    position: str = Field(
        default="chunk", min_length=1, description="Name of the column of the piece's number in its text, from 0."
    )
    start: str = Field(
        default="start", min_length=1, description="Name of the column of its first character in the text, from 0."
    )
    end: str = Field(
        default="end", min_length=1, description="Name of the column of the first character behind it in the text."
    )

    @field_validator("overlap")
    @classmethod
    def _leaves_room(cls, overlap: int, info: ValidationInfo) -> int:
        tokens = info.data.get("tokens")
        if tokens is not None and overlap > tokens // 2:
            raise ValueError(f"{overlap:,} is more than half of `tokens` ({tokens:,}), so that texts hardly get on")
        return overlap

    @field_validator("vocabulary")
    @classmethod
    def _one_of_two(cls, vocabulary: str | None, info: ValidationInfo) -> str | None:
        if vocabulary and info.data.get("model"):
            raise ValueError("`model` says the vocabulary already; leave one of them out")
        return vocabulary

    @property
    def adds_keys(self) -> Sequence[str]:
        """The piece's number."""
        return (self.position,)

    def columns_after(self, given: Mapping[str, str | None]) -> Columns:
        """The columns before, the piece, its number and its offsets."""
        check_text(given, {("input",): self.input}, "chunk")
        added = {"output": self.output, "position": self.position, "start": self.start, "end": self.end}
        check_new([name for name in given if name != self.input or self.output != self.input], added)
        return {**given, self.output: "String", self.position: "Int64", self.start: "Int64", self.end: "Int64"}

    def apply(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        """One row per piece, in the order of rows and pieces."""
        import polars as pl

        schema = dict(frame.collect_schema())
        require_text(schema, [self.input], self.name)
        added = {self.output: pl.String(), self.position: pl.Int64(), self.start: pl.Int64(), self.end: pl.Int64()}
        return frame.map_batches(self._cut, schema={**schema, **added})

    def _cut(self, frame: pl.DataFrame) -> pl.DataFrame:
        import polars as pl

        chunker = Chunker(self._counter(), self.tokens, self.overlap, self.at)
        rows: list[int] = []
        found: list[tuple[str, int, int, int]] = []
        for row, text in enumerate(frame[self.input].to_list()):
            for number, (start, end) in enumerate(chunker.pieces(text) if text else []):
                rows.append(row)
                found.append((text[start:end], number, start, end))
        schema = {self.output: pl.String(), self.position: pl.Int64(), self.start: pl.Int64(), self.end: pl.Int64()}
        pieces = pl.DataFrame(found, schema=schema, orient="row")
        return frame[rows].with_columns(pieces.get_columns())

    def _counter(self) -> TokenCounter:
        return counter(self.model) if self.model else vocabulary_counter(self.vocabulary or _DEFAULT)
