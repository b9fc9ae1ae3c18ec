"""``POST /v1/audio/transcriptions``. Source: API reference, "Create transcription"; 25 MB and nine formats of files.

English speech is recognised by the extra ``speech``. WAV is read by the standard library, all other formats by the
extra ``audio``. The fields ``language``, ``prompt`` and ``temperature`` are checked and change nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

from penstock.sandbox import errors, fields
from penstock.sandbox.contract import Answer, Call, ModelCard, Operation, Resource, Work
from penstock.sandbox.errors import ApiError
from penstock.sandbox.forms import Form, Upload
from penstock.sandbox.hearing import SHORTEST, NotHeard, Reason, hear
from penstock.sandbox.languages import LANGUAGES
from penstock.sandbox.models import sound
from penstock.sandbox.models.recognition import has_recogniser
from penstock.sandbox.settings import Settings
from penstock.sandbox.transcription_answers import WHISPER, Transcription, write

HEARS = "sandbox: hears simple English, by PocketSphinx"
LARGEST_FILE = 25 * 2**20
ENDINGS = ("flac", "m4a", "mp3", "mp4", "mpeg", "mpga", "oga", "ogg", "wav", "webm")
_MODELS = {
    WHISPER: ("json", "text", "srt", "verbose_json", "vtt"),
    "gpt-4o-transcribe": ("json", "text"),
    "gpt-4o-mini-transcribe": ("json", "text"),
}
_CREATED = {WHISPER: 1677532384, "gpt-4o-transcribe": 1742068463, "gpt-4o-mini-transcribe": 1742068596}
_GRANULARITIES = "timestamp_granularities"
_FIELDS = {
    "model",
    "language",
    "prompt",
    "response_format",
    "temperature",
    _GRANULARITIES,
    "stream",
    "include",
    "chunking_strategy",
}
_MAGIC = (b"RIFF", b"fLaC", b"OggS", b"ID3", b"\x1aE\xdf\xa3", b"\x00\x00\x01\xba")


def _prepare(call: Call) -> Work:
    if len(call.body) > LARGEST_FILE:
        raise ApiError(
            413,
            f"Maximum content size limit ({LARGEST_FILE}) exceeded ({len(call.body)} bytes read)",
            type="server_error",
        )
    form = call.form()
    request = _read(call, form)
    _check_extras(request.content)

    async def answer() -> Answer:
        return await _answer(request)

    digest = hashlib.sha256(request.content).hexdigest()
    return Work(answer, model=request.model, texts=(digest,), key=(request.model, request.form))


def _check_extras(content: bytes) -> None:
    if not has_recogniser():
        raise ApiError(
            400,
            "The sandbox hears speech only with the extra 'speech': install penstock[speech].",
            code="extra_not_installed",
        )
    if not content.startswith(b"RIFF") and not sound.has_codecs():
        raise ApiError(
            400,
            "The sandbox reads this format only with the extra 'audio': install penstock[audio], or send WAV.",
            param="file",
            code="extra_not_installed",
        )


def _read(call: Call, form: Form) -> Transcription:
    body: dict[str, Any] = {name: values[-1] for name, values in form.texts.items()}
    fields.refuse_unknown(body, _FIELDS)
    model = fields.require_text(body, "model")
    if model not in _MODELS:
        if model not in call.sandbox.cards:
            raise errors.model_not_found(model)
        raise fields.unsupported_value("model", model, tuple(_MODELS))
    upload = form.files.get("file")
    if upload is None:
        raise errors.missing_parameter("file")
    shape = fields.read_choice(body, "response_format", _MODELS[WHISPER]) or "json"
    if shape not in _MODELS[model]:
        raise ApiError(
            400,
            f"response_format '{shape}' is not compatible with model '{model}'. Use 'json' or 'text' instead.",
            param="response_format",
            code="unsupported_value",
        )
    _known_format(upload)
    return Transcription(
        model,
        upload.content,
        _language(body),
        shape,
        _temperature(body),
        _granularities(form, shape),
        model != WHISPER and body.get("stream") == "true",
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
    fields.within("temperature", value, 0, 1, "decimal")
    return value


def _granularities(form: Form, shape: str) -> tuple[str, ...]:
    chosen = form.texts.get("timestamp_granularities", [])
    for value in chosen:
        fields.read_choice({_GRANULARITIES: value}, _GRANULARITIES, ("word", "segment"))
    if chosen and shape != "verbose_json":
        raise ApiError(
            400,
            "To use 'timestamp_granularities', 'response_format' must be set to 'verbose_json'.",
            param="timestamp_granularities",
            code="invalid_value",
        )
    return tuple(chosen) or ("segment",)


async def _answer(request: Transcription) -> Answer:
    try:
        return write(request, await asyncio.wrap_future(hear(request.content)))
    except NotHeard as failure:
        raise _refusal(failure.reason) from None


def _refusal(reason: Reason) -> ApiError:
    if reason == "too short":
        return _too_short()
    if reason == "too long":
        return ApiError(
            400,
            f"The audio is longer than the {sound.LONGEST} seconds that the sandbox hears.",
            param="file",
            code="audio_too_long",
        )
    return ApiError(400, "Audio file might be corrupted or unsupported", param="file", code="invalid_value")


def _too_short() -> ApiError:
    return ApiError(
        400,
        f"Audio file is too short. Minimum audio length is {SHORTEST} seconds.",
        param="file",
        code="audio_too_short",
    )


def _cards(settings: Settings) -> list[ModelCard]:  # noqa: ARG001  # the contract's signature
    return [ModelCard(name, created, "openai-internal", HEARS) for name, created in _CREATED.items()]


RESOURCE = Resource(
    # A little more is read than is allowed, so that the refusal can say how much it was.
    operations=(Operation("POST", "/v1/audio/transcriptions", _prepare, largest_body=2 * LARGEST_FILE),),
    cards=_cards,
)
