"""From a loaded pipeline to its plan. No network, no Prefect; reads the source once, to cut it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from penstock.errors import InputError
from penstock.plan.answered import Paid
from penstock.plan.bills import bills
from penstock.plan.changes import Now, with_reasons
from penstock.plan.estimate import Followed, estimate
from penstock.plan.fingerprints import fingerprint, part_name, segment_content, slices_content, wire_fingerprint
from penstock.plan.model import Partition, Plan, PlannedTask, Segment, StepEstimate, encode_schema
from penstock.plan.partitions import group_slices, limit_slices, partition_rows
from penstock.plan.reuse import plan_tasks
from penstock.plan.segments import cut_segments, segment_of
from penstock.plan.types import check_types, output_schema
from penstock.sources import Slice, Source, open_source
from penstock.spec import Loaded, Spec, dump
from penstock.steps import ApiStep, Step
from penstock.steps.base import PARTITION
from penstock.tables.answers import AnswerStore
from penstock.tables.state import State

if TYPE_CHECKING:
    import polars as pl

HIDDEN = frozenset({"__row", "__holds", PARTITION})
"""Columns that rows have while a plan is made or walked, and that no part has."""
_ESTIMATED = (
    "the source is large, so its rows are estimated from samples, and if its file changes all of it counts as new; "
    "`cut: counted` in `source` reads it once while planning instead"
)


def make_plan(
    loaded: Loaded,
    *,
    state: State,
    limit: int | None = None,
    every_row: bool = False,
    retry_causes: Sequence[str] | None = None,
    rehearsal: bool = False,
    generation: str = "",
    counted: bool = False,
) -> Plan:
    """What a run would do now.

    Args:
        limit: only the first rows; the result is published beside the pipeline's own output.
        every_row: count the tokens of every row, however many there are.
        rehearsal: the sandbox stands in for another provider; the result is published beside the own output.
        generation: what tells answers that may be used from those of before everything was asked anew.
        counted: count what outputs will bring to a server, too, for whoever asks what a run would cost.
        retry_causes: ask only these failures of before again; all of them if left out.

    Raises:
        SpecError: an SQL expression does not suit its columns' types.
        InputError: the source cannot be read, an output folder is somebody else's, or a budget cannot be kept.
    """
    spec = loaded.spec
    source, schema = _opened(spec, state)
    frames = check_types(loaded, schema)
    slices, groups = _cut(spec, source, limit)
    segments = _with_wires(spec, generation)
    partitions = _partitions(spec, segments, groups, encode_schema(schema), generation)
    suffix, targets = _checked_targets(spec, rehearsal_name(limit, rehearsal=rehearsal), frames)
    tasks, reuse, parts = plan_tasks(state, segments, partitions, retry_causes, suffix)
    reuse = with_reasons(state, Now(spec, encode_schema(schema), segments, partitions), reuse)
    with AnswerStore(state.folder) as store:
        rows_of = Followed(spec, source, schema, Paid.of_now(store, segments, parts), every_row=every_row)
        estimates = _estimates(rows_of, partitions, tasks)
        told = bills(rows_of, partitions, targets, first_rows=limit is not None, counted=counted)
    return Plan(
        pipeline=spec.name,
        file=str(loaded.file.absolute()),
        sha256=loaded.sha256,
        state=str(state.root),
        spec=dump(spec),
        files=source.states(),
        schema=encode_schema(schema),
        segments=segments,
        partitions=tuple(partitions),
        tasks=tasks,
        estimates=estimates,
        bills=told,
        reuse=reuse,
        targets=targets,
        ends=tuple(segment_of(segments, spec.steps, output.reads) for output in spec.outputs),
        rows=sum(piece.rows for piece in slices),
        limit=limit,
        rehearsal=suffix,
        notes=(*loaded.notes, *_notes(slices)),
        retry_causes=None if retry_causes is None else tuple(retry_causes),
    )


def _opened(spec: Spec, state: State) -> tuple[Source, dict[str, pl.DataType]]:
    """The source and its columns."""
    source = open_source(spec.source, copies=state.sources)
    return source, _checked_names(source.schema())


def _cut(spec: Spec, source: Source, limit: int | None) -> tuple[list[Slice], list[tuple[Slice, ...]]]:
    """The source's slices, and those of each partition."""
    rows = partition_rows(spec.steps, spec.source.partition_rows)
    slices = limit_slices(source.slices(min(rows, limit or rows), may_estimate=limit is None), limit)
    return slices, group_slices(slices, rows)


def _to_do(partitions: Sequence[Partition], tasks: Sequence[PlannedTask]) -> list[Partition]:
    """The partitions that some task takes."""
    taken = {task.partition for task in tasks}
    return [one for one in partitions if one.index in taken]


def _estimates(
    rows: Followed, partitions: Sequence[Partition], tasks: Sequence[PlannedTask]
) -> tuple[StepEstimate, ...]:
    """What the missing partitions will send, without what was answered before.

    Raises:
        InputError: see `check_budget`.
    """
    missing = _to_do(partitions, tasks)
    found = estimate(rows, missing, all_partitions=len(missing) == len(partitions))
    check_budget(rows.spec, found)
    return found


def _notes(slices: Sequence[Slice]) -> list[str]:
    return [] if all(piece.counted for piece in slices) else [_ESTIMATED]


def _checked_names(columns: dict[str, pl.DataType]) -> dict[str, pl.DataType]:
    """Refuse a source with a column of the names that rows have on their way: it would be lost without a word."""
    if taken := sorted(HIDDEN & set(columns)):
        raise InputError(
            f"the source has a column {taken[0]!r}, a name that Penstock uses itself; give it another name"
        )
    return columns


def _checked_targets(spec: Spec, suffix: str, frames: Sequence[pl.DataFrame]) -> tuple[str, tuple[str, ...]]:
    """The rehearsal's name, and where each output is published under it, after making sure that it can be."""
    for output in spec.outputs:
        output.beside(suffix).check(output_schema(spec.steps, frames, output.reads))
    return suffix, tuple(str(output.beside(suffix).target) for output in spec.outputs)


def check_budget(spec: Spec, estimates: Sequence[StepEstimate]) -> None:
    """A budget in dollars needs prices.

    Raises:
        InputError: the price of a model is unknown.
    """
    if spec.budget is None or spec.budget.usd is None:
        return
    unknown = sorted({one.model for one in estimates if not one.priced})
    if unknown:
        raise InputError(
            f"budget.usd cannot be kept: the price of {', '.join(unknown)} is unknown. "
            "Give it under provider.prices, or use budget.tokens"
        )


def _where(spec: Spec, step: Step | None, generation: str) -> str:
    """Whose answers a step's are: the provider's, and since when; empty of a step that asks nothing."""
    return spec.provider_of(step).identity + generation if isinstance(step, ApiStep) else ""


def _with_wires(spec: Spec, generation: str) -> tuple[Segment, ...]:
    """The segments, those that ask a model with what names their answers."""
    found: list[Segment] = []
    for segment in cut_segments(spec.steps, [output.reads for output in spec.outputs]):
        step = spec.steps[segment.steps[-1]] if segment.steps else None
        wire = wire_fingerprint(step, _where(spec, step, generation)) if isinstance(step, ApiStep) else ""
        found.append(replace(segment, wire=wire))
    return tuple(found)


def _partitions(
    spec: Spec, segments: Sequence[Segment], groups: Sequence[tuple[Slice, ...]], schema: str, generation: str
) -> list[Partition]:
    contents = _distinct([fingerprint(slices_content(group, spec.source, schema)) for group in groups])
    names: list[dict[str, str]] = [{} for _ in groups]
    for segment in segments:
        step = spec.steps[segment.steps[-1]] if segment.steps else None
        content = segment_content(segment, spec.steps, _where(spec, step, generation), spec.source.keys)
        reads = contents if segment.reads is None else [name[segment.reads] for name in names]
        whole = fingerprint(content, *reads) if segment.whole else ""
        for name, read, rows in zip(names, reads, contents, strict=True):
            decided = [name[segment.decided_by]] if segment.decided_by else []
            own = whole or fingerprint(content, read, *decided)
            name[segment.id] = part_name(segment.wire, rows, own) if segment.api else own
    return [
        Partition(index, group, sum(piece.rows for piece in group), name)
        for index, (group, name) in enumerate(zip(groups, names, strict=True))
    ]


def _distinct(contents: list[str]) -> list[str]:
    """Two partitions of the same content must not write the same part."""
    seen: dict[str, int] = {}
    result: list[str] = []
    for content in contents:
        copy = seen.get(content, 0)
        seen[content] = copy + 1
        result.append(fingerprint(content, copy) if copy else content)
    return result


def rehearsal_name(limit: int | None, *, rehearsal: bool) -> str:
    """A word for runs that must not replace the pipeline's own output: of a few rows, or of the sandbox instead."""
    words = ["rehearsal"] if rehearsal else []
    words += [f"first-{limit}"] if limit is not None else []
    return "-".join(words)


def beside(target: Path, suffix: str) -> Path:
    """Where the result of a rehearsal stands: beside the pipeline's own; `suffix` is empty for a real run."""
    return target.with_name(f"{target.name}.{suffix}") if suffix else target
