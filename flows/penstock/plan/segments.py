"""Cutting the steps into segments: each ends at an API step, so that Prefect shows it."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.plan.model import Segment
from penstock.steps import ApiStep, Step


def step_ids(steps: Sequence[Step]) -> list[str]:
    """A name for each step: its id, or its kind, numbered where a kind stands more than once."""
    names: list[str] = []
    for step in steps:
        name, count = step.id or step.kind, 2
        while name in names:
            name, count = f"{step.id or step.kind}_{count}", count + 1
        names.append(name)
    return names


def cut_segments(steps: Sequence[Step]) -> tuple[Segment, ...]:
    """The segments of a chain of steps, in order."""
    names = step_ids(steps)
    segments: list[Segment] = []
    begun: list[int] = []
    for place, step in enumerate(steps):
        begun.append(place)
        if isinstance(step, ApiStep):
            segments.append(Segment(names[place], tuple(begun), api=True, reads=segments[-1].id if segments else None))
            begun = []
    if begun or not segments:
        name = names[begun[-1]] if begun else "copy"
        segments.append(Segment(name, tuple(begun), api=False, reads=segments[-1].id if segments else None))
    return tuple(segments)
