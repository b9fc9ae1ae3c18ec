"""The journal: what was appended is there, whatever happened to the file's end."""

from __future__ import annotations

import gc
import itertools
import random
import resource
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.errors import InputError
from penstock.tables.journal import DIGEST, Journal


def batch(numbers: list[int], word: str = "answer", size: int = 2) -> pa.RecordBatch:
    vectors = pa.FixedSizeListArray.from_arrays(pa.array([0.5] * (size * len(numbers)), pa.float32()), size)
    texts = pa.array([f"{word} {number}" for number in numbers])
    return pa.RecordBatch.from_arrays([pa.array(numbers, pa.uint32()), texts, vectors], names=[DIGEST, "text", "v"])


def texts(journal: Journal, numbers: list[int]) -> list[str]:
    column: list[str] = journal.take(numbers).column("text").to_pylist()
    return column


def written(path: Path, *batches: list[int]) -> list[int]:
    """A closed journal of these batches; the file's length after each."""
    journal = Journal(path)
    ends = []
    for numbers in batches:
        journal.append(batch(numbers))
        ends.append(path.stat().st_size)
    journal.close()
    return ends


def test_what_was_appended_is_there_when_it_is_opened_again(tmp_path: Path) -> None:
    written(tmp_path / "j", [0, 1, 2], [5, 4])
    journal = Journal(tmp_path / "j")
    assert journal.answered == {0, 1, 2, 4, 5}
    assert texts(journal, [4, 0, 5]) == ["answer 4", "answer 0", "answer 5"]
    journal.append(batch([7]))
    assert texts(journal, [7, 1]) == ["answer 7", "answer 1"]
    journal.discard()
    assert not (tmp_path / "j").exists()
    journal.close()


def test_a_new_journal_is_empty(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "folder" / "j")
    assert journal.answered == frozenset()
    assert journal.schema is None
    journal.close()
    assert Journal(tmp_path / "folder" / "j").answered == frozenset()


def test_torn_at_any_byte_of_its_last_batch_it_holds_those_before_and_goes_on(tmp_path: Path) -> None:
    first, second = written(tmp_path / "whole", [0, 1], [2, 3])
    whole = (tmp_path / "whole").read_bytes()
    path = tmp_path / "torn"
    for length in range(first, second):
        path.write_bytes(whole[:length])
        journal = Journal(path)
        assert journal.answered == {0, 1}
        assert path.stat().st_size == first
        journal._closed.set()  # without the wait for a sync
    journal = Journal(path)
    journal.append(batch([2], "again"))
    assert texts(journal, [2, 1]) == ["again 2", "answer 1"]
    journal.close()
    assert Journal(path).answered == {0, 1, 2}


def test_torn_before_its_first_batch_is_whole_it_begins_anew(tmp_path: Path) -> None:
    written(tmp_path / "j", [0])
    whole = (tmp_path / "j").read_bytes()
    for length in (0, 1, 15, 16, 40, 200):
        (tmp_path / "j").write_bytes(whole[:length])
        journal = Journal(tmp_path / "j")
        assert journal.answered == frozenset()
        journal.append(batch([9]))
        journal.close()
        assert Journal(tmp_path / "j").answered == {9}


@pytest.mark.parametrize("zeros", [1, 16, 64, 4096])
def test_zeros_at_its_end_as_a_lost_power_leaves_them_are_cut_off(tmp_path: Path, zeros: int) -> None:
    *_, whole = written(tmp_path / "j", [0, 1], [2])
    with (tmp_path / "j").open("ab") as file:
        file.write(bytes(zeros))
    journal = Journal(tmp_path / "j")
    assert journal.answered == {0, 1, 2}
    assert (tmp_path / "j").stat().st_size == whole
    journal.append(batch([3]))
    journal.close()
    assert Journal(tmp_path / "j").answered == {0, 1, 2, 3}


def test_a_file_of_zeros_is_a_new_journal(tmp_path: Path) -> None:
    (tmp_path / "j").write_bytes(bytes(4096))
    assert Journal(tmp_path / "j").answered == frozenset()


def test_columns_of_an_answer_may_have_the_journals_own_names(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    columns = [pa.array([4, 2], pa.uint32()), pa.array(["four", "two"])]
    journal.append(pa.RecordBatch.from_arrays(columns, names=[DIGEST, DIGEST]))
    journal.close()
    journal = Journal(tmp_path / "j")
    assert journal.take([2, 4]).columns[0].to_pylist() == ["two", "four"]
    journal.close()


def test_a_changed_byte_cuts_it_there(tmp_path: Path) -> None:
    ends = written(tmp_path / "j", [0], [1], [2])
    whole = (tmp_path / "j").read_bytes()
    dice = random.Random(7)  # the same places each time
    for _ in range(60):
        place = dice.randrange(ends[0], ends[1])
        changed = bytearray(whole)
        changed[place] ^= 1 << dice.randrange(8)
        (tmp_path / "j").write_bytes(changed)
        journal = Journal(tmp_path / "j")
        # A change in the padding harms no answer; in the last case every answer must be the right one.
        assert journal.answered in ({0}, {0, 1}, {0, 1, 2})
        numbers = sorted(journal.answered)
        assert texts(journal, numbers) == [f"answer {number}" for number in numbers]
        journal._closed.set()


def test_of_two_answers_to_one_item_the_last_counts(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    journal.append(batch([1, 2], "first"))
    journal.append(batch([2, 3], "second"))
    expected = ["first 1", "second 2", "second 3"]
    assert texts(journal, [1, 2, 3]) == expected
    journal.close()
    assert texts(Journal(tmp_path / "j"), [1, 2, 3]) == expected


def test_a_closed_journal_holds_no_answers_though_it_is_held_itself(tmp_path: Path) -> None:
    before = _batches_in_memory()
    journal = Journal(tmp_path / "j")
    for first in range(0, 40, 10):
        journal.append(batch(list(range(first, first + 10))))
    assert len(texts(journal, list(range(40)))) == 40
    assert _batches_in_memory() > before
    journal.close()
    assert _batches_in_memory() == before
    assert not journal.answered


def _batches_in_memory() -> int:
    gc.collect()
    return sum(type(one) is pa.RecordBatch for one in gc.get_objects())


def test_what_is_forgotten_can_be_answered_anew(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    journal.append(batch([1, 2], "first"))
    journal.forget({2})
    assert journal.answered == {1}
    journal.append(batch([2], "second"))
    assert texts(journal, [1, 2]) == ["first 1", "second 2"]
    journal.close()


@settings(max_examples=30)
@given(data=st.data(), order=st.permutations(range(60)), cut=st.lists(st.integers(1, 59), max_size=20))
def test_answers_come_back_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, order: list[int], cut: list[int]
) -> None:
    journal = Journal(tmp_path_factory.mktemp("law") / "j")
    places = sorted({0, *cut, 60})
    for begin, end in itertools.pairwise(places):
        journal.append(batch(order[begin:end]))
    wanted = data.draw(st.lists(st.integers(0, 59), max_size=80))
    table = journal.take(wanted)
    assert table.column("text").to_pylist() == [f"answer {number}" for number in wanted]
    assert table.column_names == ["text", "v"]
    journal._closed.set()


def test_answers_of_other_columns_are_refused_and_those_before_stay(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    journal.append(batch([0], size=8))
    with pytest.raises(InputError, match=r"other columns .*v: fixed_size_list.*\[16\]"):
        journal.append(batch([1], size=16))
    journal.append(batch([2], size=8))
    assert journal.answered == {0, 2}
    assert texts(journal, [2, 0]) == ["answer 2", "answer 0"]
    journal.close()


def test_answers_that_differ_only_in_how_a_list_names_its_items_are_taken(tmp_path: Path) -> None:
    """A part read back names the items of a vector otherwise than the step does."""
    journal = Journal(tmp_path / "j")
    journal.append(batch([0]))
    other = batch([1])
    kind = pa.list_(pa.field("element", pa.float32(), nullable=False), 2)
    vectors = pa.FixedSizeListArray.from_arrays(pa.array([1.0, 2.0], pa.float32()), type=kind)
    journal.append(pa.RecordBatch.from_arrays([other[0], other[1], vectors], names=[DIGEST, "text", "v"]))
    assert journal.take([1, 0]).column("v").to_pylist() == [[1.0, 2.0], [0.5, 0.5]]
    journal.close()


FILL = """
import resource, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_tables_journal import batch
from penstock.tables.journal import Journal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
journal = Journal(Path(sys.argv[1]))
kept = 0
try:
    while True:
        journal.append(batch(list(range(kept, kept + 10))))
        kept += 10
except OSError as error:
    print(type(error).__name__, kept, flush=True)
journal.close()
"""


def test_a_full_disk_is_told_and_what_was_kept_before_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "j"
    done = subprocess.run(
        [sys.executable, "-c", FILL, str(path), str(Path(__file__).parent)], capture_output=True, text=True, check=True
    )
    name, kept = done.stdout.split()
    assert (name, int(kept) > 0) == ("OSError", True)
    journal = Journal(path)
    assert journal.answered == set(range(int(kept)))
    journal.append(batch([int(kept)]))
    journal.close()
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 20_000
