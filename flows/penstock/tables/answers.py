"""The answer store: where the answer to a payload stands, in whichever part or journal of the pipeline that may be.

An answer is known by its wire (a fingerprint of everything but the payload that reaches the server) and by the digest
of its payload. The answers themselves stand where they were written, in finished parts and in journals, and are not
copied: beside each part of an API step stands a small list of which row answers which digest, and all lists together
are entered in one index, an SQLite table, so that memory does not grow with their number.

The index is a cache. What it names and is gone or was changed is not found, and an index that cannot be read is made
again from the lists: in a file of its own to which the index's name, a link, then leads, so that whoever reads
meanwhile has the old one or the new one. One process at a time writes it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from penstock.errors import StorageFailed
from penstock.tables.answer_lists import LIST_ENDING, rows_of_part, scanned
from penstock.tables.journal import DIGEST, journal_answers
from penstock.tables.parts import sync_file

if TYPE_CHECKING:
    import pyarrow as pa

_INDEX = "answers.sqlite"
_LOCK = "answers.lock"
_MADE = "answers-{}.sqlite"
"""Each index has a name of its own, and so has its rollback journal: SQLite would believe that of another."""
_NO_DAMAGE = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_NOMEM,
    }
)
"""Errors that say nothing about what the index holds."""
_SORTED_AT_ONCE = 1_000_000
_LOOKED_UP = 5_000
"""Digests that are looked up in one transaction."""
_WAIT_SECONDS = 60.0
_READING_KB, _MAKING_KB = 2_000, 32_000
"""Memory for pages of the index. Who only reads leaves the rest to the system's cache, which is nearly as fast."""
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
class _Entry:
    """A file of answers that is in the index: a part's list, or a journal."""

    path: Path
    wire: str
    facts: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _New:
    """A list or a journal that is to be entered, and where its answers stand."""

    path: str
    size: int
    modified: int
    facts: dict[str, Any]
    places: pa.Table


@dataclass(frozen=True, slots=True)
class _Place:
    digest: bytes
    file: int
    at: int
    row: int


class AnswerStore:
    """The answers of one pipeline's state folder. A context manager; of one thread.

    Args:
        folder: of the pipeline's state, see `penstock.tables.state.State.folder`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._index: sqlite3.Connection | None = None
        self._entries: dict[int, _Entry | None] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let the index go."""
        if self._index is not None:
            self._index.close()
            self._index = None

    def refresh(self) -> None:
        """Enter what was answered since, and forget what is gone. An index that cannot be read is made again.

        Raises:
            StorageFailed: the index can be neither read nor made.
        """
        if not (self._folder / "parts").is_dir():
            return
        with self._alone():
            try:
                self._refresh()
            except sqlite3.DatabaseError as error:
                if getattr(error, "sqlite_errorcode", 0) & 0xFF in _NO_DAMAGE:
                    raise self._failed(error) from error
                self._make_anew()

    def known(self, wire: str, digests: Collection[bytes]) -> set[bytes]:
        """Those of `digests` that have an answer, as far as the index knows."""
        return {place.digest for place in self._places(wire, digests)}

    def answers(self, wire: str, digests: Sequence[bytes]) -> Iterator[pa.RecordBatch]:
        """The answers to those of `digests` that have one, each once, as batches that a journal takes.

        Where a file is gone or is not what it was, its answers are looked for elsewhere, and else left out.
        """
        found: dict[bytes, list[_Place]] = {}
        for place in self._places(wire, digests):
            found.setdefault(place.digest, []).append(place)
        while found:
            groups: dict[tuple[int, int], list[_Place]] = {}
            for places in found.values():
                groups.setdefault((places[0].file, places[0].at), []).append(places[0])
            for (file, at), places in groups.items():
                for batch in self._read(file, at, places):
                    for digest in batch.column(0).to_pylist():
                        del found[digest]
                    yield batch
                # What did not come is not there, or not as it was.
                for place in places:
                    if place.digest in found and not found[place.digest][1:]:
                        del found[place.digest]
                    elif place.digest in found:
                        found[place.digest].pop(0)

    def _places(self, wire: str, digests: Collection[bytes]) -> Iterator[_Place]:
        """Where the answers stand, of each digest the newest first."""
        if not digests:
            return
        if self._index is None and not (self._folder / _INDEX).is_file():
            # Not a miss either: somebody took it away after it was planned.
            self.refresh()
            if not (self._folder / _INDEX).is_file():
                return
        query = "SELECT file, at, row FROM answers WHERE digest = ? ORDER BY file DESC"
        try:
            index = self._open()
            wanted = list(digests)
            for start in range(0, len(wanted), _LOOKED_UP):
                # Outside of a transaction, each query would lock the file and let go of it: most of what it costs.
                with _reading(index):
                    found = [
                        _Place(digest, *row)
                        for digest in wanted[start : start + _LOOKED_UP]
                        for row in index.execute(query, (digest,))
                    ]
                for place in found:
                    entry = self._entry(place.file)
                    if entry is not None and entry.wire == wire:
                        yield place
        except sqlite3.DatabaseError as error:
            # Not a miss: that would be paid for.
            raise StorageFailed(
                f"the index of answers {self._folder / _INDEX} cannot be read ({error}); it is made again when the run "
                "is resumed, and no answer is lost"
            ) from error

    def _entry(self, file: int) -> _Entry | None:
        if file not in self._entries:
            row = (
                self._open()
                .execute("SELECT path, wire, facts FROM files WHERE id = ? AND path IS NOT NULL", (file,))
                .fetchone()
            )
            self._entries[file] = None if row is None else _Entry(self._folder / row[0], row[1], json.loads(row[2]))
        return self._entries[file]

    def _read(self, file: int, at: int, places: Sequence[_Place]) -> Iterator[pa.RecordBatch]:
        """The answers of one row group or one frame, some at a time; none, or not all, where the file is another."""
        import pyarrow as pa

        entry = self._entry(file)
        if entry is None:
            return
        wanted = sorted((place.row, place.digest) for place in places)
        try:
            if entry.path.suffix == LIST_ENDING:
                yield from rows_of_part(entry.path, entry.facts, at, wanted)
            elif (batch := journal_answers(entry.path, at, wanted)) is not None:
                yield batch
        except (OSError, pa.ArrowException, IndexError):
            # Arrow says with an OSError that a page's checksum or a footer is wrong.
            self._entries[file] = None

    def _open(self) -> sqlite3.Connection:
        if self._index is None:
            self._index = _connected(self._folder / _INDEX)
            self._index.execute(f"PRAGMA cache_size = -{_READING_KB}")
        return self._index

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Wait until no other process writes the index, which `penstock plan` does beside a run, and open it anew."""
        handle = os.open(self._folder / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            self._forget()
            yield
        finally:
            os.close(handle)

    def _forget(self) -> None:
        self.close()
        self._entries.clear()

    def _failed(self, error: sqlite3.Error) -> StorageFailed:
        return StorageFailed(
            f"the index of answers {self._folder / _INDEX} cannot be made or brought up to date: {error}"
        )

    def _refresh(self) -> None:
        if not (self._folder / _INDEX).is_file():
            if self._present():
                self._make_anew()
            return
        if self._is_mostly_dead():
            self._make_anew()
            return
        self._fill(self._open(), self._present())

    def _make_anew(self) -> None:
        """Make an index of all that stands there, and then put it in the place of the one before."""
        self._forget()
        path = self._folder / _MADE.format(secrets.token_hex(6))
        link = path.with_suffix(".link")
        try:
            with contextlib.closing(_connected(path)) as index:
                # Nobody reads it yet, and half of one is thrown away.
                index.execute("PRAGMA journal_mode = MEMORY")
                index.execute("PRAGMA synchronous = OFF")
                self._fill(index, self._present())
            sync_file(path)
            link.symlink_to(path.name)
            link.replace(self._folder / _INDEX)
        except BaseException as error:
            link.unlink(missing_ok=True)
            path.unlink(missing_ok=True)
            if isinstance(error, sqlite3.DatabaseError):
                raise self._failed(error) from error
            raise
        for left in (*self._folder.glob(_MADE.format("*") + "*"), self._folder / f"{_INDEX}-journal"):
            if left != path:
                left.unlink(missing_ok=True)

    def _fill(self, index: sqlite3.Connection, present: Mapping[str, tuple[int, int]]) -> None:
        """Enter what stands there and is not entered as it is; forget what is gone."""
        index.execute(f"PRAGMA cache_size = -{_MAKING_KB}")
        with _transaction(index):
            for statement in _TABLES.split(";"):
                index.execute(statement)
            known = {path: (size, modified) for path, size, modified in
                     index.execute("SELECT path, size, modified FROM files WHERE path IS NOT NULL")}  # fmt: skip
            _drop(index, [path for path in known if path not in present])
        new = sorted((stamp[1], path) for path, stamp in present.items() if known.get(path) != stamp)
        self._enter(index, [path for _, path in new], present)
        index.execute(f"PRAGMA cache_size = -{_READING_KB}")
        index.execute("PRAGMA shrink_memory")

    def _present(self) -> dict[str, tuple[int, int]]:
        """The lists and journals that stand there, with size and time of change."""
        found: dict[str, tuple[int, int]] = {}
        for ending in (LIST_ENDING, ".journal"):
            for path in self._folder.glob(f"parts/*/[!.]*{ending}"):
                with contextlib.suppress(FileNotFoundError):
                    state = path.stat()
                    found[str(path.relative_to(self._folder))] = (state.st_size, state.st_mtime_ns)
        return found

    def _is_mostly_dead(self) -> bool:
        """Whether most of what the index holds is of files that are gone: then it is smaller made anew."""
        index = self._open()
        if not index.execute("SELECT 1 FROM sqlite_master WHERE name = 'files'").fetchone():
            return False
        count = "SELECT coalesce(sum(answers), 0) FROM files WHERE path IS"
        (live,) = index.execute(f"{count} NOT NULL").fetchone()
        (dead,) = index.execute(f"{count} NULL").fetchone()
        return bool(dead > live + _SORTED_AT_ONCE)

    def _enter(self, index: sqlite3.Connection, paths: Sequence[str], present: Mapping[str, tuple[int, int]]) -> None:
        """Enter files some at a time, so that tasks which read meanwhile never wait for long."""
        waiting: list[_New] = []
        for path in paths:
            found = scanned(self._folder / path)
            if found is None:
                _drop(index, [path])
            else:
                waiting.append(_New(path, *present[path], *found))
            if sum(one.places.num_rows for one in waiting) >= _SORTED_AT_ONCE:
                _insert(index, waiting)
                waiting = []
        _insert(index, waiting)


def _connected(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=_WAIT_SECONDS, isolation_level=None)


def _drop(index: sqlite3.Connection, paths: Sequence[str]) -> None:
    """Forget files. Their answers stay in the table, and lead to nothing."""
    index.executemany("UPDATE files SET path = NULL WHERE path = ?", ((path,) for path in paths))


@contextlib.contextmanager
def _reading(index: sqlite3.Connection) -> Iterator[None]:
    """Everything as it is now, while others may read."""
    index.execute("BEGIN")
    try:
        yield
    finally:
        index.execute("COMMIT")


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
