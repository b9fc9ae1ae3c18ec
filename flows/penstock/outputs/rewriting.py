"""Writing rows anew as Parquet files: in hive folders, of a given number of rows, with further footer metadata."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.errors import InputError
from penstock.outputs.folder import described
from penstock.outputs.hive import folder_name
from penstock.tables.parts import ROW_GROUP_BYTES, sync_file, writer_settings

if TYPE_CHECKING:
    import pyarrow as pa

_BUFFERED_BYTES = 96 << 20
_MOST_OPEN = 100
MOST_FOLDERS = 10_000


@dataclass(slots=True)
class _Stream:
    """The rows of one folder on their way: first gathered, then written as row groups of one file after the other."""

    folder: Path
    waiting: list[Any] = field(default_factory=list)
    waiting_bytes: int = 0
    writer: Any = None
    file: Path | None = None
    file_rows: int = 0
    number: int = 0


class Rewriter:
    """Takes tables and leaves files under a folder; rows of one folder keep their order.

    Memory is bounded whatever the rows are: at most 96 MB wait for their row group, and 100 files are open.
    """

    def __init__(
        self,
        folder: Path,
        schema: pa.Schema,
        *,
        partition_by: list[str],
        metadata: Mapping[bytes, bytes],
        file_rows: int | None = None,
        prefix: str = "part-",
    ) -> None:
        import pyarrow as pa

        self._folder = folder
        self._schema = pa.schema([one for one in schema if one.name not in partition_by], metadata=dict(metadata))
        self._settings = writer_settings(self._schema)
        self._partition_by = partition_by
        self._file_rows = file_rows
        self._prefix = prefix
        self._streams: dict[tuple[Any, ...], _Stream] = {}
        self._open: dict[int, _Stream] = {}
        self._waiting_bytes = 0
        self._files: list[Path] = []

    def add(self, table: pa.Table) -> None:
        """Take some rows.

        Raises:
            InputError: a value cannot name a folder, or there are too many values.
        """
        for values, rows in self._groups(table):
            stream = self._streams.get(values) or self._begun(values)
            stream.waiting.append(rows)
            stream.waiting_bytes += rows.nbytes
            self._waiting_bytes += rows.nbytes
            if stream.waiting_bytes >= ROW_GROUP_BYTES:
                self._write(stream)
        while self._waiting_bytes > _BUFFERED_BYTES:
            self._write(max(self._streams.values(), key=lambda one: one.waiting_bytes))

    def finish(self) -> list[dict[str, Any]]:
        """Write what waits, and give name, rows, bytes and SHA-256 of each file."""
        for stream in self._streams.values():
            self._write(stream)
            self._close(stream)
        return [described(self._folder, file) for file in self._files]

    def abandon(self) -> None:
        """Close what is open; the files are of no use."""
        for stream in list(self._open.values()):
            self._close(stream)

    def _begun(self, values: tuple[Any, ...]) -> _Stream:
        if len(self._streams) >= MOST_FOLDERS:
            raise InputError(
                f"partition_by: {', '.join(self._partition_by)} has more than {MOST_FOLDERS:,} values, "
                "and each would be a folder; choose a column with fewer"
            )
        stream = _Stream(self._folder / folder_name(self._partition_by, values))
        stream.folder.mkdir(parents=True, exist_ok=True)
        self._streams[values] = stream
        return stream

    def _groups(self, table: pa.Table) -> Iterator[tuple[tuple[Any, ...], pa.Table]]:
        """The rows by the values of the partition columns, in the order in which these first appear."""
        if not self._partition_by:
            yield (), table
            return
        import polars as pl
        import pyarrow as pa

        keys = pl.from_arrow(table.select(self._partition_by))
        assert isinstance(keys, pl.DataFrame)  # noqa: S101  # for mypy: of a table
        places = keys.with_row_index("__place").group_by(self._partition_by, maintain_order=True).agg("__place")
        rest = table.drop_columns(self._partition_by)
        for row in places.iter_rows():
            yield row[:-1], rest.take(pa.array(row[-1], pa.int64()))

    def _write(self, stream: _Stream) -> None:
        """Write the rows that wait, as one row group each of a file."""
        import pyarrow as pa

        if not stream.waiting:
            return
        rows = pa.concat_tables(stream.waiting).combine_chunks()
        stream.waiting.clear()
        self._waiting_bytes -= stream.waiting_bytes
        stream.waiting_bytes = 0
        while rows.num_rows:
            room = rows.num_rows if self._file_rows is None else self._file_rows - stream.file_rows
            piece, rows = rows.slice(0, room), rows.slice(room)
            self._opened(stream).write_table(piece, row_group_size=piece.num_rows)
            stream.file_rows += piece.num_rows
            if stream.file_rows == self._file_rows:
                self._close(stream)

    def _opened(self, stream: _Stream) -> Any:
        from pyarrow import parquet

        if stream.writer is None:
            if len(self._open) >= _MOST_OPEN:
                self._close(next(iter(self._open.values())))
            stream.file = stream.folder / f"{self._prefix}{stream.number:05d}.parquet"
            stream.writer = parquet.ParquetWriter(stream.file, self._schema, **self._settings)
            stream.number += 1
            self._files.append(stream.file)
            self._open[id(stream)] = stream
        return stream.writer

    def _close(self, stream: _Stream) -> None:
        if stream.writer is None or stream.file is None:
            return
        stream.writer.close()
        sync_file(stream.file)
        stream.writer, stream.file_rows = None, 0
        self._open.pop(id(stream))
