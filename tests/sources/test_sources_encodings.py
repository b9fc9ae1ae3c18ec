"""Compressed files, other encodings, JSON arrays, and words for nothing."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from source_tables import bad_rows, opened, table

from penstock.errors import InputError
from penstock.sources import decoding


def _zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return bytes(sink.getvalue())


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": _zstd
}  # fmt: skip


@pytest.mark.parametrize("ending", PACKED)
@pytest.mark.parametrize("name", ["r.csv", "r.tsv", "r.jsonl", "r.json"])
def test_compressed_text_is_read_like_plain_text(tmp_path: Path, name: str, ending: str) -> None:
    data = {
        "r.csv": b'a,b\n1,"two\nlines"\nno,x\n3,z\n',
        "r.tsv": b'a\tb\n1\t"two\nlines"\nno\tx\n3\tz\n',
        "r.jsonl": b'{"a":1,"b":"two\\nlines"}\n{"a":"no","b":"x"}\n{"a":3,"b":"z"}\n',
        "r.json": b'[{"a":1,"b":"two\\nlines"},{"a":"no","b":"x"},\n{"a":3,"b":"z"}]\n',
    }[name]
    source = opened(tmp_path / f"{name}.{ending}", PACKED[ending](data), key="a", types={"a": "integer"})
    assert list(source.column_names()) == ["a", "b"]
    assert not (tmp_path / ".copies").exists(), "checking makes no copy"
    assert table(source, 2).rows() == [(1, "two\nlines"), (3, "z")]
    assert [(bad.file, bad.number) for bad in bad_rows(source, 2)] == [(str(tmp_path / f"{name}.{ending}"), 1)]


@pytest.mark.parametrize("ending", PACKED)
@pytest.mark.parametrize("keep", [0.0, 0.5, 0.99])
def test_a_compressed_file_that_is_not_whole_is_refused_at_once(tmp_path: Path, ending: str, keep: float) -> None:
    packed = PACKED[ending](b"a,b\n" + b"".join(b"%d,%d\n" % (n, n * 7919 % 1000) for n in range(20_000)))
    source = opened(tmp_path / f"r.csv.{ending}", packed[: int(len(packed) * keep)], key="a")
    with pytest.raises(InputError, match=rf"r\.csv\.{ending} is (not a whole|empty)"):
        list(source.slices(1000))
    (tmp_path / f"r.csv.{ending}").write_bytes(b"this is not compressed at all")
    with pytest.raises(InputError, match=rf"r\.csv\.{ending} is not a whole"):
        opened(tmp_path / f"r.csv.{ending}", key="a").column_names()


def test_several_gzip_members_are_one_file(tmp_path: Path) -> None:
    data = gzip.compress(b"a\n1\n") + gzip.compress(b"2\n")
    assert table(opened(tmp_path / "r.csv.gz", data, key="a")).rows() == [(1,), (2,)]


def test_a_copy_is_made_once_and_again_when_the_file_changed(tmp_path: Path) -> None:
    path = tmp_path / "r.csv.gz"
    for _ in range(2):
        assert table(opened(path, gzip.compress(b"a\n1\n", mtime=0), key="a")).rows() == [(1,)]
        assert len(list((tmp_path / ".copies").glob("text-*"))) == 1
    assert table(opened(path, gzip.compress(b"a\n2\n", mtime=0), key="a")).rows() == [(2,)]
    assert len(list((tmp_path / ".copies").glob("text-*"))) == 2
    assert (tmp_path / ".copies" / ".gitignore").read_text() == "*\n"


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16", "utf-16-le", "utf-32", "utf-8-sig"])
def test_other_encodings_are_read(tmp_path: Path, encoding: str) -> None:
    data = "a,b\n1,café\n2,über\n".encode(encoding)
    source = opened(tmp_path / "r.csv", data, key="a", encoding=encoding)
    assert table(source, 1).rows() == [(1, "café"), (2, "über")]
    lines = '{"a": 1, "b": "café"}\r\n{"a": 2, "b": "über"}'.encode(encoding)
    assert table(opened(tmp_path / "r.jsonl", lines, key="a", encoding=encoding), 1).rows() == [
        (1, "café"),
        (2, "über"),
    ]


def test_bytes_that_are_none_of_the_encoding_cost_only_their_row(tmp_path: Path) -> None:
    source = opened(tmp_path / "r.csv", b"a,b\n1,caf\xe9\n2,\x81\n3,z\n", key="a", encoding="cp1252")
    assert table(source).rows() == [(1, "café"), (3, "z")]
    assert [(bad.number, bad.line) for bad in bad_rows(source)] == [(1, 3)]


def test_an_encoding_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'klingon' is no encoding"):
        opened(tmp_path / "r.csv", b"a\n1\n", key="a", encoding="klingon")


def test_words_for_nothing_are_null_unless_quoted(tmp_path: Path) -> None:
    data = b'a,b\n1,NA\n2,"NA"\n-,x\n4,\n'
    assert table(opened(tmp_path / "r.csv", data, key="b", null_values=["NA", "-"])).rows() == [
        (1, None), (2, "NA"), (None, "x"), (4, None)
    ]  # fmt: skip
    cut = [[piece.digest for piece in opened(tmp_path / "r.csv", key="b", **more).slices(9)] for more in (
        {}, {"null_values": ["NA"]}, {"null_values": ["-"]})]  # fmt: skip
    assert len({*map(str, cut)}) == 3


# JSON arrays


def test_a_json_array_is_read_element_by_element(tmp_path: Path) -> None:
    data = json.dumps([{"a": number, "b": "],[{ \n"} for number in range(5)], indent=3).encode()
    for name, more in (("r.json", {}), ("r.txt", {"format": "json"})):
        source = opened(tmp_path / name, b"\xef\xbb\xbf \n" + data, key="a", **more)
        assert list(source.column_names()) == ["a", "b"]
        assert table(source, 2).rows() == [(number, "],[{ \n") for number in range(5)]


def test_a_json_file_of_lines_is_read_as_such(tmp_path: Path) -> None:
    assert table(opened(tmp_path / "r.json", b'{"a": 1}\n{"a": 2}\n', key="a")).rows() == [(1,), (2,)]


def test_an_element_that_is_no_object_costs_only_its_row(tmp_path: Path) -> None:
    source = opened(tmp_path / "r.json", b'[{"a": 1}, 17, null, "x", [1], {"a": 2}]', key="a")
    assert table(source).rows() == [(1,), (2,)]
    assert [(bad.line, bad.text) for bad in bad_rows(source)] == [(2, "17"), (3, "null"), (4, '"x"'), (5, "[1]")]


@pytest.mark.parametrize("data", [b'[{"a": 1}, {"a": ', b'[{"a": 1}, {oops}]', b'[{"a": 1}', b'[{"a": 1}] and more'])
def test_an_array_that_breaks_off_is_refused_with_the_place(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(InputError, match=r"r\.json is an array that breaks off or is no JSON after \d+ characters"):
        list(opened(tmp_path / "r.json", data, key="a").slices(10))


def test_lines_that_are_an_array_are_told_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"r\.jsonl is a JSON array, not JSON Lines; write `format: json`"):
        opened(tmp_path / "r.jsonl", b'[{"a": 1},\n{"a": 2}]', key="a").column_names()


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=150)
@given(
    values=st.lists(JSON, max_size=12),
    indent=st.none() | st.integers(0, 3),
    chunk=st.integers(1, 50),
    raw=st.booleans(),
)
def test_the_elements_of_any_array_are_lines_however_the_file_is_read(
    values: list[object], indent: int | None, chunk: int, raw: bool
) -> None:
    text = json.dumps(values, indent=indent, ensure_ascii=not raw).encode("utf-8", "replace")
    values = json.loads(text)
    pieces = iter([text[place : place + chunk] for place in range(0, len(text), chunk)])
    lines = b"".join(decoding._lines_of_array(pieces, "r.json")).split(b"\n")
    assert lines.pop() == b""
    assert [json.loads(line) for line in lines] == values
