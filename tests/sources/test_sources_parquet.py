"""Parquet: rows by ranges, types from the footer."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from source_tables import bad_rows, opened, table

from penstock.errors import InputError, SourceChanged


@settings(max_examples=30)
@given(
    counts=st.lists(st.integers(0, 25), min_size=1, max_size=4),
    size=st.integers(1, 30),
    groups=st.integers(1, 10),
)
def test_slices_of_any_files_put_together_are_the_files(
    tmp_path_factory: pytest.TempPathFactory, counts: list[int], size: int, groups: int
) -> None:
    folder = tmp_path_factory.mktemp("law")
    begin = 0
    for place, count in enumerate(counts):
        frame = pl.DataFrame(
            {"a": range(begin, begin + count), "b": ["x"] * count}, schema={"a": pl.Int64, "b": pl.String}
        )
        frame.write_parquet(folder / f"{place}.parquet", row_group_size=groups)
        begin += count
    source = opened(folder / "*.parquet", key="a")
    cut = list(source.slices(size))
    assert all(0 < piece.rows <= size for piece in cut)
    assert sum(piece.rows for piece in cut) == begin
    assert table(source, size)["a"].to_list() == list(range(begin))


def test_types_are_those_of_the_file(tmp_path: Path) -> None:
    frame = pl.DataFrame({"a": [1], "v": [[1.0, 2.0]]}, schema={"a": pl.UInt16, "v": pl.Array(pl.Float32, 2)})
    frame.write_parquet(tmp_path / "r.parquet")
    assert opened(tmp_path / "r.parquet", key="a").schema() == dict(frame.schema)
    with pytest.raises(InputError, match="b"):
        opened(tmp_path / "r.parquet", key="a", types={"b": "string"}).schema()


def test_a_value_that_does_not_fit_a_named_type_costs_only_its_row(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "a": [1.0, 2.5, 3.0, None],
            "b": ["2026-01-02", "2026-01-03", "soon", ""],
            "c": [[1], [2, 3], None, []],
            "d": [0, 1, 1, 7],
        }
    )
    frame.write_parquet(tmp_path / "r.parquet")
    types = {"a": "integer", "b": "date", "c": "string"}
    source = opened(tmp_path / "r.parquet", key="a", types=types)
    for size in (1, 3, 10):
        assert table(source, size).rows() == [(1, date(2026, 1, 2), "[1]", 0), (None, None, "[]", 7)]
        assert [(bad.number, bad.line) for bad in bad_rows(source, size)] == [(1, 2), (2, 3)]
    first, second = bad_rows(source)
    assert "'a' is to be Int64 and '2.5' is not" in first.message
    assert "'b' is to be Date and 'soon' is not" in second.message
    assert '"soon"' in second.text
    source = opened(tmp_path / "r.parquet", key="a", types={"d": "boolean"})
    assert table(source)["d"].to_list() == [False, True, True]
    assert [bad.number for bad in bad_rows(source)] == [3]


def test_files_with_other_columns_than_the_first_are_refused(tmp_path: Path) -> None:
    pl.DataFrame({"a": [1]}).write_parquet(tmp_path / "1.parquet")
    pl.DataFrame({"a": ["x"]}).write_parquet(tmp_path / "2.parquet")
    with pytest.raises(InputError, match=r"2\.parquet has other columns than 1\.parquet"):
        list(opened(tmp_path / "*.parquet", key="a").slices(10))


@pytest.mark.parametrize("keep", [0, 3, 50, -4])
def test_a_file_that_is_not_whole_is_refused(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "r.parquet"
    pl.DataFrame({"a": range(100)}).write_parquet(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match=r"r\.parquet is not a whole Parquet file"):
        opened(path, key="a").column_names()


def test_a_file_that_is_damaged_inside_or_went_away_is_told_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "r.parquet"
    pl.DataFrame({"a": [f"text {number}" for number in range(5000)]}).write_parquet(path)
    source = opened(path, key="a")
    schema, (piece,) = source.schema(), list(source.slices(5000))
    data = path.read_bytes()
    path.write_bytes(data[:4] + b"\xff" * 2000 + data[2004:])
    with pytest.raises(InputError, match=r"r\.parquet is damaged"):
        source.read(piece, schema)
    path.unlink()
    with pytest.raises(SourceChanged, match="any more"):
        source.read(piece, schema)


def test_rows_without_a_key_can_hold_bytes(tmp_path: Path) -> None:
    frame = pl.DataFrame({"b": [b"\xff", b"\x00"], "l": [[b"x"], None]})
    frame.write_parquet(tmp_path / "r.parquet")
    read = table(opened(tmp_path / "r.parquet"))
    assert read["b"].to_list() == [b"\xff", b"\x00"]
    assert read["row_key"].n_unique() == 2
