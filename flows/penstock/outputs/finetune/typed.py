"""The fast way for lines with tools, calls, weights or preferences in which nothing is wrong.

Such lines are read by their types, which takes a third of the time that looking at each key takes. A line of which it
is not certain here that nothing is wrong gives None, and is read as any JSON.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from penstock.outputs.finetune.example import Example
from penstock.outputs.finetune.shapes import canonical, quotes
from penstock.outputs.finetune.tools import check_tools

_KEPT = 256


class _Function(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    name: str
    arguments: str


class _Call(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    id: str
    type: Literal["function"]
    function: _Function


class _Message(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | UnsetType | None = UNSET
    tool_calls: list[_Call] | UnsetType = UNSET
    tool_call_id: str | UnsetType = UNSET
    weight: Literal[0, 1] | UnsetType = UNSET


class _Chat(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    messages: list[_Message]
    tools: msgspec.Raw | UnsetType = UNSET
    parallel_tool_calls: bool | UnsetType = UNSET


class _Preference(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    input: _Chat
    preferred_output: list[_Message]
    non_preferred_output: list[_Message]


class _Tools(msgspec.Struct, frozen=True):
    """Tools in which nothing is wrong: their names, the form in which they are counted, and the quotes they take."""

    names: frozenset[str]
    context: str
    quotes: int


_chat = msgspec.json.Decoder(_Chat).decode
_preference = msgspec.json.Decoder(_Preference).decode
_object = msgspec.json.Decoder(dict).decode
_known: dict[bytes, _Tools | None] = {}


def typed_chat(line: bytes) -> Example | None:
    """Of a chat line in which nothing can be wrong; None for all others."""
    if b"<|" in line:
        return None
    try:
        chat = _chat(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    texts = _Texts(chat)
    if not texts.fits(chat.messages) or chat.messages[-1].role != "assistant" or not texts.trained:
        return None
    return texts.example() if quotes(line) == texts.quotes else None


def typed_preference(line: bytes) -> Example | None:
    """Of a preference line in which nothing can be wrong; None for all others."""
    if b"<|" in line:
        return None
    try:
        found = _preference(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    given, better, worse = found.input.messages, found.preferred_output, found.non_preferred_output
    if not given or given[-1].role == "assistant" or not _only_answers(better) or not _only_answers(worse):
        return None
    texts = _Texts(found.input)
    other = canonical(worse).decode()
    if not texts.fits([*given, *better]) or canonical(better).decode() == other:
        return None
    if quotes(line) != texts.quotes + 6 + sum(_quotes_of(message) for message in worse):
        return None
    return texts.example(other)


def _only_answers(messages: Sequence[_Message]) -> bool:
    """Whether they are plain texts of the assistant, as nearly all outputs are."""
    return bool(messages) and all(
        one.role == "assistant" and isinstance(one.content, str) and one.content.strip() and one.tool_calls is UNSET
        and one.tool_call_id is UNSET
        for one in messages
    )  # fmt: skip


class _Texts:
    """The texts of messages, and whether something may be wrong with them."""

    def __init__(self, chat: _Chat) -> None:
        self._tools = None if chat.tools is UNSET else _tools_of(chat.tools)
        self._good = chat.tools is UNSET or self._tools is not None
        self._roles: list[str] = []
        self._texts: list[str] = []
        self.trained = False
        self.quotes = 2 + (0 if chat.parallel_tool_calls is UNSET else 2)
        self.quotes += 2 + self._tools.quotes if self._tools else 0

    def fits(self, messages: Sequence[_Message]) -> bool:
        """Whether nothing can be wrong with the messages, which are kept."""
        waiting: set[str] = set()
        names = self._tools.names if self._tools else frozenset[str]()
        if not messages or not self._good:
            return False
        for one in messages:
            content, role = one.content, one.role
            says = bool(content) and not content.isspace() if isinstance(content, str) else False
            self.quotes += _quotes_of(one)
            if role == "tool":
                if not says or one.tool_call_id not in waiting:
                    return False
                waiting.discard(str(one.tool_call_id))
            elif waiting or one.tool_call_id is not UNSET:
                return False
            if role == "assistant":
                self.trained |= one.weight != 0
            elif one.weight is not UNSET:
                return False
            if one.tool_calls is not UNSET:
                if role != "assistant" or isinstance(content, str) or not _called(one.tool_calls, names, waiting):
                    return False
                self._texts.append(canonical(one.tool_calls).decode())
            elif says and isinstance(content, str):
                self._texts.append(content)
            else:
                return False
            self._roles.append(role)
        # A call that ends the example waits for no answer: it is what is learned.
        return True

    def example(self, other: str = "") -> Example:
        """Of the messages."""
        context = self._tools.context if self._tools else ""
        return Example(self._roles, self._texts, context, other_output=other)


def _called(calls: Iterable[_Call], names: frozenset[str], waiting: set[str]) -> bool:
    """Whether calls are of these tools, with objects as arguments; their ids then wait for an answer."""
    before = len(waiting)
    number = 0
    for number, call in enumerate(calls, 1):  # noqa: B007  # it is counted
        if call.function.name not in names or not _is_object(call.function.arguments):
            return False
        waiting.add(call.id)
    return number > 0 and len(waiting) == before + number


def _is_object(text: str) -> bool:
    if text == "{}":
        return True
    try:
        _object(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False
    return True


def _quotes_of(message: _Message) -> int:
    """Quotes that begin and end its keys and texts."""
    count = 4
    if message.content is not UNSET:
        count += 2 if message.content is None else 4
    if message.weight is not UNSET:
        count += 2
    if message.tool_call_id is not UNSET:
        count += 4
    if message.tool_calls is not UNSET:
        count += 2 + 18 * len(message.tool_calls)
    return count


def _tools_of(raw: msgspec.Raw) -> _Tools | None:
    """What is known of tools; most files give the same ones on every line."""
    key = bytes(raw)
    if key not in _known:
        if len(_known) == _KEPT:
            _known.clear()
        _known[key] = _read_tools(key)
    return _known[key]


def _read_tools(raw: bytes) -> _Tools | None:
    try:
        tools = msgspec.json.decode(raw)
        form = canonical(tools)
        if quotes(raw) != quotes(form) or any(check_tools({"tools": tools})):
            return None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    names = frozenset(tool["function"]["name"] for tool in tools)
    # As `example_of` has it, so that equal examples are equal whichever way they were read.
    return _Tools(names, canonical([tools]).decode(), quotes(form))
