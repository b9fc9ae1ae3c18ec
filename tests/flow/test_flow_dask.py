"""A Dask cluster by address, of which a worker is killed: the run is complete, and little is asked twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from test_flow_machines import command, ended, machines, pipeline, prove, reports, sandbox, undisturbed, until

from penstock.sandbox.launch import SandboxProcess

pytestmark = [pytest.mark.slow, pytest.mark.prefect]
__all__ = ["machines", "sandbox", "undisturbed"]


def dask(*words: str, environ: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "dask", *words],
        env=environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@pytest.fixture
def cluster(machines: dict[str, str], tmp_path: Path) -> Iterator[str]:
    """The address of a scheduler with two workers."""
    told = tmp_path / "scheduler.json"
    processes = [
        dask(
            "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(told),
            environ=machines,
        )
    ]  # fmt: skip
    deadline = time.monotonic() + 60
    while not told.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        words = ("worker", "--scheduler-file", str(told), "--nthreads", "1", "--no-nanny", "--no-dashboard")
        processes.append(dask(*words, "--local-directory", str(folder), environ=machines))
    yield json.loads(told.read_text())["address"]
    for process in processes:
        process.kill()
        process.wait()


def test_a_dask_worker_that_is_killed_costs_its_requests_in_flight(
    machines: dict[str, str], cluster: str, sandbox: SandboxProcess, undisturbed: Any, tmp_path: Path
) -> None:
    path = pipeline(tmp_path / "run", sandbox.url, runner={"kind": "dask", "address": cluster, "workers": 2})
    process = command(path, machines)
    until(lambda: len(reports(path)) >= 2 and sandbox.stats()["total_requests"] > 60, process)
    victim = int(reports(path)[0]["worker"].split("-")[-2])
    assert "dask" in " ".join(psutil.Process(victim).cmdline())
    os.kill(victim, signal.SIGKILL)
    code, said = ended(process)
    assert code == 0, said
    # Each worker has half of the 8 that may be in flight.
    prove(path, sandbox, undisturbed, lost=4)
    assert "Traceback" not in said
