"""Runs on several machines that share one limit: two commands that know of each other only through a Prefect server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from penstock.engine.shared import account_digest
from penstock.flow import embedded, server
from penstock.flow.connection import Connection
from penstock.flow.rest import Api, call
from penstock.sandbox.launch import SandboxProcess
from penstock.sandbox.launch import start as start_sandbox

pytestmark = [pytest.mark.slow, pytest.mark.prefect]
FLOWS = str(Path(server.__file__).parents[2])
PER_MINUTE = 600
MINUTE = 60.0
# What may be bought at once after a rest: six seconds of the limit.
BURST = PER_MINUTE // 10
AWAY_SECONDS = 10.0
KEY = "sk-sandbox"
MODEL = "text-embedding-3-small"


@pytest.fixture
def own_server(home: Path) -> Iterator[embedded.ServerRecord]:
    """A Prefect server of the test's own, which it may kill."""
    yield embedded.start(idle=300)
    embedded.stop()


def pipeline(folder: Path, url: str, **limits: Any) -> Path:
    """Each machine has its own folder, source and state; the texts differ, so that an answer tells whose it was."""
    folder.mkdir()
    (folder / "rows.csv").write_text("\n".join(["id,text", *(f"{i},{folder.name} {i}" for i in range(3000)), ""]))
    content = {
        "name": "embed-texts",
        "provider": {"base_url": url, "api_key": "${SERVICE_KEY}", "limits": {"shared": "prefect", **limits}},
        "source": {"path": "rows.csv", "key": "id", "partition_rows": 1000},
        "steps": [
            {
                "uses": "embed",
                "input": "{{ text }}",
                "model": MODEL,
                "dimensions": 16,
                "batch_size": 1,
                "output": "vector",
            }
        ],
        "outputs": [{"uses": "parquet", "path": "out"}],
    }
    path = folder / "embed.yaml"
    path.write_text(json.dumps(content))
    return path


def machine(path: Path, api_url: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", "from penstock.cli import main; main()", "run", str(path), "--quiet"],
        env={**os.environ, "PYTHONPATH": FLOWS, "SERVICE_KEY": KEY, "PREFECT_API_URL": api_url},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


class Look(NamedTuple):
    """When, how many requests were answered well by then, and how many were refused."""

    at: float
    good: int
    bad: int


@dataclass
class Meter:
    """What the service answered, looked at every quarter of a second."""

    sandbox: SandboxProcess
    seen: list[Look] = field(default_factory=list)

    def look(self) -> Look:
        counts = self.sandbox.stats()["requests"].get("/v1/embeddings", {})
        self.seen.append(Look(time.monotonic(), counts.get("200", 0), counts.get("429", 0)))
        return self.seen[-1]

    def until(self, over: Callable[[Look], bool], machines: list[subprocess.Popen[str]]) -> None:
        deadline = time.monotonic() + 120
        while not over(self.look()):
            assert all(one.poll() is None for one in machines), [one.communicate() for one in machines if one.poll()]
            assert time.monotonic() < deadline
            time.sleep(0.25)


def record(path: Path) -> dict[str, Any]:
    found = max(path.parent.glob(".penstock/embed-texts/runs/*/run.json"))
    return dict(json.loads(found.read_text()))


def use_up_the_first_minute(sandbox: SandboxProcess, spare: int) -> None:
    """The service's bucket begins full; with what is left of it, nobody can be over the limit for long unseen."""
    with httpx.Client(base_url=sandbox.url, headers={"Authorization": f"Bearer {KEY}"}) as client:
        for number in range(PER_MINUTE - spare):
            asked = client.post("embeddings", json={"model": MODEL, "input": f"before {number}", "dimensions": 16})
            assert asked.status_code == 200


def counted(api_url: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = call(
        Api(api_url), "POST", "/v2/concurrency_limits/filter", {}, timeout=30, patience=30
    ).body
    return found


def test_two_machines_use_a_shared_limit_up_and_keep_to_it_also_when_the_prefect_server_is_killed(
    own_server: embedded.ServerRecord, tmp_path: Path
) -> None:
    with start_sandbox(rpm=PER_MINUTE) as sandbox:
        paths = [pipeline(tmp_path / name, sandbox.url, requests_per_minute=PER_MINUTE) for name in ("east", "west")]
        machines = [machine(path, own_server.url) for path in paths]
        use_up_the_first_minute(sandbox, 2 * BURST)
        sandbox.change(latency="100ms")
        meter = Meter(sandbox)
        before = meter.look()
        meter.until(lambda look: look.good > before.good, machines)
        first = meter.seen[-2]
        meter.until(lambda look: look.good > before.good + BURST, machines)
        steady = meter.seen[-1]
        meter.until(lambda look: look.at - steady.at > MINUTE, machines)
        end = meter.seen[-1]
        limits = counted(own_server.url)
        os.kill(own_server.pid, signal.SIGKILL)
        meter.until(lambda look: look.at - end.at > AWAY_SECONDS, machines)
        last = meter.seen[-1]
        for one in machines:
            one.send_signal(signal.SIGTERM)
        said = [one.communicate(timeout=60) for one in machines]

    # The steady minute, and all since the first request; the second may hold what was bought at once.
    allowed = PER_MINUTE * (end.at - steady.at) / MINUTE
    assert 0.9 * allowed <= end.good - steady.good <= allowed + BURST
    assert end.good - first.good <= PER_MINUTE * (end.at - first.at) / MINUTE + BURST + 2
    assert end.bad < 0.01 * (end.good - first.good + end.bad)
    # Without the server they go on, together below the limit, and say so; what they still held is spent first.
    alone = PER_MINUTE * (last.at - end.at) / MINUTE
    assert 0.5 * alone <= last.good - end.good <= alone + BURST
    assert last.bad - end.bad <= 1
    seen = [record(path) for path in paths]
    for one, machine_said in zip(seen, said, strict=True):
        assert any("counts the shared limits is away" in note for note in one["notes"]), machine_said
        assert (one["status"], one["usage"]["requests"] > 0.2 * (last.good - first.good)) == ("interrupted", True)
    assert [limit["name"].rsplit("-", 1)[1] for limit in limits] == ["requests"]
    assert KEY not in json.dumps(limits)


def test_a_run_that_finds_another_number_in_use_sends_nothing_and_names_both(
    connection: Connection, tmp_path: Path
) -> None:
    with start_sandbox() as sandbox:
        path = pipeline(tmp_path / "east", sandbox.url, requests_per_minute=PER_MINUTE, tokens_per_minute=100_000)
        name = f"penstock-{account_digest(sandbox.url, KEY, '', '', MODEL)}-requests"
        other = {"name": name, "limit": 3000, "slot_decay_per_second": 500}
        call(connection.api, "POST", "/v2/concurrency_limits/", other, timeout=30, patience=30)
        run = machine(path, connection.url)
        out, err = run.communicate(timeout=120)
        assert sandbox.stats()["total_requests"] == 0
    assert run.returncode == 3, out + err
    assert f"shares 600 requests a minute of {MODEL} at {sandbox.url}" in out + err
    assert "sharing 300 of them now" in out + err
    assert name in out + err
    assert (record(path)["reason"], KEY in out + err) == ("limits", False)
