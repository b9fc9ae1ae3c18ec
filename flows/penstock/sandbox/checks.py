"""Checks of a request's fields, with the messages and codes of the service.

Each takes the body and a field's name, and gives the field's value, or a default when it is missing or null. Fields of
objects inside the body are named by their path, for example ``tools[0].type``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from penstock.sandbox import errors
from penstock.sandbox.errors import ApiError

MOST_METADATA = 16
_LONGEST_KEY = 64
_LONGEST_VALUE = 512


def known_only(body: Mapping[str, Any], names: Collection[str], inside: str = "") -> None:
    """400 for fields that the endpoint, or the object `inside`, does not have."""
    for name in body:
        if name not in names:
            path = f"{inside}.{name}" if inside else name
            raise ApiError(400, f"Unknown parameter: '{path}'.", param=path, code="unknown_parameter")


def text(
    body: Mapping[str, Any],
    name: str,
    *,
    least: int = 0,
    most: int | None = None,
    required: bool = False,
    path: str = "",
) -> str | None:
    """A text; `least` and `most` are characters."""
    path = path or name
    if name not in body and required:
        raise errors.missing_parameter(path)
    value = body.get(name)
    if value is None and not required:
        return None
    if not isinstance(value, str):
        raise errors.wrong_type(path, "a string", value)
    if len(value) < least:
        raise ApiError(
            400,
            f"Invalid '{path}': empty string. Expected a string with minimum length {least}, but got an empty string "
            "instead.",
            param=path,
            code="empty_string",
        )
    if most is not None and len(value) > most:
        raise ApiError(
            400,
            f"Invalid '{path}': string too long. Expected a string with maximum length {most}, but got a string with "
            f"length {len(value)} instead.",
            param=path,
            code="string_above_max_length",
        )
    return value


def required_text(body: Mapping[str, Any], name: str, *, most: int | None = None, path: str = "") -> str:
    """A text that must be there and must not be empty."""
    return text(body, name, least=1, most=most, required=True, path=path) or ""


def choice(body: Mapping[str, Any], name: str, allowed: Sequence[str], default: str) -> str:
    """One of a few words."""
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, str):
        raise errors.wrong_type(name, f"one of {quoted(allowed, 'or')}", value)
    if value not in allowed:
        raise unsupported_value(name, value, allowed)
    return value


def integer(body: Mapping[str, Any], name: str, *, least: int, most: int, default: int) -> int:
    """A whole number within bounds."""
    value = body.get(name)
    if value is None:
        return default
    if type(value) is not int:
        raise errors.wrong_type(name, "an integer", value)
    within(name, value, least, most, "integer")
    return value


def number(body: Mapping[str, Any], name: str, *, least: float, most: float, default: float) -> float:
    """A number within bounds."""
    value = body.get(name)
    if value is None:
        return default
    if type(value) not in (int, float):
        raise errors.wrong_type(name, "a decimal", value)
    within(name, value, least, most, "decimal")
    return float(value)


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


def boolean(body: Mapping[str, Any], name: str, *, default: bool) -> bool:
    """True or false."""
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise errors.wrong_type(name, "a boolean", value)
    return value


def array(body: Mapping[str, Any], name: str, *, most: int) -> list[Any]:
    """A list; empty when it is missing."""
    value = body.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise errors.wrong_type(name, "an array", value)
    if len(value) > most:
        raise ApiError(
            400,
            f"Invalid '{name}': array too long. Expected an array with maximum length {most}, but got an array with "
            f"length {len(value)} instead.",
            param=name,
            code="array_above_max_length",
        )
    return value


def metadata(body: Mapping[str, Any]) -> dict[str, str]:
    """The field ``metadata``: up to 16 texts of 512 characters under keys of 64."""
    value = body.get("metadata")
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise errors.wrong_type("metadata", "an object", value)
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
        text(value, key, most=_LONGEST_VALUE, required=True, path=f"metadata.{key}")
    return value


def unsupported_value(name: str, value: object, allowed: Sequence[str]) -> ApiError:
    """400: a text that is none of the few that are allowed."""
    return ApiError(
        400,
        f"Invalid value: '{_short(value)}'. Supported values are: {quoted(allowed, 'and')}.",
        param=name,
        code="invalid_value",
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
