"""Which type of Delta Lake a column becomes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from penstock.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa


def delta_schema(schema: pa.Schema) -> pa.Schema:
    """The schema with which rows go into a Delta table.

    Delta has neither unsigned numbers, nor lists of fixed size, nor anything finer than microseconds: they become the
    next type that holds every value, vectors become lists, and columns without a type become text.

    Raises:
        InputError: a column has a type that Delta has nothing for.
    """
    import pyarrow as pa

    return pa.schema([pa.field(field.name, _delta_type(field.name, field.type)) for field in schema])


def _delta_type(name: str, kind: Any) -> Any:
    import pyarrow as pa
    from pyarrow import types

    widened = {
        pa.uint8(): pa.int16(),
        pa.uint16(): pa.int32(),
        pa.uint32(): pa.int64(),
        pa.uint64(): pa.decimal128(20, 0),
        pa.float16(): pa.float32(),
        pa.null(): pa.string(),
        pa.large_string(): pa.string(),
        pa.string_view(): pa.string(),
        pa.large_binary(): pa.binary(),
        pa.binary_view(): pa.binary(),
        pa.date64(): pa.date32(),
    }
    if kind in widened:
        return widened[kind]
    if types.is_struct(kind):
        fields = [kind.field(place) for place in range(kind.num_fields)]
        return pa.struct([pa.field(field.name, _delta_type(f"{name}.{field.name}", field.type)) for field in fields])
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return pa.list_(pa.field("element", _delta_type(name, kind.value_type)))
    if types.is_dictionary(kind):
        return _delta_type(name, kind.value_type)
    if types.is_fixed_size_binary(kind):
        return pa.binary()
    if types.is_timestamp(kind):
        return pa.timestamp("us", "UTC" if kind.tz else None)
    if types.is_time(kind) or types.is_duration(kind) or types.is_map(kind) or types.is_decimal256(kind):
        raise InputError(
            f"Delta Lake has no type for the column {name!r}, which is {kind}; make a text or number of it"
        )
    return kind
