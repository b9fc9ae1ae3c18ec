"""`transcribe`: recordings to text by the transcriptions endpoint (API reference, "Create transcription")."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import msgspec
from pydantic import Field, ValidationInfo, field_validator

from penstock.errors import ExpressionError, FileChanged
from penstock.expressions import Template, renderer
from penstock.items import Answer, Cause, Fault, Packing, Usage
from penstock.steps.base import ApiStep, Columns, SavedFile
from penstock.steps.named_files import NamedFile, content_mark
from penstock.steps.naming import prefixed, with_columns
from penstock.steps.rendering import asked_by_row
from penstock.steps.subtitles import Subtitles
from penstock.values import Duration, FilePath

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

    from penstock.steps.recordings import Payload
    from penstock.steps.transcripts import Transcript

_LONGEST = 600.0
_LONGEST_FEW_TOKENS = 300.0
"""The gpt-4o models end an answer at 2,000 tokens, which fast speech reaches in seven minutes."""
_MOST_ANSWER_TOKENS = 2_000
_TOKENS_A_SECOND = 10
"""Of sound, as the gpt-4o models count it."""
_ANSWER_BYTES = 256 * 1024
_MEDIA_TYPES = {"m4a": "audio/mp4", "mp4": "audio/mp4", "ogg": "audio/ogg", "wav": "audio/wav", "webm": "audio/webm",
                "flac": "audio/flac"}  # fmt: skip


class Transcribe(ApiStep):
    """Sends recordings as they are where the service takes them, else in parts cut at silences, and joins these."""

    kind: ClassVar[str] = "transcribe"
    summary: ClassVar[str] = "Turns a recording per row into text with times, and into subtitle files."
    endpoint: ClassVar[str] = "/audio/transcriptions"
    beside_wire: ClassVar[frozenset[str]] = frozenset(
        {"file", "folder", "prompt", "subtitles", "max_seconds", "output"}
    )
    example: ClassVar[str] = (
        "uses: transcribe\n"
        'file: "{{ review_id }}.mp3"\n'
        "folder: ../recordings\n"
        "model: whisper-1\n"
        'subtitles: {folder: ../out/subtitles, file_name: "{{ review_id }}", formats: [srt, vtt]}\n'
        "output: heard\n"
    )

    uses: Literal["transcribe"] = Field(description="The kind of step.")
    model: str = Field(
        default="whisper-1",
        description="The model that is asked. Models whose names begin with gpt-4o give no times and no language.",
        examples=["whisper-1", "gpt-4o-transcribe"],
    )
    file: Template = Field(
        min_length=1,
        description=(
            "Template of the recording's path: flac, m4a, mp3, mp4, mpeg, mpga, ogg, wav or webm; with the extra "
            "`audio` whatever FFmpeg reads."
        ),
        examples=["{{ path }}", "{{ call_id }}.wav"],
    )
    folder: FilePath = Field(
        default=".",
        min_length=1,
        description="Where relative paths of `file` start; the folder of the pipeline file if left out.",
        examples=["../sample_data/calls"],
    )
    language: str | None = Field(
        default=None,
        pattern=r"^[a-z]{2,3}$",
        description="Language of the recordings, ISO 639-1; heard from the recording if left out.",
        examples=["en"],
    )
    prompt: Template | None = Field(
        default=None,
        description="Template of a text in the recording's language that shows the model names and spelling.",
        examples=["A call about {{ product }}."],
    )
    temperature: float | None = Field(
        default=None, ge=0, le=1, description="0 to 1: higher is more random. The service's default is 0.", examples=[0]
    )
    response_format: Literal["verbose_json", "json"] | None = Field(
        default=None,
        description=(
            "What the server is asked for: `verbose_json` has language, segments and words, `json` only the text, "
            "which is all that gpt-4o models and some other servers give. If left out, it goes by the model."
        ),
    )
    timestamps: Literal["segment", "word"] = Field(
        default="segment",
        validate_default=False,
        description="Times of segments only, or of words too, in a further column `words`.",
    )
    subtitles: Subtitles | None = Field(
        default=None,
        description="Subtitle files of each recording.",
        examples=[{"folder": "../out/subtitles", "file_name": "{{ call_id }}", "formats": ["srt"]}],
    )
    max_seconds: Annotated[Duration, Field(ge=10, le=6000)] | None = Field(
        default=None,
        description=(
            "Longer recordings, and those over 25 MB, are cut at silences into parts of at most this length, which "
            "takes the extra `audio`. If left out: 10m, and 5m for gpt-4o models, whose answers end at 2,000 tokens."
        ),
        examples=["10m"],
    )
    concurrency: int | None = Field(
        default=8,
        ge=1,
        description="Requests of this step in flight at most: each holds up to 25 MB of memory.",
    )
    output: str = Field(
        default="",
        description="Beginning of the new columns' names: with `call` they are `call_text`, `call_language`, …",
        examples=["call"],
    )

    @field_validator("response_format")
    @classmethod
    def _known_to_the_model(cls, form: str | None, info: ValidationInfo) -> str | None:
        if form == "verbose_json" and _is_terse(info.data.get("model")):
            raise ValueError(f"{info.data['model']} gives no times; leave it out, or take whisper-1")
        return form

    @field_validator("timestamps", "subtitles")
    @classmethod
    def _with_times(cls, value: Any, info: ValidationInfo) -> Any:
        form, model = info.data.get("response_format"), info.data.get("model")
        if value is not None and value != "segment" and (form == "json" or (form is None and _is_terse(model))):
            reason = "`response_format: json` gives" if form == "json" else f"{model} gives"
            raise ValueError(f"{reason} no times; leave it out, or take whisper-1 with verbose_json")
        return value

    @property
    def timed(self) -> bool:
        """Whether segments, and so language and times, are asked for."""
        return (self.response_format or ("json" if _is_terse(self.model) else "verbose_json")) == "verbose_json"

    @property
    def longest(self) -> float:
        """Seconds that are sent at a time."""
        return self.max_seconds or (_LONGEST_FEW_TOKENS if _is_terse(self.model) else _LONGEST)

    def columns_after(self, given: Mapping[str, str | None]) -> Columns:
        """The columns before, and those of the transcript."""
        time = "Struct({'start': Float64, 'end': Float64, '%s': String})"
        added: Columns = {"text": "String", "language": "String", "seconds": "Float64"}
        added |= {"segments": f"List({time % 'text'})"} if self.timed else {}
        added |= {"words": f"List({time % 'word'})"} if self.timestamps == "word" else {}
        added |= {f"{form}_path": "String" for form in self._formats}
        return with_columns(given, {prefixed(self.output, name): kind for name, kind in added.items()}, "transcript")

    @property
    def packing(self) -> Packing:
        """One recording, or one part of one, per request."""
        return Packing(max_items=1, answer_bytes=_ANSWER_BYTES)

    @property
    def answer_tokens(self) -> int | None:
        """2,000 of the gpt-4o models; the others are paid by the minute."""
        return _MOST_ANSWER_TOKENS if _is_terse(self.model) else 0

    @property
    def content_type(self) -> str:
        """A form with a file."""
        from penstock.steps.multipart import CONTENT_TYPE

        return CONTENT_TYPE

    @property
    def saved(self) -> Sequence[SavedFile]:
        """The subtitle files."""
        wanted = self.subtitles
        if wanted is None:
            return ()
        return tuple(
            SavedFile(
                prefixed(self.output, form), wanted.folder, wanted.file_name, f".{form}",
                prefixed(self.output, f"{form}_path"),
            )
            for form in self._formats
        )  # fmt: skip

    @property
    def _formats(self) -> list[str]:
        return list(dict.fromkeys(self.subtitles.formats)) if self.subtitles else []

    def payloads(self, frame: pl.DataFrame) -> pl.Series:
        """One payload per recording, or per part of one; looks at the files, of long ones at every second."""
        import polars as pl

        return asked_by_row(map(self._asked, frame.iter_rows(named=True)), pl.List(pl.String()))

    def payload_error(self, row: Mapping[str, Any]) -> Fault:
        """The template's error, or why the file cannot be transcribed."""
        asked = self._asked(row)
        if isinstance(asked, Fault):
            return asked
        return Fault(Cause.UNREADABLE_FILE, "the file could not be read, and now it can: it is being written")

    def named_files(self, payload: str) -> Sequence[NamedFile]:
        """The recording."""
        asked = _payload(payload)
        return (NamedFile(asked.path, asked.size, asked.mtime_ns),)

    def identity(self, payload: str) -> str:
        """With the recording's content in the place of its path and time."""
        from penstock.steps.recordings import ending

        asked, (file,) = _payload(payload), self.named_files(payload)
        known = msgspec.structs.replace(asked, path=f"{content_mark(file)}.{ending(asked.path)}", size=0, mtime_ns=0)
        return msgspec.json.encode(known).decode()

    def tokens(self, payloads: Sequence[str], count: Callable[[Sequence[str]], list[int]]) -> list[int]:  # noqa: ARG002
        """Ten for a second of sound, as the gpt-4o models count it, so that costs are shared by length."""
        return [max(1, round(self.expected(payload).seconds * _TOKENS_A_SECOND)) for payload in payloads]

    def expected(self, payload: str) -> Usage:
        """What a request will count, as far as it is known beforehand."""
        asked = _payload(payload)
        return Usage(seconds=asked.part[1] - asked.part[0] if asked.part else asked.seconds or 0.0)

    def answer_schema(self) -> pa.Schema:
        """Text, language, seconds, segments and words."""
        import pyarrow as pa

        def times(name: str) -> pa.DataType:
            return pa.list_(pa.struct({"start": pa.float64(), "end": pa.float64(), name: pa.string()}))

        columns = {"text": pa.string(), "language": pa.string(), "seconds": pa.float64()}
        columns |= {"segments": times("text")} if self.timed else {}
        columns |= {"words": times("word")} if self.timestamps == "word" else {}
        return pa.schema([(prefixed(self.output, name), kind) for name, kind in columns.items()])

    def result_schema(self) -> pa.Schema:
        """The transcript's columns, and the texts of subtitle files."""
        import pyarrow as pa

        subtitles = [pa.field(prefixed(self.output, form), pa.large_string()) for form in self._formats]
        return pa.schema([*self.answer_schema(), *subtitles])

    def finished(self, answers: pa.Table) -> pa.Table:
        """The transcripts with the texts of their subtitle files."""
        import pyarrow as pa

        from penstock.steps.subtitles import WRITERS

        if not self._formats:
            return answers
        heard = answers.column(prefixed(self.output, "segments")).to_pylist()
        for form in self._formats:
            texts = [None if segments is None else WRITERS[form](segments) for segments in heard]
            answers = answers.append_column(prefixed(self.output, form), pa.array(texts, pa.large_string()))
        return answers

    def body(self, payloads: Sequence[Any]) -> bytes:
        """A form with the file, or with the part of it as Ogg Opus. Reads, and for a part decodes: not for a loop.

        Raises:
            FileChanged: the file is not the one that was looked at any more.
        """
        from penstock.steps import audio, recordings
        from penstock.steps.multipart import form

        asked = _payload(payloads[0])
        ending = "ogg" if asked.part else recordings.ending(asked.path)
        try:
            found = os.stat(asked.path)  # noqa: PTH116  # one call tells all
            if (found.st_size, found.st_mtime_ns) != (asked.size, asked.mtime_ns):
                raise FileChanged(f"{asked.path} was changed since it was looked at; a retry looks at it again")
            content = audio.extract(asked.path, *asked.part) if asked.part else Path(asked.path).read_bytes()
        except (OSError, audio.UnreadableSound) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise FileChanged(f"{asked.path} cannot be read any more: {why}; a retry looks at it again") from None
        fields: dict[str, Any] = {
            "model": self.model,
            "response_format": "verbose_json" if self.timed else "json",
            "language": self.language,
            "prompt": asked.prompt or None,
            "temperature": self.temperature,
        }
        if self.timed:
            fields["timestamp_granularities[]"] = ["segment", *(["word"] if self.timestamps == "word" else [])]
        media_type = _MEDIA_TYPES.get(ending, "audio/mpeg")
        return form({**fields, **self.extra_body}, file_name=f"audio.{ending}", media_type=media_type, content=content)

    def read(self, body: bytes | memoryview, payloads: Sequence[Any]) -> Answer:
        """The transcript, its times shifted to where the part begins."""
        from penstock.steps.transcripts import read_transcript

        asked = _payload(payloads[0])
        transcript, usage = read_transcript(
            body, timed=self.timed, words=self.timestamps == "word", part=asked.part, seconds=asked.seconds
        )
        return Answer(self._columns(transcript), usage)

    def combine(self, pieces: pa.RecordBatch, weights: Sequence[int]) -> pa.RecordBatch:  # noqa: ARG002
        """One transcript of those of the parts."""
        from penstock.steps.transcripts import Transcript, joined

        names = ("text", "language", "seconds", "segments", "words")
        rows = pieces.to_pylist()
        parts = [Transcript(*(row.get(prefixed(self.output, name)) for name in names)) for row in rows]
        return self._columns(joined(parts))

    def _columns(self, transcript: Transcript) -> pa.RecordBatch:
        import pyarrow as pa

        made: dict[str, Any] = {
            "text": transcript.text,
            "language": transcript.language or self.language,
            "seconds": transcript.seconds,
            "segments": transcript.segments or [],
            "words": transcript.words or [],
        }
        schema = self.answer_schema()
        own = len(prefixed(self.output, ""))
        return pa.record_batch([pa.array([made[field.name[own:]]], field.type) for field in schema], schema=schema)

    def _asked(self, row: Mapping[str, Any]) -> list[str] | Fault:
        from penstock.steps.recordings import Payload, look

        try:
            path = renderer(self.file)(row)
            prompt = renderer(self.prompt)(row) if self.prompt else ""
        except ExpressionError as error:
            return Fault(Cause.EXPRESSION, error.message)
        if not path.strip():
            return Fault(Cause.EMPTY_INPUT, "there is no path of a recording")
        found = look(Path(self.folder, path), self.longest)
        if isinstance(found, Fault):
            return found
        parts = found.parts or (None,)
        each = (Payload(found.path, found.size, found.mtime_ns, found.seconds, part, prompt) for part in parts)
        return [msgspec.json.encode(payload).decode() for payload in each]


def _payload(text: str) -> Payload:
    from penstock.steps.recordings import Payload

    return msgspec.json.decode(text, type=Payload)


def _is_terse(model: Any) -> bool:
    return isinstance(model, str) and model.startswith("gpt-4o")
