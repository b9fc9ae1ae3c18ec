"""A real Prefect server, a real worker, a real schedule: what caps on Prefect's dependencies are for.

With a SQLAlchemy that Prefect cannot use, deployments are created and never scheduled, and only the server's log says
so: the one way to know is to wait for a scheduled run.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect_processes import ROOT, Prefect

from penstock.flow.deployments import ensure_pool
from penstock.flow.rest import call

pytestmark = [pytest.mark.slow, pytest.mark.prefect, pytest.mark.timeout(600)]


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


@pytest.fixture
def prefect(scheduling_server: Prefect, tmp_path: Path) -> Iterator[Prefect]:
    with scheduling_server.guest(tmp_path) as guest:
        yield guest


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
    call(prefect.api, "POST", f"/flow_runs/{running['id']}/set_state", cancelling, timeout=30, patience=30)
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
    deployment = call(prefect.api, "GET", f"/deployments/{done['deployment_id']}", timeout=30, patience=30).body
    assert deployment["parameter_openapi_schema"]["properties"]["most"]["type"] == "integer"


def test_prefects_own_command_deploys_the_example_and_doubles_nothing(prefect: Prefect) -> None:
    folder = ROOT / "flows"
    ensure_pool(prefect.api, "penstock")
    for _ in range(2):
        prefect.run("deploy", "--all", cwd=folder)
    (found,) = (one for one in prefect.deployments().values() if one["name"] == "embed-reviews-nightly")
    (schedule,) = found["schedules"]
    assert (schedule["schedule"]["cron"], schedule["slug"]) == ("0 2 * * *", "nightly")
    assert found["entrypoint"] == "run_pipeline.py:run_pipeline"
    assert found["pull_steps"] == [{"prefect.deployments.steps.set_working_directory": {"directory": str(folder)}}]
    assert (folder / found["parameters"]["pipeline"]).is_file()
