"""``POST /v1/chat/completions``: answers by rules, with the checks, limits, fields and events of the service.

Source: API reference, "Chat". What the answers are good for stands in `penstock.sandbox.models.chat`.
"""

from __future__ import annotations

import uuid
from hashlib import blake2b

import msgspec

from penstock.sandbox.chat_choices import make_choices
from penstock.sandbox.chat_models import chat_cards
from penstock.sandbox.chat_request import ChatRequest, read_request
from penstock.sandbox.chat_wire import Reply, stream_completion, write_completion
from penstock.sandbox.contract import Answer, Call, ModelCard, Operation, Resource, Work
from penstock.sandbox.prompt_cache import PromptCache
from penstock.sandbox.settings import Settings
from penstock.sandbox.tokens import encode


def _prepare(call: Call) -> Work:
    body = call.json()
    request = read_request(body, call.sandbox.cards)
    model = request.model
    texts = ("\n".join(message.text for message in request.messages),)
    digest = blake2b(msgspec.json.encode(body, order="deterministic"), digest_size=16).digest()

    async def answer() -> Answer:
        cached = min(call.sandbox.store(PromptCache).look_up(model.id, _prompt(request)), request.prompt_tokens)
        created = int(call.sandbox.agenda.now())
        reply = Reply(f"chatcmpl-{uuid.uuid4().hex[:29]}", created, request, make_choices(request), cached)
        tokens = request.prompt_tokens + sum(choice.paid for choice in reply.choices)
        if request.stream:
            return Answer(stream_completion(reply), media_type="text/event-stream; charset=utf-8", tokens=tokens)
        return Answer(write_completion(reply), tokens=tokens)

    # The limits count what the answer may need, as the service does, because nobody knows yet what it will.
    asked = request.prompt_tokens + request.choices * (request.most or 0)
    return Work(answer, model=model.id, tokens=asked, texts=texts, key=("chat", digest))


def _prompt(request: ChatRequest) -> list[int]:
    text = "\n".join(f"{message.role} {message.name}\n{message.text}" for message in request.messages)
    return encode(text, request.model.vocabulary)


def _cards(settings: Settings) -> list[ModelCard]:  # noqa: ARG001  # the same for all settings
    return chat_cards()


RESOURCE = Resource(operations=(Operation("POST", "/v1/chat/completions", _prepare),), cards=_cards)
