"""Cutting the steps into segments: each ends at an API step, so that Prefect shows it."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.plan.model import Segment
from penstock.steps import ApiStep, Step


def cut_segments(steps: Sequence[Step]) -> tuple[Segment, ...]:
    """The segments of a chain of steps, in order."""
    segments: list[Segment] = []
    begun: list[int] = []
    for place, step in enumerate(steps):
        begun.append(place)
        if isinstance(step, ApiStep):
            segments.append(Segment(step.name, tuple(begun), api=True, reads=segments[-1].id if segments else None))
            begun = []
    if begun or not segments:
        name = steps[begun[-1]].name if begun else "copy"
        segments.append(Segment(name, tuple(begun), api=False, reads=segments[-1].id if segments else None))
    return tuple(segments)
