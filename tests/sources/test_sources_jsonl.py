"""JSON Lines: one object a line, whatever stands on the lines around it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from source_tables import bad_rows, opened, pieces, table

from penstock.errors import InputError


def test_blank_lines_are_no_rows_and_count_as_lines(tmp_path: Path) -> None:
    source = opened(tmp_path / "r.jsonl", b'\n{"a":1}\n \n{"a":2}\nno\n\n{"a":3}', key="a")
    for size in (1, 2, 100):
        assert table(source, size).rows() == [(1,), (2,), (3,)]
        assert [number for piece in pieces(source, size) for number in piece.numbers] == [1, 3, 6]
        assert [(bad.number, bad.line, bad.text) for bad in bad_rows(source, size)] == [(4, 5, "no")]


@pytest.mark.parametrize(
    "line",
    ["nonsense", "[1]", "null", "5", '"a"', '{"a": 1', '{"a": 1}{"a": 2}', '{"a": "text"}', '{"a": 1.5}', '{"a": [1]}'],
)
def test_a_line_that_is_no_object_of_the_files_types_is_lost_alone(tmp_path: Path, line: str) -> None:
    lines = [json.dumps({"a": number}) for number in range(7)]
    source = opened(tmp_path / "r.jsonl", "\n".join([*lines[:3], line, *lines[3:]]).encode(), key="a")
    read = [source.read(piece, {"a": pl.Int64()}) for piece in source.slices(100)]
    assert [row for data in read for row in data.frame["a"]] == list(range(7))
    ((bad,),) = [data.bad for data in read]
    assert (bad.number, bad.line, bad.text) == (3, 4, line)
    assert "not a JSON object with the file's types" in bad.message


def test_a_bad_first_line_is_lost_alone_too(tmp_path: Path) -> None:
    source = opened(tmp_path / "r.jsonl", b'oops\n{"a":1}\n', key="a")
    assert set(source.column_names()) == {"a"}
    assert table(source).rows() == [(1,)]
    assert [bad.line for bad in bad_rows(source)] == [1]


def test_a_line_that_is_not_utf_8_costs_only_its_row(tmp_path: Path) -> None:
    source = opened(tmp_path / "r.jsonl", b'{"a":"x"}\n{"a":"\xff"}\n{"a":"\xc3\xa9"}\n', key="a")
    assert table(source).rows() == [("x",), ("é",)]
    assert [(bad.number, bad.line) for bad in bad_rows(source)] == [(1, 2)]


def test_a_byte_order_mark_costs_no_row(tmp_path: Path) -> None:
    source = opened(tmp_path / "r.jsonl", b'\xef\xbb\xbf{"a":1}\n{"a":2}\n', key="a")
    assert set(source.column_names()) == {"a"}
    assert table(source, 1).rows() == [(1,), (2,)]


def test_a_carriage_return_inside_a_line_is_white_space(tmp_path: Path) -> None:
    source = opened(tmp_path / "r.jsonl", b'{"a":1,\r"b":2}\r\n{"a":3}\r\n', key="a")
    assert table(source).rows() == [(1, 2), (3, None)]


def test_keys_that_a_row_does_not_have_are_null_and_nested_values_keep_their_shape(tmp_path: Path) -> None:
    lines = [{"a": 1}, {"a": 2, "t": ["x", "y"]}, {"a": 3, "o": {"p": {"q": 1.5}}}]
    source = opened(tmp_path / "r.jsonl", "\n".join(map(json.dumps, lines)).encode(), key="a")
    assert source.schema()["t"] == pl.List(pl.String)
    assert table(source).to_dicts()[2] == {"a": 3, "t": None, "o": {"p": {"q": 1.5}}}


def test_a_key_that_appears_late_is_a_column_when_its_type_is_named(tmp_path: Path) -> None:
    lines = [json.dumps({"a": number, "b": "x" * 500}) for number in range(9_000)]
    lines.append(json.dumps({"a": 9_000, "late": "2026-01-02"}))
    path = tmp_path / "r.jsonl"
    assert "late" not in opened(path, "\n".join(lines).encode(), key="a").schema()
    source = opened(path, key="a", types={"late": "date"})
    assert "late" in source.column_names()
    assert str(table(source)["late"][9_000]) == "2026-01-02"
    with pytest.raises(InputError, match="nowhere"):
        opened(path, key="a", types={"nowhere": "date"}).schema()


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, 2.5], pl.Float64()),
        ([1, "x"], pl.String()),
        ([True, 1], pl.String()),
        ([{"x": 1}, [1]], pl.String()),
        ([None, None], pl.String()),
        ([None, 1], pl.Int64()),
    ],
)
def test_values_of_several_types_get_one_that_holds_them_all(
    tmp_path: Path, values: list[Any], kind: pl.DataType
) -> None:
    source = opened(tmp_path / "r.jsonl", "\n".join(json.dumps({"a": value}) for value in values).encode(), key="a")
    assert source.schema() == {"a": kind}
    assert bad_rows(source) == []
    assert len(table(source)) == 2


@pytest.mark.parametrize("key", ["a", None])
@pytest.mark.parametrize("data", [b"", b"\n\n", b"{}\n{}\n", b"a,b\n1,2\n"])
def test_a_file_without_any_key_is_refused(tmp_path: Path, data: bytes, key: str | None) -> None:
    source = opened(tmp_path / "r.jsonl", data, key=key)
    with pytest.raises(InputError, match=r"r\.jsonl"):
        source.column_names()
    with pytest.raises(InputError, match=r"r\.jsonl"):
        source.schema()


def test_many_bad_lines_do_not_slow_reading_down_to_a_line_at_a_time(tmp_path: Path) -> None:
    lines = [b"bad" if number % 500 == 0 else b'{"a":%d}' % number for number in range(20_000)]
    source = opened(tmp_path / "r.jsonl", b"\n".join(lines), key="a")
    (data,) = pieces(source, 50_000)
    assert len(data.frame) == 19_960
    assert [bad.number for bad in data.bad] == list(range(0, 20_000, 500))
    assert data.frame["a"].to_list() == list(data.numbers)


VALUES = st.none() | st.integers(-(2**53), 2**53) | st.text(st.characters(exclude_categories=["Cs"]), max_size=10)


@given(
    texts=st.lists(st.tuples(VALUES, st.text(st.characters(exclude_categories=["Cs"]), max_size=10)), min_size=1),
    size=st.integers(1, 20),
    ascii_only=st.booleans(),
    newline=st.sampled_from(["\n", "\r\n"]),
)
def test_slices_of_any_lines_put_together_are_the_lines(
    tmp_path_factory: pytest.TempPathFactory, texts: list[tuple[Any, str]], size: int, ascii_only: bool, newline: str
) -> None:
    lines = [json.dumps({"a": str(first), "b": text}, ensure_ascii=ascii_only) for first, text in texts]
    path = tmp_path_factory.mktemp("law") / "r.jsonl"
    source = opened(path, newline.join(lines).encode(), key="a")
    assert sum(piece.rows for piece in source.slices(size)) == len(texts)
    assert table(source, size).rows() == [(str(first), text) for first, text in texts]
