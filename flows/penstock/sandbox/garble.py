"""Faults that change a successful answer: other bytes, or vectors or completions that are not what was asked for."""

from __future__ import annotations

import base64
import json
import struct
from dataclasses import replace
from typing import Any

import msgspec

from penstock.faults import FAULTS, Kind
from penstock.sandbox.contract import Answer
from penstock.sandbox.garble_chat import garble_chat

_HTML = (
    b"<!DOCTYPE html>\n<html><head><title>Just a moment...</title></head><body>Checking your browser</body></html>\n"
)
_MOST_GATHERED = 64 * 2**20
"""Bytes of an answer in pieces that are put together to be changed; larger ones pass unchanged."""
_TEXT = b"upstream connect error or disconnect/reset before headers"


async def garble(name: str, answer: Answer) -> Answer:
    """`answer` as the fault leaves it; faults of vectors or of chat leave other answers unchanged."""
    body = answer.body
    kind = FAULTS[name].kind
    if not isinstance(body, bytes):
        if kind is Kind.VECTORS or (answer.length or 0) > _MOST_GATHERED:
            return answer
        body = b"".join([piece async for piece in body])
    if kind is Kind.CHAT:
        return garble_chat(name, body, replace(answer, body=body))
    if FAULTS[name].kind is Kind.VECTORS:
        return _garble_vectors(name, body, answer)
    match name:
        case "html":
            return Answer(_HTML, media_type="text/html; charset=utf-8")
        case "text":
            return Answer(_TEXT, media_type="text/plain")
        case "badjson":
            return Answer(body[: len(body) // 2], media_type=answer.media_type)
        case "bom":
            return Answer(b"\xef\xbb\xbf" + body, media_type=answer.media_type)
        case _:
            return Answer(b"")


def _garble_vectors(name: str, body: bytes, answer: Answer) -> Answer:
    value = msgspec.json.decode(body)
    data = value.get("data")
    if not (isinstance(data, list) and data and "embedding" in data[0]):
        return answer
    # The vector in the middle: a client that looks only at the first or the last one is caught too.
    middle = data[len(data) // 2]
    match name:
        case "floats":
            for item in data:
                item["embedding"] = _floats(item)
        case "shuffled":
            data.reverse()
        case "one-short":
            data.pop()
        case "one-over":
            data.append(data[-1] | {"index": len(data)})
        case "bad-index":
            data[-1]["index"] = data[0]["index"] if len(data) > 1 else 1
        case "wrong-dim":
            _put(middle, _floats(middle)[:-1])
        case "nan":
            _put(middle, [float("nan"), *_floats(middle)[1:]])
        case "inf":
            _put(middle, [float("inf"), *_floats(middle)[1:]])
        case _:
            _put(middle, [0.0] * len(_floats(middle)))
    # The standard library's encoder, because it writes NaN and Infinity as broken servers do.
    return Answer(json.dumps(value, separators=(",", ":")).encode(), headers=answer.headers)


def _floats(item: dict[str, Any]) -> list[float]:
    if isinstance(item["embedding"], str):
        raw = base64.b64decode(item["embedding"])
        return list(struct.unpack(f"<{len(raw) // 4}f", raw))
    return list(item["embedding"])


def _put(item: dict[str, Any], vector: list[float]) -> None:
    if isinstance(item["embedding"], str):
        item["embedding"] = base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode("ascii")
    else:
        item["embedding"] = vector
