"""Object storage, on an S3 server: what is listed, what is fetched and when, and what happens if it changes."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from source_servers import BUCKET, Bucket
from source_tables import bad_rows, pieces, table

from penstock.errors import InputError, SourceChanged
from penstock.sources import Source, SourceSettings, check_unchanged, objects, open_source


def _opened(address: str, folder: Path, planned: Any = None, **settings: Any) -> Source:
    return open_source(SourceSettings(path=address, **settings), copies=folder / "copies", planned=planned)


def _parquet(frame: pl.DataFrame, group: int = 1000) -> bytes:
    data = io.BytesIO()
    frame.write_parquet(data, row_group_size=group)
    return data.getvalue()


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes each read of an object brought."""
    from penstock.sources import mirrors, stored

    sizes: list[int] = []
    original = objects.read_range

    def counted(address: str, start: int, end: int) -> bytes:
        data = original(address, start, end)
        sizes.append(len(data))
        return data

    for module in (objects, mirrors, stored):
        monkeypatch.setattr(module, "read_range", counted)
    return sizes


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("r.csv", b"a,b\n1,x\n2,y\nno,z\n3,z\n"),
        ("r.jsonl", b'{"a":1,"b":"x"}\n{"a":2,"b":"y"}\nno\n{"a":3,"b":"z"}\n'),
        ("r.csv.gz", gzip.compress(b"a,b\n1,x\n2,y\nno,z\n3,z\n", mtime=0)),
    ],
)
def test_text_objects_are_read_with_their_bad_rows(bucket: Bucket, tmp_path: Path, name: str, data: bytes) -> None:
    address = bucket.put(f"in/{name}", data)
    types = {"a": "integer"}
    source = _opened(address, tmp_path, key="a", types=types)
    assert list(source.column_names()) == ["a", "b"]
    assert not (tmp_path / "copies").exists()
    for size in (1, 2, 10):
        assert table(source, size).rows() == [(1, "x"), (2, "y"), (3, "z")]
        assert [(bad.file, bad.number) for bad in bad_rows(source, size)] == [(address, 2)]
    cut = list(source.slices(2))
    again = _opened(address, tmp_path, source.states(), key="a", types=types)
    assert again.read(cut[0], source.schema()).frame.rows() == [(1, "x"), (2, "y")]


def test_a_glob_means_its_objects_sorted_without_hidden_and_empty_ones(bucket: Bucket, tmp_path: Path) -> None:
    for key in ("a/1.csv", "a/b/2.csv", "a/.h.csv", "a/_tmp/3.csv", "a/4.txt", "ab/5.csv", "a/b+c d/6.csv"):
        bucket.put(key, b"a\n1\n")
    bucket.put("a/0.csv", b"")

    def found(pattern: str) -> list[str]:
        return [str(file).removeprefix(f"s3://{BUCKET}/") for file in _opened(pattern, tmp_path, key="a").files]

    assert found(f"s3://{BUCKET}/a/*.csv") == ["a/1.csv"]
    assert found(f"s3://{BUCKET}/a/**/*.csv") == ["a/1.csv", "a/b+c d/6.csv", "a/b/2.csv"]
    assert found(f"s3://{BUCKET}/a*/[1-5].csv") == ["a/1.csv", "ab/5.csv"]
    assert found(f"s3://{BUCKET}/a/b") == found(f"s3://{BUCKET}/a/b/") == ["a/b/2.csv"]
    assert table(_opened(f"s3://{BUCKET}/a/b+c d/6.csv", tmp_path, key="a")).rows() == [(1,)]
    for pattern, words in {
        "x/*.csv": "matches no object",
        "x.csv": "matches no object",
        "": "needs a bucket and a key",
    }.items():
        with pytest.raises(InputError, match=words):
            _opened(f"s3://{BUCKET}/{pattern}", tmp_path, key="a")


def test_planning_a_parquet_object_fetches_its_footer_and_reading_a_slice_its_row_group_once(
    bucket: Bucket, tmp_path: Path, fetched: list[int]
) -> None:
    frame = pl.DataFrame(
        {"a": range(20_000), "b": [f"text number {number} of a long table" * 3 for number in range(20_000)]}
    )
    data = _parquet(frame, 5_000)
    address = bucket.put("r.parquet", data)
    source = _opened(address, tmp_path, key="a")
    schema, cut = source.schema(), list(source.slices(1_000))
    assert schema == dict(frame.schema)
    assert len(cut) == 20
    assert sum(fetched) <= 64 << 10
    fetched.clear()
    assert source.read(cut[7], schema).frame.equals(frame[7_000:8_000])
    one_group = sum(fetched)
    assert 0 < one_group < len(data) / 3
    assert source.read(cut[8], schema).frame.equals(frame[8_000:9_000])
    later = _opened(address, tmp_path, source.states(), key="a")
    assert later.read(cut[9], schema).frame.equals(frame[9_000:10_000])
    assert sum(fetched) <= one_group + (64 << 10)
    assert table(later, 3_000).equals(frame)
    mirror = next((tmp_path / "copies").glob("object-*.parquet"))
    assert mirror.stat().st_size == len(data)


def test_a_footer_that_is_larger_than_a_first_look_is_read_whole(bucket: Bucket, tmp_path: Path) -> None:
    frame = pl.DataFrame({f"a long name of a column, number {number}": [number] * 40 for number in range(100)})
    data = _parquet(frame, 2)
    source = _opened(bucket.put("wide.parquet", data), tmp_path, key=frame.columns[0])
    assert table(source, 7).equals(frame)


@pytest.mark.parametrize(
    "data", [b"PAR1", b"nothing of the kind, and a little longer", b"PAR1\xff\xff\xff\xff\xff\xffPAR1"]
)
def test_an_object_that_is_no_parquet_is_refused(bucket: Bucket, tmp_path: Path, data: bytes) -> None:
    with pytest.raises(InputError, match=r"r\.parquet is not a whole Parquet file"):
        _opened(bucket.put("r.parquet", data), tmp_path, key="a").column_names()


def test_an_object_that_changed_is_told(bucket: Bucket, tmp_path: Path) -> None:
    address = bucket.put("r.csv", b"a,b\n1,x\n")
    (state,) = _opened(address, tmp_path, key="a").states()
    check_unchanged(state)
    bucket.put("r.csv", b"a,b\n1,y\n")
    with pytest.raises(SourceChanged, match="changed during the run"):
        check_unchanged(state)
    assert table(_opened(address, tmp_path, key="a")).rows() == [(1, "y")]


def test_folders_of_a_bucket_add_columns(bucket: Bucket, tmp_path: Path) -> None:
    for year in (2025, 2026):
        bucket.put(f"d/year={year}/r.parquet", _parquet(pl.DataFrame({"a": [year]})))
    assert table(_opened(f"s3://{BUCKET}/d/", tmp_path, key="a")).rows() == [(2025, 2025), (2026, 2026)]


def test_wrong_credentials_and_missing_buckets_are_one_sentence_without_a_secret(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"s3://no-such-bucket/a\.csv"):
        _opened("s3://no-such-bucket/a.csv", tmp_path, key="a")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setitem(objects._RETRIES, "max_retries", 0)
    with pytest.raises(InputError, match=r"s3://bucket/a\.csv cannot be read") as told:
        _opened(f"s3://{BUCKET}/a.csv", tmp_path, key="a")
    assert "a-secret-for-tests" not in str(told.value)
    assert "\n" not in str(told.value)


def test_a_large_text_object_is_copied_in_little_memory(bucket: Bucket, tmp_path: Path) -> None:
    import psutil

    address = bucket.put("r.csv", b"a,b\n" + b"".join(b"%d,%s\n" % (number, b"x" * 100) for number in range(400_000)))
    source = _opened(address, tmp_path, key="a")
    before = psutil.Process().memory_info().rss
    assert sum(piece.rows for piece in source.slices(100_000)) == 400_000
    assert psutil.Process().memory_info().rss - before < 100 << 20


def test_a_sampled_object_is_cut_by_the_time_of_the_object(bucket: Bucket, tmp_path: Path) -> None:
    address = bucket.put("r.jsonl", b"".join(b'{"a":%d}\n' % number for number in range(20_000)))
    source = _opened(address, tmp_path, key="a", cut="sampled")
    digests = [piece.digest for piece in source.slices(5_000, may_estimate=True)]
    assert [
        piece.digest
        for piece in _opened(address, tmp_path / "other", key="a", cut="sampled").slices(5_000, may_estimate=True)
    ] == digests
    assert sum(len(data.frame) for data in pieces(source)) == 20_000
