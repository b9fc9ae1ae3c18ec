"""Scalars of YAML 1.2: what plain text means, and where each character of a value stands in the file."""

from __future__ import annotations

import re
from typing import Any

_NULLS = {"", "~", "null", "Null", "NULL"}
_BOOLS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER = re.compile(r"[-+]?[0-9][0-9_]*")
_OCTAL = re.compile(r"0o[0-7_]+")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F_]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?")
_SPECIAL = re.compile(r"([-+]?)\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_LONGEST_NUMBER = 400
_ESCAPE = re.compile(r"\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)", re.DOTALL)


def plain_value(text: str) -> Any:
    """What unquoted text means: null, a boolean, a number, or itself. Underscores in numbers are allowed."""
    if text in _NULLS:
        return None
    if text in _BOOLS:
        return _BOOLS[text]
    if len(text) > _LONGEST_NUMBER or text[0] not in "-+.0123456789":
        return text
    if _INTEGER.fullmatch(text):
        return int(text.replace("_", ""))
    if match := _SPECIAL.fullmatch(text):
        return float("nan") if match[3] else float(f"{match[1]}inf")
    if _FLOAT.fullmatch(text):
        return float(text.replace("_", ""))
    digits = text[2:].replace("_", "")
    if digits and _OCTAL.fullmatch(text):
        return int(digits, 8)
    if digits and _HEXADECIMAL.fullmatch(text):
        return int(digits, 16)
    return text


def align(text: str, start: int, end: int, value: str, style: str) -> list[int] | None:
    """For each character of `value` the offset in `text` that it comes from; None when that cannot be told.

    Folding turns a line break and its indentation into one space, blocks lose their indentation, and quoted text has
    escapes: the two are walked side by side, and where they differ, white space of the file is passed over.
    """
    here = start
    if style in {"|", ">"}:
        here = text.find("\n", start, end) + 1
    elif style in {"'", '"'}:
        here = start + 1
    places: list[int] = []
    for mark in value:
        here = _match(text, here, end, mark, style)
        if here < 0:
            return None
        places.append(here)
        here += _width(text, here, mark, style)
    return places


def _match(text: str, here: int, end: int, mark: str, style: str) -> int:
    """The offset, from `here` on, of the character that became `mark`; -1 when there is none."""
    place = here
    while place < end:
        found = text[place]
        if found == mark and not (style == '"' and found == "\\"):
            return place
        if style == '"' and found == "\\":
            if text[place + 1 : place + 2] in {"\n", "\r"}:
                place += 2
                continue
            return place
        if mark in " \n" and found in "\r\n":
            return place
        if found not in " \t\r\n":
            return -1
        place += 1
    # A block's last line break may be the end of the file.
    return end - 1 if mark == "\n" and end > 0 else -1


def _width(text: str, here: int, mark: str, style: str) -> int:
    if style == '"' and text[here] == "\\":
        escape = _ESCAPE.match(text, here)
        return len(escape[0]) if escape else 1
    return 2 if style == "'" and mark == "'" else 1
