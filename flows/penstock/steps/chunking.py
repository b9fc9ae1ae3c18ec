"""Cutting a text into pieces of so many tokens at the best borders, with offsets that never lie.

Every piece is counted as the text that it is, not as a part of the whole: a tokenizer may see more tokens in a piece
than the whole had there.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import Literal

from penstock.tokens import TokenCounter

At = Literal["tokens", "words", "sentences", "paragraphs"]

FEWEST = 8
"""Tokens of the smallest piece that may be asked for; one character is up to four."""

_SPACE = re.compile(r"\s*")
_PARAGRAPH = re.compile(r"\n[^\S\n]*\n\s*")
_SENTENCE = re.compile(r"[.!?…]+[)\]\"'”’»]*(?=\s+(\S))|[。！？｡؟।]+[」』）”’»]*")
_LINE = re.compile(r"\n")
_WORD = re.compile(r"\s+")
_LEVELS: dict[At, tuple[re.Pattern[str], ...]] = {
    "tokens": (),
    "words": (_WORD,),
    "sentences": (_SENTENCE, _LINE, _WORD),
    "paragraphs": (_PARAGRAPH, _SENTENCE, _LINE, _WORD),
}
_LOOK_AROUND = 64
_CHARACTERS_PER_TOKEN = 6
_ZWNJ, _ZWJ = "\u200c", "\u200d"


class Chunker:
    """Cuts texts.

    Args:
        counter: counts tokens.
        tokens: of one piece at most.
        overlap: tokens at the end of a piece, at most, that begin the next one.
        at: the borders that are preferred; where there is none, the next finer ones.
    """

    def __init__(self, counter: TokenCounter, tokens: int, overlap: int, at: At) -> None:
        self._counter = counter
        self._tokens = tokens
        self._overlap = overlap
        self._levels = _LEVELS[at]

    def pieces(self, text: str) -> list[tuple[int, int]]:
        """Start and end of each piece, in characters; white space at both ends of a piece is left out.

        All but white space is in some piece; both starts and ends rise from piece to piece.
        """
        last = len(text.rstrip())
        found: list[tuple[int, int]] = []
        start, done = _skip(text, 0), 0
        while start < last:
            end = self._end(text, start, done, last)
            if end <= done:
                # What overlaps fills the whole piece: go on without it.
                start = _skip(text, done)
                end = self._end(text, start, done, last)
            found.append((start, end))
            if end >= last:
                break
            start, done = self._next_start(text, start, end), end
        return found

    def _end(self, text: str, start: int, done: int, last: int) -> int:
        """Where the piece from `start` ends: at the best border in its second half, beyond `done`."""
        limit = self._tokens
        while True:
            far = min(last, start + self._reach(text, start, limit))
            cut = far if far == last else self._last_border(text, start, max(done, (start + far) // 2), far)
            end = start + len(text[start:cut].rstrip())
            excess = self._counter.count(text[start:end]) - self._tokens
            if excess <= 0:
                return end
            limit = max(1, limit - excess)

    def _next_start(self, text: str, start: int, end: int) -> int:
        """Where the piece after that from `start` to `end` begins."""
        limit = self._overlap
        while limit > 0:
            low = max(start + 1, end - self._counter.tail(text[start:end], limit))
            begin = _skip(text, self._first_border(text, start, low, end))
            if begin >= end:
                break
            excess = self._counter.count(text[begin:end]) - self._overlap
            if excess <= 0:
                return begin
            limit -= excess
        return _skip(text, end)

    def _reach(self, text: str, start: int, limit: int) -> int:
        """How many characters from `start` on are about `limit` tokens; one at least."""
        size = limit * _CHARACTERS_PER_TOKEN
        while True:
            piece = text[start : start + size]
            characters = self._counter.head(piece, limit)
            if characters < len(piece) or start + size >= len(text):
                return max(1, characters)
            size *= 4

    def _last_border(self, text: str, start: int, low: int, high: int) -> int:
        for level in self._levels:
            place = -1
            for place in _borders(level, text, low + 1, high):  # noqa: B007  # the last one
                pass
            if place > 0:
                return place
        places = range(high, max(start, high - _LOOK_AROUND), -1)
        return next((place for place in places if _is_safe(text, place, start)), high)

    def _first_border(self, text: str, start: int, low: int, end: int) -> int:
        for level in self._levels:
            place = next(_borders(level, text, low, (low + end) // 2), -1)
            if place >= 0:
                return place
        places = range(low, min(end, low + _LOOK_AROUND))
        return next((place for place in places if _is_safe(text, place, start)), end)


def _skip(text: str, place: int) -> int:
    match = _SPACE.match(text, place)
    return match.end() if match else place


def _borders(level: re.Pattern[str], text: str, low: int, high: int) -> Iterator[int]:
    """The borders of a level from `low` to `high`, rising. A border stands after what separates."""
    begin = max(0, low - _LOOK_AROUND) if level is not _WORD else max(0, low - 1)
    for match in level.finditer(text, begin, min(len(text), high + _LOOK_AROUND)):
        if match.start() > high:
            return
        if match.re is _SENTENCE and match[1] is not None and match[1].islower():
            # An abbreviation, as in "e.g. this".
            continue
        place = match.end() if match.re is _SENTENCE else min(match.end(), high)
        if low <= place <= high:
            yield place


def _is_safe(text: str, place: int, start: int) -> bool:
    """Whether a cut before the character at `place` parts no character that a reader sees as one.

    By the rules of Unicode (UAX #29) for marks, joiners, emoji, flags, Hangul and line ends. `start` is a place before
    it that is safe: flags are pairs, counted from there.
    """
    if not 0 < place < len(text):
        return True
    before, after = text[place - 1], text[place]
    if before.isascii() and after.isascii():
        return (before, after) != ("\r", "\n")
    if unicodedata.category(after)[0] == "M" or after in {_ZWNJ, _ZWJ} or before == _ZWJ:
        return False
    if "\U0001f3fb" <= after <= "\U0001f3ff" or "\U000e0020" <= after <= "\U000e007f":
        return False
    if _is_flag(before) and _is_flag(after):
        run = place - 1
        while run > start and _is_flag(text[run - 1]):
            run -= 1
        return (place - run) % 2 == 0
    return not _is_hangul_pair(before, after)


def _is_flag(character: str) -> bool:
    return "\U0001f1e6" <= character <= "\U0001f1ff"


def _is_hangul_pair(before: str, after: str) -> bool:
    """Whether two parts of a Korean syllable follow each other."""
    if "\u1160" <= after <= "\u11a7":
        return "\u1100" <= before <= "\u11a7" or ("\uac00" <= before <= "\ud7a3" and (ord(before) - 0xAC00) % 28 == 0)
    if "\u11a8" <= after <= "\u11ff":
        return "\u1160" <= before <= "\u11ff" or "\uac00" <= before <= "\ud7a3"
    return "\u1100" <= before <= "\u115f" and ("\u1100" <= after <= "\u115f" or "\uac00" <= after <= "\ud7a3")
