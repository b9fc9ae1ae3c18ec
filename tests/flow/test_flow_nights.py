"""Nights on a real server with a real worker, and what they leave in Prefect.

The scenario is played once (fixture `nights`), and each test holds one of its facts. With
``PENSTOCK_TEST_DATABASE=postgres`` the server keeps its records in a PostgreSQL of its own.
"""

from __future__ import annotations

import json
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from prefect_processes import Prefect

from penstock.flow.rest import call
from penstock.flow.zombies import ensure_automation
from penstock.sandbox.launch import start as start_sandbox

pytestmark = [pytest.mark.slow, pytest.mark.prefect, pytest.mark.timeout(600)]
KEY = "sk-night-marked-5b1e9c07a2d4"
WRONG_KEY = "sk-wrong-marked-83f0d6e1c95a"
PENSTOCK = ("-c", "from penstock.cli import main; main()")


def write_rows(folder: Path, count: int, changed: int | None = None) -> None:
    texts = [f"text {index}" + " anew" * (index == changed) for index in range(count)]
    written = folder / "rows.csv.new"
    written.write_text("id,text\n" + "".join(f"{index},{text}\n" for index, text in enumerate(texts)))
    # A night may just begin: it has the old rows or the new ones.
    written.replace(folder / "rows.csv")


def pipeline(folder: Path, name: str, url: str, api_key: str, **more: Any) -> Path:
    content = {
        "name": name,
        "description": "Vectors of the day.",
        "tags": ["reviews"],
        "params": {"most": {"type": "integer", "default": 1000, "description": "Rows up to this id."}},
        "provider": {"base_url": url, "api_key": api_key},
        "source": {"path": "rows.csv", "key": "id", "partition_rows": 20},
        "steps": [
            {"uses": "filter", "where": "id <= ${params.most}"},
            {"uses": "embed", "input": "{{ text }} " + name, "model": "text-embedding-3-small", "output": "vector"},
        ],
        "outputs": [{"uses": "parquet", "path": f"out-{name}"}],
        "incremental": True,
    }
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps(content | more))
    return path


def inputs_asked(url: str) -> int:
    """Texts that the sandbox answered, and would have been paid for."""
    with urllib.request.urlopen(url.removesuffix("/v1") + "/_sandbox/stats") as answer:  # noqa: S310  # http, loopback
        return int(json.load(answer)["inputs"])


def make_secret_block(prefect: Prefect, name: str, value: str) -> None:
    kind = call(prefect.api, "GET", "/block_types/slug/secret", timeout=30, patience=30).body["id"]
    asked = {"block_schemas": {"block_type_id": {"any_": [kind]}}}
    schema = call(prefect.api, "POST", "/block_schemas/filter", asked, timeout=30, patience=30).body[0]["id"]
    document = {"name": name, "data": {"value": value}, "block_type_id": kind, "block_schema_id": schema}
    call(prefect.api, "POST", "/block_documents/", document, timeout=30, patience=30)


@dataclass
class Nights:
    """What was seen.

    Attributes:
        told: what `penstock deploy` printed, the first and the second time.
        runs: the runs whose time had come, and all states of each.
        asked: texts answered by the sandbox, after the first and after the second night.
        refused: the run with a wrong key.
        served: the run that `penstock serve` started, and the command's exit code.
    """

    prefect: Prefect
    folder: Path
    told: list[list[dict[str, Any]]] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)
    states: dict[str, list[str]] = field(default_factory=dict)
    asked: list[int] = field(default_factory=list)
    second: dict[str, Any] = field(default_factory=dict)
    refused: dict[str, Any] = field(default_factory=dict)
    served: dict[str, Any] = field(default_factory=dict)
    serve_codes: list[int] = field(default_factory=list)

    def told_by_deploy(self, *words: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.prefect.penstock("deploy", *words, "--json"))["deployments"]
        return found


@pytest.fixture(scope="module")
def nights(scheduling_server: Prefect, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nights]:
    folder = tmp_path_factory.mktemp("nights")
    write_rows(folder, 40)
    # A night takes longer than it is until the next, also where everything else is quick.
    with start_sandbox(key=KEY, latency="8s") as sandbox, scheduling_server.guest(folder) as prefect:
        make_secret_block(prefect, "night-key", KEY)
        seen = Nights(prefect, folder)
        file = pipeline(folder, "night", sandbox.url, "${prefect-secret:night-key}", schedule={"every": "10s"})
        refused = pipeline(folder, "refused", sandbox.url, "${REFUSED_KEY}")
        served = pipeline(folder, "served", sandbox.url, "${SERVED_KEY}", schedule={"every": "10s"})
        seen.told += [seen.told_by_deploy(str(file), str(refused)), seen.told_by_deploy(str(file), str(refused))]
        prefect.start("worker", "start", "--pool", "penstock", REFUSED_KEY=WRONG_KEY, PREFECT_WORKER_QUERY_SECONDS="2")
        prefect.begin(seen.told[0][1]["id"])

        prefect.until(lambda run: "40 rows" in (run["state"]["message"] or ""), 240, "night")
        seen.asked.append(inputs_asked(sandbox.url))
        write_rows(folder, 45, changed=3)
        seen.second = prefect.until(
            lambda run: "45 rows: 45 written, 5 new, 1 changed, 39 unchanged; " in (run["state"]["message"] or ""),
            120,
            "night",
        )
        seen.asked.append(inputs_asked(sandbox.url))
        sandbox.change(latency="0s")
        seen.told_by_deploy(str(file), "--paused")
        seen.refused = prefect.until(lambda run: run["state_type"] == "FAILED", 60, "refused")
        seen.runs = prefect.runs("night")
        for run in seen.runs:
            states = call(
                prefect.api, "GET", f"/flow_run_states/?flow_run_id={run['id']}", timeout=30, patience=30
            ).body
            seen.states[run["id"]] = [state["name"] for state in states]
        prefect.end()

        prefect.start("serve", str(served), program=PENSTOCK, SERVED_KEY=KEY)
        seen.served = prefect.until(lambda run: run["state_name"] == "Completed", 120, "served")
        seen.serve_codes = prefect.end(signal.SIGINT)
        yield seen


def test_the_first_night_pays_for_all_and_the_second_only_for_what_is_new(nights: Nights) -> None:
    assert nights.asked == [40, 46]
    assert nights.second["auto_scheduled"]


def test_a_run_that_is_due_while_another_goes_on_waits_for_its_turn(nights: Nights) -> None:
    waited = [run for run, states in nights.states.items() if "AwaitingConcurrencySlot" in states]
    assert waited, nights.states
    began = sorted((run for run in nights.runs if run["run_count"]), key=lambda run: run["start_time"])
    assert len(began) >= 2
    for one, next_one in pairwise(began):
        ended = one["end_time"] or "9999"
        assert datetime.fromisoformat(ended) <= datetime.fromisoformat(next_one["start_time"])


def test_deploying_again_doubles_nothing_and_leaves_what_is_the_same(nights: Nights) -> None:
    first, again = nights.told
    assert [one["outcome"] for one in first] == ["made", "made"]
    assert [one["outcome"] for one in again] == ["unchanged", "unchanged"]
    assert [one["id"] for one in first] == [one["id"] for one in again]


def test_each_deployment_has_one_eye_for_runs_that_died(nights: Nights) -> None:
    asked = {
        "automations": {
            "name": {"any_": [f"Penstock: runs of {name} whose process died" for name in seen_names(nights)]}
        }
    }
    found = call(nights.prefect.api, "POST", "/automations/filter", asked, timeout=30, patience=30).body
    resources = [one["trigger"]["match_related"]["prefect.resource.id"] for one in found]
    wanted = [f"prefect.deployment.{one['id']}" for one in nights.told[0]]
    assert len(found) == 3
    assert all([one] in resources for one in wanted)
    deployed = nights.told[0][0]["id"]
    changed = ensure_automation(nights.prefect.api, deployed, "night/deployed", 700)
    (now,) = (
        one
        for one in call(nights.prefect.api, "POST", "/automations/filter", asked, timeout=30, patience=30).body
        if one["id"] == changed
    )
    assert now["trigger"]["within"] == 700
    assert changed in {one["id"] for one in found}


def test_a_change_of_the_schedule_replaces_it(nights: Nights) -> None:
    from penstock.flow.compile import read_pipeline
    from penstock.flow.deployments import Made, Wish, deploy

    def deployed(**wish: Any) -> Made:
        loaded = read_pipeline(file, wish.get("params"))
        return deploy(nights.prefect.api, loaded, Wish(pool="penstock", **wish))

    file = nights.folder / "night.yaml"
    content = json.loads(file.read_text())
    schedule = {"cron": "0 2 * * *", "timezone": "Europe/Berlin"}
    file.write_text(json.dumps(content | {"schedule": schedule, "description": "At two."}))
    changed = deployed()
    found = nights.prefect.deployments()[changed.id]
    assert (changed.outcome, changed.paused) == ("changed", True), "a paused one stays so"
    (one,) = found["schedules"]
    assert {name: one["schedule"][name] for name in schedule} == schedule
    assert found["description"] == "At two."
    assert seen_names(nights) == ["night/deployed", "refused/deployed", "served/served"]
    active = deployed(paused=False, params={"most": "7"})
    assert active.next_time is not None
    assert active.next_time.hour == 2
    assert nights.prefect.deployments()[changed.id]["parameters"] == {"most": 7}
    without = deployed(is_scheduled=False)
    assert (without.schedule, nights.prefect.deployments()[changed.id]["schedules"]) == (None, [])


def seen_names(nights: Nights) -> list[str]:
    names = {
        one["id"]: one["name"]
        for one in call(nights.prefect.api, "POST", "/flows/filter", {}, timeout=30, patience=30).body
    }
    made = {key: one for key, one in nights.prefect.deployments().items() if key not in nights.prefect._before}
    return sorted(f"{names[one['flow_id']]}/{one['name']}" for one in made.values())


def test_the_form_of_a_deployment_asks_for_the_pipelines_parameters(nights: Nights) -> None:
    found = nights.prefect.deployments()[nights.told[0][0]["id"]]
    most = found["parameter_openapi_schema"]["properties"]["most"]
    assert (most["type"], most["default"], most["description"]) == ("integer", 1000, "Rows up to this id.")
    assert (found["tags"], found["global_concurrency_limit"]["limit"]) == (["reviews"], 1)
    assert found["concurrency_options"]["collision_strategy"] == "ENQUEUE"


def test_prefect_shows_the_account_of_a_run(nights: Nights) -> None:
    found = artifacts(nights, nights.second)
    assert found["markdown"]["key"] == "night-summary"
    assert "| read | 45 |" in found["markdown"]["data"]
    assert "| written | 45 |" in found["markdown"]["data"]
    assert "| changed | 1 |" in found["markdown"]["data"]
    assert str(nights.folder / "out-night") in found["markdown"]["data"]


def artifacts(nights: Nights, run: dict[str, Any]) -> dict[str, dict[str, Any]]:
    wanted = {"artifacts": {"flow_run_id": {"any_": [run["id"]]}}}
    found = call(nights.prefect.api, "POST", "/artifacts/filter", wanted, timeout=30, patience=30).body
    return {one["type"]: one for one in found}


def test_a_run_that_cannot_do_its_work_fails_with_a_sentence_that_says_why(nights: Nights) -> None:
    message = nights.refused["state"]["message"]
    assert "REFUSED_KEY" in message
    assert "penstock resume" in message
    assert "wrong-marked" not in message


def test_serve_runs_a_schedule_and_ends_by_ctrl_c(nights: Nights) -> None:
    assert nights.served["auto_scheduled"]
    assert "45 rows: 45 written" in nights.served["state"]["message"]
    assert nights.serve_codes == [0]


def test_times_that_were_missed_are_settled_by_the_first_run_that_begins(nights: Nights) -> None:
    from penstock.flow.catching_up import SKIPPED, settle_missed
    from penstock.spec.schedule import ScheduleSettings

    # Nobody has served this one since the test before.
    def late() -> list[dict[str, Any]]:
        return [run for run in nights.prefect.runs("served") if run["state_type"] == "SCHEDULED"]

    deadline = time.monotonic() + 40
    while len(late()) < 3 and time.monotonic() < deadline:
        time.sleep(1)
    first, *others = late()
    for catch_up, skipped in (("each", 0), ("never", 0), ("once", len(others))):
        schedule = ScheduleSettings(every=10, catch_up=catch_up)
        assert settle_missed(nights.prefect.api, first["id"], schedule) is None
        states = {run["id"]: run["state_name"] for run in nights.prefect.runs("served")}
        assert sum(states[run["id"]] == SKIPPED for run in others) == skipped
        assert states[first["id"]] != SKIPPED


def test_no_key_stands_in_the_servers_database_its_files_or_any_output(nights: Nights) -> None:
    marks = [KEY, WRONG_KEY, "night-marked", "wrong-marked"]
    looked_at = b""
    for file in [*nights.prefect.home.rglob("*"), *nights.folder.rglob("*"), *nights.prefect.home.parent.glob("*.log")]:
        if file.is_file():
            content = file.read_bytes()
            looked_at += content if file.name.startswith("prefect.db") else b""
            assert not [mark for mark in marks if mark.encode() in content], file
    looked_at += dumped_database(nights.prefect).encode()
    assert not [mark for mark in marks if mark.encode() in looked_at]
    assert b"45 rows: 45 written" in looked_at, "what is in the database is found there"


def dumped_database(prefect: Prefect) -> str:
    """All rows of the server's database as text; nothing on SQLite, whose file is looked through."""
    uri = prefect.environment.get("PREFECT_SERVER_DATABASE_CONNECTION_URL")
    if uri is None:
        assert (prefect.home / "prefect.db").exists()
        return ""
    plain = uri.replace("+asyncpg", "")
    return subprocess.run(["pg_dump", "--data-only", plain], capture_output=True, text=True, check=True).stdout
