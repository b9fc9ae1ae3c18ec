"""Parquet objects of remote storage, mirrored row group by row group into a sparse file of this machine.

A slice of a few thousand rows is a small part of a row group, and a row group is the least that can be fetched. So each
is fetched once, when its first slice is read, and the slices that follow read it from the mirror. Planning fetches the
footer alone.
"""

from __future__ import annotations

import hashlib
import io
import os
import struct
from pathlib import Path
from typing import Any

from penstock.errors import InputError, SourceChanged, StorageFailed
from penstock.sources.copies import Copies, use
from penstock.sources.objects import read_range
from penstock.sources.stored import StoredFile

_TAIL = 64 << 10
_BLOCK = 8 << 20
_MAGIC = b"PAR1"


class Mirror:
    """One object and its local file, which is as long and holds the footer and the row groups that were asked for."""

    def __init__(self, file: StoredFile, copies: Copies) -> None:
        self._file = file
        self._copies = copies
        self._tail: bytes | None = None
        self._metadata: Any = None

    @property
    def _name(self) -> str:
        what = f"{self._file.address}\n{self._file.state.digest}"
        return f"object-{hashlib.blake2b(what.encode(), digest_size=16).hexdigest()}.parquet"

    def footer(self) -> io.RawIOBase:
        """A file in which only the footer can be read.

        Raises:
            InputError: the object is not there, or no Parquet file.
        """
        tail = self._footer_bytes()
        return _Tail(tail, self._file.state.size)

    def rows(self, first: int, count: int) -> Path:
        """The local file, once it holds these rows.

        Raises:
            InputError: the object cannot be read.
            SourceChanged: it is not the one that was planned.
            StorageFailed: there is no room.
        """
        path = self._copies.get(self._name, self._write_empty)
        if self._metadata is None:
            from pyarrow import parquet

            self._metadata = parquet.ParquetFile(self.footer()).metadata
        begin = 0
        for number in range(self._metadata.num_row_groups):
            group = self._metadata.row_group(number)
            if begin < first + count and first < begin + group.num_rows:
                self._fetch(path, number, *_bytes_of(group))
            begin += group.num_rows
        return path

    def _fetch(self, path: Path, number: int, start: int, end: int) -> None:
        done = path.with_name(f"{path.stem}.{number}.fetched")
        if use(done):
            return
        try:
            # Whoever else fetches the same writes the same.
            with path.open("r+b") as handle:
                for place in range(start, end, _BLOCK):
                    block = read_range(self._file.address, place, min(end, place + _BLOCK))
                    if len(block) != min(end, place + _BLOCK) - place:
                        raise SourceChanged(f"the source file {self._file.address} is shorter than planned")
                    handle.seek(place)
                    handle.write(block)
                handle.flush()
                os.fsync(handle.fileno())
            done.touch()
        except OSError as error:
            raise StorageFailed(
                f"{self._file.name} cannot be copied to {path.parent} ({error.strerror}); make room, or choose another "
                "folder with --state or PENSTOCK_STATE"
            ) from None

    def _write_empty(self, target: Path) -> None:
        size = self._file.state.size
        tail = self._footer_bytes()
        for old in target.parent.glob(f"{Path(self._name).stem}.*.fetched"):
            old.unlink(missing_ok=True)
        with target.open("wb") as handle:
            handle.write(_MAGIC[: min(4, size)])
            handle.truncate(size)
            handle.seek(size - len(tail))
            handle.write(tail)

    def _footer_bytes(self) -> bytes:
        if self._tail is None:
            size = self._file.state.size
            tail = read_range(self._file.address, max(0, size - _TAIL), size)
            if size < 12 or tail[-4:] != _MAGIC:
                raise InputError(f"source.path: {self._file.name} is not a whole Parquet file")
            length = struct.unpack("<I", tail[-8:-4])[0] + 8
            if length > size:
                raise InputError(f"source.path: {self._file.name} is not a whole Parquet file")
            if length > len(tail):
                tail = read_range(self._file.address, size - length, size - len(tail)) + tail
            self._tail = tail
        return self._tail


def _bytes_of(group: Any) -> tuple[int, int]:
    """Where the columns of a row group stand in the file."""
    places = []
    for number in range(group.num_columns):
        column = group.column(number)
        begin = column.data_page_offset
        if column.has_dictionary_page and 0 < column.dictionary_page_offset < begin:
            begin = column.dictionary_page_offset
        places.append((begin, begin + column.total_compressed_size))
    return (min(begin for begin, _ in places), max(end for _, end in places)) if places else (0, 0)


class _Tail(io.RawIOBase):
    """A file of which only the last bytes are known."""

    def __init__(self, tail: bytes, size: int) -> None:
        super().__init__()
        self._tail = tail
        self._size = size
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        self._place = base + offset
        return self._place

    def tell(self) -> int:
        return self._place

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        begin = self._place - (self._size - len(self._tail))
        if begin < 0:
            raise OSError("only the footer of this file is here")
        data = self._tail[begin : begin + len(view)]
        view[: len(data)] = data
        self._place += len(data)
        return len(data)
