"""JSON Schemas in requests: what the service refuses in them, strict or not.

Source: the service's guide on structured outputs ("Supported schemas").
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

TYPES = ("string", "number", "integer", "boolean", "object", "array", "null")
_DEEPEST = 60
_STRICT_DEEPEST = 10
_STRICT_PROPERTIES = 5_000
_NUMBERS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_COUNTS = ("minLength", "maxLength", "minItems", "maxItems")
_LISTS = ("anyOf", "oneOf", "allOf")
_UNSUPPORTED = ("allOf", "oneOf", "not", "dependentRequired", "dependentSchemas", "if", "then", "else")

Where = tuple[str, ...]


class BadSchema(Exception):
    """A schema that is refused; the message says where and why."""

    def __init__(self, where: Where, why: str) -> None:
        super().__init__(f"In context=({', '.join(repr(step) for step in where)}{',' * (len(where) == 1)}), {why}")


def check_schema(schema: dict[str, Any], *, strict: bool) -> None:
    """Look at all of a schema.

    Raises:
        BadSchema: it is not a JSON Schema, or, when `strict`, not one that can be followed strictly.
    """
    if schema and schema.get("type") not in ("object", None):
        raise BadSchema((), f"schema must be a JSON Schema of 'type: \"object\"', got 'type: {schema.get('type')!r}'.")
    if strict and schema.get("type") != "object":
        raise BadSchema((), "schema must be a JSON Schema of 'type: \"object\"', got 'type: \"None\"'.")
    properties = 0
    for where, part, depth in _walk(schema, (), 0):
        if depth > _DEEPEST:
            raise BadSchema(where[:8], "the schema is nested too deeply.")
        _check_part(schema, part, where)
        if strict:
            properties += len(part.get("properties", ()))
            _check_strict(part, where)
            if _objects(where) > _STRICT_DEEPEST or properties > _STRICT_PROPERTIES:
                raise BadSchema(where[:8], f"a strict schema may be nested {_STRICT_DEEPEST} levels deep at most.")


def find_reference(root: dict[str, Any], reference: str) -> dict[str, Any] | None:
    """What ``#/$defs/name`` (or ``#``) points to inside the schema; None when it points nowhere."""
    place: Any = root
    if reference == "#":
        return root
    if not reference.startswith("#/"):
        return None
    for step in reference[2:].split("/"):
        name = step.replace("~1", "/").replace("~0", "~")
        if not isinstance(place, dict) or name not in place:
            return None
        place = place[name]
    return place if isinstance(place, dict) else None


def _walk(part: dict[str, Any], where: Where, depth: int) -> Iterator[tuple[Where, dict[str, Any], int]]:
    yield where, part, depth
    if depth > _DEEPEST:
        return
    for keyword in ("properties", "$defs", "definitions"):
        inner = part.get(keyword)
        for name, value in inner.items() if isinstance(inner, dict) else ():
            if not isinstance(value, dict):
                raise BadSchema((*where, keyword, name), f"{value!r:.80} is not of type 'object'.")
            yield from _walk(value, (*where, keyword, name), depth + 1)
    for keyword in _LISTS:
        listed = part.get(keyword)
        for index, value in enumerate(listed if isinstance(listed, list) else ()):
            if not isinstance(value, dict):
                raise BadSchema((*where, keyword, str(index)), f"{value!r:.80} is not of type 'object'.")
            yield from _walk(value, (*where, keyword, str(index)), depth + 1)
    for keyword in ("items", "additionalProperties"):
        if isinstance(part.get(keyword), dict):
            yield from _walk(part[keyword], (*where, keyword), depth + 1)


def _check_part(root: dict[str, Any], part: dict[str, Any], where: Where) -> None:
    kinds = part.get("type", [])
    kinds = kinds if isinstance(kinds, list) else [kinds]
    if any(kind not in TYPES for kind in kinds) or ("type" in part and not kinds):
        raise BadSchema(where, f"{part['type']!r:.80} is not valid under any of the given schemas.")
    for keyword, fits, what in _SHAPES:
        if keyword in part and not fits(part[keyword]):
            raise BadSchema(where, f"{part[keyword]!r:.80} is not {what} (keyword '{keyword}').")
    reference = part.get("$ref")
    if reference is not None and (not isinstance(reference, str) or find_reference(root, reference) is None):
        raise BadSchema(where, f"reference {reference!r:.80} can only point to definitions defined at the top level.")
    if "pattern" in part and not _is_pattern(part["pattern"]):
        raise BadSchema(where, f"{part['pattern']!r:.80} is not a 'regex'.")
    if "array" in kinds and "items" not in part and "prefixItems" not in part:
        raise BadSchema(where, "array schema missing items.")


def _check_strict(part: dict[str, Any], where: Where) -> None:
    for keyword in _UNSUPPORTED:
        if keyword in part:
            raise BadSchema(where, f"'{keyword}' is not permitted.")
    known = ("type", "anyOf", "$ref", "enum", "const")
    if not any(keyword in part for keyword in known) and where[-1:] != ("$defs",):
        raise BadSchema(where, "schema must have a 'type' key.")
    if part.get("type") != "object" and "properties" not in part:
        return
    if part.get("additionalProperties") is not False:
        raise BadSchema(where, "'additionalProperties' is required to be supplied and to be false.")
    properties = part.get("properties", {})
    listed = part.get("required", [])
    missing = [name for name in properties if name not in listed]
    if missing:
        raise BadSchema(
            where,
            "'required' is required to be supplied and to be an array including every key in properties. "
            f"Missing '{missing[0]}'.",
        )
    extra = [name for name in listed if name not in properties]
    if extra:
        raise BadSchema(where, f"'required' is required to be supplied and to be an array including every key in "
                        f"properties. Extra required key '{extra[0]}' supplied.")  # fmt: skip


def _objects(where: Where) -> int:
    return sum(step in ("properties", "items") for step in where)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e300


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 10**9


def _is_strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_pattern(value: Any) -> bool:
    if not isinstance(value, str) or len(value) > 1_000:
        return False
    try:
        re.compile(value)
    except (re.error, OverflowError, RecursionError):
        return False
    return True


_SHAPES: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    ("properties", lambda value: isinstance(value, dict), "of type 'object'"),
    ("$defs", lambda value: isinstance(value, dict), "of type 'object'"),
    ("definitions", lambda value: isinstance(value, dict), "of type 'object'"),
    ("required", _is_strings, "an array of strings"),
    ("items", lambda value: isinstance(value, dict | bool), "of type 'object', 'boolean'"),
    ("additionalProperties", lambda value: isinstance(value, dict | bool), "of type 'object', 'boolean'"),
    ("enum", lambda value: isinstance(value, list) and bool(value), "a non-empty array"),
    ("description", lambda value: isinstance(value, str), "of type 'string'"),
    ("title", lambda value: isinstance(value, str), "of type 'string'"),
    ("format", lambda value: isinstance(value, str), "of type 'string'"),
    ("multipleOf", lambda value: _is_number(value) and value > 0, "a number above 0"),
    *((name, _is_number, "of type 'number'") for name in _NUMBERS if name != "multipleOf"),
    *((name, _is_count, "a non-negative integer") for name in _COUNTS),
    *((name, lambda value: isinstance(value, list) and bool(value), "a non-empty array") for name in _LISTS),
)
