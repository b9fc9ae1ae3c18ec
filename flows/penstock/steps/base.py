"""The contract of a step kind: its settings, what it needs of a row, and what columns it adds.

A step kind is a pydantic model whose fields are the settings of the YAML. It describes; it sends nothing, opens
nothing and knows neither HTTP nor Prefect nor files. A new kind is one file and one line in `penstock.steps`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from penstock.expressions import Sql
from penstock.items import Answer, Packing, usage_type

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

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

    model_config = ConfigDict(extra="forbid", frozen=True)

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

    def content(self) -> dict[str, Any]:
        """The settings that decide what the step's results are: the part of the fingerprint that is its own."""
        return {"kind": self.kind, "version": self.version, **self.model_dump(mode="json", exclude={"id"})}


class TableStep(Step):
    """A step on the rows of one partition, run by polars in one lazy query with its neighbours."""

    drops_rows: ClassVar[bool] = False

    @abstractmethod
    def apply(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        """The rows after this step; columns whose names begin with two underscores must pass untouched."""


class ApiStep(Step):
    """A step that asks a model: rows become payloads, payloads requests, answers columns."""

    endpoint: ClassVar[str]
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
    extra_body: dict[str, Any] = Field(
        default_factory=dict,
        description="Further fields of the request's body, passed on as they are.",
        examples=[{"user": "nightly-job"}],
    )

    def content(self) -> dict[str, Any]:
        """Everything but what never changes a result."""
        settings = self.model_dump(mode="json", exclude={"id", "concurrency"})
        return {"kind": self.kind, "version": self.version, **settings}

    @property
    @abstractmethod
    def packing(self) -> Packing:
        """How many payloads fit in one request."""

    @abstractmethod
    def payloads(self, frame: pl.DataFrame) -> pl.Series:
        """One payload per row, by the step's templates; null where the row's templates fail.

        Raises:
            ExpressionError: never for one row's sake; see `payload_error`.
        """

    @abstractmethod
    def payload_error(self, row: Mapping[str, Any]) -> str:
        """Why `payloads` gave null for this row."""

    @abstractmethod
    def result_schema(self) -> pa.Schema:
        """The columns of an answer, in order, without the usage column."""

    def added_schema(self) -> pa.Schema:
        """All columns that the step adds: those of an answer, and the usage column."""
        import pyarrow as pa

        usage = [pa.field(f"{self.name}_usage", usage_type())] if self.usage else []
        return pa.schema([*self.result_schema(), *usage])

    @abstractmethod
    def body(self, payloads: Sequence[Any]) -> bytes:
        """The JSON body of one request."""

    @abstractmethod
    def read(self, body: bytes | memoryview, payloads: Sequence[Any]) -> Answer:
        """The columns of one response.

        Raises:
            UnusableAnswer: the body is not a whole and right answer to these payloads.
        """
