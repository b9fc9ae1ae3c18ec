"""The state folder: one run at a time, and a lock that dies with its process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from penstock.errors import RunLocked, StorageFailed
from penstock.tables.state import State, is_alive

HOLD = """
import sys, time
from pathlib import Path
from penstock.tables.state import State
lock = State(Path(sys.argv[1]), "p").lock()
print("held", flush=True)
time.sleep(60)
"""


def test_a_second_run_is_refused_with_the_process_of_the_first_until_that_dies(tmp_path: Path) -> None:
    state = State(tmp_path / "s", "p")
    with subprocess.Popen([sys.executable, "-c", HOLD, str(state.root)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(RunLocked, match=rf"'p' .*process {process.pid}\)"):
            state.lock()
        other = State(state.root, "q").lock()
        other.release()
        process.send_signal(signal.SIGKILL)
        process.wait()
        lock = state.lock()
        with pytest.raises(RunLocked, match=rf"process {os.getpid()}\)"):
            state.lock()
        lock.release()
        lock.release()
    state.lock().release()


def test_the_state_stands_beside_the_file_unless_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PENSTOCK_STATE", raising=False)
    monkeypatch.chdir(tmp_path)
    assert State.of(Path("sub/p.yaml"), "p").root == tmp_path / "sub" / ".penstock"
    monkeypatch.setenv("PENSTOCK_STATE", "elsewhere")
    assert State.of(Path("sub/p.yaml"), "p").root == tmp_path / "elsewhere"
    assert State.of(Path("sub/p.yaml"), "p", "chosen").folder == tmp_path / "chosen" / "p"


def test_it_keeps_itself_out_of_git_and_clears_away_half_written_parts(tmp_path: Path) -> None:
    state = State(tmp_path / "s", "p")
    files = state.part_files("embed", "f00")
    files.part.parent.mkdir(parents=True)
    for name in (files.part, files.journal, files.part.with_name(".f00.parquet.123.tmp")):
        name.touch()
    state.lock().release()
    assert (state.root / ".gitignore").read_text() == "*\n"
    assert sorted(path.name for path in files.part.parent.iterdir()) == ["f00.journal", "f00.parquet"]


def test_a_folder_that_cannot_be_made_is_told_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageFailed, match="PENSTOCK_STATE"):
        State(tmp_path / "file", "p").lock()


def test_a_torn_file_of_generations_is_told_and_not_taken_for_none(tmp_path: Path) -> None:
    state = State(tmp_path, "p")
    assert state.generation() == ""
    state.begin_anew("run-1")
    state.begin_anew("run-2", "first-10")
    assert (state.generation(), state.generation("first-10")) == ("run-1", "run-2")
    assert [path.name for path in state.folder.iterdir()] == ["generations.json"]
    (state.folder / "generations.json").write_text('{"": "ru')
    with pytest.raises(StorageFailed, match="damaged"):
        state.generation()


def test_a_process_is_alive_until_it_has_ended() -> None:
    assert is_alive(os.getpid())
    assert is_alive(1)
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    assert not is_alive(process.pid)
