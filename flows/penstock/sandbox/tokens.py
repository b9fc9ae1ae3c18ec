"""Exact token counts for the models of the sandbox: the vocabulary ``cl100k_base``, offline.

The vocabulary is loaded at first use (about 40 ms) or ahead of it by `warm`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

LARGEST_TOKEN = 100_276
"""The highest id of ``cl100k_base``, special tokens included."""


@cache
def _vocabulary() -> Any:
    from splintr import Tokenizer

    return Tokenizer.from_pretrained("cl100k_base")


def warm() -> None:
    """Load the vocabulary, so that the first request does not wait for it."""
    _vocabulary()


def count_tokens(text: str) -> int:
    """How many tokens `text` is; text that looks like a special token is ordinary text."""
    return len(_vocabulary().encode_ordinary(text))


def decode_tokens(tokens: Sequence[int]) -> str:
    """The text of token ids from 0 to `LARGEST_TOKEN`; bytes that are not UTF-8 become U+FFFD."""
    return str(_vocabulary().decode_lossy(list(tokens)))
