"""Recordings on disk as the transcriptions endpoint takes them: as they are, or in parts that fit.

Source: API reference, "Create transcription" (formats, 25 MB).
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import msgspec

from penstock.items import Cause, Fault
from penstock.steps import audio
from penstock.values import format_duration, format_size

FORMATS = ("flac", "m4a", "mp3", "mp4", "mpeg", "mpga", "ogg", "wav", "webm")
"""Endings of files that the service takes."""
ALIASES = {"oga": "ogg", "opus": "ogg", "wave": "wav", "weba": "webm"}
"""Endings of the same formats under other names, which the service refuses: they are sent under its own."""
MOST_BYTES = 25_000_000
"""Of a file that is sent as it is: the service's 25 MB are of the whole request."""
_INSTALL = "install penstock[audio]"


@dataclass(frozen=True, slots=True)
class Recording:
    """A file that can be heard.

    Attributes:
        path: in full.
        size: bytes.
        mtime_ns: when it was last changed.
        seconds: of sound, None where it is not known.
        parts: from and to which second, in order, where it cannot be sent as it is; empty where it can.
    """

    path: str
    size: int
    mtime_ns: int
    seconds: float | None
    parts: tuple[tuple[float, float], ...] = ()


class Payload(msgspec.Struct, omit_defaults=True):
    """What is asked for one recording or a part of it; as JSON it is the payload's text.

    Size and time are in it, so that an answer is known again only as long as the file stays as it is.
    """

    path: str
    size: int
    mtime_ns: int
    seconds: float | None = None
    part: tuple[float, float] | None = None
    prompt: str = ""


def look(path: Path, longest: float) -> Recording | Fault:
    """What is known of the file at `path`, and how it is cut so that no part lasts more than `longest` seconds.

    What was found out is kept in this process until the file's size or time changes.
    """
    try:
        found = os.stat(path)  # noqa: PTH116  # one call tells all
    except (OSError, ValueError) as error:
        return _fault(path, getattr(error, "strerror", None) or str(error))
    if not stat.S_ISREG(found.st_mode):
        return _fault(path, "it is no file")
    if not found.st_size:
        return _fault(path, "it is empty")
    return _looked(str(path), found.st_size, found.st_mtime_ns, longest)


def ending(path: str) -> str:
    """The ending under which a file is sent; empty where the service does not take it as it is."""
    own = path.rpartition(".")[2].lower()
    own = ALIASES.get(own, own)
    return own if own in FORMATS else ""


@lru_cache(maxsize=4096)
def _looked(path: str, size: int, mtime_ns: int, longest: float) -> Recording | Fault:
    try:
        seconds = audio.length(path)
        why = _why_not_whole(path, size, seconds, longest)
        if not why:
            return Recording(path, size, mtime_ns, seconds)
        if not audio.has_codecs():
            return _fault(Path(path), f"{why}, and to cut or convert it takes the extra `audio`: {_INSTALL}")
        loudness = audio.levels(path)
    except (audio.UnreadableSound, OSError) as error:
        return _fault(Path(path), getattr(error, "strerror", None) or str(error))
    return Recording(path, size, mtime_ns, loudness.seconds, tuple(audio.spans(loudness, longest)))


def _why_not_whole(path: str, size: int, seconds: float | None, longest: float) -> str:
    if not ending(path):
        return f"the service takes {', '.join(FORMATS)} files"
    if size > MOST_BYTES:
        return f"it has {format_size(size)} and the service takes {format_size(MOST_BYTES)}"
    if seconds is not None and seconds > longest:
        return f"it lasts {format_duration(seconds)} and at most {format_duration(longest)} are sent at a time"
    return ""


def _fault(path: Path, why: str) -> Fault:
    return Fault(Cause.UNREADABLE_FILE, f"{path} cannot be transcribed: {why}")
