"""What a server keeps: objects in memory, their files in a folder; in a folder of the user's it outlives the server.

Objects are written to SQLite as they change, so that a killed server loses nothing it has answered. Without a folder
of the user's, files go to a temporary one that is deleted at the end; one that a killed server left is deleted by the
next that needs one.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import msgspec

from penstock.errors import InputError

_PREFIX = "penstock-sandbox-"
_LOCK = "lock"
_temporary: set[Path] = set()


class Collection:
    """The objects of one kind by id, oldest first. Values are JSON objects; a changed one is put again.

    Args:
        kind: its name in the database.
        database: None keeps the objects in memory only.
    """

    def __init__(self, kind: str, database: sqlite3.Connection | None) -> None:
        self._kind = kind
        self._database = database
        self._objects: dict[str, dict[str, Any]] = {}
        if database is not None:
            rows = database.execute("SELECT id, value FROM objects WHERE kind = ? ORDER BY number", (kind,))
            self._objects = {name: msgspec.json.decode(value) for name, value in rows}

    def __contains__(self, name: str) -> bool:
        return name in self._objects

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(list(self._objects.values()))

    def __len__(self) -> int:
        return len(self._objects)

    def get(self, name: str) -> dict[str, Any] | None:
        """The object, None when there is none."""
        return self._objects.get(name)

    def put(self, name: str, value: dict[str, Any]) -> None:
        """Add or replace an object; a replaced one keeps its place in the order."""
        self._objects[name] = value
        if self._database is not None:
            self._database.execute(
                "INSERT INTO objects (kind, id, value) VALUES (?, ?, ?) "
                "ON CONFLICT (kind, id) DO UPDATE SET value = excluded.value",
                (self._kind, name, msgspec.json.encode(value)),
            )

    def remove(self, name: str) -> None:
        """Forget an object; nothing happens when there is none."""
        self._objects.pop(name, None)
        if self._database is not None:
            self._database.execute("DELETE FROM objects WHERE kind = ? AND id = ?", (self._kind, name))


class Archive:
    """All that one server keeps.

    Args:
        folder: where it outlives the server; None keeps it for the server's life.

    Raises:
        InputError: the folder cannot be used, or another server uses it.
    """

    def __init__(self, folder: str | None = None) -> None:
        self._collections: dict[str, Collection] = {}
        self._database: sqlite3.Connection | None = None
        self._folder: Path | None = None
        self._lock: IO[bytes] | None = None
        if folder is not None:
            self._open(Path(folder))

    def collection(self, kind: str) -> Collection:
        """The objects of one kind."""
        if kind not in self._collections:
            self._collections[kind] = Collection(kind, self._database)
        return self._collections[kind]

    def folder(self, name: str) -> Path:
        """A folder for files; made when it is first asked for."""
        if self._folder is None:
            self._folder, self._lock = _make_temporary()
        folder = self._folder / name
        folder.mkdir(exist_ok=True)
        return folder

    def close(self) -> None:
        """Let go of the folder; a temporary one is deleted."""
        if self._database is not None:
            self._database.close()
        if self._folder in _temporary:
            _temporary.discard(self._folder)
            shutil.rmtree(self._folder, ignore_errors=True)
        if self._lock is not None:
            self._lock.close()

    def _open(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = (folder / _LOCK).open("ab")
        except OSError as error:
            raise InputError(f"the state folder {folder} cannot be used: {error.strerror or error}") from None
        if not _hold(lock):
            lock.close()
            raise InputError(f"the state folder {folder} is in use by another sandbox; end it, or name another folder")
        self._folder, self._lock = folder, lock
        try:
            self._database = _connect(folder / "state.sqlite3")
        except sqlite3.Error as error:
            lock.close()
            raise InputError(f"the state in {folder} cannot be read: {error}") from None
        for upload in self.folder("uploads").iterdir():
            upload.unlink()


def remove_temporary_folders() -> None:
    """Delete the temporary folders of this process; for an end that runs no exit handlers."""
    for folder in list(_temporary):
        _temporary.discard(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _connect(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = NORMAL")
    database.execute(
        "CREATE TABLE IF NOT EXISTS objects (number INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, "
        "id TEXT NOT NULL, value BLOB NOT NULL, UNIQUE (kind, id))"
    )
    return database


def _make_temporary() -> tuple[Path, IO[bytes]]:
    _sweep()
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    # Locked before it gets its name: a sweep never meets a lock that is not held yet.
    lock = (folder / "lock.new").open("wb")
    _hold(lock)
    (folder / "lock.new").rename(folder / _LOCK)
    if not _temporary:
        atexit.register(remove_temporary_folders)
    _temporary.add(folder)
    return folder, lock


def _sweep() -> None:
    """Delete folders of servers that were killed: nobody holds their lock."""
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*/{_LOCK}"):
        with suppress(OSError):
            if path.parent.stat().st_uid != os.getuid():
                continue
            with path.open("ab") as lock:
                if _hold(lock):
                    shutil.rmtree(path.parent, ignore_errors=True)


def _hold(lock: IO[bytes]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
