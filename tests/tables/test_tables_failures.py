"""The errors table: keys first, in the order of rows, never longer than needed."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from penstock.items import Cause
from penstock.tables.failures import LONGEST_TEXT, RowError, error_frame, read_errors


def _error(number: int, **more: object) -> RowError:
    return RowError(number=number, step="embed", cause=Cause.TIMEOUT, message="too late", **more)  # type: ignore[arg-type]


def test_errors_stand_in_the_order_of_their_rows_with_their_keys() -> None:
    errors = [_error(5, keys={"id": 50}, attempts=3), _error(2, keys={"id": 20}, text="x" * 5000, usd=0.5)]
    frame = error_frame(errors, {"id": pl.Int64()}, 7)
    assert frame.columns[:4] == ["id", "partition", "number", "step"]
    assert frame.select("id", "partition", "number", "cause", "attempts").rows() == [
        (20, 7, 2, "timeout", 0),
        (50, 7, 5, "timeout", 3),
    ]
    assert len(frame["text"][0]) == LONGEST_TEXT


def test_key_columns_of_the_names_of_its_own_columns_keep_their_values() -> None:
    keys = {"number": "A-17", "file": "f.pdf", "id": 3}
    types = {"number": pl.String(), "file": pl.String(), "id": pl.Int64()}
    frame = error_frame([_error(4, keys=keys, file="rows.csv")], types, 0)
    row = frame.row(0, named=True)
    assert (row["key_number"], row["key_file"], row["id"]) == ("A-17", "f.pdf", 3)
    assert (row["number"], row["file"]) == (4, "rows.csv")


def test_rows_that_could_not_be_read_have_no_key() -> None:
    frame = error_frame([_error(-1, line=9), _error(-1, line=3)], {"id": pl.Int64()}, 0)
    assert frame.select("id", "line").rows() == [(None, 3), (None, 9)]


def test_errors_of_several_parts_are_one_table(tmp_path: Path) -> None:
    paths = [tmp_path / "1.parquet", tmp_path / "2.parquet", tmp_path / "none.parquet"]
    error_frame([_error(1, keys={"id": 1})], {"id": pl.Int64()}, 0).write_parquet(paths[0])
    error_frame([_error(1)], {}, 1).write_parquet(paths[1])
    frame = read_errors(paths)
    assert frame is not None
    assert frame.select("id", "partition").rows() == [(1, 0), (None, 1)]
    assert read_errors(paths[2:]) is None
