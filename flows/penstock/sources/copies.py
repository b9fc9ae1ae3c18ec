"""Local copies of what cannot be read in place: unpacked text, objects of remote storage, rows of a query."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from penstock.errors import StorageFailed

_KEPT_SECONDS = 7 * 86_400


def default_folder() -> Path:
    """Where copies stand when nobody says: in the state folder that the environment names, or the user's cache."""
    state = os.environ.get("PENSTOCK_STATE")
    if state:
        return Path(state).absolute() / "sources"
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "penstock" / "sources"


class Copies:
    """A folder of files that are named by their content, so that whoever finds one can use it.

    A file is there whole or not at all. Making one removes those that nobody has used for a week.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder if folder is not None else default_folder()

    def get(self, name: str, write: Callable[[Path], None]) -> Path:
        """The copy of that name; `write` makes it, at the path that it is given, where it is missing.

        Raises:
            StorageFailed: the folder cannot be written.
        """
        path = self.folder / name
        return path if use(path) else self.put(write, lambda _: name)

    def put(self, write: Callable[[Path], None], name_of: Callable[[Path], str]) -> Path:
        """Write a copy, and name it when it is whole.

        Raises:
            StorageFailed: the disk is full or the folder cannot be written.
        """
        temporary = self.folder / f".{os.getpid()}-{threading.get_ident()}-{time.monotonic_ns()}.tmp"
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._prepare()
            try:
                write(temporary)
                path = self.folder / name_of(temporary)
                if not use(path):
                    with temporary.open("rb") as handle:
                        os.fsync(handle.fileno())
                    temporary.replace(path)
                return path
            finally:
                temporary.unlink(missing_ok=True)
        except OSError as error:
            raise StorageFailed(
                f"the source's rows cannot be copied to {self.folder} ({error.strerror or error}); make room, or "
                "choose another folder with --state or PENSTOCK_STATE"
            ) from None

    def _prepare(self) -> None:
        # A plan alone makes no state folder, and nobody wants a query's rows in a repository.
        ignore = self.folder / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n")
        oldest = time.time() - _KEPT_SECONDS
        for path in self.folder.iterdir():
            # What another process writes or removes meanwhile may be gone at any moment.
            with suppress(FileNotFoundError):
                stat = path.stat()
                if path != ignore and max(stat.st_atime, stat.st_mtime) < oldest:
                    path.unlink()


def use(path: Path) -> bool:
    """Whether the copy is there; then it counts as used now, and keeps the time of its content."""
    try:
        os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))
    except FileNotFoundError:
        return False
    except OSError:
        # Of another user, or on a disk that is read only: it can be read all the same.
        return path.exists()
    return True
