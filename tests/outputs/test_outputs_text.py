"""`jsonl` and `csv`: every row on its line, whatever is in it, and a file that is the old one or the new one."""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import io
import itertools
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.csv
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from outputs_tables import numbers, part, parts_of, tables

from penstock.errors import InputError, StorageFailed
from penstock.outputs import KINDS
from penstock.outputs.csv import Csv
from penstock.outputs.jsonl import JsonLines
from penstock.outputs.text_files import TextFile

counter = itertools.count()
ANY_TABLE = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
CUTS = st.lists(st.integers(0, 12), max_size=3)


def output(path: Path, **more: Any) -> TextFile:
    kind: Any = Csv if path.name.split(".")[1] in {"csv", "tsv"} else JsonLines
    made: TextFile = kind.model_validate({"uses": kind.kind, "path": str(path), **more})
    return made


def in_json(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, dict):
        return {name: in_json(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [in_json(inner) for inner in value]
    if isinstance(value, dt.datetime):
        return value.isoformat(timespec="microseconds")
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def same(found: Any, expected: Any) -> bool:
    """Equal, and numbers of 32 bits as near as their shortest text is."""
    if isinstance(expected, float) and isinstance(found, int | float):
        return math.isclose(found, expected, rel_tol=1e-7, abs_tol=1e-37)
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(same, found, expected))
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(same(found[name], expected[name]) for name in expected)
    return bool(found == expected)


@ANY_TABLE
@given(table=tables(), cuts=CUTS, ending=st.sampled_from([".jsonl", ".ndjson.gz", ".jsonl.zst"]))
def test_every_row_is_one_json_object_with_the_values_of_the_part(
    tmp_path: Path, table: pa.Table, cuts: list[int], ending: str
) -> None:
    folder = tmp_path / str(next(counter))
    target = folder / f"rows{ending}"
    published = output(target).publish(parts_of(folder, table, cuts))
    with pa.input_stream(str(target), compression="detect") as stream:
        lines = stream.read().decode().split("\n")
    assert lines.pop() == ""
    assert published.rows == len(lines) == table.num_rows
    assert same([json.loads(line) for line in lines], in_json(table.to_pylist()))


@ANY_TABLE
@given(table=tables(), cuts=CUTS, delimiter=st.sampled_from([",", ";", "\t", "|"]))
def test_every_cell_of_a_csv_file_is_read_back_as_it_was(
    tmp_path: Path, table: pa.Table, cuts: list[int], delimiter: str
) -> None:
    folder = tmp_path / str(next(counter))
    published = output(folder / "rows.csv", delimiter=delimiter).publish(parts_of(folder, table, cuts))
    found = list(csv.reader(io.StringIO((folder / "rows.csv").read_bytes().decode(), newline=""), delimiter=delimiter))
    assert found[0] == table.column_names
    assert published.rows == len(found) - 1 == table.num_rows
    for cells, row in zip(found[1:], in_json(table.to_pylist()), strict=True):
        for cell, value in zip(cells, row.values(), strict=True):
            expected = "" if value is None else value
            read = cell if isinstance(expected, str) else json.loads(cell)
            assert same(read, expected)


def test_three_readers_agree_on_files_of_text(tmp_path: Path) -> None:
    table = pa.table({"key": [1, 2, 3], "text": ['a "b"\n😀, c', None, ""], "vector": [[1.5, 2.0], None, [0.0, 1.0]]})
    parts = parts_of(tmp_path, table, [2])
    output(tmp_path / "x.jsonl").publish(parts)
    output(tmp_path / "x.csv").publish(parts)
    assert pl.read_ndjson(tmp_path / "x.jsonl").rows() == [tuple(row.values()) for row in table.to_pylist()]
    assert duckdb.sql(f"select * from '{tmp_path}/x.jsonl'").fetchall() == pl.read_ndjson(tmp_path / "x.jsonl").rows()
    texts = ['a "b"\n😀, c', None, ""]
    assert pl.read_csv(tmp_path / "x.csv")["text"].to_list() == texts
    options = pyarrow.csv.ConvertOptions(strings_can_be_null=True, quoted_strings_can_be_null=False, null_values=[""])
    parsing = pyarrow.csv.ParseOptions(newlines_in_values=True)
    read = pyarrow.csv.read_csv(tmp_path / "x.csv", convert_options=options, parse_options=parsing)
    assert read["text"].to_pylist() == texts
    assert read["vector"].to_pylist() == ["[1.5,2.0]", None, "[0.0,1.0]"]
    found = duckdb.sql(f"select key, text from read_csv('{tmp_path}/x.csv', header=true) order by key").fetchall()
    assert [row[0] for row in found] == [1, 2, 3]
    assert found[0][1] == texts[0]


def test_what_text_has_no_form_for_is_base64_iso_8601_or_null_at_any_depth(tmp_path: Path) -> None:
    moment = dt.datetime(2026, 1, 2, 3, 4, 5)  # noqa: DTZ001
    table = pa.table(
        {
            "bytes": [b"\x00\xff", None],
            "time": pa.array([dt.time(1, 2, 3), None]),
            "span": pa.array([90_000_000, None], pa.duration("us")),
            "zoned": pa.array([moment, None], pa.timestamp("us", "Europe/Berlin")),
            "deep": [[{"b": b"x", "t": moment}, None], None],
            "number": [math.nan, math.inf],
            "word": pa.array(["a", None]).dictionary_encode(),
            "none": pa.nulls(2),
        }
    )
    parts = [part(tmp_path / "1", table)]
    output(tmp_path / "x.jsonl").publish(parts)
    first, second = (json.loads(line) for line in (tmp_path / "x.jsonl").read_text().splitlines())
    assert first == {
        "bytes": "AP8=", "time": "01:02:03", "span": "PT1M30S", "zoned": "2026-01-02T04:04:05.000000+01:00",
        "deep": [{"b": "eA==", "t": "2026-01-02T03:04:05.000000"}, None], "number": None, "word": "a", "none": None,
    }  # fmt: skip
    assert set(second.values()) == {None}
    output(tmp_path / "x.csv").publish(parts)
    rows = list(csv.DictReader((tmp_path / "x.csv").read_text().splitlines()))
    assert (rows[0]["bytes"], rows[0]["span"], rows[0]["number"]) == ("AP8=", "PT1M30S", "NaN")
    assert json.loads(rows[0]["deep"]) == first["deep"]


def test_a_null_in_a_csv_file_of_one_column_is_still_a_row(tmp_path: Path) -> None:
    output(tmp_path / "x.csv").publish([part(tmp_path / "1", pa.table({"a": ["x", None, ""]}))])
    assert (tmp_path / "x.csv").read_text() == 'a\nx\n""\n""\n'


def test_nulls_formulas_and_the_byte_order_mark_are_written_as_asked(tmp_path: Path) -> None:
    table = pa.table({"a": ["=1+1", "-2", "+3", "@x", "\ty", "a=b", None], "n": [-1, 2, 3, 4, 5, 6, None]})
    one = output(tmp_path / "x.csv", escape_formulas=True, bom=True, null_value="NA")
    one.publish([part(tmp_path / "1", table)])
    content = (tmp_path / "x.csv").read_bytes()
    assert content.startswith(b"\xef\xbb\xbfa,n\n")
    assert content.decode("utf-8-sig") == "a,n\n'=1+1,-1\n'-2,2\n'+3,3\n'@x,4\n'\ty,5\na=b,6\nNA,NA\n"


def test_a_tsv_file_has_tabs_and_a_gz_file_is_compressed(tmp_path: Path) -> None:
    parts = [part(tmp_path / "1", numbers([1], b=["x"]))]
    output(tmp_path / "x.tsv.gz").publish(parts)
    assert gzip.decompress((tmp_path / "x.tsv.gz").read_bytes()) == b"a\tb\n1\tx\n"
    output(tmp_path / "y.csv", compression="gzip").publish(parts)
    assert gzip.decompress((tmp_path / "y.csv").read_bytes()) == b"a,b\n1,x\n"


def test_the_same_rows_make_the_same_file(tmp_path: Path) -> None:
    parts = [part(tmp_path / "1", numbers(range(100)))]
    one = output(tmp_path / "x.jsonl.gz")
    assert one.publish(parts).files == one.publish(parts).files


def test_damage_to_a_file_is_found(tmp_path: Path) -> None:
    one = output(tmp_path / "out" / "x.jsonl")
    published = one.publish([part(tmp_path / "1", numbers([1, 2]))])
    assert (one.damage(published.files), one.rows(published.files)) == ([], 2)
    one.target.write_text('{"a":1}\n{"a":3}\n')
    assert one.damage(published.files) == [f"{one.target} is not what was written (its SHA-256 differs)"]
    one.target.unlink()
    assert one.damage(published.files) == [f"{one.target} is missing"]


@pytest.mark.parametrize(
    ("kind", "name"), [("jsonl", "x.csv"), ("csv", "x.jsonl"), ("jsonl", "notes.md"), ("csv", "csv")]
)
def test_a_file_of_another_ending_is_never_overwritten(kind: str, name: str) -> None:
    with pytest.raises(ValueError, match="must end in"):
        KINDS[kind].model_validate({"uses": kind, "path": f"/out/{name}"})


def test_a_place_that_cannot_be_written_is_told_before_anything_is_paid(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").mkdir()
    with pytest.raises(InputError, match="is a folder; a file belongs there"):
        output(tmp_path / "x.jsonl").check()
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="which is a file"):
        output(tmp_path / "file" / "y.jsonl").check()
    output(tmp_path / "new" / "folder" / "y.jsonl").check()
    assert not (tmp_path / "new").exists()


def test_when_a_part_cannot_be_read_the_file_is_as_it_was(tmp_path: Path) -> None:
    one = output(tmp_path / "x.jsonl")
    one.publish([part(tmp_path / "1", numbers([1]))])
    with pytest.raises(StorageFailed, match="then resume"):
        one.publish([part(tmp_path / "2", numbers([2])), tmp_path / "missing"])
    assert one.target.read_text() == '{"a":1}\n'
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2", "x.jsonl"]


def test_a_source_without_rows_makes_an_empty_file(tmp_path: Path) -> None:
    one = output(tmp_path / "x.csv")
    assert one.publish([part(tmp_path / "1", numbers([]))]).rows == 0
    assert one.target.read_text() == "a\n"
    assert output(tmp_path / "y.jsonl").publish([]).rows == 0


def test_a_rehearsal_keeps_the_ending(tmp_path: Path) -> None:
    one = output(tmp_path / "my.reviews.jsonl.gz", compression="gzip")
    beside = one.beside("first-100")
    assert beside.target == tmp_path / "my.reviews.first-100.jsonl.gz"
    assert one.beside("") == one


def test_a_link_to_a_file_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "x.jsonl").symlink_to(tmp_path / "disk" / "real.jsonl")
    output(tmp_path / "x.jsonl").publish([part(tmp_path / "1", numbers([1]))])
    assert (tmp_path / "x.jsonl").is_symlink()
    assert (tmp_path / "disk" / "real.jsonl").read_text() == '{"a":1}\n'


MEMORY = """
import resource, sys
from pathlib import Path
from penstock.outputs import KINDS
kind, target, *parts = sys.argv[1:]
one = KINDS[kind].model_validate({"uses": kind, "path": target})
one.publish([Path(parts[0])])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
one.publish([Path(part) for part in parts])
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["jsonl", "csv"])
def test_memory_does_not_grow_with_the_rows(tmp_path: Path, ending: str) -> None:
    vectors = pa.array([float(n % 977) for n in range(512 * 20_000)], pa.float32())
    table = pa.table({"v": pa.FixedSizeListArray.from_arrays(vectors, 512)})
    parts = [part(tmp_path / "1", table.slice(0, 4000)), *(part(tmp_path / f"{n}", table) for n in range(2, 5))]
    arguments = [sys.executable, "-c", MEMORY, ending, str(tmp_path / f"x.{ending}"), *map(str, parts)]
    environ = {**os.environ, "POLARS_MAX_THREADS": "2"}
    done = subprocess.run(arguments, capture_output=True, text=True, check=True, env=environ)
    assert int(done.stdout) < 150 << 20, "of 123 MB of vectors, and some 400 MB of text"
