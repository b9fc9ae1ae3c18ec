"""Which beginnings of prompts the server has seen: what the service calls cached tokens and charges less for.

Source: the service's guide on prompt caching: prompts from 1,024 tokens on, in steps of 128, per model.
"""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b

LEAST = 1_024
STEP = 128
_REMEMBERED = 50_000


class PromptCache:
    """The beginnings seen so far, the least recently used ones forgotten."""

    def __init__(self) -> None:
        self._seen: OrderedDict[bytes, None] = OrderedDict()

    def look_up(self, model: str, tokens: list[int]) -> int:
        """How many of the first tokens were seen before; all of them are remembered from now on."""
        if len(tokens) < LEAST:
            return 0
        digest = blake2b(model.encode(), digest_size=16)
        cached = 0
        known = True
        for start in range(0, len(tokens) - STEP + 1, STEP):
            digest.update(b"".join(token.to_bytes(4, "little") for token in tokens[start : start + STEP]))
            end = start + STEP
            if end < LEAST:
                continue
            mark = digest.digest()
            known = known and mark in self._seen
            if known:
                cached = end
            self._seen[mark] = None
            self._seen.move_to_end(mark)
        while len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        return cached
