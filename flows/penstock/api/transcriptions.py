"""``/audio/transcriptions``: what is said in a recording, in five formats.

Source: API reference, "Create transcription".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from penstock.api.bodies import first_bytes, looks_like_html
from penstock.api.channel import Call, Channel, given
from penstock.api.errors import UnusableBody
from penstock.api.objects import ApiObject, facts_of, parsed
from penstock.api.upload import FilePart, Progress
from penstock.api.wire import WireResponse
from penstock.errors import InputError

MOST_BYTES = 25 * 2**20
"""The service's limit for one recording: 25 MB."""
FORMATS = ("json", "text", "srt", "verbose_json", "vtt")


class TranscriptionWord(ApiObject):
    """A word and when it is said, in seconds."""

    word: str
    start: float
    end: float


class TranscriptionSegment(ApiObject):
    """A stretch of speech, in seconds."""

    start: float
    end: float
    text: str
    id: int = 0


class Transcription(ApiObject):
    """What is said. With ``srt`` and ``vtt``, `text` is the subtitle file; all but `text` is only in verbose_json."""

    text: str
    language: str | None = None
    duration: float | None = None
    segments: list[TranscriptionSegment] | None = None
    words: list[TranscriptionWord] | None = None


class Transcriptions:
    """Has recordings transcribed."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def create(
        self,
        file: str | Path,
        *,
        model: str,
        language: str | None = None,
        prompt: str | None = None,
        response_format: str | None = None,
        temperature: float | None = None,
        timestamp_granularities: Sequence[str] | None = None,
        progress: Progress | None = None,
        extra_body: Mapping[str, Any] | None = None,
    ) -> Transcription:
        """Transcribe the recording at `file`.

        Args:
            response_format: json (the service's default), text, srt, verbose_json or vtt.
            timestamp_granularities: ``word``, ``segment`` or both; only with verbose_json.

        Raises:
            ApiError: no answer, or none of the format asked for.
            InputError: the file cannot be sent, or there is no such format.
        """
        if response_format is not None and response_format not in FORMATS:
            raise InputError(f"response_format is one of {', '.join(FORMATS)}, and got {response_format!r}")
        part = FilePart.of(file, most=MOST_BYTES, progress=progress)
        sent = given(
            extra_body,
            model=model,
            language=language,
            prompt=prompt,
            response_format=response_format,
            temperature=temperature,
        )
        fields: dict[str, str | Sequence[str]] = {name: str(value) for name, value in sent.items()}
        if timestamp_granularities:
            fields["timestamp_granularities[]"] = list(timestamp_granularities)
        call = Call(method="POST", path="/audio/transcriptions", fields=fields, file=part, headers={"accept": "*/*"})
        plain = response_format in {"text", "srt", "vtt"}
        return await self._channel.call(call, lambda response: _transcription(response, plain=plain))


def _transcription(response: WireResponse, *, plain: bool) -> Transcription:
    return _plain(response) if plain and not _is_json(response) else parsed(Transcription, response)


def _is_json(response: WireResponse) -> bool:
    """Some servers answer JSON whatever is asked."""
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind == "application/json" and bytes(response.body[:64]).lstrip()[:1] == b"{"


def _plain(response: WireResponse) -> Transcription:
    facts = facts_of(response)
    if looks_like_html(response.body):
        raise UnusableBody(f"a web page came instead of a text: {first_bytes(response.body)}", facts)
    try:
        text = bytes(response.body).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UnusableBody(f"the text is not UTF-8: {first_bytes(response.body)}", facts) from None
    answer = Transcription(text=text)
    answer.__dict__["request_id"] = facts.request_id
    return answer
