"""The contract of an output kind: its settings, and how finished parts become what the user asked for.

A run uses an output in this order: `beside` when it is a rehearsal, `check` before anything is paid, `prepare` to tell
which rows it cannot take, `publish` once all rows are accounted for, `deliver` where what was published is to go
somewhere, and later `damage` and `rows` to prove that what was published still stands.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field

from penstock.version import __version__

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

    from penstock.api.provider import Provider
    from penstock.engine.control import RunControl


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
        replaces: of incremental pipelines, the parts that were published here up to and since the last complete run:
            what is updated by key loses the rows that are in these and not in the new ones.
    """

    pipeline: str = ""
    run: str = ""
    batch: str = ""
    models: tuple[str, ...] = ()
    prices: str = ""
    replaces: Sequence[Path] = ()

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


@dataclass(frozen=True, slots=True)
class Prepared:
    """An output that can be published.

    Attributes:
        publish: does it.
        refused: the rows that it cannot take, as a table of `penstock.tables.failures`; None when it takes all.
    """

    publish: Callable[[Origin], Published]
    refused: pl.DataFrame | None = None


@dataclass(frozen=True, slots=True)
class Reaching:
    """The rows that will reach an output, as far as they are known before a run.

    Attributes:
        split: parts them into those that hold in these columns what a run will have, and those that do not yet.
        weight: how many rows each stands for.
        whole: whether they are all, and no sample.
        exact: whether none of them may be dropped before it reaches the output.
        countless: whether there may be more of them, too.
    """

    split: Callable[[Collection[str]], tuple[pl.DataFrame, pl.DataFrame]]
    weight: float = 1.0
    whole: bool = True
    exact: bool = True
    countless: bool = False


@dataclass(frozen=True, slots=True)
class Bill:
    """What bringing an output to a server will send, start and cost. None is unknown, and never nothing.

    Attributes:
        path: of the output.
        uploads: ``never``, ``ask`` or ``always``.
        job: whether a training job is started.
        model: the one that it starts from.
        epochs: as the pipeline says; None where the service chooses.
        expected_epochs: those, or what the service's published rule gives for so many examples.
        examples: that are trained on; at most so many where `exact` is false.
        tokens_least, tokens_most: trained on, of all epochs together.
        usd_least, usd_most: for these tokens.
        usd_per_million: the price of a million of them.
        price_as_of: the date of the price, or who says so.
        exact: whether every example was counted, and none may be dropped before.
        notes: what else is worth knowing.
    """

    path: str
    uploads: str
    job: bool = False
    model: str = ""
    epochs: int | None = None
    expected_epochs: int | None = None
    examples: int | None = None
    tokens_least: int | None = None
    tokens_most: int | None = None
    usd_least: float | None = None
    usd_most: float | None = None
    usd_per_million: float | None = None
    price_as_of: str = ""
    exact: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Desk:
    """What an output needs of a run to bring what it published to a server.

    Attributes:
        provider: the server.
        server: how it is found again later, as plain data: an address or the sandbox's folder, never a key.
        check: raises why the run is to stop, if it is.
        tell: shows in a few words what goes on.
        note: keeps a sentence for the run record, at once, so that it is there however the run ends.
        rehearses: nothing that costs or stays may be sent: only some of the rows are there.
        control: of the run, whose budget and usage count what is paid for here; None where there is no run.
    """

    provider: Provider
    server: Mapping[str, Any]
    check: Callable[[], None] = lambda: None
    tell: Callable[[str], None] = lambda text: None  # noqa: ARG005  # shown nowhere
    note: Callable[[str], None] = lambda text: None  # noqa: ARG005  # kept nowhere
    rehearses: bool = False
    control: RunControl | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of what was brought to a server.

    Attributes:
        failure: why it did not succeed, as a sentence that says what to do; empty when it did, or was not to be.
        facts: ids and the like, for programs.
    """

    failure: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


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

    def prepare(self, parts: Sequence[Path], keys: Sequence[str], scratch: Path) -> Prepared:  # noqa: ARG002  # most take all rows
        """Look at all rows before the account is closed, so that those which cannot be written get their fate.

        Args:
            parts: finished Parquet files.
            keys: the columns that name a row, as far as the parts have them.
            scratch: a folder, which need not be there, for what is not published yet.

        Raises:
            InputError, StorageFailed: see `publish`.
        """
        return Prepared(lambda origin: self.publish(parts, origin))

    @property
    def delivers(self) -> bool:
        """Whether `deliver` talks to a server, so that the pipeline needs one."""
        return False

    @property
    def provider_name(self) -> str | None:
        """The name of the server under `providers`; the pipeline's own if None."""
        return None

    def foresee(self, rows: Reaching | None) -> Bill | None:  # noqa: ARG002  # most outputs stay where they are
        """What `deliver` will send and cost; None where it does nothing.

        Args:
            rows: those that will reach the output; None where nobody wants to wait until they are counted.
        """
        return None

    def deliver(self, desk: Desk) -> Delivery:  # noqa: ARG002  # most outputs stay where they are
        """Bring what was published where it is to go, or go on with it; nothing is sent that was sent before.

        Raises:
            RunStopped: the server fails, or the run is to stop; resuming goes on from there.
        """
        return Delivery()

    @abstractmethod
    def damage(self, files: Sequence[Mapping[str, Any]]) -> list[str]:
        """What is wrong with what was published, as sentences; empty when nothing is.

        Args:
            files: `Published.files`.
        """

    def rows(self, files: Sequence[Mapping[str, Any]]) -> int:
        """Rows of what was published, all of them as the record has it; `damage` proves that it still is so."""
        return sum(int(entry["rows"]) for entry in files)
