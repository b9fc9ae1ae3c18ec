"""A process that is killed at any moment while it publishes leaves the old output or the new one, never a half."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import lancedb
import polars as pl
import pyarrow as pa
import pytest
from deltalake import DeltaTable
from outputs_tables import part

from penstock.outputs import KINDS, Origin, Output

PUBLISHER = """
import itertools, json, sys
from pathlib import Path
from penstock.outputs import KINDS, Origin
settings, first, second = json.loads(sys.argv[1])
one = KINDS[settings["uses"]].model_validate(settings)
for number in itertools.count():
    parts = second if number % 2 else first
    one.publish([Path(path) for path in parts], Origin("reviews", f"{sys.argv[2]}-{number}"))
    print(number, flush=True)
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


@pytest.mark.slow
@pytest.mark.parametrize("settings", SETTINGS, ids=lambda one: "-".join(str(value) for value in one.values()))
def test_a_killed_process_leaves_the_old_or_the_new_output(tmp_path: Path, settings: dict[str, Any]) -> None:
    settings = {**settings, "path": str(tmp_path / "out" / settings["path"])}
    one = KINDS[settings["uses"]].model_validate(settings)
    sources = [result(tmp_path, "a"), result(tmp_path, "b")]
    arguments = json.dumps([settings, *sources])
    chance = random.Random(7)
    published = 0
    for life in range(5):
        command = [sys.executable, "-c", PUBLISHER, arguments, f"life{life}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            published += len(process.stdout.readline()) > 0
            time.sleep(chance.uniform(0, 0.3))
            process.send_signal(signal.SIGKILL)
            published += len(process.stdout.read().splitlines())
        found = labels(one)
        if settings.get("mode") == "append":
            assert all(count % ROWS[label] == 0 for label, count in found.items())
            assert published <= sum(count // ROWS[label] for label, count in found.items()) <= published + life + 1
        else:
            assert found in ({"a": ROWS["a"]}, {"b": ROWS["b"]})
    assert published > 5
    one.check()
    done = one.publish([Path(path) for path in sources[1]], Origin("reviews", "last"))
    assert one.damage(done.files) == []
    assert {path.name for path in one.target.parent.iterdir()} == {one.target.name}
