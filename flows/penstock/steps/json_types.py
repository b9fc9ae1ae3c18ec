"""What columns an answer by a JSON Schema becomes: the type of a schema, and a value as that type holds it.

| schema | column |
|---|---|
| `string`; `enum` or `const` of texts | string |
| `integer`; `enum` of whole numbers | int64 |
| `number`; integer or number | float64 |
| `boolean` | boolean |
| `array` with `items` | list |
| `object` with `properties` that allows no others on purpose | struct |
| `anyOf`, `oneOf` or a list of types with null | the other type: every column may be null |
| `$ref` | what it leads to |
| all else: several types, free objects, recursion | the value as JSON text |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from penstock.steps.json_schemas import find_reference, kinds_of

if TYPE_CHECKING:
    import pyarrow as pa

Kind = Literal["text", "integer", "number", "boolean", "list", "struct", "json"]
_LARGEST = 2**63
_BITS_OF_FLOATS = 1_023
_PLAIN: dict[str, Kind] = {"string": "text", "integer": "integer", "number": "number", "boolean": "boolean"}

_HELD: dict[Kind, type | tuple[type, ...]] = {
    "text": str, "integer": (int, float), "number": (int, float), "boolean": bool, "list": list, "struct": dict,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Shape:
    """A column's type, known without Arrow.

    Attributes:
        kind: which of the types.
        item: of a list.
        fields: of a struct, in the order of the schema.
    """

    kind: Kind
    item: Shape | None = None
    fields: tuple[tuple[str, Shape], ...] = ()


_JSON = Shape("json")


def shape_of(schema: Mapping[str, Any]) -> Shape:
    """The type of the values that `schema` allows."""
    return _shape(schema, schema, frozenset({"#"})) or _JSON


def arrow_type(shape: Shape) -> pa.DataType:
    """The Arrow type of a shape."""
    import pyarrow as pa

    if shape.kind == "list" and shape.item is not None:
        return pa.list_(arrow_type(shape.item))
    if shape.kind == "struct":
        return pa.struct([pa.field(name, arrow_type(inner)) for name, inner in shape.fields])
    plain = {"integer": pa.int64(), "number": pa.float64(), "boolean": pa.bool_()}
    return plain.get(shape.kind, pa.string())


def type_name(shape: Shape) -> str:
    """The name that polars has for the type of a shape."""
    if shape.kind == "list" and shape.item is not None:
        return f"List({type_name(shape.item)})"
    if shape.kind == "struct":
        return "Struct({{{}}})".format(", ".join(f"{name!r}: {type_name(inner)}" for name, inner in shape.fields))
    plain = {"integer": "Int64", "number": "Float64", "boolean": "Boolean"}
    return plain.get(shape.kind, "String")


def cell(shape: Shape, value: Any) -> Any:
    """A valid answer's value, or a part of one, as a column of that shape holds it.

    Raises:
        ValueError: a whole number is too large for 64 bits, or a schema without types let something else pass.
    """
    if value is None:
        return None
    if shape.kind == "json":
        return msgspec.json.encode(value).decode()
    fits = isinstance(value, _HELD[shape.kind]) and isinstance(value, bool) == (shape.kind == "boolean")
    if not fits:
        # A schema that says `properties` and no `type` allows everything else as well.
        raise ValueError(f"{str(value)[:80]!r} stands where the column holds a {shape.kind}")
    match shape.kind:
        case "integer":
            if not -_LARGEST <= value < _LARGEST:
                raise ValueError(f"the whole number {str(value)[:40]} is too large")
            return int(value)
        case "number":
            if isinstance(value, int) and value.bit_length() > _BITS_OF_FLOATS:
                raise ValueError(f"the number {str(value)[:40]}… is too large")
            return float(value)
        case "list":
            return [cell(shape.item or _JSON, item) for item in value]
        case "struct":
            return {name: cell(inner, value.get(name)) for name, inner in shape.fields}
        case _:
            return value


def _shape(root: Mapping[str, Any], part: Any, seen: frozenset[str]) -> Shape | None:
    """The shape of a part of the schema; None where only null is allowed."""
    if not isinstance(part, Mapping):
        return _JSON
    if "$ref" in part:
        reference = str(part["$ref"])
        # A schema inside of itself has no depth that a struct could have.
        return _JSON if reference in seen else _shape(root, find_reference(root, reference), seen | {reference})
    if "const" in part or "enum" in part:
        return _of_values([part["const"]] if "const" in part else part["enum"])
    for keyword in ("anyOf", "oneOf"):
        if keyword in part:
            return _one_of([_shape(root, branch, seen) for branch in part[keyword]])
    if "allOf" in part:
        return _shape(root, part["allOf"][0], seen) if len(part["allOf"]) == 1 else _JSON
    kinds = kinds_of(part) or _implied(part)
    return _one_of([_of_kind(root, part, kind, seen) for kind in kinds])


def _implied(part: Mapping[str, Any]) -> list[str]:
    return ["object"] if "properties" in part else ["array"] if "items" in part else ["any"]


def _of_kind(root: Mapping[str, Any], part: Mapping[str, Any], kind: str, seen: frozenset[str]) -> Shape | None:
    if kind == "null":
        return None
    if kind in _PLAIN:
        return Shape(_PLAIN[kind])
    if kind == "array" and "items" in part and "prefixItems" not in part:
        return Shape("list", item=_shape(root, part["items"], seen) or _JSON)
    if kind == "object" and part.get("properties") and part.get("additionalProperties", False) is False:
        fields = part["properties"].items()
        return Shape("struct", fields=tuple((name, _shape(root, inner, seen) or _JSON) for name, inner in fields))
    return _JSON


def _of_values(values: Sequence[Any]) -> Shape | None:
    kinds: list[Shape | None] = []
    for value in values:
        if value is None:
            kinds.append(None)
        elif isinstance(value, bool):
            kinds.append(Shape("boolean"))
        elif isinstance(value, int):
            kinds.append(Shape("integer"))
        elif isinstance(value, float):
            kinds.append(Shape("number"))
        else:
            kinds.append(Shape("text") if isinstance(value, str) else _JSON)
    return _one_of(kinds)


def _one_of(shapes: Sequence[Shape | None]) -> Shape | None:
    """The one shape that holds all of them; JSON text when there is none."""
    distinct = {shape for shape in shapes if shape is not None}
    if distinct == {Shape("integer"), Shape("number")}:
        return Shape("number")
    if len(distinct) > 1:
        return _JSON
    return next(iter(distinct), None)
