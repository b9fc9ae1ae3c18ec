"""The settings of a `chat` step, as a pipeline file has them (API reference, "Create chat completion")."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from penstock.expressions import Column, Template
from penstock.steps.base import ApiStep
from penstock.steps.chat_settings import Message, SchemaFormat, Tool
from penstock.values import FilePath


class ChatFields(ApiStep):
    """What is asked, in which form the answer shall be, and how the model writes it."""

    # Built when the first chat step is read: a pipeline without one does not pay for it.
    model_config = ConfigDict(defer_build=True)

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
        examples=["json_object"],
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

    @property
    def format(self) -> SchemaFormat | None:
        """The JSON Schema's settings, where there is one."""
        form: Any = self.response_format
        if isinstance(form, dict):
            # Of a step with mistakes elsewhere the settings are as written, and its columns are wanted nevertheless.
            return SchemaFormat.model_construct(**form)
        return form if isinstance(form, SchemaFormat) else None
