"""Reading the fields of a request's body, with the service's messages and codes for what is wrong with them.

A field may lie anywhere in the body: `at` is the path before its name, for example ``messages[0].``. Each function
gives None for a field that is absent or null, unless it says otherwise, and raises `ApiError` (400) with `param` and
`code`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeVar

from penstock.sandbox import errors
from penstock.sandbox.errors import ApiError

Body = Mapping[str, Any]
T = TypeVar("T")

MOST_METADATA = 16
_LONGEST_KEY = 64
_LONGEST_VALUE = 512


def refuse_unknown(body: Body, known: Collection[str], at: str = "") -> None:
    """Refuse fields that are not in `known`, in the words of the endpoints that came after 2023."""
    unknown = sorted(body.keys() - set(known))
    if unknown:
        name = at + unknown[0]
        raise ApiError(400, f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter")


def refuse_unknown_arguments(body: Body, known: Collection[str]) -> None:
    """Refuse fields that are not in `known`, in the words of the first endpoints: all at once, without a code."""
    unknown = sorted(body.keys() - set(known))
    if unknown:
        raise errors.unknown_arguments(unknown)


def required(body: Body, name: str, at: str = "") -> Any:
    """The field's value, which may be null but not absent."""
    if name not in body:
        raise errors.missing_parameter(at + name)
    return body[name]


def otherwise(value: T | None, default: T) -> T:
    """`value`, or `default` where nothing was sent (0 and "" were)."""
    return default if value is None else value


def read_text(body: Body, name: str, at: str = "", *, least: int = 0, most: int | None = None) -> str | None:
    """A string of `least` to `most` characters."""
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise errors.wrong_type(at + name, "a string", value)
    if len(value) < least:
        raise ApiError(
            400,
            f"Invalid '{at}{name}': empty string. Expected a string with minimum length {least}, but got an empty "
            "string instead.",
            param=at + name,
            code="empty_string",
        )
    if most is not None and len(value) > most:
        raise ApiError(
            400,
            f"Invalid '{at}{name}': string too long. Expected a string with maximum length {most}, but got a string "
            f"with length {len(value)} instead.",
            param=at + name,
            code="string_above_max_length",
        )
    return value


def require_text(body: Body, name: str, at: str = "", *, least: int = 1, most: int | None = None) -> str:
    """A string that must be there; not an empty one, unless `least` is 0."""
    required(body, name, at)
    value = read_text(body, name, at, least=least, most=most)
    if value is None:
        raise errors.wrong_type(at + name, "a string", None)
    return value


def read_number(body: Body, name: str, low: float, high: float, at: str = "") -> float | None:
    """A number within `low` and `high`."""
    value = body.get(name)
    if value is None:
        return None
    if type(value) not in (int, float):
        raise errors.wrong_type(at + name, "a decimal", value)
    within(at + name, value, low, high, "decimal")
    return float(value)


def read_integer(body: Body, name: str, low: int | None, high: int | None, at: str = "") -> int | None:
    """An integer within `low` and `high`."""
    value = body.get(name)
    if value is None:
        return None
    if type(value) is not int:
        raise errors.wrong_type(at + name, "an integer", value)
    least, most = -math.inf if low is None else low, math.inf if high is None else high
    within(at + name, value, least, most, "integer")
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
        raise errors.wrong_type(at + name, f"one of {quoted(allowed, 'or')}", value)
    if value not in allowed:
        raise unsupported_value(at + name, value, allowed)
    return value


def require_choice(body: Body, name: str, allowed: Sequence[str], at: str = "") -> str:
    """One of the strings in `allowed`, which must be there."""
    value = require_text(body, name, at)
    if value not in allowed:
        raise unsupported_value(at + name, value, allowed)
    return value


def read_object(body: Body, name: str, at: str = "") -> dict[str, Any] | None:
    """A JSON object."""
    value = body.get(name)
    if value is not None and not isinstance(value, dict):
        raise errors.wrong_type(at + name, "an object", value)
    return value


def read_array(body: Body, name: str, at: str = "", *, least: int = 1, most: int | None = None) -> list[Any] | None:
    """A JSON array with `least` (0 or 1) to `most` items."""
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, list):
        raise errors.wrong_type(at + name, "an array", value)
    if len(value) < least:
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


def read_objects(body: Body, name: str, at: str = "", *, most: int) -> list[dict[str, Any]]:
    """A JSON array of at most `most` objects; empty when it is absent."""
    value = read_array(body, name, at, least=0, most=most) or []
    for index, one in enumerate(value):
        if not isinstance(one, dict):
            raise errors.wrong_type(f"{at}{name}[{index}]", "an object", one)
    return value


def read_metadata(body: Body) -> dict[str, str]:
    """The field ``metadata``: up to 16 texts of 512 characters under keys of 64; empty when it is absent."""
    value = read_object(body, "metadata")
    if value is None:
        return {}
    if len(value) > MOST_METADATA:
        raise ApiError(
            400,
            f"Invalid 'metadata': too many properties. Expected an object with at most {MOST_METADATA} properties, "
            f"but got an object with {len(value)} properties instead.",
            param="metadata",
            code="object_above_max_properties",
        )
    for key in value:
        if len(key) > _LONGEST_KEY:
            raise ApiError(
                400,
                f"Invalid 'metadata': property name too long. Expected a property name with maximum length "
                f"{_LONGEST_KEY}, but got one with length {len(key)} instead.",
                param="metadata",
                code="property_name_above_max_length",
            )
        require_text(value, key, "metadata.", least=0, most=_LONGEST_VALUE)
    return value


def within(name: str, value: float, least: float, most: float, kind: str) -> None:
    """400 for a number below `least` or above `most`; `kind` is ``integer`` or ``decimal``."""
    if least <= value <= most:
        return
    low = not value > most  # also what is no number
    side, code, sign, bound = (
        ("below minimum", "below_min", ">=", least) if low else ("above maximum", "above_max", "<=", most)
    )
    raise ApiError(
        400,
        f"Invalid '{name}': {kind} {side} value. Expected a value {sign} {bound:g}, but got {_short(value)} instead.",
        param=name,
        code=f"{kind}_{code}_value",
    )


def unsupported_value(name: str, value: object, allowed: Sequence[str]) -> ApiError:
    """400: a text that is none of the few that are allowed."""
    return ApiError(
        400,
        f"Invalid value: '{_short(value)}'. Supported values are: {quoted(allowed, 'and')}.",
        param=name,
        code="invalid_value",
    )


def empty_array(param: str) -> ApiError:
    """400: an array without items."""
    return ApiError(
        400,
        f"Invalid '{param}': empty array. Expected an array with minimum length 1, but got an empty array instead.",
        param=param,
        code="empty_array",
    )


def quoted(words: Sequence[str], last: str) -> str:
    """``'a', 'b', and 'c'``, as the service lists words."""
    marked = [f"'{word}'" for word in words]
    if len(marked) < 3:
        return f" {last} ".join(marked)
    return ", ".join(marked[:-1]) + f", {last} {marked[-1]}"


def _short(value: object) -> str:
    # Python prints no whole numbers of more than 4,300 digits.
    shown = "a number of hundreds of digits" if isinstance(value, int) and value.bit_length() > 1000 else str(value)
    return shown if len(shown) <= 200 else shown[:200] + "…"
