"""A real Prefect server, a real worker, a real schedule: what caps on Prefect's dependencies are for.

With a SQLAlchemy that Prefect cannot use, deployments are created and never scheduled, and only the server's log says
so: the one way to know is to wait for a scheduled run.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.flow.rest import Api, ServerUnavailable, call

pytestmark = [pytest.mark.slow, pytest.mark.prefect, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[2]


def pipeline(folder: Path, **more: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "rows.csv").write_text("id,text\n" + "".join(f"{index},text {index}\n" for index in range(20)))
    embed = {"uses": "embed", "input": "{{ text }}", "model": "text-embedding-3-small", "output": "vector"}
    path = folder / "nightly.yaml"
    content = {
        "name": "nightly",
        "provider": {"uses": "sandbox", **more},
        "source": {"path": "rows.csv", "key": "id"},
        "steps": [embed],
        "outputs": [{"uses": "parquet", "path": "out"}],
    }
    path.write_text(json.dumps(content))
    return path


class Prefect:
    """Prefect's command line against one server, and the processes that it started."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.api = Api(f"http://127.0.0.1:{port}/api")
        self.port = port
        self._started: list[subprocess.Popen[bytes]] = []
        quiet = {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1", "PREFECT_CLI_PROMPT": "false"}
        places = {
            "PREFECT_HOME": str(folder / "home"),
            "PREFECT_API_URL": self.api.url,
            "PYTHONPATH": str(ROOT / "flows"),
        }
        self.environment = {**os.environ, **quiet, **places}

    def run(self, *words: str) -> None:
        done = subprocess.run(
            self._command(words), cwd=ROOT, env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self, *words: str) -> None:
        with (self.folder / f"{words[0]}.log").open("wb") as log:
            process = subprocess.Popen(
                self._command(words), cwd=ROOT, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
        self._started.append(process)

    def end(self) -> None:
        for process in reversed(self._started):
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def runs(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = call(self.api, "POST", "/flow_runs/filter", {}, patience=10).body
        return found

    def until(self, wanted: Callable[[dict[str, Any]], bool], limit: float) -> dict[str, Any]:
        """The first flow run that is as wanted."""
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            for run in self.runs():
                if wanted(run):
                    return run
            time.sleep(1)
        states = [(run["name"], run["state_name"], run["state"]["message"]) for run in self.runs()]
        raise AssertionError(f"{states}\n{self.logs()}")

    def logs(self) -> str:
        return "\n".join(path.read_text()[-4000:] for path in self.folder.glob("*.log"))

    def _command(self, words: tuple[str, ...]) -> list[str]:
        return [sys.executable, "-m", "prefect", *words]


@pytest.fixture
def prefect(tmp_path: Path) -> Iterator[Prefect]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "home").mkdir()
    found = Prefect(tmp_path, port)
    found.start("server", "start", "--host", "127.0.0.1", "--port", str(port))
    try:
        wait_until_healthy(found)
        yield found
    finally:
        found.end()


def wait_until_healthy(found: Prefect) -> None:
    deadline = time.monotonic() + 150
    while True:
        try:
            call(found.api, "GET", "/health")
        except ServerUnavailable:
            assert time.monotonic() < deadline, found.logs()
            time.sleep(0.5)
        else:
            return


def test_a_deployed_pipeline_runs_by_its_schedule_and_can_be_cancelled(prefect: Prefect, tmp_path: Path) -> None:
    path = pipeline(tmp_path / "project")
    prefect.run("work-pool", "create", "local", "--type", "process")
    entry = "flows/run_pipeline.py:run_pipeline"
    values = json.dumps({"pipeline": str(path)})
    prefect.run("deploy", entry, "-n", "nightly", "-p", "local", "--interval", "20", "--params", values)
    prefect.start("worker", "start", "--pool", "local", "--name", "one")

    done = prefect.until(lambda run: run["auto_scheduled"] and run["state_type"] == "COMPLETED", 240)
    assert done["state"]["message"].startswith("20 rows: 20 written")
    assert done["name"] == str(path)
    record = json.loads(next(path.parent.glob(".penstock/nightly/runs/*/run.json")).read_text())
    assert record["status"] == "completed"
    assert record["flow_run_id"] in {run["id"] for run in prefect.runs()}
    assert list((path.parent / "out").glob("*.parquet"))

    # A slow server: the next scheduled run is in its first request when somebody cancels it.
    pipeline(path.parent, latency="90s", seed=1)
    (path.parent / "rows.csv").write_text("id,text\n1,something new\n")
    running = prefect.until(lambda run: run["state_type"] == "RUNNING" and run["id"] != done["id"], 120)
    time.sleep(5)
    began = time.monotonic()
    cancelling = {"state": {"type": "CANCELLING", "name": "Cancelling"}}
    call(prefect.api, "POST", f"/flow_runs/{running['id']}/set_state", cancelling, patience=10)
    prefect.until(lambda run: run["id"] == running["id"] and run["state_type"] == "CANCELLED", 60)
    assert time.monotonic() - began < 15
    last = max(path.parent.glob(".penstock/nightly/runs/*/run.json"))
    assert json.loads(last.read_text())["status"] == "interrupted", "it ended by itself and was not killed"


def test_a_compiled_flow_is_served_with_the_pipelines_own_parameters(prefect: Prefect, tmp_path: Path) -> None:
    path = pipeline(tmp_path / "project")
    content = json.loads(path.read_text())
    where = {"uses": "filter", "where": "id <= ${params.most}"}
    content |= {"params": {"most": 20}, "steps": [where, *content["steps"]]}
    path.write_text(json.dumps(content))
    script = tmp_path / "serve.py"
    script.write_text(
        "from penstock.flow.compile import compile_pipeline\n"
        f"flow = compile_pipeline({str(path)!r})\n"
        "if __name__ == '__main__':\n"
        "    flow.serve(name='served', interval=30, parameters={'most': 4}, limit=1)\n"
    )
    with (tmp_path / "serve.log").open("wb") as log:
        serving = subprocess.Popen(
            [sys.executable, str(script)], env=prefect.environment, cwd=tmp_path, stdout=log, stderr=log
        )
    try:
        done = prefect.until(lambda run: run["auto_scheduled"] and run["state_type"] == "COMPLETED", 240)
    finally:
        serving.terminate()
        serving.wait(30)
    assert done["state"]["message"].startswith("20 rows: 5 written, 15 filtered")
    assert done["parameters"] == {"most": 4}
    deployment = call(prefect.api, "GET", f"/deployments/{done['deployment_id']}", patience=10).body
    assert deployment["parameter_openapi_schema"]["properties"]["most"]["type"] == "integer"
