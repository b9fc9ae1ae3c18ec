"""How many requests may be in flight: found by trying, like the congestion window of TCP (RFC 5681).

It doubles for each round of answers until something is refused, then grows by 5 %, and only while at least 80 % of it
is really used. A refusal (429) cuts it by a fifth, at most once in 15 s; server errors never do, since they do not
say that there are too many requests.
"""

from __future__ import annotations

import math
from collections.abc import Callable

START = 16
"""In flight at first, when the user gave no limit."""
START_GIVEN = 64
"""In flight at first at most, when the user gave a limit: it is the cap, not a promise that the server bears it."""
CAP = 256
"""In flight at most, when the user gave no limit."""

_USED = 0.8
_GROWTH = 1.05
_CUT = 0.8
_CUT_SECONDS = 15.0


def cap_of(given: int | None, shares: int = 1) -> int:
    """Requests in flight at most, of one process."""
    return max(1, (CAP if given is None else given) // shares)


class Concurrency:
    """The limit of requests in flight of one group.

    Args:
        given: the user's limit.
        shares: processes that keep to it together.
        clock: seconds, monotonic.
    """

    def __init__(self, given: int | None, clock: Callable[[], float], shares: int = 1) -> None:
        self._clock = clock
        self.cap = cap_of(given, shares)
        self.limit = min(self.cap, max(1, (START if given is None else START_GIVEN) // shares))
        self.in_flight = 0
        self._most_in_flight = 0
        self._successes = 0
        self._slow_start = True
        self._cut_at = -math.inf

    def bound(self, given: int | None, shares: int = 1) -> None:
        """Another limit of the user's from now on; what was found below it stays."""
        self.cap = cap_of(given, shares)
        self.limit = min(self.limit, self.cap)

    @property
    def room(self) -> bool:
        """Whether one more may begin."""
        return self.in_flight < self.limit

    def begin(self) -> None:
        """One more is in flight."""
        self.in_flight += 1
        self._most_in_flight = max(self._most_in_flight, self.in_flight)

    def end(self) -> None:
        """One less is in flight."""
        self.in_flight -= 1

    def succeeded(self, began: float) -> None:
        """A request that began then was answered well; a round of them lets the limit grow."""
        if began < self._cut_at:
            return
        self._successes += 1
        if self._successes < self.limit:
            return
        if self._most_in_flight >= _USED * self.limit:
            grown = self.limit * 2 if self._slow_start else max(self.limit + 1, int(self.limit * _GROWTH))
            self.limit = min(self.cap, grown)
        self._new_round()

    def refused(self, began: float) -> None:
        """A request that began then was refused for there being too many."""
        self._slow_start = False
        self._new_round()
        now = self._clock()
        if began < self._cut_at or now - self._cut_at < _CUT_SECONDS:
            return
        self._cut_at = now
        self.limit = max(1, int(self.limit * _CUT))

    def _new_round(self) -> None:
        self._successes = 0
        self._most_in_flight = self.in_flight
