"""The `params:` key: typed inputs of a pipeline, with defaults, and values given on the command line."""

from __future__ import annotations

import datetime as dt
import math
import re
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from penstock.spec.scalars import plain_value

ParamType = Literal["string", "integer", "number", "boolean", "date"]
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_WORDS: dict[str, str] = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "date": "a date like 2026-01-31",
}


class Param(BaseModel):
    """One input of a pipeline. A plain value is short for its default: `since: 2026-01-01`."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    type: ParamType = Field(
        default="string", description="What values it takes; taken from the default if left out.", examples=["date"]
    )
    default: Any = Field(
        default=None,
        description="Its value when the command line gives none; without a default it must be given there (-p).",
        examples=["2026-01-01"],
    )
    description: str = Field(
        default="",
        description="What it is for, as shown in Prefect's form.",
        examples=["Only reviews from this day on."],
    )

    @property
    def required(self) -> bool:
        """Whether each run must give a value."""
        return self.default is None


def type_of(value: Any) -> ParamType:
    """The type that a default means."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "number"
    return "date" if isinstance(value, str) and _is_date(value) else "string"


def convert(value: Any, kind: ParamType) -> Any:
    """`value` as the parameter's type. Dates stay text, in the form 2026-01-31.

    Raises:
        ValueError: it is not of that type, with what is allowed.
    """
    read = plain_value(value) if isinstance(value, str) and kind not in {"string", "date"} else value
    match kind:
        case "string" if isinstance(read, str):
            return read
        case "date" if isinstance(read, str) and _is_date(read):
            return read
        case "boolean" if isinstance(read, bool):
            return read
        case "integer" if isinstance(read, int) and not isinstance(read, bool):
            return read
        case "number" if isinstance(read, int | float) and not isinstance(read, bool) and _finite(read):
            return read
    shown = repr(value) if len(repr(value)) <= 80 else "the value"
    raise ValueError(f"{shown} is not {_WORDS[kind]}")


def _finite(value: float) -> bool:
    return isinstance(value, int) or math.isfinite(value)


def _is_date(text: str) -> bool:
    if not _DATE.fullmatch(text):
        return False
    try:
        dt.date.fromisoformat(text)
    except ValueError:
        return False
    return True
