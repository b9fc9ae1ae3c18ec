"""Durations, sizes, counts and shares as people write them: ``120s``, ``25MB``, ``2_000_000``, ``5%``.

Each kind is a function that parses (and raises `ValueError` with the allowed forms) and an annotated type for
pydantic fields, so that the loader, the JSON Schema and the reference page agree on what may be written.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema

_NUMBER = r"\d[\d_]*(?:\.\d+)?"
_DURATION_PART = re.compile(rf"({_NUMBER})\s*(ms|s|m|h|d)", re.IGNORECASE)
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(rf"({_NUMBER})\s*([kmgt]?i?b?)", re.IGNORECASE)
_BYTES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_COUNT = re.compile(rf"({_NUMBER})\s*([kmb]?)", re.IGNORECASE)
_TIMES = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9}


def parse_duration(value: object) -> float:
    """Seconds: ``90`` and ``90s`` and ``1m30s`` are the same; ``200ms``, ``2h``, ``1d`` too."""
    if _is_number(value):
        return _not_negative(float(value))  # type: ignore[arg-type]  # narrowed by _is_number
    if isinstance(value, str):
        text = value.strip()
        if re.fullmatch(_NUMBER, text):
            return float(text.replace("_", ""))
        if re.fullmatch(rf"(?:{_DURATION_PART.pattern}\s*)+", text, re.IGNORECASE):
            parts = _DURATION_PART.findall(text)
            return sum(float(number.replace("_", "")) * _SECONDS[unit.lower()] for number, unit in parts)
    raise ValueError(f"{value!r} is not a duration; write it like 30s, 200ms, 15m, 1h30m or 2d")


def parse_size(value: object) -> int:
    """Bytes: ``25MB`` is 25,000,000 and ``25MiB`` is 26,214,400."""
    if _is_number(value):
        return int(_not_negative(float(value)))  # type: ignore[arg-type]  # narrowed by _is_number
    if isinstance(value, str) and (match := _SIZE.fullmatch(value.strip())):
        unit = match[2].lower().removesuffix("b")
        return int(float(match[1].replace("_", "")) * _BYTES[unit])
    raise ValueError(f"{value!r} is not a size; write it like 25MB, 512KiB or 2_000_000 (bytes)")


def parse_count(value: object) -> int:
    """A whole number: ``2_000_000``, ``50M`` and ``200k``."""
    if _is_number(value) and float(value) == int(value):  # type: ignore[call-overload,arg-type]  # narrowed
        return int(_not_negative(float(value)))  # type: ignore[arg-type]  # narrowed by _is_number
    if isinstance(value, str) and (match := _COUNT.fullmatch(value.strip())):
        count = float(match[1].replace("_", "")) * _TIMES[match[2].lower()]
        if count == int(count):
            return int(count)
    raise ValueError(f"{value!r} is not a whole number; write it like 5000, 2_000_000, 200k or 50M")


def parse_share(value: object) -> float:
    """A share from 0 to 1: ``5%`` and ``0.05`` are the same."""
    share: float | None = None
    if _is_number(value):
        share = float(value)  # type: ignore[arg-type]  # narrowed by _is_number
    elif isinstance(value, str) and (match := re.fullmatch(rf"({_NUMBER})\s*(%?)", value.strip())):
        share = float(match[1].replace("_", "")) / (100 if match[2] else 1)
    if share is None or not 0 <= share <= 1:
        raise ValueError(f"{value!r} is not a share; write it like 5% or 0.05 (from 0 to 1)")
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


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _not_negative(value: float) -> float:
    if not 0 <= value < float("inf"):
        raise ValueError(f"{value} is not allowed: it must be 0 or more, and finite")
    return value


def _schema(examples: list[str | int | float], pattern: str) -> WithJsonSchema:
    return WithJsonSchema(
        {"anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": pattern}], "examples": examples}
    )


Duration = Annotated[
    float, BeforeValidator(parse_duration), _schema(["30s", "15m", "1h30m"], r"^\s*\d[\d_.]*\s*(ms|s|m|h|d)?")
]
Size = Annotated[int, BeforeValidator(parse_size), _schema(["25MB", "512KiB"], r"^\s*\d[\d_.]*\s*[kKmMgGtT]?i?[bB]?$")]
Count = Annotated[int, BeforeValidator(parse_count), _schema([5000, "2_000_000", "50M"], r"^\s*\d[\d_.]*\s*[kKmMbB]?$")]
Share = Annotated[float, BeforeValidator(parse_share), _schema(["5%", 0.05], r"^\s*\d[\d_.]*\s*%?$")]


class PathField:
    """Marks a field that holds a path or glob; the loader makes it absolute from the pipeline file's folder."""

    def __repr__(self) -> str:
        return "PathField()"


FilePath = Annotated[str, PathField()]
