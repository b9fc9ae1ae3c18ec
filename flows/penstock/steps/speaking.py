"""Long texts in parts that can be spoken, and their sounds as one file again."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from penstock.errors import InvalidAnswer, UnusableAnswer
from penstock.steps.chunking import Chunker

JOINED = frozenset({"mp3", "wav", "pcm", "aac"})
"""Formats whose files can be joined without hearing it and without decoding; opus and flac have one head for all."""
_WAV_HEAD = 44


class _Characters:
    """Counts characters where tokens are meant."""

    name = "characters"
    exact = True

    def count(self, text: str) -> int:
        return len(text)

    def count_many(self, texts: Sequence[str]) -> list[int]:
        return [len(text) for text in texts]

    def head(self, text: str, tokens: int) -> int:
        return min(len(text), tokens)

    def tail(self, text: str, tokens: int) -> int:
        return min(len(text), tokens)


def parts_of(text: str, most: int) -> list[str]:
    """The text in parts of at most `most` characters, cut at sentences where it has them, else at words."""
    if len(text) <= most:
        return [text]
    return [text[start:end] for start, end in Chunker(_Characters(), most, 0, "sentences").pieces(text)]


def check_sound(content: bytes, form: str) -> None:
    """Make sure that the content begins as files of the format do.

    Raises:
        UnusableAnswer: it does not, or holds no sound.
    """
    begins = bytes(content[:12])
    right = {
        "mp3": begins[:3] == b"ID3" or _is_frame(begins),
        "aac": _is_frame(begins) or begins[4:8] == b"ftyp",
        "opus": begins[:4] == b"OggS",
        "flac": begins[:4] == b"fLaC",
        "wav": begins[:4] in {b"RIFF", b"RF64"} and begins[8:12] == b"WAVE",
        # Raw samples: all that can be said is that there are whole ones, and that it is no text.
        "pcm": len(content) % 2 == 0 and begins.lstrip()[:1] not in {b"{", b"<"},
    }
    if not content or not right[form]:
        shown = repr(bytes(content[:80]).decode("utf-8", "replace"))
        raise UnusableAnswer(f"no {form} file came: it begins {shown}" if content else "no sound came: it is empty")
    if form == "wav" and not all(_read_wav(content)):
        raise UnusableAnswer("a WAV file without samples came")
    if form == "mp3" and not _bare_mp3(content):
        raise UnusableAnswer("an MP3 file without sound came")


def joined(sounds: Sequence[bytes], form: str) -> bytes:
    """One file of several, in their order.

    Args:
        form: one of `JOINED`.

    Raises:
        InvalidAnswer: the files are of different kinds.
    """
    if form == "wav":
        return _joined_wav(sounds)
    if form == "mp3":
        return b"".join(_bare_mp3(sound) for sound in sounds)
    return b"".join(sounds)


def _is_frame(begins: bytes) -> bool:
    """Whether MPEG audio begins here: eleven ones."""
    return len(begins) > 1 and begins[0] == 0xFF and begins[1] >= 0xE0


def _joined_wav(sounds: Sequence[bytes]) -> bytes:
    read = [_read_wav(sound) for sound in sounds]
    head = read[0][0]
    if not all(samples for _, samples in read):
        raise InvalidAnswer("a WAV file without samples came")
    if any(other != head for other, _ in read):
        raise InvalidAnswer("the parts of a text were spoken into WAV files of different kinds")
    data = b"".join(samples for _, samples in read)
    size = min(len(data), 0xFFFFFFFF - _WAV_HEAD)
    begins = struct.pack("<4sI4s", b"RIFF", 20 + len(head) + size + size % 2, b"WAVE")
    return b"".join(
        [
            begins,
            struct.pack("<4sI", b"fmt ", len(head)),
            head,
            struct.pack("<4sI", b"data", size),
            data,
            bytes(size % 2),
        ]
    )


def _read_wav(sound: bytes) -> tuple[bytes, bytes]:
    """The format and the samples, empty where there are none.

    Streamed files do not know their length and say 0 or the largest number.
    """
    place, head = 12, b""
    while place + 8 <= len(sound):
        name, size = struct.unpack_from("<4sI", sound, place)
        body = place + 8
        if name == b"data":
            unknown = size in {0, 0xFFFFFFFF} or body + size > len(sound)
            return head, sound[body:] if unknown else sound[body : body + size]
        if name == b"fmt ":
            head = sound[body : body + size]
        place = body + size + size % 2
    return head, b""


def _bare_mp3(sound: bytes) -> bytes:
    """Only frames of sound: without tags, and without the first frame where it only tells the length of all.

    Source: ID3v2.4.0 structure, 3.1; the Xing and Info headers as LAME writes them.
    """
    begin = 0
    while sound[begin : begin + 3] == b"ID3" and len(sound) >= begin + 10:
        sizes = sound[begin + 6 : begin + 10]
        footer = 10 if sound[begin + 5] & 0x10 else 0
        begin += 10 + footer + (sizes[0] << 21 | sizes[1] << 14 | sizes[2] << 7 | sizes[3])
    end = len(sound) - 128 if sound[-128:-125] == b"TAG" else len(sound)
    if any(mark in sound[begin : begin + 64] for mark in (b"Xing", b"Info", b"VBRI")):
        following = _next_frame(sound, begin)
        begin = following if following < end else begin
    return sound[begin:end]


def _next_frame(sound: bytes, place: int) -> int:
    """Where the frame after the one at `place` begins, known by the same version, layer and rate."""
    mark = sound[place : place + 2]
    rate = sound[place + 2] & 0x0C
    following = sound.find(mark, place + 4)
    while following >= 0 and (len(sound) <= following + 2 or sound[following + 2] & 0x0C != rate):
        following = sound.find(mark, following + 1)
    return following if following >= 0 else place
