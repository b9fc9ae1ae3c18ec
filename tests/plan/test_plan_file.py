"""A plan sends nothing, touches nothing of others, and comes back from its file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from plan_bench import PlanBench

from penstock.errors import InputError
from penstock.plan.make import HIDDEN
from penstock.plan.model import read_plan

ALONE = """
import socket, sys
from pathlib import Path
def refuse(*arguments, **settings):
    raise AssertionError("a plan opened a connection")
socket.socket.connect = refuse
from penstock.plan.make import make_plan
from penstock.spec import load
from penstock.tables.state import State
loaded = load(Path(sys.argv[1]))
plan = make_plan(loaded, state=State(Path(sys.argv[2]), "bench"))
print(len(plan.tasks), *[name for name in ("prefect", "httpx", "httptools", "uvicorn") if name in sys.modules])
"""


def test_a_plan_needs_no_network_no_key_and_no_prefect_and_writes_nothing(bench: PlanBench) -> None:
    bench.rows(10)
    bench.write()
    before = sorted(bench.folder.rglob("*"))
    arguments = [sys.executable, "-c", ALONE, str(bench.file), str(bench.state.root)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert (done.stdout.split(), done.stderr) == (["1"], "")
    assert sorted(bench.folder.rglob("*")) == before


def test_a_plan_comes_back_from_its_file_with_the_types_of_the_source(bench: PlanBench) -> None:
    bench.rows(25)
    bench.write(source="key: id\npartition_rows: 10")
    plan = bench.plan()
    plan.write(bench.folder / "plan.json")
    again = read_plan(bench.folder / "plan.json")
    assert again == plan
    assert {name: str(kind) for name, kind in again.source_schema.items()} == {"id": "Int64", "text": "String"}
    assert again.segment("embed").api


def test_no_key_reaches_a_plan(bench: PlanBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_KEY", "plain-looking-key-0123456789")
    bench.rows(3)
    bench.write()
    bench.plan().write(bench.folder / "plan.json")
    text = (bench.folder / "plan.json").read_text()
    assert "plain-looking-key" not in text
    assert "BENCH_KEY" in text


def test_a_plan_that_cannot_be_read_is_told(bench: PlanBench) -> None:
    path = bench.folder / "plan.json"
    with pytest.raises(InputError, match="cannot be read"):
        read_plan(path)
    path.write_text("{}")
    with pytest.raises(InputError, match="cannot be read"):
        read_plan(path)
    bench.rows(3)
    bench.write()
    bench.plan().write(path)
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))
    with pytest.raises(InputError, match="format 99"):
        read_plan(path)


def test_a_run_of_few_rows_or_of_the_sandbox_is_published_beside_the_pipelines_own_output(bench: PlanBench) -> None:
    bench.rows(30)
    bench.write(source="key: id\npartition_rows: 20")
    own = bench.folder / "out" / "result"
    plans = [bench.plan(), bench.plan(limit=7), bench.plan(rehearsal=True), bench.plan(limit=7, rehearsal=True)]
    names = ["result", "result.first-7", "result.rehearsal", "result.rehearsal-first-7"]
    assert [plan.targets for plan in plans] == [(str(own.with_name(name)),) for name in names]
    assert [(plan.rows, len(plan.partitions)) for plan in plans] == [(30, 2), (7, 1), (30, 2), (7, 1)]
    assert plans[1].estimates[0].rows == 7


@pytest.mark.parametrize("name", sorted(HIDDEN))
def test_a_source_with_a_column_that_would_be_lost_on_its_way_is_refused(bench: PlanBench, name: str) -> None:
    (bench.folder / "rows.csv").write_text(f"id,text,{name}\n1,a,5\n")
    bench.write()
    with pytest.raises(InputError, match=f"has a column '{name}', a name that Penstock uses itself"):
        bench.plan()


def test_a_limit_counts_rows_that_cannot_be_read_as_the_run_does(bench: PlanBench) -> None:
    (bench.folder / "rows.csv").write_text("id,text\n1,a\n2\n3,c\n4,d\n")
    bench.write()
    assert bench.plan(limit=3).estimates[0].rows == 2


def test_an_output_folder_of_somebody_else_is_refused_before_anything_is_paid(bench: PlanBench) -> None:
    bench.rows(3)
    bench.write()
    (bench.folder / "out" / "result").mkdir(parents=True)
    (bench.folder / "out" / "result" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="did not write"):
        bench.plan()
    assert bench.plan(limit=2).rows == 2


def test_a_source_of_a_thousand_files_is_planned_in_seconds(tmp_path: Path, bench: PlanBench) -> None:
    for number in range(1000):
        (tmp_path / f"f-{number:04}.csv").write_text(f"id,text\n{number},row\n")
    bench.write(path="f-*.csv")
    plan = bench.plan()
    assert (len(plan.files), len(plan.partitions), plan.rows) == (1000, 1, 1000)
