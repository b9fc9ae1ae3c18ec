"""``POST /v1/images/generations``, and the pictures it makes under ``/_images``. Source: API reference, "Images".

A picture is a pattern in colours that its prompt decides, a real PNG of the size that was asked for. Its address needs
no key, like the service's own, and holds as long as the server runs.
"""

from __future__ import annotations

import asyncio
import base64
import secrets
from dataclasses import dataclass, field
from typing import Any

import msgspec

from penstock.sandbox import errors, fields
from penstock.sandbox.contract import Answer, Call, ModelCard, Operation, Resource, Work
from penstock.sandbox.errors import ApiError
from penstock.sandbox.gates import PICTURES
from penstock.sandbox.models.patterns import draw_pattern
from penstock.sandbox.settings import Settings
from penstock.sandbox.tokens import O200K, count_tokens

PATTERN = "sandbox: a coloured pattern, not a picture of the prompt"
MOST_IMAGES = 10
_KEPT = 10_000
"""Addresses that are remembered; a recipe is some hundred bytes, its picture is drawn when it is fetched."""
_DALL_E_3 = "dall-e-3"


@dataclass(frozen=True, slots=True)
class _Model:
    """What one image model takes.

    Attributes:
        sizes: the first one is the default.
        qualities: the first one is the default.
        longest: characters of a prompt.
        most: images in one request.
        modern: answers in base64 only, with usage, as the models after DALL·E do.
    """

    sizes: tuple[str, ...]
    qualities: tuple[str, ...]
    longest: int
    most: int = MOST_IMAGES
    modern: bool = False


_GPT_IMAGE = _Model(
    ("auto", "1024x1024", "1536x1024", "1024x1536"), ("auto", "low", "medium", "high"), 32_000, modern=True
)
_MODELS = {
    _DALL_E_3: _Model(("1024x1024", "1792x1024", "1024x1792"), ("standard", "hd"), 4_000, most=1),
    "dall-e-2": _Model(("1024x1024", "512x512", "256x256"), ("standard",), 1_000),
    "gpt-image-1": _GPT_IMAGE,
    "gpt-image-1-mini": _GPT_IMAGE,
}
_CREATED = {
    _DALL_E_3: 1698785189,
    "dall-e-2": 1698798177,
    "gpt-image-1": 1745517030,
    "gpt-image-1-mini": 1758845821,
}
_COMMON = {"prompt", "model", "n", "size", "quality", "user"}
_CLASSIC_FIELDS = _COMMON | {"response_format", "style"}
_MODERN_FIELDS = _COMMON | {
    "background",
    "moderation",
    "output_format",
    "output_compression",
    "partial_images",
    "stream",
    "safety_identifier",
}
_IMAGE_TOKENS = {
    "low": {"1024x1024": 272, "1536x1024": 400, "1024x1536": 408},
    "medium": {"1024x1024": 1056, "1536x1024": 1568, "1024x1536": 1584},
    "high": {"1024x1024": 4160, "1536x1024": 6208, "1024x1536": 6240},
}


@dataclass(frozen=True, slots=True)
class _Recipe:
    """All that decides one picture."""

    seed: str
    width: int
    height: int
    vivid: bool
    fine: bool

    def draw(self) -> bytes:
        return draw_pattern(self.seed, self.width, self.height, vivid=self.vivid, fine=self.fine)


@dataclass(slots=True)
class _Pictures:
    """The recipes of the pictures that have an address, by name."""

    recipes: dict[str, _Recipe] = field(default_factory=dict)

    def keep(self, recipe: _Recipe) -> str:
        name = f"img-{secrets.token_urlsafe(18)}"
        self.recipes[name] = recipe
        if len(self.recipes) > _KEPT:
            del self.recipes[next(iter(self.recipes))]
        return name


@dataclass(frozen=True, slots=True)
class _Request:
    prompt: str
    model: str
    n: int
    size: str
    quality: str
    style: str
    as_url: bool
    background: str
    base: str

    @property
    def recipes(self) -> list[_Recipe]:
        width, height = map(int, self.size.split("x"))
        fine = self.quality in ("hd", "high")
        seeds = (f"{self.model} {self.style} {self.quality} {index} {self.prompt}" for index in range(self.n))
        return [_Recipe(seed, width, height, self.style == "vivid", fine) for seed in seeds]


def _prepare(call: Call) -> Work:
    body = call.json()
    name = fields.read_text(body, "model", least=1) or _DALL_E_3
    model = _MODELS.get(name)
    if model is None:
        if name not in call.sandbox.cards:
            raise errors.model_not_found(name)
        raise fields.unsupported_value("model", name, tuple(_MODELS))
    fields.refuse_unknown(body, _MODERN_FIELDS if model.modern else _CLASSIC_FIELDS)
    fields.read_text(body, "user")
    request = _read_modern(body, name, model) if model.modern else _read_classic(call, body, name, model)
    tokens = count_tokens(request.prompt, O200K) if model.modern else 0

    async def answer() -> Answer:
        return await _answer(call, request)

    key = (name, request.n, request.size, request.quality, request.style)
    return Work(answer, model=name, tokens=tokens, texts=(request.prompt,), key=key)


def _read_classic(call: Call, body: dict[str, Any], name: str, model: _Model) -> _Request:
    prompt = fields.require_text(body, "prompt", most=model.longest)
    n = _count(body, model)
    size = _size(body, model)
    style = fields.read_choice(body, "style", ("vivid", "natural")) or "vivid"
    form = fields.read_choice(body, "response_format", ("url", "b64_json")) or "url"
    quality = fields.read_choice(body, "quality", model.qualities) or model.qualities[0]
    base = f"http://{call.headers.get('host', 'localhost')}{PICTURES}"
    return _Request(prompt, name, n, size, quality, style, form == "url", "", base)


def _read_modern(body: dict[str, Any], name: str, model: _Model) -> _Request:
    prompt = fields.require_text(body, "prompt", most=model.longest)
    n = _count(body, model)
    size = _size(body, model)
    quality = fields.read_choice(body, "quality", model.qualities) or model.qualities[0]
    fields.read_choice(body, "background", ("transparent", "opaque", "auto"))
    fields.read_choice(body, "moderation", ("low", "auto"))
    fields.read_text(body, "safety_identifier")
    fields.read_integer(body, "partial_images", 0, 3)
    fields.read_integer(body, "output_compression", 0, 100)
    if fields.read_choice(body, "output_format", ("png", "jpeg", "webp")) not in (None, "png"):
        raise _only("output_format", "draws PNG only: leave 'output_format' out, or set it to 'png'")
    if fields.read_flag(body, "stream"):
        raise _only("stream", "sends images whole: leave 'stream' out")
    size = model.sizes[1] if size == "auto" else size
    quality = "high" if quality == "auto" else quality
    return _Request(prompt, name, n, size, quality, "natural", False, "opaque", "")


def _count(body: dict[str, Any], model: _Model) -> int:
    n = fields.read_integer(body, "n", 1, MOST_IMAGES) or 1
    if n > model.most:
        raise ApiError(400, "You must provide n=1 for this model.", param="n")
    return n


def _size(body: dict[str, Any], model: _Model) -> str:
    known = tuple(dict.fromkeys(size for each in _MODELS.values() for size in each.sizes))
    size = fields.read_choice(body, "size", known) or model.sizes[0]
    if size not in model.sizes:
        raise ApiError(
            400,
            f"Invalid value: '{size}'. Supported values are: {fields.quoted(model.sizes, 'and')}.",
            param="size",
            code="invalid_value",
        )
    return size


def _only(param: str, what: str) -> ApiError:
    return ApiError(400, f"The sandbox {what}.", param=param, code="unsupported_in_sandbox")


async def _answer(call: Call, request: _Request) -> Answer:
    data: list[dict[str, str]] = []
    for recipe in request.recipes:
        image: dict[str, str] = {}
        if request.model == _DALL_E_3:
            image["revised_prompt"] = _revise(request)
        if request.as_url:
            image["url"] = f"{request.base}/{call.sandbox.store(_Pictures).keep(recipe)}.png"
        else:
            picture = await asyncio.to_thread(recipe.draw)
            image["b64_json"] = base64.b64encode(picture).decode("ascii")
        data.append(image)
    reply: dict[str, Any] = {"created": int(call.sandbox.agenda.now()), "data": data}
    if _MODELS[request.model].modern:
        reply |= {
            "background": request.background,
            "output_format": "png",
            "quality": request.quality,
            "size": request.size,
            "usage": _usage(request),
        }
    return Answer(msgspec.json.encode(reply), headers={"openai-model": request.model})


def _usage(request: _Request) -> dict[str, Any]:
    asked = count_tokens(request.prompt, O200K)
    drawn = _IMAGE_TOKENS[request.quality][request.size] * request.n
    return {
        "input_tokens": asked,
        "input_tokens_details": {"text_tokens": asked, "image_tokens": 0},
        "output_tokens": drawn,
        "output_tokens_details": {"text_tokens": 0, "image_tokens": drawn},
        "total_tokens": asked + drawn,
    }


def _revise(request: _Request) -> str:
    manner = "in strong colours with high contrast" if request.style == "vivid" else "in soft, natural colours"
    detail = ", with fine detail" if request.quality == "hd" else ""
    return f"{request.prompt.strip().rstrip('.')}, {manner}{detail}."


def _fetch(call: Call) -> Work:
    name = call.path["name"]
    recipe = call.sandbox.store(_Pictures).recipes.get(name.removesuffix(".png")) if name.endswith(".png") else None
    if recipe is None:
        raise ApiError(404, "There is no such image; images go when the sandbox ends.", code="image_not_found")

    async def answer() -> Answer:
        return Answer(await asyncio.to_thread(recipe.draw), media_type="image/png")

    return Work(answer)


def _cards(settings: Settings) -> list[ModelCard]:  # noqa: ARG001  # the contract's signature
    return [ModelCard(name, created, "system", PATTERN) for name, created in _CREATED.items()]


RESOURCE = Resource(
    operations=(
        Operation("POST", "/v1/images/generations", _prepare),
        Operation("GET", PICTURES + "/{name}", _fetch, metered=False),
    ),
    cards=_cards,
)
