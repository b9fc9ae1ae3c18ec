"""A run without data: a session whose tasks wait, fail or stop as the test says."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from penstock.engine.control import RunControl
from penstock.plan.model import PlannedTask
from penstock.runs.account import Account
from penstock.runs.record import RunRecord, RunStatus, RunUsage
from penstock.spec.load import Loaded

Work = Callable[[str, int], Any]


@dataclass(frozen=True)
class StandInPlan:
    tasks: tuple[PlannedTask, ...]
    file: str
    pipeline: str = "stand-in"

    @property
    def partitions(self) -> list[SimpleNamespace]:
        """One row each."""
        return [SimpleNamespace(rows=1) for _ in {task.partition for task in self.tasks}]


@dataclass
class StandIn:
    """Stands in for penstock.execute.session.Session."""

    loaded: Loaded
    plan: StandInPlan
    plan_file: Path
    run_id: str = "run-1"
    workers: int = 2
    processes: int = 0
    control: RunControl = field(default_factory=RunControl)
    flow_run_id: str = ""
    crashed: list[Any] = field(default_factory=list)
    finished: int = 0

    def note_flow_run(self, flow_run_id: str, url: str) -> None:
        self.flow_run_id = flow_run_id

    def finish(self) -> RunRecord:
        self.finished += 1
        record = RunRecord(
            run_id=self.run_id,
            pipeline=self.plan.pipeline,
            file=self.plan.file,
            sha256="",
            started_at=datetime.now(UTC),
            status=RunStatus.STOPPED if self.control.stopped else RunStatus.COMPLETED_WITH_ERRORS,
            usage=RunUsage(requests=3, usd=None),
        )
        if not self.control.stopped:
            record.account = Account(
                read=10, written=8, filtered=1, failed=1, failures={"timeout": 1}, segments=[], outputs=[8]
            )
        return record


def chain(partitions: int, segments: tuple[str, ...]) -> tuple[PlannedTask, ...]:
    """Every partition through every segment, one segment after the other."""
    return tuple(
        PlannedTask(name, index, after=((segments[place - 1], index),) if place else ())
        for place, name in enumerate(segments)
        for index in range(partitions)
    )


class Recorder:
    """What run_segment was called with, and how many calls were going on at a time."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._lock = threading.Lock()
        self.calls: list[tuple[str, int]] = []
        self.began: dict[tuple[str, int], float] = {}
        self.ended: dict[tuple[str, int], float] = {}

    def __call__(self, plan_file: str, segment: str, partition: int) -> dict[str, Any]:
        key = (segment, partition)
        with self._lock:
            self.calls.append(key)
            self.began[key] = time.monotonic()
        try:
            return self._work(segment, partition) or {}
        finally:
            self.ended[key] = time.monotonic()


def pipeline_file(folder: Path, **more: Any) -> Path:
    """A pipeline that loads; JSON is YAML."""
    (folder / "rows.csv").write_text("id,text\n1,a\n")
    content = {
        "name": "stand-in",
        "source": {"path": "rows.csv", "key": "id"},
        "outputs": [{"uses": "parquet", "path": "out"}],
    }
    path = folder / "stand_in.yaml"
    path.write_text(json.dumps(content | more))
    return path
