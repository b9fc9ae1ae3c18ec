"""Subtitle files: SubRip (``srt``) and WebVTT (``vtt``, https://www.w3.org/TR/webvtt1/)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from penstock.steps.file_settings import FileName
from penstock.values import FilePath


class Subtitles(BaseModel):
    """Subtitle files beside the table."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: FilePath = Field(
        min_length=1,
        description="Folder of the files, which is made; the paths stand in the columns `srt_path` and `vtt_path`.",
        examples=["../out/subtitles"],
    )
    file_name: FileName = Field(
        examples=["{{ call_id }}"],
    )
    formats: list[Literal["srt", "vtt"]] = Field(
        default=["srt", "vtt"], min_length=1, description="Kinds of files: SubRip, WebVTT, or both.", examples=[["vtt"]]
    )


def as_srt(segments: Sequence[Mapping[str, Any]]) -> str:
    """Numbered blocks with times like ``00:00:01,500``; segments have ``start``, ``end`` (seconds) and ``text``."""
    blocks = (
        f"{number}\n{_time(start, ',')} --> {_time(end, ',')}\n{text}\n"
        for number, (start, end, text) in enumerate(_spoken(segments), 1)
    )
    return "\n".join(blocks)


def as_vtt(segments: Sequence[Mapping[str, Any]]) -> str:
    """The head ``WEBVTT`` and blocks with times like ``00:00:01.500``; segments as for `as_srt`."""
    blocks = (f"{_time(at, '.')} --> {_time(end, '.')}\n{_escaped(text)}\n" for at, end, text in _spoken(segments))
    return "\n".join(("WEBVTT\n", *blocks))


WRITERS: Mapping[str, Callable[[Sequence[Mapping[str, Any]]], str]] = {"srt": as_srt, "vtt": as_vtt}
"""What makes the text of each kind of file."""


def _spoken(segments: Sequence[Mapping[str, Any]]) -> Iterator[tuple[float, float, str]]:
    """One line each: an empty line would end a block."""
    for segment in segments:
        text = " ".join(segment["text"].split())
        if text:
            yield segment["start"], segment["end"], text


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _time(seconds: float, mark: str) -> str:
    whole, milliseconds = divmod(round(seconds * 1000), 1000)
    minutes, second = divmod(whole, 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour:02}:{minute:02}:{second:02}{mark}{milliseconds:03}"
