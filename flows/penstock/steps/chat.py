"""`chat`: a model's answer to each row, as text or as typed columns (API reference, "Create chat completion")."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import model_validator

from penstock.items import Answer, AnswerRows, Cause, Fault, Packing
from penstock.steps.base import Columns
from penstock.steps.chat_fields import ChatFields
from penstock.steps.chat_messages import (
    Conversation,
    fixed_tokens,
    given_messages,
    image_files,
    read_payload,
    spoken_text,
    wire_messages,
    with_contents,
)
from penstock.steps.chat_request import request_fields
from penstock.steps.chat_results import Results
from penstock.steps.chat_rules import problems_of
from penstock.steps.chat_settings import Message
from penstock.steps.json_schemas import placed
from penstock.steps.named_files import NamedFile
from penstock.steps.rendering import asked_by_row

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

    from penstock.steps.chat_answers import Reply

_LIKELY_TOKENS = 2_000
_BYTES_PER_TOKEN = 6
_BYTES_PER_EVENT = 350
_NO_RESULT = frozenset({"stream", "repair"})


class Chat(ChatFields):
    """One request per row: its settings, its body, and its answer as columns."""

    kind: ClassVar[str] = "chat"
    summary: ClassVar[str] = "Asks a chat model about each row; the answer is text, or typed columns by a JSON Schema."
    endpoint: ClassVar[str] = "/chat/completions"
    beside_wire: ClassVar[frozenset[str]] = frozenset(
        {"prompt", "system", "messages", "messages_column", "image_folder", "output"}
    )
    example: ClassVar[str] = (
        "uses: chat\n"
        "model: gpt-4o-mini\n"
        "system: You read customer reviews.\n"
        'prompt: "{{ title }}\\n\\n{{ body }}"\n'
        "response_format:\n"
        "  json_schema:\n"
        "    type: object\n"
        "    properties:\n"
        "      topic: {type: string, enum: [quality, price, delivery, service, other]}\n"
        "      recommends: {type: boolean}\n"
        "    required: [topic, recommends]\n"
        "    additionalProperties: false\n"
        "unpack: true\n"
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if problems := problems_of(self):
            raise placed(problems)
        return self

    @property
    def conversation(self) -> Conversation:
        """The messages as templates; none where a column holds them."""
        short = [("system", self.system), ("user", self.prompt)]
        messages = self.messages or [Message(role=role, content=text) for role, text in short if text is not None]
        return Conversation(messages, self.image_folder)

    @cached_property
    def results(self) -> Results:
        """What an answer becomes."""
        return Results(
            output=self.output,
            schema=self.format.schema_text if self.format else None,
            as_json=self.response_format != "text",
            unpack=self.unpack,
            count=self.n,
            with_calls=bool(self.tools),
            with_logprobs=self.logprobs,
            repair=self.repair,
        )

    def columns_after(self, given: Mapping[str, str | None]) -> Columns:
        """The columns before, and those of the answer."""
        added = self.results.columns()
        if taken := [name for name in added if name in given]:
            other = "`output`" if not self.unpack or taken[0].startswith(self.output) else "the property of the schema"
            raise ValueError(f"the column {taken[0]!r} exists already; give {other} another name")
        return {**given, **added}

    def content(self) -> dict[str, Any]:
        """How an answer comes, and how often it may be mended, does not change one that is there.

        Nor does the folder of images where no image is shown.
        """
        shows = any(part.image is not None for message in self.messages or () for part in message.parts)
        left_out = _NO_RESULT if shows else {*_NO_RESULT, "image_folder"}
        return {name: value for name, value in super().content().items() if name not in left_out}

    @property
    def packing(self) -> Packing:
        """One row per request."""
        tokens = (self.max_tokens or _LIKELY_TOKENS) * self.n
        return Packing(max_items=1, answer_bytes=tokens * (_BYTES_PER_EVENT if self.stream else _BYTES_PER_TOKEN))

    @property
    def streams(self) -> bool:
        """As set."""
        return self.stream

    @property
    def answer_tokens(self) -> int | None:
        """All answers to a row together, where each has a bound."""
        return self.max_tokens * self.n if self.max_tokens else None

    def payloads(self, frame: pl.DataFrame) -> pl.Series:
        """The messages as JSON; null where they cannot be made, empty where there is nothing to ask."""
        import polars as pl

        columns = [self.messages_column] if self.messages_column else self.conversation.columns
        rows = frame.select(columns).iter_rows(named=True) if columns else ({} for _ in range(len(frame)))
        return asked_by_row(map(self._asker(), rows), pl.String())

    def named_files(self, payload: str) -> Sequence[NamedFile]:
        """The images that are files."""
        return image_files(payload)

    def identity(self, payload: str) -> str:
        """With the images' contents in the place of their paths and times."""
        return with_contents(payload)

    def payload_error(self, row: Mapping[str, Any]) -> Fault:
        """What is wrong with the row."""
        asked = self._asker()(row)
        return asked if isinstance(asked, Fault) else Fault(Cause.UNREADABLE_FILE, "an image could not be read")

    def tokens(self, payloads: Sequence[str], count: Callable[[Sequence[str]], list[int]]) -> list[int]:
        """Of the messages, the tools and the schema, and of the longest answer where that has a bound."""
        asked = [read_payload(payload)[0] for payload in payloads]
        declared, *texts = count([self._declarations(), *map(spoken_text, asked)])
        fixed = declared + (self.answer_tokens or 0)
        return [fixed + fixed_tokens(messages) + text for messages, text in zip(asked, texts, strict=True)]

    def result_schema(self) -> pa.Schema:
        """The columns of an answer."""
        return self.results.arrow_schema()

    def body(self, payloads: Sequence[Any]) -> bytes:
        """The conversation of one row, with the images of its files inside.

        Raises:
            FileChanged: an image file is gone, or not the one that it was.
        """
        import msgspec

        messages, _ = read_payload(payloads[0])
        return msgspec.json.encode(
            {"model": self.model, "messages": wire_messages(messages), **self._fields, **self.extra_body}
        )

    def read(self, body: bytes | memoryview, payloads: Sequence[Any]) -> Answer:
        """The answer's columns, when it is whole and of the form that was asked for."""
        reply = self._reader(body, self.n)
        row = self.results.row(reply.choices, payloads[0])
        return Answer(AnswerRows(self._result_schema, [row]), reply.usage)

    @cached_property
    def _reader(self) -> Callable[[bytes | memoryview, int], Reply]:
        from penstock.steps.chat_answers import read_completion
        from penstock.steps.chat_stream import read_stream

        return read_stream if self.stream else read_completion

    @cached_property
    def _result_schema(self) -> pa.Schema:
        return self.results.arrow_schema()

    @cached_property
    def _fields(self) -> dict[str, Any]:
        return request_fields(self)

    def _asker(self) -> Callable[[Mapping[str, Any]], str | Fault]:
        column = self.messages_column
        if column is not None:
            return lambda row: given_messages(row[column])
        return self.conversation.ask

    def _declarations(self) -> str:
        import msgspec

        asked = [self._fields[name] for name in ("tools", "response_format") if name in self._fields]
        return msgspec.json.encode(asked).decode()
