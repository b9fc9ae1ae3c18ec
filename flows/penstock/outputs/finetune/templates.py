"""From a row to the messages that it says in an example."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from penstock.errors import ExpressionError
from penstock.expressions import renderer
from penstock.items import Cause, Fault
from penstock.outputs.finetune.settings import ExampleMessage, ExamplePart
from penstock.pictures import ImageFile, UnreadableImage, data_url, find_image
from penstock.values import without_nulls

FIRST, LAST = "__first", "__last"
"""Whether a row is the first and the last one of its example."""

_render = lru_cache(maxsize=256)(renderer)


class BadExample(Exception):
    """A row makes no example: why, as a fault."""

    def __init__(self, message: str, cause: Cause = Cause.INVALID_EXAMPLE) -> None:
        super().__init__(message)
        self.fault = Fault(cause, message)


class Speaker:
    """What each row says: messages made of templates, or of a column that holds them.

    Args:
        messages: in their order; empty where `column` holds them.
        column: with the messages themselves, a list of structs or JSON as text.
        folder: where the relative paths of images start.
        conversation: whether several rows make an example.
    """

    def __init__(
        self, messages: Sequence[ExampleMessage], column: str | None, folder: str, *, conversation: bool
    ) -> None:
        self._messages = messages
        self._column = column
        self._folder = folder
        self._conversation = conversation

    def said(self, row: Mapping[str, Any], holds: Sequence[bool]) -> list[dict[str, Any]]:
        """The messages of a row.

        Args:
            row: its values, with `FIRST` and `LAST`.
            holds: of each message whether its `when` holds.

        Raises:
            BadExample: a template fails, something is blank, or the column holds no messages.
        """
        if self._column is not None:
            return _given(row[self._column], self._column)
        made: list[dict[str, Any]] = []
        for number, (message, is_there) in enumerate(zip(self._messages, holds, strict=True), 1):
            if is_there and self._wanted(message, row):
                made.append(self._message(message, row, number))
        return made

    def _wanted(self, message: ExampleMessage, row: Mapping[str, Any]) -> bool:
        if not self._conversation:
            return True
        rows = message.rows or ("first" if message.role in {"system", "developer"} else "all")
        return rows == "all" or bool(row[FIRST if rows == "first" else LAST])

    def _message(self, message: ExampleMessage, row: Mapping[str, Any], number: int) -> dict[str, Any]:
        made: dict[str, Any] = {"role": message.role}
        parts = [part for one in message.parts if (part := self._part(one, row)) is not None]
        calls = tool_calls(row[message.tool_calls], message.tool_calls) if message.tool_calls else []
        if parts:
            made["content"] = parts if isinstance(message.content, list) else parts[0]["text"]
        elif not calls:
            raise BadExample(
                f"message {number} ({message.role}) is blank; leave it out with `when` where it may be",
                Cause.EMPTY_INPUT,
            )
        if message.name:
            made["name"] = message.name
        if calls:
            made["tool_calls"] = calls
        if message.tool_call_id is not None:
            made["tool_call_id"] = _text(message.tool_call_id, row)
        if message.weight is not None:
            made["weight"] = _weight(message.weight, row)
        return made

    def _part(self, part: ExamplePart, row: Mapping[str, Any]) -> dict[str, Any] | None:
        text = _text(part.text if part.text is not None else part.image or "", row)
        if not text.strip():
            return None
        if part.text is not None:
            return {"type": "text", "text": text}
        detail = {"detail": part.detail} if part.detail else {}
        try:
            found = find_image(text.strip(), self._folder)
        except UnreadableImage as error:
            raise BadExample(str(error), Cause.UNREADABLE_FILE) from None
        url = data_url(found) if isinstance(found, ImageFile) else found
        return {"type": "image_url", "image_url": {"url": url, **detail}}


def text_of(template: str, row: Mapping[str, Any], what: str) -> str:
    """A template's text, which must not be blank.

    Raises:
        BadExample: it is, or the template fails.
    """
    text = _text(template, row)
    if not text.strip():
        raise BadExample(f"{what} is blank", Cause.EMPTY_INPUT)
    return text


def json_value(value: Any, what: str) -> Any:
    """A value of a row as JSON has it: texts are read as JSON, nulls of structs are left out.

    Raises:
        BadExample: a text is no JSON.
    """
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value) if value.strip() else None
        except (msgspec.DecodeError, RecursionError) as error:
            raise BadExample(f"{what} is not JSON: {error}") from None
        return value
    return without_nulls(value)


def tool_calls(value: Any, column: str) -> list[dict[str, Any]]:
    """Calls of tools as the API has them, from those or from what the step `chat` gives.

    Raises:
        BadExample: they are neither.
    """
    value = json_value(value, f"the column {column!r}")
    if not value:
        return []
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise BadExample(f"the column {column!r} is no list of tool calls")
    return [one if "function" in one else _call(one, column) for one in value]


def _call(flat: Mapping[str, Any], column: str) -> dict[str, Any]:
    name, arguments = flat.get("name"), flat.get("arguments", "{}")
    if not isinstance(name, str) or not isinstance(flat.get("id"), str):
        raise BadExample(f"a tool call in the column {column!r} lacks `id` or `name`")
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return {"id": flat["id"], "type": "function", "function": {"name": name, "arguments": text}}


def _given(value: Any, column: str) -> list[dict[str, Any]]:
    messages = json_value(value, f"the column {column!r}")
    if not messages:
        raise BadExample(f"the column {column!r} holds no messages", Cause.EMPTY_INPUT)
    if not isinstance(messages, list) or not all(isinstance(one, dict) for one in messages):
        raise BadExample(f"the column {column!r} is no list of messages")
    return messages


def _weight(weight: int | str, row: Mapping[str, Any]) -> Any:
    value = row[weight] if isinstance(weight, str) else weight
    if value not in (0, 1):
        raise BadExample(f"the weight {value!r} in the column {weight!r} is neither 0 nor 1")
    return int(value)


def _text(template: str, row: Mapping[str, Any]) -> str:
    try:
        text = _render(template)(row)
        text.encode()
    except ExpressionError as error:
        raise BadExample(error.message, Cause.EXPRESSION) from None
    except UnicodeEncodeError:
        raise BadExample("the text holds half a character (a lone surrogate)", Cause.EXPRESSION) from None
    return text
