"""Files as rows: what each column says, what a damaged or changed file costs, and which files are meant."""

from __future__ import annotations

import os
import struct
import sys
import wave
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from source_tables import bad_rows, opened, pieces, table

from penstock.errors import InputError, SourceChanged
from penstock.sources import SourceSettings, open_source
from penstock.sources.sound import wav_seconds


def _wav(path: Path, seconds: float, rate: int = 8000, channels: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as out:
        out.setnchannels(channels)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(bytes(2 * channels * round(seconds * rate)))
    return path


def _encoded(path: Path, codec: str, seconds: float = 2.0, rate: int = 48_000) -> Path:
    """Silence in a format that only FFmpeg writes."""
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.layout = "mono"
        count = 960
        for place in range(round(seconds * rate / count)):
            frame = av.AudioFrame(format="s16", layout="mono", samples=count)
            frame.planes[0].update(bytes(2 * count))
            frame.rate, frame.pts = rate, place * count
            resampled = av.AudioResampler(format=stream.format, layout="mono", rate=rate).resample(frame)
            for one in resampled:
                container.mux(stream.encode(one))
        container.mux(stream.encode(None))
    return path


def test_each_file_is_a_row_with_what_is_known_of_it(tmp_path: Path) -> None:
    sound = _wav(tmp_path / "in" / "b.wav", 1.5)
    os.utime(sound, ns=(0, 1_700_000_000_123_456_789))
    (tmp_path / "in" / "a.PNG").write_bytes(b"picture")
    (tmp_path / "in" / "c").mkdir()
    (tmp_path / "in" / "c" / "d.bin").write_bytes(b"")
    (tmp_path / "in" / ".hidden.wav").write_bytes(b"")
    source = opened(tmp_path / "in", format="files")
    assert (
        list(source.column_names()) == list(source.schema()) == ["path", "name", "type", "bytes", "modified", "seconds"]
    )
    read = table(source, 2)
    assert read["path"].to_list() == [str(tmp_path / "in" / name) for name in ("a.PNG", "b.wav", "c/d.bin")]
    assert read["name"].to_list() == ["a.PNG", "b.wav", "d.bin"]
    assert read["type"].to_list() == ["image/png", "audio/wav", "application/octet-stream"]
    assert read["bytes"].to_list() == [7, sound.stat().st_size, 0]
    assert read["modified"][1].isoformat() == "2023-11-14T22:13:20.123456"
    assert read["seconds"].to_list() == [None, 1.5, None]


def test_files_are_named_by_their_path_unless_the_pipeline_says_otherwise() -> None:
    assert SourceSettings(path="/calls", format="files").keys == ["path"]
    assert SourceSettings(path="/calls/*.mp3").keys == ["path"]
    assert SourceSettings(path="/calls/*.mp3", key="name").keys == ["name"]
    assert SourceSettings(path="/calls/*.csv").keys == []


def test_endings_of_sound_pictures_and_text_say_that_files_are_rows(tmp_path: Path) -> None:
    _wav(tmp_path / "a.wav", 1)
    (tmp_path / "b.txt").write_text("text")
    assert table(opened(tmp_path / "*.wav"))["name"].to_list() == ["a.wav"]
    assert table(opened(tmp_path / "b.txt"))["name"].to_list() == ["b.txt"]
    assert table(opened(tmp_path / "b.txt", format="csv")).columns == ["row_key", "text"]


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp3", "mp3"), ("a.flac", "flac"), ("a.ogg", "libopus"), ("a.m4a", "aac"), ("a.webm", "libopus")],
)
def test_the_length_of_every_kind_of_sound_is_known(tmp_path: Path, name: str, codec: str) -> None:
    _encoded(tmp_path / name, codec)
    (seconds,) = table(opened(tmp_path / name))["seconds"].to_list()
    assert seconds == pytest.approx(2.0, abs=0.1)


def test_without_the_extra_only_wav_has_a_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _encoded(tmp_path / "a.mp3", "mp3")
    _wav(tmp_path / "b.wav", 0.25)
    (tmp_path / "c.wav").write_bytes((tmp_path / "a.mp3").read_bytes())
    monkeypatch.setitem(sys.modules, "av", None)
    assert table(opened(tmp_path, format="files"))["seconds"].to_list() == [None, 0.25, None]


def test_sound_that_cannot_be_read_costs_only_its_row(tmp_path: Path) -> None:
    pytest.importorskip("av")
    _wav(tmp_path / "a.wav", 1)
    (tmp_path / "b.mp3").write_bytes(b"not a sound at all" * 100)
    (tmp_path / "c.wav").write_bytes(b"")
    (tmp_path / "d.wav").write_bytes((tmp_path / "a.wav").read_bytes()[:20])
    (tmp_path / "e.txt").write_bytes(b"")
    source = opened(tmp_path, format="files")
    assert table(source, 2)["name"].to_list() == ["a.wav", "e.txt"]
    told = bad_rows(source, 2)
    assert [(Path(bad.file).name, bad.number, bad.line) for bad in told] == [
        ("b.mp3", 1, 2),
        ("c.wav", 2, 3),
        ("d.wav", 3, 4),
    ]
    assert "the sound cannot be read: Invalid data" in told[0].message
    assert [bad.message for bad in told[1:]] == ["the file is empty", "the WAV file breaks off before its sound"]


def test_the_files_of_a_plan_stay_those_that_it_was_made_from(tmp_path: Path) -> None:
    for name in ("b", "d", "f"):
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / f"{name}.txt").write_text(name)
    planned = opened(tmp_path / "in", format="files")
    schema, cut, states = planned.schema(), list(planned.slices(2)), planned.states()
    (tmp_path / "in" / "a.txt").write_text("new")
    (tmp_path / "in" / "d.txt").write_text("changed")
    (tmp_path / "in" / "f.txt").unlink()
    later = open_source(
        SourceSettings(path=str(tmp_path / "in"), format="files"), copies=tmp_path / ".copies", planned=states
    )
    read = [later.read(piece, schema) for piece in cut]
    assert [name for data in read for name in data.frame["name"]] == ["b.txt"]
    assert [(Path(bad.file).name, bad.number) for data in read for bad in data.bad] == [("d.txt", 1), ("f.txt", 2)]
    messages = [bad.message for data in read for bad in data.bad]
    assert "changed after the run was planned" in messages[0]
    assert "cannot be read: No such file" in messages[1]
    Path(states[0].path).unlink()
    with pytest.raises(SourceChanged, match="local copy of the list of files"):
        later.read(cut[0], schema)


def test_a_file_that_is_added_leaves_the_digests_of_slices_before_it(tmp_path: Path) -> None:
    def digests() -> list[str]:
        return [piece.digest for piece in opened(tmp_path, format="files").slices(2)]

    for place in range(5):
        (tmp_path / f"{place}.txt").write_text(str(place))
    before = digests()
    (tmp_path / "5.txt").write_text("5")
    assert digests()[:2] == before[:2]
    assert digests()[2] != before[2]
    (tmp_path / "0.txt").write_text("other")
    assert digests()[0] != before[0]
    assert digests()[1] == before[1]


def test_contents_are_a_column_if_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("\ufeffgrüße\r\n".encode())
    (tmp_path / "b.txt").write_bytes(b"caf\xe9")
    source = opened(tmp_path / "*.txt", contents=True)
    assert table(source)["text"].to_list() == ["grüße\r\n"]
    assert [(bad.number, bad.message) for bad in bad_rows(source)] == [(1, "the file is not UTF-8, from byte 3 on")]


def test_types_may_be_named_for_columns_that_are_there(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    assert table(opened(tmp_path / "a.txt", types={"bytes": "string"}))["bytes"].to_list() == ["4"]
    with pytest.raises(InputError, match=r"source\.types: files as rows have no column 'size'"):
        opened(tmp_path / "a.txt", types={"size": "string"}).column_names()


@pytest.mark.parametrize(
    ("name", "words"), [("x.txt", "does not exist"), ("*.mp3", "matches no file"), ("empty", "without files")]
)
def test_no_file_at_all_is_an_error(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=words):
        opened(tmp_path / name, format="files").column_names()
    with pytest.raises(InputError, match="must lie on this machine"):
        open_source(SourceSettings(path="s3://bucket/calls/*.mp3"))


@settings(max_examples=30)
@given(count=st.integers(1, 25), size=st.integers(1, 30), lost=st.sets(st.integers(0, 24), max_size=5))
def test_slices_of_any_files_put_together_are_the_files(
    tmp_path_factory: pytest.TempPathFactory, count: int, size: int, lost: set[int]
) -> None:
    folder = tmp_path_factory.mktemp("law")
    for place in range(count):
        (folder / f"{place:02}.wav").write_bytes(b"") if place in lost else _wav(folder / f"{place:02}.wav", 0.01)
    source = opened(folder, format="files")
    read = pieces(source, size)
    assert [number for data in read for number in sorted([*data.numbers, *(bad.number for bad in data.bad)])] == list(
        range(count)
    )
    assert [bad.number for data in read for bad in data.bad] == sorted(place for place in lost if place < count)
    assert pl.concat([data.frame for data in read])["seconds"].sum() == pytest.approx(
        0.01 * (count - len([one for one in lost if one < count]))
    )


@settings(max_examples=60)
@given(
    frames=st.integers(0, 500), rate=st.sampled_from([8000, 44_100]), channels=st.integers(1, 3),
    extra=st.lists(st.tuples(st.sampled_from([b"LIST", b"fact", b"junk"]), st.binary(max_size=9)), max_size=3),
    told=st.sampled_from(["right", "zero", "streamed"]),
)  # fmt: skip
def test_the_header_of_any_wav_tells_its_length(
    *,
    tmp_path_factory: pytest.TempPathFactory,
    frames: int, rate: int, channels: int, extra: list[tuple[bytes, bytes]], told: str,
) -> None:  # fmt: skip
    width = 2 * channels
    form = struct.pack("<HHIIHH", 0xFFFE, channels, rate, rate * width, width, 16) + bytes(24)
    length = {"right": frames * width, "zero": 0, "streamed": 0xFFFFFFFF}[told]
    chunks: Any = [(b"fmt ", form), *extra]
    body = b"".join(name + struct.pack("<I", len(data)) + data + bytes(len(data) % 2) for name, data in chunks)
    body += b"data" + struct.pack("<I", length) + bytes(frames * width)
    path = tmp_path_factory.mktemp("wav") / "a.wav"
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body) + 4) + b"WAVE" + body)
    with path.open("rb") as handle:
        assert wav_seconds(handle, path.stat().st_size) == pytest.approx(frames / rate, abs=0.001)
