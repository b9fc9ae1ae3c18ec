"""The messages of a chat request: what the service refuses in them, what they say, and how many tokens they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from penstock.sandbox import errors
from penstock.sandbox.chat_models import ChatModel
from penstock.sandbox.errors import ApiError
from penstock.sandbox.fields import (
    empty_array,
    quoted,
    read_array,
    read_choice,
    read_object,
    read_text,
    refuse_unknown,
    required,
)
from penstock.sandbox.pictures import picture_size, picture_tokens
from penstock.sandbox.tokens import count_tokens

ROLES = ("system", "assistant", "user", "function", "tool", "developer")
DETAILS = ("auto", "low", "high", "original")
_FIELDS = {
    "assistant": {
        "role",
        "content",
        "name",
        "refusal",
        "tool_calls",
        "function_call",
        "audio",
        "annotations",
        "weight",
    },
    "tool": {"role", "content", "tool_call_id", "name"},
}
_PARTS = {
    "user": ("text", "image_url", "input_audio", "refusal", "file"),
    "assistant": ("text", "refusal"),
}
_PER_MESSAGE = 3
_PER_NAME = 1
_PER_ANSWER = 3
_PER_CALL = 8


@dataclass(frozen=True, slots=True)
class Message:
    """One message.

    Attributes:
        role: one of `ROLES`.
        text: of its content, the parts on lines of their own.
        name: of its author, or empty.
        pictures: size and detail of each image.
        calls: id, name and arguments of each tool call.
        call_id: of the call that a tool message answers.
    """

    role: str
    text: str
    name: str = ""
    pictures: tuple[tuple[tuple[int, int], str], ...] = ()
    calls: tuple[tuple[str, str, str], ...] = ()
    call_id: str = ""


def read_messages(body: dict[str, Any], model: ChatModel) -> list[Message]:
    """The messages, checked.

    Raises:
        ApiError: one of them is wrong.
    """
    required(body, "messages")
    listed = read_array(body, "messages")
    if listed is None:
        raise errors.wrong_type("messages", "an array of objects", None)
    messages = [_read(item, f"messages[{index}]", model) for index, item in enumerate(listed)]
    _check_calls(messages)
    return messages


def count_messages(messages: Sequence[Message], model: ChatModel) -> int:
    """Tokens of the messages as the service counts them: three around each, three before the answer."""
    total = _PER_ANSWER
    for message in messages:
        total += _PER_MESSAGE + sum(count_tokens(one, model.vocabulary) for one in (message.role, message.text))
        if message.name:
            total += _PER_NAME + count_tokens(message.name, model.vocabulary)
        total += sum(picture_tokens(size, detail, model.answered_as) for size, detail in message.pictures)
        for _, name, arguments in message.calls:
            total += _PER_CALL + count_tokens(name, model.vocabulary) + count_tokens(arguments, model.vocabulary)
    return total


def _read(item: Any, at: str, model: ChatModel) -> Message:
    if not isinstance(item, dict):
        raise errors.wrong_type(at, "an object", item)
    required(item, "role", f"{at}.")
    role = read_choice(item, "role", ROLES, f"{at}.")
    if role is None:
        raise errors.wrong_type(f"{at}.role", f"one of {quoted(ROLES, 'or')}", None)
    refuse_unknown(item, _FIELDS.get(role, {"role", "content", "name"}), f"{at}.")
    name = read_text(item, "name", f"{at}.", most=64) or ""
    calls = _calls(item, at) if role == "assistant" else ()
    text, pictures = _content(item, role, at, model, optional=bool(calls) or bool(item.get("refusal")))
    if role == "function" and not name:
        raise errors.missing_parameter(f"{at}.name")
    call_id = ""
    if role == "tool":
        required(item, "tool_call_id", f"{at}.")
        call_id = read_text(item, "tool_call_id", f"{at}.") or ""
    if role == "assistant":
        text = text or read_text(item, "refusal", f"{at}.") or ""
    return Message(role, text, name, pictures, calls, call_id)


def _content(
    item: dict[str, Any], role: str, at: str, model: ChatModel, *, optional: bool
) -> tuple[str, tuple[tuple[tuple[int, int], str], ...]]:
    value = item.get("content")
    if value is None:
        if optional or role == "function":
            return "", ()
        if "content" not in item:
            raise errors.missing_parameter(f"{at}.content")
        raise ApiError(
            400,
            "Invalid value for 'content': expected a string, got null.",
            param=f"{at}.content",
            code="invalid_type",
        )
    if isinstance(value, str):
        return value, ()
    if not isinstance(value, list):
        raise errors.wrong_type(f"{at}.content", "one of a string or array of objects", value)
    if not value:
        raise empty_array(f"{at}.content")
    texts: list[str] = []
    pictures: list[tuple[tuple[int, int], str]] = []
    for index, part in enumerate(value):
        _part(part, role, f"{at}.content[{index}]", model, texts=texts, pictures=pictures)
    return "\n".join(texts), tuple(pictures)


def _part(
    part: Any,
    role: str,
    at: str,
    model: ChatModel,
    *,
    texts: list[str],
    pictures: list[tuple[tuple[int, int], str]],
) -> None:
    if not isinstance(part, dict):
        raise errors.wrong_type(at, "an object", part)
    required(part, "type", f"{at}.")
    kind = read_choice(part, "type", _PARTS.get(role, ("text",)), f"{at}.")
    if kind is None:
        raise errors.wrong_type(f"{at}.type", "a string", None)
    if kind in ("text", "refusal"):
        refuse_unknown(part, {"type", kind, "prompt_cache_breakpoint"}, f"{at}.")
        required(part, kind, f"{at}.")
        text = read_text(part, kind, f"{at}.")
        if text is None:
            raise errors.wrong_type(f"{at}.{kind}", "a string", None)
        texts.append(text)
        return
    if kind != "image_url" or not model.sees:
        raise ApiError(
            400,
            f"Invalid content type. {kind} is only supported by certain models.",
            param=f"{at}.type",
            code="invalid_value",
        )
    refuse_unknown(part, {"type", "image_url", "prompt_cache_breakpoint"}, f"{at}.")
    required(part, "image_url", f"{at}.")
    image = read_object(part, "image_url", f"{at}.")
    if image is None:
        raise errors.wrong_type(f"{at}.image_url", "an object", None)
    refuse_unknown(image, {"url", "detail"}, f"{at}.image_url.")
    required(image, "url", f"{at}.image_url.")
    url = read_text(image, "url", f"{at}.image_url.") or ""
    detail = read_choice(image, "detail", DETAILS, f"{at}.image_url.") or "auto"
    pictures.append((picture_size(url, f"{at}.image_url.url"), detail))


def _calls(item: dict[str, Any], at: str) -> tuple[tuple[str, str, str], ...]:
    listed = read_array(item, "tool_calls", f"{at}.", most=128) or []
    calls = []
    for index, call in enumerate(listed):
        here = f"{at}.tool_calls[{index}]"
        if not isinstance(call, dict):
            raise errors.wrong_type(here, "an object", call)
        for name in ("id", "type"):
            required(call, name, f"{here}.")
        call_id = read_text(call, "id", f"{here}.") or ""
        kind = read_choice(call, "type", ("function", "custom"), f"{here}.") or "function"
        required(call, kind, f"{here}.")
        calls.append((call_id, *_called(call, kind, f"{here}.")))
    if item.get("function_call") is not None:
        calls.append(("", *_called(item, "function_call", f"{at}.")))
    return tuple(calls)


def _called(item: dict[str, Any], field: str, at: str) -> tuple[str, str]:
    function = read_object(item, field, at)
    if function is None:
        raise errors.wrong_type(f"{at}{field}", "an object", None)
    body = "input" if field == "custom" else "arguments"
    for name in ("name", body):
        required(function, name, f"{at}{field}.")
    return read_text(function, "name", f"{at}{field}.") or "", read_text(function, body, f"{at}{field}.") or ""


def _check_calls(messages: Sequence[Message]) -> None:
    """Each tool call must be answered at once, and each answer must have its call."""
    waiting: set[str] = set()
    asked: set[str] = set()
    for index, message in enumerate(messages):
        if message.role == "tool":
            if message.call_id not in asked:
                raise ApiError(
                    400,
                    "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with "
                    "'tool_calls'.",
                    param=f"messages.[{index}].role",
                )
            waiting.discard(message.call_id)
            continue
        _check_answered(waiting, index)
        asked = {call_id for call_id, _, _ in message.calls if call_id}
        waiting = set(asked)
    _check_answered(waiting, len(messages))


def _check_answered(waiting: set[str], index: int) -> None:
    if waiting:
        raise ApiError(
            400,
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
            "'tool_call_id'. The following tool_call_ids did not have response messages: "
            f"{', '.join(sorted(waiting))}",
            param=f"messages.[{index}].role",
        )
