"""What table steps ask of columns: that new ones are new, and that those they read have a type they can work on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from penstock.errors import InputError

if TYPE_CHECKING:
    import polars as pl

# By the type names of polars and, for sources that say those, of Arrow.
_TEXT = re.compile(r"(large_)?(string|utf8)|string_view", re.IGNORECASE)
_LIST = re.compile(r"((large_)?list|array|fixed_size_list)\W", re.IGNORECASE)
_OTHER = re.compile(
    r"u?int\d+|float\d*|double|half_float|bool(ean)?|date\d*|date(time)?|time(stamp)?|duration|decimal\d*|binary"
    r"|large_binary|struct|null",
    re.IGNORECASE,
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


def check_text(given: Mapping[str, str | None], columns: Iterable[str], what: str) -> None:
    """Make sure that columns whose types are known hold text; `what` is who needs it.

    Raises:
        ValueError: one does not.
    """
    for column in columns:
        kind = given.get(column)
        if kind and not _TEXT.fullmatch(kind) and (_LIST.match(kind) or _OTHER.match(kind)):
            raise ValueError(f"{what} needs text, and the column {column!r} is {kind}")


def check_list(given: Mapping[str, str | None], column: str, what: str) -> None:
    """Make sure that a column whose type is known holds lists.

    Raises:
        ValueError: it does not.
    """
    kind = given.get(column)
    if kind and not _LIST.match(kind) and (_TEXT.fullmatch(kind) or _OTHER.match(kind)):
        raise ValueError(f"{what} needs a list, and the column {column!r} is {kind}")


def element_type(kind: str | None) -> str | None:
    """The type of the elements of a list by its polars name: ``List(Int64)`` to ``Int64``; None where it is unknown."""
    if kind and kind.startswith("List(") and kind.endswith(")"):
        return kind[len("List(") : -1]
    match = re.fullmatch(r"Array\((.+), (?:shape=\()?\d+,?\)*", kind or "")
    return match[1] if match else None


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
