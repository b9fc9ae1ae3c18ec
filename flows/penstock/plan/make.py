"""From a loaded pipeline to its plan. No network, no Prefect; reads the source once, to cut it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from penstock.errors import InputError
from penstock.plan.changes import Now, with_reasons
from penstock.plan.estimate import estimate
from penstock.plan.fingerprints import fingerprint, part_name, segment_content, slices_content, wire_fingerprint
from penstock.plan.model import Partition, Plan, Segment, StepEstimate, encode_schema
from penstock.plan.partitions import group_slices, limit_slices, partition_rows
from penstock.plan.reuse import plan_tasks
from penstock.plan.segments import cut_segments, segment_of
from penstock.plan.types import check_types, output_schema
from penstock.sources import Slice, open_source
from penstock.spec import Loaded, Spec, dump
from penstock.steps import ApiStep
from penstock.steps.base import PARTITION
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
) -> Plan:
    """What a run of this pipeline would do now.

    Args:
        limit: only the first rows; the result is published beside the pipeline's own output.
        every_row: count the tokens of every row, however many there are.
        rehearsal: the sandbox stands in for another provider; the result is published beside the own output.
        retry_causes: ask only these failures of before again; all of them if left out.

    Raises:
        SpecError: an SQL expression does not suit its columns' types.
        InputError: the source cannot be read, an output folder is somebody else's, or a budget cannot be kept.
    """
    spec = loaded.spec
    source = open_source(spec.source, copies=state.sources)
    schema = source.schema()
    _check_names(schema)
    frames = check_types(loaded, schema)
    rows = partition_rows(spec.steps, spec.source.partition_rows)
    cut = source.slices(min(rows, limit) if limit else rows, may_estimate=limit is None)
    slices = limit_slices(cut, limit)
    segments = _with_wires(spec, cut_segments(spec.steps, [output.reads for output in spec.outputs]))
    partitions = _partitions(spec, segments, group_slices(slices, rows), encode_schema(schema))
    suffix = _suffix(limit, rehearsal=rehearsal)
    tasks, reuse = plan_tasks(state, segments, partitions, retry_causes, suffix)
    reuse = with_reasons(state, Now(spec, encode_schema(schema), segments, partitions), reuse)
    to_do = {task.partition for task in tasks}
    missing = [one for one in partitions if one.index in to_do]
    alone = len(missing) == len(partitions)
    estimates = estimate(spec, source, schema, missing, every_row=every_row, all_partitions=alone)
    check_budget(spec, estimates)
    targets = _checked_targets(spec, suffix, frames)
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
        reuse=reuse,
        targets=targets,
        ends=tuple(segment_of(segments, spec.steps, output.reads) for output in spec.outputs),
        rows=sum(piece.rows for piece in slices),
        limit=limit,
        rehearsal=suffix,
        notes=(*loaded.notes, *(() if all(piece.counted for piece in slices) else (_ESTIMATED,))),
        retry_causes=tuple(retry_causes) if retry_causes is not None else None,
    )


def _check_names(columns: Iterable[str]) -> None:
    """Refuse a source with a column of the names that rows have on their way: it would be lost without a word."""
    if taken := sorted(HIDDEN & set(columns)):
        raise InputError(
            f"the source has a column {taken[0]!r}, a name that Penstock uses itself; give it another name"
        )


def _checked_targets(spec: Spec, suffix: str, frames: Sequence[pl.DataFrame]) -> tuple[str, ...]:
    """Where each output is published, after making sure that it can be."""
    for output in spec.outputs:
        output.beside(suffix).check(output_schema(spec.steps, frames, output.reads))
    return tuple(str(output.beside(suffix).target) for output in spec.outputs)


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


def _with_wires(spec: Spec, segments: Sequence[Segment]) -> tuple[Segment, ...]:
    """The segments, those that ask a model with what names their answers."""
    found: list[Segment] = []
    for segment in segments:
        step = spec.steps[segment.steps[-1]] if segment.steps else None
        wire = wire_fingerprint(step, spec.provider_of(step).identity) if isinstance(step, ApiStep) else ""
        found.append(replace(segment, wire=wire))
    return tuple(found)


def _partitions(
    spec: Spec, segments: Sequence[Segment], groups: Sequence[tuple[Slice, ...]], schema: str
) -> list[Partition]:
    contents = _distinct([fingerprint(slices_content(group, spec.source, schema)) for group in groups])
    names: list[dict[str, str]] = [{} for _ in groups]
    for segment in segments:
        step = spec.steps[segment.steps[-1]] if segment.steps else None
        where = spec.provider_of(step).identity if isinstance(step, ApiStep) else ""
        content = segment_content(segment, spec.steps, where, spec.source.keys)
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


def _suffix(limit: int | None, *, rehearsal: bool) -> str:
    """A word for runs that must not replace the pipeline's own output: of a few rows, or of the sandbox instead."""
    words = ["rehearsal"] if rehearsal else []
    words += [f"first-{limit}"] if limit is not None else []
    return "-".join(words)


def beside(target: Path, suffix: str) -> Path:
    """Where the result of a rehearsal stands: beside the pipeline's own; `suffix` is empty for a real run."""
    return target.with_name(f"{target.name}.{suffix}") if suffix else target
