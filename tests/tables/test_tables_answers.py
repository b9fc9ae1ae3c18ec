"""The answer store finds what parts and journals hold, never what they do not, whatever became of the files."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.errors import StorageFailed
from penstock.items import usage_type
from penstock.tables.answer_lists import digest_of, list_of, scanned, write_list
from penstock.tables.answers import AnswerStore
from penstock.tables.journal import DIGEST, DIGEST_BYTES, Journal
from penstock.tables.parts import write_part

WIRE = "wire-1"


def _digests(texts: Sequence[str]) -> list[bytes]:
    return [digest_of(text) for text in texts]


def _part(folder: Path, name: str, texts: Sequence[str], *, wire: str = WIRE, made: str = "") -> Path:
    """A part of which each row is its text and, as the answer, the text with its name behind it; 3 rows a group."""
    path = folder / "parts" / "embed" / f"{name}.parquet"
    mark = made or f"mark of {name}"
    digests = {place: digest_of(text) for place, text in enumerate(texts)}
    write_list(path, wire=wire, made=mark, columns=["answer"], usage=None, group_rows=3, digests=digests)
    table = pa.table({"text": list(texts), "answer": [f"{text} {name}" for text in texts]})
    groups = iter([table.slice(first, 3) for first in range(0, len(texts), 3)])
    write_part(path, groups, table.schema, lambda: {"made": f"mark of {name}"})
    return path


def _journal(folder: Path, name: str, texts: Sequence[str]) -> Path:
    path = folder / "parts" / "embed" / f"{name}.journal"
    journal = Journal(path, WIRE)
    for text in texts:
        columns = [
            pa.array(_digests([text]), pa.binary(DIGEST_BYTES)),
            pa.array([f"{text} {name}"]),
            pa.nulls(1, usage_type()),
        ]
        journal.append(pa.RecordBatch.from_arrays(columns, names=[DIGEST, "answer", "usage"]))
    journal.close()
    return path


def _append(journal: Path, text: str) -> None:
    """One more answer at the end of a journal."""
    again = _journal(journal.parent.parent.parent, journal.stem, [text])
    assert again == journal


def _found(folder: Path, texts: Sequence[str], *, wire: str = WIRE) -> dict[str, str]:
    """What the store gives for these texts."""
    names = {digest_of(text): text for text in texts}
    with AnswerStore(folder) as store:
        store.refresh()
        batches = list(store.answers(wire, list(names)))
        known = store.known(wire, names)
    found = [
        (names[digest], answer)
        for batch in batches
        for digest, answer in zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True)
    ]
    assert len(dict(found)) == len(found), "each once"
    assert {digest_of(text) for text, _ in found} <= known
    return dict(found)


def test_answers_come_from_parts_and_journals_by_wire(tmp_path: Path) -> None:
    _part(tmp_path, "one", ["a", "b", "c", "d"])
    _part(tmp_path, "other", ["a", "e"], wire="wire-2")
    _journal(tmp_path, "begun", ["f", "g"])
    assert _found(tmp_path, ["d", "a", "e", "g", "z"]) == {"d": "d one", "a": "a one", "g": "g begun"}
    assert _found(tmp_path, ["a", "b"], wire="wire-2") == {"a": "a other"}


def test_the_newest_answer_counts_and_an_older_one_takes_its_place_when_it_is_gone(tmp_path: Path) -> None:
    _part(tmp_path, "old", ["a", "b"])
    assert _found(tmp_path, ["a"]) == {"a": "a old"}
    new = _part(tmp_path, "new", ["a"])
    assert _found(tmp_path, ["a", "b"]) == {"a": "a new", "b": "b old"}
    new.unlink()
    assert _found(tmp_path, ["a", "b"]) == {"a": "a old", "b": "b old"}


def test_a_list_of_another_part_is_not_believed(tmp_path: Path) -> None:
    """The process died between a list and its part, and an older part of this name stands there."""
    _part(tmp_path, "one", ["a", "b"], made="a mark of a part that was never written")
    assert _found(tmp_path, ["a", "b"]) == {}


@pytest.mark.parametrize("damage", ["parquet", "answers", "journal"])
def test_a_damaged_file_is_a_miss(tmp_path: Path, damage: str) -> None:
    part = _part(tmp_path, "one", ["a", "b"])
    journal = _journal(tmp_path, "begun", ["c"])
    assert len(_found(tmp_path, ["a", "b", "c"])) == 3
    file = {"parquet": part, "answers": list_of(part), "journal": journal}[damage]
    content = bytearray(file.read_bytes())
    content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
    file.write_bytes(content)
    assert _found(tmp_path, ["a", "b", "c"]) == (
        {"a": "a one", "b": "b one"} if damage == "journal" else {"c": "c begun"}
    )


def test_an_index_that_breaks_between_plan_and_task_stops_the_run(tmp_path: Path) -> None:
    """Taken for empty it would have everything paid again."""
    _part(tmp_path, "one", ["a"])
    _found(tmp_path, ["a"])
    (tmp_path / "answers.sqlite").write_bytes(b"nothing that SQLite knows" * 500)
    with AnswerStore(tmp_path) as store, pytest.raises(StorageFailed, match="made again"):
        list(store.answers(WIRE, _digests(["a"])))
    assert _found(tmp_path, ["a"]) == {"a": "a one"}


def test_an_index_of_mostly_gone_files_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.tables.answer_filling._SORTED_AT_ONCE", 10)
    for night in range(4):
        for path in (tmp_path / "parts/embed").glob("*"):
            path.unlink()
        _part(tmp_path, f"night-{night}", [f"{night} {number}" for number in range(20)])
        assert len(_found(tmp_path, [f"{night} {number}" for number in range(20)])) == 20
    with AnswerStore(tmp_path) as store:
        (rows,) = store._index._open().execute("SELECT count(*) FROM answers").fetchone()
    assert rows <= 60


def test_an_index_that_is_gone_between_plan_and_task_is_made_again(tmp_path: Path) -> None:
    """Taken for empty it would have everything paid again."""
    _part(tmp_path, "one", ["a"])
    _found(tmp_path, ["a"])
    (tmp_path / "answers.sqlite").unlink()
    with AnswerStore(tmp_path) as store:
        assert [batch.column(1).to_pylist() for batch in store.answers(WIRE, _digests(["a"]))] == [["a one"]]


@pytest.mark.parametrize("anew", [True, False], ids=["made anew", "brought up to date"])
def test_answers_are_found_at_every_moment_while_somebody_else_plans(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, anew: bool
) -> None:
    old = _part(tmp_path, "old", ["x", "y", "z"])
    journal = _journal(tmp_path, "begun", ["a"])
    _found(tmp_path, ["a"])
    if anew:
        old.unlink()
        list_of(old).unlink()
        monkeypatch.setattr("penstock.tables.answer_filling._SORTED_AT_ONCE", 0)
        _found(tmp_path, ["a"])
    _append(journal, "b")
    seen: list[int] = []

    def scanned_slowly(path: Path) -> object:
        with AnswerStore(tmp_path) as other:
            seen.append(len(other.known(WIRE, _digests(["a"]))))
        return scanned(path)

    monkeypatch.setattr("penstock.tables.answer_filling.scanned", scanned_slowly)
    assert _found(tmp_path, ["a", "b"]) == {"a": "a begun", "b": "b begun"}
    assert set(seen) == {1}


def test_an_index_that_somebody_holds_is_left_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _part(tmp_path, "one", ["a"])
    _found(tmp_path, ["a"])
    monkeypatch.setattr("penstock.tables.answer_index._WAIT_SECONDS", 0.05)
    index = tmp_path / "answers.sqlite"
    made = index.resolve()
    with closing(sqlite3.connect(index, isolation_level=None)) as other, AnswerStore(tmp_path) as store:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StorageFailed, match="locked"):
            store.refresh()
    assert index.resolve() == made
    assert _found(tmp_path, ["a"]) == {"a": "a one"}
    assert not list(tmp_path.glob("*.link"))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    parts=st.lists(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=7, unique=True), max_size=4),
    gone=st.sets(st.integers(0, 3)),
    asked=st.lists(st.sampled_from("abcdefghz"), unique=True),
)
def test_what_is_found_is_what_the_remaining_files_hold(
    tmp_path_factory: pytest.TempPathFactory, parts: list[list[str]], gone: set[int], asked: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("store")
    files = [_part(folder, str(number), texts) for number, texts in enumerate(parts)]
    _found(folder, asked)
    for number in gone & set(range(len(files))):
        files[number].unlink()
    left = {number: texts for number, texts in enumerate(parts) if number not in gone}
    newest = {text: f"{text} {number}" for number, texts in left.items() for text in texts}
    assert _found(folder, asked) == {text: newest[text] for text in asked if text in newest}
