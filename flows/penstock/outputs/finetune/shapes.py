"""Lines to objects, as fast as can be: plain chat lines by their type, others as JSON, faulty ones exactly.

msgspec takes the last of two equal keys without a word. They are found by counting the quotes that begin and end keys
and texts: a line has as many as what was read from it needs; where it has more, the exact reader tells why.
"""

from __future__ import annotations

import json
import re
from typing import Any, Literal

import msgspec

from penstock.outputs.finetune.faults import Problem

_SURROGATE = re.compile("[\ud800-\udfff]")


class PlainMessage(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A message of text and nothing else."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str


class PlainExample(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A chat line of such messages."""

    messages: list[PlainMessage]


_plain = msgspec.json.Decoder(PlainExample).decode
_any = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


def plain_example(line: bytes) -> list[PlainMessage] | None:
    """The messages of a line in which nothing can be wrong; None for all others, which `read_object` reads."""
    if b"<" in line and b"<|" in line:
        return None
    try:
        messages = _plain(line).messages
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not messages or messages[-1].role != "assistant" or quotes(line) != 2 + 8 * len(messages):
        return None
    for message in messages:
        if not message.content or message.content.isspace():
            return None
    return messages


def read_object(line: bytes, number: int) -> tuple[Any, list[Problem]]:
    """What a line holds, and what is wrong with it as JSON; without an object when it is none at all."""
    try:
        value = _any(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _read_exactly(line, number)
    if quotes(line) == quotes(canonical(value)):
        return value, []
    return _read_exactly(line, number)


def canonical(value: Any) -> bytes:
    """A JSON value in one form, whatever stands in it: whole numbers of any size, halves of surrogate pairs."""
    try:
        return _encode(value)
    except (OverflowError, UnicodeEncodeError):
        return json.dumps(value, separators=(",", ":")).encode()


def quotes(line: bytes) -> int:
    """Quotes that begin or end a text or key: all but those behind a backslash."""
    if b"\\" not in line:
        return line.count(b'"')
    line = line.replace(b"\\\\", b"")
    return line.count(b'"') - line.count(b'\\"')


def _read_exactly(line: bytes, number: int) -> tuple[Any, list[Problem]]:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        return None, [Problem("not_utf8", number, f"byte {error.start + 1} is not UTF-8; save the file as UTF-8")]
    twice: list[str] = []

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(found)
        if len(made) < len(found):
            seen: set[str] = set()
            twice.extend(key for key, _ in found if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        return made

    try:
        value = json.loads(text, object_pairs_hook=pairs, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        return None, [Problem("not_json", number, _why(text, error))]
    problems = [Problem("duplicate_key", number, f"the key {key!r} stands twice in one object") for key in twice]
    if "\\u" in text and _SURROGATE.search(json.dumps(value, ensure_ascii=False)):
        problems.append(Problem("bad_text", number, "a \\ud800 to \\udfff without its other half is no character"))
    return value, problems


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _why(text: str, error: Exception) -> str:
    start = text.strip()
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if start in ("{", "[", "[{", "}", "]", "},"):
        return f"only {start!r} stands here: an example must stand on one line, without a list around all of them"
    if start.startswith("{'"):
        return "names and texts stand in ' instead of \": write the lines with a JSON library"
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at character {error.colno}"
    return str(error)
