"""Reading finished parts: one schema for all of them, rows in small tables, and where they come from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.errors import InputError
from penstock.outputs.base import Origin
from penstock.tables.parts import read_counts

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH_BYTES = 16 << 20
_MOST_BATCH_ROWS = 16_384


def origin_of(parts: Sequence[Path]) -> Origin:
    """Where the rows come from, by what the parts say: the pipeline, and the newest run that wrote one of them."""
    counts = [one for part in parts if (one := read_counts(part)) is not None]
    return Origin(
        pipeline=max((str(one.get("pipeline", "")) for one in counts), default=""),
        run=max((str(one.get("run", "")) for one in counts), default=""),
    )


def common_schema(schemas: Sequence[pa.Schema]) -> pa.Schema:
    """The schema that rows of all these schemas fit in; the first one's names and order.

    A column without a type gives way to any other, and a list to one of fixed size: vectors of unknown length are
    lists in a part in which no row was answered.

    Raises:
        InputError: the schemas cannot be reconciled.
    """
    import pyarrow as pa

    if not schemas:
        raise InputError("there is nothing to publish: no part was made")
    first = schemas[0].remove_metadata()
    if all(schema.equals(first) for schema in schemas[1:]):
        return first
    fields: list[Any] = []
    for name in first.names:
        kinds = list(dict.fromkeys(schema.field(name).type for schema in schemas if name in schema.names))
        fields.append(pa.field(name, _widest(name, kinds)))
    if unknown := {name for schema in schemas for name in schema.names} - set(first.names):
        raise InputError(f"some parts have a column {min(unknown)!r} and others do not")
    return pa.schema(fields)


def _widest(name: str, kinds: list[Any]) -> Any:
    import pyarrow as pa

    typed = [kind for kind in kinds if not pa.types.is_null(kind)] or kinds
    fixed = [kind for kind in typed if pa.types.is_fixed_size_list(kind)]
    if len(fixed) == 1 and all(kind is fixed[0] or pa.types.is_list(kind) for kind in typed):
        return fixed[0]
    if len(fixed) > 1:
        sizes = ", ".join(str(size) for size in sorted({kind.list_size for kind in fixed}))
        raise InputError(f"vectors of the column {name!r} have different lengths ({sizes}): they make no one table")
    try:
        unified = pa.unify_schemas([pa.schema([(name, kind)]) for kind in typed], promote_options="permissive")
    except pa.ArrowInvalid as error:
        raise InputError(f"the column {name!r} has types that do not go together: {error}") from error
    return unified.field(name).type


def schema_of(parts: Sequence[Path]) -> pa.Schema:
    """The schema that the rows of all parts fit in."""
    from pyarrow import parquet

    return common_schema([parquet.read_schema(part) for part in parts])


def tables(parts: Sequence[Path], schema: pa.Schema) -> Iterator[pa.Table]:
    """All rows in their order, in tables that are small whatever the parts are, with the columns of `schema`."""
    import pyarrow as pa
    from pyarrow import parquet

    for part in parts:
        with parquet.ParquetFile(part) as file:
            for batch in file.iter_batches(batch_size=batch_rows(file.metadata), use_threads=False):
                yield fitted(pa.Table.from_batches([batch]), schema)


def batch_rows(metadata: Any) -> int:
    """How many rows of a Parquet file to read at once."""
    size: int = sum(metadata.row_group(place).total_byte_size for place in range(metadata.num_row_groups))
    rows: int = metadata.num_rows
    return max(1, min(_MOST_BATCH_ROWS, _BATCH_BYTES * rows // max(1, size)))


def fitted(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table with the columns of `schema`, in its order and with its types.

    Raises:
        InputError: a value does not fit.
    """
    import pyarrow as pa

    if table.schema.equals(schema):
        return table.replace_schema_metadata(schema.metadata)
    columns: list[Any] = []
    for field in schema:
        column = table[field.name]
        try:
            columns.append(column if column.type.equals(field.type) else cast(column, field.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise InputError(f"values of the column {field.name!r} do not fit {field.type}: {error}") from error
    return pa.Table.from_arrays(columns, schema=schema)


def cast(column: Any, kind: Any) -> Any:
    """A column as another type. Arrow cannot make a list of no items one of fixed size, where all rows are null."""
    import pyarrow as pa

    if pa.types.is_fixed_size_list(kind) and column.null_count == len(column):
        return pa.chunked_array([pa.nulls(len(column), kind)])
    return column.cast(kind)
