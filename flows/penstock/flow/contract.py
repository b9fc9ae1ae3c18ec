"""What a flow needs of a run: a window on `penstock.execute.session.Session`, small enough for a test to stand in."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from penstock.errors import RunStopped


class Task(Protocol):
    """One partition to take through one segment: `penstock.plan.model.PlannedTask`."""

    @property
    def segment(self) -> str:
        """The segment's id."""

    @property
    def partition(self) -> int:
        """The partition's number, from 0."""

    @property
    def after(self) -> tuple[tuple[str, int], ...]:
        """Tasks, as (segment, partition), whose parts it reads."""


class Control(Protocol):
    """The run's stop flag: `penstock.engine.control.RunControl`."""

    @property
    def stopped(self) -> RunStopped | None:
        """Why the run is to stop, once it is."""

    def request_stop(self, reason: RunStopped) -> None:
        """Make every task of the run end within seconds; the first reason stays."""


class RunPlan(Protocol):
    """What is to be done: `penstock.plan.model.Plan`."""

    @property
    def pipeline(self) -> str:
        """The pipeline's name."""

    @property
    def file(self) -> str:
        """The pipeline's file."""

    @property
    def tasks(self) -> tuple[Any, ...]:
        """The missing parts, each after those it reads."""


class RunSession(Protocol):
    """A run, from its lock to its record."""

    @property
    def run_id(self) -> str:
        """The run's own id, a folder's name."""

    @property
    def plan_file(self) -> Path:
        """The plan on disk: all that a worker elsewhere needs."""

    @property
    def workers(self) -> int:
        """Partitions in work at a time."""

    @property
    def plan(self) -> Any:
        """A `RunPlan`."""

    @property
    def control(self) -> Any:
        """A `Control`."""

    @property
    def loaded(self) -> Any:
        """The pipeline file as it was read: `penstock.spec.load.Loaded`."""

    def note_flow_run(self, flow_run_id: str, url: str) -> None:
        """Write down which flow run of Prefect this run is, before its first task starts."""

    def finish(self) -> Any:
        """Publish, prove the account of rows, write the record and return it."""
