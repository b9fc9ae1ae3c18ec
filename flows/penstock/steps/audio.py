"""Sound files by PyAV (the extra ``audio``): how long one is, where it is quiet, and a part of it as a file of its own.

Files are read as streams: what is held in memory does not grow with their length, but for one number per 50 ms. Times
are seconds from the first sample, counted in samples, as a server counts them that decodes the whole file; what a
file leaves out (a call that was on hold) is silence.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import math
import wave
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from penstock.errors import InputError

RATE = 16_000
"""Samples per second of what is sent: speech models hear no more."""
HOP = 0.05
"""Seconds that one level stands for."""
_HOP_SAMPLES = int(RATE * HOP)
_BLOCK = _HOP_SAMPLES * 2 * 200
_FRAME = RATE * 60 // 1000
_BITS = 32_000
"""Per second of what is sent: Opus is transparent for speech there, and 25 MB hold 104 minutes."""
_OPUS = {"b": str(_BITS), "frame_duration": "60", "compression_level": "5"}
"""Half the encoder's full effort: two thirds of its time, and no word is heard differently."""
_FLOOR = 20.0**2
"""Mean square of samples under which all is silence: 64 dB below full scale."""
_QUIET = 4.0
"""What is at most so many times as strong as the quietest place is quiet, too: 6 dB."""
_LEAD = 1.0
"""Seconds before a part that are decoded and dropped, for codecs whose frames need the ones before."""
_SMALLEST_GAP = 0.1
_LARGEST_GAP = 24 * 3600.0
_SEEKABLE = frozenset({"wav", "flac", "ogg", "mov", "mp4", "m4a", "matroska", "webm", "aiff"})
"""Containers that know the time of each place; MP3 guesses it by its bit rate, so it is walked through from the start.
"""


class UnreadableSound(InputError):
    """A file that holds no sound that can be read; the message says why, without the path."""


@dataclass(frozen=True, slots=True)
class Levels:
    """How loud a file is.

    Attributes:
        squares: the mean square of the samples of each `HOP`; the last one may be filled up with silence.
        seconds: the file's exact length.
    """

    squares: Sequence[float]
    seconds: float


def has_codecs() -> bool:
    """Whether the extra ``audio`` is installed."""
    return importlib.util.find_spec("av") is not None


def length(path: str) -> float | None:
    """Seconds of sound, by the file's own word; None where that takes the extra ``audio`` and it is missing.

    Raises:
        UnreadableSound: no sound, or not in a format that can be read.
        OSError: the file cannot be opened.
    """
    if has_codecs():
        with _opened(path) as (container, stream):
            if next(_frames(container, stream, 0.0), None) is None:
                raise UnreadableSound("it holds no sound that can be decoded")
            told: float | None = _told(container, stream)
        return told if told is not None else levels(path).seconds
    try:
        with wave.open(path) as file:
            return float(file.getnframes() / file.getframerate())
    except (wave.Error, EOFError, ZeroDivisionError, RuntimeError):
        return None


def levels(path: str) -> Levels:
    """How loud each place of a file is, in one pass over it.

    Raises:
        UnreadableSound: no sound, or not in a format that can be read.
        OSError: the file cannot be opened.
    """
    found = array("d")
    block = bytearray()
    samples = 0
    for _, piece in _samples(path, 0.0):
        block += piece
        samples += len(piece) // 2
        while len(block) >= _BLOCK:
            found.extend(_mean_squares(bytes(block[:_BLOCK])))
            del block[:_BLOCK]
    if block:
        rest = -len(block) % (2 * _HOP_SAMPLES)
        found.extend(_mean_squares(bytes(block) + bytes(rest)))
    return Levels(found, samples / RATE)


def spans(loudness: Levels, longest: float) -> list[tuple[float, float]]:
    """Parts of at most `longest` seconds, all about as long, cut in the middle of the longest silence near by.

    Without any silence it is cut where it is least loud.
    """
    total, window = loudness.seconds, min(30.0, longest / 4)
    parts: list[tuple[float, float]] = []
    start = 0.0
    while total - start > longest:
        target = start + (total - start) / math.ceil((total - start) / (longest - window))
        cut = _quietest(loudness.squares, target - window, min(target + window, start + longest), target)
        parts.append((start, cut))
        start = cut
    return [*parts, (start, round(total, 3))]


def extract(path: str, start: float, end: float) -> bytes:
    """The sound from `start` to `end` as an Ogg Opus file, one channel, `RATE` samples a second.

    Raises:
        UnreadableSound: it cannot be read, or there is nothing.
        OSError: the file cannot be opened.
    """
    import av

    target = io.BytesIO()
    first, last = round(start * RATE), round(end * RATE)
    # Without random serial numbers, so that the same part is the same file every time.
    with av.open(target, "w", format="ogg", options={"fflags": "+bitexact"}) as file:
        stream: Any = file.add_stream("libopus", rate=RATE, options=_OPUS)
        stream.codec_context.layout = "mono"
        stream.codec_context.format = "s16"
        written, waiting = 0, bytearray()
        for place, piece in _samples(path, start):
            waiting += piece[max(0, first - place) * 2 : max(0, last - place) * 2]
            whole = len(waiting) // (2 * _FRAME)
            for number in range(whole):
                _encode(file, stream, bytes(waiting[number * 2 * _FRAME : (number + 1) * 2 * _FRAME]), written)
                written += _FRAME
            del waiting[: whole * 2 * _FRAME]
            if place + len(piece) // 2 >= last:
                break
        if waiting:
            _encode(file, stream, bytes(waiting), written)
            written += len(waiting) // 2
        if not written:
            raise UnreadableSound(f"there is no sound from second {start:g} to {end:g}")
        file.mux(stream.encode(None))
    return target.getvalue()


def _encode(file: Any, stream: Any, samples: bytes, place: int) -> None:
    import av

    frame = av.AudioFrame(format="s16", layout="mono", samples=len(samples) // 2)
    frame.planes[0].update(samples)
    frame.sample_rate, frame.time_base, frame.pts = RATE, Fraction(1, RATE), place
    file.mux(stream.encode(frame))


@contextlib.contextmanager
def _opened(path: str) -> Iterator[tuple[Any, Any]]:
    import av

    try:
        with av.open(path, "r") as container:
            if not container.streams.audio:
                raise UnreadableSound("it has no sound")
            yield container, container.streams.audio[0]
    except (av.FFmpegError, ValueError) as error:
        # Those of the system (no such file, no permission) are errors of both kinds.
        if isinstance(error, OSError) and error.filename and error.errno in {1, 2, 13, 20, 21}:
            raise
        raise UnreadableSound(f"it is no sound file that can be read ({_said(error)})") from None


def _said(error: Exception) -> str:
    told = getattr(error, "strerror", None) or str(error)
    return str(told).partition("\n")[0]


def _told(container: Any, stream: Any) -> float | None:
    """The length as the file tells it; recordings of browsers do not."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    return float(container.duration / 1e6) if container.duration else None


def _frames(container: Any, stream: Any, start: float) -> Iterator[Any]:
    """The decoded frames, from a little before `start`; what is broken is left out."""
    import av

    wanted = max(0.0, start - _LEAD)
    origin = float((stream.start_time or 0) * stream.time_base)
    if wanted and set(container.format.name.split(",")) & _SEEKABLE:
        # Where the container cannot after all, it is walked through.
        with contextlib.suppress(av.FFmpegError):
            container.seek(int((wanted + origin) / stream.time_base), stream=stream)
    for packet in container.demux(stream):
        if wanted and packet.pts is not None and float(packet.pts * stream.time_base) - origin < wanted:
            continue
        try:
            yield from packet.decode()
        except (av.error.InvalidDataError, av.error.EOFError):
            continue


def _samples(path: str, start: float) -> Iterator[tuple[int, bytes]]:
    """Pieces of 16-bit samples without gaps between them, each with its place in the file, from before `start` on."""
    import av

    with _opened(path) as (container, stream):
        origin = float((stream.start_time or 0) * stream.time_base)
        place: int | None = None
        resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
        heard = 0.0
        for frame in _frames(container, stream, start):
            time = None if frame.time is None else max(0.0, frame.time - origin)
            if place is None:
                place = round((time or 0.0) * RATE) if start > _LEAD else 0
                heard = place / RATE
            if time is not None and _SMALLEST_GAP < time - heard < _LARGEST_GAP:
                for missing in _silence(round((time - heard) * RATE)):
                    yield place, missing
                    place += len(missing) // 2
                heard = time
            heard += frame.samples / frame.sample_rate
            # Its own clock: gaps are filled here, and some files' times are too coarse for it.
            frame.pts = None
            for piece in resampler.resample(frame):
                yield place, bytes(piece.planes[0])[: 2 * piece.samples]
                place += piece.samples
        for piece in resampler.resample(None) if place is not None else ():
            yield place or 0, bytes(piece.planes[0])[: 2 * piece.samples]
            place = (place or 0) + piece.samples
    if not place:
        raise UnreadableSound("it holds no sound that can be decoded")


def _silence(samples: int) -> Iterator[bytes]:
    for done in range(0, samples, RATE):
        yield bytes(2 * min(RATE, samples - done))


def _mean_squares(block: bytes) -> list[float]:
    import polars as pl
    import pyarrow as pa

    numbers = pl.Series(pa.Array.from_buffers(pa.int16(), len(block) // 2, [None, pa.py_buffer(block)]))
    wide = numbers.cast(pl.Float64)
    means: list[float] = (wide * wide).reshape((-1, _HOP_SAMPLES)).arr.mean().to_list()
    return means


def _quietest(loudness: Sequence[float], low: float, high: float, target: float) -> float:
    """The middle of the longest quiet stretch between `low` and `high`; of equal ones, of that next to `target`."""
    first, last = math.ceil(low / HOP), math.floor(high / HOP)
    bound = max(_FLOOR, _QUIET * min(loudness[first:last]))
    best, rank = target, (0, 0.0)
    begin: int | None = None
    for place in range(first, last + 1):
        quiet = place < last and loudness[place] <= bound
        if quiet and begin is None:
            begin = place
        elif not quiet and begin is not None:
            middle = (begin + place) / 2 * HOP
            here = (place - begin, -abs(middle - target))
            best, rank = (middle, here) if here > rank or not rank[0] else (best, rank)
            begin = None
    return round(best, 3)
