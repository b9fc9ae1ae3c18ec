"""Publishing: readers see the old folder or the new one, and nothing that Penstock did not write is touched."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from penstock.errors import InputError, StorageFailed
from penstock.outputs import folder as folder_module
from penstock.outputs.folder import check_folder, damage, replace_folder
from penstock.outputs.parquet import Parquet
from penstock.tables.parts import write_part


def part(path: Path, values: list[int]) -> Path:
    table = pa.table({"a": pa.array(values, pa.int64())})
    write_part(path, iter([table]), table.schema, lambda: {"written": len(values)})
    return path


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "out" / "result"


def test_the_parts_become_the_folder_in_their_order(tmp_path: Path, target: Path) -> None:
    published = replace_folder(target, [part(tmp_path / "x", [3, 4]), part(tmp_path / "b", [1])])
    assert (published.path, published.rows) == (target, 3)
    assert [entry["name"] for entry in published.files] == ["part-00000.parquet", "part-00001.parquet"]
    assert pl.read_parquet(target)["a"].to_list() == [3, 4, 1]
    for entry in published.files:
        content = (target / entry["name"]).read_bytes()
        assert entry["bytes"] == len(content)
        assert entry["sha256"] == hashlib.sha256(content).hexdigest()
    assert damage(target, published.files) == []


def test_a_folder_is_replaced_whole(tmp_path: Path, target: Path) -> None:
    replace_folder(target, [part(tmp_path / "1", [1]), part(tmp_path / "2", [2])])
    replace_folder(target, [part(tmp_path / "3", [3])])
    assert [path.name for path in target.iterdir()] == ["part-00000.parquet"]
    assert [path.name for path in target.parent.iterdir()] == ["result"]
    assert pl.read_parquet(target)["a"].to_list() == [3]


def test_where_links_are_impossible_parts_are_copied(
    tmp_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = part(tmp_path / "1", [1])
    replace_folder(target, [source])
    assert (target / "part-00000.parquet").stat().st_ino == source.stat().st_ino

    def refuse(self: Path, other: Path) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    published = replace_folder(target, [source])
    assert (target / "part-00000.parquet").stat().st_ino != source.stat().st_ino
    assert damage(target, published.files) == []


def test_where_folders_cannot_be_swapped_they_are_renamed(
    tmp_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_folder(target, [part(tmp_path / "1", [1])])
    monkeypatch.setattr(folder_module, "_exchange", lambda *_: False)
    replace_folder(target, [part(tmp_path / "2", [2])])
    assert pl.read_parquet(target)["a"].to_list() == [2]
    assert [path.name for path in target.parent.iterdir()] == ["result"]


WATCH = """
import os, sys
target = sys.argv[1]
print("ready", flush=True)
polls = missing = half = 0
seen = set()
while not os.path.exists(sys.argv[2]):
    polls += 1
    try:
        folder = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        missing += 1
        continue
    names = os.listdir(folder)
    # A folder that was replaced meanwhile is being removed; only one that still stands must be whole.
    stands = os.path.exists(target) and os.fstat(folder).st_ino == os.stat(target).st_ino
    os.close(folder)
    if stands:
        seen.add(len(names))
        half += len(names) not in (3, 5)
print(polls, missing, half, sorted(seen))
"""


def test_a_reader_never_sees_a_missing_or_half_folder_during_200_replacements(tmp_path: Path, target: Path) -> None:
    parts = [part(tmp_path / f"{number}", [number]) for number in range(5)]
    replace_folder(target, parts[:3])
    end = tmp_path / "end"
    arguments = [sys.executable, "-c", WATCH, str(target), str(end)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as watcher:
        assert watcher.stdout is not None
        watcher.stdout.readline()
        for number in range(200):
            replace_folder(target, parts if number % 2 else parts[:3])
        end.touch()
        polls, missing, half, seen = watcher.stdout.readline().split(maxsplit=3)
    assert int(polls) > 200
    assert (missing, half) == ("0", "0")
    assert seen.strip() == "[3, 5]"


def test_damage_is_found(tmp_path: Path, target: Path) -> None:
    files = replace_folder(target, [part(tmp_path / f"{number}", [number]) for number in range(3)]).files
    changed = target / "part-00000.parquet"
    content = bytearray(changed.read_bytes())
    content[10] ^= 1
    changed.unlink()
    changed.write_bytes(content)
    (target / "part-00001.parquet").unlink()
    (target / "note.txt").touch()
    assert [problem.removeprefix(f"{target}/") for problem in damage(target, files)] == [
        "part-00000.parquet is not what was written (its SHA-256 differs)",
        "part-00001.parquet is missing",
        "note.txt was not written by this run",
    ]
    assert damage(tmp_path / "nowhere", files) == [f"{tmp_path / 'nowhere'} is not there any more"]


@pytest.mark.parametrize("name", ["note.txt", ".hidden", "part-00000.parquet", "part-1.parquet"])
def test_a_folder_with_a_file_that_penstock_did_not_write_is_never_touched(
    tmp_path: Path, target: Path, name: str
) -> None:
    parts = [part(tmp_path / "1", [1]), part(tmp_path / "2", [2])]
    replace_folder(target, parts)
    (target / name).unlink(missing_ok=True)
    pl.DataFrame({"mine": [1]}).write_parquet(target / name)
    before = {path.name: path.read_bytes() for path in target.iterdir()}
    for attempt in (lambda: check_folder(target), lambda: replace_folder(target, parts)):
        with pytest.raises(InputError, match="did not write"):
            attempt()
    assert {path.name: path.read_bytes() for path in target.iterdir()} == before


def test_a_folder_in_a_folder_is_somebody_elses_too(target: Path) -> None:
    (target / "part-00000.parquet").mkdir(parents=True)
    with pytest.raises(InputError, match="did not write"):
        check_folder(target)


def test_an_empty_folder_may_be_used_and_a_file_may_not(tmp_path: Path, target: Path) -> None:
    target.mkdir(parents=True)
    assert replace_folder(target, [part(tmp_path / "1", [1])]).rows == 1
    with pytest.raises(InputError, match="is a file"):
        check_folder(target / "part-00000.parquet")
    with pytest.raises(InputError, match=r"leads through .*, which is a file"):
        check_folder(target / "part-00000.parquet" / "deeper")


def test_looking_whether_a_folder_can_be_written_makes_none(target: Path) -> None:
    check_folder(target)
    assert not target.parent.exists()


def test_a_link_to_a_folder_stays_a_link_and_what_it_points_to_is_replaced(tmp_path: Path, target: Path) -> None:
    real = tmp_path / "disk" / "real"
    real.parent.mkdir()
    target.parent.mkdir()
    target.symlink_to(real)
    for values in ([1], [2]):
        published = replace_folder(target, [part(tmp_path / "p", values)])
        assert published.path == target
        assert target.is_symlink()
        assert pl.read_parquet(real)["a"].to_list() == values
    assert [path.name for path in real.parent.iterdir()] == ["real"]


def test_when_a_part_cannot_be_published_the_folder_is_as_it_was(tmp_path: Path, target: Path) -> None:
    replace_folder(target, [part(tmp_path / "1", [1])])
    (tmp_path / "broken").write_bytes(b"no Parquet")
    for bad in (tmp_path / "broken", tmp_path / "missing"):
        with pytest.raises(StorageFailed, match="then resume"):
            replace_folder(target, [part(tmp_path / "2", [2]), bad])
        assert pl.read_parquet(target)["a"].to_list() == [1]
        assert [path.name for path in target.parent.iterdir()] == ["result"]


def test_what_a_killed_process_left_beside_the_folder_is_swept_and_that_of_a_living_one_is_not(
    tmp_path: Path, target: Path
) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    for name in (f".result.{process.pid}.new", f".result.{process.pid}.old", ".result.1.new", ".other.7.new"):
        (target.parent / name).mkdir(parents=True)
    replace_folder(target, [part(tmp_path / "1", [1])])
    assert {path.name for path in target.parent.iterdir()} == {"result", ".result.1.new", ".other.7.new"}
    assert os.getpid() != 1


def test_the_parquet_output_publishes_to_its_path(tmp_path: Path, target: Path) -> None:
    output = Parquet.model_validate({"uses": "parquet", "path": str(target)})
    assert output.target == target
    assert output.publish([part(tmp_path / "1", [1, 2])]).rows == 2
