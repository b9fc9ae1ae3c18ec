"""``POST /v1/audio/transcriptions``. Source: API reference, "Create transcription"; 25 MB and nine formats of files.

English speech is recognised by the extra ``speech``. WAV is read by the standard library, all other formats by the
extra ``audio``. The fields ``language``, ``prompt`` and ``temperature`` are checked and change nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import threading
import zlib
from collections.abc import AsyncIterator
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cache
from queue import SimpleQueue
from typing import Any

import msgspec

from penstock.sandbox import checks, errors
from penstock.sandbox.contract import Answer, Call, ModelCard, Operation, Resource, Work
from penstock.sandbox.errors import ApiError
from penstock.sandbox.forms import Form, Upload
from penstock.sandbox.languages import LANGUAGES
from penstock.sandbox.models import sound
from penstock.sandbox.models.recognition import Utterance, has_recogniser, recognise
from penstock.sandbox.settings import Settings
from penstock.sandbox.subtitles import as_srt, as_text, as_vtt
from penstock.sandbox.tokens import O200K, count_tokens, encode

HEARS = "sandbox: hears simple English, by PocketSphinx"
LARGEST_FILE = 25 * 2**20
ENDINGS = ("flac", "m4a", "mp3", "mp4", "mpeg", "mpga", "oga", "ogg", "wav", "webm")
_WHISPER = "whisper-1"
_MODELS = {
    _WHISPER: ("json", "text", "srt", "verbose_json", "vtt"),
    "gpt-4o-transcribe": ("json", "text"),
    "gpt-4o-mini-transcribe": ("json", "text"),
}
_CREATED = {_WHISPER: 1677532384, "gpt-4o-transcribe": 1742068463, "gpt-4o-mini-transcribe": 1742068596}
_FIELDS = {
    "model",
    "language",
    "prompt",
    "response_format",
    "temperature",
    "timestamp_granularities",
    "stream",
    "include",
    "chunking_strategy",
}
_Heard = tuple[float, list[Utterance]]
"""Seconds of sound, and what is said in them."""
_SHORTEST = 0.1
_TOKENS_A_SECOND = 10
_MAGIC = (b"RIFF", b"fLaC", b"OggS", b"ID3", b"\x1aE\xdf\xa3", b"\x00\x00\x01\xba")


class _Ears:
    """Two threads that recognise, each with its decoder; they do not hold up the end of the program."""

    def __init__(self) -> None:
        self._waiting: SimpleQueue[tuple[Future[_Heard], bytes]] = SimpleQueue()
        for number in range(2):
            threading.Thread(target=self._work, name=f"recognition-{number}", daemon=True).start()

    def hear(self, content: bytes) -> Future[_Heard]:
        """What is said in a file; raises what `_hear` raises."""
        future: Future[_Heard] = Future()
        self._waiting.put((future, content))
        return future

    def _work(self) -> None:
        while True:
            future, content = self._waiting.get()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(_hear(content))
            except Exception as error:  # noqa: BLE001  # whatever it is belongs to the request, not to the thread
                future.set_exception(error)


@cache
def _ears() -> _Ears:
    return _Ears()


@dataclass(frozen=True, slots=True)
class _Request:
    model: str
    content: bytes
    language: str
    form: str
    temperature: float
    granularities: tuple[str, ...]
    stream: bool


def _prepare(call: Call) -> Work:
    if len(call.body) > LARGEST_FILE:
        raise ApiError(
            413,
            f"Maximum content size limit ({LARGEST_FILE}) exceeded ({len(call.body)} bytes read)",
            type="server_error",
        )
    form = call.form()
    request = _read(call, form)
    if not has_recogniser():
        raise ApiError(
            400,
            "The sandbox hears speech only with the extra 'speech': install penstock[speech].",
            code="extra_not_installed",
        )

    async def answer() -> Answer:
        return await _answer(request)

    digest = hashlib.sha256(request.content).hexdigest()
    return Work(answer, model=request.model, texts=(digest,), key=(request.model, request.form))


def _read(call: Call, form: Form) -> _Request:
    body: dict[str, Any] = {name: values[-1] for name, values in form.texts.items()}
    checks.known_only(body, _FIELDS)
    model = checks.required_text(body, "model")
    if model not in _MODELS:
        if model not in call.sandbox.cards:
            raise errors.model_not_found(model)
        raise checks.unsupported_value("model", model, tuple(_MODELS))
    upload = form.files.get("file")
    if upload is None:
        raise errors.missing_parameter("file")
    shape = checks.choice(body, "response_format", _MODELS[_WHISPER], "json")
    if shape not in _MODELS[model]:
        raise ApiError(
            400,
            f"response_format '{shape}' is not compatible with model '{model}'. Use 'json' or 'text' instead.",
            param="response_format",
            code="unsupported_value",
        )
    _known_format(upload)
    return _Request(
        model,
        upload.content,
        _language(body),
        shape,
        _temperature(body),
        _granularities(form, shape),
        model != _WHISPER and body.get("stream") == "true",
    )


def _known_format(upload: Upload) -> None:
    ending = upload.name.lower().rpartition(".")[2] if "." in upload.name else ""
    content = upload.content
    by_content = (
        content.startswith(_MAGIC)
        or content[4:8] == b"ftyp"
        or (len(content) > 1 and content[0] == 0xFF and content[1] >= 0xE0)
    )
    if ending not in ENDINGS and not by_content:
        raise ApiError(400, f"Unrecognized file format. Supported formats: {list(ENDINGS)}")
    if not content:
        raise _too_short()


def _language(body: dict[str, Any]) -> str:
    code = body.get("language", "en") or "en"
    if code not in LANGUAGES:
        raise ApiError(
            400,
            f"Invalid language '{code}'. Language parameter must be specified in ISO-639-1 format.",
            param="language",
            code="invalid_language_format",
        )
    return LANGUAGES[code]


def _temperature(body: dict[str, Any]) -> float:
    text = body.get("temperature", "0")
    try:
        value = float(text)
    except ValueError:
        raise errors.wrong_type("temperature", "a decimal", text) from None
    checks.within("temperature", value, 0, 1, "decimal")
    return value


def _granularities(form: Form, shape: str) -> tuple[str, ...]:
    chosen = form.texts.get("timestamp_granularities", [])
    for value in chosen:
        checks.choice({"timestamp_granularities": value}, "timestamp_granularities", ("word", "segment"), "segment")
    if chosen and shape != "verbose_json":
        raise ApiError(
            400,
            "To use 'timestamp_granularities', 'response_format' must be set to 'verbose_json'.",
            param="timestamp_granularities",
            code="invalid_value",
        )
    return tuple(chosen) or ("segment",)


async def _answer(request: _Request) -> Answer:
    seconds, heard = await asyncio.wrap_future(_ears().hear(request.content))
    headers = {"openai-model": request.model}
    if request.stream:
        return Answer(_events(request, seconds, heard), media_type="text/event-stream", headers=headers)
    if request.form == "verbose_json":
        return Answer(msgspec.json.encode(_verbose(request, seconds, heard)), headers=headers)
    if request.form == "json":
        reply = {"text": as_text(heard), "usage": _usage(request, seconds, heard)}
        return Answer(msgspec.json.encode(reply), headers=headers)
    text = {"text": lambda each: as_text(each) + "\n", "srt": as_srt, "vtt": as_vtt}[request.form](heard)
    return Answer(text.encode(), media_type="text/plain; charset=utf-8", headers=headers)


def _hear(content: bytes) -> _Heard:
    """Seconds of sound, and what is said in them."""
    try:
        samples = sound.decode(content)
    except sound.UnreadableSound:
        raise _unreadable() from None
    except sound.TooLongSound:
        raise ApiError(
            400,
            f"The audio is longer than the {sound.LONGEST} seconds that the sandbox hears.",
            param="file",
            code="audio_too_long",
        ) from None
    except sound.MissingDecoder:
        if content[:4] == b"RIFF":
            raise _unreadable() from None
        raise ApiError(
            400,
            "The sandbox reads this format only with the extra 'audio': install penstock[audio], or send WAV.",
            param="file",
            code="extra_not_installed",
        ) from None
    seconds = len(samples) / 2 / sound.HEARD
    if seconds < _SHORTEST:
        raise _too_short()
    return seconds, recognise(samples)


def _unreadable() -> ApiError:
    return ApiError(400, "Audio file might be corrupted or unsupported", param="file", code="invalid_value")


def _too_short() -> ApiError:
    return ApiError(
        400,
        f"Audio file is too short. Minimum audio length is {_SHORTEST} seconds.",
        param="file",
        code="audio_too_short",
    )


def _verbose(request: _Request, seconds: float, heard: list[Utterance]) -> dict[str, Any]:
    reply: dict[str, Any] = {
        "task": "transcribe",
        "language": request.language,
        "duration": round(seconds, 2),
        "text": as_text(heard),
    }
    if "segment" in request.granularities:
        reply["segments"] = [_segment(index, each, request) for index, each in enumerate(heard)]
    if "word" in request.granularities:
        reply["words"] = [
            {"word": word.text, "start": word.start, "end": word.end} for each in heard for word in each.words
        ]
    return reply | {"usage": _usage(request, seconds, heard)}


def _segment(index: int, utterance: Utterance, request: _Request) -> dict[str, Any]:
    text = utterance.text
    average = utterance.average_logprob
    return {
        "id": index,
        "seek": round(utterance.start * 100),
        "start": utterance.start,
        "end": utterance.end,
        "text": f" {text}",
        "tokens": encode(f" {text}"),
        "temperature": request.temperature,
        "avg_logprob": round(average, 6),
        "compression_ratio": round(len(text.encode()) / len(zlib.compress(text.encode())), 6),
        "no_speech_prob": round(1 - math.exp(max(average, -20.0)), 6),
    }


def _usage(request: _Request, seconds: float, heard: list[Utterance]) -> dict[str, Any]:
    if request.model == _WHISPER:
        return {"type": "duration", "seconds": math.ceil(seconds)}
    listened, written = max(1, round(seconds * _TOKENS_A_SECOND)), count_tokens(as_text(heard), O200K)
    return {
        "type": "tokens",
        "input_tokens": listened,
        "input_token_details": {"text_tokens": 0, "audio_tokens": listened},
        "output_tokens": written,
        "total_tokens": listened + written,
    }


async def _events(request: _Request, seconds: float, heard: list[Utterance]) -> AsyncIterator[bytes]:
    for index, utterance in enumerate(heard):
        yield _event({"type": "transcript.text.delta", "delta": " " * (index > 0) + utterance.text})
    usage = _usage(request, seconds, heard)
    yield _event({"type": "transcript.text.done", "text": as_text(heard), "usage": usage})


def _event(value: object) -> bytes:
    return b"data: " + msgspec.json.encode(value) + b"\n\n"


def _cards(settings: Settings) -> list[ModelCard]:  # noqa: ARG001  # the contract's signature
    return [ModelCard(name, created, "openai-internal", HEARS) for name, created in _CREATED.items()]


RESOURCE = Resource(
    # A little more is read than is allowed, so that the refusal can say how much it was.
    operations=(Operation("POST", "/v1/audio/transcriptions", _prepare, largest_body=2 * LARGEST_FILE),),
    cards=_cards,
)
