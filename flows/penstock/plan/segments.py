"""Cutting the steps into segments: chains that one partition goes through without looking at other rows.

A segment ends at each step that asks a model, so that Prefect shows it; before each step that looks at all rows; and
where several steps or outputs go on from the same rows. A step that looks at all rows (a barrier) is two segments: one
that decides, once for all partitions, and one that carries the decision out, partition by partition, which goes on with
the steps after it.
"""

from __future__ import annotations

from collections.abc import Sequence

from penstock.plan.model import Segment
from penstock.steps import SOURCE, ApiStep, BarrierStep, Step, parents

DECIDE = ".decide"
"""Ends the name of a segment that decides; no step's id has a dot."""


def cut_segments(steps: Sequence[Step], ends: Sequence[str | None] = (None,)) -> tuple[Segment, ...]:
    """The segments of a pipeline, each after those that it reads.

    Args:
        steps: in the order of the file, each with its id.
        ends: what each output reads: the id of a step, ``source``, or None for the last step.
    """
    return _Cutting(steps, ends).segments()


def segment_of(segments: Sequence[Segment], steps: Sequence[Step], end: str | None) -> str:
    """The segment whose parts hold the rows after the step named `end`; None is the last step."""
    if end is None:
        end = steps[-1].name if steps else SOURCE
    for segment in segments:
        if not segment.whole and (steps[segment.steps[-1]].name if segment.steps else SOURCE) == end:
            return segment.id
    raise LookupError(end)


class _Cutting:
    def __init__(self, steps: Sequence[Step], ends: Sequence[str | None]) -> None:
        self._steps = steps
        self._parents = parents(steps)
        places = {step.name: place for place, step in enumerate(steps)}
        last = len(steps) - 1
        self._ends = {last if end is None else places.get(end, -1) for end in ends}
        self._children: dict[int, list[int]] = {}
        for place, parent in enumerate(self._parents):
            self._children.setdefault(parent, []).append(place)
        self._found: list[Segment] = []

    def segments(self) -> tuple[Segment, ...]:
        if self._ends_here(-1):
            self._found.append(Segment(SOURCE, (), reads=None))
            self._grow_from(-1, SOURCE)
        else:
            (first,) = self._children[-1]
            self._chain(first, None)
        return tuple(self._found)

    def _ends_here(self, place: int) -> bool:
        """Whether the rows after the step at `place` are written down."""
        following = self._children.get(place, [])
        if place in self._ends or len(following) != 1 or isinstance(self._steps[following[0]], BarrierStep):
            return True
        return place >= 0 and isinstance(self._steps[place], ApiStep)

    def _grow_from(self, place: int, reads: str) -> None:
        for child in self._children.get(place, []):
            self._chain(child, reads)

    def _chain(self, place: int, reads: str | None) -> None:
        decided = None
        first = self._steps[place]
        if isinstance(first, BarrierStep):
            decided = first.name + DECIDE
            self._found.append(Segment(decided, (place,), whole=True, reads=reads))
        chain = [place]
        while not self._ends_here(chain[-1]):
            chain += self._children[chain[-1]]
        last = self._steps[chain[-1]]
        self._found.append(
            Segment(last.name, tuple(chain), api=isinstance(last, ApiStep), reads=reads, decided_by=decided)
        )
        self._grow_from(chain[-1], last.name)
