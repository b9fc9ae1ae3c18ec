"""JSON Schemas of a pipeline file: what is wrong with them, told before the first request.

Sources: JSON Schema draft 2020-12; the service's guide on structured outputs, "Supported schemas", for what holds in
strict mode. References lead to places in the same schema only: nothing is ever fetched.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import yaml
from pydantic import ValidationError
from pydantic_core import InitErrorDetails

Place = tuple[str | int, ...]
Problem = tuple[Place, str]
"""Where in the schema, and what is wrong there."""

LARGEST_FILE = 1_000_000
_DEEPEST = 60
_STRICT_LEVELS = 10
_STRICT_PROPERTIES = 5_000
_STRICT_CHOICES = 1_000
_TYPES = ("string", "number", "integer", "boolean", "object", "array", "null")
_MAPPINGS = ("properties", "$defs", "definitions", "patternProperties", "dependentSchemas")
_SINGLES = (
    "items", "additionalProperties", "contains", "not", "if", "then", "else", "propertyNames", "unevaluatedItems",
    "unevaluatedProperties",
)  # fmt: skip
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_NOT_STRICT = (
    "allOf", "oneOf", "not", "if", "then", "else", "dependentRequired", "dependentSchemas", "patternProperties",
    "propertyNames", "minProperties", "maxProperties", "unevaluatedItems", "unevaluatedProperties", "contains",
    "minContains", "maxContains", "uniqueItems", "prefixItems", "default",
)  # fmt: skip
_STRICT_FORMATS = ("date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid")
_ELSEWHERE = ("$id", "$dynamicRef", "$recursiveRef")
_WAY_OUT = "or set `strict: false`"


def read_schema_file(path: str) -> dict[str, Any]:
    """The JSON Schema in a file: YAML where its name ends so, else JSON.

    Raises:
        ValueError: there is no such file, or it holds no mapping.
    """
    file = Path(path)
    try:
        with file.open("rb") as handle:
            content = handle.read(LARGEST_FILE + 1)
        if len(content) > LARGEST_FILE:
            raise ValueError(f"the file is larger than {LARGEST_FILE:,} bytes, which no schema is: {path}")
        text = content.decode("utf-8-sig")
        value = yaml.safe_load(text) if file.suffix.lower() in {".yaml", ".yml"} else json.loads(text)
    except OSError as error:
        raise ValueError(f"the schema file cannot be read: {path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise ValueError(f"the schema file is not UTF-8: {path}") from None
    except (json.JSONDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"the schema file cannot be read: {path}: {error}") from None
    except RecursionError:
        raise ValueError(f"the schema file is nested too deeply: {path}") from None
    if not isinstance(value, dict):
        raise ValueError(f"the schema file holds no JSON object: {path}")  # noqa: TRY004  # a mistake of the file
    # What only YAML has, such as dates, becomes what JSON has.
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(value))
    return plain


def placed(problems: Sequence[Problem]) -> ValidationError:
    """The problems as pydantic reports them, each at its place below the value that is looked at."""
    details = [
        InitErrorDetails(type="value_error", loc=place, input=None, ctx={"error": ValueError(message)})
        for place, message in problems
    ]
    return ValidationError.from_exception_data("settings", details)


def schema_problems(schema: Mapping[str, Any], *, strict: bool) -> list[Problem]:
    """Everything that is wrong with a schema of an object; empty when nothing is.

    Args:
        schema: as written.
        strict: also hold it against what the service asks of a schema that the model must follow to the letter.
    """
    kind = schema.get("type")
    if kind != "object" and (strict or kind is not None):
        return [(("type",) if "type" in schema else (), "the whole must have `type: object`")]
    found: list[Problem] = []
    properties = 0
    parts = list(_parts(schema, (), 0))
    schemas = {id(part) for _, part, _ in parts}
    for place, part, depth in parts:
        if depth > _DEEPEST:
            return [(place[:_DEEPEST], "the schema is nested too deeply")]
        if isinstance(part, bool):
            continue
        if not isinstance(part, Mapping):
            found.append((place, "a schema is a mapping"))
            continue
        found += _wrong_everywhere(part, place)
        if "$ref" in part and id(find_reference(schema, part["$ref"])) not in schemas:
            told = f"{part['$ref']!r} leads nowhere; a reference leads to `#/$defs/…` of this schema"
            found.append(((*place, "$ref"), told))
        if strict:
            listed = part.get("properties")
            properties += len(listed) if isinstance(listed, Mapping) else 0
            found += _wrong_in_strict(part, place)
    if strict and properties > _STRICT_PROPERTIES:
        found.append(((), f"strict mode takes {_STRICT_PROPERTIES:,} properties at most, and here are {properties:,}"))
    return found


def find_reference(root: Mapping[str, Any], reference: object) -> Mapping[str, Any] | bool | None:
    """What ``#`` or ``#/$defs/name`` points to inside the schema; None when it points nowhere."""
    if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
        return None
    place: Any = root
    for step in reference[2:].split("/") if reference != "#" else ():
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(place, Mapping) and name in place:
            place = place[name]
        elif isinstance(place, list) and name.isdecimal() and int(name) < len(place):
            place = place[int(name)]
        else:
            return None
    return place if isinstance(place, Mapping | bool) else None


def kinds_of(part: Mapping[str, Any]) -> list[Any]:
    """What its `type` names, as a list."""
    kinds = part.get("type", [])
    return kinds if isinstance(kinds, list) else [kinds]


def _parts(part: Any, place: Place, depth: int) -> Iterator[tuple[Place, Any, int]]:
    """The schema and all schemas inside of it."""
    yield place, part, depth
    if depth > _DEEPEST or not isinstance(part, Mapping):
        return
    for keyword in _MAPPINGS:
        inner = part.get(keyword)
        for name, value in inner.items() if isinstance(inner, Mapping) else ():
            yield from _parts(value, (*place, keyword, name), depth + 1)
    for keyword in _LISTS:
        inner = part.get(keyword)
        for number, value in enumerate(inner if isinstance(inner, list) else ()):
            yield from _parts(value, (*place, keyword, number), depth + 1)
    for keyword in _SINGLES:
        if keyword in part:
            yield from _parts(part[keyword], (*place, keyword), depth + 1)


def _wrong_everywhere(part: Mapping[str, Any], place: Place) -> Iterator[Problem]:
    kinds = kinds_of(part)
    if unknown := [kind for kind in kinds if kind not in _TYPES]:
        yield (*place, "type"), f"there is no type {unknown[0]!r}; the types are: {', '.join(_TYPES)}"
    elif "type" in part and not kinds:
        yield (*place, "type"), "the list of types must not be empty"
    for keyword, fits, what in _SHAPES:
        if keyword in part and not fits(part[keyword]):
            yield (*place, keyword), f"`{keyword}` must be {what}"
    for keyword in _ELSEWHERE:
        if keyword in part and (place or keyword != "$id"):
            yield (*place, keyword), f"`{keyword}` is not followed; a reference is a `$ref` to `#/$defs/…`"
    if "array" in kinds and "items" not in part and "prefixItems" not in part:
        yield place, "an array needs `items`"


def _wrong_in_strict(part: Mapping[str, Any], place: Place) -> Iterator[Problem]:
    for keyword in _NOT_STRICT:
        if keyword in part:
            yield (*place, keyword), f"strict mode does not take `{keyword}`; leave it out, {_WAY_OUT}"
    if "$ref" in part:
        if len(part) > 1:
            others = ", ".join(f"`{name}`" for name in part if name != "$ref")
            yield place, f"strict mode takes nothing beside `$ref`; move {others} to where it leads, {_WAY_OUT}"
        return
    if not any(keyword in part for keyword in ("type", "anyOf", "enum", "const")) and place[-1:] != ("$defs",):
        yield place, f"strict mode wants a `type` here, {_WAY_OUT}"
    choices = part.get("enum")
    if isinstance(choices, list) and len(choices) > _STRICT_CHOICES:
        yield (*place, "enum"), f"strict mode takes {_STRICT_CHOICES:,} values at most, and here are {len(choices):,}"
    if isinstance(part.get("format"), str) and part["format"] not in _STRICT_FORMATS:
        known = ", ".join(_STRICT_FORMATS)
        yield (*place, "format"), f"strict mode does not know the format {part['format']!r}; it knows: {known}"
    if "object" in kinds_of(part) or "properties" in part:
        yield from _wrong_object(part, place)


def _wrong_object(part: Mapping[str, Any], place: Place) -> Iterator[Problem]:
    if part.get("additionalProperties") is not False:
        at = (*place, "additionalProperties") if "additionalProperties" in part else place
        yield at, f"strict mode wants `additionalProperties: false` on every object, {_WAY_OUT}"
    properties, needed = part.get("properties", {}), part.get("required", [])
    if isinstance(properties, Mapping) and _is_texts(needed):
        at = (*place, "required") if "required" in part else place
        if missing := [str(name) for name in properties if name not in needed]:
            way = "a property that may be missing is one that may be null: `type: [string, 'null']`"
            yield at, f"strict mode wants all properties in `required`; missing: {', '.join(missing)} ({way})"
        if extra := [str(name) for name in needed if name not in properties]:
            yield at, f"`required` names what `properties` does not have: {', '.join(extra)}"
    levels = sum(step in {"properties", "items"} for step in place)
    if levels > _STRICT_LEVELS:
        yield place, f"strict mode takes {_STRICT_LEVELS} levels of nesting at most"


def _is_mapping(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(name, str) for name in value)


def _is_patterns(value: Any) -> bool:
    return _is_mapping(value) and all(map(_is_pattern, value))


def _is_mapping_of_texts(value: Any) -> bool:
    return _is_mapping(value) and all(map(_is_texts, value.values()))


def _is_filled_list(value: Any) -> bool:
    return isinstance(value, list) and bool(value)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_pattern(value: Any) -> bool:
    try:
        re.compile(value)
    except (re.error, TypeError, OverflowError, RecursionError):
        return False
    return isinstance(value, str)


_COUNTS = (
    "minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties", "minContains", "maxContains",
)  # fmt: skip
_SHAPES: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    *((keyword, _is_mapping, "a mapping of names to schemas") for keyword in _MAPPINGS),
    *((keyword, _is_filled_list, "a list of schemas, and not empty") for keyword in _LISTS),
    ("enum", _is_filled_list, "a list of values, and not empty"),
    ("required", _is_texts, "a list of names"),
    ("pattern", _is_pattern, "a regular expression"),
    ("patternProperties", _is_patterns, "a mapping of regular expressions to schemas"),
    ("dependentRequired", _is_mapping_of_texts, "a mapping of names to lists of names"),
    ("uniqueItems", lambda value: isinstance(value, bool), "true or false"),
    ("multipleOf", lambda value: _is_number(value) and value > 0, "a number above 0"),
    *((keyword, _is_number, "a number") for keyword in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")),
    *((keyword, _is_count, "a whole number, 0 or more") for keyword in _COUNTS),
    *((keyword, _is_text, "text") for keyword in ("description", "title", "format", "$id", "$schema", "$anchor")),
)
