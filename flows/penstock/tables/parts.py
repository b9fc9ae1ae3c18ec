"""Parts: the Parquet file that a segment leaves for a partition, whole or absent, with its counts in its metadata."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

METADATA_KEY = b"penstock"
ROW_GROUP_BYTES = 8 << 20
_PAGE_BYTES = 256 << 10
"""Of a page, which Arrow puts together in memory: at its own 1 MB a vector takes half as long again to write."""


@contextmanager
def whole_or_absent(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, renamed to it after an fsync when the block ends well, and removed otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # The process alone does not tell writers apart: another machine may have one of the same number.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        sync_file(temporary)
        temporary.replace(path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_part(
    path: Path, tables: Iterator[pa.Table], schema: pa.Schema, counts: Callable[[], Mapping[str, Any]]
) -> int:
    """Write the tables as one Parquet file; returns the number of rows.

    `counts` is called after the last table, and what it gives goes into the file's metadata.

    Vectors are stored plain (dictionaries and statistics of them cost time and save nothing), texts with zstd.
    """
    from pyarrow import parquet

    rows = 0
    with (
        whole_or_absent(path) as temporary,
        parquet.ParquetWriter(temporary, schema, **writer_settings(schema)) as writer,
    ):
        for table in tables:
            rows += table.num_rows
            # Arrow refuses to cast null vectors of not-null numbers, even to their own type.
            fitting = table if table.schema.equals(schema) else table.cast(schema)
            writer.write_table(fitting, row_group_size=max(1, table.num_rows))
        writer.add_key_value_metadata({METADATA_KEY: json.dumps(counts()).encode()})
    return rows


def writer_settings(schema: pa.Schema) -> dict[str, Any]:
    """How Parquet files of this schema are written; see `write_part`."""
    vectors = list(_leaf_names(schema, vectors=True))
    others = list(_leaf_names(schema, vectors=False))
    return {
        "compression": {**dict.fromkeys(others, "zstd"), **dict.fromkeys(vectors, "none")} or "zstd",
        "use_dictionary": others,
        "write_statistics": [name for name in others if "." not in name],
        "store_schema": True,
        "write_page_checksum": True,
        "data_page_size": _PAGE_BYTES,
    }


def read_counts(path: Path) -> dict[str, Any] | None:
    """The counts of a part; None where there is no whole part.

    Raises:
        OSError: the file is there and the system will not let it be read.
    """
    import pyarrow as pa
    from pyarrow import parquet

    try:
        metadata = parquet.read_metadata(path)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError, pa.ArrowInvalid):
        return None
    except OSError as error:
        # Arrow says with an OSError of no number that a footer makes no sense.
        if error.errno is not None:
            raise
        return None
    stored = (metadata.metadata or {}).get(METADATA_KEY)
    return None if stored is None else {**json.loads(stored), "rows": metadata.num_rows}


def rows_of(path: Path) -> int:
    """How many rows a Parquet file has."""
    from pyarrow import parquet

    return int(parquet.read_metadata(path).num_rows)


def sync_file(path: Path) -> None:
    """Wait until a file's content is on the disk."""
    _sync(path, os.O_RDONLY)


def sync_folder(path: Path) -> None:
    """Wait until a folder's names are on the disk."""
    _sync(path, os.O_RDONLY | os.O_DIRECTORY)


def _sync(path: Path, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _leaf_names(schema: pa.Schema, *, vectors: bool) -> list[str]:
    names: list[str] = []
    for field in schema:
        names += [path for path, is_vector in _leaves(field.name, field.type) if is_vector == vectors]
    return names


def _leaves(path: str, kind: Any) -> Iterator[tuple[str, bool]]:
    import pyarrow as pa

    if pa.types.is_struct(kind):
        for place in range(kind.num_fields):
            child = kind.field(place)
            yield from _leaves(f"{path}.{child.name}", child.type)
    elif pa.types.is_fixed_size_list(kind):
        yield f"{path}.list.element", True
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        yield from _leaves(f"{path}.list.element", kind.value_type)
    else:
        yield path, False
