"""The answer journal: every paid answer is in it before anything else happens to it.

One file per partition and API segment, append-only. A frame is a length, a CRC-32 and an Arrow record batch, so that
a tail torn by a crash is found and cut off at the last whole frame. What `append` wrote survives the death of the
process at once, and of the machine after a second at most (`fsync`).
"""

from __future__ import annotations

import os
import struct
import threading
import time
import zlib
from collections import OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from penstock.errors import InputError
from penstock.tables.own_file import open_own

if TYPE_CHECKING:
    import pyarrow as pa

_MAGIC = b"PENSTOCKJOURNAL2"
_FRAME = struct.Struct("<IIQ")  # CRC-32, padding, length: 16 bytes, so that a batch stays aligned for zero-copy reading
_ALIGN = 64
SYNC_SECONDS = 1.0
LOOK_SECONDS = 0.02
DIGEST = "digest"
"""The first column of every batch: what each row answers, by the digest of what was asked."""
DIGEST_BYTES = 16
_CACHED_FRAMES = 2
_WIRE = b"penstock.wire"


@dataclass(slots=True)
class _Frames:
    """Where the answers of a journal stand: byte ranges of its batches, and batch and row of each digest."""

    schema: pa.Schema | None = None
    ranges: list[tuple[int, int]] = field(default_factory=list)
    places: dict[bytes, tuple[int, int]] = field(default_factory=dict)
    end: int = 0

    @property
    def wire(self) -> str:
        """What names the answers; empty where nothing does."""
        metadata = (self.schema.metadata if self.schema is not None else None) or {}
        return str(metadata.get(_WIRE, b"").decode())

    def read_on(self, file: BinaryIO) -> int:
        """Take in what follows in the file, one frame at a time, up to the first that is not whole; the end so far."""
        import pyarrow as pa

        file.seek(self.end)
        if self.end == 0 and file.read(len(_MAGIC)) != _MAGIC:
            return 0
        while (content := _whole_frame(file)) is not None:
            end = file.tell()
            if self.schema is None:
                self.schema = pa.ipc.read_schema(pa.py_buffer(content))
                self.end = end
                continue
            batch = pa.ipc.read_record_batch(pa.py_buffer(content), self.schema)
            padding = -(_FRAME.size + len(content)) % _ALIGN
            self.add(end - padding - len(content), len(content), end, batch.column(0).to_pylist())
        return self.end

    def add(self, start: int, size: int, end: int, digests: Sequence[bytes]) -> None:
        """Take in one batch; of what was answered twice, the last answer counts."""
        for row, digest in enumerate(digests):
            self.places[digest] = (len(self.ranges), row)
        self.ranges.append((start, size))
        self.end = end


class Journal:
    """An open journal: append answers, then take them out in any order with little memory.

    The first column of every batch, `DIGEST`, says what each of its rows answers; it goes by its place, since an
    answer's own columns may have any name. Opening an existing file cuts off a torn tail; `answered` then says what
    need not be asked again.

    Args:
        path: the file.
        wire: what names the answers of a new journal for others than its own part, see `penstock.tables.answers`.
        shared: whether a worker on another machine may have it open, see `penstock.tables.own_file`.
    """

    def __init__(self, path: Path, wire: str = "", *, shared: bool = False) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._wire = wire
        self._frames = _Frames()
        self._own = open_own(path, self._frames.read_on, shared=shared)
        self._file = self._own.handle
        self._looked_at = 0.0
        self._cache: OrderedDict[int, pa.RecordBatch] = OrderedDict()
        self._dirty = threading.Event()
        self._closed = threading.Event()
        self._sync_error: OSError | None = None
        self._syncer = threading.Thread(target=self._sync_each_second, name="penstock-journal", daemon=True)
        self._syncer.start()

    @property
    def answered(self) -> frozenset[bytes]:
        """What has an answer."""
        return frozenset(self._frames.places)

    @property
    def schema(self) -> pa.Schema | None:
        """The columns of the batches; None before the first."""
        return self._frames.schema

    def append(self, batch: pa.RecordBatch) -> None:
        """Write one batch.

        Raises:
            OSError: the disk is full or gone; also for an earlier `fsync` that failed.
            InputError: its columns are not those of the batches before.
            TakenOver: another worker has the journal now.
        """
        self.check()
        if self._sync_error is not None:
            raise self._sync_error
        if not self._frames.end:
            self._frames.schema = batch.schema
            named = batch.schema.with_metadata({_WIRE: self._wire.encode()})
            self._write([_MAGIC, *_framed(named.serialize())])
        elif not batch.schema.equals(self._frames.schema):
            batch = self._like_those_before(batch, self._frames.schema)
        content = batch.serialize()
        start = self._frames.end + _FRAME.size
        self._write(_framed(content))
        self._frames.add(start, len(memoryview(content)), self._frames.end, batch.column(0).to_pylist())
        self._dirty.set()

    def check(self) -> None:
        """Make sure that the journal is still this worker's own.

        Raises:
            TakenOver: another one has it now.
        """
        self._own.check()

    def look(self) -> None:
        """`check`, if that was not done a moment ago: for what happens thousands of times a second.

        Raises:
            TakenOver: another one has it now.
        """
        now = time.monotonic()
        if now - self._looked_at >= LOOK_SECONDS:
            self.check()
            self._looked_at = now

    def take(self, digests: Sequence[bytes]) -> pa.Table:
        """The answers to `digests`, in that order, without the column `DIGEST`. Each must have been answered."""
        import pyarrow as pa

        places = [self._frames.places[digest] for digest in digests]
        # Items were packed in their order, so neighbours mostly stand side by side and need no copy.
        runs = _runs(places)
        if len(runs) <= len({frame for frame, _ in places}):
            slices = [self._batch(frame).slice(first, count) for frame, first, count in runs]
            return pa.Table.from_batches(slices, schema=self._frames.schema).remove_column(0)
        # Rows out of order are copied out of each frame at once: a slice of one row would hold its whole frame.
        order = sorted(range(len(places)), key=places.__getitem__)
        copies: list[pa.RecordBatch] = []
        for frame, here in groupby(order, key=lambda place: places[place][0]):
            copies.append(self._batch(frame).take(pa.array([places[place][1] for place in here], pa.int64())))
        back = pa.array(sorted(range(len(order)), key=order.__getitem__), pa.int64())
        return pa.Table.from_batches(copies, schema=self._frames.schema).take(back).remove_column(0)

    def forget(self, digests: Collection[bytes]) -> None:
        """Take these for not answered from now on, so that another answer takes the place of the one there."""
        for digest in digests:
            self._frames.places.pop(digest, None)

    def close(self) -> None:
        """Sync, close, and let go of all memory: whoever forgets a journal may do so in a cycle."""
        if self._closed.is_set():
            return
        self._closed.set()
        self._dirty.set()
        self._syncer.join()
        os.close(self._file)
        self._cache.clear()
        self._frames.places.clear()

    def discard(self) -> None:
        """Close, and remove the file: its answers stand in a part."""
        is_own = self._own.is_own
        self.close()
        if is_own:
            self.path.unlink(missing_ok=True)

    def _batch(self, frame: int) -> pa.RecordBatch:
        import pyarrow as pa

        if frame in self._cache:
            self._cache.move_to_end(frame)
            return self._cache[frame]
        start, size = self._frames.ranges[frame]
        batch = pa.ipc.read_record_batch(pa.py_buffer(os.pread(self._file, size, start)), self._frames.schema)
        self._cache[frame] = batch
        if len(self._cache) > _CACHED_FRAMES:
            self._cache.popitem(last=False)
        return batch

    def _like_those_before(self, batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
        """The batch with the columns as the journal has them, where that is only a matter of how they are declared."""
        import pyarrow as pa

        try:
            # Columns go by their place: a pipeline may call them something else by now.
            return batch.rename_columns(schema.names).cast(schema)
        except (pa.ArrowException, ValueError):
            before = [field.type for field in schema]
            kinds = [
                f"{field.name}: {field.type}"
                for place, field in enumerate(batch.schema)
                if place >= len(before) or field.type != before[place]
            ]
            raise InputError(
                f"the server's answers have other columns than those answered before ({', '.join(kinds)}), which are "
                f"kept in {self.path}. Name the length of the vectors in the step, or remove that file to ask anew"
            ) from None

    def _write(self, buffers: list[Any]) -> None:
        expected = sum(len(memoryview(buffer)) for buffer in buffers)
        written = os.pwritev(self._file, buffers, self._frames.end)
        if written < expected:
            rest = b"".join(bytes(buffer) for buffer in buffers)[written:]
            while rest:
                rest = rest[os.pwrite(self._file, rest, self._frames.end + expected - len(rest)) :]
        self._frames.end += expected

    def _sync_each_second(self) -> None:
        while not self._closed.wait(SYNC_SECONDS):
            self._sync()
        self._sync()

    def _sync(self) -> None:
        if self._dirty.is_set():
            self._dirty.clear()
            try:
                os.fdatasync(self._file)
            except OSError as error:
                self._sync_error = error


def _runs(places: Sequence[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """(frame, first row, number of rows) of each stretch of rows that stand side by side."""
    runs: list[tuple[int, int, int]] = []
    for frame, row in places:
        if runs and runs[-1][0] == frame and runs[-1][1] + runs[-1][2] == row:
            runs[-1] = (frame, runs[-1][1], runs[-1][2] + 1)
        else:
            runs.append((frame, row, 1))
    return runs


def _framed(content: Any) -> list[Any]:
    size = len(memoryview(content))
    padding = -(_FRAME.size + size) % _ALIGN
    return [_FRAME.pack(zlib.crc32(content), padding, size), content, bytes(padding)]


def _whole_frame(file: BinaryIO) -> bytes | None:
    header = file.read(_FRAME.size)
    if len(header) < _FRAME.size:
        return None
    checksum, padding, size = _FRAME.unpack(header)
    left = os.fstat(file.fileno()).st_size - file.tell()
    # A machine that lost its power may leave zeros where the tail should stand: no frame is empty.
    if size == 0 or padding >= _ALIGN or size + padding > left:
        return None
    content = file.read(size)
    file.seek(padding, os.SEEK_CUR)
    return content if zlib.crc32(content) == checksum else None


@dataclass(frozen=True, slots=True)
class Scanned:
    """Where each answer of a journal stands: the digest, the beginning of its frame in the file, the row in it."""

    wire: str
    digests: list[bytes]
    frames: list[int]
    rows: list[int]


def scan_journal(path: Path) -> Scanned | None:
    """Where the answers of a journal stand that nobody writes to; None where there are none, or nothing names them."""
    try:
        frames = _Frames()
        with path.open("rb") as file:
            frames.read_on(file)
    except FileNotFoundError:
        return None
    if not frames.wire or not frames.places:
        return None
    starts = [frames.ranges[frame][0] - _FRAME.size for frame, _ in frames.places.values()]
    return Scanned(frames.wire, list(frames.places), starts, [row for _, row in frames.places.values()])


def journal_answers(path: Path, start: int, wanted: Sequence[tuple[int, bytes]]) -> pa.RecordBatch | None:
    """Some rows of the frame that begins at `start`, with their digests; None where that frame has not these answers.

    Args:
        wanted: the place of each answer in the frame, and its digest.

    Raises:
        OSError, ArrowException, IndexError: the file is gone or is no journal.
    """
    import pyarrow as pa

    with path.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC or (head := _whole_frame(file)) is None:
            return None
        schema = pa.ipc.read_schema(pa.py_buffer(head))
        file.seek(start)
        content = _whole_frame(file)
    if content is None:
        return None
    batch = pa.ipc.read_record_batch(pa.py_buffer(content), schema).take(pa.array([row for row, _ in wanted]))
    return batch if batch.column(0).to_pylist() == [digest for _, digest in wanted] else None
