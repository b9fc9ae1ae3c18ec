"""Sound in files: WAV by the standard library, all other formats by PyAV, the extra ``audio``.

Samples are 16 bits, one channel, little-endian; what is heard is brought to `HEARD` samples a second.
"""

from __future__ import annotations

import importlib.util
import io
import struct
import sys
import wave
from array import array
from collections.abc import Iterator
from itertools import accumulate, pairwise
from typing import Any

HEARD = 16_000
LONGEST = 2 * 3600
"""Seconds that one file may last: a small one can hold a day of silence."""
_ENCODERS = {
    "mp3": ("mp3", "mp3", "s16p", 24_000),
    "opus": ("ogg", "libopus", "s16", 48_000),
    "aac": ("adts", "aac", "fltp", 24_000),
    "flac": ("flac", "flac", "s16", 24_000),
}
"""Container, codec, samples and their rate."""


class UnreadableSound(Exception):
    """A file that holds no sound that can be read."""


class TooLongSound(Exception):
    """A file that lasts longer than `LONGEST`."""


class MissingDecoder(Exception):
    """The format needs the extra ``audio``."""


def has_codecs() -> bool:
    """Whether the extra ``audio`` is installed."""
    return importlib.util.find_spec("av") is not None


def to_wav(samples: bytes, rate: int) -> bytes:
    """A WAV file."""
    target = io.BytesIO()
    with wave.open(target, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples)
    return target.getvalue()


def encode(samples: bytes, rate: int, kind: str) -> bytes:
    """A file of the format `kind`: mp3, opus, aac or flac. Needs the extra ``audio``."""
    import av

    container, codec, layout, encoded = _ENCODERS[kind]
    target = io.BytesIO()
    with av.open(target, "w", format=container) as file:
        stream: Any = file.add_stream(codec, rate=encoded)
        stream.codec_context.layout = "mono"
        stream.codec_context.format = layout
        frame = av.AudioFrame(format="s16", layout="mono", samples=len(samples) // 2)
        frame.planes[0].update(samples)
        frame.sample_rate = rate
        resampler = av.AudioResampler(format=layout, layout="mono", rate=encoded, frame_size=_frame(stream))
        for piece in (*resampler.resample(frame), *resampler.resample(None)):
            file.mux(stream.encode(piece))
        file.mux(stream.encode(None))
    return target.getvalue()


def _frame(stream: Any) -> int:
    stream.codec_context.open(strict=False)
    return int(stream.codec_context.frame_size)


def decode(data: bytes) -> bytes:
    """The samples of a file, at `HEARD` a second.

    Raises:
        UnreadableSound: it holds none.
        TooLongSound: it holds more than `LONGEST` seconds.
        MissingDecoder: it is no plain WAV, and the extra ``audio`` is not installed.
    """
    if data[:4] == b"RIFF":
        try:
            return _from_wav(data)
        except (wave.Error, EOFError, struct.error, ValueError, RuntimeError):
            # Not PCM, or broken (a chunk beyond the end is a RuntimeError): PyAV may know better.
            pass
    if not has_codecs():
        raise MissingDecoder
    return _from_any(data)


def _from_wav(data: bytes) -> bytes:
    with wave.open(io.BytesIO(data)) as file:
        channels, width, rate = file.getnchannels(), file.getsampwidth(), file.getframerate()
        if not 1 <= rate <= 768_000 or not 1 <= channels <= 64:
            raise wave.Error("no such rate or channels")
        raw = file.readframes(file.getnframes())
        if len(raw) > LONGEST * rate * channels * width:
            raise TooLongSound
    raw = raw[: len(raw) - len(raw) % (channels * width)]
    values = _mono(_sixteen_bits(raw, width), channels)
    return _little(_resample(values, rate))


def _sixteen_bits(raw: bytes, width: int) -> array[int]:
    if width == 1:
        return array("h", ((value - 128) << 8 for value in raw))
    high = array("h")
    # The two highest bytes of each sample.
    kept = bytearray(len(raw) // width * 2)
    kept[0::2] = raw[width - 2 :: width]
    kept[1::2] = raw[width - 1 :: width]
    high.frombytes(bytes(kept))
    if sys.byteorder == "big":
        high.byteswap()
    return high


def _mono(values: array[int], channels: int) -> array[int]:
    if channels == 1:
        return values
    tracks = (values[channel::channels] for channel in range(channels))
    return array("h", (sum(each) // channels for each in zip(*tracks, strict=True)))


def _resample(values: array[int], rate: int) -> array[int]:
    """Second by second, so that the memory it takes does not grow with the file."""
    if rate == HEARD:
        return values
    change = _shrink if rate > HEARD else _stretch
    heard = array("h")
    for start in range(0, len(values), rate):
        heard.extend(change(values[start : start + rate], rate))
    return heard


def _stretch(values: array[int], rate: int) -> Iterator[int]:
    """Lines between the old samples."""
    last = len(values) - 1
    for index in range(len(values) * HEARD // rate):
        place, rest = divmod(index * rate, HEARD)
        yield values[place] + (values[min(place + 1, last)] - values[place]) * rest // HEARD


def _shrink(values: array[int], rate: int) -> Iterator[int]:
    """The mean of the old samples over the time of each new one, whose edges fall between old samples."""
    last = len(values) - 1
    sums = list(accumulate(values, initial=0))
    edges = (divmod(index * rate, HEARD) for index in range(len(values) * HEARD // rate + 1))
    areas = (sums[place] + values[min(place, last)] * rest // HEARD for place, rest in edges)
    return ((end - start) * HEARD // rate for start, end in pairwise(areas))


def _little(values: array[int]) -> bytes:
    if sys.byteorder == "big":
        values.byteswap()
    return values.tobytes()


def _from_any(data: bytes) -> bytes:
    import av

    sound = bytearray()
    try:
        with av.open(io.BytesIO(data), "r") as file:
            if not file.streams.audio:
                raise UnreadableSound
            resampler = av.AudioResampler(format="s16", layout="mono", rate=HEARD)
            for frame in file.decode(audio=0):
                for piece in resampler.resample(frame):
                    sound += bytes(piece.planes[0])[: 2 * piece.samples]
                if len(sound) > 2 * HEARD * LONGEST:
                    raise TooLongSound
            for piece in resampler.resample(None):
                sound += bytes(piece.planes[0])[: 2 * piece.samples]
    except (av.FFmpegError, ValueError):
        raise UnreadableSound from None
    return bytes(sound)
