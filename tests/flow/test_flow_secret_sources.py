"""The address of a database in a Secret block: read where the run is, and written down nowhere."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import polars as pl
import pytest
from prefect_processes import Prefect
from test_flow_nights import make_secret_block

from penstock.flow.rest import call

pytestmark = [pytest.mark.slow, pytest.mark.prefect, pytest.mark.timeout(400)]
MARKED = "marked-7d20c4e1"


def test_a_run_reads_its_database_by_a_secret_block_and_writes_its_address_nowhere(
    scheduling_server: Prefect, tmp_path: Path
) -> None:
    database = tmp_path / f"{MARKED}.db"
    with sqlite3.connect(database) as connection:
        connection.execute("create table t (id integer, text text)")
        connection.executemany("insert into t values (?, ?)", [(number, f"text {number}") for number in range(20)])
    connection.close()
    folder = tmp_path / "pipelines"
    folder.mkdir()
    with scheduling_server.guest(folder) as prefect:
        make_secret_block(prefect, "shop-db", f"sqlite:///{database}")
        file = folder / "shop.yaml"
        content = {
            "name": "shop",
            "provider": "sandbox",
            "source": {"sql": "select id, text from t", "uri": "${prefect-secret:shop-db}", "key": "id"},
            "steps": [{"uses": "embed", "input": "{{ text }}", "model": "text-embedding-3-small"}],
            "outputs": [{"uses": "parquet", "path": "out"}],
        }
        file.write_text(json.dumps(content))
        told = prefect.penstock("run", str(file))
        assert pl.read_parquet(folder / "out")["id"].to_list() == list(range(20))
        deployed = json.loads(prefect.penstock("deploy", str(file), "--json"))["deployments"][0]
        prefect.start("worker", "start", "--pool", "penstock", PREFECT_WORKER_QUERY_SECONDS="2")
        prefect.begin(deployed["id"])
        prefect.until(lambda run: "20 rows" in (run["state"]["message"] or ""), 120, "shop")
        wrong = json.dumps(content).replace("{{ text }}", "{{ body }}")
        file.write_text(wrong)
        with pytest.raises(AssertionError, match="there is no column `body` here"):
            prefect.penstock("run", str(file))
        logs = prefect.logs()
        asked = call(prefect.api, "POST", "/logs/filter", {"limit": 200}, timeout=30, patience=30).body
    assert MARKED not in told + logs + json.dumps([deployed, asked])
    written = [path for path in folder.rglob("*") if path.is_file() and MARKED.encode() in path.read_bytes()]
    assert written == []
