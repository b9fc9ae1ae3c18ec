"""A large text file is cut by looking at little of it, and still every record is read exactly once."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from source_tables import opened

from penstock.errors import InputError
from penstock.sources import Slice, sampled, text_files


def _sampled(source: Any, rows: int) -> tuple[list[Slice], list[tuple[Any, ...]]]:
    """The slices, and the rows of them all put together."""
    cut = list(source.slices(rows, may_estimate=True))
    schema = source.schema()
    read = [source.read(piece, schema) for piece in cut]
    for piece, data in zip(cut, read, strict=True):
        assert not piece.counted
        assert all(piece.first_row <= number < piece.first_row + data.records for number in data.numbers)
        assert len(set(data.numbers)) == len(data.numbers)
    assert [piece.start for piece in cut[1:]] == [piece.end for piece in cut[:-1]]
    return cut, [row for data in read for row in data.frame.rows()]


TEXT = st.text(st.sampled_from('ab",;\n\r 1é'), max_size=12)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that small files have what large ones have: records longer than a block, and places that do not tell."""
    monkeypatch.setattr(sampled, "_BLOCK", 16)
    monkeypatch.setattr(sampled, "_LARGEST_BLOCK", 256)
    monkeypatch.setattr(sampled, "_READ", 64)


@settings(max_examples=200)
@given(
    texts=st.lists(st.lists(TEXT, min_size=2, max_size=2), min_size=1, max_size=40),
    rows=st.integers(1, 15),
    newline=st.sampled_from(["\n", "\r\n", "\r"]),
    quoting=st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
)
@pytest.mark.usefixtures("small_blocks")
def test_sampled_slices_of_any_csv_put_together_are_its_rows_or_the_file_is_refused(
    tmp_path_factory: pytest.TempPathFactory, texts: list[list[str]], rows: int, newline: str, quoting: Any
) -> None:
    if quoting == csv.QUOTE_MINIMAL:
        # The writer does not quote every cell with a line end that is not its own.
        texts = [[cell.replace("\r", "").replace("\n", newline) for cell in cells] for cells in texts]
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator=newline, quoting=quoting)
    writer.writerows([["id", "a", "b"], *([f"k{place}", *cells] for place, cells in enumerate(texts))])
    path = tmp_path_factory.mktemp("law") / "r.csv"
    types = {"id": "string", "a": "string", "b": "string"}
    source = opened(path, text.getvalue().encode(), key="id", cut="sampled", types=types)
    counted = opened(path, key="id", cut="counted", types=types)
    want = [row for piece in counted.slices(rows) for row in counted.read(piece, counted.schema()).frame.rows()]
    assert [row[0] for row in want] == [f"k{place}" for place in range(len(texts))]
    refusal, got = "", []
    try:
        _, got = _sampled(source, rows)
    except InputError as error:
        refusal = str(error)
    assert "set source.cut: counted" in refusal if refusal else got == want


@settings(max_examples=100)
@given(
    values=st.lists(
        st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=30), min_size=1, max_size=60
    ),
    rows=st.integers(1, 20),
    newline=st.sampled_from(["\n", "\r\n", "\n\n"]),
    last=st.booleans(),
)
@pytest.mark.usefixtures("small_blocks")
def test_sampled_slices_of_any_lines_put_together_are_the_lines(
    tmp_path_factory: pytest.TempPathFactory, values: list[str | None], rows: int, newline: str, last: bool
) -> None:
    lines = [json.dumps({"a": place, "b": value}, ensure_ascii=False) for place, value in enumerate(values)]
    path = tmp_path_factory.mktemp("law") / "r.jsonl"
    data = (newline.join(lines) + (newline if last else "")).encode()
    _, got = _sampled(opened(path, data, key="a", cut="sampled", types={"b": "string"}), rows)
    assert got == list(enumerate(values))


def test_ordinary_csv_with_long_quoted_cells_is_cut_right_everywhere(tmp_path: Path) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["id", "body", "stars"])
    for number in range(20_000):
        writer.writerow([number, f'He said "no, {number}",\nand then\n\n"yes"' * (number % 9), number % 5])
    path = tmp_path / "r.csv"
    source = opened(path, text.getvalue().encode(), key="id", cut="sampled")
    cut, rows = _sampled(source, 500)
    assert [row[0] for row in rows] == list(range(20_000))
    assert 35 <= len(cut) <= 45
    assert abs(sum(piece.rows for piece in cut) - 20_000) < 1_000


def test_a_cut_that_samples_got_wrong_is_told_and_loses_nothing_silently(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One cell holds a whole table of as many columns, which at a place inside of it looks like rows."""
    inner = "".join(f"{number},x,y\n" for number in range(3_000))
    rows = [f"{number},a,b\n" for number in range(2_000)]
    path = tmp_path / "r.csv"
    data = "id,a,b\n" + "".join(rows) + f'9999,"{inner}",b\n' + "".join(rows)
    monkeypatch.setattr(sampled, "_BLOCK", 512)
    source = opened(path, data.encode(), key="id", cut="sampled")
    with pytest.raises(InputError, match=r"r\.csv: a quoted cell goes over byte .* set source\.cut: counted"):
        _sampled(source, 500)
    counted = opened(path, key="id", cut="counted")
    assert sum(piece.rows for piece in counted.slices(500, may_estimate=True)) == 4_001


def test_bad_rows_of_a_sampled_file_have_their_line_in_the_file(tmp_path: Path) -> None:
    lines = ["id,body", *(f"{number},text" for number in range(5_000))]
    lines[1_000] = "999,too,many"
    lines[4_321] = "4320"
    source = opened(tmp_path / "r.csv", "\r\n".join(lines).encode(), key="id", cut="sampled")
    schema = source.schema()
    read = [source.read(piece, schema) for piece in source.slices(300, may_estimate=True)]
    assert [(bad.line, bad.text) for data in read for bad in data.bad] == [(1_001, "999,too,many"), (4_322, "4320")]
    assert sum(len(data.frame) for data in read) == 4_998
    jsonl = opened(tmp_path / "r.jsonl", b'{"a": 1}\n' * 700 + b"oops\n" + b'{"a": 2}\n' * 300, key="a", cut="sampled")
    read = [jsonl.read(piece, jsonl.schema()) for piece in jsonl.slices(100, may_estimate=True)]
    assert [bad.line for data in read for bad in data.bad] == [701]


def test_a_file_that_changed_anywhere_is_new_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    data = b"".join(b'{"a": %7d}\n' % number for number in range(50_000))

    def digests() -> list[str]:
        return [piece.digest for piece in opened(path, key="a", cut="sampled").slices(10_000, may_estimate=True)]

    path.write_bytes(data)
    first = digests()
    assert digests() == first
    assert len({*first}) == len(first)
    changed = bytearray(data)
    changed[300_007] ^= 1
    path.write_bytes(changed)
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert not set(digests()) & set(first)


def test_a_file_is_counted_where_samples_would_not_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a limit on rows; without a key, since rows are named by their number; and when the pipeline says so."""
    monkeypatch.setattr(text_files, "LARGE", 10)
    path = tmp_path / "r.csv"
    data = b"a,b\n" + b"1,x\n" * 50
    assert not any(piece.counted for piece in opened(path, data, key="a").slices(5, may_estimate=True))
    assert all(piece.counted for piece in opened(path, key="a").slices(5))
    assert all(piece.counted for piece in opened(path).slices(5, may_estimate=True))
    assert all(piece.counted for piece in opened(path, key="a", cut="counted").slices(5, may_estimate=True))


def test_planning_reads_little_of_a_large_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "r.jsonl"
    line = json.dumps({"a": 1, "b": "x" * 300}).encode() + b"\n"
    with path.open("wb") as handle:
        for _ in range(64):
            handle.write(line * 3_000)
    source = opened(path, key="a", cut="sampled")
    read = 0
    original = sampled._Text._read

    def counted(self: Any, start: int, end: int) -> bytes:
        nonlocal read
        data = original(self, start, end)
        read += len(data)
        return data

    monkeypatch.setattr(sampled._Text, "_read", counted)
    cut = list(source.slices(10_000, may_estimate=True))
    assert sum(piece.rows for piece in cut) == 64 * 3_000
    assert read < path.stat().st_size / 20
