"""The contract of an output kind: its settings, and how finished parts become what the user asked for.

A run uses an output in this order: `beside` when it is a rehearsal, `check` before anything is paid, `publish` once
all rows are accounted for, and later `damage` and `rows` to prove that what was published still stands.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field

from penstock.version import __version__

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Published:
    """What an output wrote: where, how many rows, and each file's name, rows, bytes and SHA-256.

    `notes` are sentences for the run record: what is no failure but worth knowing.
    """

    path: Path
    rows: int
    files: list[dict[str, Any]]
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where published rows come from, as written into footers and commits.

    Attributes:
        pipeline: its name.
        run: the id of the run that publishes.
        batch: what names these rows when they are added to others: the id of the first run of a chain of resumes and
            retries, so that the same rows are never added twice. `run` if left out.
        models: the models that were asked.
        prices: the version of the price table.
    """

    pipeline: str = ""
    run: str = ""
    batch: str = ""
    models: tuple[str, ...] = ()
    prices: str = ""

    @property
    def added_as(self) -> str:
        """What names these rows when they are added to others."""
        return self.batch or self.run

    def facts(self) -> dict[str, Any]:
        """All of it as JSON-able data, with the version of Penstock."""
        return {
            "pipeline": self.pipeline,
            "run": self.run,
            "batch": self.added_as,
            "models": list(self.models),
            "prices": self.prices,
            "penstock": __version__,
        }


NamedColumn = tuple[tuple[str | int, ...], str]
"""The place of a column's name in the settings, and the name."""


def named_in(field: str, columns: str | Sequence[str] | None) -> list[NamedColumn]:
    """The columns that a field names: one, several or none."""
    if isinstance(columns, str):
        return [((field,), columns)]
    return [((field, place), name) for place, name in enumerate(columns or ())]


class Output(BaseModel, ABC):
    """What all outputs have. Class attributes as in `penstock.steps.Step`."""

    model_config = ConfigDict(extra="forbid", frozen=True, serialize_by_alias=True, defer_build=True)

    kind: ClassVar[str]
    summary: ClassVar[str]
    example: ClassVar[str]

    uses: str = Field(description="The kind of output.")
    reads: str | None = Field(
        default=None,
        alias="from",
        description="The id of the step whose rows it takes, or `source`; the last step if left out.",
        examples=["moderate"],
    )

    @property
    @abstractmethod
    def target(self) -> Path:
        """Where the output stands when it is published; no two outputs may stand at, in or around one place."""

    @property
    def named_columns(self) -> Sequence[NamedColumn]:
        """Columns that the settings name, each with its place in the settings: they must be among those of the rows."""
        return ()

    def at(self, target: Path) -> Self:
        """The same output in another place."""
        return self.model_copy(update={"path": str(target)})

    def beside(self, suffix: str) -> Self:
        """The same output in a place beside its own, for a rehearsal; `suffix` is a word, empty for a real run."""
        return self.at(self.target.with_name(f"{self.target.name}.{suffix}")) if suffix else self

    @abstractmethod
    def check(self, schema: pa.Schema | None = None) -> None:
        """Before anything is paid: can this be published?

        Args:
            schema: of the rows that reach the output, as far as it is known; None when it is not.

        Raises:
            InputError: something else stands there, a library is missing, or the rows do not fit what stands there.
            StorageFailed: the place cannot be written.
        """

    @abstractmethod
    def publish(self, parts: Sequence[Path], origin: Origin | None = None) -> Published:
        """Make the output from the parts, whole or not at all, with rows in the order of the parts.

        Args:
            parts: finished Parquet files.
            origin: where the rows come from; what the parts say in their metadata if left out.

        Raises:
            InputError: some row cannot be written in this form; what stood there before still stands.
            StorageFailed: the place cannot be written, or the disk is full. What stood there before still stands.
        """

    @abstractmethod
    def damage(self, files: Sequence[Mapping[str, Any]]) -> list[str]:
        """What is wrong with what was published, as sentences; empty when nothing is.

        Args:
            files: `Published.files`.
        """

    def rows(self, files: Sequence[Mapping[str, Any]]) -> int:
        """Rows of what was published, all of them as the record has it; `damage` proves that it still is so."""
        return sum(int(entry["rows"]) for entry in files)
