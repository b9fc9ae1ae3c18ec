"""Finding marked fields (templates, SQL, paths) in settings, by their declarations, however deep they stand."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from penstock.spec.positions import Path

Found = tuple[Path, Any, str]
"""Where in the settings, which marker, and the text."""


def keys_of(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """The fields of a settings model by the keys that stand for them in a file."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def marked(model: type[BaseModel], data: Any, kinds: tuple[type, ...]) -> Iterator[Found]:
    """All texts in `data`, as it was written for `model`, whose declaration carries a marker of these kinds."""
    if isinstance(data, dict):
        for name, field in keys_of(model).items():
            if name in data:
                yield from _walk(field.annotation, tuple(field.metadata), data[name], (name,), kinds)


def _walk(
    annotation: Any, metadata: tuple[Any, ...], data: Any, path: Path, kinds: tuple[type, ...]
) -> Iterator[Found]:
    if isinstance(data, str):
        yield from ((path, marker, data) for marker in metadata if isinstance(marker, kinds))
    origin = typing.get_origin(annotation)
    arguments = typing.get_args(annotation)
    if origin is Annotated:
        yield from _walk(arguments[0], tuple(arguments[1:]), data, path, kinds)
    elif origin in {Union, types.UnionType}:
        literals = [
            one for argument in arguments if typing.get_origin(argument) is Literal for one in argument.__args__
        ]
        # A word such as `*` beside a column's name is that word, and no column.
        for argument in () if isinstance(data, str) and data in literals else arguments:
            yield from _walk(argument, (), data, path, kinds)
    elif origin in {list, tuple} and isinstance(data, list):
        for place, item in enumerate(data):
            yield from _walk(arguments[0], (), item, (*path, place), kinds)
    elif origin is dict and isinstance(data, dict):
        for name, value in data.items():
            yield from _walk(arguments[1], (), value, (*path, name), kinds)
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield from ((path + inner, marker, text) for inner, marker, text in marked(annotation, data, kinds))


def replaced(data: Any, path: Path, value: Any) -> Any:
    """`data` with another value at `path`."""
    if not path:
        return value
    first, rest = path[0], path[1:]
    if isinstance(data, list):
        return [replaced(item, rest, value) if place == first else item for place, item in enumerate(data)]
    return {**data, first: replaced(data[first], rest, value)}
