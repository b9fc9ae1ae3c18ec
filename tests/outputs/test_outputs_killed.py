"""A process that is killed at any moment while it publishes leaves the old output or the new one, never a half."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lancedb
import polars as pl
import pyarrow as pa
import pytest
from deltalake import DeltaTable
from outputs_tables import part

from penstock.outputs import KINDS, Origin, Output

# Imports take longer than all the rest: one process makes them, and each life is a child that it forks.
PUBLISHER = """
import itertools, json, os, sys
from pathlib import Path
import deltalake, polars, pyarrow.parquet
from penstock.outputs import KINDS, Origin
if sys.argv[1] == "lancedb":
    import lancedb
for line in sys.stdin:
    settings, results, life = json.loads(line)
    if pid := os.fork():
        print(pid, flush=True)
        os.waitpid(pid, 0)
        print("dead", flush=True)
        continue
    one = KINDS[settings["uses"]].model_validate(settings)
    for number in itertools.count():
        one.publish([Path(path) for path in results[number % 2]], Origin("reviews", f"{life}-{number}"))
        print("published", flush=True)
"""
SETTINGS: list[dict[str, Any]] = [
    {"uses": "parquet", "path": "out"},
    {"uses": "parquet", "path": "out", "partition_by": ["label", "n"]},
    {"uses": "parquet", "path": "out", "mode": "append", "file_rows": 700},
    {"uses": "jsonl", "path": "out.jsonl"},
    {"uses": "csv", "path": "out.csv.gz"},
    {"uses": "delta", "path": "out"},
    {"uses": "delta", "path": "out", "mode": "append"},
    {"uses": "lancedb", "path": "db", "table": "out"},
]
ROWS = {"a": 1500, "b": 2500}
"""Rows of the two results that take turns."""


def result(folder: Path, label: str) -> list[str]:
    """The parts of one result."""
    paths: list[str] = []
    for number in range(ROWS[label] // 500):
        table = pa.table({"label": [label] * 500, "n": [k % 5 for k in range(500)], "key": range(500)})
        paths.append(str(part(folder / f"{label}{number}", table)))
    return paths


def labels(one: Output) -> Counter[str]:
    """How many rows of which result a reader finds."""
    path = str(one.target)
    if one.kind == "parquet":
        frame = pl.read_parquet(path, hive_partitioning=True)
    elif one.kind == "delta":
        frame = pl.from_arrow(pa.table(DeltaTable(path).to_pyarrow_dataset().to_table()))  # type: ignore[assignment]
    elif one.kind == "lancedb":
        frame = pl.from_arrow(lancedb.connect(one.target.parent).open_table("out").to_arrow())  # type: ignore[assignment]
    else:
        frame = pl.read_ndjson(path) if one.kind == "jsonl" else pl.read_csv(path)
    return Counter(frame["label"].to_list())


@contextmanager
def publisher(kind: str) -> Iterator[subprocess.Popen[str]]:
    """The process that forks a publisher for each line it is given."""
    command = [sys.executable, "-c", PUBLISHER, kind]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.slow
@pytest.mark.parametrize("settings", SETTINGS, ids=lambda one: "-".join(str(value) for value in one.values()))
def test_a_killed_process_leaves_the_old_or_the_new_output(tmp_path: Path, settings: dict[str, Any]) -> None:
    settings = {**settings, "path": str(tmp_path / "out" / settings["path"])}
    one = KINDS[settings["uses"]].model_validate(settings)
    sources = [result(tmp_path, "a"), result(tmp_path, "b")]
    chance = random.Random(7)
    published = 0
    with publisher(one.kind) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for life in range(5):
            process.stdin.write(json.dumps([settings, sources, f"life{life}"]) + "\n")
            process.stdin.flush()
            pid = int(process.stdout.readline())
            for _ in range(1 + life % 3):
                assert process.stdout.readline() == "published\n"
                published += 1
            time.sleep(chance.uniform(0, 0.3))
            os.kill(pid, signal.SIGKILL)
            while process.stdout.readline() == "published\n":
                published += 1
            found = labels(one)
            if settings.get("mode") == "append":
                assert all(count % ROWS[label] == 0 for label, count in found.items())
                rows = sum(count // ROWS[label] for label, count in found.items())
                assert published <= rows <= published + life + 1
            else:
                assert found in ({"a": ROWS["a"]}, {"b": ROWS["b"]})
    one.check()
    done = one.publish([Path(path) for path in sources[1]], Origin("reviews", "last"))
    assert one.damage(done.files) == []
    assert {path.name for path in one.target.parent.iterdir()} == {one.target.name}
