"""What chat completions are made of: whole answers and the chunks of streamed ones.

Source: API reference, "Create chat completion" and "Streaming".
"""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.api.objects import ApiObject, Usage


class FunctionCall(ApiObject):
    """The function a model wants called; `arguments` is JSON as text, which the model may have got wrong."""

    name: str = ""
    arguments: str = ""


class ToolCall(ApiObject):
    """One call of a tool."""

    id: str = ""
    type: str = "function"
    function: FunctionCall = msgspec.field(default_factory=FunctionCall)


class ChatMessage(ApiObject):
    """What the model said: `content`, a `refusal`, or calls of tools; what it did not say is None or empty."""

    role: str = "assistant"
    content: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = None


class Choice(ApiObject):
    """One of the answers to a conversation.

    `finish_reason`: ``stop``, ``length``, ``tool_calls``, ``content_filter``; None only from servers that do not say.
    """

    index: int = 0
    message: ChatMessage = msgspec.field(default_factory=ChatMessage)
    finish_reason: str | None = None
    logprobs: dict[str, Any] | None = None


class ChatCompletion(ApiObject):
    """A whole answer."""

    choices: list[Choice]
    id: str = ""
    model: str = ""
    created: int = 0
    usage: Usage | None = None
    system_fingerprint: str | None = None
    service_tier: str | None = None

    @property
    def text(self) -> str | None:
        """What the first choice says; None when it refuses or calls tools."""
        return self.choices[0].message.content if self.choices else None


class FunctionDelta(ApiObject):
    """A piece of a function call."""

    name: str | None = None
    arguments: str | None = None


class ToolCallDelta(ApiObject):
    """A piece of the call at `index`; several servers leave the index out."""

    index: int | None = None
    id: str | None = None
    type: str | None = None
    function: FunctionDelta | None = None


class Delta(ApiObject):
    """What a chunk adds to a message."""

    role: str | None = None
    content: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCallDelta] | None = None


class ChunkChoice(ApiObject):
    """What a chunk adds to the choice at `index`."""

    index: int = 0
    delta: Delta | None = None
    finish_reason: str | None = None
    logprobs: dict[str, Any] | None = None


class ChatChunk(ApiObject):
    """One event of a streamed answer; the one with the usage has no choices."""

    id: str = ""
    model: str = ""
    created: int = 0
    choices: list[ChunkChoice] | None = None
    usage: Usage | None = None
    system_fingerprint: str | None = None
    service_tier: str | None = None

    @property
    def text(self) -> str:
        """What it adds to the first choice's content."""
        return "".join(
            choice.delta.content or "" for choice in self.choices or () if choice.index == 0 and choice.delta
        )
