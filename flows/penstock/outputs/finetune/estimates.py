"""Tokens that can only be estimated, for the service does not say how it writes tools and pictures for a model.

Tools: the formula of the service's cookbook ("How to count tokens with Tiktoken", tool calls), which agreed with what
the service counted for flat parameters; deeper ones are counted as it counts flat ones. Pictures: the service's guide
on vision, by tiles of 512 pixels.
"""

from __future__ import annotations

import base64
import binascii
import math
from typing import Any, NamedTuple

import msgspec

from penstock.tokens import TokenCounter

_PROPERTIES = 3
_PROPERTY = 3
_ENUM = -3
_ENUM_VALUE = 3
_TOOLS = 12
_DEEPEST = 20
_ASSUMED = (1024, 1024)
"""Pixels of a picture whose size is not known, such as one at an address."""
_HEAD = 64 * 1024
_START_OF_FRAME = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}


class Picture(NamedTuple):
    """A picture of an example.

    Attributes:
        digest: 64 bits of its part of the message.
        detail: as asked for: auto, low or high.
        size: width and height in pixels, None where only the service can know.
    """

    digest: int
    detail: str
    size: tuple[int, int] | None


def tool_tokens(context: str, counter: TokenCounter) -> int:
    """About how many tokens the tools of an example are.

    Args:
        context: lists of tools or functions in a JSON list, as `Example.context` has them.
    """
    tools = [one for group in msgspec.json.decode(context) if isinstance(group, list) for one in group]
    functions = [one.get("function", one) for one in tools if isinstance(one, dict)]
    # By the vocabulary of gpt-4o and later models, or the one before it.
    begins = 10 if counter.name == "cl100k_base" else 7
    counted = [begins + _described(one, counter, 0) for one in functions if isinstance(one, dict)]
    return sum(counted) + _TOOLS if counted else 0


def _described(function: dict[str, Any], counter: TokenCounter, depth: int) -> int:
    line = f"{function.get('name')}:{_sentence(function.get('description'))}"
    return counter.count(line) + _properties(function.get("parameters"), counter, depth)


def _properties(schema: Any, counter: TokenCounter, depth: int) -> int:
    found = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(found, dict) or not found or depth > _DEEPEST:
        return 0
    tokens = _PROPERTIES
    for name, one in found.items():
        described = one if isinstance(one, dict) else {}
        kind = described.get("type")
        tokens += _PROPERTY + counter.count(f"{name}:{kind}:{_sentence(described.get('description'))}")
        values = described.get("enum")
        if isinstance(values, list):
            tokens += _ENUM + sum(_ENUM_VALUE + counter.count(str(value)) for value in values)
        tokens += _properties(described, counter, depth + 1) + _properties(described.get("items"), counter, depth + 1)
    return tokens


def _sentence(description: Any) -> str:
    return description.removesuffix(".") if isinstance(description, str) else ""


def picture_tokens(picture: Picture, model: str) -> int:
    """About how many tokens a picture is for a model."""
    base, tile = (2833, 5667) if "4o-mini" in model else (85, 170)
    if picture.detail == "low":
        return base
    width, height = (float(max(pixels, 1)) for pixels in picture.size or _ASSUMED)
    shrink = min(1.0, 2048 / max(width, height))
    shrink *= min(1.0, 768 / (min(width, height) * shrink))
    return base + tile * math.ceil(width * shrink / 512) * math.ceil(height * shrink / 512)


def picture_of(part: dict[str, Any], digest: int) -> Picture:
    """Of a part of a message whose type is ``image_url``."""
    image = part.get("image_url")
    url, detail = (image.get("url"), image.get("detail")) if isinstance(image, dict) else (None, None)
    size = _size_of(url) if isinstance(url, str) and url.startswith("data:") else None
    return Picture(digest, detail if isinstance(detail, str) else "auto", size)


def _size_of(url: str) -> tuple[int, int] | None:
    """By the head of a PNG or JPEG file in a data URL."""
    data = url.partition(",")[2][: _HEAD * 4 // 3 // 4 * 4]
    try:
        raw = base64.b64decode(data + "=" * (-len(data) % 4))
    except (binascii.Error, ValueError):
        return None
    if raw.startswith(b"\x89PNG\r\n\x1a\n") and len(raw) >= 24:
        return int.from_bytes(raw[16:20], "big"), int.from_bytes(raw[20:24], "big")
    at = 2
    while raw.startswith(b"\xff\xd8") and at + 9 < len(raw) and raw[at] == 0xFF:
        if raw[at + 1] in _START_OF_FRAME:
            return int.from_bytes(raw[at + 7 : at + 9], "big"), int.from_bytes(raw[at + 5 : at + 7], "big")
        at += 2 + max(2, int.from_bytes(raw[at + 2 : at + 4], "big"))
    return None
