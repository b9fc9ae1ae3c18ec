"""From a row to the messages of a chat request, and from the payload that the engine keeps to the request's own form.

A payload is the messages as compact JSON with sorted keys: rows that ask the same have the same payload. A local
image stands in it by its path, size and time of change, and is read when the request is made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from penstock.errors import ExpressionError
from penstock.expressions import renderer, template_columns
from penstock.items import Cause, Fault
from penstock.pictures import ImageFile, UnreadableImage, data_url, find_image
from penstock.steps.chat_settings import Message, Part
from penstock.steps.named_files import NamedFile, content_mark
from penstock.values import without_nulls

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
_FILE = "image_file"
_PER_MESSAGE = 3
_PER_IMAGE = {"low": 85}
_PER_LARGE_IMAGE = 765
"""Tokens of an image of 1,024 by 1,024 pixels in high detail, by the service's guide on vision."""

_render = lru_cache(maxsize=256)(renderer)
_columns_of = lru_cache(maxsize=256)(template_columns)


class Conversation:
    """What each row asks: messages made of templates.

    Args:
        messages: in their order.
        folder: where the relative paths of images start.
    """

    def __init__(self, messages: Sequence[Message], folder: str) -> None:
        self._messages = [(message, [(part, _template(part)) for part in message.parts]) for message in messages]
        self._folder = folder
        texts = [(message.role, text) for message, parts in self._messages for _, text in parts]
        self.columns = sorted({column for _, text in texts for column in _columns_of(text)})
        asking = [text for role, text in texts if _columns_of(text) and role not in {"system", "developer"}]
        # A row asks nothing where all that it could say itself is blank, whatever else stands around it.
        self._asking = frozenset(asking or [text for _, text in texts if _columns_of(text)])

    def ask(self, row: Mapping[str, Any]) -> str | Fault:
        """The payload of a row: empty where it has nothing to ask, a fault where it cannot be made."""
        spoken: set[str] = set()
        messages: list[dict[str, Any]] = []
        try:
            for message, parts in self._messages:
                content: list[dict[str, Any]] = []
                for part, template in parts:
                    text = _checked_text(_render(template)(row))
                    if not text.strip():
                        continue
                    spoken.add(template)
                    made = self._part(part, text)
                    if isinstance(made, Fault):
                        return made
                    content.append(made)
                if content:
                    messages.append(_message(message, content))
        except ExpressionError as error:
            return Fault(Cause.EXPRESSION, error.message)
        return payload(messages) if messages and (not self._asking or self._asking & spoken) else ""

    def _part(self, part: Part, text: str) -> dict[str, Any] | Fault:
        if part.text is not None:
            return {"type": "text", "text": text}
        detail = {"detail": part.detail} if part.detail else {}
        try:
            found = find_image(text.strip(), self._folder)
        except UnreadableImage as error:
            return Fault(Cause.UNREADABLE_FILE, str(error))
        if isinstance(found, ImageFile):
            return {"type": _FILE, "path": found.path, "size": found.size, "modified": found.modified, **detail}
        return {"type": "image_url", "image_url": {"url": found, **detail}}


def payload(messages: Sequence[Mapping[str, Any]], repair: int = 0) -> str:
    """Messages as the engine keeps them; `repair` counts how often the answer was asked to be mended."""
    value = {"messages": messages, **({"repair": repair} if repair else {})}
    return msgspec.json.encode(value, order="deterministic").decode()


def read_payload(text: str) -> tuple[list[dict[str, Any]], int]:
    """The messages and the number of repairs of a payload."""
    value = msgspec.json.decode(text)
    return value["messages"], value.get("repair", 0)


def image_files(text: str) -> list[NamedFile]:
    """The image files that a payload names."""
    if _FILE not in text:
        return []
    messages, _ = read_payload(text)
    return [_named(part) for message in messages for part in _parts(message) if part.get("type") == _FILE]


def with_contents(text: str) -> str:
    """The payload with marks of the images' contents in the place of their paths and times."""
    if _FILE not in text:
        return text
    messages, repair = read_payload(text)
    known = [
        {**message, "content": [_by_content(part) for part in message["content"]]} if _parts(message) else message
        for message in messages
    ]
    return payload(known, repair)


def given_messages(value: Any) -> str | Fault:
    """The payload of a row whose column holds the messages themselves: a list, or one as JSON text."""
    if value is None or value == "":
        return ""
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value)
        except (msgspec.DecodeError, RecursionError) as error:
            return Fault(Cause.EXPRESSION, f"the messages are not JSON: {error}")
    if not isinstance(value, list):
        return Fault(Cause.EXPRESSION, "the messages are no list")
    messages = [without_nulls(message) for message in value]
    for number, message in enumerate(messages):
        if not isinstance(message, dict) or message.get("role") not in ROLES:
            return Fault(Cause.EXPRESSION, f"message {number + 1} is no mapping with a `role` that the API knows")
        if any(part.get("type") == _FILE for part in _parts(message)):
            # Data must not choose which files of this machine are sent.
            return Fault(Cause.EXPRESSION, f"message {number + 1} has a part of a type that the API does not know")
    return payload(messages) if any(map(_says_something, messages)) else ""


def wire_messages(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages as the API takes them: images of files inside of them.

    Raises:
        FileChanged: an image file is gone, or not the one that it was.
    """
    return [
        {**message, "content": [_on_the_wire(part) for part in message["content"]]}
        if isinstance(message.get("content"), list)
        else message
        for message in messages
    ]


def spoken_text(messages: Sequence[Mapping[str, Any]]) -> str:
    """All texts of the messages, for counting tokens."""
    return "\n".join(text for message in messages for text in _texts(message))


def fixed_tokens(messages: Sequence[Mapping[str, Any]]) -> int:
    """Tokens of what is no text: the frames of messages, and images by the service's guide."""
    images = [part for message in messages for part in _parts(message) if part.get("type") in (_FILE, "image_url")]
    return _PER_MESSAGE * (len(messages) + 1) + sum(_image_tokens(part) for part in images)


def _message(message: Message, content: list[dict[str, Any]]) -> dict[str, Any]:
    plain = isinstance(message.content, str) or (len(content) == 1 and content[0]["type"] == "text")
    said: Any = content[0]["text"] if plain else content
    return {"role": message.role, "content": said, **({"name": message.name} if message.name else {})}


def _template(part: Part) -> str:
    return part.text if part.text is not None else part.image or ""


def _checked_text(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ExpressionError("the text holds half a character (a lone surrogate)") from None
    return text


def _on_the_wire(part: Any) -> Any:
    if not isinstance(part, dict) or part.get("type") != _FILE:
        return part
    url = data_url(ImageFile(part["path"], part["size"], part["modified"]))
    detail = {"detail": part["detail"]} if "detail" in part else {}
    return {"type": "image_url", "image_url": {"url": url, **detail}}


def _named(part: Mapping[str, Any]) -> NamedFile:
    return NamedFile(part["path"], part["size"], part["modified"])


def _by_content(part: Any) -> Any:
    if not isinstance(part, dict) or part.get("type") != _FILE:
        return part
    detail = {"detail": part["detail"]} if "detail" in part else {}
    return {"type": _FILE, "content": content_mark(_named(part)), **detail}


def _parts(message: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    content = message.get("content")
    return [part for part in content if isinstance(part, Mapping)] if isinstance(content, list) else []


def _texts(message: Mapping[str, Any]) -> Iterator[str]:
    yield str(message.get("role", ""))
    if isinstance(message.get("content"), str):
        yield message["content"]
    for part in _parts(message):
        if isinstance(part.get("text"), str):
            yield part["text"]
    if "tool_calls" in message:
        yield msgspec.json.encode(message["tool_calls"]).decode()


def _says_something(message: Mapping[str, Any]) -> bool:
    content = message.get("content")
    return bool(content.strip() if isinstance(content, str) else content)


def _image_tokens(part: Mapping[str, Any]) -> int:
    address = part.get("image_url")
    detail = part.get("detail") or (address.get("detail") if isinstance(address, Mapping) else None)
    return _PER_IMAGE.get(str(detail), _PER_LARGE_IMAGE)
