"""``POST /v1/embeddings``, with the checks, limits and messages of the service.

Source: API reference, "Embeddings": at most 2,048 inputs, 8,192 tokens each and 300,000 a request; no empty input.
"""

from __future__ import annotations

import asyncio
import base64
import math
import sys
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from penstock.sandbox import errors, fields
from penstock.sandbox.contract import Answer, Call, ModelCard, Operation, Resource, Work
from penstock.sandbox.errors import ApiError
from penstock.sandbox.models.embeddings import lexical_model
from penstock.sandbox.settings import Settings
from penstock.sandbox.tokens import LARGEST_TOKEN, count_tokens, decode_tokens

MOST_INPUTS = 2_048
MOST_TOKENS_EACH = 8_192
MOST_TOKENS = 300_000
LEXICAL = "sandbox: lexical, not semantic"
_ADA = "text-embedding-ada-002"
_SIZES = {"text-embedding-3-small": 1536, "text-embedding-3-large": 3072, _ADA: 1536}
_CARDS = (
    ModelCard("text-embedding-3-small", 1705948997, "system", LEXICAL),
    ModelCard("text-embedding-3-large", 1705953180, "system", LEXICAL),
    ModelCard(_ADA, 1671217299, "openai-internal", LEXICAL),
)
_EXTRA_CREATED = 1704067200
_ARGUMENTS = {"input", "model", "encoding_format", "dimensions", "user"}
_TURN = 32
"""Inputs that are worked on before other requests get their turn."""


@dataclass(frozen=True, slots=True)
class _Request:
    model: str
    size: int
    dimensions: int
    as_base64: bool
    texts: tuple[str, ...]
    tokens: int


def _prepare(call: Call) -> Work:
    body = call.json()
    fields.refuse_unknown_arguments(body, _ARGUMENTS)
    model = _model(call, body)
    size = _size(call, model)
    dimensions = _dimensions(body, model, size)
    as_base64 = _encoding(body)
    if "user" in body and not isinstance(body["user"], str):
        raise errors.wrong_type("user", "a string", body["user"])
    texts, tokens = _inputs(body)
    request = _Request(model, size, dimensions, as_base64, texts, tokens)

    async def answer() -> Answer:
        return await _answer(request)

    return Work(answer, model=model, tokens=tokens, texts=texts, key=(model, dimensions))


def _model(call: Call, body: dict[str, Any]) -> str:
    model = body.get("model", "")
    if not isinstance(model, str):
        raise errors.wrong_type("model", "a string", model)
    if not model:
        raise ApiError(400, "you must provide a model parameter")
    if model not in call.sandbox.cards:
        raise errors.model_not_found(model)
    return model


def _size(call: Call, model: str) -> int:
    size = call.sandbox.settings.models.get(model) or _SIZES.get(model)
    if size is None:
        raise ApiError(403, "You are not allowed to generate embeddings from this model")
    return size


def _dimensions(body: dict[str, Any], model: str, size: int) -> int:
    if "dimensions" not in body:
        return size
    value = body["dimensions"]
    if type(value) is not int:
        raise errors.wrong_type("dimensions", "an integer", value)
    if model == _ADA:
        raise ApiError(400, "This model does not support specifying dimensions.")
    fields.within("dimensions", value, 1, math.inf, "integer")
    if value > size:
        raise ApiError(400, f"Invalid value for 'dimensions' = {value}. Must be less than or equal to {size}.")
    return value


def _encoding(body: dict[str, Any]) -> bool:
    value = body.get("encoding_format", "float")
    if not isinstance(value, str):
        raise errors.wrong_type("encoding_format", "one of 'float' or 'base64'", value)
    if value not in ("float", "base64"):
        raise fields.unsupported_value("encoding_format", value, ("float", "base64"))
    return value == "base64"


def _inputs(body: dict[str, Any]) -> tuple[tuple[str, ...], int]:
    """The inputs as texts, and their tokens in all."""
    if "input" not in body:
        raise errors.missing_parameter("input")
    texts: list[str] = []
    total = 0
    for item in _split(body["input"]):
        if isinstance(item, str):
            count = count_tokens(item)
            text = item
        else:
            count = len(item)
            text = decode_tokens(item) if count <= MOST_TOKENS_EACH else ""
        if count > MOST_TOKENS_EACH:
            raise ApiError(
                400,
                f"This model's maximum context length is {MOST_TOKENS_EACH} tokens, however you requested {count} "
                f"tokens ({count} in your prompt; 0 for the completion). Please reduce your prompt; or completion "
                "length.",
            )
        texts.append(text)
        total += count
    if total > MOST_TOKENS:
        raise ApiError(
            400,
            f"Requested {total} tokens, max {MOST_TOKENS} tokens per request",
            type="max_tokens_per_request",
            code="max_tokens_per_request",
        )
    return tuple(texts), total


def _split(value: Any) -> Sequence[str | list[int]]:
    """One input or many, each a text or a list of token ids; all of one kind, none empty."""
    if isinstance(value, str) and value:
        return [value]
    if not isinstance(value, list) or not value:
        raise _invalid_input()
    if _are_tokens(value):
        return [value]
    if len(value) > MOST_INPUTS:
        raise ApiError(
            400,
            f"Invalid 'input': array too long. Expected an array with maximum length {MOST_INPUTS}, but got an array "
            f"with length {len(value)} instead.",
            param="input",
            code="array_above_max_length",
        )
    all_texts = all(isinstance(item, str) and item for item in value)
    if all_texts or all(isinstance(item, list) and _are_tokens(item) for item in value):
        return value
    raise _invalid_input()


def _are_tokens(value: list[Any]) -> bool:
    return bool(value) and all(type(item) is int and 0 <= item <= LARGEST_TOKEN for item in value)


def _invalid_input() -> ApiError:
    return ApiError(
        400, "'$.input' is invalid. Please check the API reference: https://platform.openai.com/docs/api-reference."
    )


async def _answer(request: _Request) -> Answer:
    model = lexical_model(request.model, request.size, request.dimensions)
    data: list[dict[str, object]] = []
    for index, text in enumerate(request.texts):
        if index % _TURN == _TURN - 1:
            await asyncio.sleep(0)
        vector = model.vector(text)
        embedding = _base64(vector) if request.as_base64 else list(vector)
        data.append({"object": "embedding", "index": index, "embedding": embedding})
    name = f"{_ADA}-v2" if request.model == _ADA else request.model
    usage = {"prompt_tokens": request.tokens, "total_tokens": request.tokens}
    body = msgspec.json.encode({"object": "list", "data": data, "model": name, "usage": usage})
    return Answer(body, headers={"openai-model": name})


def _base64(vector: array[float]) -> str:
    if sys.byteorder == "big":
        vector.byteswap()
    return base64.b64encode(vector.tobytes()).decode("ascii")


def _cards(settings: Settings) -> list[ModelCard]:
    extra = [ModelCard(name, _EXTRA_CREATED, "sandbox", LEXICAL) for name in settings.models]
    return [*_CARDS, *extra]


RESOURCE = Resource(operations=(Operation("POST", "/v1/embeddings", _prepare),), cards=_cards)
