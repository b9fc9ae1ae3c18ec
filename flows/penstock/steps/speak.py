"""`speak`: texts to sound files by the speech endpoint (API reference, "Create speech")."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from penstock.errors import ExpressionError
from penstock.expressions import Template, renderer
from penstock.items import Answer, Cause, Fault, Packing, Usage
from penstock.steps.base import ApiStep, Columns, SavedFile
from penstock.steps.file_settings import AnswerFolder, FileName
from penstock.steps.naming import prefixed, with_columns
from penstock.steps.rendering import asked_by_row

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

LONGEST_INPUT = 4096
"""Characters that the API takes at a time."""
_BYTES_A_SECOND = {"mp3": 20_000, "opus": 10_000, "aac": 20_000, "flac": 30_000, "wav": 48_000, "pcm": 48_000}
_USUAL_SECONDS = 60
_BY_CHARACTER = frozenset({"tts-1", "tts-1-hd"})


class Speak(ApiStep):
    """Has texts spoken into a file per row; a text over the API's limit is spoken in parts that are joined."""

    kind: ClassVar[str] = "speak"
    summary: ClassVar[str] = "Turns a text per row into a sound file."
    endpoint: ClassVar[str] = "/audio/speech"
    beside_wire: ClassVar[frozenset[str]] = frozenset({"input", "folder", "file_name", "max_characters", "output"})
    example: ClassVar[str] = (
        "uses: speak\n"
        'input: "{{ title }}. {{ body }}"\n'
        "voice: nova\n"
        "format: mp3\n"
        "folder: ../out/spoken\n"
        'file_name: "{{ review_id }}"\n'
    )

    uses: Literal["speak"] = Field(description="The kind of step.")
    model: str = Field(
        default="tts-1", description="The model that speaks.", examples=["tts-1", "tts-1-hd", "gpt-4o-mini-tts"]
    )
    input: Template = Field(
        min_length=1,
        description=(
            "Template of the text to speak. One over `max_characters` is cut at sentences, spoken in parts and joined, "
            "which formats opus and flac do not allow: there it is an error row."
        ),
        examples=["{{ title }}. {{ description }}"],
    )
    voice: str = Field(
        default="alloy",
        min_length=1,
        description="The voice: alloy, echo, fable, onyx, nova, shimmer, or another that the model has.",
        examples=["nova"],
    )
    format: Literal["mp3", "opus", "aac", "flac", "wav", "pcm"] = Field(
        default="mp3", description="Format of the files. pcm is bare samples: 24,000 a second, 16 bits, one channel."
    )
    speed: float | None = Field(
        default=None, ge=0.25, le=4, description="0.25 to 4; the service's default is 1.", examples=[1.2]
    )
    instructions: str | None = Field(
        default=None,
        max_length=4096,
        description="How to speak, in words. Models tts-1 and tts-1-hd refuse it.",
        examples=["Slowly and warmly, like a night-time radio host."],
    )
    folder: AnswerFolder = Field(
        examples=["../out/spoken"],
    )
    file_name: FileName = Field(
        examples=["{{ product_id }}"],
    )
    max_characters: int = Field(
        default=LONGEST_INPUT,
        ge=100,
        le=LONGEST_INPUT,
        description="Characters of one request at most. gpt-4o-mini-tts takes 2,000 tokens: about 1500 in Chinese.",
    )
    output: str = Field(
        default="",
        description="Beginning of the new columns' names: with `speech` they are `speech_path` and `speech_bytes`.",
        examples=["speech"],
    )

    @field_validator("instructions")
    @classmethod
    def _known_to_the_model(cls, instructions: str | None, info: ValidationInfo) -> str | None:
        if instructions is not None and info.data.get("model") in _BY_CHARACTER:
            raise ValueError(f"{info.data['model']} takes none; leave it out, or take gpt-4o-mini-tts")
        return instructions

    def columns_after(self, given: Mapping[str, str | None]) -> Columns:
        """The columns before, and path and size of the file."""
        kinds = {"path": "String", "bytes": "Int64"}
        return with_columns(given, {prefixed(self.output, name): kind for name, kind in kinds.items()}, "speech")

    @property
    def packing(self) -> Packing:
        """One text, or one part of one, per request."""
        return Packing(max_items=1, answer_bytes=_BYTES_A_SECOND[self.format] * _USUAL_SECONDS)

    @property
    def answer_tokens(self) -> int | None:
        """None of the models that are paid by the character."""
        return 0 if self.model in _BY_CHARACTER else None

    @property
    def saved(self) -> Sequence[SavedFile]:
        """The sound file."""
        names = (prefixed(self.output, name) for name in ("path", "bytes"))
        return (SavedFile(self._column, self.folder, self.file_name, f".{self.format}", *names),)

    @property
    def _column(self) -> str:
        return prefixed(self.output, "sound")

    def payloads(self, frame: pl.DataFrame) -> pl.Series:
        """The text of each row, or the parts of it."""
        import polars as pl

        return asked_by_row(map(self._asked, frame.iter_rows(named=True)), pl.List(pl.String()))

    def payload_error(self, row: Mapping[str, Any]) -> Fault:
        """The template's error, or that the text is too long for the format."""
        asked = self._asked(row)
        return asked if isinstance(asked, Fault) else Fault(Cause.EXPRESSION, "the template gave no text")

    def _asked(self, row: Mapping[str, Any]) -> list[str] | Fault:
        from penstock.steps.speaking import JOINED, parts_of

        try:
            text = renderer(self.input)(row)
        except ExpressionError as error:
            return Fault(Cause.EXPRESSION, error.message)
        if len(text) > self.max_characters and self.format not in JOINED:
            return Fault(
                Cause.TOO_LONG,
                f"the text has {len(text):,} characters and {self.max_characters:,} are spoken at a time; "
                f"{self.format} files cannot be joined: take one of {', '.join(sorted(JOINED))}, or shorten it",
            )
        return parts_of(text, self.max_characters)

    def tokens(self, payloads: Sequence[str], count: Callable[[Sequence[str]], list[int]]) -> list[int]:
        """Those of the text."""
        return [max(1, each) for each in count(payloads)]

    def expected(self, payload: str) -> Usage:
        """What a request will count, as far as it is known beforehand."""
        return Usage(characters=len(payload))

    def result_schema(self) -> pa.Schema:
        """The sound."""
        import pyarrow as pa

        return pa.schema([(self._column, pa.large_binary())])

    def body(self, payloads: Sequence[Any]) -> bytes:
        """The text and how to speak it."""
        import msgspec

        request = {
            "model": self.model,
            "input": payloads[0],
            "voice": self.voice,
            "response_format": self.format,
            "speed": self.speed,
            "instructions": self.instructions,
        }
        given = {name: value for name, value in request.items() if value is not None}
        return msgspec.json.encode({**given, **self.extra_body})

    def read(self, body: bytes | memoryview, payloads: Sequence[Any]) -> Answer:
        """The sound, known to be of the format that was asked for by how it begins."""
        from penstock.steps.speaking import check_sound

        content = bytes(body)
        check_sound(content, self.format)
        return Answer(self._columns(content), self.expected(payloads[0]))

    def combine(self, pieces: pa.RecordBatch, weights: Sequence[int]) -> pa.RecordBatch:  # noqa: ARG002
        """One file of the parts' files."""
        from penstock.steps.speaking import joined

        return self._columns(joined(pieces.column(self._column).to_pylist(), self.format))

    def _columns(self, content: bytes) -> pa.RecordBatch:
        import pyarrow as pa

        return pa.record_batch([pa.array([content], pa.large_binary())], schema=self.result_schema())
