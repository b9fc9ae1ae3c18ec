"""Whole runs from every kind of source: planned, carried out, and nothing secret left behind."""

from __future__ import annotations

import gzip
import json
import os
import sqlite3
import textwrap
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from source_servers import Bucket, Postgres

from penstock.execute.inline import run_inline
from penstock.execute.session import Request, open_session
from penstock.plan.model import Plan, read_plan
from penstock.runs.record import RunRecord
from penstock.sources import sampled, text_files


class Ran:
    """A run of a pipeline without steps, in a folder of its own."""

    def __init__(self, folder: Path, source: str, *, between: Callable[[], None] | None = None, **request: Any) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        file = folder / "pipeline.yaml"
        file.write_text(
            f"name: rows\nsource:\n{textwrap.indent(textwrap.dedent(source).strip(), '  ')}\n"
            "outputs:\n  - uses: parquet\n    path: out\n"
        )
        with open_session(Request(file, **request)) as session:
            self.plan: Plan = session.plan
            if between is not None:
                between()
            self.record: RunRecord = run_inline(session)

    @property
    def rows(self) -> pl.DataFrame:
        return pl.read_parquet(Path(self.record.outputs[0].path))

    @property
    def errors(self) -> list[dict[str, Any]]:
        return [] if self.record.errors_path is None else pl.read_parquet(self.record.errors_path).to_dicts()


def test_a_query_is_run_once_whatever_happens_to_the_database_meanwhile(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        connection.execute("create table t(id integer, day text)")
        connection.executemany(
            "insert into t values (?, ?)", [(n, "soon" if n == 7 else "2026-01-02") for n in range(40)]
        )
    connection.close()
    source = """
        sql: select * from t where id < 30 order by random()
        uri: sqlite:///shop.db
        key: id
        types: {day: date}
        partition_rows: 4
    """
    ran = Ran(tmp_path, source, between=(tmp_path / "shop.db").unlink)
    assert ran.rows.sort("id")["id"].to_list() == [number for number in range(30) if number != 7]
    assert ran.rows.schema["day"] == pl.Date
    ((error),) = ran.errors
    assert (error["step"], error["file"], error["line"]) == ("source", f"sqlite:///{tmp_path / 'shop.db'}", 8)
    assert len(ran.plan.partitions) == 8
    assert ran.record.account is not None
    assert (ran.record.account.read, ran.record.account.written, ran.record.account.failed) == (30, 29, 1)


@pytest.mark.parametrize("given", ["password", "uri"])
def test_a_run_against_postgresql_writes_its_password_nowhere(
    tmp_path: Path, postgres: Postgres, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.setenv("DB_PASSWORD", postgres.password)
    monkeypatch.setenv("DATABASE_URL", postgres.uri().replace("reader@", "reader:pa%20ss%3Aw%40rd%2F1@"))
    lines = {"password": f"uri: {postgres.uri()}\npassword: ${{DB_PASSWORD}}", "uri": "uri: ${DATABASE_URL}"}[given]
    ran = Ran(
        tmp_path / "p", f"sql: select n as id from generate_series(1, 50) n\nkey: id\npartition_rows: 20\n{lines}"
    )
    assert ran.rows.height == 50
    name = {"password": "${DB_PASSWORD}", "uri": "${DATABASE_URL}"}[given]
    assert read_plan(next(tmp_path.rglob("plan.json"))).spec["source"][given] == name
    for path in tmp_path.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert postgres.password.encode() not in data, path
            assert b"pa%20ss" not in data, path


def test_a_folder_of_sound_is_rows(tmp_path: Path) -> None:
    (tmp_path / "calls").mkdir()
    for place in range(7):
        with wave.open(str(tmp_path / "calls" / f"{place}.wav"), "wb") as out:
            out.setparams((1, 2, 8000, 0, "NONE", "NONE"))
            out.writeframes(bytes(16_000 * (place + 1)))
    (tmp_path / "calls" / "5.wav").write_bytes(b"")
    ran = Ran(tmp_path, "path: calls\nformat: files\npartition_rows: 3")
    assert ran.rows.sort("path")["seconds"].to_list() == [1, 2, 3, 4, 5, 7]
    assert [(error["message"], Path(error["file"]).name) for error in ran.errors] == [("the file is empty", "5.wav")]
    again = Ran(tmp_path, "path: calls\nformat: files\npartition_rows: 3")
    assert [task.partition for task in again.plan.tasks] == []


def test_objects_and_folders_of_a_bucket_are_rows(tmp_path: Path, bucket: Bucket) -> None:
    for year in (2025, 2026):
        lines = "".join(json.dumps({"id": f"{year}-{number}"}) + "\n" for number in range(25)) + "broken\n"
        bucket.put(f"in/year={year}/rows.jsonl.gz", gzip.compress(lines.encode()))
    ran = Ran(tmp_path / "p", "path: s3://bucket/in/**/*.jsonl.gz\nkey: id\npartition_rows: 10")
    assert sorted(ran.rows["year"].to_list()) == [2025] * 25 + [2026] * 25
    assert [(error["file"], error["line"]) for error in ran.errors] == [
        ("s3://bucket/in/year=2025/rows.jsonl.gz", 26),
        ("s3://bucket/in/year=2026/rows.jsonl.gz", 26),
    ]
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or b"a-secret-for-tests" not in path.read_bytes()


def test_a_large_file_is_planned_from_samples_and_every_row_has_its_fate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_files, "LARGE", 10_000)
    monkeypatch.setattr(sampled, "_BLOCK", 256)
    # The rows grow shorter, so that each slice has more of them than the sample at its beginning promises.
    lines = [f'{number},"{"x, " * (300 - number // 10)}"\n' for number in range(3_000)]
    lines[2_222] = "2222,too,many\n"
    (tmp_path / "rows.csv").write_text("id,text\n" + "".join(lines))
    ran = Ran(tmp_path, "path: rows.csv\nkey: id\npartition_rows: 100")
    assert ran.rows["id"].sort().to_list() == [number for number in range(3_000) if number != 2_222]
    assert [error["line"] for error in ran.errors] == [2_224]
    assert any("estimated from samples" in note for note in ran.plan.notes)
    assert not all(piece.counted for one in ran.plan.partitions for piece in one.slices)
    assert Ran(tmp_path, "path: rows.csv\nkey: id\npartition_rows: 100").plan.tasks == ()
    first = Ran(tmp_path, "path: rows.csv\nkey: id\npartition_rows: 100", limit=37)
    assert first.rows["id"].sort().to_list() == list(range(37))


def test_a_file_that_comes_to_the_folder_during_a_run_does_not_mix_up_the_others(tmp_path: Path) -> None:
    for name in ("b", "d"):
        (tmp_path / f"{name}.csv").write_text("id\n" + "".join(f"{name}{number}\n" for number in range(9)))

    def arrive() -> None:
        (tmp_path / "a.csv").write_text("id\n" + "".join(f"a{number}\n" for number in range(9)))
        (tmp_path / "c.csv").write_text("id\n" + "".join(f"c{number}\n" for number in range(9)))

    ran = Ran(tmp_path, "path: '*.csv'\nkey: id\npartition_rows: 4", between=arrive)
    assert sorted(ran.rows["id"].to_list()) == sorted(f"{name}{number}" for name in "bd" for number in range(9))


def test_copies_stand_in_the_state_folder_and_out_of_repositories(tmp_path: Path) -> None:
    (tmp_path / "r.csv.gz").write_bytes(gzip.compress(b"id\n1\n"))
    Ran(tmp_path, "path: r.csv.gz\nkey: id")
    copies = tmp_path / ".penstock" / "rows" / "sources"
    assert len(list(copies.glob("text-*.csv"))) == 1
    assert (copies / ".gitignore").read_text() == "*\n"
    assert os.environ.get("XDG_CACHE_HOME") is None or not (Path(os.environ["XDG_CACHE_HOME"]) / "penstock").exists()
