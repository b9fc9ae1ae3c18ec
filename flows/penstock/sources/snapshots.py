"""Rows that are not in files of their own: written once to a Parquet file when a run is planned, and read from there.

So all partitions of a run, and those that are done after a crash, see the same rows, whatever happens to the database
or the folder meanwhile.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.errors import InputError, SourceChanged
from penstock.sources.base import FileState, Slice
from penstock.sources.copies import Copies, use
from penstock.sources.files import row_texts
from penstock.sources.parquet_files import read_rows
from penstock.sources.stored import file_state

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

_HASHED_ROWS = 20_000
_HASHED_BYTES = 4 << 20


class Snapshot:
    """A Parquet file of rows in the folder of copies, named by its content; made at the first use.

    Args:
        copies: the folder.
        planned: its state as a plan has it: then that file is used, and no other is made.
        batches: gives the schema and the rows, in a stable order.
        what: what messages call the rows, as "the rows of the query".
    """

    def __init__(
        self,
        copies: Copies,
        planned: Sequence[FileState],
        batches: Callable[[], tuple[pa.Schema, Iterator[pa.RecordBatch]]],
        what: str,
    ) -> None:
        self._copies = copies
        self._batches = batches
        self._what = what
        self._path = Path(planned[0].path) if planned else None
        self._state = planned[0] if planned else None

    @property
    def path(self) -> Path:
        """The file.

        Raises:
            SourceChanged: a plan has it, and it is gone.
            InputError, StorageFailed: it cannot be made.
        """
        if self._path is None:
            self._path = self._made()
        if not use(self._path):
            raise SourceChanged(
                f"the local copy of {self._what}, {self._path}, is gone. What was answered is kept; start a new run"
            )
        return self._path

    @property
    def state(self) -> FileState:
        """What tells whether the file is still the one that was planned."""
        if self._state is None:
            self._state = file_state(self.path)
        return self._state

    def schema(self) -> dict[str, pl.DataType]:
        """Columns and types as they were written."""
        import polars as pl

        return dict(pl.scan_parquet(self.path, glob=False).collect_schema())

    def slices(self, rows: int) -> Iterator[Slice]:
        """All rows, with digests of their content: rows that are added at the end leave those before as they are."""
        from pyarrow import parquet

        total = parquet.ParquetFile(self.path).metadata.num_rows
        names = list(self.schema())
        for start in range(0, total, rows):
            piece = Slice(0, start, min(rows, total - start))
            digest = hashlib.blake2b(digest_size=16)
            for first in range(start, start + piece.rows, _HASHED_ROWS):
                part = Slice(0, first, min(_HASHED_ROWS, start + piece.rows - first))
                for text in row_texts(_exact(read_rows(self.path, names, part, self._what))):
                    digest.update(text.encode() + b"\n")
            yield Slice(0, start, piece.rows, digest=digest.hexdigest())

    def read(self, piece: Slice, names: list[str]) -> pl.DataFrame:
        """The rows of a slice as they were written."""
        return read_rows(self.path, names, piece, f"with {self._what}")

    def _made(self) -> Path:
        from pyarrow import parquet

        schema, batches = self._batches()

        def write(target: Path) -> None:
            with parquet.ParquetWriter(target, schema, compression="zstd") as writer:
                for batch in batches:
                    writer.write_batch(batch, row_group_size=_HASHED_ROWS)

        return self._copies.put(write, _name_of)


def _name_of(path: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as handle:
        while block := handle.read(_HASHED_BYTES):
            digest.update(block)
    return f"rows-{digest.hexdigest()}.parquet"


def _exact(frame: pl.DataFrame) -> pl.DataFrame:
    """Numbers that JSON has no form for as text."""
    import polars as pl

    texts = [name for name, kind in frame.schema.items() if kind.is_float() or kind.is_decimal()]
    return frame.with_columns(pl.col(texts).cast(pl.String)) if texts else frame


def arrow_type(kind: Any, name: str) -> Any:
    """The type that a column of a database is kept with.

    Raises:
        InputError: its values have no form here.
    """
    import pyarrow as pa

    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    if pa.types.is_interval(kind) or pa.types.is_union(kind) or pa.types.is_map(kind):
        raise InputError(f"source.sql: the column {name!r} is of type {kind}; cast it to text in the query")
    return pa.string() if pa.types.is_null(kind) else kind
