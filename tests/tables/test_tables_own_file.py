"""A journal has one writer: who comes later takes it over, and who had it before stops without doing harm."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_tables_journal import batch, texts

from penstock.errors import TakenOver
from penstock.tables.journal import Journal

FROZEN = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_tables_journal import batch
from penstock.errors import TakenOver
from penstock.tables.journal import Journal
journal = Journal(Path(sys.argv[1]), shared=sys.argv[3] == "shared")
journal.append(batch([0, 1]))
print("answered", flush=True)
os.kill(os.getpid(), signal.SIGSTOP)
try:
    journal.append(batch([2], "late"))
except TakenOver as error:
    print(error, flush=True)
journal.discard()
"""


@pytest.mark.parametrize("where", ["shared", "here"])
def test_a_process_that_was_frozen_finds_its_journal_taken_over_and_leaves_it_alone(tmp_path: Path, where: str) -> None:
    path = tmp_path / "j.journal"
    frozen = subprocess.Popen(
        [sys.executable, "-c", FROZEN, str(path), str(Path(__file__).parent), where], stdout=subprocess.PIPE, text=True
    )
    assert frozen.stdout is not None
    assert frozen.stdout.readline() == "answered\n"
    os.waitid(os.P_PID, frozen.pid, os.WSTOPPED)
    journal = Journal(path, shared=where == "shared")
    assert journal.answered == {0, 1}
    journal.append(batch([5], "in its place"))
    frozen.send_signal(signal.SIGCONT)
    said, _ = frozen.communicate(timeout=30)
    assert said.startswith("another worker has taken over this partition and its journal j.journal, so this one stops")
    assert frozen.returncode == 0
    journal.append(batch([6]))
    assert texts(journal, [0, 5, 6]) == ["answer 0", "in its place 5", "answer 6"]
    journal.close()
    again = Journal(path)
    assert again.answered == {0, 1, 5, 6}
    again.close()
    assert [file.name for file in tmp_path.iterdir()] == ["j.journal"]


@given(
    moves=st.lists(st.sampled_from(["open", "here", 0, 1, 2, 3]), max_size=12),
)
def test_an_answer_is_kept_or_its_writer_is_told_that_it_has_lost_its_place(
    tmp_path_factory: pytest.TempPathFactory, moves: list[str | int]
) -> None:
    path = tmp_path_factory.mktemp("law") / "j"
    writers = [Journal(path, shared=True)]
    kept: set[int] = set()
    for number, move in enumerate(moves):
        if isinstance(move, str):
            writers.append(Journal(path, shared=move == "open"))
            assert writers[-1].answered == kept
            continue
        writer = writers[move % len(writers)]
        if writer is writers[-1]:
            writer.append(batch([number]))
            kept.add(number)
        else:
            with pytest.raises(TakenOver):
                writer.append(batch([number]))
    for writer in writers:
        writer.close()
    last = Journal(path)
    assert last.answered == kept
    assert texts(last, sorted(kept)) == [f"answer {number}" for number in sorted(kept)] if kept else True
    last.close()


def test_a_journal_that_its_successor_has_finished_with_is_not_made_anew(tmp_path: Path) -> None:
    former = Journal(tmp_path / "j", shared=True)
    former.append(batch([0]))
    later = Journal(tmp_path / "j", shared=True)
    later.discard()
    with pytest.raises(TakenOver):
        former.check()
    former.discard()
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_gone_is_told_as_that(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "folder" / "j")
    (tmp_path / "folder" / "j").unlink()
    (tmp_path / "folder").rmdir()
    with pytest.raises(FileNotFoundError):
        journal.append(batch([0]))
    journal.close()
