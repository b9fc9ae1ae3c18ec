"""Chat answers as the service writes them: one JSON object, or server-sent events."""

from __future__ import annotations

import codecs
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from penstock.sandbox.chat_choices import Choice, ToolCall, log_probabilities
from penstock.sandbox.chat_request import ChatRequest
from penstock.sandbox.tokens import encode, token_bytes

DONE = b"data: [DONE]\n\n"
_TIERS = {"auto": "default", "fast": "priority"}


@dataclass(frozen=True, slots=True)
class Reply:
    """A request with its answers.

    Attributes:
        id: of the completion.
        created: seconds since 1970.
        request: what was asked.
        choices: the answers.
        cached: tokens of the prompt that were seen before.
    """

    id: str
    created: int
    request: ChatRequest
    choices: Sequence[Choice]
    cached: int

    def usage(self) -> dict[str, object]:
        """Tokens of the prompt and of all choices."""
        completion = sum(choice.paid for choice in self.choices)
        prompt = self.request.prompt_tokens
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": self.cached, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": sum(choice.thought for choice in self.choices),
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        }


def write_completion(reply: Reply) -> bytes:
    """The whole answer as JSON."""
    value = _head(reply, "chat.completion")
    value["choices"] = [_show(reply, index, choice) for index, choice in enumerate(reply.choices)]
    value["usage"] = reply.usage()
    if reply.request.metadata is not None:
        value["metadata"] = reply.request.metadata
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


async def stream_completion(reply: Reply) -> AsyncIterator[bytes]:
    """The answer as events: a delta for each token, the finish reason, the usage when it was asked for, ``[DONE]``."""
    head = _head(reply, "chat.completion.chunk")
    with_usage = reply.request.with_usage
    for index, choice in enumerate(reply.choices):
        for delta, chances, finish in _deltas(reply, index, choice):
            shown = {"index": index, "delta": delta, "logprobs": chances, "finish_reason": finish}
            yield _event({**head, "choices": [shown], **({"usage": None} if with_usage else {})})
    if with_usage:
        yield _event({**head, "choices": [], "usage": reply.usage()})
    yield DONE


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace") + b"\n\n"


def _head(reply: Reply, kind: str) -> dict[str, Any]:
    model = reply.request.model
    head: dict[str, Any] = {"id": reply.id, "object": kind, "created": reply.created, "model": model.answered_as}
    if reply.request.tier:
        head["service_tier"] = _TIERS.get(reply.request.tier, reply.request.tier)
    head["system_fingerprint"] = f"fp_{blake2b(model.answered_as.encode(), digest_size=5).hexdigest()}"
    return head


def _show(reply: Reply, index: int, choice: Choice) -> dict[str, object]:
    message: dict[str, object] = {"role": "assistant", "content": choice.content, "refusal": None, "annotations": []}
    calls = [_call(reply, index, place, call) for place, call in enumerate(choice.calls)]
    if calls and reply.request.tools.legacy:
        message["function_call"] = calls[0]["function"]
    elif calls:
        message["tool_calls"] = calls
    chances = None
    if reply.request.logprobs is not None and choice.content is not None:
        chances = {"content": log_probabilities(choice, reply.request), "refusal": None}
    return {"index": index, "message": message, "logprobs": chances, "finish_reason": choice.finish}


def _call(reply: Reply, index: int, place: int, call: ToolCall) -> dict[str, Any]:
    mark = blake2b(f"{reply.id} {index} {place}".encode(), digest_size=12).hexdigest()
    if call.custom:
        return {"id": f"call_{mark}", "type": "custom", "custom": {"name": call.name, "input": call.arguments}}
    return {"id": f"call_{mark}", "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _deltas(reply: Reply, index: int, choice: Choice) -> Iterator[tuple[dict[str, Any], object, str | None]]:
    """The deltas of one choice with their log probabilities; the last one is empty and has the finish reason."""
    if choice.calls:
        yield from _call_deltas(reply, index, choice)
    else:
        yield {"role": "assistant", "content": "", "refusal": None}, None, None
        entries = log_probabilities(choice, reply.request) if reply.request.logprobs is not None else []
        held: list[dict[str, object]] = []
        for place, text in enumerate(_texts(choice.tokens, reply.request.model.vocabulary)):
            held += entries[place : place + 1]
            if text:
                yield {"content": text}, {"content": held, "refusal": None} if entries else None, None
                held = []
    yield {}, None, choice.finish


def _call_deltas(reply: Reply, index: int, choice: Choice) -> Iterator[tuple[dict[str, Any], object, str | None]]:
    vocabulary = reply.request.model.vocabulary
    for place, call in enumerate(choice.calls):
        shown = _call(reply, index, place, call)
        kind, field = ("custom", "input") if call.custom else ("function", "arguments")
        first = {**shown, kind: {**shown[kind], field: ""}}
        lead: dict[str, Any] = {} if place else {"role": "assistant", "content": None, "refusal": None}
        if reply.request.tools.legacy:
            yield {**lead, "function_call": first["function"]}, None, None
        else:
            yield {**lead, "tool_calls": [{"index": place, **first}]}, None, None
        for text in _texts(encode(call.arguments, vocabulary), vocabulary):
            if text and reply.request.tools.legacy:
                yield {"function_call": {"arguments": text}}, None, None
            elif text:
                yield {"tool_calls": [{"index": place, kind: {field: text}}]}, None, None


def _texts(tokens: Sequence[int], vocabulary: str) -> Iterator[str]:
    """The text of each token; empty while a character is incomplete."""
    decoder = codecs.getincrementaldecoder("utf-8")("ignore")
    for token in tokens:
        yield decoder.decode(token_bytes(token, vocabulary))
