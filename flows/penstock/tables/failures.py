"""The errors table: one row per failed row, with its key, its place in the source, and the cause."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.items import Cause

if TYPE_CHECKING:
    import polars as pl

LONGEST_TEXT = 2000
"""Characters of a row's input that the errors table keeps."""


@dataclass(frozen=True, slots=True)
class RowError:
    """One failed row.

    Attributes:
        number: its place in the partition as the segment read it; -1 for rows that could not be read at all.
        step: the step that failed, or ``source``.
        text: the beginning of what was to be sent, or of the source's line.
        asked: the digest of what was asked, where a request failed; for the next run, and not for people.
    """

    number: int
    step: str
    cause: Cause
    message: str
    keys: dict[str, Any] = field(default_factory=dict)
    status: int | None = None
    code: str | None = None
    attempts: int = 0
    request_id: str | None = None
    usd: float | None = None
    file: str | None = None
    line: int | None = None
    text: str | None = None
    asked: bytes | None = None


_OWN_COLUMNS = frozenset(
    [
        "partition", "number", "step", "cause", "message", "status", "code", "attempts", "request_id", "usd", "file",
        "line", "text", "asked",
    ]
)  # fmt: skip


def key_column(name: str) -> str:
    """The errors table's name for a key column: its own, unless the table has another column of that name."""
    return f"key_{name}" if name in _OWN_COLUMNS else name


def error_schema(keys: dict[str, pl.DataType]) -> dict[str, pl.DataType]:
    """The columns of an errors table: the key columns first."""
    import polars as pl

    return {
        **{key_column(name): kind for name, kind in keys.items()},
        "partition": pl.Int64(),
        "number": pl.Int64(),
        "step": pl.String(),
        "cause": pl.String(),
        "message": pl.String(),
        "status": pl.Int64(),
        "code": pl.String(),
        "attempts": pl.Int64(),
        "request_id": pl.String(),
        "usd": pl.Float64(),
        "file": pl.String(),
        "line": pl.Int64(),
        "text": pl.String(),
        "asked": pl.Binary(),
    }


def error_frame(errors: Sequence[RowError], keys: dict[str, pl.DataType], partition: int) -> pl.DataFrame:
    """The errors as a table, in the order of their rows.

    Args:
        keys: the key columns, with their types where the segment ends. A step on the way may have changed the type of
            one, and rows that failed before it have the earlier one: such a column is text here.
    """
    import polars as pl

    names = [name for name in error_schema({}) if name not in {"partition", "cause", "text"}]
    ordered = sorted(errors, key=lambda error: (error.number, error.line or 0))
    rows = [
        {
            **{name: getattr(error, name) for name in names},
            "partition": partition,
            "cause": str(error.cause),
            "text": None if error.text is None else error.text[:LONGEST_TEXT],
        }
        for error in ordered
    ]
    named = [_key_values([error.keys.get(name) for error in ordered], name, kind) for name, kind in keys.items()]
    return pl.DataFrame([*named, *pl.DataFrame(rows, schema=error_schema({}))])


def _key_values(values: Sequence[Any], name: str, kind: pl.DataType) -> pl.Series:
    import polars as pl

    try:
        return pl.Series(key_column(name), values, dtype=kind, strict=True)
    except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError):
        texts = [None if value is None else str(value) for value in values]
        return pl.Series(key_column(name), texts, dtype=pl.String)


def read_errors(paths: Sequence[Path], more: Sequence[pl.DataFrame] = ()) -> pl.DataFrame | None:
    """All error rows of some parts as one table for people, and further ones; None when there is none.

    A key column that has one type in some parts and another in others is text.
    """
    import polars as pl

    found = [pl.read_parquet(path, glob=False) for path in paths if path.exists()] + list(more)
    if not found:
        return None
    kinds: dict[str, set[pl.DataType]] = {}
    for frame in found:
        for name, kind in frame.schema.items():
            kinds.setdefault(name, set()).add(kind)
    several = {name: pl.String() for name, seen in kinds.items() if len(seen) > 1}
    tables = [frame.cast({name: kind for name, kind in several.items() if name in frame.columns}) for frame in found]
    return pl.concat(tables, how="diagonal").drop("asked")
