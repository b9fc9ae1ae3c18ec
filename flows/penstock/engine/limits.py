"""What may be sent now: requests and tokens per minute taken together, and requests in flight.

All of it is arithmetic on a clock that is given, without waiting; `penstock.engine.gate` waits by it.

Rates are token buckets (as the service's own: a full minute's allowance, refilled evenly). Limits the user did not
give are learned from the answers' headers, and what the server says is left corrects the level in both directions.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from penstock.api.headers import Allowance, RateLimits
from penstock.api.provider import Limits
from penstock.engine.concurrency import Concurrency

_MINUTE = 60.0
_DAY = 86_400.0
# Above this, "all back in" cannot be a bucket that fills up once a minute.
_LONGER_THAN_A_MINUTE = 61.0
_SMALLEST_BURST_SECONDS = 1.0


class Bucket:
    """A rate with a burst.

    Args:
        capacity: what may be taken at once after a rest.
        rate: what comes back per second.
        level: what may be taken at `now`.
    """

    def __init__(self, capacity: float, rate: float, level: float, now: float) -> None:
        self.capacity = capacity
        self.rate = rate
        self.level = level
        self._at = now

    def refill(self, now: float) -> None:
        """Bring the level up to `now`."""
        if now > self._at:
            self.level = min(self.capacity, self.level + (now - self._at) * self.rate)
            self._at = now

    def wait_for(self, cost: float) -> float:
        """Seconds until `cost` may be taken; one cost above the capacity may be taken from a full bucket."""
        missing = min(cost, self.capacity) - self.level
        # A sliver that the arithmetic left over is not worth a timer.
        return missing / self.rate if missing > 1e-9 else 0.0

    def give_back(self, amount: float) -> None:
        """Return what was taken too much; a negative amount takes what was taken too little."""
        self.level = min(self.capacity, self.level + amount)

    def correct(self, told: Allowance, in_flight: int, age: float, *, learning: bool) -> None:
        """Take over what an answer says; the level must be of now.

        Args:
            told: as it was when the server answered.
            in_flight: units of other requests under way; the server has counted some of them or none.
            age: seconds that the answer may be old.
            learning: whether the limit is the server's; a user's own limit is only ever tightened.
        """
        if learning:
            known = self.capacity / self.rate if self.capacity == told.limit else 0.0
            self.capacity = float(told.limit)
            self.rate = told.limit / max(_window(told), known)
        if told.remaining is None:
            return
        # The server says whole units, so a part of one may be hidden.
        self.level = min(self.level, told.remaining + self.rate * age + 1)
        if learning:
            self.level = max(self.level, float(told.remaining - in_flight))


@dataclass(frozen=True, slots=True)
class Admission:
    """Leave to send one request: the tokens that were taken for it, and when."""

    tokens: int
    began: float


class Limiter:
    """The limits of one group: a base URL, a key and a model.

    Args:
        limits: what the user gave; None in it is learned.
        clock: seconds, monotonic.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._given = limits
        self.concurrency = Concurrency(limits.concurrency, clock)
        now = clock()
        self.requests = _per_minute(limits.requests_per_minute, now)
        self.tokens = _per_minute(limits.tokens_per_minute, now)
        self.paused_until = 0.0
        self._tokens_in_flight = 0
        self._refusals = 0

    @property
    def max_request_tokens(self) -> int | None:
        """Tokens of one request at most: more than a minute's allowance is refused by any server."""
        return self._given.tokens_per_minute

    def admit(self, tokens: int) -> Admission | float:
        """Leave for a request of `tokens`, or the seconds to wait before asking again (infinite: till one ends)."""
        now = self._clock()
        if now < self.paused_until:
            return self.paused_until - now
        if not self.concurrency.room:
            return math.inf
        wait = 0.0
        if self.requests is not None:
            self.requests.refill(now)
            wait = self.requests.wait_for(1)
        if self.tokens is not None:
            self.tokens.refill(now)
            wait = max(wait, self.tokens.wait_for(tokens))
        if wait > 0:
            return wait
        # Both or none: a request that waits for one limit holds nothing of the other.
        if self.requests is not None:
            self.requests.level -= 1
        if self.tokens is not None:
            self.tokens.level -= tokens
        self._tokens_in_flight += tokens
        self.concurrency.begin()
        return Admission(tokens, now)

    def ended(self, admission: Admission, actual_tokens: int | None = None, *, sent: bool = True) -> None:
        """A request is over.

        Args:
            actual_tokens: as the server counted them; None when it did not, and the estimate stands.
            sent: False when it never reached the server: all of it is given back.
        """
        self._tokens_in_flight -= admission.tokens
        self.concurrency.end()
        if not sent and self.requests is not None:
            self.requests.give_back(1)
        if self.tokens is not None and (actual_tokens is not None or not sent):
            self.tokens.give_back(admission.tokens - (actual_tokens if sent and actual_tokens is not None else 0))

    def succeeded(self, admission: Admission) -> None:
        """A request that is still in flight was answered well."""
        self._refusals = 0
        self.concurrency.succeeded(admission.began)

    def refused(self, admission: Admission, wait: float | None, fallback: Callable[[int], float]) -> float:
        """A 429: all of the group wait, and begin again more carefully.

        Args:
            wait: seconds, as the server says.
            fallback: seconds for the n-th refusal in a row (from 1), where the server says nothing.

        Returns:
            Seconds from now until the group goes on.
        """
        now = self._clock()
        self.concurrency.refused(admission.began)
        if admission.began >= self.paused_until:
            # Requests that were under way when the pause began tell nothing new.
            self._refusals += 1
            for bucket in (self.requests, self.tokens):
                if bucket is not None:
                    bucket.capacity = max(bucket.capacity / 2, bucket.rate * _SMALLEST_BURST_SECONDS, 1.0)
                    bucket.level = min(bucket.level, 0.0)
        pause = fallback(max(self._refusals, 1)) if wait is None else wait
        self.paused_until = max(self.paused_until, now + pause)
        return self.paused_until - now

    def learn(self, told: RateLimits, admission: Admission) -> None:
        """Take over what an answer to `admission` says about limits and what is left of them."""
        now = self._clock()
        age = now - admission.began
        if told.requests is not None:
            others = self.concurrency.in_flight - 1
            self.requests = self.requests or _learned(told.requests, others, now)
            self.requests.refill(now)
            self.requests.correct(told.requests, others, age, learning=self._given.requests_per_minute is None)
        if told.tokens is not None:
            others = self._tokens_in_flight - admission.tokens
            self.tokens = self.tokens or _learned(told.tokens, others, now)
            self.tokens.refill(now)
            self.tokens.correct(told.tokens, others, age, learning=self._given.tokens_per_minute is None)


def _per_minute(limit: int | None, now: float) -> Bucket | None:
    return None if limit is None else Bucket(float(limit), limit / _MINUTE, float(limit), now)


def _learned(told: Allowance, in_flight: int, now: float) -> Bucket:
    remaining = told.limit if told.remaining is None else told.remaining
    return Bucket(float(told.limit), told.limit / _window(told), float(remaining - in_flight), now)


def _window(told: Allowance) -> float:
    """Seconds over which a limit holds: a minute, unless the time until all are back says that it is longer."""
    if told.reset is None or told.remaining is None or told.reset <= _LONGER_THAN_A_MINUTE:
        return _MINUTE
    used = max(told.limit - told.remaining, 1)
    return min(max(told.reset * told.limit / used, told.reset), _DAY)
