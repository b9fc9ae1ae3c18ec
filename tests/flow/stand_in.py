"""A run without data: a session whose tasks wait, fail or stop as the test says."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from penstock.engine.control import RunControl
from penstock.plan.model import PlannedTask
from penstock.spec.load import Loaded

Work = Callable[[str, int], Any]


@dataclass(frozen=True)
class StandInPlan:
    tasks: tuple[PlannedTask, ...]
    file: str
    pipeline: str = "stand-in"


@dataclass
class StandIn:
    """Stands in for penstock.execute.session.Session."""

    loaded: Loaded
    plan: StandInPlan
    plan_file: Path
    run_id: str = "run-1"
    workers: int = 2
    control: RunControl = field(default_factory=RunControl)
    flow_run_id: str = ""
    crashed: list[Any] = field(default_factory=list)
    finished: int = 0

    def note_flow_run(self, flow_run_id: str, url: str) -> None:
        self.flow_run_id = flow_run_id

    def finish(self) -> SimpleNamespace:
        self.finished += 1
        if self.control.stopped:
            return SimpleNamespace(account=None, status="stopped")
        account = SimpleNamespace(read=10, added=0, branched=0, written=8, filtered=1, merged=0, failed=1)
        usage = SimpleNamespace(requests=3, usd=None)
        return SimpleNamespace(account=account, usage=usage, run_id=self.run_id)


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
