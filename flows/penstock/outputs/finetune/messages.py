"""Checks of messages: roles, keys, content and its parts, weights, tool calls, images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from penstock.outputs.finetune.limits import LARGEST_IMAGE

Fault = tuple[str, str]
"""A code and a message."""

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
_PLAIN_KEYS = {"role", "content"}
MESSAGE_KEYS = _PLAIN_KEYS | {"name", "weight", "tool_calls", "tool_call_id", "function_call", "refusal"}
_RESERVED = ("<|endoftext|>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|endofprompt|>", "<|im_start|>",
             "<|im_end|>", "<|im_sep|>")  # fmt: skip
DETAILS = (None, "auto", "low", "high")
IMAGE_TYPES = ("png", "jpeg", "jpg", "webp")


def check_messages(messages: Any, key: str = "messages") -> Iterator[Fault]:
    """All that is wrong with the messages in a list, one by one; `key` is where they stand, for the reader."""
    if not isinstance(messages, list):
        yield "bad_messages", f"{key!r} must be a list of messages, not {kind_of(messages)}"
        return
    if not messages:
        yield "empty_messages", f"{key!r} is an empty list: an example needs a prompt and an answer"
    for number, message in enumerate(messages, 1):
        where = f"message {number}" if key == "messages" else f"{key}, message {number}"
        if not isinstance(message, dict):
            yield "message_not_object", f"{where} is {kind_of(message)}, not an object with role and content"
            continue
        for code, text in _check_message(message):
            yield code, f"{where}: {text}"


def kind_of(value: Any) -> str:
    """The JSON type of a value, for messages."""
    if value is None:
        return "null"
    names = {bool: "true or false", str: "text", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return names.get(type(value), type(value).__name__)


def _check_message(message: dict[str, Any]) -> Iterator[Fault]:
    role = message.get("role")
    if "role" not in message:
        yield "missing_role", f"there is no 'role'; it is one of {', '.join(ROLES)}"
    elif role not in ROLES:
        yield "unknown_role", f"the role {role!r} is not one of {', '.join(ROLES)}"
    if message.keys() != _PLAIN_KEYS or role == "tool":
        yield from _check_keys(message, role)
    yield from _check_content(message, role)


def _check_keys(message: dict[str, Any], role: Any) -> Iterator[Fault]:
    for key in message.keys() - MESSAGE_KEYS:
        yield "unknown_message_key", f"the key {key!r} is unknown; allowed are {', '.join(sorted(MESSAGE_KEYS))}"
    if "name" in message and not isinstance(message["name"], str):
        yield "bad_name", f"'name' must be text, not {kind_of(message['name'])}"
    if "weight" in message:
        weight = message["weight"]
        if isinstance(weight, bool) or weight not in (0, 1):
            yield "bad_weight", f"the weight {weight!r} is neither 0 (not trained on) nor 1"
        if role != "assistant":
            yield "weight_not_assistant", "only messages from the assistant have a weight"
    if role == "tool" and not isinstance(message.get("tool_call_id"), str):
        yield "missing_tool_call_id", "a message from a tool says by 'tool_call_id' which call it answers"
    if message.get("tool_calls") is not None:
        if role != "assistant":
            yield "tool_calls_not_assistant", "only the assistant calls tools"
        yield from _check_calls(message["tool_calls"])


def _check_calls(calls: Any) -> Iterator[Fault]:
    if not isinstance(calls, list) or not calls:
        yield "bad_tool_calls", "'tool_calls' must be a list with at least one call"
        return
    for call in calls:
        function = call.get("function") if isinstance(call, dict) else None
        texts = (function.get("name"), function.get("arguments")) if isinstance(function, dict) else (None,)
        good = all(isinstance(text, str) for text in texts) and isinstance(call.get("id"), str)
        if not good or not isinstance(function, dict) or call.get("type", "function") != "function":
            yield (
                "bad_tool_calls",
                "a call needs 'id', type 'function' and 'function' with 'name' and 'arguments' as texts",
            )
        elif not _is_object(function["arguments"]):
            yield "arguments_not_json", f"the arguments of {function['name']!r} are not a JSON object in text"


def _is_object(text: str) -> bool:
    try:
        return isinstance(msgspec.json.decode(text), dict)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False


def _check_content(message: dict[str, Any], role: Any) -> Iterator[Fault]:
    content = message.get("content")
    if isinstance(content, str):
        yield from _check_text(content, message, role)
    elif content is None:
        if role == "assistant" and _says_otherwise(message):
            return
        if "content" in message:
            yield "null_content", "the content is null, which only an answer that calls tools may have"
        else:
            yield "missing_content", "there is no 'content'"
    elif isinstance(content, list) and content:
        for number, part in enumerate(content, 1):
            for code, text in _check_part(part, role):
                yield code, f"part {number}: {text}"
    else:
        held = "an empty list" if content == [] else kind_of(content)
        yield "bad_content", f"the content is {held}, not text or a list of parts"


def _check_text(content: str, message: dict[str, Any], role: Any) -> Iterator[Fault]:
    if "<|" in content:
        yield from _reserved(content)
    if content and not content.isspace():
        return
    if role != "assistant":
        yield "empty_content", "the content is empty"
    elif not _says_otherwise(message):
        yield "empty_answer", "the answer is empty: a model learns to say nothing"


def _says_otherwise(message: dict[str, Any]) -> bool:
    return bool(message.get("tool_calls") or message.get("function_call") or message.get("refusal"))


def _reserved(text: str) -> Iterator[Fault]:
    for token in _RESERVED:
        if token in text:
            yield "reserved_token", f"{token} is reserved for the service and refused in texts"


def _check_part(part: Any, role: Any) -> Iterator[Fault]:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "text" and isinstance(part.get("text"), str):
        yield from _reserved(part["text"])
    elif kind == "refusal" and role == "assistant" and isinstance(part.get("refusal"), str):
        return
    elif kind == "image_url":
        if role != "user":
            yield "image_not_user", f"images stand in messages from the user, not from {role!r}"
        yield from _check_image(part.get("image_url"))
    else:
        yield "bad_part", "it must be {'type': 'text', 'text': …} or {'type': 'image_url', 'image_url': {'url': …}}"


def _check_image(image: Any) -> Iterator[Fault]:
    url = image.get("url") if isinstance(image, dict) else None
    if not isinstance(url, str):
        yield "bad_image", "'image_url' must be an object with the text 'url'"
        return
    if image.get("detail") not in DETAILS:
        yield "bad_image", f"the detail {image['detail']!r} is not one of auto, low, high"
    if url.startswith("data:"):
        head, comma, data = url.partition(",")
        if head not in {f"data:image/{kind};base64" for kind in IMAGE_TYPES} or not comma or not data:
            yield "bad_image", f"{head[:40]!r} is not data:image/png;base64 (or jpeg, webp) with data behind it"
        elif len(data) * 3 // 4 > LARGEST_IMAGE:
            yield "image_too_large", f"it has {len(data) * 3 // 4:,} bytes; {LARGEST_IMAGE:,} are allowed"
    elif not url.startswith(("https://", "http://")):
        yield "bad_image", f"the address {url[:40]!r} begins with none of https://, http:// and data:"
