"""Which rows of a partition a part holds, as runs: ``[[0, 99], [101, 250]]`` says all of 0 to 250 but 100."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def to_runs(numbers: Iterable[int]) -> list[list[int]]:
    """Ascending numbers as runs of first and last."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return runs


def from_runs(runs: Iterable[Sequence[int]]) -> list[int]:
    """The numbers of runs, ascending."""
    return [number for first, last in runs for number in range(first, last + 1)]
