"""One file of a source, wherever it is stored: its state, its beginning, and a plain local file of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from penstock.errors import InputError, SourceChanged
from penstock.sources.base import FileState
from penstock.sources.copies import Copies
from penstock.sources.decoding import plain_chunks
from penstock.sources.objects import is_address, object_state, open_object, read_range
from penstock.sources.settings import COMPRESSED, Format

_WHOLE = 64 << 20
_SAMPLE = 4 << 20


class StoredFile:
    """A file or an object as it is stored.

    Attributes:
        address: the full path, or an address such as ``s3://bucket/key``.
        name: its last part.
        is_remote: whether it is an object of remote storage.
    """

    def __init__(self, address: str, state: FileState | None = None) -> None:
        self.address = address
        self.is_remote = is_address(address)
        self.name = PurePosixPath(address).name
        self._state = state

    @property
    def place(self) -> str | Path:
        """The path of a file, or the address of an object."""
        return self.address if self.is_remote else Path(self.address)

    @property
    def state(self) -> FileState:
        """What tells whether it is still the same; looked at once.

        Raises:
            InputError: it is gone.
        """
        if self._state is None:
            self._state = file_state(self.address)
        return self._state

    @property
    def size(self) -> int:
        """Bytes as stored."""
        return self.state.size if self.is_remote or self._state is not None else Path(self.address).stat().st_size

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """The stored bytes, to be read forwards."""
        if self.is_remote:
            yield open_object(self.address, self.state.size)
        else:
            with Path(self.address).open("rb") as handle:
                yield handle


class TextFile:
    """A text file: as plain UTF-8, in place or as a copy.

    Attributes:
        stored: the file as it is stored.
        name: its name, for messages.
        suffix: its ending in lower case, without that of a compression.
    """

    def __init__(self, stored: StoredFile, kind: Format, encoding: str | None, copies: Copies) -> None:
        self.stored = stored
        self.name = stored.name
        pure = PurePosixPath(stored.name.lower())
        self.compression = COMPRESSED.get(pure.suffix, "")
        self.suffix = PurePosixPath(pure.stem).suffix if self.compression else pure.suffix
        self._encoding = encoding if encoding not in {None, "utf-8"} else ""
        self._array = kind == "json"
        self._copies = copies
        self._is_plain = not (self.compression or self._encoding or self._array)
        self._path: Path | None = None

    @property
    def address(self) -> str:
        """Where the file is stored."""
        return self.stored.address

    @property
    def is_in_place(self) -> bool:
        """Whether the stored file itself is plain text on this machine."""
        return self._is_plain and not self.stored.is_remote

    @property
    def path(self) -> Path:
        """A plain local file: the file itself, or its copy, which is made at the first use.

        Raises:
            InputError: the file is damaged or cannot be read.
            StorageFailed: there is no room for the copy.
        """
        if self._path is None:
            self._path = Path(self.address) if self.is_in_place else self._copies.get(self._copy_name(), self._write)
        return self._path

    def beginning(self, size: int) -> bytes:
        """The first bytes of the text; fewer than `size` only if that is all of it. Makes no copy.

        Raises:
            InputError: the file is damaged or cannot be read.
        """
        if self._path is not None or self.is_in_place:
            with self.path.open("rb") as handle:
                return handle.read(size)
        if self._is_plain:
            return read_range(self.address, 0, min(size, self.stored.size))
        data = b""
        with self.stored.open() as raw:
            for chunk in self._chunks(raw):
                data += chunk
                if len(data) >= size:
                    break
        return data[:size]

    def _chunks(self, raw: IO[bytes]) -> Iterator[bytes]:
        return plain_chunks(
            raw, self.name, compression=self.compression, encoding=str(self._encoding), array=self._array
        )

    def _copy_name(self) -> str:
        what = f"{self.address}\n{self.stored.state.digest}\n{self._encoding}\n{self._array}"
        return f"text-{hashlib.blake2b(what.encode(), digest_size=16).hexdigest()}{self.suffix}"

    def _write(self, target: Path) -> None:
        with self.stored.open() as raw, target.open("wb") as handle:
            for chunk in self._chunks(raw):
                handle.write(chunk)


def file_state(place: str | Path) -> FileState:
    """Size, time and digest of a file or an object; large files are hashed by their beginning, middle and end.

    Raises:
        InputError: an object is gone or cannot be read.
    """
    if is_address(str(place)):
        return object_state(str(place))
    path = Path(place)
    stat = path.stat()
    digest = hashlib.blake2b(str(stat.st_size).encode(), digest_size=16)
    with path.open("rb") as handle:
        if stat.st_size <= _WHOLE:
            while block := handle.read(_SAMPLE):
                digest.update(block)
        else:
            digest.update(str(stat.st_mtime_ns).encode())
            for start in (0, (stat.st_size - _SAMPLE) // 2, stat.st_size - _SAMPLE):
                handle.seek(start)
                digest.update(handle.read(_SAMPLE))
    return FileState(str(path), stat.st_size, stat.st_mtime_ns, digest.hexdigest())


def check_unchanged(planned: FileState) -> None:
    """Compare a file with what was planned, by size and time; the content decides when only the time differs.

    Raises:
        SourceChanged: the file is gone or not the same.
    """
    try:
        same = _is_same(planned)
    except (OSError, InputError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error).removeprefix("source.path: ")
        raise SourceChanged(
            f"the source file {planned.path} cannot be read any more ({reason}). "
            "Put it back and resume, or start a new run"
        ) from None
    if not same:
        raise SourceChanged(
            f"the source file {planned.path} changed during the run. What was answered is kept; resuming plans the new "
            "content"
        )


def _is_same(planned: FileState) -> bool:
    if is_address(planned.path):
        now = object_state(planned.path)
        return (now.size, now.digest) == (planned.size, planned.digest)
    path = Path(planned.path)
    stat = path.stat()
    if stat.st_size != planned.size:
        return False
    return stat.st_mtime_ns == planned.modified_ns or file_state(path).digest == planned.digest
