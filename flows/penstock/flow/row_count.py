"""How far a run is: rows with their fate, of all that its tasks have to see to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penstock.plan.model import Plan


class RowCount:
    """Counts the rows of a plan's tasks.

    Attributes:
        total: rows of all partitions that there is something to do for.
    """

    def __init__(self, plan: Plan) -> None:
        tasks = plan.tasks
        self.total = sum(plan.partitions[index].rows for index in {task.partition for task in tasks})
        # A row is counted once in every segment that it goes through.
        self._segments = max(1, len({task.segment for task in tasks}))

    def done(self, meter: Mapping[str, Any]) -> int:
        """Rows that have gone through, from a snapshot of the run's meter."""
        return int(meter["rows_done"] + meter["rows_failed"]) // self._segments

    def share(self, meter: Mapping[str, Any]) -> float:
        """The same as a share from 0 to 1; 1 where there is nothing to do."""
        return min(1.0, self.done(meter) / self.total) if self.total else 1.0
