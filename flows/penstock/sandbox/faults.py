"""The draw: which request meets which fault.

How a fault is played stands in `refusals` (a status instead of the answer), `garble` and `garble_chat` (the answer's
body changed) and `transport` (the connection broken). What faults there are stands in `penstock.faults`.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from penstock.faults import FaultRule


class FaultPlan:
    """Decides for each request whether a fault is played.

    The draw depends on the seed and on how many requests came before, so the same requests in the same order meet
    the same faults, and a request that is sent again is drawn again.
    """

    def __init__(self, rules: Sequence[FaultRule], seed: int) -> None:
        self.rules = tuple(rules)
        self.seed = seed
        self._draws = random.Random(seed)  # noqa: S311  # has to be repeatable
        # A name for each of the next requests; popped from the end.
        self._next = [rule.name for rule in reversed(self.rules) for _ in range(rule.times)]
        self._shares = [(rule.name, rule.share) for rule in rules if rule.share]

    def draw(self) -> str | None:
        """The fault of the next request, or None."""
        if self._next:
            return self._next.pop()
        if not self._shares:
            return None
        point = self._draws.random()
        for name, share in self._shares:
            if point < share:
                return name
            point -= share
        return None
