"""Which parts stand already, which are begun, and which rows are to be asked again."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from penstock.items import Cause
from penstock.plan.model import WHOLE, Partition, PlannedTask, Reuse, Segment
from penstock.steps.named_files import NamedFile
from penstock.tables.file_lists import read_file_lists
from penstock.tables.parts import read_counts
from penstock.tables.state import PartFiles, State

_Key = tuple[str, int]


def finished_counts(
    files: PartFiles, retry_causes: Sequence[str] | None = None, rehearsal: str = ""
) -> dict[str, Any] | None:
    """The counts of a part that needs no more work; None when it is missing or has rows to ask again.

    Failures of requests are never taken as final: unless `retry_causes` says which, all are asked again, and files that
    could not be read are looked at again. A part whose errors part is gone is made again, which pays for nothing that
    it holds: else its failed rows would vanish. So is one whose rows name files of which one changed, or whose answers
    are files that are gone, or that stand elsewhere than a run like this one puts them.
    """
    counts = _whole_counts(files, retry_causes)
    return counts if counts is not None and _has_its_files(files, counts, rehearsal, frozenset()) else None


def _whole_counts(files: PartFiles, retry_causes: Sequence[str] | None) -> dict[str, Any] | None:
    """The counts of a part whose rows are all there, and of which none is to be asked again."""
    counts = read_counts(files.part)
    if counts is None or (counts["failed"] and not files.errors.exists()):
        return None
    causes = counts["failures"]
    mendable = [cause for cause in causes if Cause(cause).mendable]
    again = [cause for cause in mendable if retry_causes is None or cause in retry_causes]
    return None if again else counts


def _has_its_files(
    files: PartFiles, counts: dict[str, Any], rehearsal: str, restored: Collection[str], *, saved: bool = True
) -> bool:
    """Whether the files that the part's rows name are those that were sent, and the files of its answers are there.

    Args:
        restored: files that a task before this one will write as they were.
        saved: whether those of its answers must be there.
    """
    if counts.get("saved") and counts["rehearsal"] != rehearsal:
        return False
    if not counts.get("named") and not counts.get("saved"):
        return True
    lists = read_file_lists(files.file_lists, counts["made"])
    if lists is None or (saved and lists.lost()):
        return False
    return all(one[0] in restored or NamedFile(*one).is_unchanged for one in lists.named)


def plan_tasks(
    state: State,
    segments: Sequence[Segment],
    partitions: Sequence[Partition],
    retry_causes: Sequence[str] | None,
    rehearsal: str = "",
) -> tuple[tuple[PlannedTask, ...], tuple[Reuse, ...], dict[tuple[str, int], Path]]:
    """The tasks that are missing, in an order that never waits for a later one, and what is reused per segment.

    Also, by segment and partition, the parts that hold the rows that a run will have: finished ones, and those that are
    only made again because files of their answers are gone, which pays for nothing.
    """
    looking = _Looking(state, partitions, retry_causes, rehearsal)
    by_id = {segment.id: segment for segment in segments}
    for is_whole, group in groupby(segments, key=lambda segment: segment.whole):
        several = list(group)
        # Between two barriers a partition goes all the way before the next one begins.
        for index in [WHOLE] if is_whole else [partition.index for partition in partitions]:
            for segment in several:
                looking.at(segment, index, [by_id[name] for name in (segment.reads, segment.decided_by) if name])
    reuse = tuple(looking.reuse(segment) for segment in segments)
    return tuple(looking.tasks), reuse, looking.standing


@dataclass(slots=True)
class _Tally:
    finished: int = 0
    begun: int = 0
    missing: int = 0
    answered: int = 0


@dataclass(slots=True)
class _Looking:
    """Looks at one part after the other, each after those that it was made of."""

    state: State
    partitions: Sequence[Partition]
    retry_causes: Sequence[str] | None
    rehearsal: str
    tasks: list[PlannedTask] = field(default_factory=list)
    standing: dict[_Key, Path] = field(default_factory=dict)
    _made: dict[_Key, str] = field(default_factory=dict)
    _restored: dict[_Key, str] = field(default_factory=dict)
    _files: set[str] = field(default_factory=set)
    _tallies: dict[str, _Tally] = field(default_factory=dict)

    def at(self, segment: Segment, index: int, reads: Sequence[Segment]) -> None:
        """Plan the task of a part that is missing, or older than one of those it was made of."""
        tally = self._tallies.setdefault(segment.id, _Tally())
        inputs = [key for one in reads for key in self._inputs(segment, one, index)]
        after = [key for key in inputs if key not in self._made]
        files = self.state.part_files(segment.id, self.partitions[max(index, 0)].fingerprints[segment.id])
        counts = None if after else finished_counts(files, self.retry_causes, self.rehearsal)
        if counts is not None and counts.get("of") == [self._made[key] for key in inputs]:
            self._made[segment.id, index] = counts["made"]
            self.standing[segment.id, index] = files.part
            tally.finished += 1
            tally.answered += counts["rows"]
            return
        self._note_restored((segment.id, index), inputs, files)
        if files.journal.exists() or files.part.exists():
            tally.begun += 1
        else:
            tally.missing += 1
        self.tasks.append(PlannedTask(segment.id, index, tuple(after)))

    def _note_restored(self, key: _Key, inputs: Sequence[_Key], files: PartFiles) -> None:
        """Note that a part is only made again for files that are gone, and that its rows stay as they are."""
        before = [self._made.get(one) or self._restored.get(one) for one in inputs]
        counts = None if None in before else _whole_counts(files, self.retry_causes)
        if counts is None or counts.get("of") != before:
            return
        if _has_its_files(files, counts, self.rehearsal, self._files, saved=False):
            self._restored[key] = counts["made"]
            self.standing[key] = files.part
            lists = read_file_lists(files.file_lists, counts["made"])
            if lists is not None:
                self._files.update(path for path, _ in lists.saved)

    def _inputs(self, segment: Segment, read: Segment, index: int) -> Iterator[_Key]:
        if read.whole:
            yield read.id, WHOLE
        elif segment.whole:
            yield from ((read.id, partition.index) for partition in self.partitions)
        else:
            yield read.id, index

    def reuse(self, segment: Segment) -> Reuse:
        """What was found of one segment."""
        tally = self._tallies[segment.id]
        return Reuse(
            segment=segment.id,
            finished=tally.finished,
            begun=tally.begun,
            missing=tally.missing,
            answered_rows=0 if segment.whole else tally.answered,
        )
