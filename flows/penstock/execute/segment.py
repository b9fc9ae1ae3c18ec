"""One partition through one segment: what a Prefect task does. It leaves a whole part, or an answer journal."""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.engine.control import RunControl, control_of
from penstock.errors import InputError, RunStopped, SourceChanged
from penstock.execute import part_writer
from penstock.execute.api_part import ApiPart
from penstock.execute.disk import storage_errors
from penstock.execute.rows import Rows, part_rows, source_rows
from penstock.execute.setup import control_for, keys_of, provider_for
from penstock.execute.table_steps import run_table_steps
from penstock.plan.model import Partition, Plan, read_plan
from penstock.runs.account import prove_part
from penstock.sources import open_source
from penstock.spec.model import Spec, restore
from penstock.steps import ApiStep, TableStep
from penstock.steps.base import ROW
from penstock.tables.failures import RowError, error_frame
from penstock.tables.numbers import to_runs
from penstock.tables.parts import whole_or_absent, write_part
from penstock.tables.state import State

if TYPE_CHECKING:
    import polars as pl


def run_segment(plan_file: str, segment: str, partition: int) -> dict[str, Any]:
    """Take one partition through one segment of a plan.

    Returns:
        The part's counts: rows ``read``, ``written``, ``filtered`` by step, ``failed``, ``failures`` by cause,
        ``usage``, and ``seconds``.

    Raises:
        RunStopped: the run ended early; what was answered is in the journal.
        InputError: the plan cannot be read, or a step fails on every row.
    """
    with storage_errors():
        plan, spec = _opened(plan_file, Path(plan_file).stat().st_mtime_ns)
    control = control_of(plan.run_id, lambda: control_for(spec))
    control.check()
    try:
        with storage_errors():
            return SegmentRun(plan, spec, segment, partition, control).run()
    except RunStopped as stop:
        # What stops one partition stops all of them, and the record says why.
        control.request_stop(stop)
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
        partition = self.plan.partitions[self.index]
        state = State(Path(self.plan.state), self.plan.pipeline)
        files = state.part_files(segment.id, partition.fingerprints[segment.id])
        rows = self._read_source(partition) if segment.reads is None else part_rows(segment, partition, state)
        came_in = rows.read
        keys = [key for key in keys_of(self.spec) if key in rows.frame.columns]
        key_types = {key: rows.frame.schema[key] for key in keys}
        steps = [self.spec.steps[place] for place in segment.steps]
        filtered = run_table_steps(rows, [step for step in steps if isinstance(step, TableStep)], keys)
        self.control.note_rows(done=sum(filtered.values()), failed=len(rows.errors))

        def finish(rows: Rows) -> dict[str, Any]:
            counts = self._counts(rows, came_in, filtered)
            self._write_errors(files.errors, rows.errors, key_types)
            return counts

        last = steps[-1] if steps else None
        if isinstance(last, ApiStep):
            provider = provider_for(self.plan, self.spec)
            part = ApiPart(last.name, last, files, provider, self.control, keys, self.plan.retry_causes)
            counts = part.write(rows, finish)
        else:
            counts = finish(rows)
            schema = part_writer.arrow_schema(rows.frame)
            write_part(files.part, part_writer.plain(rows.frame), schema, lambda: counts)
            self.control.note_rows(done=len(rows.frame), failed=0)
        return {**counts, "numbers": None, "seconds": round(time.monotonic() - began, 3)}

    def _read_source(self, partition: Partition) -> Rows:
        try:
            return source_rows(self.plan, partition, open_source(self.spec.source))
        except InputError as error:
            # It could be read when the run was planned.
            raise SourceChanged(f"{error}. What was answered is kept: put the source right, then resume") from error

    def _counts(self, rows: Rows, came_in: int, filtered: dict[str, int]) -> dict[str, Any]:
        """What a part says of itself in its metadata, proven to add up."""
        causes: dict[str, int] = {}
        for error in rows.errors:
            causes[str(error.cause)] = causes.get(str(error.cause), 0) + 1
        counts: dict[str, Any] = {
            "read": came_in,
            "written": len(rows.frame),
            "filtered": filtered,
            "failed": len(rows.errors),
            "failures": causes,
            "run": self.plan.run_id,
            "pipeline": self.plan.pipeline,
            "segment": self.segment_id,
            "partition": self.index,
            "numbers": to_runs(rows.frame[ROW].to_list()),
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
