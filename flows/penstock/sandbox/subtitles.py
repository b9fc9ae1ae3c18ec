"""Transcripts as the service writes them: plain text, SubRip (``srt``) and WebVTT (``vtt``)."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.sandbox.models.recognition import Utterance


def as_text(utterances: Sequence[Utterance]) -> str:
    """All sentences in one line."""
    return " ".join(utterance.text for utterance in utterances)


def as_srt(utterances: Sequence[Utterance]) -> str:
    """Numbered blocks with times as ``00:00:01,500``."""
    blocks = (
        f"{number}\n{_time(each.start, ',')} --> {_time(each.end, ',')}\n{each.text}\n"
        for number, each in enumerate(utterances, 1)
    )
    return "\n".join(blocks) + "\n"


def as_vtt(utterances: Sequence[Utterance]) -> str:
    """The head ``WEBVTT`` and blocks with times as ``00:00:01.500``."""
    blocks = (f"{_time(each.start, '.')} --> {_time(each.end, '.')}\n{each.text}\n" for each in utterances)
    return "\n".join(("WEBVTT\n", *blocks)) + "\n"


def _time(seconds: float, mark: str) -> str:
    whole, milliseconds = divmod(round(seconds * 1000), 1000)
    minutes, second = divmod(whole, 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour:02}:{minute:02}:{second:02}{mark}{milliseconds:03}"
