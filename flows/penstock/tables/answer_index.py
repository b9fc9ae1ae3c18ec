"""The index of answers: an SQLite table of which file answers which digest, and where in it.

One process at a time writes it. It is a cache: one that cannot be read is made again, in a file of its own to which the
index's name, a link, then leads, so that whoever reads meanwhile has the old one or the new one.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import sqlite3
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock.errors import StorageFailed
from penstock.tables.answer_filling import READING_KB, fill, is_mostly_dead, lists_in
from penstock.tables.parts import sync_file

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
_LOOKED_UP = 5_000
"""Digests that are looked up in one transaction."""
_WAIT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of answers that is in the index: a part's list, or a journal."""

    path: Path
    wire: str
    facts: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Place:
    """Where an answer stands: the file by its number, the row group or frame, and the row in it."""

    digest: bytes
    file: int
    at: int
    row: int


class AnswerIndex:
    """The index of one pipeline's state folder; of one thread.

    Args:
        folder: of the pipeline's state, see `penstock.tables.state.State.folder`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._index: sqlite3.Connection | None = None
        self._entries: dict[int, Entry | None] = {}

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

    def places(self, wire: str, digests: Collection[bytes]) -> Iterator[Place]:
        """Where the answers stand, of each digest the newest first.

        Raises:
            StorageFailed: the index cannot be read.
        """
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
            if not index.execute("SELECT 1 FROM files WHERE wire = ? AND path IS NOT NULL", (wire,)).fetchone():
                return
            wanted = list(digests)
            for start in range(0, len(wanted), _LOOKED_UP):
                # Outside of a transaction, each query would lock the file and let go of it: most of what it costs.
                with _reading(index):
                    found = [
                        Place(digest, *row)
                        for digest in wanted[start : start + _LOOKED_UP]
                        for row in index.execute(query, (digest,))
                    ]
                for place in found:
                    entry = self.entry(place.file)
                    if entry is not None and entry.wire == wire:
                        yield place
        except sqlite3.DatabaseError as error:
            # Not a miss: that would be paid for.
            raise StorageFailed(
                f"the index of answers {self._folder / _INDEX} cannot be read ({error}); it is made again when the run "
                "is resumed, and no answer is lost"
            ) from error

    def entry(self, file: int) -> Entry | None:
        """A file by its number; None where it is not entered any more, or is not what it was."""
        if file not in self._entries:
            row = (
                self._open()
                .execute("SELECT path, wire, facts FROM files WHERE id = ? AND path IS NOT NULL", (file,))
                .fetchone()
            )
            self._entries[file] = None if row is None else Entry(self._folder / row[0], row[1], json.loads(row[2]))
        return self._entries[file]

    def distrust(self, file: int) -> None:
        """Take a file for gone from now on: it is not what it was."""
        self._entries[file] = None

    def _open(self) -> sqlite3.Connection:
        if self._index is None:
            self._index = _connected(self._folder / _INDEX)
            self._index.execute(f"PRAGMA cache_size = -{READING_KB}")
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
            if lists_in(self._folder):
                self._make_anew()
            return
        if is_mostly_dead(self._open()):
            self._make_anew()
            return
        fill(self._open(), self._folder)

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
                fill(index, self._folder)
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


def _connected(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=_WAIT_SECONDS, isolation_level=None)


@contextlib.contextmanager
def _reading(index: sqlite3.Connection) -> Iterator[None]:
    """Everything as it is now, while others may read."""
    index.execute("BEGIN")
    try:
        yield
    finally:
        index.execute("COMMIT")
