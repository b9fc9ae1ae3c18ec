"""CSV by RFC 4180, and what files that do not keep to it come to."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from source_tables import bad_rows, opened, pieces, table

from penstock.errors import InputError, SourceChanged


def _rows(tmp_path: Path, data: bytes, name: str = "rows.csv", **settings: object) -> list[tuple[object, ...]]:
    return table(opened(tmp_path / name, data, key="a", **settings)).rows()


def test_quotes_newlines_and_delimiters_inside_cells_are_part_of_them(tmp_path: Path) -> None:
    data = b'a,b\n1,"say ""hi"""\n2,"two\nlines"\n3,"x,y"\n'
    assert _rows(tmp_path, data) == [(1, 'say "hi"'), (2, "two\nlines"), (3, "x,y")]


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("size", [1, 2, 100])
def test_every_kind_of_line_end_ends_a_row(tmp_path: Path, newline: str, size: int) -> None:
    source = opened(tmp_path / "rows.csv", newline.join(["a,b", "1,x", '2,"y"', "3,z", ""]).encode(), key="a")
    assert table(source, size).rows() == [(1, "x"), (2, "y"), (3, "z")]
    assert sum(piece.rows for piece in source.slices(size)) == 3


def test_a_missing_last_newline_loses_nothing(tmp_path: Path) -> None:
    assert _rows(tmp_path, b"a,b\n1,x\n2,y") == [(1, "x"), (2, "y")]
    assert _rows(tmp_path, b'a,b\n1,x\n2,"y"') == [(1, "x"), (2, "y")]


def test_a_byte_order_mark_is_not_part_of_the_first_name(tmp_path: Path) -> None:
    assert _rows(tmp_path, b"\xef\xbb\xbfa,b\n1,x\n") == [(1, "x")]
    assert _rows(tmp_path, b'\xef\xbb\xbf"a",b\n1,x\n') == [(1, "x")]


def test_tsv_files_have_tabs_and_other_delimiters_can_be_named(tmp_path: Path) -> None:
    assert _rows(tmp_path, b"a\tb\n1\tx,y\n", "rows.tsv") == [(1, "x,y")]
    assert _rows(tmp_path, b"a;b\n1;x,y\n", delimiter=";") == [(1, "x,y")]
    assert _rows(tmp_path, b'a|b\n1|"x|y"\n', delimiter="|") == [(1, "x|y")]
    assert _rows(tmp_path, b'a^b\n1^"x^y"\n', delimiter="^") == [(1, "x^y")]


@pytest.mark.parametrize("delimiter", ['"', "\n", "§"])
def test_a_delimiter_that_no_csv_file_can_have_is_refused(tmp_path: Path, delimiter: str) -> None:
    with pytest.raises(ValueError, match="delimiter"):
        opened(tmp_path / "rows.csv", b"a\n1\n", delimiter=delimiter)


def test_blank_lines_are_no_rows_and_count_as_lines(tmp_path: Path) -> None:
    source = opened(tmp_path / "rows.csv", b"a,b\n\n1,x\n\n\n2,y\n3\n\n4,z,w\n", key="a")
    assert table(source, 2).rows() == [(1, "x"), (2, "y")]
    assert [number for piece in pieces(source, 2) for number in piece.numbers] == [1, 4]
    assert [(bad.number, bad.line) for bad in bad_rows(source, 2)] == [(5, 7), (7, 9)]
    assert bad_rows(source, 2) == bad_rows(source, 100)


def test_a_quote_in_the_middle_of_a_cell_is_a_character(tmp_path: Path) -> None:
    assert _rows(tmp_path, b'a,b\n1,5" nail\n2,x"y"z\n3,ok\n') == [(1, '5" nail'), (2, 'x"y"z'), (3, "ok")]


def test_a_quote_that_is_never_closed_is_told_with_its_line_instead_of_swallowing_the_rest(tmp_path: Path) -> None:
    source = opened(tmp_path / "rows.csv", b'a,b\n1,x\n2,"t\nwo"\n3,"open\n4,y\n5,z\n', key="a")
    for size in (1, 2, 100):
        with pytest.raises(InputError, match=r"rows\.csv, line 5: .*never closed"):
            list(source.slices(size))


def test_a_header_alone_is_a_table_without_rows(tmp_path: Path) -> None:
    source = opened(tmp_path / "rows.csv", b"a,b\n", key="a")
    assert list(source.slices(10)) == []
    assert table(source).columns == ["a", "b"]
    assert list(opened(tmp_path / "rows.csv", b"a,b", key="a").slices(10)) == []


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"a,b,a\n1,2,3\n", "'a' twice"),
        (b"a,,b\n1,2,3\n", "an empty name"),
        (b"\xff\xfea,b\n", "not UTF-8"),
        (b'a,"b\n1,2\n', "header .* never closed"),
    ],
)
def test_a_header_that_names_no_columns_is_an_error_at_once(tmp_path: Path, data: bytes, words: str) -> None:
    with pytest.raises(InputError, match=words):
        opened(tmp_path / "rows.csv", data, key="a").column_names()


def test_a_row_with_too_few_or_too_many_cells_is_lost_alone_with_its_number_line_and_text(tmp_path: Path) -> None:
    data = b'a,b\n1,"two\nlines"\n2\n3,y\n4,z,w\n5,v\n'
    source = opened(tmp_path / "rows.csv", data, key="a")
    assert table(source)["a"].to_list() == [1, 3, 5]
    few, many = bad_rows(source)
    assert (few.number, few.line, few.message, few.text) == (1, 4, "the row has 1 cells and the header 2", "2")
    assert (many.number, many.line, many.text) == (3, 6, "4,z,w")
    assert few.file == str(tmp_path / "rows.csv")


def test_a_cell_that_is_not_utf_8_costs_only_its_row(tmp_path: Path) -> None:
    source = opened(tmp_path / "rows.csv", b"a,b\n1,caf\xe9\n2,y\n3,z,w\n4,\xfe\n5,\xc3\xa9\n", key="a")
    assert table(source).rows() == [(2, "y"), (5, "é")]
    assert [(bad.number, bad.line, bad.message) for bad in bad_rows(source)] == [
        (0, 2, "the row is not UTF-8"),
        (2, 4, "the row has 3 cells and the header 2"),
        (3, 5, "the row is not UTF-8"),
    ]


def test_a_cell_that_does_not_fit_the_columns_type_costs_only_its_row(tmp_path: Path) -> None:
    many = b"".join(b"%d,%d\n" % (number, number) for number in range(150_000))
    source = opened(tmp_path / "rows.csv", b"a,b\n" + many + b"150000,n/a\n150001,7\n", key="a")
    assert source.schema() == {"a": pl.Int64(), "b": pl.Int64()}
    (bad,) = bad_rows(source, 60_000)
    assert (bad.number, bad.line, bad.text) == (150_000, 150_002, "150000,n/a")
    assert "'b' is Int64" in bad.message
    assert "source.types: {b: string}" in bad.message
    assert len(table(source, 60_000)) == 150_001


def test_numbers_with_leading_zeros_stay_text(tmp_path: Path) -> None:
    assert _rows(tmp_path, b"a,zip\n1,00123\n2,99999\n") == [(1, "00123"), (2, "99999")]


def test_types_are_the_narrowest_that_all_cells_fit(tmp_path: Path) -> None:
    data = b"a,i,f,b,s,e\n1,2,1.5,true,x,\n2,,2,FALSE,7,\n3,-4,1e3,,,\n"
    source = opened(tmp_path / "rows.csv", data, key="a")
    assert list(source.schema().values()) == [pl.Int64, pl.Int64, pl.Float64, pl.Boolean, pl.String, pl.String]
    assert table(source).rows()[2] == (3, -4, 1000.0, None, None, None)


def test_an_empty_cell_in_quotes_is_an_empty_text_and_no_number(tmp_path: Path) -> None:
    data = b'"a","n","s"\n"1","",""\n"2","5","x"\n'
    assert _rows(tmp_path, data) == [(1, None, ""), (2, 5, "x")]


def test_named_types_go_before_those_found(tmp_path: Path) -> None:
    data = b"a,d,t,n\n1,2026-01-02,2026-01-02T03:04:05Z,5\n2,,2026-01-02T03:04:05+02:00,x\n3,2026-13-40,,7\n"
    types = {"a": "string", "d": "date", "t": "datetime", "n": "string"}
    source = opened(tmp_path / "rows.csv", data, key="a", types=types)
    rows = table(source).rows()
    assert [row[0] for row in rows] == ["1", "2"]
    assert [str(row[2]) for row in rows] == ["2026-01-02 03:04:05", "2026-01-02 01:04:05"]
    assert [bad.number for bad in bad_rows(source)] == [2]
    with pytest.raises(InputError, match="nosuch"):
        opened(tmp_path / "rows.csv", key="a", types={"nosuch": "string"}).schema()


def test_a_single_cell_may_be_larger_than_what_types_are_found_in(tmp_path: Path) -> None:
    huge = "x" * 3_000_000 + "\n" + '""' * 1000
    source = opened(tmp_path / "rows.csv", f'a,b\n1,"{huge}"\n2,y\n'.encode(), key="a")
    rows = table(source).rows()
    assert len(rows[0][1]) == 3_001_001
    assert rows[1] == (2, "y")


def test_files_with_other_columns_than_the_first_are_refused(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text("a,b\n1,x\n")
    (tmp_path / "2.csv").write_text("a,c\n2,y\n")
    with pytest.raises(InputError, match=r"2\.csv has other columns than 1\.csv: a, c instead of a, b"):
        list(opened(tmp_path / "*.csv", key="a").slices(10))


def test_types_hold_for_all_files(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text("a,b\n1,1\n")
    (tmp_path / "2.csv").write_text("a,b\n2,1.5\n")
    (tmp_path / "3.csv").write_text("a,b\nx,2\n")
    source = opened(tmp_path / "*.csv", key="a")
    assert table(source).rows() == [("1", 1.0), ("2", 1.5), ("x", 2.0)]


def test_a_file_that_became_shorter_or_went_away_after_planning_is_told(tmp_path: Path) -> None:
    source = opened(tmp_path / "rows.csv", b"a,b\n1,x\n2,y\n", key="a")
    schema, (piece,) = source.schema(), list(source.slices(10))
    (tmp_path / "rows.csv").write_bytes(b"a,b\n1,x\n")
    with pytest.raises(SourceChanged, match="shorter"):
        source.read(piece, schema)
    (tmp_path / "rows.csv").unlink()
    with pytest.raises(SourceChanged, match="cannot be read any more"):
        source.read(piece, schema)


def test_few_rows_of_a_large_file_are_cut_without_reading_on(tmp_path: Path) -> None:
    source = opened(tmp_path / "rows.csv", b"a,b\n" + b"1,x\n" * 1000 + b'2,"never closed', key="a")
    first = next(source.slices(10))
    assert (first.rows, first.first_row, first.first_line) == (10, 0, 2)


CELLS = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    ["", '"', '""', ",", "\n", "\r\n", "\r", " ", 'a"b', '"x', "é😀", "007", "-1", "1.5", "true"]
)


@given(
    rows=st.lists(st.tuples(CELLS, CELLS, CELLS), max_size=12),
    size=st.integers(1, 14),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    newline=st.sampled_from(["\n", "\r\n", "\r"]),
    delimiter=st.sampled_from([",", ";", "\t", "|"]),
    last=st.booleans(),
)
def test_slices_of_any_table_put_together_are_the_table(  # noqa: PLR0917  # what hypothesis draws
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str, str, str]],
    size: int,
    quoting: int,
    newline: str,
    delimiter: str,
    last: bool,
) -> None:
    if newline != "\r\n" and any(mark in cell for row in rows for cell in row for mark in "\r\n"):
        # Python's writer quotes only the marks of its own line end.
        quoting = csv.QUOTE_ALL
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=quoting, lineterminator=newline, delimiter=delimiter)  # type: ignore[arg-type]
    writer.writerows([("a", "b", "c"), *rows])
    written = text.getvalue() if last else text.getvalue().removesuffix(newline)
    path = tmp_path_factory.mktemp("law") / "rows.csv"
    types = dict.fromkeys("abc", "string")
    source = opened(path, written.encode(), key="a", delimiter=delimiter, types=types)
    cut = list(source.slices(size))
    assert all(piece.rows <= size for piece in cut)
    assert sum(piece.rows for piece in cut) == len(rows)
    assert [piece.first_row for piece in cut] == list(range(0, len(rows), size))
    assert bad_rows(source, size) == []
    read = [tuple(cell or "" for cell in row) for row in table(source, size).rows()]
    assert read == rows
    assert [number for piece in pieces(source, size) for number in piece.numbers] == list(range(len(rows)))
