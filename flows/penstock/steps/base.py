"""The contract of a step kind: its settings, what it needs of a row, and what columns it adds.

A step kind is a pydantic model whose fields are the settings of the YAML. It describes; it sends nothing, opens
nothing and knows neither HTTP nor Prefect nor files. A new kind is one file and one line in `penstock.steps`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from penstock.expressions import Sql
from penstock.items import Answer, Fault, Packing, Usage, usage_type
from penstock.steps.named_files import NamedFile

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

ROW = "__row"
"""The hidden column that holds a row's number in its partition; steps pass it on untouched."""
PARTITION = "__partition"
"""The hidden column that holds a row's partition where rows of all partitions are looked at together."""
FATE = "__fate"
"""In a decision: null where the row goes on, else `FILTERED` or `MERGED`."""
INTO = "__into"
"""In a decision on a merged row: the `KEY` of the row that stands for it."""
SIMILARITY = "__similarity"
"""In a decision on a merged row: how alike the two are, 0 to 1."""
KEY = "__key"
"""The hidden column that holds a row's key as one text where rows of all partitions are looked at together."""
SOURCE = "source"
"""What `from:` calls the rows of the source."""
WHY = "__why"
"""In a decision on a row that could not be looked at: the reason."""
FILTERED, MERGED, FAILED = "filtered", "merged", "failed"

Columns = dict[str, str | None]
"""Column names and, where they are known without reading data, polars type names; None is unknown."""


class Step(BaseModel, ABC):
    """What all steps have.

    Class attributes:
        kind: the word after ``uses:``.
        summary: one sentence for the reference page.
        version: of the kind's behaviour; a change of it makes finished parts stale.
        example: a YAML text of the step, shown in the reference page and loaded by its tests.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, serialize_by_alias=True, defer_build=True)

    kind: ClassVar[str]
    summary: ClassVar[str]
    version: ClassVar[int] = 1
    example: ClassVar[str]

    uses: str = Field(description="The kind of step.")
    id: str | None = Field(
        default=None,
        pattern=r"^[a-z][a-z0-9_]*$",
        description="A name for this step in Prefect, reports and `from:`; its kind if left out.",
        examples=["embed_body"],
    )
    reads: str | None = Field(
        default=None,
        alias="from",
        description="The id of the step whose rows it takes, or `source`; the step before it if left out.",
        examples=["moderate"],
    )

    @property
    def name(self) -> str:
        """Its id; the loader gives one to every step."""
        return self.id or self.kind

    @abstractmethod
    def columns_after(self, given: Mapping[str, str | None]) -> Columns:
        """The columns of a row after this step.

        Raises:
            ValueError: the step cannot stand here, for example because its output column exists already.
        """

    @property
    def files(self) -> Sequence[Path]:
        """Files besides the source whose content decides what the step's results are."""
        return ()

    def content(self) -> dict[str, Any]:
        """The settings that decide what the step's results are: the part of the fingerprint that is its own."""
        return {"kind": self.kind, "version": self.version, **self.model_dump(mode="json", exclude={"id", "reads"})}


def parents(steps: Sequence[Step]) -> list[int]:
    """For each step the place of the one whose rows it takes; -1 is the source.

    Args:
        steps: in the order of the file, each with its id, and each `reads` the id of an earlier one.
    """
    places = {SOURCE: -1}
    found: list[int] = []
    for place, step in enumerate(steps):
        found.append(place - 1 if step.reads is None else places[step.reads])
        places[step.name] = place
    return found


class TableStep(Step):
    """A step on the rows of one partition, run by polars in one lazy query with its neighbours.

    Class attributes:
        drops_rows: whether it may take rows away; they are counted as filtered.
        adds_rows: whether it may make several rows, or none, of one.
        alone: whether it must be run by itself and once, not in one query with its neighbours.
    """

    drops_rows: ClassVar[bool] = False
    adds_rows: ClassVar[bool] = False
    alone: ClassVar[bool] = False

    @property
    def needs_key(self) -> bool:
        """Whether the rows must come with their key as text in `KEY`."""
        return False

    @property
    def adds_keys(self) -> Sequence[str]:
        """Columns that name a row after this step, together with those that named it before."""
        return ()

    @abstractmethod
    def apply(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        """The rows after this step; columns whose names begin with two underscores must pass untouched.

        Of a step that adds rows, those made of one row carry its `ROW`; the order of rows is kept.

        Raises:
            polars.exceptions.PolarsError: it cannot be done on some row, at the latest when collected: rows are then
                tried alone, and the one at fault becomes an error row.
        """


class BarrierStep(Step):
    """A step that decides on each row by looking at all of them, of which it needs a few narrow columns only.

    A run takes `look` of every partition, then `decide` once over all, then carries out the decisions partition by
    partition: a row goes on with the decision's further columns, or is filtered, or is merged into another.
    """

    @abstractmethod
    def look(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        """Of each row of a partition `ROW`, and what `decide` needs. All that must fit in memory for all rows."""

    @abstractmethod
    def decide(self, looked: pl.DataFrame) -> pl.DataFrame:
        """One row per row, in any order: `PARTITION`, `ROW`, `FATE`, and the columns that the step adds.

        Where rows are merged also `INTO` and, where it was measured, `SIMILARITY`.

        Args:
            looked: what `look` gave, of all partitions in their order, with `PARTITION` and `KEY` added.
        """


@dataclass(frozen=True, slots=True)
class SavedFile:
    """A column of an answer that a run writes to a file per row, so that the table holds the file's path instead.

    Attributes:
        column: of the answer: bytes or text; null where there is no file.
        folder: where the files go.
        name: template of the file's name over the row's columns, without ending; what is no letter, digit, dot, dash
            or underscore is replaced, so that no name leaves the folder.
        ending: with its dot.
        path_column: the column that holds the path in the table.
        bytes_column: the column that holds the file's size in the table; none if left out.
    """

    column: str
    folder: str
    name: str
    ending: str
    path_column: str
    bytes_column: str | None = None


class ApiStep(Step):
    """A step that asks a model: rows become payloads, payloads requests, answers columns."""

    endpoint: ClassVar[str]
    beside_wire: ClassVar[frozenset[str]] = frozenset()
    """Settings that reach no request but as part of a payload, and do not decide how an answer is read either."""
    costs_alike: ClassVar[bool] = False
    """Whether every request costs the same, whatever is asked."""
    prompt_only: ClassVar[bool] = False
    """Whether the model writes no tokens of its own, so that the cost is known beforehand."""

    model: str = Field(description="The model that is asked, by its id.", examples=["text-embedding-3-small"])
    when: Sql | None = Field(
        default=None,
        description="SQL condition; rows for which it does not hold pass by untouched, with nulls in the new columns.",
        examples=["language = 'en'"],
    )
    usage: bool = Field(
        default=True,
        description="Add a struct column `<id>_usage`: model, tokens, dollars, attempts and request id of each row.",
    )
    concurrency: int | None = Field(
        default=None, ge=1, description="Requests of this step in flight at most, below the provider's limit."
    )
    provider: str | None = Field(
        default=None,
        description="Which of `providers:` is asked; the pipeline's `provider:` if left out.",
        examples=["local"],
    )
    on_error: Literal["collect", "stop"] = Field(
        default="collect",
        description="What a failed row does: `collect` keeps it in the errors table, `stop` ends the run there.",
    )
    extra_body: dict[str, Any] = Field(
        default_factory=dict,
        description="Further fields of the request's body, passed on as they are.",
        examples=[{"user": "nightly-job"}],
    )

    def content(self) -> dict[str, Any]:
        """Everything but what never changes a result."""
        settings = self.model_dump(mode="json", exclude={"id", "reads", "concurrency", "provider", "on_error"})
        return {"kind": self.kind, "version": self.version, **settings}

    def wire(self) -> dict[str, Any]:
        """The settings that, with a payload, decide a request and how its answer is read.

        Not among them: what chooses rows or makes payloads of them, what the columns are called, where files go, what
        `finished` does, and settings that are left out, so that one more optional setting of a kind asks nothing again.
        """
        beside = {"when", "usage", *self.beside_wire}
        return {name: value for name, value in self.content().items() if name not in beside and value is not None}

    @property
    @abstractmethod
    def packing(self) -> Packing:
        """How many payloads fit in one request."""

    @property
    def content_type(self) -> str:
        """Of a request's body."""
        return "application/json"

    @property
    def streams(self) -> bool:
        """Whether the answer comes as server-sent events."""
        return False

    @property
    def at_once(self) -> bool:
        """Whether the server has nothing to think about, so that its silence is a fault before the time is up."""
        return False

    @property
    def saved(self) -> Sequence[SavedFile]:
        """Columns of an answer that become files."""
        return ()

    @property
    def in_table(self) -> bool:
        """Whether the table holds answers as they came, so that they can be taken from it again."""
        return not self.saved

    @property
    def answer_tokens(self) -> int | None:
        """Tokens of one answer at most, for the estimate of what a run costs; None when there is no bound."""
        return 0 if self.prompt_only else None

    @abstractmethod
    def payloads(self, frame: pl.DataFrame) -> pl.Series:
        """What to ask for each row, as text: equal texts are asked once, and answers are kept by them.

        Null where it cannot be made, for example because a template fails on the row. Of a step that asks several
        things of one row, a list of texts: see `combine`.
        """

    @abstractmethod
    def payload_error(self, row: Mapping[str, Any]) -> Fault:
        """Why `payloads` gave null for this row."""

    def named_files(self, payload: str) -> Sequence[NamedFile]:  # noqa: ARG002  # most name none
        """The files whose content is sent with this payload: when one of them changes, the row is asked again."""
        return ()

    def identity(self, payload: str) -> str:
        """What an answer to this payload is known by: with contents in the place of files' names."""
        return payload

    def is_empty(self, payload: str) -> bool:
        """Whether there is nothing to ask, which makes the row an error row without a request."""
        return not payload.strip()

    def tokens(self, payloads: Sequence[str], count: Callable[[Sequence[str]], list[int]]) -> list[int]:
        """What each payload counts against the limits, its answer included; `count` counts texts by the model."""
        return count(payloads)

    def expected(self, payload: Any) -> Usage | None:  # noqa: ARG002  # of those that are paid by other things
        """What a request for this will count, where it is paid by something else than tokens."""
        return None

    def combine(self, pieces: pa.RecordBatch, weights: Sequence[int]) -> pa.RecordBatch:
        """One answer of the answers to the pieces of one row, whose tokens are `weights`."""
        raise TypeError(f"{self.kind} asks one thing of a row; {pieces.num_rows} came, {len(weights)} weights")

    @abstractmethod
    def result_schema(self) -> pa.Schema:
        """The columns of an answer, in order, without the usage column."""

    def answer_schema(self) -> pa.Schema:
        """The columns that `read` and `combine` give, and that answers are kept in; see `finished`."""
        return self.result_schema()

    def finished(self, answers: pa.Table) -> pa.Table:
        """The columns of `result_schema`, made of those of `answer_schema` when the table is written.

        So that a setting which only says what becomes of an answer can be changed without asking again.
        """
        return answers

    def added_schema(self) -> pa.Schema:
        """All columns that the step adds to the table: those of an answer, paths for files, and the usage column."""
        import pyarrow as pa

        fields = list(self.result_schema())
        for file in self.saved:
            place = next(place for place, field in enumerate(fields) if field.name == file.column)
            size = [pa.field(file.bytes_column, pa.int64())] if file.bytes_column else []
            fields[place : place + 1] = [pa.field(file.path_column, pa.string()), *size]
        usage = [pa.field(f"{self.name}_usage", usage_type())] if self.usage else []
        return pa.schema([*fields, *usage])

    @abstractmethod
    def body(self, payloads: Sequence[Any]) -> bytes:
        """The body of one request.

        Raises:
            FileChanged: a file that it is to hold is not the one that was looked at.
        """

    @abstractmethod
    def read(self, body: bytes | memoryview, payloads: Sequence[Any]) -> Answer:
        """The columns of one response.

        Raises:
            UnusableAnswer: the body is not a whole and right answer to these payloads; it is asked for again.
            AskAgain: the answer is whole and not as it should be; the item is asked once more, with another payload.
            InvalidAnswer: the answer is whole and not as it should be, and asking again is of no use.
        """
