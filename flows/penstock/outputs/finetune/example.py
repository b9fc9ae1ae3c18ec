"""What is kept of an example for the checks over the whole file: roles, texts and digests, never the file itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from penstock.outputs.finetune.estimates import Picture, picture_of
from penstock.outputs.finetune.shapes import PlainMessage, canonical

INSTRUCTING = ("system", "developer")
"""Roles of messages that say how to answer; reasoning models call the system's message the developer's."""


@dataclass(slots=True)
class Example:
    """One example that can be read.

    Attributes:
        roles: of its messages.
        texts: of its messages: their content, tool calls as JSON; as long as `roles`.
        context: tools and whatever else belongs to the prompt, as JSON.
        names: texts of the messages' names.
        images: whose tokens are no text.
        other_output: the text that is not preferred, in a preference example.
    """

    roles: Sequence[str]
    texts: Sequence[str]
    context: str = ""
    names: Sequence[str] = ()
    images: Sequence[Picture] = ()
    other_output: str = ""

    @property
    def digests(self) -> tuple[int, int, int]:
        """64 bits each of the whole example, of its prompt (all but the last message) and of its answer."""
        prompt = hash((self.context, *self.images, *self.roles[:-1], *self.texts[:-1]))
        answer = hash(self.texts[-1])
        return hash((prompt, answer, self.other_output, self.roles[-1])), prompt, answer

    @property
    def said(self) -> str:
        """The texts of the conversation: the system's are often the same in all examples."""
        return (
            "\n".join([text for role, text in zip(self.roles, self.texts, strict=True) if role not in INSTRUCTING])
            .encode("utf-8", "replace")
            .decode()
        )

    @property
    def normal_prompt(self) -> int:
        """64 bits of the prompt without differences of case and spaces."""
        return hash(" ".join(" ".join(self.texts[:-1]).casefold().split()))


def plain(messages: list[PlainMessage]) -> Example:
    """Of a line that needs no further look."""
    return Example([message.role for message in messages], [message.content for message in messages])


def example_of(value: dict[str, Any]) -> Example | None:
    """Of an object, as far as it can be read; None when there is nothing that could be counted."""
    messages, other = value.get("messages"), ""
    if "preferred_output" in value:
        given = value.get("input")
        messages = given.get("messages") if isinstance(given, dict) else None
        chosen = value["preferred_output"]
        messages = [*messages, *chosen] if isinstance(messages, list) and isinstance(chosen, list) else None
        other = _json(value.get("non_preferred_output"))
    if not isinstance(messages, list) or not messages or not all(isinstance(one, dict) for one in messages):
        return None
    given = value.get("input") if "input" in value else value
    tools = [given[key] for key in ("tools", "functions") if key in given] if isinstance(given, dict) else []
    return Example(
        [str(message.get("role")) for message in messages],
        [text_of(message) for message in messages],
        _json(tools) if tools else "",
        [message["name"] for message in messages if isinstance(message.get("name"), str)],
        [picture_of(part, hash(_json(part))) for message in messages for part in _images(message)],
        other,
    )


def text_of(message: dict[str, Any]) -> str:
    """The text of a message, its images left out; calls as JSON behind it."""
    content = message.get("content")
    if isinstance(content, str) and len(message) == 2:
        return content
    pieces: list[str] = []
    if isinstance(content, str):
        pieces.append(content)
    elif isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, dict)]
        pieces += [text for text in texts if isinstance(text, str)]
    pieces += [_json(message[key]) for key in ("tool_calls", "function_call") if message.get(key) is not None]
    if isinstance(message.get("refusal"), str):
        pieces.append(message["refusal"])
    return "\n".join(pieces)


def count_images(message: dict[str, Any]) -> int:
    """How many parts of a message are images."""
    return len(_images(message))


def _images(message: dict[str, Any]) -> list[Any]:
    content = message.get("content")
    if not isinstance(content, list):
        return []
    return [part for part in content if isinstance(part, dict) and part.get("type") == "image_url"]


def _json(value: Any) -> str:
    return canonical(value).decode()
