"""Speech of the sandbox: a row of tones for each word, in the pitch of the voice. The same text gives the same sound.

Every word is some syllables long, by its letters, and has its own melody. Each syllable repeats one period of a wave at
a few loudnesses, so that minutes of sound take milliseconds to make.
"""

from __future__ import annotations

import hashlib
import math
import re
from array import array
from functools import lru_cache

RATE = 24_000
"""Samples a second, 16 bits, one channel: the service's ``pcm``."""
PITCHES = {
    "alloy": 165,
    "ash": 120,
    "ballad": 140,
    "cedar": 105,
    "coral": 205,
    "echo": 125,
    "fable": 175,
    "marin": 215,
    "nova": 220,
    "onyx": 95,
    "sage": 190,
    "shimmer": 235,
    "verse": 150,
}
"""Hertz of each voice's lowest tone."""
_MELODY = (0, 2, 4, 7, 9, 12)
"""Half tones above it."""
_LOUDNESS = (0.25, 0.6, 0.9, 1.0, 1.0, 0.95, 0.85, 0.7, 0.4, 0.15)
_SYLLABLE = 0.14
_PAUSE = {" ": 0.05, ",": 0.18, ";": 0.2, ":": 0.2, ".": 0.32, "!": 0.32, "?": 0.32, "\n": 0.35}
_PARTS = re.compile(r"\w+|[ ,;:.!?\n]")
_WIDE = re.compile(r"[^\x00-\u02ff]")


def speak(text: str, voice: str, *, speed: float = 1.0, rich: bool = False) -> bytes:
    """Samples of `RATE`, little-endian, at least a tenth of a second.

    Args:
        text: any; only letters, digits and punctuation are heard.
        voice: one of `PITCHES`.
        speed: 2.0 takes half the time.
        rich: more overtones.
    """
    pieces = [_silence(0.05 / speed)]
    for part in _PARTS.findall(text):
        if part in _PAUSE:
            pieces.append(_silence(_PAUSE[part] / speed))
        else:
            pieces.append(_word(part.lower(), voice, speed, rich))
    pieces.append(_silence(max(0.05, 0.05 / speed)))
    return b"".join(pieces)


def _silence(seconds: float) -> bytes:
    return bytes(2 * round(seconds * RATE))


@lru_cache(maxsize=1_024)
def _word(word: str, voice: str, speed: float, rich: bool) -> bytes:
    digest = hashlib.sha256(word[:64].encode("utf-8", "surrogatepass")).digest()
    # A sign of a script without letters counts as a syllable, as it is one when spoken.
    syllables = max(1, round(len(word) / 2.7), len(_WIDE.findall(word)))
    length = round(_SYLLABLE * RATE / speed)
    pieces = []
    for number in range(syllables):
        step = _MELODY[digest[number % len(digest)] % len(_MELODY)]
        pieces.append(_syllable(PITCHES[voice] * 2 ** (step / 12), length, rich))
    return b"".join(pieces)


def _syllable(pitch: float, length: int, rich: bool) -> bytes:
    """`length` samples of one tone that swells and dies away."""
    period = round(RATE / pitch)
    part = length // len(_LOUDNESS) + 1
    # Whole periods at each loudness, so that no step clicks.
    repeats = max(1, part // period)
    sound = b"".join(_period(period, loudness, rich) * repeats for loudness in _LOUDNESS)
    return sound[: 2 * length] if len(sound) >= 2 * length else sound + bytes(2 * length - len(sound))


@lru_cache(maxsize=4_096)
def _period(samples: int, loudness: float, rich: bool) -> bytes:
    overtones = (1.0, 0.5, 0.33, 0.25, 0.2, 0.12, 0.08) if rich else (1.0, 0.4, 0.2)
    height = 12_000 * loudness / sum(overtones)
    wave = array(
        "h",
        (
            round(
                height * sum(part * math.sin(2 * math.pi * (n + 1) * i / samples) for n, part in enumerate(overtones))
            )
            for i in range(samples)
        ),
    )
    if memoryview(b"\x01\x00").cast("h")[0] != 1:
        wave.byteswap()
    return wave.tobytes()
