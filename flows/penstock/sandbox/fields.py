"""Reading the fields of a JSON body, with the service's wording for what is wrong with them.

What `checks` has is taken from there; here a field may lie anywhere in the body: `at` is the path before its name, for
example ``messages[0].``. Each function returns None for a field that is absent or null, and raises `ApiError` (400)
with `param` and `code`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from penstock.sandbox import checks, errors
from penstock.sandbox.errors import ApiError

Body = Mapping[str, Any]


def refuse_unknown(body: Body, known: Collection[str], at: str = "") -> None:
    """Refuse fields that are not in `known`."""
    unknown = sorted(body.keys() - set(known))
    if not unknown:
        return
    if not at:
        raise errors.unknown_arguments(unknown)
    name = at + unknown[0]
    raise ApiError(400, f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter")


def required(body: Body, name: str, at: str = "") -> Any:
    """The field's value, which may be null but not absent."""
    if name not in body:
        raise errors.missing_parameter(at + name)
    return body[name]


def read_text(body: Body, name: str, at: str = "", *, most: int | None = None) -> str | None:
    """A string of at most `most` characters."""
    return checks.text(body, name, most=most, path=at + name)


def read_number(body: Body, name: str, low: float, high: float, at: str = "") -> float | None:
    """A number within `low` and `high`."""
    value = body.get(name)
    if value is None:
        return None
    if type(value) not in (int, float):
        raise errors.wrong_type(at + name, "a decimal", value)
    checks.within(at + name, value, low, high, "decimal")
    return float(value)


def read_integer(body: Body, name: str, low: int | None, high: int | None, at: str = "") -> int | None:
    """An integer within `low` and `high`."""
    value = body.get(name)
    if value is None:
        return None
    if type(value) is not int:
        raise errors.wrong_type(at + name, "an integer", value)
    least, most = -math.inf if low is None else low, math.inf if high is None else high
    checks.within(at + name, value, least, most, "integer")
    return value


def read_flag(body: Body, name: str, at: str = "") -> bool | None:
    """A boolean."""
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise errors.wrong_type(at + name, "a boolean", value)
    return value


def read_choice(body: Body, name: str, allowed: Sequence[str], at: str = "") -> str | None:
    """One of the strings in `allowed`."""
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise errors.wrong_type(at + name, f"one of {checks.quoted(allowed, 'or')}", value)
    if value not in allowed:
        raise checks.unsupported_value(at + name, value, allowed)
    return value


def read_object(body: Body, name: str, at: str = "") -> dict[str, Any] | None:
    """A JSON object."""
    value = body.get(name)
    if value is not None and not isinstance(value, dict):
        raise errors.wrong_type(at + name, "an object", value)
    return value


def read_array(body: Body, name: str, at: str = "", *, most: int | None = None) -> list[Any] | None:
    """A JSON array with 1 to `most` items."""
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, list):
        raise errors.wrong_type(at + name, "an array", value)
    if not value:
        raise empty_array(at + name)
    if most is not None and len(value) > most:
        raise ApiError(
            400,
            f"Invalid '{at}{name}': array too long. Expected an array with maximum length {most}, but got an array "
            f"with length {len(value)} instead.",
            param=at + name,
            code="array_above_max_length",
        )
    return value


def empty_array(param: str) -> ApiError:
    """400: an array without items."""
    return ApiError(
        400,
        f"Invalid '{param}': empty array. Expected an array with minimum length 1, but got an empty array instead.",
        param=param,
        code="empty_array",
    )
