"""Folders named `key=value` are columns of the rows below them, in every format."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from source_tables import opened, table

from penstock.errors import InputError


def _write(path: Path, rows: list[dict[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    frame = pl.DataFrame(rows)
    writers = {".csv": frame.write_csv, ".jsonl": frame.write_ndjson, ".parquet": frame.write_parquet}
    writers[path.suffix](path)


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("pattern", ["", "*/*/*.{}", "**/*.{}"])
def test_folders_add_columns_with_types(tmp_path: Path, suffix: str, pattern: str) -> None:
    for year, day in ((2025, "2025-12-31"), (2026, "2026-01-01")):
        _write(tmp_path / "d" / f"year={year}" / f"day={day}" / f"r.{suffix}", [{"a": year * 10 + n} for n in range(3)])
    source = opened(tmp_path / "d" / pattern.format(suffix) if pattern else tmp_path / "d", key="a")
    assert list(source.column_names()) == ["a", "year", "day"]
    assert source.schema() == {"a": pl.Int64(), "year": pl.Int64(), "day": pl.Date()}
    for size in (1, 2, 10):
        assert table(source, size).rows() == [
            (number, number // 10, date(2025, 12, 31) if number < 20_260 else date(2026, 1, 1))
            for number in (20250, 20251, 20252, 20260, 20261, 20262)
        ]


def test_names_are_decoded_and_the_word_for_nothing_is_null(tmp_path: Path) -> None:
    for name, number in {"shop=a%20b%2Fc": 1, "shop=__HIVE_DEFAULT_PARTITION__": 2, "shop=7": 3}.items():
        _write(tmp_path / name / "r.csv", [{"a": number}])
    assert sorted(table(opened(tmp_path, key="a")).rows()) == [(1, "a b/c"), (2, None), (3, "7")]


def test_a_type_may_be_named_for_a_folders_column(tmp_path: Path) -> None:
    _write(tmp_path / "zip=01234" / "r.csv", [{"a": 1}])
    _write(tmp_path / "zip=11111" / "r.csv", [{"a": 2}])
    assert table(opened(tmp_path, key="a")).rows() == [(1, "01234"), (2, "11111")]
    source = opened(tmp_path, key="a", types={"zip": "integer", "a": "string"})
    assert table(source).rows() == [("1", 1234), ("2", 11111)]
    with pytest.raises(InputError, match="the folder zip=01234 is no date"):
        table(opened(tmp_path, key="a", types={"zip": "date"}))


def test_a_folders_value_is_part_of_what_a_slice_holds(tmp_path: Path) -> None:
    digests = []
    for name in ("d=1", "d=2"):
        _write(tmp_path / name / "x" / "r.csv", [{"a": 1}])
        digests.append(next(iter(opened(tmp_path, key="a").slices(9))).digest)
        (tmp_path / name / "x" / "r.csv").unlink()
    assert digests[0] != digests[1]


def test_folders_of_other_names_are_refused(tmp_path: Path) -> None:
    _write(tmp_path / "year=2025" / "r.csv", [{"a": 1}])
    _write(tmp_path / "r.csv", [{"a": 2}])
    with pytest.raises(InputError, match=r"year=2025/r\.csv in such that name year; all files need the same"):
        opened(tmp_path, key="a")


def test_a_column_that_the_files_have_themselves_is_theirs(tmp_path: Path) -> None:
    _write(tmp_path / "year=2025" / "r.csv", [{"a": 1, "year": 1999}])
    assert table(opened(tmp_path, key="a")).rows() == [(1, 1999)]
    with pytest.raises(InputError, match="a column of the files and a name of their folders"):
        opened(tmp_path, key="a", types={"year": "string"}).schema()


def test_names_before_the_first_wildcard_are_no_columns(tmp_path: Path) -> None:
    _write(tmp_path / "run=5" / "year=2025" / "r.csv", [{"a": 1}])
    assert table(opened(tmp_path / "run=5" / "*" / "*.csv", key="a")).columns == ["a", "year"]
    assert table(opened(tmp_path / "run=5" / "year=2025" / "r.csv", key="a")).columns == ["a"]


def test_a_folders_column_may_name_rows(tmp_path: Path) -> None:
    _write(tmp_path / "shop=1" / "r.csv", [{"order": 1}])
    _write(tmp_path / "shop=2" / "r.csv", [{"order": 1}])
    assert table(opened(tmp_path, key=["shop", "order"])).rows() == [(1, 1), (1, 2)]


VALUES = st.text(st.characters(codec="utf-8", exclude_characters="/\0%="), min_size=1, max_size=6).filter(
    lambda text: text not in {".", ".."}
)


@settings(max_examples=40)
@given(values=st.lists(VALUES, min_size=1, max_size=5, unique=True), size=st.integers(1, 5))
def test_any_values_of_folders_come_back_with_their_rows(
    tmp_path_factory: pytest.TempPathFactory, values: list[str], size: int
) -> None:
    folder = tmp_path_factory.mktemp("law")
    for place, value in enumerate(values):
        path = folder / f"v={value}" / "r.jsonl"
        path.parent.mkdir()
        path.write_text("".join(json.dumps({"a": place, "n": number}) + "\n" for number in range(3)))
    read = table(opened(folder, key=["a", "n"], types={"v": "string"}), size)
    assert sorted(read.rows()) == [(place, number, value) for place, value in enumerate(values) for number in range(3)]
