"""A file to append to that is one writer's own, though others may open the same path while it lives.

A worker that was cut off (a frozen process, a lost network) goes on where it stopped when it comes back, and somebody
else has its work by then. Locks cannot settle that: a frozen process keeps them, and not all shared folders have them.
So whoever comes later puts a copy in the file's place and appends to the copy. The former writer keeps its descriptor,
on a file that nobody reads any more, and sees before its next append that another file stands in its place.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from penstock.errors import TakenOver
from penstock.tables.parts import sync_folder

_COPIED_AT_ONCE = 4 << 20
Whole = Callable[[BinaryIO], int]
"""Reads on from where it stopped the last time, to the end of what is whole; that end, in bytes."""


class OwnFile:
    """An open file of one's own; see `open_own`.

    Attributes:
        path: where it stands until somebody takes it over.
        handle: its descriptor, to read and write.
    """

    def __init__(self, path: Path, handle: int) -> None:
        self.path = path
        self.handle = handle
        self._identity = _identity(os.fstat(handle))

    @property
    def is_own(self) -> bool:
        """Whether it still stands at its path.

        Raises:
            FileNotFoundError: the whole folder is gone.
        """
        try:
            return _identity(self.path.stat()) == self._identity
        except FileNotFoundError:
            if not self.path.parent.is_dir():
                raise
            # Whoever took it over has finished with it.
            return False

    def check(self) -> None:
        """Make sure that nobody took the file over.

        Raises:
            TakenOver: somebody did.
            FileNotFoundError: the whole folder is gone.
        """
        if not self.is_own:
            raise self.lost()

    def lost(self) -> TakenOver:
        """What to raise when somebody took the file over."""
        return TakenOver(
            f"another worker has taken over this partition and its journal {self.path.name}, so this one stops: "
            "it was cut off for too long. What it had answered before is kept, and nothing is lost"
        )


def open_own(path: Path, whole: Whole, *, shared: bool) -> OwnFile:
    """Open or make a file, cut after what is whole in it; from now on nobody else writes to it.

    Args:
        path: the file; its folder is there.
        whole: see `Whole`; called with the file as it was found.
        shared: whether processes on other machines may have it open, of whose locks nothing may be known here.

    Raises:
        OSError: it cannot be read, made or replaced.
    """
    own = _made(path) if shared else _locked(path, whole)
    return own or _taken_over(path, whole)


def _made(path: Path) -> OwnFile | None:
    """A new file; None where there is one."""
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o644)
    except FileExistsError:
        return None
    _lock(handle)
    return OwnFile(path, handle)


def _locked(path: Path, whole: Whole) -> OwnFile | None:
    """The file as it stands, new or found; None where somebody has it open to write."""
    handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
    own = OwnFile(path, handle)
    if not _lock(handle) or not own.is_own:
        os.close(handle)
        return None
    with path.open("rb") as found:
        os.ftruncate(handle, whole(found))
    return own


def _taken_over(path: Path, whole: Whole) -> OwnFile:
    """A copy of the file in its place."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o644)
    try:
        _lock(handle)
        with path.open("rb") as former:
            end = _copy(former, handle, 0, whole(former))
            os.fsync(handle)
            temporary.replace(path)
            # What its writer appended before it could see that it had lost its place.
            _copy(former, handle, end, whole(former))
        sync_folder(path.parent)
    except BaseException:
        os.close(handle)
        temporary.unlink(missing_ok=True)
        raise
    return OwnFile(path, handle)


def _copy(source: BinaryIO, target: int, start: int, end: int) -> int:
    """Copy the bytes from `start` to `end` to the same place; returns `end`."""
    while start < end:
        content = os.pread(source.fileno(), min(end - start, _COPIED_AT_ONCE), start)
        if not content:
            raise OSError(errno.EIO, "a journal became shorter while it was copied", source.name)
        start += os.pwrite(target, content, start)
    return end


def _lock(handle: int) -> bool:
    """Lock the file for as long as it is open; whether that could be done."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        # Somebody has it, or the file system knows no locks.
        return False
    return True


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
