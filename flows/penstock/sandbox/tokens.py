"""Exact token counts for the models of the sandbox: the vocabularies ``cl100k_base`` and ``o200k_base``, offline.

A vocabulary is loaded at first use (about 40 ms) or, for that of the embedding models, ahead of it by `warm`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

LARGEST_TOKEN = 100_276
"""The highest id of ``cl100k_base``, special tokens included."""
CL100K = "cl100k_base"
"""The vocabulary of the embedding models, GPT-4 and GPT-3.5."""
O200K = "o200k_base"
"""The vocabulary of GPT-4o and all chat models after it."""


@cache
def _vocabulary(name: str) -> Any:
    from splintr import Tokenizer

    return Tokenizer.from_pretrained(name)


def warm() -> None:
    """Load the vocabulary, so that the first request does not wait for it."""
    _vocabulary(CL100K)


def encode(text: str, vocabulary: str = CL100K) -> list[int]:
    """The token ids of `text`; text that looks like a special token is ordinary text."""
    return list(_vocabulary(vocabulary).encode_ordinary(text))


def count_tokens(text: str, vocabulary: str = CL100K) -> int:
    """How many tokens `text` is; text that looks like a special token is ordinary text."""
    return len(_vocabulary(vocabulary).encode_ordinary(text))


def decode_tokens(tokens: Sequence[int], vocabulary: str = CL100K) -> str:
    """The text of token ids from 0 to `LARGEST_TOKEN`; bytes that are not UTF-8 become U+FFFD."""
    return str(_vocabulary(vocabulary).decode_lossy(list(tokens)))


def token_bytes(token: int, vocabulary: str = CL100K) -> bytes:
    """The bytes of one token, which may be a part of a character only."""
    return bytes(_vocabulary(vocabulary).decode_bytes([token]))
