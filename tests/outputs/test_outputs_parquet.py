"""`parquet`: the same rows for every reader, added once and never half, in folders that no value leaves."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.dataset
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from outputs_tables import numbers, part, parts_of, tables
from pyarrow import parquet

from penstock.errors import InputError, StorageFailed
from penstock.outputs import Origin, Output
from penstock.outputs import folder as folder_module
from penstock.outputs import rewriting as rewriting_module
from penstock.outputs.parquet import Parquet

counter = itertools.count()


def output(path: Path, **more: Any) -> Parquet:
    return Parquet.model_validate({"uses": "parquet", "path": str(path), **more})


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(table=tables(least_rows=1), cuts=st.lists(st.integers(0, 12), max_size=3), file_rows=st.integers(1, 9))
def test_rows_come_out_as_they_went_in_for_three_readers(
    tmp_path: Path, table: pa.Table, cuts: list[int], file_rows: int
) -> None:
    folder = tmp_path / str(next(counter))
    parts = parts_of(folder, table, cuts)
    for name, more in {"linked": {}, "written": {"file_rows": file_rows, "metadata": {"owner": "me"}}}.items():
        published = output(folder / name, **more).publish(parts)
        assert published.rows == table.num_rows
        assert max(entry["rows"] for entry in published.files) <= (file_rows if more else 12)
        expected = pl.from_arrow(table)
        assert pl.read_parquet(folder / name).equals(expected)
        assert pyarrow.dataset.dataset(folder / name).to_table().to_pylist() == table.to_pylist()
        found = duckdb.sql(f"select * from read_parquet('{folder / name}/*.parquet') order by row").pl()
        assert found["row"].to_list() == table["row"].to_pylist()


FOLDER_VALUES = st.one_of(
    st.none(),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    st.sampled_from(["..", ".", "/", "../../etc", "a/b", "a=b", "%2F", "", " ", "😀", "\0", "\n", "null", "a" * 80]),
)  # fmt: skip


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(FOLDER_VALUES, min_size=1, max_size=8), column=st.sampled_from(["lang", "L 1.x-y", "ü"]))
def test_values_become_folders_that_readers_make_values_of_again_and_none_leaves_the_output(
    tmp_path: Path, values: list[str | None], column: str
) -> None:
    folder = tmp_path / str(next(counter))
    table = numbers(range(len(values)), **{column: values})
    table = table.set_column(1, column, pa.array(values, pa.string()))
    published = output(folder / "out", partition_by=[column]).publish([part(folder / "p", table)])
    assert {path.name for path in folder.iterdir()} == {"out", "p"}
    assert [path for path in (folder / "out").rglob("*.parquet") if len(path.relative_to(folder).parts) != 3] == []
    assert published.rows == len(values)
    found = pl.read_parquet(folder / "out", hive_schema={column: pl.String}).sort("a")
    assert found[column].to_list() == values
    schema = pa.schema([(column, pa.string())])
    layout = pyarrow.dataset.partitioning(schema, flavor="hive")
    read = pl.from_arrow(pyarrow.dataset.dataset(folder / "out", partitioning=layout).to_table())
    assert isinstance(read, pl.DataFrame)
    assert read.sort("a")[column].to_list() == values


def test_numbers_dates_and_booleans_name_folders_and_rows_of_one_folder_keep_their_order(tmp_path: Path) -> None:
    table = pl.DataFrame({"a": range(100), "n": [i % 3 for i in range(100)], "yes": [i % 2 == 0 for i in range(100)]})
    table = table.with_columns(day=pl.date(2026, 1, 1 + pl.col("n")))
    one = output(tmp_path / "out", partition_by=["n", "yes", "day"])
    one.publish(parts_of(tmp_path, table.to_arrow(), [7, 50]))
    found = pl.read_parquet(tmp_path / "out", hive_partitioning=True)
    assert found.sort("a").select(table.columns).cast(table.schema).equals(table)
    for file in (tmp_path / "out").rglob("*.parquet"):
        assert parquet.ParquetFile(file).read()["a"].to_pylist() == sorted(
            parquet.ParquetFile(file).read()["a"].to_pylist()
        )
    assert "n=1/yes=false/day=2026-01-02/part-00000.parquet" in names(tmp_path / "out")


def test_a_value_that_cannot_be_told_from_null_or_is_too_long_is_refused_and_nothing_is_replaced(
    tmp_path: Path,
) -> None:
    one = output(tmp_path / "out", partition_by=["lang"])
    one.publish([part(tmp_path / "1", numbers([1], lang=["en"]))])
    for value, told in (("__HIVE_DEFAULT_PARTITION__", "no value at all"), ("x" * 300, "too long")):
        with pytest.raises(InputError, match=told):
            one.publish([part(tmp_path / "2", numbers([1, 2], lang=["en", value]))])
    assert names(tmp_path) == ["1", "2", "out/lang=en/part-00000.parquet"]


def test_too_many_folders_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rewriting_module, "MOST_FOLDERS", 3)
    with pytest.raises(InputError, match="more than 3 values"):
        output(tmp_path / "out", partition_by=["k"]).publish([part(tmp_path / "1", numbers(range(4), k=range(4)))])
    assert names(tmp_path) == ["1"]


def test_with_more_folders_than_open_files_each_folder_still_has_all_its_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rewriting_module, "_MOST_OPEN", 2)
    monkeypatch.setattr(rewriting_module, "_BUFFERED_BYTES", 1)
    table = numbers(range(60), k=[number % 5 for number in range(60)])
    one = output(tmp_path / "out", partition_by=["k"])
    published = one.publish(parts_of(tmp_path, table, [20, 40]))
    assert published.rows == 60
    assert one.damage(published.files) == []
    assert pl.read_parquet(tmp_path / "out", hive_partitioning=True).sort("a").rows() == [(n, n % 5) for n in range(60)]


def test_a_partitioned_folder_is_replaced_whole_even_by_one_of_another_layout(tmp_path: Path) -> None:
    one = [part(tmp_path / "1", numbers([1, 2], lang=["en", "de"]))]
    output(tmp_path / "out", partition_by=["lang"]).publish(one)
    output(tmp_path / "out").publish(one)
    assert names(tmp_path / "out") == ["part-00000.parquet"]
    output(tmp_path / "out", partition_by=["lang"]).publish(one)
    (tmp_path / "out" / "lang=de" / "mine.parquet").write_bytes(b"")
    with pytest.raises(InputError, match="did not write"):
        output(tmp_path / "out").check()


def test_the_footer_says_where_rows_come_from(tmp_path: Path) -> None:
    one = output(tmp_path / "out", metadata={"owner": "search team", "Δ": "ü"})
    origin = Origin("reviews", "run-2", "run-1", ("text-embedding-3-small",), "2026-11-01")
    one.publish([part(tmp_path / "1", numbers([1]))], origin)
    footer = parquet.read_metadata(tmp_path / "out" / "part-00000.parquet").metadata
    assert (footer[b"owner"], footer["Δ".encode()]) == (b"search team", "ü".encode())
    said = json.loads(footer[b"penstock"])
    assert said["models"] == ["text-embedding-3-small"]
    assert {name: said[name] for name in ("pipeline", "run", "batch", "prices")} == {
        "pipeline": "reviews", "run": "run-2", "batch": "run-1", "prices": "2026-11-01",
    }  # fmt: skip


@pytest.mark.parametrize("metadata", [{"penstock": "x"}, {"ARROW:schema": "x"}, {"key": "sk-" + "a" * 30}])
def test_metadata_takes_neither_names_of_others_nor_keys(tmp_path: Path, metadata: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"use themselves|looks like a key"):
        output(tmp_path, metadata=metadata)


def test_each_run_adds_its_rows_and_the_same_one_never_twice(tmp_path: Path) -> None:
    one = output(tmp_path / "out", mode="append")
    parts = parts_of(tmp_path, numbers(range(6)), [3])
    for run in ("r1", "r2", "r2", "r1"):
        published = one.publish(parts, Origin("reviews", run))
        assert published.rows == 6
        assert one.damage(published.files) == []
    assert pl.read_parquet(tmp_path / "out")["a"].to_list() == [*range(6), *range(6)]
    retried = one.publish([part(tmp_path / "more", numbers(range(7)))], Origin("reviews", "r3", batch="r2"))
    assert pl.read_parquet(tmp_path / "out")["a"].to_list() == [*range(6), *range(7)]
    assert names(tmp_path / "out") == ["part-r1-00000.parquet", "part-r1-00001.parquet", "part-r2-00000.parquet"]
    assert one.damage(retried.files) == []


def test_rows_are_added_to_files_of_others_by_name_and_in_their_order_and_types(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    pl.DataFrame({"b": ["x"], "a": [1]}).write_parquet(out / "theirs.parquet")
    (out / "_SUCCESS").touch()
    output(out, mode="append").publish([part(tmp_path / "1", numbers([2], b=["y"]))], Origin("p", "r1"))
    assert pl.read_parquet(out / "*.parquet").sort("a").rows() == [("x", 1), ("y", 2)]
    assert names(out) == ["_SUCCESS", "part-r1-00000.parquet", "theirs.parquet"]


@pytest.mark.parametrize(
    ("standing", "told"),
    [
        (pl.DataFrame({"a": [1]}), "column 'b' is not there yet"),
        (pl.DataFrame({"a": [1], "b": ["x"], "c": [1]}), "rows have no column 'c'"),
        (pl.DataFrame({"a": ["1"], "b": ["x"]}), "column 'a' is (large_)?string there and int64 here"),
    ],
)
def test_rows_that_do_not_fit_what_stands_there_are_refused_before_anything_is_paid(
    tmp_path: Path, standing: pl.DataFrame, told: str
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    standing.write_parquet(out / "theirs.parquet")
    one = output(out, mode="append")
    coming = numbers([2], b=["y"])
    with pytest.raises(InputError, match=told):
        one.check(coming.schema)
    with pytest.raises(InputError, match=told):
        one.publish([part(tmp_path / "1", coming)])
    assert names(out) == ["theirs.parquet"]


def test_appending_needs_a_folder_of_parquet_files_of_the_same_layout(tmp_path: Path) -> None:
    out = tmp_path / "out"
    output(out, partition_by=["lang"]).publish([part(tmp_path / "1", numbers([1], lang=["en"]))])
    with pytest.raises(InputError, match="partitioned by lang"):
        output(out, mode="append").check()
    more = output(out, mode="append", partition_by=["lang"])
    more.publish([part(tmp_path / "2", numbers([2, 3], lang=["en", "de"]))], Origin("p", "r2"))
    assert pl.read_parquet(out, hive_partitioning=True).sort("a").rows() == [(1, "en"), (2, "en"), (3, "de")]
    (out / "notes.txt").touch()
    with pytest.raises(InputError, match=r"notes.txt is no Parquet file"):
        more.check()


def test_vectors_of_unknown_length_may_be_added_before_the_first_answer_is_there(tmp_path: Path) -> None:
    vectors = pa.table({"v": pa.array([[1.0, 2.0]], pa.list_(pa.float32(), 2))})
    one = output(tmp_path / "out", mode="append")
    one.publish([part(tmp_path / "1", vectors)], Origin("p", "r1"))
    one.check(pa.schema([("v", pa.list_(pa.float32()))]))
    other = pa.table({"v": pa.array([[1.0, 2.0, 3.0]], pa.list_(pa.float32(), 3))})
    with pytest.raises(InputError, match="column 'v'"):
        one.check(other.schema)


def test_parts_whose_vectors_are_all_null_are_made_like_the_others(tmp_path: Path) -> None:
    vectors = pa.table({"v": pa.array([[1.0, 2.0]], pa.list_(pa.float32(), 2))})
    nulls = pa.table({"v": pa.array([None, None], pa.list_(pa.float32()))})
    output(tmp_path / "out").publish([part(tmp_path / "1", nulls), part(tmp_path / "2", vectors)])
    found = pl.read_parquet(tmp_path / "out")
    assert found.schema == {"v": pl.Array(pl.Float32, 2)}
    assert found["v"].to_list() == [None, None, [1.0, 2.0]]


def test_vectors_of_two_lengths_are_refused(tmp_path: Path) -> None:
    parts = [
        part(tmp_path / str(size), pa.table({"v": pa.array([[1.0] * size], pa.list_(pa.float32(), size))}))
        for size in (2, 3)
    ]
    with pytest.raises(InputError, match=r"different lengths \(2, 3\)"):
        output(tmp_path / "out").publish(parts)


@pytest.mark.parametrize("column", ["number", "list"])
def test_a_column_that_cannot_name_folders_is_refused_before_anything_is_paid(tmp_path: Path, column: str) -> None:
    schema = pa.schema([("a", pa.int64()), ("number", pa.float64()), ("list", pa.list_(pa.string()))])
    with pytest.raises(InputError, match="derive"):
        output(tmp_path / "out", partition_by=[column]).check(schema)
    with pytest.raises(InputError, match="no column 'other'"):
        output(tmp_path / "out", partition_by=["other"]).check(schema)
    with pytest.raises(InputError, match="no column would be left"):
        output(tmp_path / "out", partition_by=["a"]).check(pa.schema([("a", pa.int64())]))
    for name in ("a/b", "x=y", "_hidden", ".hidden", "a%2F", ".."):
        with pytest.raises(InputError, match="cannot name folders"):
            output(tmp_path / "out", partition_by=[name]).check(pa.schema([("a", pa.int64()), (name, pa.string())]))


def test_what_somebody_puts_into_the_folder_while_rows_are_added_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = output(tmp_path / "out", mode="append")
    one.publish([part(tmp_path / "1", numbers([1]))], Origin("p", "r1"))
    exchange = folder_module._exchange

    def late(new: Path, old: Path) -> bool:
        pl.DataFrame({"a": [9]}).write_parquet(old / "late.parquet")
        return exchange(new, old)

    monkeypatch.setattr(folder_module, "_exchange", late)
    one.publish([part(tmp_path / "2", numbers([2]))], Origin("p", "r2"))
    assert sorted(pl.read_parquet(tmp_path / "out")["a"].to_list()) == [1, 2, 9]


def test_a_folder_that_was_moved_away_by_a_killed_process_is_put_back(tmp_path: Path) -> None:
    one = output(tmp_path / "out", mode="append")
    one.publish([part(tmp_path / "1", numbers([1]))], Origin("p", "r1"))
    (tmp_path / "out").rename(tmp_path / ".out.4194305.old")  # above the largest process number
    (tmp_path / ".out.4194305.new").mkdir()
    one.publish([part(tmp_path / "2", numbers([2]))], Origin("p", "r2"))
    assert pl.read_parquet(tmp_path / "out")["a"].to_list() == [1, 2]
    assert names(tmp_path) == ["1", "2", "out/part-r1-00000.parquet", "out/part-r2-00000.parquet"]


def test_a_full_disk_leaves_what_was_there_and_says_how_to_go_on(tmp_path: Path) -> None:
    table = pa.table({"a": pa.array(["x" * 1000 + str(n) for n in range(20_000)])})
    one = output(tmp_path / "out", metadata={"a": "b"})
    one.publish([part(tmp_path / "1", numbers([1]))])
    big = part(tmp_path / "2", table)

    def full(_: Path) -> list[dict[str, Any]]:
        with Path("/dev/full").open("wb") as file:
            file.write(big.read_bytes())
        return []

    with pytest.raises(StorageFailed, match=r"No space left on device\. All answers are kept"):
        folder_module.publish_folder(one.target, full)
    assert pl.read_parquet(tmp_path / "out")["a"].to_list() == [1]
    assert names(tmp_path) == ["1", "2", "out/part-00000.parquet"]


def test_every_output_takes_rows_of_a_step_and_goes_through_json() -> None:
    one = Parquet.model_validate({"uses": "parquet", "path": "/x", "from": "moderate"})
    assert one.reads == "moderate"
    stored = one.model_dump(mode="json")
    assert stored["from"] == "moderate"
    assert Parquet.model_validate(stored) == one


def test_a_rehearsal_stands_beside(tmp_path: Path) -> None:
    one: Output = output(tmp_path / "out")
    assert one.beside("first-100").target == tmp_path / "out.first-100"
    assert one.beside("") == one
    assert one.at(tmp_path / "x").target == tmp_path / "x"
