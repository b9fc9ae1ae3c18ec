"""Names of hive folders (``language=en``): safe for every value, and read back by other tools as what they were."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from penstock.errors import InputError

NULL_NAME = "__HIVE_DEFAULT_PARTITION__"
_LONGEST_NAME = 255


def folder_name(columns: Sequence[str], values: Sequence[Any]) -> str:
    """The folder of the rows with these values, relative, for example ``language=en/day=2026-01-01``.

    Whatever is no ASCII letter, digit or one of ``-._~`` is percent-encoded, so that no value leaves its folder.

    Raises:
        InputError: a value cannot be the name of a folder.
    """
    return "/".join(_level(column, value) for column, value in zip(columns, values, strict=True))


def _level(column: str, value: Any) -> str:
    if value == NULL_NAME:
        raise InputError(f"{column} has the text {NULL_NAME}, which as the name of a folder means no value at all")
    name = f"{quote(column, safe='')}={NULL_NAME if value is None else quote(_text(value), safe='')}"
    if len(name) > _LONGEST_NAME:
        shown = str(value)[:40]
        raise InputError(f"a value of {column} is too long for the name of a folder: {shown}…; partition by another")
    return name


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def is_allowed(kind: Any) -> bool:
    """Whether values of an Arrow type can name folders: text, whole numbers, booleans and dates."""
    from pyarrow import types

    if types.is_dictionary(kind):
        return is_allowed(kind.value_type)
    tests = (types.is_string, types.is_large_string, types.is_integer, types.is_boolean, types.is_date, types.is_null)
    return any(test(kind) for test in tests)
