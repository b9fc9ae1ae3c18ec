"""What an output knows of the lines that it wrote and a file does not tell: their rows, groups and verdicts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

RowOf = Callable[[int], str | None]
"""The key of the row that a line, from 1, was made of; None when there is none."""
GroupOf = Callable[[int], str | None]
"""The group of a line: examples of one group belong into one set. None for a line without one."""
FlaggedOf = Callable[[int], Sequence[str] | None]
"""The categories of harm that a line was flagged for; None or empty when it was not."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Of one file. What is left out is not known.

    Attributes:
        row: named in every problem of a line.
        group: tells examples of one group in both files, as leaks.
        flagged: verdicts of a moderation, such as the columns `flagged_categories` of the step `moderate`.
    """

    row: RowOf | None = None
    group: GroupOf | None = None
    flagged: FlaggedOf | None = None
