"""Sentences, words and stems: what the sandbox's chat knows of language."""

from __future__ import annotations

import re
from functools import lru_cache


def named(text: str) -> list[str]:
    """The words of a list that is written as one text."""
    return text.split()


_SENTENCE = re.compile(r"[^.!?\n。！？]+(?:[.!?](?=[^\s\"')\]])[^.!?\n]*)*[.!?。！？]*[\"')\]]*")
_WORD = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_FREQUENT = frozenset(
    named(
        "a an and any are as at be been but by can could did do does for from had has have he her his how i if in into "
        "is it its just me my no not of on one or our please she should so some than that the their them then there "
        "these they this to up us was we were what when where which who why will with would you your"
    )
)
_ENDINGS = ("ations", "ation", "ings", "ing", "ies", "ied", "ers", "er", "es", "ed", "ly", "s", "e", "y")


def sentences(text: str) -> list[str]:
    """The sentences and lines of a text, without space around them."""
    return [found for piece in _SENTENCE.findall(text) if (found := piece.strip())]


def words(text: str) -> list[str]:
    """The words of a text in lower case; names such as ``getWeather`` and ``get_weather`` fall apart."""
    return [word.casefold() for word in _WORD.findall(_CAMEL.sub(" ", text.replace("_", " ")))]


@lru_cache(maxsize=20_000)
def stem(word: str) -> str:
    """A word without its ending, so that *refund*, *refunds* and *refunded* are one."""
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word


def stems(text: str) -> set[str]:
    """The stems of the words that say something."""
    return {stem(word) for word in words(text) if word not in _FREQUENT}


def keywords(text: str, most: int) -> list[str]:
    """The words that are said most often, then those that are longest; at most `most`."""
    counts: dict[str, int] = {}
    for word in words(text):
        if word not in _FREQUENT and len(word) > 2 and not word.isdigit():
            counts[word] = counts.get(word, 0) + 1
    return sorted(counts, key=lambda word: (-counts[word], -len(word), word))[:most]
