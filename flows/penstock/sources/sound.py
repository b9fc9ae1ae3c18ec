"""How long the sound in a file is. WAV by its header; other formats with the extra `audio` (PyAV)."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

_STREAMED = 0xFFFFFFFF


class Unreadable(Exception):
    """A file of a kind that has sound, in which none can be read; the message says why."""


def seconds_of(path: Path) -> float | None:
    """The length in seconds; None where the extra `audio` is needed and missing, and for a film without sound.

    Raises:
        Unreadable: the file is damaged, or not what its ending says.
        OSError: it cannot be opened.
    """
    if path.suffix.lower() == ".wav":
        with path.open("rb") as handle:
            if (seconds := wav_seconds(handle, path.stat().st_size)) is not None:
                return seconds
    try:
        import av
    except ImportError:
        return None
    try:
        with av.open(str(path)) as container:
            stream = next(iter(container.streams.audio), None)
            if stream is None:
                return None
            if container.duration is not None:
                return round(container.duration / av.time_base, 3)
            # A recording that was streamed does not know its length: its last packet does.
            ends = [
                float((packet.pts + (packet.duration or 0)) * packet.time_base)
                for packet in container.demux(stream)
                if packet.pts is not None and packet.time_base is not None
            ]
    except (av.FFmpegError, ValueError) as error:
        raise Unreadable(f"the sound cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not ends:
        raise Unreadable("the file holds no sound")
    return round(max(ends), 3)


def wav_seconds(handle: BinaryIO, size: int) -> float | None:
    """The length that the header of a WAV file (RIFF) tells; None when it is no such file.

    Raises:
        Unreadable: it begins as one and breaks off.
    """
    head = handle.read(12)
    if len(head) < 12 or head[:4] not in {b"RIFF", b"RF64"} or head[8:12] != b"WAVE":
        if not head:
            raise Unreadable("the file is empty")
        return None
    per_second = 0
    while len(chunk := handle.read(8)) == 8:
        name, length = struct.unpack("<4sI", chunk)
        if name == b"fmt ":
            form = handle.read(length)
            if len(form) < 16:
                break
            per_second = struct.unpack("<I", form[8:12])[0]
        elif name == b"data":
            if not per_second:
                break
            left = size - handle.tell()
            # A header that was written before the sound was does not know its length.
            length = left if length in {0, _STREAMED} or length > left else length
            return round(length / per_second, 3)
        else:
            handle.seek(length + length % 2, 1)
    raise Unreadable("the WAV file breaks off before its sound")
