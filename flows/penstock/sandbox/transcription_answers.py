"""What was heard, in the five forms of the service (json, text, srt, vtt, verbose_json) and as a stream of events.

Source: API reference, "The transcription object" and its stream events.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import msgspec

from penstock.sandbox.contract import Answer
from penstock.sandbox.hearing import Heard
from penstock.sandbox.models.recognition import Utterance
from penstock.sandbox.subtitles import as_srt, as_text, as_vtt
from penstock.sandbox.tokens import O200K, count_tokens, encode

WHISPER = "whisper-1"
_TOKENS_A_SECOND = 10


@dataclass(frozen=True, slots=True)
class Transcription:
    """A valid request.

    Attributes:
        model: one of the three.
        content: the file.
        language: as asked for, in English; of the answer.
        form: of the answer.
        temperature: 0 to 1; changes nothing.
        granularities: ``word``, ``segment`` or both, for ``verbose_json``.
        stream: whether the answer comes in pieces.
    """

    model: str
    content: bytes
    language: str
    form: str
    temperature: float
    granularities: tuple[str, ...]
    stream: bool


def write(request: Transcription, found: Heard) -> Answer:
    """The answer in the form that was asked for."""
    seconds, heard = found.seconds, found.utterances
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


def _verbose(request: Transcription, seconds: float, heard: list[Utterance]) -> dict[str, Any]:
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


def _segment(index: int, utterance: Utterance, request: Transcription) -> dict[str, Any]:
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


def _usage(request: Transcription, seconds: float, heard: list[Utterance]) -> dict[str, Any]:
    if request.model == WHISPER:
        return {"type": "duration", "seconds": math.ceil(seconds)}
    listened, written = max(1, round(seconds * _TOKENS_A_SECOND)), count_tokens(as_text(heard), O200K)
    return {
        "type": "tokens",
        "input_tokens": listened,
        "input_token_details": {"text_tokens": 0, "audio_tokens": listened},
        "output_tokens": written,
        "total_tokens": listened + written,
    }


async def _events(request: Transcription, seconds: float, heard: list[Utterance]) -> AsyncIterator[bytes]:
    for index, utterance in enumerate(heard):
        yield _event({"type": "transcript.text.delta", "delta": " " * (index > 0) + utterance.text})
    usage = _usage(request, seconds, heard)
    yield _event({"type": "transcript.text.done", "text": as_text(heard), "usage": usage})


def _event(value: object) -> bytes:
    return b"data: " + msgspec.json.encode(value) + b"\n\n"
