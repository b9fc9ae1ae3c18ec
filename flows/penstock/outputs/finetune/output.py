"""`finetune`: rows as training lines, checked, and if wanted uploaded and trained with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from penstock.errors import InputError
from penstock.expressions import Column, Template
from penstock.outputs.base import Bill, Delivery, Desk, Origin, Output, Prepared, Published, Reaching
from penstock.outputs.finetune.settings import Conversation, ExampleMessage, Job
from penstock.values import FilePath

if TYPE_CHECKING:
    import pyarrow as pa

    from penstock.outputs.finetune.examples import Shape
    from penstock.outputs.finetune.recipe import Recipe

SetName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,30}$")]
DEFAULT_SET_COLUMN = "set"


class FineTune(Output):
    """Each row, or each conversation of several, becomes a line; a row that makes no valid example is an error row.

    The folder holds a file for each set, named by its content, and beside it which row is on which line; a report of
    the check; and a manifest. Files that were uploaded stay when the rows change. What is uploaded and which jobs were
    started stands in a lock file beside the folder, so that nothing is sent or paid twice.
    """

    kind: ClassVar[str] = "finetune"
    summary: ClassVar[str] = (
        "Writes training lines (chat, tools, images, preferences) in sets, checks them, and if wanted uploads them, "
        "starts the fine-tuning job and waits for the new model."
    )
    example: ClassVar[str] = (
        "uses: finetune\npath: ../out/support-model\nmodel: gpt-4o-mini-2024-07-18\nmessages:\n"
        "  - {role: system, content: You answer support tickets.}\n"
        '  - {role: user, content: "{{ question }}"}\n'
        '  - {role: assistant, content: "{{ answer }}"}\n'
        "sets: {train: train, validation: validation}\nupload: ask\n"
        "job: {suffix: support, hyperparameters: {n_epochs: auto}, wait: true}\n"
    )

    uses: Literal["finetune"] = Field(description="The kind of output.")
    path: FilePath = Field(
        min_length=1, description="The folder, relative to the pipeline file.", examples=["../out/support-model"]
    )
    model: str = Field(
        min_length=1,
        description="The model to start from: its limits are checked, its vocabulary counts, its price is told.",
        examples=["gpt-4o-mini-2024-07-18"],
    )
    messages: list[ExampleMessage] | None = Field(
        default=None,
        min_length=1,
        description="What is said in an example. One of `messages` and `messages_column` is needed.",
        examples=[[{"role": "user", "content": "{{ question }}"}, {"role": "assistant", "content": "{{ answer }}"}]],
    )
    messages_column: Column | None = Field(
        default=None,
        description="A column that holds the messages themselves: a list of structs, or a list as JSON text.",
        examples=["messages"],
    )
    conversation: Conversation | None = Field(
        default=None,
        description="How several rows become one example; each row is one if left out.",
        examples=[{"by": "ticket_id", "order_by": "sent_at"}],
    )
    image_folder: FilePath = Field(
        default=".",
        min_length=1,
        description="The folder where relative paths of images start; that of the pipeline file if left out.",
        examples=["../photos"],
    )
    tools: list[dict[str, Any]] = Field(
        default_factory=list,
        description="Functions that every line offers: `name`, `description`, `parameters`, or as the API has them.",
        examples=[[{"name": "find_order", "parameters": {"type": "object", "properties": {"id": {"type": "string"}}}}]],
    )
    tools_column: Column | None = Field(
        default=None,
        description="A column with functions that the row's line offers, too: a list of structs, or JSON as text.",
        examples=["tools"],
    )
    parallel_tool_calls: bool | None = Field(
        default=None, description="Whether several tools may be called at once; written where a line offers tools."
    )
    preferred_output: Template | None = Field(
        default=None,
        description="For preferences (DPO): template of the better answer to `messages`, which end before it.",
        examples=["{{ chosen }}"],
    )
    non_preferred_output: Template | None = Field(
        default=None, description="Template of the answer that is not as good.", examples=["{{ rejected }}"]
    )
    sets: dict[SetName, str | list[str]] | None = Field(
        default=None,
        min_length=1,
        description=(
            "The sets, each with the values of `set_column` that belong to it. `train` is trained on, `validation` "
            "measures, others are written and not uploaded. All rows are `train` if left out."
        ),
        examples=[{"train": "train", "validation": "validation"}],
    )
    set_column: Column | None = Field(
        default=None, description="The column of a `split` step; `set` if left out.", examples=["subset"]
    )
    group: Column | list[Column] | None = Field(
        default=None,
        description=(
            "The column, or columns, that name a group, such as the customer: the check warns where one group is in "
            "`train` and in `validation`. A `split` step with `by` keeps them apart."
        ),
        examples=["customer"],
    )
    flagged: Column | None = Field(
        default=None,
        description="A column with the categories a row was flagged for, as `moderate` gives it; the check warns.",
        examples=["flagged_categories"],
    )
    context: int | None = Field(
        default=None, ge=1, description="Tokens of an example that the model trains on, where Penstock is behind."
    )
    price: float | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        description="US dollars for a million tokens trained on, where Penstock does not know or is behind.",
        examples=[3.0],
    )
    provider: str | None = Field(
        default=None, description="The server by its name under `providers`; the pipeline's own if left out."
    )
    upload: Literal["never", "ask", "always"] = Field(
        default="never",
        description=(
            "`ask`: after the run, at a terminal; without one the run ends and names the command that goes on. Nothing "
            "is uploaded while the check finds an error."
        ),
    )
    job: Job | None = Field(
        default=None,
        description="What is trained with the uploaded files; they are only uploaded if left out.",
        examples=[{"suffix": "support", "wait": True}],
    )

    @field_validator("tools")
    @classmethod
    def _are_tools(cls, tools: list[dict[str, Any]]) -> list[dict[str, Any]]:
        from penstock.outputs.finetune.examples import tool_as_sent
        from penstock.outputs.finetune.tools import check_tools

        sent = [tool_as_sent(one) for one in tools]
        if sent and (faults := list(check_tools({"tools": sent}))):
            raise ValueError(faults[0][1])
        return sent

    @field_validator("sets", mode="before")
    @classmethod
    def _by_their_names(cls, sets: Any) -> Any:
        return {name: name for name in sets} if isinstance(sets, list) else sets

    @field_validator("sets")
    @classmethod
    def _has_train(cls, sets: dict[str, str | list[str]] | None) -> dict[str, str | list[str]] | None:
        if sets is None:
            return None
        if "train" not in sets:
            raise ValueError("one of the sets must be `train`: it is what the model is trained on")
        values = [value for one in sets.values() for value in ([one] if isinstance(one, str) else one)]
        if twice := [value for value in values if values.count(value) > 1]:
            raise ValueError(f"the value {twice[0]!r} belongs to two sets")
        return sets

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if (self.messages is None) == (self.messages_column is None):
            raise ValueError("an example needs `messages` or `messages_column`, and not both")
        if (self.preferred_output is None) != (self.non_preferred_output is None):
            raise ValueError("`preferred_output` and `non_preferred_output` belong together")
        if self.job is not None and self.upload == "never":
            raise ValueError("a job needs the files at the service: `upload: ask` or `upload: always`")
        if self.job is not None and self.job.method is not None and (self.job.method == "dpo") != self.prefers:
            raise ValueError("`method: dpo` goes with `preferred_output`, and `supervised` without")
        if self.messages is not None:
            self._check_messages(self.messages)
        return self

    def _check_messages(self, messages: Sequence[ExampleMessage]) -> None:
        answers = [place for place, one in enumerate(messages) if one.role == "assistant"]
        if self.conversation is None and (several := [one for one in messages if one.rows is not None]):
            raise ValueError(f"`rows: {several[0].rows}` goes with `conversation`")
        if self.prefers:
            return
        if not answers:
            raise ValueError("no message is from the assistant, so there is nothing to learn")
        if self.conversation is None and answers[-1] < len(messages) - 1:
            raise ValueError("the last message must be from the assistant")

    @property
    def prefers(self) -> bool:
        """Whether lines are preferences."""
        return self.preferred_output is not None

    @property
    def target(self) -> Path:
        """The folder."""
        return Path(self.path)

    @property
    def named_columns(self) -> Sequence[tuple[tuple[str | int, ...], str]]:
        """The column of the sets where it is not named, for all others are marked as columns."""
        return [(("sets",), DEFAULT_SET_COLUMN)] if self.sets is not None and self.set_column is None else []

    @property
    def delivers(self) -> bool:
        """Whether something is to be uploaded."""
        return self.upload != "never"

    @property
    def provider_name(self) -> str | None:
        """The server's name under `providers`."""
        return self.provider

    def check(self, schema: pa.Schema | None = None) -> None:
        """The folder is free or one of ours, conditions are conditions, and the lock file can be read."""
        from penstock.outputs.finetune.dataset import check_place
        from penstock.outputs.finetune.lock import Lock

        check_place(self.target)
        Lock.of(self.target)
        if schema is not None and self.messages is not None:
            for number, message in enumerate(self.messages, 1):
                if message.when is not None:
                    _check_condition(message.when, schema, f"messages: {number}. `when`")

    def prepare(self, parts: Sequence[Path], keys: Sequence[str], scratch: Path) -> Prepared:
        """Write and check the lines in `scratch`, so that the rows that make none get their fate."""
        from penstock.outputs.finetune.dataset import build, put_in_place

        built = build(self.recipe, parts, keys, scratch)
        return Prepared(lambda origin: put_in_place(built, self.target, origin), built.refused)

    def publish(self, parts: Sequence[Path], origin: Origin | None = None) -> Published:
        """As `prepare`, for rows that all make an example."""
        import tempfile

        with tempfile.TemporaryDirectory() as scratch:
            ready = self.prepare(parts, [], Path(scratch))
            if ready.refused is not None:
                raise InputError(f"{len(ready.refused):,} rows make no example: {ready.refused['message'][0]}")
            return ready.publish(origin or Origin())

    def foresee(self, rows: Reaching | None) -> Bill | None:
        """Files, job, tokens and dollars."""
        from penstock.outputs.finetune.foresight import foresee

        return foresee(self.recipe, rows) if self.delivers else None

    def deliver(self, desk: Desk) -> Delivery:
        """Upload, start the job and wait for it, as far as is wanted and has not been done."""
        from penstock.outputs.finetune.delivery import deliver

        return deliver(self.target, desk, upload=self.upload)

    def damage(self, files: Sequence[Mapping[str, Any]]) -> list[str]:
        """Files are missing or changed; those of earlier uploads and answers of a new model may stand beside them."""
        from penstock.outputs.folder import damage

        return damage(self.target, files, alone=False)

    @property
    def recipe(self) -> Recipe:
        """The settings, worked out."""
        from penstock.outputs.finetune.recipe import Recipe, columns_of

        shape, named = self._shape(), [self.messages_column, *self._group_columns, self.flagged]
        return Recipe(
            target=self.target,
            upload=self.upload,
            job=self.job,
            set_names=list(self.sets or ["train"]),
            shape=shape,
            price=self.price,
            columns=frozenset([*columns_of(shape, self.messages or []), *(one for one in named if one is not None)]),
            group=self._group_columns,
            flagged=self.flagged,
        )

    @property
    def _group_columns(self) -> list[str]:
        return [self.group] if isinstance(self.group, str) else list(self.group or ())

    def _shape(self) -> Shape:
        from penstock.outputs.finetune.examples import Shape
        from penstock.outputs.finetune.limits import Rules
        from penstock.outputs.finetune.templates import Speaker

        several = self.conversation is not None
        pairs = [
            (value, name)
            for name, given in (self.sets or {}).items()
            for value in ([given] if isinstance(given, str) else given)
        ]
        better, other = self.preferred_output, self.non_preferred_output
        return Shape(
            speaker=Speaker(self.messages or [], self.messages_column, self.image_folder, conversation=several),
            conditions=[one.when for one in self.messages or []],
            conversation=self.conversation,
            sets=dict(pairs),
            set_column=(self.set_column or DEFAULT_SET_COLUMN) if self.sets is not None else None,
            tools=self.tools,
            tools_column=self.tools_column,
            parallel_tool_calls=self.parallel_tool_calls,
            preference=(better, other) if better is not None and other is not None else None,
            rules=Rules.of(self.model, context=self.context),
        )


def _check_condition(condition: str, schema: pa.Schema, place: str) -> None:
    import polars as pl

    frame = pl.DataFrame(schema.empty_table())
    try:
        kind = frame.select(pl.sql_expr(condition).alias("__condition")).schema["__condition"]
    except pl.exceptions.PolarsError as error:
        raise InputError(f"{place}: {str(error).strip().splitlines()[0][:200]}") from None
    if kind not in {pl.Boolean, pl.Null}:
        raise InputError(f"{place} gives {kind} and not true or false: {condition}")
