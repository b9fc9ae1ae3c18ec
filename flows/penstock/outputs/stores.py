"""What outputs in a table store (`delta`, `lancedb`) share: the stream of rows, keys, and the library's errors."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.errors import InputError, PenstockError
from penstock.outputs.existing import misfit
from penstock.outputs.folder import storage_failed
from penstock.outputs.rows import tables

if TYPE_CHECKING:
    import pyarrow as pa


def library(name: str, kind: str) -> Any:
    """The module of an optional library.

    Raises:
        InputError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise InputError(
            f"the output {kind} needs the library {name}; install it with: pip install 'penstock[{kind}]'"
        ) from None


class RowStream:
    """The rows of the parts for a library that reads Arrow streams: counted, and with its own error remembered."""

    def __init__(self, parts: Sequence[Path], schema: pa.Schema) -> None:
        self.rows = 0
        self.error: BaseException | None = None
        self._parts = parts
        self._schema = schema

    def reader(self) -> pa.RecordBatchReader:
        """All rows, once."""
        import pyarrow as pa

        return pa.RecordBatchReader.from_batches(self._schema, self._batches())

    def reader_with(self, others: pa.Table, mark: str) -> pa.RecordBatchReader:
        """All rows, and then others that have some of the columns and do not count; the column `mark` says which."""
        import pyarrow as pa

        schema = self._schema.append(pa.field(mark, pa.bool_()))

        def batches() -> Iterator[Any]:
            for batch in self._batches():
                yield _marked(batch, schema, is_other=False)
            for batch in others.to_batches():
                yield _marked(batch, schema, is_other=True)

        return pa.RecordBatchReader.from_batches(schema, batches())

    def _batches(self) -> Iterator[Any]:
        try:
            for table in tables(self._parts, self._schema):
                self.rows += table.num_rows
                yield from table.to_batches()
        except (PenstockError, OSError) as error:
            # The library would tell of it as a fault of its own.
            self.error = error
            raise


def _marked(batch: Any, schema: pa.Schema, *, is_other: bool) -> Any:
    import pyarrow as pa

    columns = [
        batch.column(field.name).cast(field.type)
        if field.name in batch.schema.names
        else pa.nulls(batch.num_rows, field.type)
        for field in list(schema)[:-1]
    ]
    return pa.RecordBatch.from_arrays([*columns, pa.repeat(pa.scalar(is_other), batch.num_rows)], schema=schema)


@contextmanager
def store_errors(target: Path, stream: RowStream | None = None) -> Iterator[None]:
    """What a store's library raises becomes what a run is told; what was committed before still stands.

    Raises:
        PenstockError: the error of the stream of rows itself.
        StorageFailed: anything else.
    """
    try:
        yield
    except PenstockError:
        raise
    except Exception as error:
        # Both libraries raise bare Exception, RuntimeError or ValueError for failures of their native code.
        if stream is not None and isinstance(stream.error, PenstockError):
            raise stream.error from error
        first = (str(stream.error) if stream is not None and stream.error else str(error)).strip().split("\n", 1)[0]
        raise storage_failed(target, RuntimeError(first[:300])) from error


def check_keys(parts: Sequence[Path], keys: Sequence[str]) -> None:
    """Make sure that no row lacks a key and no two rows share one: a store could not tell which to keep.

    Needs 8 bytes of memory for each row.

    Raises:
        InputError: one does.
    """
    import polars as pl

    hashes: list[pl.Series] = []
    for part in parts:
        frame = pl.read_parquet(part, columns=list(keys), glob=False)
        for name in keys:
            if frame[name].null_count():
                raise InputError(f"key: the column {name!r} is null in some rows; take them out with a filter step")
        hashes.append(frame.hash_rows(seed=0))
    if not hashes:
        return
    ordered = pl.concat(hashes).sort()
    repeated = int((ordered == ordered.shift(1)).sum() or 0)
    if repeated:
        raise InputError(
            f"key: {repeated:,} rows have the same {', '.join(keys)} as another row; a dedupe step keeps one of each"
        )


def check_standing(target: Path, mode: str, standing: pa.Schema, coming: pa.Schema | None, *, own: bool) -> None:
    """Make sure that the table that stands there may be replaced, or takes the rows that come.

    Args:
        coming: of the rows; None when it is not known.
        own: whether Penstock made the table.

    Raises:
        InputError: it is another's, or the rows do not fit.
    """
    if mode == "replace":
        if not own:
            raise InputError(
                f"Penstock did not make the table {target}, and mode: replace would replace its rows. Let the output "
                "stand somewhere else, or choose mode: append or upsert"
            )
    elif coming is not None and (reason := misfit(standing, coming)):
        raise InputError(f"rows cannot be added to the table {target}: {reason}")


def gone_keys(former: Sequence[Path], parts: Sequence[Path], keys: Sequence[str]) -> pa.Table:
    """The keys of rows that are in the former parts and not in these, each once, in the types that they have now.

    Parts without the key columns have none, and neither has a key that its column cannot hold any more.
    """
    import polars as pl

    def named(files: Sequence[Path], types: Mapping[str, pl.DataType]) -> pl.LazyFrame:
        columns = [pl.col(name).cast(kind, strict=False) for name, kind in types.items()]
        frames = [pl.scan_parquet(file, glob=False).select(columns) for file in files]
        return pl.concat(frames or [pl.LazyFrame(schema=types)]).drop_nulls()

    schema = pl.read_parquet_schema(parts[0])
    types = {name: schema[name] for name in keys}
    known = [part for part in former if set(keys) <= set(pl.read_parquet_schema(part))]
    there = named(parts, types)
    # Parts of several runs may have a row each, and a store that merges wants a key once.
    lost = named(known, types).join(there, on=list(keys), how="anti").unique().collect(engine="streaming")
    return lost.to_arrow(compat_level=pl.CompatLevel.oldest())


def check_key_columns(keys: Sequence[str], schema: pa.Schema) -> None:
    """Make sure that the rows have the key columns, and that these can be compared.

    Raises:
        InputError: they have not.
    """
    import pyarrow as pa

    for name in keys:
        if name not in schema.names:
            raise InputError(f"key: the rows have no column {name!r}")
        kind = schema.field(name).type
        if pa.types.is_nested(kind) or pa.types.is_floating(kind):
            raise InputError(f"key: {name!r} is {kind}; a key is of texts, whole numbers, dates or the like")
