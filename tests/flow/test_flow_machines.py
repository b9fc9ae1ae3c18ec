"""Runs whose partitions are worked on by other processes: what is asked, paid and made is that of one process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from penstock.flow import embedded, server
from penstock.sandbox.launch import SandboxProcess
from penstock.sandbox.launch import start as start_sandbox

pytestmark = [pytest.mark.slow, pytest.mark.prefect]
FLOWS = str(Path(server.__file__).parents[2])
ROWS, PARTITION = 600, 60
HALVES = {"path": "rows.csv", "key": "id", "partition_rows": ROWS // 2}
"""Partitions that keep a worker busy for seconds, so that it can be met at work."""


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of commands: one local Prefect server for all of them."""
    home = tmp_path_factory.mktemp("machines")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PENSTOCK_HOME", str(home / "home"))
        patch.setenv("PREFECT_HOME", str(home / "prefect"))
        embedded.start(idle=300)
        yield {
            **os.environ,
            "PYTHONPATH": FLOWS,
            "PENSTOCK_HOME": str(home / "home"),
            "PREFECT_HOME": str(home / "prefect"),
            "SERVICE_KEY": "sk-sandbox",
        }
        embedded.stop()


@pytest.fixture
def sandbox() -> Iterator[SandboxProcess]:
    with start_sandbox(latency="100ms") as process:
        yield process


def pipeline(folder: Path, url: str, **more: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rows.csv").write_text("\n".join(["id,text", *(f"{i},text number {i}" for i in range(ROWS)), ""]))
    embed = {
        "uses": "embed",
        "input": "{{ text }}",
        "model": "text-embedding-3-small",
        "dimensions": 16,
        "batch_size": 2,
        "output": "vector",
    }
    content = {
        "name": "embed-texts",
        "provider": {"base_url": url, "api_key": "${SERVICE_KEY}", "limits": {"concurrency": 8}},
        "source": {"path": "rows.csv", "key": "id", "partition_rows": PARTITION},
        "steps": [embed],
        "outputs": [{"uses": "parquet", "path": "out"}],
        **more,
    }
    path = folder / "embed.yaml"
    path.write_text(json.dumps(content))
    return path


def command(path: Path, environ: dict[str, str], *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", "from penstock.cli import main; main()", "run", str(path), "--quiet", *words],
        env=environ,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    out, err = process.communicate(timeout=240)
    return process.returncode, out + err


def record(path: Path) -> dict[str, Any]:
    found = max(path.parent.glob(".penstock/embed-texts/runs/*/run.json"))
    return dict(json.loads(found.read_text()))


def table(path: Path) -> Any:
    import polars as pl

    made = pl.read_parquet(path.parent / "out").sort("id").unnest("embed_usage")
    # The one thing that no two requests share.
    return made.drop("request_id")


def until(what: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not what():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def reports(path: Path) -> list[dict[str, Any]]:
    found = path.parent.glob(".penstock/embed-texts/runs/*/workers/*.report.json")
    return [json.loads(one.read_text()) for one in found]


@pytest.fixture(scope="module")
def undisturbed(machines: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The table that threads make of the rows."""
    with start_sandbox() as process:
        path = pipeline(tmp_path_factory.mktemp("undisturbed"), process.url)
        code, said = ended(command(path, machines))
        assert code == 0, said
        return table(path)


def prove(path: Path, sandbox: SandboxProcess, undisturbed: Any, *, lost: int = 0) -> dict[str, Any]:
    """A run is complete, equal to the undisturbed one, and sent no more than `lost` requests twice."""
    made = table(path)
    assert made.equals(undisturbed)
    seen = record(path)
    account = seen["account"]
    assert (account["read"], account["written"], account["failed"]) == (ROWS, ROWS, 0)
    assert ROWS // 2 <= sandbox.stats()["total_requests"] <= ROWS // 2 + lost
    return seen


def test_killed_processes_of_a_pool_cost_the_requests_in_flight_and_the_table_is_that_of_threads(
    machines: dict[str, str], sandbox: SandboxProcess, undisturbed: Any, tmp_path: Path
) -> None:
    path = pipeline(tmp_path, sandbox.url, runner={"kind": "processes", "workers": 2})
    process = command(path, machines)
    until(lambda: len(reports(path)) >= 2 and sandbox.stats()["total_requests"] > 60, process)
    victim = int(reports(path)[0]["worker"].split("-")[-2])
    os.kill(victim, signal.SIGKILL)
    code, said = ended(process)
    assert code == 0, said
    # The pool ends its other process too: what both had in flight, 8 together, is asked again.
    seen = prove(path, sandbox, undisturbed, lost=8)
    assert len(reports(path)) >= 3
    assert seen["usage"]["requests"] <= sandbox.stats()["total_requests"]


def test_a_budget_holds_over_all_processes_of_a_run(
    machines: dict[str, str], sandbox: SandboxProcess, tmp_path: Path
) -> None:
    path = pipeline(tmp_path, sandbox.url, runner={"kind": "processes", "workers": 2}, budget={"tokens": 1000})
    code, said = ended(command(path, machines))
    seen = record(path)
    assert (code, seen["reason"]) == (3, "budget"), said
    assert "the budget of 1,000 tokens is used up" in seen["message"]
    assert 900 < seen["usage"]["prompt_tokens"] <= 1000
    assert seen["usage"]["requests"] == sandbox.stats()["total_requests"]


def test_ctrl_c_ends_all_processes_of_a_pool_and_keeps_what_was_answered(
    machines: dict[str, str], sandbox: SandboxProcess, undisturbed: Any, tmp_path: Path
) -> None:
    path = pipeline(tmp_path, sandbox.url, runner={"kind": "processes", "workers": 2})
    process = command(path, machines)
    until(lambda: len(reports(path)) >= 2 and sandbox.stats()["total_requests"] > 60, process)
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 2
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    code, said = ended(process)
    assert time.monotonic() - began < 12
    seen = record(path)
    assert (code, seen["status"], seen["reason"]) == (130, "interrupted", "interrupted"), said
    _, alive = psutil.wait_procs(children, timeout=5)
    assert not alive
    # Resumed with threads: the runner changes nothing of what is made, or of what was paid.
    pipeline(tmp_path, sandbox.url)
    code, said = ended(command(path, machines))
    assert code == 0, said
    prove(path, sandbox, undisturbed)


def test_processes_of_a_pool_end_with_the_run_that_is_killed(
    machines: dict[str, str], sandbox: SandboxProcess, tmp_path: Path
) -> None:
    path = pipeline(tmp_path, sandbox.url, runner={"kind": "processes", "workers": 2})
    process = command(path, machines)
    until(lambda: len(reports(path)) >= 2, process)
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive
