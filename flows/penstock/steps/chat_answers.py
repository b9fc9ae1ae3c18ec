"""Reading a chat completion: its choices in their order, each with its finish reason, and what it cost.

Source: API reference, "Create chat completion". Bodies of other servers differ in what they leave out; what is missing
and does not matter is taken as null, and what is missing and matters makes the answer unusable.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from penstock.errors import UnusableAnswer
from penstock.items import Usage
from penstock.steps.answer_body import beginning, decoded

_MOST_TOKENS = 1_000_000_000
NO_COMPLETION = "no chat completion"
"""What is said of JSON of another shape."""


class Function(msgspec.Struct):
    """A function that is called; in a stream, a piece of one."""

    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class Call(msgspec.Struct):
    """A call of a tool; in a stream, a piece of the call at `index`."""

    id: str | None = None
    function: Function | None = None
    index: int | None = None


class Said(msgspec.Struct):
    """A message of the model; in a stream, what a chunk adds to it."""

    content: str | list[Any] | None = None
    refusal: str | None = None
    tool_calls: list[Call] | None = None


class _Choice(msgspec.Struct):
    message: Said | None = None
    index: int | None = None
    finish_reason: str | None = None
    logprobs: Any = None
    error: Any = None


class _Completion(msgspec.Struct):
    choices: list[_Choice] | None = None
    model: str | None = None
    usage: Any = None
    error: Any = None


class Choice(NamedTuple):
    """One whole answer.

    Attributes:
        content: the text; None where the model called tools or refused.
        finish_reason: why it ended.
        refusal: what the model said instead of an answer.
        tool_calls: id, name and arguments (JSON as the model wrote it) of each call.
        logprobs: as the server gave them.
    """

    content: str | None
    finish_reason: str
    refusal: str | None = None
    tool_calls: Sequence[dict[str, str]] = ()
    logprobs: Any = None


class Reply(NamedTuple):
    """The choices by their index, and what the request cost."""

    choices: list[Choice]
    usage: Usage


_decoder = msgspec.json.Decoder(_Completion)


def read_completion(body: bytes | memoryview, count: int) -> Reply:
    """The `count` choices of a response that came whole.

    Raises:
        UnusableAnswer: not JSON of that shape, an error in it, fewer or more choices than asked for, indexes that are
            not 0 to count-1 once each, or a choice without a finish reason.
    """
    completion = decoded(_decoder, body, NO_COMPLETION)
    refuse_error(completion.error)
    if completion.choices is None:
        raise UnusableAnswer(f"no chat completion: it has no choices; it begins {beginning(body)}")
    found: dict[int, Choice] = {}
    for place, choice in enumerate(completion.choices):
        refuse_error(choice.error)
        index = place if choice.index is None else choice.index
        if index in found:
            raise UnusableAnswer(f"two choices have the index {index}")
        if choice.message is None:
            raise UnusableAnswer(f"choice {index} has no message; it begins {beginning(body)}")
        found[index] = whole_choice(index, choice.message, choice.finish_reason, choice.logprobs)
    return Reply(in_order(found, count), read_usage(completion.model, completion.usage))


def refuse_error(error: object) -> None:
    """Nothing where there is no error.

    Raises:
        UnusableAnswer: there is one, in a response that says it is a success.
    """
    if not error:
        return
    message = error.get("message") or error.get("code") if isinstance(error, dict) else error
    raise UnusableAnswer(f"a success with an error in it: {str(message)[:300]}")


def whole_choice(index: int, said: Said, finish_reason: str | None, logprobs: Any) -> Choice:
    """A choice that ended.

    Raises:
        UnusableAnswer: it did not end, ended by an error, or calls something that is no function.
    """
    if not finish_reason:
        raise UnusableAnswer(f"choice {index} has no finish reason, so that nobody knows whether it is whole")
    if finish_reason == "error":
        raise UnusableAnswer(f"the server stopped choice {index} by an error")
    calls = [_call(call) for call in said.tool_calls or ()]
    return Choice(_text(said.content), finish_reason, said.refusal or None, calls, logprobs)


def in_order(found: dict[int, Choice], count: int) -> list[Choice]:
    """The choices 0 to count-1.

    Raises:
        UnusableAnswer: others are there.
    """
    if not (count == len(found) == 1 and 0 in found) and sorted(found) != list(range(count)):
        shown = ", ".join(map(str, sorted(found)[:10])) or "none"
        raise UnusableAnswer(f"{count} choices were asked for, 0 to {count - 1}, and these came: {shown}")
    return [found[index] for index in range(count)]


def read_usage(model: str | None, usage: object) -> Usage:
    """What the server counted; 0, which is unknown, for what cannot be a count: a paid answer is not lost for it."""
    fields = usage if isinstance(usage, dict) else {}
    details = fields.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else None
    return Usage(
        model=model,
        prompt_tokens=_count(fields.get("prompt_tokens")),
        completion_tokens=_count(fields.get("completion_tokens")),
        cached_tokens=_count(cached),
    )


def _count(value: object) -> int:
    if type(value) is int and 0 <= value <= _MOST_TOKENS:
        return value
    is_count = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= _MOST_TOKENS
    return int(value) if is_count and isinstance(value, int | float) else 0


def _text(content: str | Sequence[Any] | None) -> str | None:
    """Some servers give the content as a list of parts, as it stands in a request."""
    if content is None or isinstance(content, str):
        return content
    texts = [part.get("text") for part in content if isinstance(part, dict)]
    return "".join(text for text in texts if isinstance(text, str))


def _call(call: Call) -> dict[str, str]:
    function = call.function
    if function is None or not function.name:
        raise UnusableAnswer("a tool call names no function")
    arguments = function.arguments
    text = msgspec.json.encode(arguments).decode() if isinstance(arguments, dict) else arguments or ""
    return {"id": call.id or "", "name": function.name, "arguments": text}
