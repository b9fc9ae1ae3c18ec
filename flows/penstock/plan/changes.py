"""Why parts of before do not count: what is other than in the last plan whose parts stand there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from pydantic import ValidationError

from penstock.errors import InputError
from penstock.plan.model import Partition, Plan, Reuse, Segment, read_plan
from penstock.spec.model import Spec, restore
from penstock.steps import Step
from penstock.tables.state import State

_MOST_LOOKED_AT = 20


@dataclass(frozen=True, slots=True)
class Now:
    """What is planned now: the pipeline, the source's schema as text, and how its rows are cut."""

    spec: Spec
    schema: str
    segments: Sequence[Segment]
    partitions: Sequence[Partition]


def with_reasons(state: State, now: Now, reuse: Sequence[Reuse]) -> tuple[Reuse, ...]:
    """What is reused, with what there is to say of parts of before where a segment has work to do."""
    by_id = {segment.id: segment for segment in now.segments}
    return tuple(
        msgspec.structs.replace(one, reason=stale_parts(state, now, by_id[one.segment]))
        if one.begun + one.missing
        else one
        for one in reuse
    )


def stale_parts(state: State, now: Now, segment: Segment) -> str:
    """Which parts of a segment that stand there do not count any more, and why; nothing when there are none.

    Where no earlier plan tells, they are all that no partition has now.
    """
    folder = state.part_files(segment.id, "any").part.parent
    current = {partition.fingerprints[segment.id] for partition in now.partitions}
    parts = {file.stem for file in folder.glob("*.parquet") if not file.stem.endswith(".errors")} - current
    if not parts:
        return ""
    why, known = _why(state, now, segment)
    if known:
        parts &= known
    if not parts:
        return ""
    many = "1 part of before does not count" if len(parts) == 1 else f"{len(parts):,} parts of before do not count"
    return f"{many}: {why or 'the step, a file that it reads, the source or the provider changed'}"


def _why(state: State, now: Now, segment: Segment) -> tuple[str, set[str]]:
    """What changed since the last plan that has the segment, and the names of its parts there."""
    for before in _plans(state):
        old = next((one for one in before.segments if one.id == segment.id), None)
        if old is None:
            continue
        names = {partition.fingerprints[segment.id] for partition in before.partitions}
        try:
            then = restore(before.spec)
        except (ValidationError, KeyError, TypeError):
            # Of another version of Penstock, which knew other settings.
            return "another version of Penstock made them", names
        return "; ".join(_changes(before, then, old, now, segment)), names
    return "", set()


def _plans(state: State) -> Iterator[Plan]:
    """The plans of the last runs, the newest first."""
    for file in sorted(state.runs.glob("*/plan.json"), reverse=True)[:_MOST_LOOKED_AT]:
        try:
            yield read_plan(Path(file))
        except InputError:
            continue


def _changes(before: Plan, then: Spec, old: Segment, now: Now, segment: Segment) -> Iterator[str]:
    old_steps, new_steps = _chain(before.segments, then, old), _chain(now.segments, now.spec, segment)
    if [step.name for step in old_steps] != [step.name for step in new_steps]:
        yield f"the steps up to here were {_listed([step.name for step in old_steps])}"
    else:
        for one, other in zip(old_steps, new_steps, strict=True):
            if changed := _settings(one.content(), other.content()):
                yield f"`{', '.join(changed)}` of the step {other.name!r} changed"
    if _providers(then) != _providers(now.spec):
        yield "the provider changed"
    if then.source_keys != now.spec.source_keys:
        yield f"the source's key was {_listed(then.source_keys)}"
    if before.schema != now.schema:
        yield "the source's columns or their types changed"
    rows = [_rows(partition) for partition in now.partitions]
    known = {_rows(partition) for partition in before.partitions}
    if others := sum(one not in known for one in rows):
        yield f"{others:,} of {len(rows):,} partitions {'has' if others == 1 else 'have'} other rows"


def _chain(segments: Sequence[Segment], spec: Spec, last: Segment) -> list[Step]:
    """All steps from the source to the end of a segment."""
    by_id = {segment.id: segment for segment in segments}
    places: list[int] = []
    one: Segment | None = last
    while one is not None:
        places = [*one.steps, *places]
        one = by_id[one.reads] if one.reads else None
    return [spec.steps[place] for place in places]


def _settings(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return sorted(name for name in then.keys() | now.keys() if then.get(name) != now.get(name))


def _providers(spec: Spec) -> dict[str, str]:
    return {name: one.identity for name, one in spec.used_providers.items()}


def _rows(partition: Partition) -> tuple[tuple[str, int], ...]:
    return tuple((piece.digest, piece.rows) for piece in partition.slices)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"
