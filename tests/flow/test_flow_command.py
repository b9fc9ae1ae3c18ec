"""The command with its server, its sandbox and its signals, as a user meets them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from penstock.flow import embedded, server
from penstock.flow.rest import Api, call
from penstock.sandbox.launch import start as start_sandbox

pytestmark = [pytest.mark.slow, pytest.mark.prefect]
FLOWS = str(Path(server.__file__).parents[2])
MARK = "sk-marked-0123456789abcdef-marked"


def pipeline(folder: Path, provider: Any, rows: int = 40) -> Path:
    lines = [f"{index},text number {index}" for index in range(rows)]
    (folder / "rows.csv").write_text("\n".join(["id,text", *lines, ""]))
    path = folder / "embed.yaml"
    embed = {"uses": "embed", "input": "{{ text }}", "model": "text-embedding-3-small", "output": "vector"}
    content = {
        "name": "embed-texts",
        "provider": provider,
        "source": {"path": "rows.csv", "key": "id"},
        "steps": [embed],
        "outputs": [{"uses": "parquet", "path": "out"}],
    }
    path.write_text(json.dumps(content))
    return path


def command(*words: str | Path, **more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", "from penstock.cli import main; main()", *map(str, words)],
        env={**os.environ, "PYTHONPATH": FLOWS, **more},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def run(*words: str | Path, **more: str) -> tuple[int, str]:
    process = command(*words, **more)
    out, err = process.communicate(timeout=120)
    return process.returncode, out + err


def records(folder: Path) -> list[dict[str, Any]]:
    found = [json.loads(path.read_text()) for path in folder.glob(".penstock/embed-texts/runs/*/run.json")]
    return sorted(found, key=lambda record: str(record["run_id"]))


def flow_run(record: dict[str, Any]) -> dict[str, Any]:
    server_record = embedded.status().record
    assert server_record is not None
    found: dict[str, Any] = call(Api(server_record.url), "GET", f"/flow_runs/{record['flow_run_id']}", patience=5).body
    return found


def until_it_runs(folder: Path, process: subprocess.Popen[str]) -> dict[str, Any]:
    """The record of a run whose flow is running and whose first request is on its way."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and process.poll() is None:
        running = [record for record in records(folder) if record["status"] == "running" and record["flow_run_id"]]
        if running and flow_run(running[0])["state_type"] == "RUNNING":
            time.sleep(1)
            return running[0]
        time.sleep(0.1)
    raise AssertionError(process.communicate())


@pytest.fixture
def kept(home: Path, tmp_path: Path) -> Any:
    """A server for the test, up and kept, and gone at its end."""
    embedded.start(idle=120)
    yield tmp_path
    embedded.stop()


def left_over(folder: Path) -> list[str]:
    """Processes that were started for that folder and still live."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if str(folder).encode() in path.read_bytes() and path.parent.name != str(os.getpid()):
                found.append((path.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


def ends_in_time(kept: Path, stop: Callable[[subprocess.Popen[str], dict[str, Any]], object]) -> str:
    """Run, stop, and see the end within five seconds; a machine that stands still for a moment gets another try."""
    seconds = []
    for attempt in range(3):
        folder = kept / str(attempt)
        folder.mkdir()
        process = command("run", pipeline(folder, {"uses": "sandbox", "latency": "60s"}), "-q")
        record = until_it_runs(folder, process)
        stop(process, record)
        began = time.monotonic()
        out, err = process.communicate(timeout=30)
        seconds.append(time.monotonic() - began)
        assert process.returncode == 130, out + err
        assert "Traceback" not in out + err
        ended = records(folder)[-1]
        assert (ended["status"], ended["reason"]) == ("interrupted", "interrupted")
        seen = flow_run(ended)
        assert seen["state_type"] == "CANCELLED"
        if seconds[-1] < 5:
            return str(seen["state"]["message"])
    raise AssertionError(f"it took {seconds} seconds")


@pytest.mark.parametrize(("sign", "word"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM")])
def test_a_signal_ends_the_command_within_five_seconds_resumable(kept: Path, sign: signal.Signals, word: str) -> None:
    assert word in ends_in_time(kept, lambda process, _: process.send_signal(sign))


def test_cancelling_in_prefect_ends_the_command_within_five_seconds(kept: Path) -> None:
    def cancel(_: object, record: dict[str, Any]) -> None:
        server_record = embedded.status().record
        assert server_record is not None
        state = {"state": {"type": "CANCELLING", "name": "Cancelling"}}
        call(Api(server_record.url), "POST", f"/flow_runs/{record['flow_run_id']}/set_state", state, patience=5)

    ends_in_time(kept, cancel)


def test_a_killed_command_is_marked_as_crashed_by_the_next_one(kept: Path) -> None:
    path = pipeline(kept, {"uses": "sandbox", "latency": "60s"})
    process = command("run", path, "-q")
    record = until_it_runs(kept, process)
    process.kill()
    process.communicate()
    assert flow_run(record)["state_type"] == "RUNNING"
    path = pipeline(kept, "sandbox")
    code, said = run("run", path, "-q")
    assert code == 0, said
    assert flow_run(record)["state_type"] == "CRASHED"
    assert records(kept)[0]["status"] == "crashed"


def test_a_command_that_is_to_leave_no_process_leaves_none(home: Path, tmp_path: Path) -> None:
    path = pipeline(tmp_path, "sandbox")
    code, said = run("run", path, "-q", PENSTOCK_SERVER_KEEP="0")
    assert code == 0, said
    deadline = time.monotonic() + 10
    while left_over(home) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left_over(home) == []
    assert records(tmp_path)[0]["status"] == "completed"


def test_a_key_is_in_no_file_of_prefect_nor_of_ours(kept: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Neither after a run with that key nor after one that was refused for a wrong one."""
    said = ""
    for right_key in (MARK, "sk-another-one-entirely"):
        with start_sandbox(key=right_key) as sandbox:
            provider = {"uses": "openai", "base_url": sandbox.url, "api_key": "${MARKED_KEY}"}
            code, words = run("run", pipeline(kept, provider), "-q", MARKED_KEY=MARK)
        assert code == (0 if right_key == MARK else 3), words
        said += words
        (kept / ".penstock" / "embed-texts" / "parts").rename(kept / f"parts-{code}")
    assert [record["status"] for record in records(kept)] == ["completed", "stopped"]
    assert flow_run(records(kept)[1])["state_type"] == "FAILED"
    embedded.stop()
    assert MARK not in said
    holding = [path for path in kept.rglob("*") if path.is_file() and MARK.encode() in path.read_bytes()]
    assert holding == []
    database = b"".join(path.read_bytes() for path in kept.glob("home/prefect-*/prefect/prefect.db*"))
    assert b"embed-texts" in database, "what is searched is what was written"
