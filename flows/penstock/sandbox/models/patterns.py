"""Waves of colour as PNG images, the same for the same seed: what the sandbox draws in place of a picture.

Each row is one wave, moved sideways and shifted in its colours; both are operations on whole rows of bytes, so that
1024 by 1024 pixels take some ten milliseconds.
"""

from __future__ import annotations

import hashlib
import math
import random
import struct
import zlib

NOTE = "Penstock sandbox: a generated pattern"
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_INDEXED = 3
_COLOURS = 256


def draw_pattern(seed: str, width: int, height: int, *, vivid: bool = True, fine: bool = False) -> bytes:
    """A PNG of 256 colours.

    Args:
        seed: decides colours and waves.
        width: pixels.
        height: pixels.
        vivid: strong colours; else soft ones.
        fine: more and smaller waves.
    """
    digest = hashlib.sha256(seed.encode("utf-8", "surrogatepass")).digest()
    chance = random.Random(digest)  # noqa: S311  # has to be repeatable
    header = struct.pack(">IIBBBBB", width, height, 8, _INDEXED, 0, 0, 0)
    return b"".join(
        (
            _SIGNATURE,
            _chunk(b"IHDR", header),
            _chunk(b"PLTE", _palette(chance, vivid)),
            _chunk(b"tEXt", b"Description\0" + NOTE.encode("latin-1")),
            _chunk(b"IDAT", zlib.compress(_pixels(chance, width, height, fine), 1)),
            _chunk(b"IEND", b""),
        )
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _palette(chance: random.Random, vivid: bool) -> bytes:
    """Colours in a circle, so that a shift never makes an edge."""
    strength = 0.46 if vivid else 0.22
    middle = 0.52 if vivid else 0.66
    start = chance.random()
    offsets = [start + chance.uniform(0.0, 0.12), start + chance.uniform(0.2, 0.4), start + chance.uniform(0.5, 0.7)]
    return bytes(
        round(255 * (middle + strength * math.cos(2 * math.pi * (index / _COLOURS + offset)) * 0.72))
        for index in range(_COLOURS)
        for offset in offsets
    )


def _pixels(chance: random.Random, width: int, height: int, fine: bool) -> bytes:
    """The rows with their filter byte: palette indices."""
    waves = 5 if fine else 3
    across = _wave(chance, width, waves, 90)
    shifts = _wave(chance, height, waves, 150)
    slides = _wave(chance, height, 2, width * 0.12)
    row = bytes(round(value) % _COLOURS for value in across)
    doubled = row + row
    circle = bytes(range(_COLOURS)) * 2
    rows = []
    for shift, slide in zip(shifts, slides, strict=True):
        start = round(slide) % width
        turn = round(shift) % _COLOURS
        rows.append(b"\0" + doubled[start : start + width].translate(circle[turn : turn + _COLOURS]))
    return b"".join(rows)


def _wave(chance: random.Random, length: int, count: int, height: float) -> list[float]:
    """A sum of sines that ends where it begins."""
    parts = [
        (2 * math.pi * chance.randint(1, 2 + index) / length, chance.random() * 2 * math.pi, height / (1 + index))
        for index in range(count)
    ]
    return [sum(size * math.sin(speed * place + start) for speed, start, size in parts) for place in range(length)]
