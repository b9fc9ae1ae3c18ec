"""What a flow needs of a run: a window on `penstock.execute.session.Session`, small enough for a test to stand in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from penstock.engine.control import RunControl
    from penstock.plan.model import Plan
    from penstock.runs.record import RunRecord
    from penstock.spec.load import Loaded


class RunSession(Protocol):
    """A run, from its lock to its record, entered and not yet left.

    Attributes:
        run_id: the run's own id, a folder's name.
        plan_file: the plan on disk: all that a worker elsewhere needs.
        workers: partitions in work at a time.
        processes: worker processes; 0 where this process does the work.
        loaded: the pipeline file as it was read.
        plan: what is missing, and in which order it can be made.
        control: the run's stop flag.
        crashed: runs of before whose process is gone.
    """

    run_id: str
    plan_file: Path
    workers: int
    processes: int
    loaded: Loaded
    plan: Plan
    control: RunControl
    crashed: list[RunRecord]

    def note_flow_run(self, flow_run_id: str, url: str) -> None:
        """Write down which flow run of Prefect this run is."""

    def finish(self) -> RunRecord:
        """Publish, prove the account of rows, and close the record; a run that was stopped publishes nothing."""
