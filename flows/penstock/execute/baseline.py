"""The complete runs of before: what a run is compared with, whose answers are kept, and what nobody needs any more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

from penstock.errors import InputError
from penstock.plan.model import Plan, read_plan
from penstock.runs.history import list_runs
from penstock.runs.record import PLAN, ROWS, RunRecord, RunStatus
from penstock.tables.answer_lists import LIST_ENDING, list_of
from penstock.tables.state import State

KEPT = "kept-{}.parquet"
"""In a run's folder: rows of an output, by its number, that are no longer in the source and were kept."""
COMPLETE = frozenset({RunStatus.COMPLETED, RunStatus.COMPLETED_WITH_ERRORS})
_ENDINGS = (".parquet", ".journal", ".files.json", LIST_ENDING)


@dataclass(frozen=True, slots=True)
class Before:
    """A run of before, with its folder."""

    folder: Path
    record: RunRecord
    plan: Plan

    @property
    def rows(self) -> Path | None:
        """The table of its rows; None where it left none."""
        path = self.folder / ROWS
        return path if path.is_file() else None


@dataclass(frozen=True, slots=True)
class Left:
    """What a run of before left of one output, by the number that the output had in it."""

    run: Before
    number: int

    def parts(self, state: State) -> list[Path]:
        """The parts that the output was made of, whether or not they are still there."""
        end = self.run.plan.ends[self.number]
        return [state.part_files(end, one.fingerprints[end]).part for one in self.run.plan.partitions]

    @property
    def kept(self) -> Path | None:
        """The rows that were no longer in the source and stayed in the output; None where there were none."""
        path = self.run.folder / KEPT.format(self.number)
        return path if path.is_file() else None


def last_complete(state: State, targets: Sequence[str]) -> Before | None:
    """The newest complete run that published to these places."""
    return next((one for one in _runs(state) if one.record.status in COMPLETE and one.plan.targets == tuple(targets)),
                None)  # fmt: skip


def left_at(state: State, targets: Sequence[str]) -> list[list[Left]]:
    """For each place, the runs whose rows may stand there, the newest first.

    That is the last complete one that published there, and those that began to publish after it and did not come to
    their end: a process that dies with all outputs in place has no time to say so.
    """
    found: dict[str, list[Left]] = {target: [] for target in targets}
    open_ = set(targets)
    for one in _runs(state):
        if not open_:
            break
        complete = one.record.status in COMPLETE
        if not complete and one.record.publishing_at is None:
            continue
        for number, target in enumerate(one.plan.targets):
            if target in open_:
                found[target].append(Left(one, number))
                open_ -= {target} if complete else set()
    return [found[target] for target in targets]


def needed_runs(state: State, keep: int) -> list[Before]:
    """The runs whose parts stay: of each set of outputs the newest complete ones, and those that can be resumed.

    A run that did not come to its end is not resumed any more once a later one has published to the same places. So all
    that `left_at` finds stays.

    Args:
        keep: how many complete runs of each set of outputs.
    """
    found: list[Before] = []
    complete: dict[tuple[str, ...], int] = {}
    for one in _runs(state, rehearsals=True):
        count = complete.get(one.plan.targets, 0)
        if one.record.status in COMPLETE:
            complete[one.plan.targets] = count + 1
            # Of rehearsals only what a later one of the same kind would find.
            if count < (1 if one.plan.rehearsal else keep):
                found.append(one)
        elif not count:
            found.append(one)
    return found


@dataclass(frozen=True, slots=True)
class Unneeded:
    """Files that no needed run names, and their bytes."""

    files: list[Path]
    size: int


def unneeded(state: State, runs: Sequence[Before]) -> Unneeded:
    """Parts, errors parts, journals, lists of answers and tables of rows that none of these runs needs.

    To be called by whoever holds the pipeline's lock, or for show.
    """
    needed: set[Path] = set()
    for one in runs:
        for segment in one.plan.segments:
            for partition in one.plan.partitions:
                named = state.part_files(segment.id, partition.fingerprints[segment.id])
                needed.update((*astuple(named), list_of(named.part)))
        needed.update((one.folder / ROWS, *one.folder.glob(KEPT.format("*"))))
    there = [path for path in state.folder.glob("parts/*/[!.]*") if path.name.endswith(_ENDINGS)]
    there += [*state.runs.glob(f"*/{ROWS}"), *state.runs.glob(f"*/{KEPT.format('*')}")]
    files = sorted(path for path in there if path not in needed)
    return Unneeded(files, sum(path.stat().st_size for path in files))


def remove(state: State, found: Unneeded) -> None:
    """Remove the files. To be called by whoever holds the pipeline's lock.

    Raises:
        OSError: a file cannot be removed.
    """
    for path in found.files:
        path.unlink(missing_ok=True)
    for folder in state.folder.glob("parts/*"):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _runs(state: State, *, rehearsals: bool = False) -> Iterator[Before]:
    """The runs of a pipeline, the newest first; those whose plan cannot be read are left out."""
    for folder, record in list_runs(state.root, state.pipeline):
        if record.rehearsal and not rehearsals:
            continue
        try:
            plan = read_plan(folder / PLAN)
        except InputError:
            # Of another version of Penstock: its parts have other names too.
            continue
        yield Before(folder, record, plan)
