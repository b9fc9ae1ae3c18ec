"""Answers of the transcriptions endpoint: read, shifted to their place in the recording, and joined.

Source: API reference, "Create transcription": the objects "json" and "verbose_json".
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from penstock.errors import UnusableAnswer
from penstock.items import Usage
from penstock.steps.answer_body import beginning, decoded

_UNSPACED = frozenset(
    ["chinese", "japanese", "thai", "lao", "khmer", "burmese", "myanmar", "cantonese", "zh", "ja", "th", "lo", "km",
     "my", "yue"]
)  # fmt: skip
"""Languages that put no space between sentences, by their names and codes."""
_MOST = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Transcript:
    """What is said in a recording or in a part of it; times are seconds from the beginning of the recording.

    Attributes:
        segments: each with ``start``, ``end`` and ``text``; None where none were asked for.
        words: each with ``start``, ``end`` and ``word``; likewise.
    """

    text: str
    language: str | None
    seconds: float | None
    segments: list[dict[str, Any]] | None
    words: list[dict[str, Any]] | None


class _Segment(msgspec.Struct):
    start: float
    end: float
    text: str


class _Word(msgspec.Struct):
    start: float
    end: float
    word: str


class _Counts(msgspec.Struct):
    seconds: float | None = None
    input_tokens: float | None = None
    output_tokens: float | None = None


class _Response(msgspec.Struct):
    text: str
    language: str | None = None
    # Some servers write numbers as texts here, as the service itself once did.
    duration: float | str | None = None
    segments: list[_Segment] | None = None
    words: list[_Word] | None = None
    usage: _Counts | None = None
    error: Any = None


_decoder = msgspec.json.Decoder(_Response)


def read_transcript(
    body: bytes | memoryview, *, timed: bool, words: bool, part: tuple[float, float] | None, seconds: float | None
) -> tuple[Transcript, Usage]:
    """The transcript in a response.

    Args:
        timed: whether segments were asked for.
        words: whether words with times were.
        part: from and to which second of the recording was sent, where not all of it was.
        seconds: of the recording, where known.

    Raises:
        UnusableAnswer: not JSON of that shape, an error in it, a time that is none, or no segments or words where
            they were asked for.
    """
    answer = decoded(_decoder, body, "not a transcription")
    if answer.error is not None:
        raise UnusableAnswer(f"a success with an error in it; it begins {beginning(body)}")
    if timed and answer.segments is None:
        raise UnusableAnswer(
            f"no segments came; a server that does not know verbose_json is asked with response_format: json; "
            f"it begins {beginning(body)}"
        )
    if words and answer.words is None:
        raise UnusableAnswer(f"no words with times came; it begins {beginning(body)}")
    start, end = part or (0.0, math.inf)
    told = _number(answer.duration)
    transcript = Transcript(
        text=answer.text.strip(),
        language=answer.language or None,
        seconds=end - start if part else told if told is not None else seconds,
        segments=[{**_times(each, start, end), "text": each.text.strip()} for each in answer.segments or () if timed],
        words=[{**_times(each, start, end), "word": each.word.strip()} for each in answer.words or () if words],
    )
    return transcript, _usage(answer.usage, transcript.seconds)


def joined(parts: Sequence[Transcript]) -> Transcript:
    """One transcript of those of the parts of a recording, in their order."""
    languages = Counter[str]()
    for part in parts:
        if part.language:
            languages[part.language] += len(part.text)
    language = languages.most_common(1)[0][0] if languages else None
    between = "" if (language or "").lower() in _UNSPACED else " "
    known = [part.seconds for part in parts if part.seconds is not None]
    return Transcript(
        text=between.join(part.text for part in parts if part.text),
        language=language,
        seconds=round(sum(known), 3) if len(known) == len(parts) else None,
        segments=[segment for part in parts for segment in part.segments or ()],
        words=[word for part in parts for word in part.words or ()],
    )


def _times(each: _Segment | _Word, start: float, end: float) -> dict[str, float]:
    """In order, and within the part: models are known to hear things after the end of what they were sent."""
    if not -_MOST < each.start < _MOST or not -_MOST < each.end < _MOST:
        raise UnusableAnswer(f"a time is out of all bounds: {each.start:g} to {each.end:g} seconds")
    first = min(max(0.0, each.start) + start, end)
    return {"start": round(first, 3), "end": round(min(max(first, each.end + start), end), 3)}


def _usage(counts: _Counts | None, seconds: float | None) -> Usage:
    """Seconds as billed where the server says so; a count that cannot be one is unknown, for the answer is paid."""
    told = counts or _Counts()
    billed = _number(told.seconds)
    return Usage(
        prompt_tokens=int(_number(told.input_tokens) or 0),
        completion_tokens=int(_number(told.output_tokens) or 0),
        seconds=billed if billed is not None else seconds or 0.0,
    )


def _number(value: float | str | None) -> float | None:
    try:
        number = float(value) if value is not None else None
    except ValueError:
        return None
    return number if number is not None and 0 <= number <= _MOST else None
