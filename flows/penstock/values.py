"""What people write in a pipeline: ``120s``, ``25MB``, ``2_000_000``, ``5%``, paths, types and names of columns.

Each kind of number is a function that parses (and raises `ValueError` with the allowed forms) and an annotated type for
pydantic fields, so that the loader, the JSON Schema and the reference page agree on what may be written.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from fractions import Fraction
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, WithJsonSchema

if TYPE_CHECKING:
    import polars as pl

TypeWord = Literal["string", "integer", "number", "boolean", "date", "datetime"]
"""The type of a column."""
AnyTypeWord = Literal[TypeWord, "list of string", "list of integer", "list of number"]
"""The type of a column, which may be one of lists."""

# ASCII: a long s (U+017F) is no second.
_FLAGS = re.IGNORECASE | re.ASCII
_NUMBER = r"[0-9][0-9_]*(?:\.[0-9]+)?"
_DURATION_PART = re.compile(rf"({_NUMBER})\s*(ms|s|m|h|d)", _FLAGS)
_DURATION = re.compile(rf"(?:{_NUMBER}\s*(?:ms|s|m|h|d)\s*)+", _FLAGS)
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(rf"({_NUMBER})\s*((?:[kmgt]i?)?b?)", _FLAGS)
_BYTES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_COUNT = re.compile(rf"({_NUMBER})\s*([kmb]?)", _FLAGS)
_TIMES = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9}
_SHARE = re.compile(rf"({_NUMBER})\s*(%?)")
_LONGEST_TEXT = 60
_LONGEST_DURATION = 3650 * 86400.0
_LARGEST = 10**18


def parse_duration(value: object) -> float:
    """Seconds: ``90`` and ``90s`` and ``1m30s`` are the same; ``200ms``, ``2h``, ``1d`` too.

    Raises:
        ValueError: it is none, or longer than ten years.
    """
    seconds: float | None = None
    if (number := _number(value)) is not None:
        seconds = number
    elif (text := _text(value)) is not None:
        if re.fullmatch(_NUMBER, text):
            seconds = _as_float(text)
        elif _DURATION.fullmatch(text):
            parts = _DURATION_PART.findall(text)
            seconds = sum(_as_float(amount) * _SECONDS[unit.lower()] for amount, unit in parts)
    if seconds is None:
        raise ValueError(f"{_shown(value)} is not a duration; write it like 30s, 200ms, 15m, 1h30m or 2d")
    if seconds > _LONGEST_DURATION:
        raise ValueError(f"{_shown(value)} is too long; a duration is at most ten years (3650d)")
    return seconds


def parse_size(value: object) -> int:
    """Bytes: ``25MB`` is 25,000,000 and ``25MiB`` is 26,214,400.

    Raises:
        ValueError: it is no size, or no whole number of bytes.
    """
    size: Fraction | None = None
    if (number := _number(value)) is not None:
        size = Fraction(number)
    elif (text := _text(value)) is not None and (match := _SIZE.fullmatch(text)):
        size = Fraction(match[1].replace("_", "")) * _BYTES[match[2].lower().removesuffix("b")]
    return _whole(value, size, "a size", "25MB, 512KiB or 2_000_000 (bytes)")


def parse_count(value: object) -> int:
    """A whole number: ``2_000_000``, ``50M`` and ``200k``.

    Raises:
        ValueError: it is none.
    """
    count: Fraction | None = None
    if (number := _number(value)) is not None:
        count = Fraction(number)
    elif (text := _text(value)) is not None and (match := _COUNT.fullmatch(text)):
        count = Fraction(match[1].replace("_", "")) * _TIMES[match[2].lower()]
    return _whole(value, count, "a whole number", "5000, 2_000_000, 200k or 50M")


def parse_share(value: object) -> float:
    """A share from 0 to 1: ``5%`` and ``0.05`` are the same.

    Raises:
        ValueError: it is none.
    """
    share = _number(value)
    if share is None and (text := _text(value)) is not None and (match := _SHARE.fullmatch(text)):
        share = _as_float(match[1]) / (100 if match[2] else 1)
    if share is None or share > 1:
        raise ValueError(f"{_shown(value)} is not a share; write it like 5% or 0.05 (from 0 to 1)")
    return share


def format_duration(seconds: float) -> str:
    """Seconds as a person reads them: ``0.4s``, ``12s``, ``3m20s``, ``2h05m``."""
    if seconds < 10:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"


def format_size(size: float) -> str:
    """Bytes as a person reads them: ``512 B``, ``3.4 MB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def format_usd(usd: float | None) -> str:
    """Dollars as a person reads them; ``unknown`` for an unknown price, which is never 0."""
    if usd is None:
        return "unknown"
    if 0 < usd < 0.000001:
        return "under $0.000001"
    return f"${usd:.2f}" if usd >= 1 or usd == 0 else f"${usd:.6f}".rstrip("0").rstrip(".")


def _number(value: object) -> float | None:
    """A number that was written as one; None for anything else.

    Raises:
        ValueError: it is negative, or too large for any use.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not 0 <= value <= _LARGEST:
        raise ValueError(f"{_shown(value)} is not allowed: it must be 0 or more, and finite")
    return value


def _text(value: object) -> str | None:
    return value.strip() if isinstance(value, str) and len(value) <= _LONGEST_TEXT else None


def _as_float(number: str) -> float:
    return float(number.replace("_", ""))


def _whole(value: object, number: Fraction | None, what: str, forms: str) -> int:
    if number is None or number.denominator != 1:
        raise ValueError(f"{_shown(value)} is not {what}; write it like {forms}")
    if number > _LARGEST:
        raise ValueError(f"{_shown(value)} is too large")
    return int(number)


def _shown(value: object) -> str:
    if isinstance(value, int) and abs(value) > _LARGEST:
        return "the number"
    shown = repr(value)
    return shown if len(shown) <= _LONGEST_TEXT + 2 else f"{shown[:_LONGEST_TEXT]}…"


def _schema(examples: list[str | int | float], pattern: str) -> WithJsonSchema:
    return WithJsonSchema(
        {"anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": pattern}], "examples": examples}
    )


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    _schema(
        ["30s", "15m", "1h30m"], r"^\s*[0-9][0-9_]*(\.[0-9]+)?\s*((ms|s|m|h|d)\s*([0-9][0-9_.]*\s*(ms|s|m|h|d)\s*)*)?$"
    ),
]
Size = Annotated[
    int, BeforeValidator(parse_size), _schema(["25MB", "512KiB"], r"^\s*[0-9][0-9_.]*\s*([kKmMgGtT][iI]?)?[bB]?\s*$")
]
Count = Annotated[
    int, BeforeValidator(parse_count), _schema([5000, "2_000_000", "50M"], r"^\s*[0-9][0-9_.]*\s*[kKmMbB]?\s*$")
]
Share = Annotated[float, BeforeValidator(parse_share), _schema(["5%", 0.05], r"^\s*[0-9][0-9_.]*\s*%?\s*$")]


def names_in(columns: str | Iterable[str] | None) -> list[str]:
    """The names of a field that takes one column, several or none."""
    return [columns] if isinstance(columns, str) else list(columns or ())


def without_nulls(value: Any) -> Any:
    """A value as of JSON, without fields that are null: a struct of Arrow has all fields of its column."""
    if isinstance(value, dict):
        return {name: without_nulls(inner) for name, inner in value.items() if inner is not None}
    return [without_nulls(inner) for inner in value] if isinstance(value, list) else value


def polars_type(word: AnyTypeWord) -> pl.DataType:
    """The polars type that a word means."""
    import polars as pl

    kinds: dict[str, pl.DataType] = {
        "string": pl.String(),
        "integer": pl.Int64(),
        "number": pl.Float64(),
        "boolean": pl.Boolean(),
        "date": pl.Date(),
        "datetime": pl.Datetime("us"),
    }
    inner = word.removeprefix("list of ")
    return kinds[inner] if inner == word else pl.List(kinds[inner])


class PathField:
    """Marks a field that holds a path or glob; the loader makes it absolute from the pipeline file's folder."""

    def __repr__(self) -> str:
        return "PathField()"


FilePath = Annotated[str, PathField()]


class UriField:
    """Marks a field that holds a database's address; the loader makes the file of ``sqlite:///`` absolute."""

    def __repr__(self) -> str:
        return "UriField()"


DatabaseUri = Annotated[str, UriField()]
