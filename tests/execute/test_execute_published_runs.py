"""A run that dies while it publishes, or before it can say that it did: the next one knows whose rows stand there."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import lancedb
import polars as pl
import pytest
from deltalake import DeltaTable
from execute_bench import Bench

from penstock.execute.baseline import needed_runs, remove, unneeded
from penstock.runs.history import list_runs
from penstock.runs.record import RunStatus
from penstock.tables.state import State

STEPS = 'uses: embed\ninput: "{{ text }}"\nmodel: text-embedding-3-small\ndimensions: 8'
NIGHTLY = "incremental: true\n"
KEEP = "incremental: {on_delete: keep}\n"
BOTH = pytest.mark.parametrize("kind", ["delta", "lancedb"])
KILLED = """
import os, signal, sys
from pathlib import Path
from penstock.execute import publish, session
from penstock.execute.inline import run_inline
from penstock.outputs.parquet import Parquet

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

stage, file = sys.argv[1:]
if stage == "nothing is in place": publish._put_in_place = die
if stage == "one of two is in place": Parquet.publish = die
if stage == "all is in place": session.Session._deliver = die
with session.open_session(session.Request(Path(file))) as opened:
    run_inline(opened)
"""


def pipeline(bench: Bench, kind: str, *, more: str = NIGHTLY, beside: str = "") -> None:
    """One store that is updated by key, and with `beside` a folder of files besides."""
    bench.pipeline(STEPS, source="partition_rows: 4", more=more)
    table = "    table: rows\n" if kind == "lancedb" else ""
    store = f"  - uses: {kind}\n    path: out/store\n    mode: upsert\n    key: id\n{table}"
    files = f"  - uses: parquet\n    path: out/{beside}\n" if beside else ""
    text = bench.file.read_text()
    bench.file.write_text(text.replace("  - uses: parquet\n    path: out/result\n", store + files))


def rows(bench: Bench, numbers: list[int]) -> None:
    bench.rows([{"id": number, "text": f"row {number} tells of harbours"} for number in numbers])


def stored(bench: Bench, kind: str) -> list[int]:
    """The ids in the store."""
    path = bench.folder / "out/store"
    if kind == "delta":
        found: list[int] = DeltaTable(str(path)).to_pyarrow_table()["id"].to_pylist()
    else:
        found = lancedb.connect(path).open_table("rows").to_arrow()["id"].to_pylist()
    return sorted(found)


def night(bench: Bench, numbers: list[int]) -> Any:
    rows(bench, numbers)
    return bench.run()


def killed_night(bench: Bench, numbers: list[int], stage: str) -> None:
    rows(bench, numbers)
    done = subprocess.run(
        [sys.executable, "-c", KILLED, stage, str(bench.file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


def parts(bench: Bench) -> set[Path]:
    return set(bench.folder.glob(".penstock/bench/parts/*/*.parquet"))


@pytest.mark.slow
@BOTH
@pytest.mark.parametrize("stage", ["nothing is in place", "one of two is in place", "all is in place"])
def test_the_next_night_takes_out_what_a_killed_one_put_in(bench: Bench, kind: str, stage: str) -> None:
    pipeline(bench, kind, beside="files")
    night(bench, [1, 2, 3])
    killed_night(bench, [2, 3, 4, 5], stage)
    assert stored(bench, kind) == ([1, 2, 3] if stage == "nothing is in place" else [2, 3, 4, 5])
    # Another one dies; nobody takes away what tells of the rows of either.
    killed_night(bench, [3, 5, 6], stage)
    state = State.of(bench.file, "bench")
    left = parts(bench)
    remove(state, unneeded(state, needed_runs(state, keep=1)))
    assert parts(bench) == left
    record = night(bench, [3, 7])
    assert (record.status, stored(bench, kind)) == (RunStatus.COMPLETED, [3, 7])
    assert night(bench, [7]).usage.requests == 0
    assert stored(bench, kind) == [7]


@BOTH
def test_also_the_first_night_of_all_may_die(bench: Bench, kind: str) -> None:
    pipeline(bench, kind)
    killed_night(bench, [1, 2], "all is in place")
    night(bench, [2, 3])
    assert stored(bench, kind) == [2, 3]


@BOTH
def test_a_killed_night_that_is_resumed_takes_out_what_it_would_have(bench: Bench, kind: str) -> None:
    pipeline(bench, kind)
    night(bench, [1, 2, 3])
    killed_night(bench, [2, 3, 4], "nothing is in place")
    dead = list_runs(State.of(bench.file, "bench").root)[0][1]
    record = bench.run(resumes=dead.run_id)
    assert (record.usage.requests, stored(bench, kind)) == (0, [2, 3, 4])


@BOTH
def test_rows_of_others_in_the_table_stay(bench: Bench, kind: str) -> None:
    pipeline(bench, kind)
    night(bench, [1, 2])
    path = bench.folder / "out/store"
    if kind == "delta":
        table = DeltaTable(str(path))
        other = table.to_pyarrow_table().slice(0, 1)
    else:
        other = lancedb.connect(path).open_table("rows").to_arrow().slice(0, 1)
    other = other.set_column(other.schema.get_field_index("id"), "id", [[99]])
    if kind == "delta":
        from deltalake import write_deltalake

        write_deltalake(str(path), other, mode="append")
    else:
        lancedb.connect(path).open_table("rows").add(other)
    night(bench, [2])
    assert stored(bench, kind) == [2, 99]


@BOTH
def test_an_output_more_for_a_night_does_not_hide_what_stands_in_the_store(bench: Bench, kind: str) -> None:
    pipeline(bench, kind)
    night(bench, [1, 2])
    pipeline(bench, kind, beside="files")
    night(bench, [2, 3])
    assert stored(bench, kind) == [2, 3]
    pipeline(bench, kind)
    night(bench, [3])
    assert stored(bench, kind) == [3]


@BOTH
def test_rows_that_were_kept_go_once_they_are_to_be_removed(bench: Bench, kind: str) -> None:
    pipeline(bench, kind, more=KEEP)
    night(bench, [1, 2, 3])
    night(bench, [2, 3])
    assert stored(bench, kind) == [1, 2, 3]
    pipeline(bench, kind)
    night(bench, [3])
    assert stored(bench, kind) == [3]


def test_rows_that_a_killed_night_published_are_kept_like_those_of_any_other(bench: Bench) -> None:
    bench.pipeline(STEPS, source="partition_rows: 4", more=KEEP)
    night(bench, [1, 2])
    killed_night(bench, [2, 3], "all is in place")
    whole = bench.result().sort("id")
    record = night(bench, [2])
    assert record.outputs[0].kept == 2
    assert bench.result().sort("id").equals(whole)
    assert whole["id"].to_list() == [1, 2, 3]


def test_a_run_that_dies_before_it_publishes_is_not_taken_for_one_that_did(bench: Bench) -> None:
    pipeline(bench, "delta", more=f"{NIGHTLY}budget: {{tokens: 1}}\n")
    rows(bench, [1, 2])
    with pytest.raises(Exception, match="budget"):
        bench.run()
    record = list_runs(State.of(bench.file, "bench").root)[0][1]
    assert record.publishing_at is None
    pipeline(bench, "delta")
    with bench.open() as session:
        assert session.left == [[]]
    assert bench.run().publishing_at is not None
    assert pl.read_delta(str(bench.folder / "out/store")).height == 2
