"""Images in messages: what a data URI must be, how large the picture is, and how many tokens it costs.

Addresses (http) are not fetched: such a picture counts as one of 1,024 by 1,024 pixels.
Source: the service's guide on vision, "Calculating costs".
"""

from __future__ import annotations

import base64
import binascii
import math

from penstock.sandbox.errors import ApiError

_ASSUMED = (1024, 1024)
_TYPES = ("image/png", "image/jpeg", "image/jpg", "image/gif", "image/webp")
_MOST_BYTES = 50 * 2**20
_START_OF_FRAME = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})


def picture_size(url: str, param: str) -> tuple[int, int]:
    """Width and height in pixels.

    Raises:
        ApiError: neither an http address nor base64 of a PNG, JPEG, GIF or WebP.
    """
    scheme, _, rest = url.partition(":")
    if scheme in ("http", "https") and rest.startswith("//") and len(rest) > 2:
        return _ASSUMED
    if scheme != "data":
        raise ApiError(
            400,
            f"Invalid '{param}'. Expected a base64-encoded data URL with an image MIME type (e.g. "
            "'data:image/png;base64,aW1nIGJ5dGVzIGhlcmU='), but got a value without the 'data:' prefix.",
            param=param,
            code="invalid_value",
        )
    head, comma, data = rest.partition(",")
    kind, _, coding = head.partition(";")
    if not comma or coding != "base64":
        raise ApiError(
            400, f"Invalid '{param}'. Expected a base64-encoded data URL.", param=param, code="invalid_base64"
        )
    try:
        raw = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise ApiError(400, "Invalid base64 image_url.", param=param, code="invalid_base64") from None
    if kind.lower() not in _TYPES or not raw or len(raw) > _MOST_BYTES:
        raise ApiError(
            400,
            "You uploaded an unsupported image. Please make sure your image has of one the following formats: "
            "['png', 'jpeg', 'gif', 'webp'].",
            param=param,
            code="invalid_image_format",
        )
    return _read_size(raw) or _ASSUMED


def picture_tokens(size: tuple[int, int], detail: str, model: str) -> int:
    """What a picture costs: a base amount, and in high detail an amount for each tile of 512 by 512 pixels."""
    base, tile = (2833, 5667) if "4o-mini" in model else (75, 150) if model.startswith("o") else (85, 170)
    if detail == "low":
        return base
    width, height = size
    shrink = min(1.0, 2048 / max(width, height, 1))
    width, height = width * shrink, height * shrink  # type: ignore[assignment]  # pixels become fractions of them
    shrink = min(1.0, 768 / max(min(width, height), 1))
    return base + tile * math.ceil(width * shrink / 512) * math.ceil(height * shrink / 512)


def _read_size(raw: bytes) -> tuple[int, int] | None:
    if raw.startswith(b"\x89PNG\r\n\x1a\n") and len(raw) >= 24:
        return int.from_bytes(raw[16:20], "big"), int.from_bytes(raw[20:24], "big")
    if raw[:6] in (b"GIF87a", b"GIF89a") and len(raw) >= 10:
        return int.from_bytes(raw[6:8], "little"), int.from_bytes(raw[8:10], "little")
    if raw.startswith(b"\xff\xd8"):
        return _read_jpeg(raw)
    return None


def _read_jpeg(raw: bytes) -> tuple[int, int] | None:
    at = 2
    while at + 9 < len(raw) and raw[at] == 0xFF:
        if raw[at + 1] in _START_OF_FRAME:
            return int.from_bytes(raw[at + 7 : at + 9], "big"), int.from_bytes(raw[at + 5 : at + 7], "big")
        at += 2 + max(2, int.from_bytes(raw[at + 2 : at + 4], "big"))
    return None
