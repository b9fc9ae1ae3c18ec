"""`delta` and `lancedb`: one commit per run, the same rows never twice, and no table of somebody else's replaced."""

from __future__ import annotations

import datetime as dt
import itertools
import json
from pathlib import Path
from typing import Any

import lancedb
import polars as pl
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from outputs_tables import numbers, part, parts_of, tables

from penstock.errors import InputError, StorageFailed
from penstock.outputs import KINDS, Origin, Output
from penstock.outputs import stores as stores_module
from penstock.outputs.delta import Delta
from penstock.outputs.delta_types import delta_schema
from penstock.outputs.lancedb import LanceDb

counter = itertools.count()
FIRST, SECOND = Origin("reviews", "run-1"), Origin("reviews", "run-2")
BOTH = pytest.mark.parametrize("kind", ["delta", "lancedb"])
ANY_TABLE = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def output(kind: str, path: Path, **more: Any) -> Output:
    table = {"table": "reviews"} if kind == "lancedb" else {}
    return KINDS[kind].model_validate({"uses": kind, "path": str(path), **table, **more})


def rows(one: Output) -> list[dict[str, Any]]:
    if isinstance(one, Delta):
        return pa.table(DeltaTable(one.path).to_pyarrow_dataset().to_table()).to_pylist()
    assert isinstance(one, LanceDb)
    found: list[dict[str, Any]] = lancedb.connect(one.path).open_table(one.table).to_arrow().to_pylist()
    return found


def keyed(one: Output) -> list[tuple[Any, ...]]:
    return sorted(tuple(row.values()) for row in rows(one))


def plain(value: Any) -> Any:
    """A value as both stores give it back."""
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list) else value


@BOTH
@ANY_TABLE
@given(table=tables(least_rows=1), cuts=st.lists(st.integers(0, 12), max_size=2))
def test_rows_come_out_as_they_went_in(tmp_path: Path, kind: str, table: pa.Table, cuts: list[int]) -> None:
    folder = tmp_path / str(next(counter))
    one = output(kind, folder / "out")
    published = one.publish(parts_of(folder, table, cuts))
    assert published.rows == one.rows(published.files) == table.num_rows
    assert one.damage(published.files) == []
    assert plain(sorted(rows(one), key=lambda row: row["row"])) == plain(table.to_pylist())


@BOTH
def test_texts_may_hold_what_python_takes_for_the_end_of_a_line(tmp_path: Path, kind: str) -> None:
    table = pa.table({"row": [1, 2], "text": ["\x85 first", "then \u2028 and \u2029"]})
    one = output(kind, tmp_path / "out")
    published = one.publish([part(tmp_path / "1", table)])
    assert one.damage(published.files) == []
    assert sorted(rows(one), key=lambda row: row["row"]) == table.to_pylist()


def test_polars_reads_a_delta_table_and_vectors_of_lancedb_are_searched(tmp_path: Path) -> None:
    kind = pa.list_(pa.field("item", pa.float32(), nullable=False), 2)
    table = pa.table({"k": [1, 2, 3], "v": pa.array([[1.0, 0.0], [0.0, 1.0], None], kind)})
    parts = [part(tmp_path / "1", table)]
    output("delta", tmp_path / "d").publish(parts)
    assert pl.read_delta(str(tmp_path / "d")).sort("k").rows() == [(1, [1.0, 0.0]), (2, [0.0, 1.0]), (3, None)]
    output("lancedb", tmp_path / "l").publish(parts)
    found = lancedb.connect(tmp_path / "l").open_table("reviews").search([0.9, 0.1]).limit(1).to_list()
    assert found[0]["k"] == 1


@BOTH
def test_replacing_makes_a_new_version_and_the_one_before_can_still_be_read(tmp_path: Path, kind: str) -> None:
    one = output(kind, tmp_path / "out")
    first = one.publish([part(tmp_path / "1", numbers([1, 2]))], FIRST)
    second = one.publish([part(tmp_path / "2", numbers([3], b=["x"]))], SECOND)
    assert rows(one) == [{"a": 3, "b": "x"}]
    assert first.files[0]["version"] < second.files[0]["version"]
    assert (one.damage(first.files), one.damage(second.files)) == ([], [])


@BOTH
def test_rows_are_updated_and_added_by_key(tmp_path: Path, kind: str) -> None:
    one = output(kind, tmp_path / "out", mode="upsert", key="a")
    one.publish([part(tmp_path / "1", numbers([1, 2], b=["x", "y"]))], FIRST)
    for _ in range(2):
        done = one.publish([part(tmp_path / "2", numbers([2, 3], b=["Y", "z"]))], SECOND)
        assert (done.rows, one.rows(done.files), one.damage(done.files)) == (2, 2, [])
        assert keyed(one) == [(1, "x"), (2, "Y"), (3, "z")]


@BOTH
def test_keys_of_several_columns_work_too(tmp_path: Path, kind: str) -> None:
    one = output(kind, tmp_path / "out", mode="upsert", key=["a", "b c"])
    one.publish([part(tmp_path / "1", numbers([1, 1], **{"b c": ["x", "y"], "d": [1, 2]}))], FIRST)
    one.publish([part(tmp_path / "2", numbers([1, 2], **{"b c": ["y", "y"], "d": [3, 4]}))], SECOND)
    assert keyed(one) == [(1, "x", 1), (1, "y", 3), (2, "y", 4)]


MOMENT = dt.datetime(2026, 1, 2, 3, 4, 5, 678_901)  # noqa: DTZ001
KEYS = {
    "text": pa.array(["it's", 'a "b"', "\u00fc", "\\"]),
    "large_whole": pa.array([2**62 + 1, 2**62 + 2, -5, 0]),
    "unsigned": pa.array([2**63 + 1, 2**63 + 2, 5, 0], pa.uint64()),
    "date": pa.array([dt.date(2026, 1, day) for day in (1, 2, 3, 4)]),
    "moment": pa.array([MOMENT + dt.timedelta(microseconds=n) for n in range(4)], pa.timestamp("us", "UTC")),
    "word": pa.array(["a", "b", "c", "d"]).dictionary_encode(),
    "bytes": pa.array([b"a", b"a\0", b"\xff", b""]),
}


@BOTH
@pytest.mark.parametrize("name", KEYS)
def test_rows_that_are_no_more_are_taken_out_in_the_commit_that_updates(tmp_path: Path, kind: str, name: str) -> None:
    table = pa.table({"a": KEYS[name], "b": [1, 2, 3, 4]})
    one = output(kind, tmp_path / "out", mode="upsert", key="a")
    former = [part(tmp_path / "1", table.slice(0, 3)), part(tmp_path / "2", table.slice(2))]
    first = one.publish([part(tmp_path / "3", table)], FIRST)
    second = one.publish([part(tmp_path / "4", table.slice(0, 1))], Origin("reviews", "run-2", replaces=former))
    assert [row["b"] for row in rows(one)] == [1]
    assert (second.rows, one.damage(second.files)) == (1, [])
    assert second.files[0]["version"] == first.files[0]["version"] + 1


@BOTH
@pytest.mark.parametrize("most", [3, 100_000])
def test_rows_that_are_no_more_are_known_by_all_of_their_key(
    tmp_path: Path, kind: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.outputs.lance_keys.MOST_KEYS", most)
    pairs = [(number, letter) for number in range(8) for letter in "xyz"]
    table = pa.table({"a": [number for number, _ in pairs], "b c": [letter for _, letter in pairs]})
    one = output(kind, tmp_path / "out", mode="upsert", key=["a", "b c"])
    whole = part(tmp_path / "1", table)
    one.publish([whole], FIRST)
    stay = [place for place, (number, letter) in enumerate(pairs) if letter == "xyz"[number % 3]]
    left = part(tmp_path / "2", table.take(stay))
    one.publish([left], Origin("reviews", "run-2", replaces=[whole]))
    assert keyed(one) == [pairs[place] for place in stay]


@BOTH
def test_former_parts_with_another_key_take_out_what_their_keys_are_now(tmp_path: Path, kind: str) -> None:
    one = output(kind, tmp_path / "out", mode="upsert", key="a")
    one.publish([part(tmp_path / "1", numbers([1, 2, 3]))], FIRST)
    texts = part(tmp_path / "2", pa.table({"a": ["1", "no number"]}))
    none = part(tmp_path / "3", pa.table({"other": [3]}))
    one.publish([part(tmp_path / "4", numbers([2]))], Origin("reviews", "run-2", replaces=[texts, none]))
    assert keyed(one) == [(2,), (3,)]


@BOTH
@pytest.mark.parametrize(("keys", "told"), [([1, 1], "2 rows have|1 rows have"), ([1, None], "null in some rows")])
def test_rows_whose_key_is_missing_or_repeated_are_refused_and_nothing_is_written(
    tmp_path: Path, kind: str, keys: list[int | None], told: str
) -> None:
    one = output(kind, tmp_path / "out", mode="upsert", key="a")
    one.publish([part(tmp_path / "1", numbers([7]))], FIRST)
    with pytest.raises(InputError, match=told):
        one.publish([part(tmp_path / "2", pa.table({"a": pa.array(keys, pa.int64())}))], SECOND)
    assert rows(one) == [{"a": 7}]


def test_a_delta_append_is_made_once_per_run(tmp_path: Path) -> None:
    one = output("delta", tmp_path / "out", mode="append")
    parts = [part(tmp_path / "1", numbers([1, 2]))]
    first = one.publish(parts, FIRST)
    again = one.publish(parts, Origin("reviews", "run-9", batch="run-1"))
    assert (again.files, len(rows(one))) == (first.files, 2)
    one.publish(parts, SECOND)
    assert sorted(row["a"] for row in rows(one)) == [1, 1, 2, 2]
    with pytest.raises(InputError, match="Set mode: upsert"):
        one.publish([part(tmp_path / "2", numbers([1, 2, 3]))], Origin("reviews", "run-3", batch="run-2"))


def test_a_lancedb_append_leaves_rows_that_are_there(tmp_path: Path) -> None:
    one = output("lancedb", tmp_path / "out", mode="append", key="a")
    one.publish([part(tmp_path / "1", numbers([1, 2], b=["x", "y"]))], FIRST)
    for _ in range(2):
        one.publish([part(tmp_path / "2", numbers([2, 3], b=["Y", "z"]))], SECOND)
        assert keyed(one) == [(1, "x"), (2, "y"), (3, "z")]


@BOTH
@pytest.mark.parametrize(
    ("coming", "told"),
    [
        (numbers([1]), "no column 'b'"),
        (numbers([1], b=["x"], c=[1]), "column 'c' is not there yet"),
        (numbers([1], b=[2]), "column 'b' is string there and int64 here"),
    ],
)
def test_rows_that_do_not_fit_the_table_are_refused_before_anything_is_paid(
    tmp_path: Path, kind: str, coming: pa.Table, told: str
) -> None:
    one = output(kind, tmp_path / "out", mode="upsert", key="a")
    one.publish([part(tmp_path / "1", numbers([1], b=["x"]))], FIRST)
    with pytest.raises(InputError, match=told):
        one.check(coming.schema)


def test_a_table_of_somebody_else_is_never_replaced_and_may_be_added_to(tmp_path: Path) -> None:
    write_deltalake(str(tmp_path / "d"), numbers([1]))
    lancedb.connect(tmp_path / "l").create_table("reviews", numbers([1]))
    for kind, name in (("delta", "d"), ("lancedb", "l")):
        with pytest.raises(InputError, match="Penstock did not make the"):
            output(kind, tmp_path / name).check()
        one = output(kind, tmp_path / name, mode="upsert", key="a")
        one.publish([part(tmp_path / "1", numbers([2]))])
        assert sorted(row["a"] for row in rows(one)) == [1, 2]


@BOTH
def test_a_folder_with_other_files_and_a_file_are_refused(tmp_path: Path, kind: str) -> None:
    one = output(kind, tmp_path / "out")
    one.target.mkdir(parents=True)
    one.check()
    (one.target / "mine.txt").touch()
    with pytest.raises(InputError, match="empty it"):
        one.check()
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"is a file|through"):
        output(kind, tmp_path / "file").check()


@BOTH
def test_a_failure_on_the_way_leaves_the_table_as_it_was(tmp_path: Path, kind: str) -> None:
    one = output(kind, tmp_path / "out")
    one.publish([part(tmp_path / "1", numbers([1]))], FIRST)
    whole = part(tmp_path / "2", numbers(range(5000), b=["x" * 50] * 5000))
    content = whole.read_bytes()
    whole.write_bytes(content[:4] + bytes(len(content) // 2) + content[4 + len(content) // 2 :])
    with pytest.raises(StorageFailed, match="All answers are kept"):
        one.publish([part(tmp_path / "3", numbers([2], b=["y"])), whole], SECOND)
    assert rows(one) == [{"a": 1}]


@BOTH
def test_a_missing_library_is_named_with_the_command_that_installs_it(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = {"delta": "deltalake"}.get(kind, kind)

    def absent(wanted: str) -> Any:
        raise ModuleNotFoundError(f"No module named {wanted!r}", name=wanted)

    one = output(kind, tmp_path / "out")
    monkeypatch.setattr(stores_module.importlib, "import_module", absent)
    with pytest.raises(InputError, match=rf"needs the library {name}; .* pip install 'penstock\[{kind}\]'"):
        one.check()


@BOTH
def test_damage_to_a_table_is_found(tmp_path: Path, kind: str) -> None:
    one = output(kind, tmp_path / "out")
    published = one.publish([part(tmp_path / "1", numbers(range(10)))], FIRST)
    ending = ".parquet" if kind == "delta" else ".manifest"
    next(path for path in one.target.rglob(f"*{ending}")).unlink()
    assert one.damage(published.files)


def test_delta_has_a_type_for_what_it_can_and_says_what_it_has_none_for(tmp_path: Path) -> None:
    moment = dt.datetime(2026, 1, 2)  # noqa: DTZ001
    table = pa.table(
        {
            "u8": pa.array([255], pa.uint8()),
            "u64": pa.array([2**64 - 1], pa.uint64()),
            "half": pa.array([1.5], pa.float16()),
            "none": pa.nulls(1),
            "local": pa.array([moment], pa.timestamp("ns")),
            "zoned": pa.array([moment], pa.timestamp("ms", "Europe/Berlin")),
            "word": pa.array(["a"]).dictionary_encode(),
            "deep": [{"v": [{"u": 1}]}],
        }
    )
    one = output("delta", tmp_path / "out")
    one.publish([part(tmp_path / "1", table)])
    found = pl.read_delta(str(tmp_path / "out")).row(0, named=True)
    assert (found["u8"], int(found["u64"]), found["half"], found["none"]) == (255, 2**64 - 1, 1.5, None)
    assert (found["local"], found["zoned"].isoformat(), found["word"]) == (moment, "2026-01-02T00:00:00+00:00", "a")
    assert found["deep"] == {"v": [{"u": 1}]}
    for kind in (pa.time64("us"), pa.duration("us")):
        with pytest.raises(InputError, match=r"Delta Lake has no type for the column 'x\.y'"):
            delta_schema(pa.schema([("x", pa.struct([("y", kind)]))]))


def test_a_delta_table_can_be_partitioned(tmp_path: Path) -> None:
    one = output("delta", tmp_path / "out", partition_by=["lang"], mode="append")
    one.publish([part(tmp_path / "1", numbers([1, 2, 3], lang=["en", "a/../b", None]))], FIRST)
    one.publish([part(tmp_path / "2", numbers([4], lang=["en"]))], SECOND)
    assert keyed(one)[0] == (1, "en")
    assert pl.read_delta(str(tmp_path / "out")).sort("a")["lang"].to_list() == ["en", "a/../b", None, "en"]
    with pytest.raises(InputError, match="is partitioned by lang"):
        output("delta", tmp_path / "out", partition_by=["a"], mode="append").check(numbers([1], lang=["x"]).schema)


def test_commits_say_where_rows_come_from(tmp_path: Path) -> None:
    origin = Origin("reviews", "run-2", "run-1", ("gpt-4o-mini",), "2026-11-01")
    parts = [part(tmp_path / "1", numbers([1]))]
    output("delta", tmp_path / "d").publish(parts, origin)
    output("lancedb", tmp_path / "l").publish(parts, origin)
    facts = origin.facts()
    assert json.loads(DeltaTable(str(tmp_path / "d")).history()[0]["penstock"]) == facts
    metadata = lancedb.connect(tmp_path / "l").open_table("reviews").schema.metadata
    assert json.loads(metadata[b"penstock"]) == facts


def test_an_index_is_built_where_there_are_rows_enough_for_one(tmp_path: Path) -> None:
    vectors = pa.array([float(n * 7 % 101) for n in range(300 * 8)], pa.float32())
    table = pa.table({"k": range(300), "v": pa.FixedSizeListArray.from_arrays(vectors, 8)})
    one = output("lancedb", tmp_path / "out", index="v")
    few = one.publish([part(tmp_path / "1", table.slice(0, 10))])
    assert "no index" in few.notes[0]
    many = one.publish([part(tmp_path / "2", table)])
    found = lancedb.connect(tmp_path / "out").open_table("reviews")
    assert (many.notes, [index.columns for index in found.list_indices()]) == ([], [["v"]])
    assert one.damage(many.files) == []
    with pytest.raises(InputError, match="no column of vectors"):
        output("lancedb", tmp_path / "out", index="k").check(table.schema)
    with pytest.raises(InputError, match="no dot"):
        one.check(pa.schema([("a.b", pa.int64()), *table.schema]))


def test_settings_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    for kind, more in (
        ("delta", {"mode": "upsert"}), ("delta", {"key": "a"}), ("delta", {"mode": "append", "key": "a"}),
        ("lancedb", {"mode": "upsert"}), ("lancedb", {"mode": "append"}), ("lancedb", {"key": "a"}),
        ("lancedb", {"table": "../x"}),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"key|pattern"):
            output(kind, tmp_path, **more)


def test_a_rehearsal_of_lancedb_is_a_table_of_the_same_database(tmp_path: Path) -> None:
    one = output("lancedb", tmp_path / "db")
    beside = one.beside("first-100")
    assert beside.target == tmp_path / "db" / "reviews.first-100.lance"
    assert one.at(beside.target) == beside
    beside.publish([part(tmp_path / "1", numbers([1]))])
    assert rows(beside) == [{"a": 1}]
