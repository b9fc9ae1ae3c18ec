"""What the index of answers holds: every list and journal that stands there, and where the answers in them stand."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.tables.answer_lists import LIST_ENDING, scanned
from penstock.tables.journal import DIGEST

if TYPE_CHECKING:
    import pyarrow as pa

READING_KB = 2_000
"""Memory for pages of the index. Who only reads leaves the rest to the system's cache, which is nearly as fast."""
_MAKING_KB = 32_000
_SORTED_AT_ONCE = 1_000_000
_TABLES = """
CREATE TABLE IF NOT EXISTS files (
  id INTEGER PRIMARY KEY AUTOINCREMENT, path TEXT UNIQUE, size INTEGER, modified INTEGER, wire TEXT, facts TEXT,
  answers INTEGER
);
CREATE TABLE IF NOT EXISTS answers (
  digest BLOB, file INTEGER, at INTEGER, row INTEGER, PRIMARY KEY (digest, file)
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class _New:
    """A list or a journal that is to be entered, and where its answers stand."""

    path: str
    size: int
    modified: int
    facts: dict[str, Any]
    places: pa.Table


def fill(index: sqlite3.Connection, folder: Path) -> None:
    """Enter what stands in the folder and is not entered as it is; forget what is gone.

    Raises:
        sqlite3.DatabaseError: the index is damaged, or nothing can be written to it.
    """
    present = lists_in(folder)
    index.execute(f"PRAGMA cache_size = -{_MAKING_KB}")
    with _transaction(index):
        for statement in _TABLES.split(";"):
            index.execute(statement)
        known = {path: (size, modified) for path, size, modified in
                 index.execute("SELECT path, size, modified FROM files WHERE path IS NOT NULL")}  # fmt: skip
        _drop(index, [path for path in known if path not in present])
    new = sorted((stamp[1], path) for path, stamp in present.items() if known.get(path) != stamp)
    _enter(index, folder, [path for _, path in new], present)
    index.execute(f"PRAGMA cache_size = -{READING_KB}")
    index.execute("PRAGMA shrink_memory")


def lists_in(folder: Path) -> dict[str, tuple[int, int]]:
    """The lists and journals that stand there, with size and time of change."""
    found: dict[str, tuple[int, int]] = {}
    for ending in (LIST_ENDING, ".journal"):
        for path in folder.glob(f"parts/*/[!.]*{ending}"):
            with contextlib.suppress(FileNotFoundError):
                state = path.stat()
                found[str(path.relative_to(folder))] = (state.st_size, state.st_mtime_ns)
    return found


def is_mostly_dead(index: sqlite3.Connection) -> bool:
    """Whether most of what the index holds is of files that are gone: then it is smaller made anew."""
    if not index.execute("SELECT 1 FROM sqlite_master WHERE name = 'files'").fetchone():
        return False
    count = "SELECT coalesce(sum(answers), 0) FROM files WHERE path IS"
    (live,) = index.execute(f"{count} NOT NULL").fetchone()
    (dead,) = index.execute(f"{count} NULL").fetchone()
    return bool(dead > live + _SORTED_AT_ONCE)


def _enter(
    index: sqlite3.Connection, folder: Path, paths: Sequence[str], present: Mapping[str, tuple[int, int]]
) -> None:
    """Enter files some at a time, so that tasks which read meanwhile never wait for long."""
    waiting: list[_New] = []
    for path in paths:
        found = scanned(folder / path)
        if found is None:
            _drop(index, [path])
        else:
            waiting.append(_New(path, *present[path], *found))
        if sum(one.places.num_rows for one in waiting) >= _SORTED_AT_ONCE:
            _insert(index, waiting)
            waiting = []
    _insert(index, waiting)


def _drop(index: sqlite3.Connection, paths: Sequence[str]) -> None:
    """Forget files. Their answers stay in the table, and lead to nothing."""
    index.executemany("UPDATE files SET path = NULL WHERE path = ?", ((path,) for path in paths))


@contextlib.contextmanager
def _transaction(index: sqlite3.Connection) -> Iterator[None]:
    """All or nothing; others wait for its end."""
    index.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        index.execute("ROLLBACK")
        raise
    index.execute("COMMIT")


def _insert(index: sqlite3.Connection, files: Sequence[_New]) -> None:
    """Enter files with their places, in the order of digests, which is that of the index on the disk."""
    import pyarrow as pa

    tables: list[pa.Table] = []
    with _transaction(index):
        # One that has changed gives way in the same moment, or what it still holds would be missed meanwhile.
        _drop(index, [one.path for one in files])
        for one in files:
            row = (one.path, one.size, one.modified, one.facts["wire"], json.dumps(one.facts), one.places.num_rows)
            cursor = index.execute(
                "INSERT INTO files (path, size, modified, wire, facts, answers) VALUES (?, ?, ?, ?, ?, ?)", row
            )
            number = pa.repeat(pa.scalar(cursor.lastrowid), one.places.num_rows)
            tables.append(one.places.append_column("file", number))
        if not tables:
            return
        for batch in pa.concat_tables(tables).sort_by(DIGEST).to_batches(max_chunksize=50_000):
            columns = [batch.column(name).to_pylist() for name in (DIGEST, "file", "at", "row")]
            index.executemany("INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?)", zip(*columns, strict=True))
