"""What stands where rows are to be added: its columns, and whether the new rows fit them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa


def existing_schema(folder: Path, partition_by: list[str]) -> pa.Schema | None:
    """The columns of a folder's Parquet files; None when there is none. Hidden files (``.x``, ``_x``) are left alone.

    Partition columns stand at their end, without a type: the names of folders do not tell one.

    Raises:
        InputError: there is a file of another kind, a file cannot be read, the folders are other than `partition_by`
            makes them, or two files have different columns.
    """
    import pyarrow as pa
    from pyarrow import parquet

    found: pa.Schema | None = None
    first = folder
    for path in _visible_files(folder):
        if path.suffix != ".parquet":
            raise InputError(f"{path} is no Parquet file; mode: append needs a folder of nothing else")
        levels = [part.split("=", 1)[0] for part in path.relative_to(folder).parts[:-1] if "=" in part]
        if levels != partition_by:
            here = f"by {', '.join(levels)}" if levels else "not at all"
            raise InputError(f"{path} is partitioned {here}, and partition_by says otherwise; make them the same")
        try:
            schema = parquet.read_schema(path).remove_metadata()
        except (pa.ArrowInvalid, OSError) as error:
            raise InputError(f"{path} cannot be read as Parquet: {error}") from error
        if found is None:
            found, first = schema, path
        elif not schema.equals(found) and (reason := misfit(found, schema)):
            raise InputError(f"{first} and {path} do not go together: {reason}")
    if found is None:
        return None
    return pa.schema([*found, *(pa.field(name, pa.null()) for name in partition_by)])


def joined(standing: pa.Schema, coming: pa.Schema) -> pa.Schema:
    """The schema with which new rows are added: the standing one, with the new types of columns that have none."""
    import pyarrow as pa

    return pa.schema([coming.field(field.name) if pa.types.is_null(field.type) else field for field in standing])


def misfit(standing: pa.Schema, coming: pa.Schema) -> str:
    """Why rows of one schema cannot be added to those of another; empty when they can.

    The order of columns does not matter. Before the first answer, vectors of unknown length are lists.
    """
    import pyarrow as pa

    if new := [name for name in coming.names if name not in standing.names]:
        return f"the column {new[0]!r} is not there yet"
    if missing := [name for name in standing.names if name not in coming.names]:
        return f"the rows have no column {missing[0]!r}"
    for field in standing:
        kind = coming.field(field.name).type
        if pa.types.is_null(field.type) or pa.types.is_null(kind):
            continue
        is_unknown_vector = pa.types.is_fixed_size_list(field.type) and pa.types.is_list(kind)
        same = _plain(field.type.value_type if is_unknown_vector else field.type)
        if _plain(kind.value_type if is_unknown_vector else kind) != same:
            return f"the column {field.name!r} is {field.type} there and {kind} here"
    return ""


def _plain(kind: Any) -> str:
    """A type by name, without what does not change its values: sizes of offsets, dictionaries, names of items."""
    from pyarrow import types

    if types.is_dictionary(kind):
        return _plain(kind.value_type)
    if types.is_fixed_size_list(kind):
        return f"vector[{kind.list_size}] of {_plain(kind.value_type)}"
    if types.is_list(kind) or types.is_large_list(kind):
        return f"list of {_plain(kind.value_type)}"
    if types.is_struct(kind):
        fields = [kind.field(place) for place in range(kind.num_fields)]
        return f"struct({', '.join(f'{field.name} {_plain(field.type)}' for field in fields)})"
    return str(kind).removeprefix("large_").removesuffix("_view")


def _visible_files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name.startswith((".", "_")):
            continue
        if path.is_dir():
            yield from _visible_files(path)
        else:
            yield path
