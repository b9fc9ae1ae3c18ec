"""What the events of a streamed chat answer mean, without any I/O: events in, chunks and the whole answer out.

A stream is an answer only when every choice has got its finish reason. One that ends before is a failure, whatever
its text looks like: it may be cut anywhere, with a 200 and a clean end of the connection.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from penstock.api.chat_objects import (
    ChatChunk,
    ChatCompletion,
    ChatMessage,
    Choice,
    ChunkChoice,
    Delta,
    FunctionCall,
    ToolCall,
    ToolCallDelta,
)
from penstock.api.errors import ConnectionFailed, Facts, UnusableBody
from penstock.api.headers import request_id_of
from penstock.api.objects import Usage, built, error_inside
from penstock.api.sse import SseEvent

_SHOWN = 120
_MOST_CHOICES = 128


class ChatAssembler:
    """Puts one streamed answer together.

    Args:
        headers: of the response, for the request id of errors.
        choices: how many choices were asked for (`n`).
    """

    def __init__(self, headers: Mapping[str, str] | None = None, *, choices: int = 1) -> None:
        self.done = False
        self._headers = headers or {}
        self._asked = choices
        self._first: ChatChunk | None = None
        self._usage: Usage | None = None
        self._choices: dict[int, _Growing] = {}

    def take(self, event: SseEvent) -> ChatChunk | None:
        """The chunk of `event`; None for ``[DONE]`` and for whatever comes after it.

        Raises:
            ApiError: the event is an error, by the error's kind.
            UnusableBody: it is no chunk.
        """
        if self.done:
            return None
        if event.data.strip() == "[DONE]":
            self.done = True
            return None
        chunk = built(ChatChunk, self._fields(event), self._headers)
        if self._first is None:
            self._first = chunk
        self._usage = chunk.usage or self._usage
        for piece in chunk.choices or ():
            if not 0 <= piece.index < _MOST_CHOICES:
                raise self._unusable(f"a chunk is for choice {piece.index}")
            self._choices.setdefault(piece.index, _Growing()).add(piece)
        return chunk

    def finish(self) -> ChatCompletion:
        """The whole answer, once the stream has ended.

        Raises:
            ConnectionFailed: it ended without ``[DONE]`` before each choice had its finish reason.
            UnusableBody: it ended with ``[DONE]`` before each choice had its finish reason.
        """
        expected = self._choices.keys() | set(range(self._asked))
        missing = [index for index in sorted(expected) if not self._finished(index)]
        if missing:
            told = f"the stream ended without a finish reason ({len(expected) - len(missing)} of {len(expected)})"
            if self.done:
                raise self._unusable(told)
            raise ConnectionFailed(f"{told} and without [DONE]: the answer is cut", self._facts())
        first = self._first or ChatChunk()
        answer = ChatCompletion(
            id=first.id,
            model=first.model,
            created=first.created,
            choices=[self._choices[index].choice(index) for index in sorted(self._choices)],
            usage=self._usage,
            system_fingerprint=first.system_fingerprint,
            service_tier=first.service_tier,
        )
        return built(ChatCompletion, msgspec.to_builtins(answer), self._headers)

    def _finished(self, index: int) -> bool:
        growing = self._choices.get(index)
        return growing is not None and growing.finish_reason is not None

    def _fields(self, event: SseEvent) -> dict[str, Any]:
        try:
            value = msgspec.json.decode(event.data.encode())
        except (msgspec.DecodeError, RecursionError):
            if event.event == "error":
                raise error_inside(event.data.encode(), self._headers) from None
            raise self._unusable(f"an event is no JSON: {event.data[:_SHOWN]!r}") from None
        if not isinstance(value, dict):
            raise self._unusable(f"an event is no JSON object: {event.data[:_SHOWN]!r}")
        if value.get("error") or event.event == "error":
            raise error_inside(event.data.encode(), self._headers)
        return value

    def _unusable(self, message: str) -> UnusableBody:
        return UnusableBody(message, self._facts())

    def _facts(self) -> Facts:
        return Facts(200, request_id=request_id_of(self._headers))


class _Growing:
    """One choice while its pieces come."""

    def __init__(self) -> None:
        self.finish_reason: str | None = None
        self._role = "assistant"
        self._content: list[str] = []
        self._refusal: list[str] = []
        self._tools: list[_GrowingTool] = []
        self._logprobs: dict[str, Any] | None = None

    def add(self, piece: ChunkChoice) -> None:
        self.finish_reason = piece.finish_reason or self.finish_reason
        if piece.logprobs is not None:
            self._add_logprobs(piece.logprobs)
        if piece.delta is not None:
            self._add_delta(piece.delta)

    def choice(self, index: int) -> Choice:
        tools = [tool.call() for tool in self._tools]
        message = ChatMessage(
            role=self._role,
            content="".join(self._content) if self._content else None,
            refusal="".join(self._refusal) if self._refusal else None,
            tool_calls=tools or None,
        )
        return Choice(index=index, message=message, finish_reason=self.finish_reason, logprobs=self._logprobs)

    def _add_delta(self, delta: Delta) -> None:
        self._role = delta.role or self._role
        # The first chunk of many servers has content "" beside the role; with tool calls that is no text.
        if delta.content or (delta.content is not None and not delta.role):
            self._content.append(delta.content)
        if delta.refusal:
            self._refusal.append(delta.refusal)
        for piece in delta.tool_calls or ():
            self._tool(piece).add(piece)

    def _tool(self, piece: ToolCallDelta) -> _GrowingTool:
        for tool in reversed(self._tools):
            if piece.index is not None:
                if tool.index == piece.index:
                    return tool
            elif not piece.id or piece.id == tool.id:
                return tool
        self._tools.append(_GrowingTool(piece.index))
        return self._tools[-1]

    def _add_logprobs(self, piece: dict[str, Any]) -> None:
        whole = self._logprobs = self._logprobs or {}
        for name, value in piece.items():
            if isinstance(value, list) and isinstance(whole.get(name), list):
                whole[name] = whole[name] + value
            elif value is not None or name not in whole:
                whole[name] = value


class _GrowingTool:
    """One call of a tool while its pieces come."""

    def __init__(self, index: int | None) -> None:
        self.index = index
        self.id = ""
        self._type = "function"
        self._name = ""
        self._arguments: list[str] = []

    def add(self, piece: ToolCallDelta) -> None:
        self.id = piece.id or self.id
        self._type = piece.type or self._type
        if piece.function is not None:
            self._name = piece.function.name or self._name
            self._arguments.append(piece.function.arguments or "")

    def call(self) -> ToolCall:
        function = FunctionCall(name=self._name, arguments="".join(self._arguments))
        return ToolCall(id=self.id, type=self._type, function=function)
