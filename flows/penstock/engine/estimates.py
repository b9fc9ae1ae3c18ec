"""How far estimates of tokens are off, learned from what servers count."""

from __future__ import annotations

import math

_MEMORY = 0.98
"""Of each request's weight after one more: about the last fifty count."""
_LOWEST, _HIGHEST = 0.05, 20.0
_DEVIATIONS = 3.0


class Estimates:
    """The ratio of counted to estimated tokens, and the spread around it."""

    def __init__(self) -> None:
        self._estimated = 0.0
        self._counted = 0.0
        self._variance = 0.0
        self._known = False

    def corrected(self, estimate: int) -> int:
        """What a request will probably count."""
        if not self._estimated:
            return estimate
        return math.ceil(estimate * min(max(self._counted / self._estimated, _LOWEST), _HIGHEST))

    def learn(self, estimate: int, corrected: int, counted: int) -> None:
        """A request of `estimate` tokens, taken for `corrected`, has counted so many."""
        self._estimated = self._estimated * _MEMORY + estimate
        self._counted = self._counted * _MEMORY + counted
        square = float(counted - corrected) ** 2
        self._variance = self._variance * _MEMORY + square * (1 - _MEMORY) if self._known else square
        self._known = True

    def reserve(self, in_flight: int) -> float:
        """Tokens that requests in flight and one more may count above what they were taken for."""
        return _DEVIATIONS * math.sqrt(self._variance * (in_flight + 1))
