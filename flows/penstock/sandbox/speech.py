"""``POST /v1/audio/speech``. Source: API reference, "Create speech": at most 4,096 characters, speed 0.25 to 4.

The sound is tones in place of a voice. WAV and PCM are always there; the other formats need the extra ``audio``.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import msgspec

from penstock.sandbox import errors, fields
from penstock.sandbox.contract import Answer, Call, ModelCard, Operation, Resource, Work
from penstock.sandbox.errors import ApiError
from penstock.sandbox.models import sound
from penstock.sandbox.models.tones import RATE, speak
from penstock.sandbox.settings import Settings
from penstock.sandbox.tokens import O200K, count_tokens

TONES = "sandbox: tones in place of a voice"
LONGEST_INPUT = 4_096
MEDIA_TYPES = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}
_CLASSIC_VOICES = ("alloy", "ash", "coral", "echo", "fable", "onyx", "nova", "sage", "shimmer")
_VOICES = (*_CLASSIC_VOICES, "ballad", "verse", "marin", "cedar")
_MODELS = {"tts-1": _CLASSIC_VOICES, "tts-1-hd": _CLASSIC_VOICES, "gpt-4o-mini-tts": _VOICES}
_CREATED = {"tts-1": 1681940951, "tts-1-hd": 1699046015, "gpt-4o-mini-tts": 1742403959}
_FIELDS = {"model", "input", "voice", "response_format", "speed", "instructions", "stream_format"}
_PIECE = 32 * 1024
_TOKENS_A_SECOND = 20
"""Of sound, as the usage of ``gpt-4o-mini-tts`` counts it, roughly."""


@dataclass(frozen=True, slots=True)
class _Request:
    model: str
    text: str
    voice: str
    form: str
    speed: float
    events: bool


def _prepare(call: Call) -> Work:
    body = call.json()
    fields.refuse_unknown(body, _FIELDS)
    model = fields.require_text(body, "model")
    if model not in _MODELS:
        if model not in call.sandbox.cards:
            raise errors.model_not_found(model)
        raise fields.unsupported_value("model", model, tuple(_MODELS))
    text = fields.require_text(body, "input", most=LONGEST_INPUT)
    voice = _voice(body, model)
    form = fields.read_choice(body, "response_format", tuple(MEDIA_TYPES)) or "mp3"
    speed = fields.read_number(body, "speed", 0.25, 4.0) or 1.0
    fields.read_text(body, "instructions", most=LONGEST_INPUT)
    events = fields.read_choice(body, "stream_format", ("sse", "audio")) == "sse"
    if events and model.startswith("tts-1"):
        raise ApiError(
            400,
            f"Unsupported value: 'stream_format' does not support 'sse' with the model '{model}'.",
            param="stream_format",
            code="unsupported_value",
        )
    if form not in ("wav", "pcm") and not sound.has_codecs():
        raise ApiError(
            400,
            f"The sandbox makes '{form}' only with the extra 'audio': install penstock[audio]. Without it, set "
            "'response_format' to 'wav' or 'pcm'.",
            param="response_format",
            code="extra_not_installed",
        )
    request = _Request(model, text, voice, form, speed, events)

    async def answer() -> Answer:
        return await _answer(request)

    return Work(answer, model=model, tokens=count_tokens(text, O200K), texts=(text,), key=(model, voice, form, speed))


def _voice(body: dict[str, Any], model: str) -> str:
    if isinstance(body.get("voice"), dict):
        raise ApiError(400, "The sandbox has no custom voices.", param="voice", code="unsupported_in_sandbox")
    return fields.require_choice(body, "voice", _MODELS[model])


async def _answer(request: _Request) -> Answer:
    samples, content = await asyncio.to_thread(_make, request)
    headers = {"openai-model": request.model}
    if request.events:
        return Answer(_events(request, samples, content), media_type="text/event-stream", headers=headers)
    return Answer(_pieces(content), media_type=MEDIA_TYPES[request.form], headers=headers)


def _make(request: _Request) -> tuple[int, bytes]:
    """How many samples it is, and the file."""
    spoken = speak(request.text, request.voice, speed=request.speed, rich=request.model != "tts-1")
    if request.form == "pcm":
        content = spoken
    elif request.form == "wav":
        content = sound.to_wav(spoken, RATE)
    else:
        content = sound.encode(spoken, RATE, request.form)
    return len(spoken) // 2, content


async def _pieces(content: bytes) -> AsyncIterator[bytes]:
    for place in range(0, len(content), _PIECE):
        yield content[place : place + _PIECE]


async def _events(request: _Request, samples: int, content: bytes) -> AsyncIterator[bytes]:
    async for piece in _pieces(content):
        yield _event({"type": "speech.audio.delta", "audio": base64.b64encode(piece).decode("ascii")})
    asked, spoken = count_tokens(request.text, O200K), round(samples / RATE * _TOKENS_A_SECOND)
    usage = {"input_tokens": asked, "output_tokens": spoken, "total_tokens": asked + spoken}
    yield _event({"type": "speech.audio.done", "usage": usage})


def _event(value: object) -> bytes:
    return b"data: " + msgspec.json.encode(value) + b"\n\n"


def _cards(settings: Settings) -> list[ModelCard]:  # noqa: ARG001  # the contract's signature
    return [ModelCard(name, created, "openai-internal", TONES) for name, created in _CREATED.items()]


RESOURCE = Resource(operations=(Operation("POST", "/v1/audio/speech", _prepare),), cards=_cards)
