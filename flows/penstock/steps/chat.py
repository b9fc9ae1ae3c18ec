"""`chat`: a model's answer to each row, as text or as typed columns (API reference, "Create chat completion")."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from penstock.expressions import Column, Template
from penstock.items import Answer, Cause, Fault, Packing
from penstock.steps.base import ApiStep, Columns
from penstock.steps.chat_messages import (
    Conversation,
    fixed_tokens,
    given_messages,
    read_payload,
    spoken_text,
    wire_messages,
)
from penstock.steps.chat_request import request_fields
from penstock.steps.chat_results import Results
from penstock.steps.chat_rules import problems_of
from penstock.steps.chat_settings import Message, SchemaFormat, Tool
from penstock.steps.json_schemas import placed
from penstock.values import FilePath

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

_LIKELY_TOKENS = 2_000
_BYTES_PER_TOKEN = 6
_BYTES_PER_EVENT = 350
_NO_RESULT = frozenset({"stream", "repair", "image_folder"})


class Chat(ApiStep):
    """One request per row: its settings, its body, and its answer as columns."""

    kind: ClassVar[str] = "chat"
    summary: ClassVar[str] = "Asks a chat model about each row; the answer is text, or typed columns by a JSON Schema."
    endpoint: ClassVar[str] = "/chat/completions"
    example: ClassVar[str] = (
        "uses: chat\n"
        "model: gpt-4o-mini\n"
        "system: You sort support tickets.\n"
        'prompt: "{{ subject }}\\n\\n{{ body }}"\n'
        "response_format:\n"
        "  json_schema:\n"
        "    type: object\n"
        "    properties:\n"
        "      category: {type: string, enum: [billing, technical, shipping, other]}\n"
        "      urgent: {type: boolean}\n"
        "    required: [category, urgent]\n"
        "    additionalProperties: false\n"
        "unpack: true\n"
    )

    uses: Literal["chat"] = Field(description="The kind of step.")
    prompt: Template | None = Field(
        default=None,
        description=(
            "Template of the user's message. Nulls render as nothing; a message that is empty is an error row. One of "
            "`prompt`, `messages` and `messages_column` is needed."
        ),
        examples=["Summarise in one sentence: {{ body }}"],
    )
    system: Template | None = Field(
        default=None, description="Template of the system message before `prompt`.", examples=["You are terse."]
    )
    messages: list[Message] | None = Field(
        default=None,
        min_length=1,
        description=(
            "The conversation, instead of `prompt`: each message has a `role`, a `content` (a template, or a list of "
            "`{text: template}` and `{image: template, detail: low}`) and perhaps a `name`."
        ),
        examples=[[{"role": "system", "content": "Be terse."}, {"role": "user", "content": "{{ body }}"}]],
    )
    messages_column: Column | None = Field(
        default=None,
        description="A column that holds the messages themselves: a list of structs, or a list as JSON text.",
        examples=["conversation"],
    )
    image_folder: FilePath = Field(
        default=".",
        min_length=1,
        description="The folder where relative paths of images start; that of the pipeline file if left out.",
        examples=["../photos"],
    )
    output: str = Field(
        default="answer",
        min_length=1,
        description=(
            "Name of the answer's column, and what the others begin with: `<output>_finish_reason`, "
            "`<output>_refusal`, with tools `<output>_tool_calls`, with log probabilities `<output>_logprobs`."
        ),
        examples=["summary"],
    )
    response_format: Literal["text", "json_object"] | SchemaFormat = Field(
        default="text",
        description=(
            "The form of the answer: `text`; `json_object`, which is kept as JSON text; or a mapping with "
            "`json_schema` (the schema of an object, or a file that holds it), which makes a struct. The mapping may "
            "have `name`, `description` and `strict` (true by default) too."
        ),
        examples=[{"json_schema": "ticket.schema.json"}],
    )
    unpack: bool = Field(
        default=False,
        description="With a JSON Schema: one column per property of the answer, instead of one column of structs.",
    )
    repair: int = Field(
        default=2,
        ge=0,
        le=5,
        description=(
            "How often a model is asked to mend an answer that is not JSON, does not fit the schema, or was cut. After "
            "that the row is an error row."
        ),
    )
    max_tokens: int | None = Field(
        default=None,
        ge=1,
        description=(
            "Tokens of one answer at most, thinking included; it bounds what a run can cost. Sent as "
            "`max_completion_tokens` to o1, o3, o4 and gpt-5 models and their successors, which want that name."
        ),
        examples=[500],
    )
    temperature: float | None = Field(
        default=None, ge=0, le=2, description="0 for the likeliest words, up to 2 for surprising ones.", examples=[0]
    )
    top_p: float | None = Field(
        default=None, ge=0, le=1, description="Choose among the likeliest words of this share.", examples=[0.9]
    )
    n: int = Field(default=1, ge=1, le=128, description="Answers per row; with more than one every column is a list.")
    stop: Annotated[str, Field(min_length=1)] | Annotated[list[str], Field(min_length=1, max_length=4)] | None = Field(
        default=None, description="Texts, four at most, before which an answer ends.", examples=["\n\n"]
    )
    seed: int | None = Field(
        default=None, description="Asks the service for the same answer each time, as far as it can.", examples=[7]
    )
    presence_penalty: float | None = Field(
        default=None, ge=-2, le=2, description="Above 0: fewer words that were said before.", examples=[0.5]
    )
    frequency_penalty: float | None = Field(
        default=None, ge=-2, le=2, description="Above 0: fewer words that were said often.", examples=[0.5]
    )
    logit_bias: dict[Annotated[int, Field(ge=0)], Annotated[float, Field(ge=-100, le=100)]] | None = Field(
        default=None, description="Token ids that are made likelier (to 100) or less likely (to -100)."
    )
    logprobs: bool = Field(default=False, description="Add a column with the log probability of each token.")
    top_logprobs: int | None = Field(
        default=None, ge=0, le=20, description="Likeliest alternatives of each token that are kept with it."
    )
    tools: list[Tool] | None = Field(
        default=None,
        min_length=1,
        max_length=128,
        description=(
            "Functions that the model may call: `name`, `description`, `parameters` (a JSON Schema or a file), "
            "`strict`. Their calls are a column; nothing is carried out."
        ),
        examples=[[{"name": "find_order", "parameters": {"type": "object", "properties": {"id": {"type": "string"}}}}]],
    )
    tool_choice: str | None = Field(
        default=None,
        description="`auto`, `none`, `required` (some tool), or the name of the tool that must be called.",
        examples=["required"],
    )
    parallel_tool_calls: bool | None = Field(
        default=None, description="Whether several tools may be called in one answer."
    )
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = Field(
        default=None, description="How much models that think first may think.", examples=["low"]
    )
    stream: bool = Field(
        default=False,
        description=(
            "Let the answer come piece by piece, so that a long one is not taken for a server that has died. The "
            "columns are the same."
        ),
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if problems := problems_of(self):
            raise placed(problems)
        return self

    @property
    def format(self) -> SchemaFormat | None:
        """The JSON Schema's settings, where there is one."""
        return self.response_format if isinstance(self.response_format, SchemaFormat) else None

    @property
    def conversation(self) -> Conversation:
        """The messages as templates; none where a column holds them."""
        short = [("system", self.system), ("user", self.prompt)]
        messages = self.messages or [Message(role=role, content=text) for role, text in short if text is not None]
        return Conversation(messages, self.image_folder)

    @property
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
        """How an answer comes, and how often it may be mended, does not change one that is there."""
        return {name: value for name, value in super().content().items() if name not in _NO_RESULT}

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

        ask = self._asker()
        columns = [self.messages_column] if self.messages_column else self.conversation.columns
        rows = frame.select(columns).iter_rows(named=True) if columns else ({} for _ in range(len(frame)))
        asked = [ask(row) for row in rows]
        return pl.Series("payload", [None if isinstance(one, Fault) else one for one in asked], dtype=pl.String)

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
            SourceChanged: an image file is gone, or not the one that it was.
        """
        import msgspec

        messages, _ = read_payload(payloads[0])
        request: dict[str, Any] = {"model": self.model, "messages": wire_messages(messages), **request_fields(self)}
        return msgspec.json.encode({**request, **self.extra_body})

    def read(self, body: bytes | memoryview, payloads: Sequence[Any]) -> Answer:
        """The answer's columns, when it is whole and of the form that was asked for."""
        from penstock.steps.chat_answers import read_completion
        from penstock.steps.chat_stream import read_stream

        reply = (read_stream if self.stream else read_completion)(body, self.n)
        return Answer(self.results.batch(reply.choices, payloads[0]), reply.usage)

    def _asker(self) -> Callable[[Mapping[str, Any]], str | Fault]:
        column = self.messages_column
        if column is not None:
            return lambda row: given_messages(row[column])
        return self.conversation.ask

    def _declarations(self) -> str:
        import msgspec

        request = request_fields(self)
        return msgspec.json.encode([request[name] for name in ("tools", "response_format") if name in request]).decode()
