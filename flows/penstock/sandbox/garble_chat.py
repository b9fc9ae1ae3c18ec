"""Faults of chat completions: a good answer made into what clients meet in the wild, whole or as events."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

from penstock.sandbox.contract import Answer

_PROSE = "Sure! Here is what I found."
_REFUSAL = "I'm sorry, but I can't help with that."
_EVENT_ERROR = {
    "error": {
        "message": "The server had an error while processing your request. Sorry about that!",
        "type": "server_error",
        "param": None,
        "code": None,
    }
}
_DONE = "[DONE]"


def garble_chat(name: str, body: bytes, answer: Answer) -> Answer:
    """`answer`, whose whole body is `body`, as the fault leaves it; answers that are not of chat pass unchanged."""
    if body.startswith(b"data:"):
        return _stream(name, body, answer)
    try:
        value = json.loads(body)
    except ValueError:
        return answer
    if not isinstance(value, dict) or value.get("object") != "chat.completion" or name.startswith("stream-"):
        return answer
    _change(name, value, "message")
    return Answer(_dump(value), answer.status, answer.media_type, answer.headers)


def _stream(name: str, body: bytes, answer: Answer) -> Answer:
    events = [event.removeprefix(b"data: ").decode() for event in body.split(b"\n\n") if event]
    chunks = [json.loads(event) for event in events if event != _DONE]
    if not chunks or chunks[0].get("object") != "chat.completion.chunk":
        return answer
    if name == "stream-odd":
        return Answer(_odd_pieces(events), answer.status, answer.media_type, answer.headers)
    # In the middle of what is said, but never before the first word and never after the finish reason.
    middle = max(1, (len(chunks) - 1) // 2)
    tail = [_DONE]
    if name == "stream-cut":
        chunks, tail = chunks[:middle], []
    elif name == "stream-error":
        chunks, tail = [*chunks[:middle], _EVENT_ERROR], []
    else:
        for chunk in chunks:
            _change(name, chunk, "delta")
    shown = [*(_dump(chunk).decode() for chunk in chunks), *tail]
    return Answer(_pieces(shown), answer.status, answer.media_type, answer.headers)


def _change(name: str, value: dict[str, Any], part: str) -> None:
    if name == "no-choices":
        value["choices"] = []
    for choice in value["choices"]:
        said = choice[part]
        if name == "filtered" and (choice["finish_reason"] or part == "message"):
            choice["finish_reason"] = "content_filter"
            if isinstance(said.get("content"), str):
                said["content"] = said["content"][: len(said["content"]) // 2]
        elif name == "refusal":
            _refuse(choice, said, part)
        elif name == "off-schema":
            if isinstance(said.get("content"), str) and said["content"]:
                said["content"] = _PROSE if part == "message" else said["content"].strip('{}[]":') or " "
            elif "tool_calls" in said:
                for call in said["tool_calls"]:
                    if call.get("function", {}).get("arguments"):
                        call["function"]["arguments"] = call["function"]["arguments"].strip('{}[]":') or " "


def _refuse(choice: dict[str, Any], said: dict[str, Any], part: str) -> None:
    opens = part == "message" or "role" in said
    said.pop("tool_calls", None)
    said.pop("function_call", None)
    if opens:
        said["content"] = None
        said["refusal"] = _REFUSAL
    else:
        said.pop("content", None)
    if choice["finish_reason"]:
        choice["finish_reason"] = "stop"


def _dump(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


async def _pieces(events: list[str]) -> AsyncIterator[bytes]:
    for event in events:
        yield f"data: {event}\n\n".encode()


async def _odd_pieces(events: list[str]) -> AsyncIterator[bytes]:
    """A good stream that is hard to read: CRLF, comments, other fields, and pieces that end anywhere."""
    text = "\ufeff: connected\r\n\r\n" + "".join(
        f"event: message\r\nid: {place}\r\ndata:{event}\r\n\r\n: keep-alive\r\n\r\n"
        for place, event in enumerate(events)
    )
    for piece in _cut(text.encode(), 7):
        yield piece


def _cut(data: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]
