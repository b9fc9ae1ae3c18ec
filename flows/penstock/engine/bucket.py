"""Requests or tokens per minute as servers count them: a bucket that fills up evenly, or minutes that begin anew."""

from __future__ import annotations

import math
from dataclasses import replace

from penstock.api.headers import Allowance

MINUTE = 60.0
_DAY = 86_400.0
# Above this, "all back in" cannot be a bucket that fills up once a minute.
_LONGER_THAN_A_MINUTE = 61.0
# What servers round up by, before "all back in" is longer than a bucket of a minute can take.
_ROUNDING_SECONDS = 2.0
_SMALLEST_BURST_SECONDS = 1.0


class Bucket:
    """A rate with a burst.

    Args:
        capacity: what may be taken at once after a rest.
        rate: what comes back per second.
        level: what may be taken at `now`.

    Attributes:
        window_ends: when everything comes back at once, where the server counts by fixed minutes and nothing comes back
            before; None for a bucket that fills up evenly.
    """

    def __init__(self, capacity: float, rate: float, level: float, now: float) -> None:
        self.capacity = capacity
        self.rate = rate
        self.level = level
        self.window_ends: float | None = None
        self._at = now

    def refill(self, now: float, in_flight: float = 0.0) -> None:
        """Bring the level up to `now`; what is in flight when a window ends may count in the next one."""
        if self.window_ends is not None:
            if now >= self.window_ends:
                self.level = self.capacity - in_flight
                self.window_ends += math.ceil((now - self.window_ends) / MINUTE) * MINUTE or MINUTE
            self._at = now
        elif now > self._at:
            self.level = min(self.capacity, self.level + (now - self._at) * self.rate)
            self._at = now

    def wait_for(self, cost: float, reserve: float = 0.0) -> float:
        """Seconds until `cost` may be taken with `reserve` left; a cost above the capacity needs a full bucket."""
        missing = min(cost + reserve, self.capacity) - self.level
        # A sliver that the arithmetic left over is not worth a timer.
        if missing <= 1e-9:
            return 0.0
        return missing / self.rate if self.window_ends is None else max(self.window_ends - self._at, 1e-3)

    def give_back(self, amount: float) -> None:
        """Return what was taken too much; a negative amount takes what was taken too little."""
        self.level = min(self.capacity, self.level + amount)

    def restrain(self) -> None:
        """After a refusal: nothing is left, and later bursts are half as large."""
        self.level = min(self.level, 0.0)
        if self.window_ends is None:
            self.capacity = max(self.capacity / 2, self.rate * _SMALLEST_BURST_SECONDS, 1.0)

    def correct(self, told: Allowance, in_flight: int, age: float, *, learning: bool) -> None:
        """Take over what an answer says; the level must be of now.

        Args:
            told: as it was when the server answered.
            in_flight: units of other requests that were under way when the answered one was, or sent since; the server
                has counted some of them, or none.
            age: seconds that the answer may be old.
            learning: whether the limit is the server's; a user's own limit is only ever tightened.
        """
        if learning:
            known = self.capacity / self.rate if self.capacity == told.limit else 0.0
            self.capacity = float(told.limit)
            self.rate = told.limit / max(_seconds(told), known)
            self._look_for_a_window(told)
        if told.remaining is None:
            return
        refilled = 0.0 if self.window_ends is not None else self.rate * age
        # The server says whole units, so a part of one may be hidden.
        self.level = min(self.level, told.remaining + refilled + 1)
        if learning:
            self.level = max(self.level, float(told.remaining - in_flight))

    def _look_for_a_window(self, told: Allowance) -> None:
        """Whether the server counts by fixed minutes: then all comes back later than an even filling would take."""
        if told.reset is None or told.remaining is None or told.reset > _LONGER_THAN_A_MINUTE:
            return
        evenly = (told.limit - told.remaining) / told.limit * MINUTE
        ends = self._at + told.reset
        if told.reset > 1.5 * evenly + _ROUNDING_SECONDS:
            # Each answer says the same moment, and its way here on top.
            same = self.window_ends is not None and abs(ends - self.window_ends) < MINUTE / 2
            self.window_ends = min(ends, self.window_ends) if same and self.window_ends else ends


def per_minute(limit: int | None, now: float, shares: int = 1) -> Bucket | None:
    """The bucket of a user's own limit, or of one of so many even shares of it."""
    if limit is None:
        return None
    share = limit / shares
    return Bucket(share, share / MINUTE, share, now)


def share_of(told: Allowance, shares: int) -> Allowance:
    """What one of so many processes may take of a limit that a server has told, and of what is left of it."""
    if shares == 1:
        return told
    remaining = None if told.remaining is None else told.remaining // shares
    return replace(told, limit=max(1, told.limit // shares), remaining=remaining)


def learned(told: Allowance, in_flight: int, now: float) -> Bucket:
    """A bucket as an answer describes it."""
    remaining = told.limit if told.remaining is None else told.remaining
    return Bucket(float(told.limit), told.limit / _seconds(told), float(remaining - in_flight), now)


def _seconds(told: Allowance) -> float:
    """Over which a limit holds: a minute, unless the time until all are back says that it is longer."""
    if told.reset is None or told.remaining is None or told.reset <= _LONGER_THAN_A_MINUTE:
        return MINUTE
    used = max(told.limit - told.remaining, 1)
    return min(max(told.reset * told.limit / used, told.reset), _DAY)
