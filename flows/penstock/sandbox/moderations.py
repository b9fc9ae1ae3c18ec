"""``POST /v1/moderations``: texts and pictures, with the checks and fields of the service.

Source: API reference, "Moderations". An array of strings gives one result each; an array of parts (text, image) is one
input and gives one result. The ``omni-moderation`` models have thirteen categories and take one image; the
``text-moderation`` models have the eleven of the 2024 reference and take text only.
"""

from __future__ import annotations

import base64
import binascii
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import msgspec

from penstock.sandbox import errors
from penstock.sandbox.contract import Answer, Call, ModelCard, Operation, Resource, Work
from penstock.sandbox.errors import ApiError
from penstock.sandbox.fields import (
    empty_array,
    read_choice,
    read_object,
    read_text,
    refuse_unknown,
    refuse_unknown_arguments,
    required,
)
from penstock.sandbox.models.moderation import (
    CATEGORIES,
    IMAGE_CATEGORIES,
    TEXT_CATEGORIES,
    is_flagged,
    merge,
    score_image,
    score_text,
)
from penstock.sandbox.settings import Settings
from penstock.sandbox.tokens import count_tokens

MOST_IMAGES = 1
DESCRIPTION = "sandbox: a list of words, not a judgement"
_DEFAULT = "omni-moderation-latest"
_ANSWERED_AS = {
    _DEFAULT: "omni-moderation-2024-09-26",
    "omni-moderation-2024-09-26": "omni-moderation-2024-09-26",
    "text-moderation-latest": "text-moderation-007",
    "text-moderation-stable": "text-moderation-007",
    "text-moderation-007": "text-moderation-007",
}
_CREATED = {_DEFAULT: 1731689265, "omni-moderation-2024-09-26": 1732734466}
_TEXT_CREATED = 1695148800


@dataclass(frozen=True, slots=True)
class _Part:
    """A text, or the name of an image."""

    kind: str
    value: str


def _prepare(call: Call) -> Work:
    body = call.json()
    refuse_unknown_arguments(body, {"input", "model"})
    model = _model(call, body)
    inputs = _inputs(required(body, "input"), model)
    texts = tuple("\n".join(part.value for part in parts) for parts in inputs)
    tokens = sum(count_tokens(part.value) for parts in inputs for part in parts if part.kind == "text")

    async def answer() -> Answer:
        categories = TEXT_CATEGORIES if model.startswith("text-") else CATEGORIES
        results = [_result(parts, categories) for parts in inputs]
        value = {"id": f"modr-{uuid.uuid4().hex}", "model": _ANSWERED_AS[model], "results": results}
        return Answer(msgspec.json.encode(value))

    return Work(answer, model=model, tokens=tokens, texts=texts, key=("moderations", model))


def _model(call: Call, body: dict[str, Any]) -> str:
    model = read_text(body, "model") or _DEFAULT
    if model in _ANSWERED_AS:
        return model
    if model not in call.sandbox.cards:
        raise errors.model_not_found(model)
    raise ApiError(
        400,
        f"Invalid value for 'model' = {model}. Please check the OpenAPI documentation and try again.",
        param="model",
    )


def _inputs(value: Any, model: str) -> list[list[_Part]]:
    """The inputs, each as its parts."""
    if isinstance(value, str):
        return [[_Part("text", value)]]
    if not isinstance(value, list):
        raise errors.wrong_type("input", "one of a string or array of strings or array of objects", value)
    if not value:
        raise empty_array("input")
    if all(isinstance(item, str) for item in value):
        return [[_Part("text", item)] for item in value]
    parts = [_part(item, f"input[{index}]", model) for index, item in enumerate(value)]
    if sum(part.kind == "image" for part in parts) > MOST_IMAGES:
        raise ApiError(
            400,
            f"Too many images in request. Maximum allowed: {MOST_IMAGES}.",
            param="input",
            code="too_many_images",
        )
    return [parts]


def _part(item: Any, at: str, model: str) -> _Part:
    if not isinstance(item, dict):
        raise errors.wrong_type(at, "an object", item)
    required(item, "type", f"{at}.")
    kind = read_choice(item, "type", ("text", "image_url"), f"{at}.")
    if kind == "text":
        refuse_unknown(item, {"type", "text"}, f"{at}.")
        required(item, "text", f"{at}.")
        text = read_text(item, "text", f"{at}.")
        if text is None:
            raise errors.wrong_type(f"{at}.text", "a string", None)
        return _Part("text", text)
    if kind is None:
        raise errors.wrong_type(f"{at}.type", "one of 'text' or 'image_url'", None)
    refuse_unknown(item, {"type", "image_url"}, f"{at}.")
    if model.startswith("text-"):
        raise ApiError(400, f"The model '{model}' does not support image inputs.", param=at, code="invalid_value")
    required(item, "image_url", f"{at}.")
    image = read_object(item, "image_url", f"{at}.")
    if image is None:
        raise errors.wrong_type(f"{at}.image_url", "an object", None)
    required(image, "url", f"{at}.image_url.")
    url = read_text(image, "url", f"{at}.image_url.") or ""
    return _Part("image", image_name(url, f"{at}.image_url.url"))


def image_name(url: str, param: str) -> str:
    """The last part of an http address; empty for a data URI, whose bytes say nothing about a name.

    Raises:
        ApiError: neither of the two, or a data URI that is not base64 of an image.
    """
    scheme, _, rest = url.partition(":")
    if scheme in ("http", "https") and rest.startswith("//") and len(rest) > 2:
        path = rest[2:].partition("?")[0].partition("#")[0].rstrip("/")
        return unquote(path.rpartition("/")[2])
    if scheme == "data":
        _decode(url, param)
        return ""
    raise _bad_image(param, "Expected a valid URL or a base64-encoded data URI of an image.")


def _decode(url: str, param: str) -> bytes:
    head, comma, data = url.partition(",")
    if not comma or not head.startswith("data:image/") or not head.endswith(";base64"):
        raise _bad_image(param, "Expected a base64-encoded data URI with an image MIME type.")
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise _bad_image(param, "The image data is not valid base64.") from None


def _bad_image(param: str, why: str) -> ApiError:
    return ApiError(400, f"Invalid '{param}'. {why}", param=param, code="invalid_image_url")


def _result(parts: Sequence[_Part], categories: Sequence[str]) -> dict[str, object]:
    scores = merge([score_text(part.value) if part.kind == "text" else score_image(part.value) for part in parts])
    kinds = [kind for kind in ("text", "image") if any(part.kind == kind for part in parts)]
    flags = {name: is_flagged(name, scores[name]) for name in categories}
    return {
        "flagged": any(flags.values()),
        "categories": flags,
        "category_scores": {name: scores[name] for name in categories},
        "category_applied_input_types": {
            name: [kind for kind in kinds if kind == "text" or name in IMAGE_CATEGORIES] for name in categories
        },
    }


def _cards(settings: Settings) -> list[ModelCard]:  # noqa: ARG001  # the same for all settings
    return [ModelCard(name, _CREATED.get(name, _TEXT_CREATED), "system", DESCRIPTION) for name in _ANSWERED_AS]


RESOURCE = Resource(operations=(Operation("POST", "/v1/moderations", _prepare),), cards=_cards)
