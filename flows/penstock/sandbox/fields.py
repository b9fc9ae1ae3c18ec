"""Reading the fields of a JSON body, with the service's wording for what is wrong with them.

Each function returns None for a field that is absent or null, and raises `ApiError` (400) with `param` and `code`.
`at` is the path before the field's name, for example ``messages[0].``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from penstock.sandbox import errors
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
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise errors.wrong_type(at + name, "a string", value)
    if most is not None and len(value) > most:
        raise ApiError(
            400,
            f"Invalid '{at}{name}': string too long. Expected a string with maximum length {most}, but got a string "
            f"with length {len(value)} instead.",
            param=at + name,
            code="string_above_max_length",
        )
    return value


def read_number(body: Body, name: str, low: float, high: float, at: str = "") -> float | None:
    """A number within `low` and `high`."""
    value = body.get(name)
    if value is None:
        return None
    if type(value) not in (int, float):
        raise errors.wrong_type(at + name, "a decimal", value)
    _check_range(at + name, "decimal", value, low, high)
    return float(value)


def read_integer(body: Body, name: str, low: int | None, high: int | None, at: str = "") -> int | None:
    """An integer within `low` and `high`."""
    value = body.get(name)
    if value is None:
        return None
    if type(value) is not int:
        raise errors.wrong_type(at + name, "an integer", value)
    _check_range(at + name, "integer", value, low, high)
    return value


def read_flag(body: Body, name: str, at: str = "") -> bool | None:
    """A boolean."""
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise errors.wrong_type(at + name, "a boolean", value)
    return value


def read_choice(body: Body, name: str, allowed: Collection[str], at: str = "") -> str | None:
    """One of the strings in `allowed`."""
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise errors.wrong_type(at + name, f"one of {list_values(allowed, 'or')}", value)
    if value not in allowed:
        raise ApiError(
            400,
            f"Invalid value: '{value}'. Supported values are: {list_values(allowed, 'and')}.",
            param=at + name,
            code="invalid_value",
        )
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


def read_metadata(body: Body, name: str = "metadata") -> dict[str, str] | None:
    """At most 16 pairs: keys of at most 64 characters, values of at most 512."""
    pairs = read_object(body, name)
    if pairs is None:
        return None
    if len(pairs) > 16:
        raise ApiError(
            400,
            f"Invalid '{name}': too many properties. Expected an object with at most 16 properties, but got an object "
            f"with {len(pairs)} properties instead.",
            param=name,
            code="object_above_max_properties",
        )
    for key in pairs:
        read_text({key: key}, key, f"{name}.", most=64)
        if read_text(pairs, key, f"{name}.", most=512) is None:
            raise errors.wrong_type(f"{name}.{key}", "a string", None)
    return pairs


def empty_array(param: str) -> ApiError:
    """400: an array without items."""
    return ApiError(
        400,
        f"Invalid '{param}': empty array. Expected an array with minimum length 1, but got an empty array instead.",
        param=param,
        code="empty_array",
    )


def list_values(values: Collection[str], word: str) -> str:
    """``'a', 'b', and 'c'``."""
    quoted = [f"'{value}'" for value in values]
    if len(quoted) <= 2:
        return f" {word} ".join(quoted)
    return f"{', '.join(quoted[:-1])}, {word} {quoted[-1]}"


def _check_range(param: str, kind: str, value: float, low: float | None, high: float | None) -> None:
    if low is not None and value < low:
        raise ApiError(
            400,
            f"Invalid '{param}': {kind} below minimum value. Expected a value >= {low}, but got {value} instead.",
            param=param,
            code=f"{kind}_below_min_value",
        )
    if high is not None and value > high:
        raise ApiError(
            400,
            f"Invalid '{param}': {kind} above maximum value. Expected a value <= {high}, but got {value} instead.",
            param=param,
            code=f"{kind}_above_max_value",
        )
