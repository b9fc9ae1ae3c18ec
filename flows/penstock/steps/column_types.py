"""What table steps ask of columns: that new ones are new, and that those they read have a type they can work on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from penstock.errors import InputError

if TYPE_CHECKING:
    import polars as pl

Place = tuple[str | int, ...]
"""Where a setting stands below its step."""

# By the type names of polars and, for sources that say those, of Arrow.
_TEXT = re.compile(r"(large_)?(string|utf8)|string_view", re.IGNORECASE)
_LIST = re.compile(r"((large_)?list|array|fixed_size_list)\W", re.IGNORECASE)
_OTHER = re.compile(
    r"(u?int\d+|float\d*|double|halffloat|half_float|bool(ean)?|date\d*|date(time)?|time(stamp|\d+)?|duration"
    r"|decimal\d*|binary|large_binary|fixed_size_binary|struct)([\[(<].*)?",
    re.IGNORECASE | re.DOTALL,
)


def check_new(given: Iterable[str], named: Mapping[str, str]) -> None:
    """Make sure that columns which a step adds have names of their own.

    Args:
        given: the columns before the step.
        named: by the setting that names it, each column that is added.

    Raises:
        ValueError: a name is taken, or stands for two columns.
    """
    before = set(given)
    seen: dict[str, str] = {}
    for setting, column in named.items():
        if column in before:
            raise ValueError(f"the column {column!r} exists already; give `{setting}` another name")
        if column in seen:
            raise ValueError(f"`{seen[column]}` and `{setting}` both name the column {column!r}")
        seen[column] = setting


class WrongColumn(ValueError):
    """A column is not of the type that a setting needs; `place` says where the setting stands below its step."""

    def __init__(self, message: str, place: Place) -> None:
        super().__init__(message)
        self.place = place


def check_text(given: Mapping[str, str | None], columns: Mapping[Place, str], what: str) -> None:
    """Make sure that columns whose types are known hold text; `what` is who needs it.

    Args:
        columns: by where it is named.

    Raises:
        WrongColumn: one does not.
    """
    for place, column in columns.items():
        kind = given.get(column)
        if kind and not _TEXT.fullmatch(kind) and (_LIST.match(kind) or _OTHER.match(kind)):
            raise WrongColumn(f"{what} needs text, and the column {column!r} is {kind}", place)


def check_list(given: Mapping[str, str | None], column: str, what: str) -> None:
    """Make sure that a column, named by `column`, whose type is known holds lists.

    Raises:
        WrongColumn: it does not.
    """
    kind = given.get(column)
    if kind and not _LIST.match(kind) and (_TEXT.fullmatch(kind) or _OTHER.match(kind)):
        raise WrongColumn(f"{what} needs a list, and the column {column!r} is {kind}", ("column",))


def check_fields(given: Mapping[str, str | None], column: str, fields: Mapping[Place, str], what: str) -> None:
    """Make sure that the elements of a list, where their type is known, are structs with these fields.

    Raises:
        WrongColumn: they are none, or one has no such field.
    """
    element = element_type(given.get(column))
    if element is None or element in {"Unknown", "Null", "null"}:
        return
    known = struct_fields(element)
    for place, field in fields.items():
        if known is None:
            raise WrongColumn(f"{what} takes fields of structs, and the elements of {column!r} are {element}", place)
        if field not in known:
            listed = ", ".join(known)
            raise WrongColumn(f"the structs in {column!r} have no field {field!r}; they have: {listed}", place)


def element_type(kind: str | None) -> str | None:
    """The type of the elements of a list by its name: ``List(Int64)`` to ``Int64``; None where it is unknown."""
    if kind and kind.startswith("List(") and kind.endswith(")"):
        return kind[len("List(") : -1]
    arrow = re.fullmatch(r"(?:large_|fixed_size_)?list<\w+: (.+?)(?: not null)?>(?:\[\d+\])?", kind or "")
    match = arrow or re.fullmatch(r"Array\((.+), (?:shape=\()?\d+,?\)*", kind or "")
    return match[1] if match else None


def struct_fields(kind: str) -> list[str] | None:
    """The names of a struct's fields by its type's name, of polars or of Arrow; None where it is no struct."""
    if kind.startswith("Struct({") and kind.endswith("})"):
        return [name.partition(": ")[0].strip("'\"") for name in _divided(kind[len("Struct({") : -2])]
    if kind.startswith("struct<") and kind.endswith(">"):
        return [name.partition(": ")[0] for name in _divided(kind[len("struct<") : -1])]
    return None


def _divided(text: str) -> list[str]:
    """What commas divide that stand in no bracket."""
    depth, begin = 0, 0
    found: list[str] = []
    for place, mark in enumerate(text):
        depth += (mark in "([{<") - (mark in ")]}>")
        if mark == "," and depth == 0:
            found.append(text[begin:place].strip())
            begin = place + 1
    return [*found, text[begin:].strip()] if text.strip() else []


def require_text(schema: Mapping[str, pl.DataType], columns: Iterable[str], step: str) -> None:
    """Make sure of the same when the types are there.

    Raises:
        InputError: a column is no text.
    """
    import polars as pl

    for column in columns:
        if schema[column] not in {pl.String(), pl.Null()}:
            raise InputError(
                f"the step {step!r} needs text, and the column {column!r} is {schema[column]}; "
                f"make text of it in a derive step: CAST({column} AS VARCHAR)"
            )
