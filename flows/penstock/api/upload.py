"""A file on its way to a server: read in pieces, told as it goes, and never in memory as a whole."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from penstock.errors import InputError

Progress = Callable[[int, int | None], None]
"""Told how many bytes have gone and how many there are in all, None when nobody knows."""


class _CountedFile(io.FileIO):
    """Gives out exactly the bytes that were announced, and tells how many are gone."""

    def __init__(self, path: Path, progress: Progress | None) -> None:
        super().__init__(path, "rb")
        self._size = os.fstat(self.fileno()).st_size
        self._sent = 0
        self._progress = progress

    def read(self, size: int | None = -1, /) -> bytes:
        """See `io.RawIOBase.read`; `InputError` when the file has become shorter."""
        left = self._size - self._sent
        wanted = left if size is None or size < 0 else min(size, left)
        if not wanted:
            return b""
        data = super().read(wanted)
        if not data:
            raise InputError(f"{self.name} became shorter while it was being sent")
        self._sent += len(data)
        if self._progress is not None:
            self._progress(self._sent, self._size)
        return data

    def seek(self, position: int, whence: int = io.SEEK_SET, /) -> int:
        """See `io.RawIOBase.seek`; the count starts again at `position`."""
        self._sent = super().seek(position, whence)
        return self._sent


@dataclass(frozen=True, slots=True)
class FilePart:
    """The file of a form. Made by `of`, which looks at the file; opened anew for each attempt."""

    path: Path
    name: str
    size: int
    media_type: str
    progress: Progress | None = None

    @classmethod
    def of(
        cls,
        path: str | Path,
        *,
        name: str | None = None,
        most: int | None = None,
        media_type: str = "application/octet-stream",
        progress: Progress | None = None,
    ) -> FilePart:
        """Look at a file that is to be sent.

        Args:
            name: what the server calls it; its own name if left out.
            most: bytes at most.

        Raises:
            InputError: it is not there, no file, empty or larger than `most`.
        """
        path = Path(path)
        try:
            size = path.stat().st_size
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}") from None
        if not path.is_file():
            raise InputError(f"{path} is no file")
        if size == 0:
            raise InputError(f"{path} is empty")
        if most is not None and size > most:
            raise InputError(f"{path} has {size:,} bytes, and the service takes {most:,} at most")
        return cls(path, name or path.name, size, media_type, progress)

    @contextmanager
    def opened(self) -> Iterator[tuple[str, io.FileIO, str]]:
        """Name, file and media type, as a form takes them; the file is closed at the end of the block."""
        try:
            file = _CountedFile(self.path, self.progress)
        except OSError as error:
            raise InputError(f"{self.path} cannot be read: {error.strerror}") from None
        with file:
            yield self.name, file, self.media_type
