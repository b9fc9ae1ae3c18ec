"""The plan: frozen, complete, JSON. A run walks it; a worker anywhere needs nothing but its file."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from penstock.errors import InputError
from penstock.outputs import Bill
from penstock.sources import FileState, Slice

if TYPE_CHECKING:
    import polars as pl

FORMAT = 2
WHOLE = -1
"""In the place of a partition's number: all of them."""


class Segment(msgspec.Struct, frozen=True):
    """A chain of steps that one partition goes through without looking at other rows.

    Attributes:
        id: of its last step, or ``source`` without steps; of one that decides the step's with ``.decide`` at its end.
        steps: places of its steps in the pipeline.
        api: whether its last step asks a model.
        whole: whether it takes all partitions at once, and leaves a decision in the place of rows.
        reads: the segment whose parts it reads; None reads the source.
        decided_by: the segment whose decision its first step carries out.
        wire: of one that asks a model, what names its answers, see `penstock.plan.fingerprints.wire_fingerprint`.
    """

    id: str
    steps: tuple[int, ...]
    api: bool = False
    whole: bool = False
    reads: str | None = None
    decided_by: str | None = None
    wire: str = ""


class Partition(msgspec.Struct, frozen=True):
    """Rows that go through all segments together.

    Attributes:
        index: its number, from 0.
        slices: where its rows stand in the source.
        rows: how many at most (blank lines of text formats are counted until they are read).
        fingerprints: by segment, the name of its part; of segments that decide the name of the decision.
    """

    index: int
    slices: tuple[Slice, ...]
    rows: int
    fingerprints: dict[str, str]


class PlannedTask(msgspec.Struct, frozen=True):
    """One partition, or `WHOLE`, to take through one segment, after the tasks named."""

    segment: str
    partition: int
    after: tuple[tuple[str, int], ...] = ()


class StepEstimate(msgspec.Struct, frozen=True):
    """What one API step will send. None is unknown; dollars are those of the list price.

    Attributes:
        tokens: None where some rows ask what only other steps' answers will tell; so are requests and rows.
        priced: whether the model's price is known; dollars may be unknown all the same, since nobody knows how long the
            answers will be.
        answered: rows that would be asked and whose answers were paid for before; the other numbers are without them.
    """

    step: str
    model: str
    rows: int | None
    requests: int | None
    tokens: int | None
    exact: bool
    usd: float | None
    usd_batch: float | None
    minutes: float | None
    note: str = ""
    priced: bool = True
    answered: int = 0


class Reuse(msgspec.Struct, frozen=True):
    """How many partitions of a segment are finished, begun, and to do, and why finished ones of before do not count."""

    segment: str
    finished: int
    begun: int
    missing: int
    answered_rows: int = 0
    reason: str = ""


class Changes(msgspec.Struct, frozen=True):
    """What became of the source's rows since a complete run.

    Attributes:
        since: that run; empty where there is none, so that all rows are new.
    """

    new: int
    changed: int
    unchanged: int
    deleted: int
    since: str = ""


class Plan(msgspec.Struct, frozen=True):
    """What a run does, in which parts, at what price.

    Attributes:
        spec: the pipeline as `penstock.spec.dump` gives it, without any secret's value.
        schema: the source's columns as a serialised Arrow schema.
        base_urls: where each provider's server is, filled in when a run starts an embedded one.
        retry_causes: which failures of before are asked again; None for all that were asked.
        targets: where each output is published: the pipeline's own paths, or beside them for rehearsals.
        ends: the segment whose parts each output publishes.
        bills: what outputs will upload, start and cost, in their order.
        processes: worker processes that share the provider's limits; 0 where the run's own process does the work.
        changes: of incremental pipelines, how the source's rows differ from those of the last complete run.
    """

    pipeline: str
    file: str
    sha256: str
    state: str
    spec: dict[str, Any]
    files: tuple[FileState, ...]
    schema: str
    segments: tuple[Segment, ...]
    partitions: tuple[Partition, ...]
    tasks: tuple[PlannedTask, ...]
    estimates: tuple[StepEstimate, ...]
    reuse: tuple[Reuse, ...]
    targets: tuple[str, ...]
    ends: tuple[str, ...]
    rows: int
    limit: int | None = None
    rehearsal: str = ""
    run_id: str = ""
    base_urls: dict[str, str] = {}
    notes: tuple[str, ...] = ()
    retry_causes: tuple[str, ...] | None = None
    changes: Changes | None = None
    processes: int = 0
    bills: tuple[Bill, ...] = ()
    format: int = FORMAT

    @property
    def source_schema(self) -> dict[str, pl.DataType]:
        """The source's columns and types."""
        import polars as pl
        import pyarrow as pa

        stored = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(self.schema)))
        return dict(pl.DataFrame(stored.empty_table()).schema)

    def segment(self, name: str) -> Segment:
        """The segment of that id."""
        return next(segment for segment in self.segments if segment.id == name)

    def write(self, path: Path) -> None:
        """Write the plan as JSON."""
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self)))


def read_plan(path: Path) -> Plan:
    """A plan from its file.

    Raises:
        InputError: the file is missing, or written by another version of Penstock.
    """
    try:
        plan = msgspec.json.decode(path.read_bytes(), type=Plan)
    except (OSError, msgspec.MsgspecError) as error:
        raise InputError(f"the plan {path} cannot be read: {error}") from None
    if plan.format != FORMAT:
        raise InputError(f"the plan {path} has format {plan.format}; this version of Penstock reads {FORMAT}")
    return plan


def encode_schema(schema: dict[str, pl.DataType]) -> str:
    """Columns and types as text."""
    import polars as pl

    return base64.b64encode(pl.DataFrame(schema=schema).to_arrow().schema.serialize()).decode("ascii")
