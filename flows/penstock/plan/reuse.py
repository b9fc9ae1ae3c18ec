"""Which parts stand already, which are begun, and which rows are to be asked again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from penstock.items import Cause
from penstock.plan.model import Partition, PlannedTask, Reuse, Segment
from penstock.tables.parts import read_counts
from penstock.tables.state import PartFiles, State


def finished_counts(files: PartFiles, retry_causes: Sequence[str] | None = None) -> dict[str, Any] | None:
    """The counts of a part that needs no more work; None when it is missing or has rows to ask again.

    Failures of requests are never taken as final: unless `retry_causes` says which, all are asked again. A part whose
    errors part is gone is made again, which pays for nothing that it holds: else its failed rows would vanish.
    """
    counts = read_counts(files.part)
    if counts is None or (counts["failed"] and not files.errors.exists()):
        return None
    causes = counts["failures"]
    again = [cause for cause in causes if Cause(cause).asked and (retry_causes is None or cause in retry_causes)]
    return None if again else counts


def plan_tasks(
    state: State, segments: Sequence[Segment], partitions: Sequence[Partition], retry_causes: Sequence[str] | None
) -> tuple[tuple[PlannedTask, ...], tuple[Reuse, ...]]:
    """The tasks that are missing, in an order that never waits for a later one, and what is reused per segment."""
    tasks: list[PlannedTask] = []
    finished = dict.fromkeys((segment.id for segment in segments), 0)
    begun = dict(finished)
    answered = dict(finished)
    for partition in partitions:
        before: PlannedTask | None = None
        for segment in segments:
            files = state.part_files(segment.id, partition.fingerprints[segment.id])
            counts = finished_counts(files, retry_causes) if before is None else None
            if counts is not None:
                finished[segment.id] += 1
                answered[segment.id] += counts["rows"]
                continue
            begun[segment.id] += files.journal.exists() or files.part.exists()
            after = ((before.segment, before.partition),) if before else ()
            before = PlannedTask(segment.id, partition.index, after)
            tasks.append(before)
    reuse = tuple(
        Reuse(
            segment=segment.id,
            finished=finished[segment.id],
            begun=begun[segment.id],
            missing=len(partitions) - finished[segment.id] - begun[segment.id],
            answered_rows=answered[segment.id],
            reason=_reason(state, segment, finished[segment.id], len(partitions)),
        )
        for segment in segments
    )
    return tuple(tasks), reuse


def _reason(state: State, segment: Segment, finished: int, total: int) -> str:
    folder = state.part_files(segment.id, "any").part.parent
    others = finished < total and folder.is_dir() and any(folder.glob("*.parquet"))
    if not others or finished:
        return ""
    return "parts of before do not count: the step, the source or the provider changed"
