"""What a pipeline file says of training lines: messages, conversations, sets, and the job."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from penstock.expressions import Column, Sql, Template
from penstock.outputs.finetune.limits import SUFFIX_TODAY
from penstock.values import Duration

_NAME = r"^[a-zA-Z0-9_-]{1,64}$"
Epochs = Annotated[int, Field(ge=1, le=50)]
BatchSize = Annotated[int, Field(ge=1, le=256)]
Positive = Annotated[float, Field(gt=0, le=10, allow_inf_nan=False)]


class Settings(BaseModel):
    """What they all have: unknown keys are mistakes, and nothing changes them."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class ExamplePart(Settings):
    """A piece of a message: a text or an image."""

    text: Template | None = Field(
        default=None, description="Template of a text; left out where it is blank.", examples=["What is on {{ name }}?"]
    )
    image: Template | None = Field(
        default=None,
        description=(
            "Template of an image: an http address, a data URL, or the path of a PNG, JPEG or WebP file, whose content "
            "is written into the line. Left out where it is blank."
        ),
        examples=["{{ photo }}"],
    )
    detail: Literal["auto", "low", "high"] | None = Field(
        default=None, description="How closely the model looks at the image."
    )

    @model_validator(mode="after")
    def _is_one_thing(self) -> Self:
        if (self.text is None) == (self.image is None):
            raise ValueError("a part of a message has either `text` or `image`")
        if self.text is not None and self.detail is not None:
            raise ValueError("only an image has `detail`")
        return self


class ExampleMessage(Settings):
    """One message of an example."""

    role: Literal["system", "developer", "user", "assistant", "tool"] = Field(description="Who says it.")
    content: Template | list[ExamplePart] | None = Field(
        default=None,
        description=(
            "Template of what is said, or a list of texts and images. A row in which it is blank is an error row; "
            "`when` leaves the message out instead."
        ),
        examples=["{{ question }}", [{"text": "What is this?"}, {"image": "{{ photo }}", "detail": "low"}]],
    )
    when: Sql | None = Field(
        default=None,
        description="SQL condition: rows that it does not hold for have no such message.",
        examples=["speaker = 'agent'", "context IS NOT NULL"],
    )
    rows: Literal["all", "first", "last"] | None = Field(
        default=None,
        description=(
            "With `conversation`: which of its rows have the message. If left out, the first one for what system and "
            "developer say, and all for the rest."
        ),
    )
    name: str | None = Field(
        default=None, pattern=_NAME, description="Tells speakers of one role apart.", examples=["agent"]
    )
    weight: Literal[0, 1] | Column | None = Field(
        default=None,
        description="0: the model is not trained on this answer of the assistant, or a column that says 0 or 1.",
        examples=[0, "weight"],
    )
    tool_calls: Column | None = Field(
        default=None,
        description=(
            "A column with calls of tools that the assistant makes: as the API has them, or as the step `chat` gives "
            "them; lists of structs, or JSON as text. Null and empty: no call."
        ),
        examples=["answer_tool_calls"],
    )
    tool_call_id: Template | None = Field(
        default=None,
        description="With `role: tool`: the id of the call that the message answers.",
        examples=["{{ call_id }}"],
    )

    @model_validator(mode="after")
    def _fits_its_role(self) -> Self:
        if self.content is None and self.tool_calls is None:
            raise ValueError("a message needs `content`")
        if self.role != "assistant" and (self.weight is not None or self.tool_calls is not None):
            word = "weight" if self.weight is not None else "tool_calls"
            raise ValueError(f"only messages of the assistant have `{word}`")
        if (self.role == "tool") != (self.tool_call_id is not None):
            raise ValueError("`role: tool` and `tool_call_id` belong together")
        if self.role != "user" and isinstance(self.content, list) and any(part.image for part in self.content):
            raise ValueError("images stand in messages of the user")
        return self

    @property
    def parts(self) -> list[ExamplePart]:
        """Its content as a list."""
        if isinstance(self.content, str):
            return [ExamplePart(text=self.content)]
        return self.content or []


class Conversation(Settings):
    """How several rows become one example."""

    by: Column | list[Column] = Field(
        description="The column, or columns, that name a conversation: all rows of it make one example.",
        examples=["ticket_id"],
    )
    order_by: Column | None = Field(
        default=None,
        description="The column that orders the rows of a conversation; the order in which they come if left out.",
        examples=["sent_at"],
    )
    trim: bool = Field(
        default=False,
        description=(
            "Leave out what is said after the assistant's last message; otherwise such a conversation is no example, "
            "and its rows are error rows."
        ),
    )

    @property
    def columns(self) -> list[str]:
        """Those of `by`."""
        return [self.by] if isinstance(self.by, str) else self.by


class Hyperparameters(Settings):
    """How the service trains; what is left out, or `auto`, it chooses."""

    n_epochs: Literal["auto"] | Epochs = Field(
        default="auto", description="How often training goes through the file.", examples=[3]
    )
    batch_size: Literal["auto"] | BatchSize = Field(
        default="auto", description="Examples after which the model is changed.", examples=[8]
    )
    learning_rate_multiplier: Literal["auto"] | Positive = Field(
        default="auto", description="How much it is changed.", examples=[0.5]
    )
    beta: Literal["auto"] | Annotated[float, Field(ge=0, le=2)] | None = Field(
        default=None,
        description="With `method: dpo`: how close the model stays to the one before.",
        examples=[0.1],
    )

    def given(self) -> dict[str, Any]:
        """Those that are no choice of the service's."""
        return {name: value for name, value in self.model_dump(exclude_none=True).items() if value != "auto"}


class Job(Settings):
    """What is trained with the uploaded files."""

    suffix: str | None = Field(
        default=None,
        min_length=1,
        max_length=SUFFIX_TODAY,
        description="A part of the new model's name: up to 64 characters, 18 in the 2024 API.",
        examples=["support"],
    )
    method: Literal["supervised", "dpo"] | None = Field(
        default=None,
        description="How it learns: `dpo` from preferences. By the lines if left out.",
    )
    hyperparameters: Hyperparameters = Field(
        default_factory=Hyperparameters,
        description="How the service trains; it chooses what is left out.",
        examples=[{"n_epochs": 3}],
    )
    seed: int | None = Field(
        default=None, ge=0, le=2**31 - 1, description="Makes jobs repeatable, as far as the service can.", examples=[7]
    )
    metadata: dict[str, str] = Field(
        default_factory=dict,
        max_length=15,
        description="Up to 15 words of your own that the service keeps with the job; Penstock adds one, `penstock`.",
        examples=[{"team": "support"}],
    )
    extra_body: dict[str, Any] = Field(
        default_factory=dict, description="Any field the API has and Penstock does not know yet.", examples=[{}]
    )
    wait: bool = Field(
        default=False,
        description="Stay until the job has ended. Ctrl-C leaves the job running; resuming the run waits again.",
    )
    every: Duration = Field(default=5.0, gt=0, description="While it waits: the time between two looks at the job.")
    try_out: int = Field(
        default=0,
        ge=0,
        le=100,
        description=(
            "With `wait`: ask the new model the prompts of so many examples, of the validation set where there is one, "
            "and write its answers beside the expected ones. They cost what any answer costs, and count in the budget "
            "and the usage of the run."
        ),
        examples=[3],
    )

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if self.try_out and not self.wait:
            raise ValueError("`try_out` asks the new model, so it needs `wait: true`")
        if self.hyperparameters.beta is not None and self.method == "supervised":
            raise ValueError("`beta` goes with `method: dpo`")
        return self
