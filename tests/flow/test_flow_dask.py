"""Dask, by address and started for the run: workers that are killed, cut off or cancelled lose and pay nothing."""

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
from test_flow_machines import (
    HALVES,
    command,
    ended,
    machines,
    pipeline,
    prove,
    record,
    reports,
    sandbox,
    undisturbed,
    until,
)

from penstock.flow import embedded
from penstock.flow.rest import Api, call
from penstock.sandbox.launch import SandboxProcess
from penstock.sandbox.launch import start as start_sandbox

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


@pytest.fixture
def slow_sandbox() -> Iterator[SandboxProcess]:
    """One whose answers take so long that a worker can be given up and come back while half of the rows is asked."""
    with start_sandbox(latency="300ms") as process:
        yield process


def worker(path: Path) -> int:
    """One of the run's workers."""
    found = int(reports(path)[0]["worker"].split("-")[-2])
    assert "dask" in " ".join(psutil.Process(found).cmdline())
    return found


def test_a_dask_worker_that_is_killed_costs_its_requests_in_flight(
    machines: dict[str, str], cluster: str, sandbox: SandboxProcess, undisturbed: Any, tmp_path: Path
) -> None:
    path = pipeline(tmp_path / "run", sandbox.url, runner={"kind": "dask", "address": cluster, "workers": 2})
    process = command(path, machines)
    until(lambda: len(reports(path)) >= 2 and sandbox.stats()["total_requests"] > 60, process)
    os.kill(worker(path), signal.SIGKILL)
    code, said = ended(process)
    assert code == 0, said
    # Each worker has half of the 8 that may be in flight.
    prove(path, sandbox, undisturbed, lost=4)
    assert "Traceback" not in said


GIVE_UP = """
import sys
from distributed import Client

async def give_up(dask_scheduler):
    # As it does by itself after five minutes; a shorter time would give up workers that are busy with imports.
    dask_scheduler.worker_ttl = 5
    await dask_scheduler.check_worker_ttl()

with Client(sys.argv[1], set_as_default=False) as client:
    client.run_on_scheduler(give_up)
"""


def test_a_dask_worker_that_comes_back_finds_its_partition_taken_over_and_does_no_harm(
    machines: dict[str, str], cluster: str, slow_sandbox: SandboxProcess, undisturbed: Any, tmp_path: Path
) -> None:
    sandbox = slow_sandbox
    runner = {"kind": "dask", "address": cluster, "workers": 2}
    path = pipeline(tmp_path / "run", sandbox.url, runner=runner, source=HALVES)
    process = command(path, machines)
    until(lambda: len(reports(path)) >= 2 and sandbox.stats()["total_requests"] > 60, process)
    before = journals(path)
    frozen = worker(path)
    os.kill(frozen, signal.SIGSTOP)
    try:
        time.sleep(6)
        subprocess.run([sys.executable, "-c", GIVE_UP, cluster], env=machines, check=True, timeout=60)
        # Its successor puts a file of its own in the place of the journal.
        until(lambda: any(before[name] != inode for name, inode in journals(path).items()), process)
        until(lambda: sandbox.stats()["total_requests"] > 220, process)
        assert process.poll() is None
    finally:
        os.kill(frozen, signal.SIGCONT)
    code, said = ended(process)
    assert code == 0, said
    # Asked again is what it had in flight, 4; and one more may be on its way before it knows.
    prove(path, sandbox, undisturbed, lost=5)
    assert "Traceback" not in said


def journals(path: Path) -> dict[str, int]:
    """The journals of a run, and which file each is."""
    return {one.name: one.stat().st_ino for one in path.parent.glob(".penstock/embed-texts/parts/*/*.journal")}


def test_a_partition_whose_workers_die_too_often_ends_the_run_with_one_sentence_and_the_next_goes_on(
    machines: dict[str, str], sandbox: SandboxProcess, undisturbed: Any, tmp_path: Path
) -> None:
    path = pipeline(tmp_path, sandbox.url, runner={"kind": "dask", "workers": 2}, source=HALVES)
    # Dask gives a partition up after its fourth worker; here after its first.
    process = command(path, {**machines, "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0"})
    until(lambda: len(reports(path)) >= 2 and any(one["busy"] for one in reports(path)), process)
    busy = next(one for one in reports(path) if one["busy"])
    os.kill(int(busy["worker"].split("-")[-2]), signal.SIGKILL)
    code, said = ended(process)
    assert code == 3, said
    assert "Traceback" not in said
    seen = record(path)
    assert (seen["status"], seen["reason"]) == ("stopped", "stopped"), said
    assert "no worker process finished partition" in seen["message"]
    assert "of 'embed' (Attempted to run task" in seen["message"]
    code, said = ended(command(path, machines))
    assert code == 0, said
    prove(path, sandbox, undisturbed, lost=8)


def test_a_run_in_local_dask_workers_that_is_cancelled_in_prefect_stops_within_seconds_and_goes_on_later(
    machines: dict[str, str], sandbox: SandboxProcess, undisturbed: Any, tmp_path: Path
) -> None:
    path = pipeline(tmp_path, sandbox.url, runner={"kind": "dask", "workers": 2})
    process = command(path, machines)
    until(lambda: len(reports(path)) >= 2 and sandbox.stats()["total_requests"] > 60, process)
    children = psutil.Process(process.pid).children(recursive=True)
    assert {int(one["worker"].split("-")[-2]) for one in reports(path)} <= {child.pid for child in children}
    flow_run = f"/flow_runs/{record(path)['flow_run_id']}"
    server = embedded.status().record
    assert server is not None
    api = Api(server.url)
    began = time.monotonic()
    call(
        api,
        "POST",
        f"{flow_run}/set_state",
        {"state": {"type": "CANCELLING", "name": "Cancelling"}},
        timeout=30,
        patience=30,
    )
    code, said = ended(process)
    # Two seconds till it is seen, one till the workers know, up to four for what is in flight, and Dask's own end.
    assert time.monotonic() - began < 20
    seen = record(path)
    assert (code, seen["status"], seen["message"]) == (130, "interrupted", "the run was cancelled in Prefect"), said
    assert "Traceback" not in said
    assert call(api, "GET", flow_run, timeout=30, patience=30).body["state_type"] == "CANCELLED"
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive
    # Each answer that was paid for is in a part or a journal: none of them is asked for again.
    code, said = ended(command(path, machines))
    assert code == 0, said
    prove(path, sandbox, undisturbed)
