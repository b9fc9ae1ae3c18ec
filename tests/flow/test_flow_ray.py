"""Ray, started for the run and by address, with a worker that is killed: the run is complete, little is asked twice."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
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

from penstock.sandbox.launch import SandboxProcess

pytest.importorskip(
    "prefect_ray",
    reason="Ray and what it brings take over 500 MB, so they are not among the development tools: "
    "uv pip install -e '.[ray]' to run these tests",
)

pytestmark = [pytest.mark.slow, pytest.mark.prefect]
__all__ = ["machines", "sandbox", "undisturbed"]


@pytest.fixture(scope="module")
def ray_environ(machines: dict[str, str]) -> Iterator[dict[str, str]]:
    """The environment of Ray's processes and of runs: sockets and tokens in a short folder of their own."""
    # Ray makes Unix sockets below it, whose paths may have 107 characters only.
    folder = Path(tempfile.mkdtemp(prefix="ray-"))
    (folder / "token").write_text(secrets.token_hex(32))
    yield {
        **machines,
        "RAY_TMPDIR": str(folder),
        "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
        "RAY_AUTH_MODE": "token",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    shutil.rmtree(folder, ignore_errors=True)


def free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        sockets = [held.enter_context(closing(socket.socket())) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def ray(*words: str, environ: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as told:
        return subprocess.Popen(
            [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats", *words],
            env=environ,
            stdout=told,
            stderr=told,
            start_new_session=True,
        )


def end(process: subprocess.Popen[bytes]) -> None:
    """End a node of Ray with all that it started."""
    try:
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for one in family:
        try:
            one.kill()
        except psutil.NoSuchProcess:
            continue
    process.wait(20)


@pytest.fixture
def cluster(ray_environ: dict[str, str], tmp_path: Path) -> Iterator[str]:
    """The address of a Ray cluster with two workers, each on a node of its own."""
    port, client = free_ports(2)
    head = (
        "--head",
        "--include-dashboard",
        "false",
        "--port",
        str(port),
        "--ray-client-server-port",
        str(client),
        "--num-cpus",
        "0",
    )
    nodes = [ray(*head, environ=ray_environ, log=tmp_path / "head.log")]
    try:
        starts(nodes[0], tmp_path / "head.log")
        for name in ("one", "two"):
            words = ("--address", f"127.0.0.1:{port}", "--num-cpus", "1")
            nodes.append(ray(*words, environ=ray_environ, log=tmp_path / f"{name}.log"))
            # Several nodes on one machine find their ports one after the other.
            starts(nodes[-1], tmp_path / f"{name}.log")
        yield f"ray://127.0.0.1:{client}"
    finally:
        for node in reversed(nodes):
            end(node)


def starts(process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until a node has joined its cluster."""
    deadline = time.monotonic() + 120
    while "Ray runtime started" not in log.read_text():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)


def kill_worker(path: Path, process: subprocess.Popen[str]) -> None:
    """Kill a Ray worker that is in the middle of a partition."""
    until(lambda: any(one["busy"] for one in reports(path)), process)
    busy = next(one for one in reports(path) if one["busy"])
    victim = int(busy["worker"].split("-")[-2])
    assert "ray::" in " ".join(psutil.Process(victim).cmdline())
    os.kill(victim, signal.SIGKILL)


@pytest.mark.timeout(400)
def test_a_worker_of_a_ray_cluster_that_is_killed_costs_its_requests_in_flight(
    ray_environ: dict[str, str], cluster: str, sandbox: SandboxProcess, undisturbed: Any, tmp_path: Path
) -> None:
    path = pipeline(
        tmp_path / "run", sandbox.url, runner={"kind": "ray", "address": cluster, "workers": 2}, source=HALVES
    )
    process = command(path, ray_environ)
    until(lambda: len(reports(path)) >= 2 and sandbox.stats()["total_requests"] > 60, process)
    kill_worker(path, process)
    code, said = ended(process)
    assert code == 0, said
    # Each worker has half of the 8 that may be in flight.
    prove(path, sandbox, undisturbed, lost=4)
    assert len(reports(path)) >= 3
    assert "Traceback" not in said


@pytest.mark.timeout(400)
def test_ray_that_is_started_for_the_run_goes_on_when_a_worker_is_killed_and_ends_with_the_run(
    ray_environ: dict[str, str], sandbox: SandboxProcess, undisturbed: Any, tmp_path: Path
) -> None:
    path = pipeline(tmp_path / "run", sandbox.url, runner={"kind": "ray", "workers": 2}, source=HALVES)
    process = command(path, ray_environ)
    until(lambda: len(reports(path)) >= 2 and sandbox.stats()["total_requests"] > 60, process)
    started = psutil.Process(process.pid).children(recursive=True)
    kill_worker(path, process)
    code, said = ended(process)
    assert code == 0, said
    prove(path, sandbox, undisturbed, lost=4)
    # Ray says that a worker died, and nothing of its own start and end.
    assert "Traceback" not in said
    assert "Started a local Ray" not in said
    _, alive = psutil.wait_procs(started, timeout=20)
    assert not alive


@pytest.mark.timeout(400)
def test_a_partition_that_ray_gives_up_ends_the_run_with_one_sentence(
    ray_environ: dict[str, str], sandbox: SandboxProcess, tmp_path: Path
) -> None:
    path = pipeline(tmp_path / "run", sandbox.url, runner={"kind": "ray", "workers": 2}, source=HALVES)
    # Ray gives a partition up after its fourth worker; here after its first.
    process = command(path, {**ray_environ, "RAY_TASK_MAX_RETRIES": "0"})
    until(lambda: len(reports(path)) >= 2, process)
    kill_worker(path, process)
    code, said = ended(process)
    assert code == 3, said
    assert "Traceback" not in said
    seen = record(path)
    assert (seen["status"], seen["reason"]) == ("stopped", "stopped"), said
    assert "no worker process finished partition" in seen["message"]


@pytest.mark.timeout(400)
def test_ctrl_c_ends_a_run_and_the_ray_that_was_started_for_it_and_keeps_what_was_answered(
    ray_environ: dict[str, str], sandbox: SandboxProcess, undisturbed: Any, tmp_path: Path
) -> None:
    path = pipeline(tmp_path / "run", sandbox.url, runner={"kind": "ray", "workers": 2}, source=HALVES)
    process = command(path, ray_environ)
    until(lambda: len(reports(path)) >= 2 and sandbox.stats()["total_requests"] > 60, process)
    started = psutil.Process(process.pid).children(recursive=True)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    code, said = ended(process)
    assert time.monotonic() - began < 20
    assert (code, record(path)["status"]) == (130, "interrupted"), said
    _, alive = psutil.wait_procs(started, timeout=20)
    assert not alive
    # Resumed with threads.
    pipeline(tmp_path / "run", sandbox.url, source=HALVES)
    code, said = ended(command(path, ray_environ))
    assert code == 0, said
    prove(path, sandbox, undisturbed)
