"""Names of hive folders (``language=en``): safe for every value, and read back by other tools as what they were."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from penstock.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

NULL_NAME = "__HIVE_DEFAULT_PARTITION__"
_LONGEST_NAME = 255
_COLUMN = re.compile(r"[^\W_][\w .-]*")


def folder_name(columns: Sequence[str], values: Sequence[Any]) -> str:
    """The folder of the rows with these values, relative, for example ``language=en/day=2026-01-01``.

    Of values, whatever is no ASCII letter, digit or one of ``-._~`` is percent-encoded, so that none leaves its folder.

    Raises:
        InputError: a value cannot be the name of a folder.
    """
    return "/".join(_level(column, value) for column, value in zip(columns, values, strict=True))


def _level(column: str, value: Any) -> str:
    if value == NULL_NAME:
        raise InputError(f"{column} has the text {NULL_NAME}, which as the name of a folder means no value at all")
    name = f"{column}={NULL_NAME if value is None else quote(_text(value), safe='')}"
    if len(name.encode()) > _LONGEST_NAME:
        shown = str(value)[:40]
        raise InputError(f"a value of {column} is too long for the name of a folder: {shown}…; partition by another")
    return name


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def check_columns(columns: Sequence[str], schema: pa.Schema) -> None:
    """Make sure that the columns are there and can name folders.

    Raises:
        InputError: one cannot.
    """
    for name in columns:
        if name not in schema.names:
            raise InputError(f"partition_by: the rows have no column {name!r}")
        if not _COLUMN.fullmatch(name):
            # Readers do not decode names as they do values, and pass over folders that begin with _ or a dot.
            raise InputError(
                f"partition_by: {name!r} cannot name folders; rename it to letters, digits, spaces, -, _ and dots, "
                "with a letter or digit first"
            )
        if not _is_allowed(schema.field(name).type):
            raise InputError(
                f"partition_by: {name!r} is {schema.field(name).type}; texts, whole numbers, booleans and dates can "
                "name folders. Make one of it with a derive step"
            )
    if columns and set(schema.names) == set(columns):
        raise InputError("partition_by: no column would be left for the files")


def _is_allowed(kind: Any) -> bool:
    from pyarrow import types

    if types.is_dictionary(kind):
        return _is_allowed(kind.value_type)
    tests = (types.is_string, types.is_large_string, types.is_integer, types.is_boolean, types.is_date, types.is_null)
    return any(test(kind) for test in tests)
