"""The runs of a state folder: listed, found by name, and marked crashed when their process is gone."""

from __future__ import annotations

import difflib
import logging
import os
import socket
from datetime import UTC, datetime
from pathlib import Path

from penstock.errors import InputError
from penstock.runs.record import RECORD, RunRecord, RunStatus, read_record
from penstock.tables.state import State, is_alive

_log = logging.getLogger(__name__)


def list_runs(root: Path, pipeline: str | None = None) -> list[tuple[Path, RunRecord]]:
    """All runs below a state folder with the folder of each, the newest first.

    A record that cannot be read, because it is damaged or of a later version, is left out with a warning.
    """
    runs: list[tuple[Path, RunRecord]] = []
    for path in root.glob(f"{pipeline or '*'}/runs/*/{RECORD}"):
        try:
            runs.append((path.parent, read_record(path.parent)))
        except InputError as error:
            _log.warning("%s", error)
    return sorted(runs, key=lambda run: (run[1].started_at, run[1].run_id), reverse=True)


def find_run(root: Path, wanted: str | None, *, pipeline: str | None = None) -> tuple[Path, RunRecord]:
    """A run by its id or the unmistakable beginning or end of it; the newest if `wanted` is None.

    Raises:
        InputError: there is no such run, or several.
    """
    runs = list_runs(root, pipeline)
    if not runs:
        raise InputError(f"there are no runs in {root}; start one with `penstock run`, or name its folder with --state")
    if wanted is None:
        return runs[0]
    matching = [run for run in runs if run[1].run_id.startswith(wanted) or run[1].run_id.endswith(wanted)]
    if len(matching) == 1:
        return matching[0]
    known = [run.run_id for _, run in runs]
    if matching:
        raise InputError(f"several runs match {wanted!r}: {', '.join(run.run_id for _, run in matching)}")
    near = difflib.get_close_matches(wanted, known, 1)
    hint = f"; did you mean {near[0]}?" if near else f"; the newest is {known[0]}"
    raise InputError(f"there is no run {wanted!r} in {root}{hint}")


def mark_crashed(state: State) -> list[RunRecord]:
    """Runs of this pipeline that say they are running and whose process on this machine is gone: now crashed."""
    marked: list[RunRecord] = []
    for folder, record in list_runs(state.root, state.pipeline):
        if record.status is not RunStatus.RUNNING or record.host != socket.gethostname() or not _is_gone(record.pid):
            continue
        record.status = RunStatus.CRASHED
        record.message = f"the process {record.pid} died; go on with `penstock resume {record.run_id}`"
        record.ended_at = datetime.now(UTC)
        record.save(folder)
        marked.append(record)
    return marked


def untold_crashes(state: State) -> list[tuple[Path, RunRecord]]:
    """Crashed runs of this pipeline that Prefect may still show as running, with the folder of each."""
    runs = list_runs(state.root, state.pipeline)
    return [run for run in runs if run[1].status is RunStatus.CRASHED and run[1].flow_run_id and not run[1].crash_told]


def _is_gone(pid: int) -> bool:
    return pid == os.getpid() or not is_alive(pid)
