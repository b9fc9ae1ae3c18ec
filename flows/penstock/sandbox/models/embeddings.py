"""Vectors without a neural network: words, pairs of neighbouring words and character trigrams, hashed with signs.

Texts that share words, also misspelt or in another order, get near vectors; texts that say the same in other words
do not: the vectors are lexical, not semantic. (Feature hashing: Weinberger et al., ICML 2009.)

A vector can be cut: its numbers stand in blocks of growing width, and every feature has one place in each block, so
that the first n numbers are a vector of the whole text. As with the service's text-embedding-3 models, asking for
fewer `dimensions` is the same as cutting the full vector and giving it length 1 again.
"""

from __future__ import annotations

import re
import unicodedata
from array import array
from collections import Counter
from functools import lru_cache
from hashlib import blake2b
from itertools import pairwise
from math import hypot, log, sqrt

_EDGES = (16, 128, 512, 1536, 3072)
"""Where the blocks end; the last one ends with the model's vector."""
_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
# Scripts that put no space between words are taken character by character; the pairs make up for the words.
_WORD = re.compile(rf"[{_CJK}]|[^\W{_CJK}]+")
_TRIGRAMS = 1.2
_PAIRS = 0.5
# Words that say little about what a text is about.
_FREQUENT_TEXT = (
    "a an and are as at be been but by can do for from had has have he her his i if in is it its me my no not of on or "
    "our she so that the their them they this to was we were what when which who will with would you your"
)
_FREQUENT = frozenset(_FREQUENT_TEXT.split())
_FREQUENT_WEIGHT = 0.3
_BIAS = 1e-3
"""Added to the first number, so that a text without a single feature still has a vector."""
_REMEMBERED_WORDS = 20_000
_LONGEST_REMEMBERED = 40
_MULTIPLIER = 0x9E3779B97F4A7C15F39CC0605CEDC835  # odd: the golden ratio's first 128 bits
_MASK = (1 << 128) - 1

Places = tuple[tuple[int, ...], tuple[int, ...]]
"""Where a feature is added, and where it is subtracted."""
Word = tuple[int, Places, Places, float, float]
"""A word's hash, its own places, those of its trigrams, its weight, and the weight of each trigram."""


class LexicalModel:
    """Turns texts into vectors of length 1; equal settings give equal vectors in every process.

    Args:
        name: the model's name; models of different names have unrelated vectors.
        size: how many numbers the model's full vector has.
        dimensions: how many of them are wanted.
    """

    def __init__(self, name: str, size: int, dimensions: int) -> None:
        self._salt = blake2b(name.encode(), digest_size=16).digest()
        self._dimensions = dimensions
        ends = [edge for edge in _EDGES if edge < size] + [size]
        self._blocks = [
            (start, end - start) for start, end in zip([0, *ends[:-1]], ends, strict=True) if start < dimensions
        ]
        self._words: dict[str, Word] = {}

    def vector(self, text: str) -> array[float]:
        """The vector of `text`: `dimensions` numbers of 32 bits, length 1."""
        if not text.isascii():
            text = unicodedata.normalize("NFKC", text)
        words = _WORD.findall(text.casefold()) or [mark for mark in text if not mark.isspace()]
        sums = [0.0] * self._dimensions
        hashes = self._add_words(sums, words)
        self._add_pairs(sums, words, hashes)
        sums[0] += _BIAS
        return self._finish(sums)

    def _add_words(self, sums: list[float], words: list[str]) -> dict[str, int]:
        known = self._words
        hashes: dict[str, int] = {}
        for word, times in Counter(words).items():
            entry = known.get(word) or self._learn(word)
            hashes[word], (plus, minus), (gram_plus, gram_minus), weight, gram_weight = entry
            if times > 1:
                dampened = 1 + log(times)
                weight *= dampened
                gram_weight *= dampened
            for place in plus:
                sums[place] += weight
            for place in minus:
                sums[place] -= weight
            for place in gram_plus:
                sums[place] += gram_weight
            for place in gram_minus:
                sums[place] -= gram_weight
        return hashes

    def _add_pairs(self, sums: list[float], words: list[str], hashes: dict[str, int]) -> None:
        for first, second in pairwise(words):
            plus, minus = self._places((hashes[first] * _MULTIPLIER + hashes[second]) & _MASK)
            for place in plus:
                sums[place] += _PAIRS
            for place in minus:
                sums[place] -= _PAIRS

    def _finish(self, sums: list[float]) -> array[float]:
        # A wider block tells features apart better, so it weighs more: the square root of its full width.
        vector: list[float] = []
        for start, width in self._blocks:
            scale = sqrt(width)
            vector += [value * scale for value in sums[start : start + width]]
        length = hypot(*vector)
        if not length:
            vector[0] = length = 1.0
        scale = 1 / length
        return array("f", [value * scale for value in vector])

    def _learn(self, word: str) -> Word:
        padded = f"<{word}>"
        grams = [padded[at : at + 3] for at in range(len(padded) - 2)]
        plus: list[int] = []
        minus: list[int] = []
        for gram in grams:
            more, fewer = self._places(self._hash("g" + gram))
            plus += more
            minus += fewer
        weight = _FREQUENT_WEIGHT if word in _FREQUENT else 1.0
        own = self._hash("w" + word)
        entry = (own, self._places(own), (tuple(plus), tuple(minus)), weight, weight * _TRIGRAMS / sqrt(len(grams)))
        if len(word) <= _LONGEST_REMEMBERED:
            if len(self._words) >= _REMEMBERED_WORDS:
                self._words.clear()
            self._words[word] = entry
        return entry

    def _hash(self, feature: str) -> int:
        data = feature.encode("utf-8", "surrogatepass")
        return int.from_bytes(blake2b(data, digest_size=16, salt=self._salt).digest(), "little")

    def _places(self, mark: int) -> Places:
        plus: list[int] = []
        minus: list[int] = []
        for start, width in self._blocks:
            place = start + ((mark >> 1) & 0xFFFFF) % width
            if place < self._dimensions:
                (plus if mark & 1 else minus).append(place)
            mark >>= 21
        return tuple(plus), tuple(minus)


@lru_cache(maxsize=8)
def lexical_model(name: str, size: int, dimensions: int) -> LexicalModel:
    """The model of these settings, with the words it has learnt."""
    return LexicalModel(name, size, dimensions)
