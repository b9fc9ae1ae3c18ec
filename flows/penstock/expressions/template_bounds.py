"""Bounds on what one operation of a template may make, looked at before it is made."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from penstock.errors import ExpressionError
from penstock.expressions.template_rules import LONGEST_TEXT, MOST_BITS, MOST_LOOPS, MOST_VALUES

_PADDED = {"center", "ljust", "rjust", "zfill"}
_NARROW = {"round": 30, "tojson": 16, "batch": MOST_LOOPS, "indent": 1000, "truncate": LONGEST_TEXT, "int": 36}
"""The largest number that these filters take as an argument."""
_SLOW = {"striptags": 100_000, "wordwrap": 100_000}
"""Filters whose time grows with the square of their text, with its longest length."""
_WIDTH = re.compile(r"%[^a-zA-Z%]*(?:\*|\d{5,})")


def too_long() -> ExpressionError:
    """The error of a text that would grow too long."""
    return ExpressionError(f"a text in the template grows longer than {LONGEST_TEXT:,} characters")


def checked_size(value: Any) -> Any:
    """`value`, when it is not too large.

    Raises:
        ExpressionError: a text, number, list or mapping over the bounds.
    """
    if isinstance(value, str):
        if len(value) > LONGEST_TEXT:
            raise too_long()
    elif isinstance(value, int):
        if value.bit_length() > MOST_BITS:
            raise ExpressionError("a number in the template grows too large")
    elif isinstance(value, range) and len(value) > MOST_LOOPS:
        raise ExpressionError(f"a range in the template has more than {MOST_LOOPS:,} numbers")
    elif isinstance(value, list | tuple | dict):
        _check_collection(value)
    return value


def checked_operation(operator: str, left: Any, right: Any) -> None:
    """Look at the operands of an arithmetical operation.

    Raises:
        ExpressionError: its result would be too large.
    """
    if operator == "*":
        _check_product(left, right)
    elif operator == "**" and isinstance(left, int) and isinstance(right, int):
        if left.bit_length() * max(0, right) > MOST_BITS:
            raise ExpressionError("a number in the template grows too large")
    elif operator == "%" and isinstance(left, str):
        _check_format(left, right if isinstance(right, tuple) else (right,))
    elif operator == "+" and isinstance(left, str) and isinstance(right, str) and len(left) + len(right) > LONGEST_TEXT:
        raise too_long()


def checked_arguments(name: str, value: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Look at the arguments of a filter or method called `name` on `value`.

    Raises:
        ExpressionError: its result would be too large, or take too long.
    """
    given = (*args, *kwargs.values())
    for argument in given:
        checked_size(argument)
    numbers = [abs(argument) for argument in given if isinstance(argument, int)]
    bound = LONGEST_TEXT if name in _PADDED else _NARROW.get(name)
    if bound is not None and any(number > bound for number in numbers):
        raise ExpressionError(f"{name}: {max(numbers):,} is too large a number")
    if name in _SLOW and isinstance(value, str) and len(value) > _SLOW[name]:
        raise ExpressionError(f"{name} takes texts of at most {_SLOW[name]:,} characters")
    texts = [argument for argument in given if isinstance(argument, str)]
    if name == "replace" and isinstance(value, str) and len(texts) >= 2:
        _check_replace(value, texts[0], texts[1])
    elif name == "join":
        _check_join(value, given)
    elif name == "indent" and isinstance(value, str):
        widest = max([*(len(text) for text in texts), *numbers, 4])
        if len(value) + widest * (value.count("\n") + 1) > LONGEST_TEXT:
            raise too_long()
    elif name == "wordwrap" and any(len(text) > 10 for text in texts):
        raise ExpressionError("wordwrap: the text between lines may have at most 10 characters")
    elif name == "format" and isinstance(value, str):
        _check_format(value, given)


def _check_product(left: Any, right: Any) -> None:
    if isinstance(left, int) and isinstance(right, int):
        if left.bit_length() + right.bit_length() > MOST_BITS:
            raise ExpressionError("a number in the template grows too large")
        return
    for many, times in ((left, right), (right, left)):
        if isinstance(times, int) and isinstance(many, str) and len(many) * times > LONGEST_TEXT:
            raise too_long()
        if isinstance(times, int) and isinstance(many, list | tuple) and len(many) * times > MOST_VALUES:
            raise ExpressionError(f"a list in the template grows over {MOST_VALUES:,} values")


def _check_replace(value: str, old: str, new: str) -> None:
    if len(value) + value.count(old) * len(new) > LONGEST_TEXT:
        raise too_long()


def _check_join(value: Any, given: tuple[Any, ...]) -> None:
    if isinstance(value, str) and given and isinstance(given[0], list | tuple):
        # The method: the separator is what it is called on.
        separator, values = value, given[0]
    else:
        separator, values = next((text for text in given if isinstance(text, str)), ""), value
    if isinstance(values, str | list | tuple | dict):
        length = len(separator) * len(values)
        if not isinstance(values, str):
            length += sum(len(item) for item in values if isinstance(item, str))
        if length > LONGEST_TEXT:
            raise too_long()
    elif len(separator) > 1000:
        raise ExpressionError("join: the text between values may have at most 1,000 characters")


def _check_format(text: str, values: tuple[Any, ...]) -> None:
    if _WIDTH.search(text):
        raise ExpressionError("a width in a %-format must have at most four digits")
    length = len(text) + text.count("%") * 10_000
    length += text.count("%") * max((len(value) for value in values if isinstance(value, str)), default=0)
    if length > LONGEST_TEXT * 2:
        raise too_long()


def _check_collection(value: Any) -> None:
    """Count the values inside; lists of lists of the same list are counted as often as they would be printed."""
    count = 0
    length = 0
    left: list[Any] = [value]
    while left:
        here = left.pop()
        if isinstance(here, dict):
            inner: list[Any] = [*here.keys(), *here.values()]
        elif isinstance(here, list | tuple):
            inner = list(here)
        else:
            continue
        count += len(inner)
        for item in inner:
            if isinstance(item, str):
                length += len(item)
            elif isinstance(item, list | tuple | dict):
                left.append(item)
        if count > MOST_VALUES or length > 4 * LONGEST_TEXT:
            raise ExpressionError(f"a list in the template grows over {MOST_VALUES:,} values or too much text")
