"""Parts are whole or absent, carry their counts, and every Parquet reader reads them."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import pytest
from pyarrow import parquet

from penstock.tables.parts import read_counts, whole_or_absent, write_part

VECTOR = pa.list_(pa.field("item", pa.float32(), nullable=False), 3)
USAGE = pa.struct([("model", pa.string()), ("prompt_tokens", pa.int32())])
SCHEMA = pa.schema([("id", pa.int64()), ("text", pa.large_string()), ("embedding", VECTOR), ("usage", USAGE)])


def rows(first: int, count: int) -> pa.Table:
    values = [[float(number), 0.5, -1.0] for number in range(first, first + count)]
    return pa.table(
        {
            "id": range(first, first + count),
            "text": [f"text {number}" for number in range(first, first + count)],
            "embedding": pa.array(values, VECTOR),
            "usage": pa.array([{"model": "m", "prompt_tokens": 1}] * count, USAGE),
        },
        schema=SCHEMA,
    )


def test_counts_are_asked_for_last_and_read_back_with_the_rows(tmp_path: Path) -> None:
    seen: list[int] = []

    def tables() -> Iterator[pa.Table]:
        for first in (0, 10):
            seen.append(first)
            yield rows(first, 10)

    counts = {"read": 21, "failures": {"timeout": 1}, "numbers": [[0, 19]], "umlaut": "ü"}
    assert write_part(tmp_path / "p.parquet", tables(), SCHEMA, lambda: {**counts, "seen": list(seen)}) == 20
    assert read_counts(tmp_path / "p.parquet") == {**counts, "seen": [0, 10], "rows": 20}


def test_every_reader_sees_vectors_of_fixed_length(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    write_part(path, iter([rows(0, 5), rows(5, 5)]), SCHEMA, dict)
    frame = pl.read_parquet(path)
    assert frame.schema["embedding"] == pl.Array(pl.Float32, 3)
    assert frame["embedding"].to_list()[7] == [7.0, 0.5, -1.0]
    table = parquet.read_table(path)
    assert pa.types.is_fixed_size_list(table.schema.field("embedding").type)
    assert table.column("embedding").to_pylist()[7] == [7.0, 0.5, -1.0]
    read = duckdb.read_parquet(str(path)).filter("id = 7").project("embedding[1], usage.model").fetchall()
    assert read == [(7.0, "m")]


def test_vectors_are_stored_plain_and_texts_packed(tmp_path: Path) -> None:
    write_part(tmp_path / "p.parquet", iter([rows(0, 100)]), SCHEMA, dict)
    group = parquet.read_metadata(tmp_path / "p.parquet").row_group(0)
    columns = {group.column(place).path_in_schema: group.column(place) for place in range(group.num_columns)}
    vector = columns["embedding.list.element"]
    assert vector.compression == "UNCOMPRESSED"
    assert not vector.has_dictionary_page
    assert not vector.is_stats_set
    assert columns["text"].compression == "ZSTD"
    assert columns["usage.model"].compression == "ZSTD"
    assert columns["id"].is_stats_set


def test_a_part_without_rows_has_its_columns(tmp_path: Path) -> None:
    assert write_part(tmp_path / "p.parquet", iter([]), SCHEMA, dict) == 0
    assert pl.read_parquet(tmp_path / "p.parquet").columns == SCHEMA.names


@pytest.mark.parametrize("where", ["tables", "counts"])
def test_when_writing_fails_there_is_no_part_and_the_one_of_before_still_stands(tmp_path: Path, where: str) -> None:
    path = tmp_path / "p.parquet"

    def tables() -> Iterator[pa.Table]:
        yield rows(0, 5)
        if where == "tables":
            raise RuntimeError("no more")

    def counts() -> dict[str, object]:
        raise RuntimeError("no more")

    for before in (None, {"read": 1, "rows": 1}):
        with pytest.raises(RuntimeError, match="no more"):
            write_part(path, tables(), SCHEMA, counts if where == "counts" else dict)
        assert read_counts(path) == before
        assert [file.name for file in tmp_path.iterdir()] == ([] if before is None else ["p.parquet"])
        write_part(path, iter([rows(0, 1)]), SCHEMA, lambda: {"read": 1})


SLOWLY = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_tables_parts import SCHEMA, rows
from penstock.tables.parts import write_part
def tables():
    for first in range(0, 10_000, 10):
        yield rows(first, 10)
        print("one", flush=True)
        time.sleep(0.01)
write_part(Path(sys.argv[1]), tables(), SCHEMA, dict)
"""


def test_killed_while_it_is_written_a_part_is_absent(tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", SLOWLY, str(tmp_path / "p.parquet"), str(Path(__file__).parent)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert read_counts(tmp_path / "p.parquet") is None
    assert not (tmp_path / "p.parquet").exists()


def test_a_file_that_is_no_whole_part_has_no_counts(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    write_part(path, iter([rows(0, 50)]), SCHEMA, lambda: {"read": 50})
    whole = path.read_bytes()
    for length in [0, 3, 8, 200, len(whole) // 2, len(whole) - 1]:
        path.write_bytes(whole[:length])
        assert read_counts(path) is None
    for place in range(len(whole) - 400, len(whole) - 8, 7):
        path.write_bytes(whole[:place] + b"\xff\xff" + whole[place + 2 :])
        read_counts(path)  # damaged or not by this, never an exception that ends a run
    path.unlink()
    assert read_counts(path) is None
    path.mkdir()
    assert read_counts(path) is None
    pl.DataFrame({"a": [1]}).write_parquet(tmp_path / "foreign.parquet")
    assert read_counts(tmp_path / "foreign.parquet") is None


def _write_and_fail(path: Path) -> None:
    with whole_or_absent(path) as temporary:
        temporary.write_text("two")
        raise RuntimeError("no more")


def test_a_file_is_whole_or_absent(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    with whole_or_absent(path) as temporary:
        temporary.write_text("one")
        assert not path.exists()
    assert path.read_text() == "one"
    with pytest.raises(RuntimeError, match="no more"):
        _write_and_fail(path)
    assert path.read_text() == "one"
    assert [file.name for file in path.parent.iterdir()] == ["file"]
