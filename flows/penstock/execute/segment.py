"""One partition through one segment: what a Prefect task does. It leaves a whole part, or an answer journal."""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.engine.control import RunControl, control_of
from penstock.errors import InputError, RunStopped, SourceChanged
from penstock.execute import part_writer
from penstock.execute.api_part import ApiPart
from penstock.execute.deciding import decide, decision_on, new_mark
from penstock.execute.disk import storage_errors
from penstock.execute.rows import Rows, part_rows, source_rows
from penstock.execute.setup import keys_of, provider_for
from penstock.execute.table_steps import Tally, run_table_steps
from penstock.execute.working import control_of_worker
from penstock.plan.make import beside
from penstock.plan.model import Partition, Plan, Segment, read_plan
from penstock.runs.account import prove_part
from penstock.sources import open_source
from penstock.spec.model import Spec, restore
from penstock.steps import ApiStep
from penstock.tables.failures import RowError, error_frame
from penstock.tables.journal import Journal
from penstock.tables.parts import read_counts, whole_or_absent, write_part
from penstock.tables.state import State

if TYPE_CHECKING:
    import polars as pl


def run_segment(plan_file: str, segment: str, partition: int) -> dict[str, Any]:
    """Take one partition, or all of them, through one segment of a plan.

    Returns:
        The part's counts: rows ``read``, ``written``, ``filtered`` by step, ``failed``, ``failures`` by cause,
        ``usage``, and ``seconds``.

    Raises:
        RunStopped: the run ended early; what was answered is in the journal.
        InputError: the plan cannot be read, or a step fails on every row.
    """
    with storage_errors():
        plan, spec = _opened(plan_file, Path(plan_file).stat().st_mtime_ns)
    control = control_of(plan.run_id, lambda: control_of_worker(plan, spec, Path(plan_file)))
    control.check()
    try:
        with storage_errors():
            counts = SegmentRun(plan, spec, segment, partition, control).run()
            control.publish()
            return counts
    except RunStopped as stop:
        # What stops one partition stops all of them, and the record says why.
        control.request_stop(stop)
        with suppress(OSError):
            control.publish()
        raise


@functools.lru_cache(maxsize=8)
def _opened(plan_file: str, modified_ns: int) -> tuple[Plan, Spec]:  # noqa: ARG001  # a rewritten plan is read again
    plan = read_plan(Path(plan_file))
    return plan, restore(plan.spec)


@dataclass(slots=True)
class SegmentRun:
    """The work of one task."""

    plan: Plan
    spec: Spec
    segment_id: str
    index: int
    control: RunControl

    def run(self) -> dict[str, Any]:
        """Read, transform, ask, write."""
        began = time.monotonic()
        segment = self.plan.segment(self.segment_id)
        state = State(Path(self.plan.state), self.plan.pipeline)
        if segment.whole:
            counts = decide(self.plan, self.spec, segment, state)
        else:
            counts = self._partition(segment, self.plan.partitions[self.index], state)
        return {**counts, "of": None, "seconds": round(time.monotonic() - began, 3)}

    def _partition(self, segment: Segment, partition: Partition, state: State) -> dict[str, Any]:
        files = state.part_files(segment.id, partition.fingerprints[segment.id])
        if (done := self._done_before(files.part)) is not None:
            return done
        steps = [self.spec.steps[place] for place in segment.steps]
        if not (steps and isinstance(steps[-1], ApiStep)):
            return self._written(segment, partition, state, None)
        # Opened before all else: from here on a worker that had the partition before knows that it has it no more.
        with closing(Journal(files.journal, segment.wire, shared=self.plan.processes > 0)) as journal:
            return self._written(segment, partition, state, journal)

    def _written(self, segment: Segment, partition: Partition, state: State, journal: Journal | None) -> dict[str, Any]:
        files = state.part_files(segment.id, partition.fingerprints[segment.id])
        rows = self._read_source(partition) if segment.reads is None else part_rows(segment, partition, state)
        came_in = rows.read
        named = keys_of(self.spec, self.plan, segment)
        steps = [self.spec.steps[place] for place in segment.steps]
        before = [key for key in named if key in rows.frame.columns]
        tally = run_table_steps(
            rows, steps, before, self.spec.source_keys, lambda: decision_on(segment, partition, state, rows)
        )
        keys = [key for key in named if key in rows.frame.columns]
        key_types = {key: rows.frame.schema[key] for key in keys}
        last = steps[-1] if steps else None
        self.control.note_rows(done=tally.gone, failed=len(rows.errors), causes=[error.cause for error in rows.errors])

        def finish(rows: Rows) -> dict[str, Any]:
            counts = self._counts(rows, came_in, tally)
            self._write_errors(files.errors, rows.errors, key_types)
            return counts

        if isinstance(last, ApiStep) and journal is not None:
            provider = provider_for(self.plan, self.spec, last)
            part = ApiPart(
                last.name,
                last,
                segment.wire,
                files,
                journal,
                provider,
                self.control,
                keys,
                state.folder,
                self._place,
                self.plan.retry_causes,
            )
            return part.write(rows, finish)
        counts = finish(rows)
        schema = part_writer.arrow_schema(rows.frame)
        write_part(files.part, part_writer.plain(rows.frame), schema, lambda: counts)
        self.control.note_rows(done=len(rows.frame), failed=0)
        return counts

    def _done_before(self, part: Path) -> dict[str, Any] | None:
        """The counts of a part that this very run left: a task begins again when its worker or its disk broke down.

        The part's journal is gone by then, so that all of it would be asked and paid for a second time.
        """
        counts = read_counts(part)
        mark = (self.plan.run_id, self.segment_id, self.index)
        if counts is None or (counts["run"], counts["segment"], counts["partition"]) != mark:
            return None
        return counts

    def _place(self, folder: Path) -> Path:
        return beside(folder, self.plan.rehearsal)

    def _read_source(self, partition: Partition) -> Rows:
        try:
            copies = State(Path(self.plan.state), self.plan.pipeline).sources
            source = open_source(self.spec.source, copies=copies, planned=self.plan.files)
            return source_rows(self.plan, partition, source)
        except InputError as error:
            # It could be read when the run was planned.
            raise SourceChanged(f"{error}. What was answered is kept: put the source right, then resume") from error

    def _counts(self, rows: Rows, came_in: int, tally: Tally) -> dict[str, Any]:
        """What a part says of itself in its metadata, proven to add up."""
        causes: dict[str, int] = {}
        for error in rows.errors:
            causes[str(error.cause)] = causes.get(str(error.cause), 0) + 1
        counts: dict[str, Any] = {
            "read": came_in,
            "added": tally.added,
            "written": len(rows.frame),
            "filtered": tally.filtered,
            "merged": tally.merged,
            "failed": len(rows.errors),
            "failures": causes,
            "run": self.plan.run_id,
            "pipeline": self.plan.pipeline,
            "segment": self.segment_id,
            "partition": self.index,
            "made": new_mark(),
            "rehearsal": self.plan.rehearsal,
            "of": rows.of,
        }
        prove_part(counts)
        return counts

    def _write_errors(self, path: Path, errors: Sequence[RowError], key_types: dict[str, pl.DataType]) -> None:
        """Write the errors part, or remove the one of before when no row fails any more."""
        if not errors:
            path.unlink(missing_ok=True)
            return
        with whole_or_absent(path) as temporary:
            error_frame(errors, key_types, self.index).write_parquet(temporary)
