"""How many tokens a text is: exact for models whose vocabulary is public, a labelled estimate for all others."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Protocol

_O200K = re.compile(r"(chatgpt-)?gpt-(4o|4\.1|4\.5|[5-9]|oss)|chatgpt-4o|o[1-9](-|$)|computer-use|codex-mini")
_CL100K = re.compile(r"text-embedding-|gpt-4|gpt-3\.?5|davinci-002|babbage-002")

# Every special token of both vocabularies begins like this; a text without it means the same with and without them.
_SPECIAL = "<|"
_BYTES_PER_ID = 4
_BYTES_PER_TOKEN = 3


class TokenCounter(Protocol):
    """Counts tokens of texts.

    Attributes:
        name: the vocabulary, or what the estimate goes by; for reports.
        exact: False for an estimate, which is meant to be too high rather than too low.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def exact(self) -> bool: ...  # noqa: D102

    def count(self, text: str) -> int:
        """Tokens of one text, in which nothing is a special token."""

    def count_many(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text."""

    def head(self, text: str, tokens: int) -> int:
        """How many whole characters the first `tokens` tokens of the text hold."""

    def tail(self, text: str, tokens: int) -> int:
        """How many whole characters the last `tokens` tokens of the text hold."""


class VocabularyCounter:
    """Exact counts by a vocabulary that comes with splintr."""

    exact = True

    def __init__(self, name: str) -> None:
        from splintr import Tokenizer

        self.name = name
        tokenizer: Any = Tokenizer.from_pretrained(name)
        self._ordinary: Callable[[str], list[int]] = tokenizer.encode_ordinary
        self._flat: Callable[[str], bytes] = tokenizer.encode_flat
        self._bytes: Callable[[list[int]], bytes] = tokenizer.decode_bytes

    def count(self, text: str) -> int:
        """See `TokenCounter.count`."""
        try:
            if _SPECIAL in text:
                return len(self._ordinary(text))
            # Twice as fast, but it reads special tokens in the text as such.
            return len(self._flat(text)) // _BYTES_PER_ID
        except UnicodeEncodeError:
            return len(self._ordinary(text.encode("utf-8", "replace").decode()))

    def count_many(self, texts: Sequence[str]) -> list[int]:
        """See `TokenCounter.count_many`."""
        return [self.count(text) for text in texts]

    def head(self, text: str, tokens: int) -> int:
        """See `TokenCounter.head`."""
        return _whole_characters(self._bytes(self._ordinary(text)[:tokens]))

    def tail(self, text: str, tokens: int) -> int:
        """See `TokenCounter.tail`."""
        return _whole_characters(self._bytes(self._ordinary(text)[-tokens:])) if tokens else 0


class EstimatedCounter:
    """One token per three bytes of UTF-8, rounded up: English has about four, so this errs on the safe side."""

    name = "estimate (3 bytes a token)"
    exact = False

    def count(self, text: str) -> int:
        """See `TokenCounter.count`."""
        size = len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
        return -(-size // _BYTES_PER_TOKEN)

    def count_many(self, texts: Sequence[str]) -> list[int]:
        """See `TokenCounter.count_many`."""
        return [self.count(text) for text in texts]

    def head(self, text: str, tokens: int) -> int:
        """See `TokenCounter.head`."""
        return _whole_characters(text.encode()[: tokens * _BYTES_PER_TOKEN])

    def tail(self, text: str, tokens: int) -> int:
        """See `TokenCounter.tail`."""
        return _whole_characters(text.encode()[-tokens * _BYTES_PER_TOKEN :]) if tokens else 0


def vocabulary(model: str) -> str | None:
    """``o200k_base`` or ``cl100k_base`` for a model of that family, fine-tuned or not; None for others."""
    name = model.removeprefix("ft:").lower()
    if _O200K.match(name):
        return "o200k_base"
    return "cl100k_base" if _CL100K.match(name) else None


def counter(model: str) -> TokenCounter:
    """The counter for `model`; made once per vocabulary and process (some 30 ms)."""
    name = vocabulary(model)
    return EstimatedCounter() if name is None else vocabulary_counter(name)


@lru_cache(maxsize=4)
def vocabulary_counter(name: str) -> VocabularyCounter:
    """The counter of the vocabulary ``o200k_base`` or ``cl100k_base``."""
    return VocabularyCounter(name)


def _whole_characters(piece: bytes) -> int:
    # A token may end inside a character; its first or last bytes alone are none.
    return len(piece.decode("utf-8", "ignore"))
