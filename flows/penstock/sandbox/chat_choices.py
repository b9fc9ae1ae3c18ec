"""What a valid chat request gets: the texts and tool calls of its choices, cut by ``stop`` and the limit of tokens."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

from penstock.sandbox.chat_messages import Message
from penstock.sandbox.chat_request import ChatRequest
from penstock.sandbox.models.chat import Conversation, as_json, find_subject, reply
from penstock.sandbox.models.extraction import fill
from penstock.sandbox.models.tools import Tool, rank_tools
from penstock.sandbox.tokens import count_tokens, encode, token_bytes

_THOUGHT = {"none": 0, "minimal": 0, "low": 64, "medium": 192, "high": 448, "xhigh": 896, "max": 1_792}
_PER_CALL = 8
_CLEARLY = 2.0
_ORDINARY = 90_000
"""Token ids below it are ordinary ones in both vocabularies."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call of a tool.

    Attributes:
        name: of the tool.
        arguments: as JSON text; of a custom tool its input.
        custom: whether it is one.
    """

    name: str
    arguments: str
    custom: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """One answer.

    Attributes:
        content: the text; None with tool calls.
        tokens: its token ids.
        calls: the tool calls.
        finish: ``stop``, ``length``, ``tool_calls`` or ``function_call``.
        thought: tokens spent on thinking.
        paid: tokens of the answer in all, thinking included.
    """

    content: str | None
    tokens: tuple[int, ...]
    calls: tuple[ToolCall, ...]
    finish: str
    thought: int
    paid: int


def make_choices(request: ChatRequest) -> list[Choice]:
    """The answers to a request; equal requests have equal ones."""
    talk = _conversation(request.messages)
    most = request.model.context - request.prompt_tokens
    most = min(most, request.most or request.model.most_output)
    choices: list[Choice] = []
    for index in range(request.choices):
        variant = index if request.temperature > 0 else 0
        choices.append(choices[0] if index and not variant else _choice(request, talk, variant, most))
    return choices


def log_probabilities(choice: Choice, request: ChatRequest) -> list[dict[str, object]]:
    """Each token of the content with a made-up log probability, and as many alternatives as were asked for."""
    vocabulary = request.model.vocabulary
    entries: list[dict[str, object]] = []
    for place, token in enumerate(choice.tokens):
        mark = int.from_bytes(blake2b(f"{place} {token}".encode(), digest_size=8).digest(), "big")
        chance = 0.6 + 0.399 * (mark % 1000) / 1000
        listed = [_chance(token, chance, vocabulary)]
        for rank in range(1, request.logprobs or 0):
            chance_left = (1 - chance) * 0.5**rank
            listed.append(_chance((token + mark % 1_009 + rank * 31) % _ORDINARY, chance_left, vocabulary))
        entries.append({**listed[0], "top_logprobs": listed if request.logprobs else []})
    return entries


def _chance(token: int, chance: float, vocabulary: str) -> dict[str, object]:
    raw = token_bytes(token, vocabulary)
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = "bytes:" + "".join(f"\\x{byte:02x}" for byte in raw)
    return {"token": text, "logprob": round(math.log(chance), 8), "bytes": list(raw)}


def _conversation(messages: Sequence[Message]) -> Conversation:
    last = max((at for at, message in enumerate(messages) if message.role == "user"), default=-1)
    names = {call_id: name for message in messages for call_id, name, _ in message.calls}
    results = [
        (names.get(message.call_id) or message.name or "the tool", message.text)
        for message in messages[last + 1 :]
        if message.role in ("tool", "function")
    ]
    system = "\n".join(message.text for message in messages if message.role in ("system", "developer"))
    users = [message.text for message in messages if message.role == "user"]
    user = users[-1] if users else messages[-1].text
    return Conversation(system, user, tuple(users[:-1]), tuple(results))


def _choice(request: ChatRequest, talk: Conversation, variant: int, most: int) -> Choice:
    thought = _THOUGHT[request.effort] if request.model.reasoning else 0
    if thought >= most:
        return Choice("", (), (), "length", most, most)
    tools = _called(request, talk)
    if tools:
        return _calls(request, talk, tools, variant, most=most, thought=thought)
    content = _content(request, talk, variant)
    for stop in request.stops:
        content = content.partition(stop)[0]
    tokens = encode(content, request.model.vocabulary)
    finish = "stop"
    if len(tokens) > most - thought:
        tokens = tokens[: most - thought]
        raw = b"".join(token_bytes(token, request.model.vocabulary) for token in tokens)
        content = raw.decode(errors="ignore")
        finish = "length"
    return Choice(content, tuple(tokens), (), finish, thought, thought + len(tokens))


def _content(request: ChatRequest, talk: Conversation, variant: int) -> str:
    if request.schema is None:
        return reply(talk, variant)
    if not request.schema:
        return as_json(talk, variant)
    return json.dumps(fill(request.schema, talk.subject, variant), ensure_ascii=False, separators=(",", ":"))


def _called(request: ChatRequest, talk: Conversation) -> list[Tool]:
    """The tools to call, the best first."""
    use = request.tools
    if use.mode == "none" or not use.tools:
        return []
    if use.mode == "named":
        return [use.tools[0]]
    if talk.tools and use.mode == "auto":
        return []
    ranked = rank_tools(use.tools, talk.user)
    best = ranked[0][1]
    clear = [tool for tool, score in ranked if score >= max(_CLEARLY, best / 2)]
    if not clear and use.mode == "required":
        clear = [ranked[0][0]]
    return clear if use.parallel else clear[:1]


def _calls(
    request: ChatRequest, talk: Conversation, tools: Sequence[Tool], variant: int, *, most: int, thought: int
) -> Choice:
    vocabulary = request.model.vocabulary
    calls: list[ToolCall] = []
    paid = thought
    finish = "function_call" if request.tools.legacy else "tool_calls"
    # As the service does it: a call that was forced by its name ends with "stop".
    finish = "stop" if request.tools.mode == "named" else finish
    for tool in tools:
        text = find_subject(talk.user) if tool.custom else _arguments(tool, talk, variant)
        tokens = encode(text, vocabulary)
        left = most - paid - _PER_CALL - count_tokens(tool.name, vocabulary)
        if len(tokens) > left:
            raw = b"".join(token_bytes(token, vocabulary) for token in tokens[: max(0, left)])
            calls.append(ToolCall(tool.name, raw.decode(errors="ignore"), tool.custom))
            return Choice(None, (), tuple(calls), "length", thought, most)
        calls.append(ToolCall(tool.name, text, tool.custom))
        paid += _PER_CALL + count_tokens(tool.name, vocabulary) + len(tokens)
    return Choice(None, (), tuple(calls), finish, thought, paid)


def _arguments(tool: Tool, talk: Conversation, variant: int) -> str:
    value = fill(tool.parameters, talk.user, variant) if tool.parameters else {}
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
