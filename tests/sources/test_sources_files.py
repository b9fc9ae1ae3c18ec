"""Which files a path means, how rows without a key are named, and how a changed file is known."""

from __future__ import annotations

import os
from pathlib import Path

import polars as pl
import pytest
from source_tables import opened, table

from penstock.errors import InputError, SourceChanged
from penstock.sources import SourceSettings, check_unchanged, file_state, find_files


def _names(pattern: Path) -> list[str]:
    return [path.name for path in find_files(SourceSettings(path=str(pattern)))[0]]


def test_a_glob_means_its_files_sorted_by_name_without_hidden_ones(tmp_path: Path) -> None:
    for name in ["b.csv", "a.csv", ".c.csv", "_d.csv", "e.txt", "sub/f.csv", ".git/g.csv", "_tmp/h.csv"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("a\n1\n")
    (tmp_path / "folder.csv").mkdir()
    assert _names(tmp_path / "*.csv") == ["a.csv", "b.csv"]
    assert _names(tmp_path / "**" / "*.csv") == ["a.csv", "b.csv", "f.csv"]
    assert _names(tmp_path / ".git" / "*.csv") == ["g.csv"]
    assert _names(tmp_path / "?.csv") == ["a.csv", "b.csv"]
    assert _names(tmp_path / "[b-z].csv") == ["b.csv"]


def test_a_file_whose_name_looks_like_a_glob_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "rows[1].csv").write_text("a\n1\n")
    assert table(opened(tmp_path / "rows[1].csv", key="a")).rows() == [(1,)]
    frame = pl.DataFrame({"a": [1]})
    frame.write_parquet(tmp_path / "rows[1].parquet")
    assert table(opened(tmp_path / "rows[1].parquet", key="a")).rows() == [(1,)]


def test_a_path_that_means_no_rows_says_why(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a\n1\n")
    (tmp_path / "b.jsonl").write_text("{}\n")
    (tmp_path / "c.txt").write_text("a\n1\n")
    (tmp_path / "d.dat").write_text("a\n1\n")
    (tmp_path / "empty").mkdir()
    cases = {
        "x.csv": "does not exist",
        "x*.csv": "matches no file",
        "*.*": r"ending of d\.dat says no format",
        "[ab].*": "csv, jsonl",
        "[c].*": "c.txt, which are no tables; write `format: files`",
        "empty": "is a folder without files",
    }
    for name, words in cases.items():
        with pytest.raises(InputError, match=words):
            find_files(SourceSettings(path=str(tmp_path / name)))
    for address in ("http://example.org/a.csv", "ftp://example.org/a.csv"):
        with pytest.raises(InputError, match=r"rows come from files of this machine, s3://"):
            find_files(SourceSettings(path=address))
    assert table(opened(tmp_path / "c.txt", key="a", format="csv")).rows() == [(1,)]


def test_rows_without_a_key_get_one_by_place_and_content(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    first = table(opened(path, b"a,b\n1,x\n1,x\n\n2,y\n"), 2)
    assert first.columns == ["row_key", "a", "b"]
    assert first["row_key"].n_unique() == 3
    assert table(opened(path), 100)["row_key"].to_list() == first["row_key"].to_list()
    changed = table(opened(path, b"a,b\n1,x\n1,z\n\n2,y\n"))["row_key"]
    assert [new == old for new, old in zip(changed, first["row_key"], strict=True)] == [True, False, True]


@pytest.mark.parametrize("name", ["r.csv", "r.jsonl", "r.parquet"])
def test_a_column_of_the_name_that_penstock_gives_is_never_overwritten(tmp_path: Path, name: str) -> None:
    frame = pl.DataFrame({"row_key": ["x"], "b": [1]})
    path = tmp_path / name
    {"csv": frame.write_csv, "jsonl": frame.write_ndjson, "parquet": frame.write_parquet}[name[2:]](path)
    with pytest.raises(InputError, match=r"source\.key: row_key"):
        opened(path).schema()
    assert table(opened(path, key="row_key")).rows() == [("x", 1)]


@pytest.mark.parametrize(("name", "line"), [("r.csv", "%d,x\n"), ("r.jsonl", '{"a": %d}\n')])
def test_rows_that_are_added_leave_the_digests_of_earlier_slices(tmp_path: Path, name: str, line: str) -> None:
    header = "a,b\n" if name == "r.csv" else ""
    text = header + "".join(line % number for number in range(10))
    before = [piece.digest for piece in opened(tmp_path / name, text.encode(), key="a").slices(3)]
    assert [piece.digest for piece in opened(tmp_path / name, text.encode(), key="a").slices(3)] == before
    after = [piece.digest for piece in opened(tmp_path / name, (text + line % 10).encode(), key="a").slices(3)]
    assert after[:3] == before[:3]
    assert after[3:] != before[3:]
    assert len({*before}) == 4


def test_a_parquet_file_written_again_with_the_same_content_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "r.parquet"
    digests = []
    for value in (1, 1, 2):
        pl.DataFrame({"a": [value, 2]}).write_parquet(path)
        digests.append([piece.digest for piece in opened(path, key="a").slices(1)])
    assert digests[0] == digests[1]
    assert not set(digests[0]) & set(digests[2])


def test_a_touched_file_is_unchanged_and_a_changed_or_missing_one_is_told(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text("a\n1\n")
    planned = file_state(path)
    os.utime(path, ns=(1, 1))
    check_unchanged(planned)
    path.write_text("a\n2\n")
    with pytest.raises(SourceChanged, match="changed during the run"):
        check_unchanged(planned)
    path.unlink()
    with pytest.raises(SourceChanged, match="cannot be read any more"):
        check_unchanged(planned)
