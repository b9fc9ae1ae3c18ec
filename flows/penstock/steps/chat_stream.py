"""Reading a streamed chat completion from all of its bytes: events to chunks, chunks to whole choices.

Sources: API reference, "Streaming"; the HTML Standard, "Interpreting an event stream". A choice without a finish reason
is cut, however whole its text looks. A stream may lack its last ``[DONE]``, which several servers do not send.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from penstock.errors import UnusableAnswer
from penstock.steps.answer_body import beginning, decoded
from penstock.steps.chat_answers import (
    NO_COMPLETION,
    Call,
    Choice,
    Function,
    Reply,
    Said,
    in_order,
    read_usage,
    refuse_error,
    whole_choice,
)

_DONE = "[DONE]"
_MOST_CHOICES = 128
# Not `str.splitlines`, which also ends lines at characters that may stand in an answer.
_LINE_END = re.compile(r"\r\n|\r|\n")


class _Piece(msgspec.Struct):
    delta: Said | None = None
    index: int | None = None
    finish_reason: str | None = None
    logprobs: Any = None
    error: Any = None


class _Chunk(msgspec.Struct):
    choices: list[_Piece] | None = None
    model: str | None = None
    usage: Any = None
    error: Any = None


_decoder = msgspec.json.Decoder(_Chunk)


def read_stream(body: bytes | memoryview, count: int) -> Reply:
    """The `count` choices of a response that came as events.

    Raises:
        UnusableAnswer: no events, an error among them, an event that is no chunk, or choices other than asked for or
            without a finish reason.
    """
    growing: dict[int, _Growing] = {}
    model: str | None = None
    usage: Any = None
    seen = False
    for kind, data in _events(bytes(body)):
        seen = True
        if data.strip() == _DONE:
            break
        if kind == "error":
            raise UnusableAnswer(f"an error in the stream: {data[:300]}")
        chunk = decoded(_decoder, data, NO_COMPLETION)
        refuse_error(chunk.error)
        model = model or chunk.model
        usage = chunk.usage or usage
        for place, piece in enumerate(chunk.choices or ()):
            refuse_error(piece.error)
            index = place if piece.index is None else piece.index
            if not 0 <= index < _MOST_CHOICES:
                raise UnusableAnswer(f"a chunk is for choice {index}")
            growing.setdefault(index, _Growing()).add(piece)
    if not seen:
        raise UnusableAnswer(f"no event stream; it begins {beginning(body)}")
    found = {index: one.whole(index) for index, one in growing.items()}
    return Reply(in_order(found, count), read_usage(model, usage))


def _events(body: bytes) -> Iterator[tuple[str, str]]:
    """Kind and data of each event; the last one also where the stream ends without its blank line."""
    text = body.decode("utf-8", "replace").removeprefix("\ufeff")
    kind = ""
    data: list[str] = []
    for line in [*_LINE_END.split(text), ""]:
        if not line:
            if data:
                yield kind or "message", "\n".join(data)
            kind = ""
            data = []
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            data.append(value)
        elif name == "event":
            kind = value


@dataclass(slots=True)
class _GrowingCall:
    """One call of a tool while its pieces come."""

    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)

    def add(self, piece: Call) -> None:
        self.id = piece.id or self.id
        if piece.function is not None:
            self.name = piece.function.name or self.name
            more = piece.function.arguments
            self.arguments.append(msgspec.json.encode(more).decode() if isinstance(more, dict) else more or "")

    def whole(self) -> Call:
        return Call(self.id, Function(self.name, "".join(self.arguments)))


class _Growing:
    """One choice while its pieces come."""

    def __init__(self) -> None:
        self._finish_reason: str | None = None
        self._content: list[str] = []
        self._refusal: list[str] = []
        self._calls: list[_GrowingCall] = []
        self._call_of: dict[int | str, _GrowingCall] = {}
        self._logprobs: list[Any] = []

    def add(self, piece: _Piece) -> None:
        self._finish_reason = piece.finish_reason or self._finish_reason
        if isinstance(piece.logprobs, dict) and isinstance(piece.logprobs.get("content"), list):
            self._logprobs += piece.logprobs["content"]
        if piece.delta is None:
            return
        if isinstance(piece.delta.content, str):
            self._content.append(piece.delta.content)
        if piece.delta.refusal:
            self._refusal.append(piece.delta.refusal)
        for call in piece.delta.tool_calls or ():
            self._call(call).add(call)

    def whole(self, index: int) -> Choice:
        content = "".join(self._content)
        # The first chunk has an empty content beside the role; with calls or a refusal that is no text.
        none = not self._content or (not content and (self._calls or self._refusal))
        calls = [call.whole() for call in self._calls]
        said = Said(None if none else content, "".join(self._refusal) or None, calls)
        return whole_choice(index, said, self._finish_reason, {"content": self._logprobs} if self._logprobs else None)

    def _call(self, piece: Call) -> _GrowingCall:
        """The call of the piece's index; where servers leave that out, of its id, or the last one."""
        mark = piece.index if piece.index is not None else piece.id
        if not mark and mark != 0 and self._calls:
            return self._calls[-1]
        if mark is None or mark not in self._call_of:
            self._calls.append(_GrowingCall())
        return self._call_of.setdefault(mark or 0, self._calls[-1])
