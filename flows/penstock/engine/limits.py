"""What may be sent now: requests and tokens per minute taken together, and requests in flight.

All of it is arithmetic on a clock that is given, without waiting; `penstock.engine.gate` waits by it.

Rates are token buckets (as the service's own: a full minute's allowance, refilled evenly), or fixed minutes where a
server counts so. Limits the user did not give are learned from the answers' headers, and what the server says is left
corrects the level in both directions. Of a server that refuses and says nothing the pace is felt for.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from penstock.api.headers import Allowance, RateLimits
from penstock.api.provider import Limits
from penstock.engine.bucket import Bucket, learned, per_minute, share_of
from penstock.engine.concurrency import Concurrency
from penstock.engine.estimates import Estimates
from penstock.engine.pace import Pace
from penstock.engine.shared import Bought, Listener

_LARGEST_RESERVE = 0.05
"""Of a bucket's capacity, kept for requests that count more than estimated."""
_REFUSALS_BEFORE_PROBING = 2
_MANY_REFUSED = 0.15
"""Of about the last fifty answers: below it refusals are accidents, and no sign of a limit that nobody told."""
_MEMORY = 0.98
_HEARD_SECONDS = 0.005
"""What answers say about limits is listened to so often: of hundreds a second, each says nearly the same."""


class Admission(NamedTuple):
    """Leave to send one request.

    Attributes:
        tokens: that were taken for it: the estimate, corrected by what servers have counted.
        began: when.
        estimate: its tokens before that correction.
        probes: whether it goes alone, to see if a server that refused everything answers again.
        ended: requests and tokens that had come home by then: all others since may be unknown to the server's answer.
    """

    tokens: int
    began: float
    estimate: int = 0
    probes: bool = False
    ended: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class Account:
    """Whose rates are bought.

    Attributes:
        digest: the same on all machines; tells nothing of the key.
        of: for messages: ``gpt-4o at https://api.openai.com/v1``.
        listener: is told how buying goes.
    """

    digest: str
    of: str
    listener: Listener


class Limiter:
    """The limits of one group: a base URL, a key and a model.

    Args:
        limits: what the user gave; None in it is learned.
        clock: seconds, monotonic.
        account: where rates are bought, and who is told of it; needed for limits that are shared.
    """

    def __init__(
        self, limits: Limits, clock: Callable[[], float] = time.monotonic, account: Account | None = None
    ) -> None:
        self._clock = clock
        self._account = account
        self._given = limits
        self.concurrency = Concurrency(limits.concurrency, clock, limits.shares)
        now = clock()
        self.requests: Bucket | None = self._rate("requests", limits.requests_per_minute, now)
        self.tokens: Bucket | None = self._rate("tokens", limits.tokens_per_minute, now)
        self.pace: Pace | None = None
        self.paused_until = 0.0
        self._estimates = Estimates()
        self._tokens_in_flight = 0
        self._admitted = (0, 0)
        self._refusals = 0
        self._refused_at = -math.inf
        self._probing = False
        self._began = now
        self._answered = 0
        self._untold = False
        self._share_refused = 0.0
        self._heard_at = -math.inf

    @property
    def listens(self) -> bool:
        """Whether it is time to `learn` from a success again; a refusal always tells something new."""
        return self._clock() - self._heard_at >= _HEARD_SECONDS

    def _rate(self, what: str, limit: int | None, now: float) -> Bucket | None:
        account = self._account
        if limit is None or not self._given.shared or account is None:
            return per_minute(limit, now, self._given.shares)
        name = f"penstock-{account.digest}-{what}"
        return Bought(name, account.of, what, limit, listener=account.listener, clock=self._clock)

    def relimit(self, limits: Limits) -> None:
        """Keep to other limits from now on; what was learned of the server, and what was spent, stays."""
        before, self._given = self._given, limits
        self.concurrency.bound(limits.concurrency, limits.shares)
        as_before = (before.shares, before.shared) == (limits.shares, limits.shared)
        if not as_before or before.requests_per_minute != limits.requests_per_minute:
            asked = (before.requests_per_minute, limits.requests_per_minute)
            self.requests = self._moved(self.requests, "requests", *asked)
        if not as_before or before.tokens_per_minute != limits.tokens_per_minute:
            counted = (before.tokens_per_minute, limits.tokens_per_minute)
            self.tokens = self._moved(self.tokens, "tokens", *counted)

    def _moved(self, bucket: Bucket | None, what: str, before: int | None, limit: int | None) -> Bucket | None:
        now = self._clock()
        if limit is None:
            # A user's own limit says nothing of the server's.
            return bucket if before is None else None
        moved = self._rate(what, limit, now)
        if bucket is not None and moved is not None:
            bucket.refill(now)
            moved.level = min(moved.level, moved.capacity - (bucket.capacity - bucket.level))
        return moved

    @property
    def max_request_tokens(self) -> int | None:
        """Tokens of one request at most: more than a minute's allowance is refused by any server."""
        return self._given.tokens_per_minute

    def admit(self, estimate: int) -> Admission | float:
        """Leave for a request of so many tokens, or the seconds until it may ask again (infinite: till one ends)."""
        now = self._clock()
        if now < self.paused_until:
            return self.paused_until - now
        if not self.concurrency.room or self._probing:
            return math.inf
        if self._untold and self.pace is None and self._share_refused > _MANY_REFUSED and self._answered:
            self.pace = Pace(self._answered, now - self._began, now)
        tokens = self._estimates.corrected(estimate)
        wait = self._wait(now, tokens)
        if wait > 0:
            return wait
        # All or none: a request that waits for one limit holds nothing of another.
        if self.requests is not None:
            self.requests.level -= 1
        if self.tokens is not None:
            self.tokens.level -= tokens
        if self.pace is not None:
            self.pace.take()
        ended = (self._admitted[0] - self.concurrency.in_flight, self._admitted[1] - self._tokens_in_flight)
        self._admitted = (self._admitted[0] + 1, self._admitted[1] + tokens)
        self._tokens_in_flight += tokens
        self._probing = self._refusals >= _REFUSALS_BEFORE_PROBING
        self.concurrency.begin()
        return Admission(tokens, now, estimate, self._probing, ended)

    def _wait(self, now: float, tokens: int) -> float:
        wait = 0.0
        if self.requests is not None:
            self.requests.refill(now, self.concurrency.in_flight)
            # One held back: the server may count a moment later than it was reckoned here.
            wait = self.requests.wait_for(1, 0.0 if self._given.requests_per_minute else 1.0)
        if self.tokens is not None:
            self.tokens.refill(now, self._tokens_in_flight)
            reserve = self._estimates.reserve(self.concurrency.in_flight)
            wait = max(wait, self.tokens.wait_for(tokens, min(reserve, self.tokens.capacity * _LARGEST_RESERVE)))
        return wait if self.pace is None else max(wait, self.pace.wait(now))

    def ended(self, admission: Admission, actual_tokens: int | None = None, *, sent: bool = True) -> None:
        """A request is over.

        Args:
            actual_tokens: as the server counted them; None when it did not, and the estimate stands.
            sent: False when it never reached the server: all of it is given back.
        """
        self._tokens_in_flight -= admission.tokens
        self.concurrency.end()
        self._probing = self._probing and not admission.probes
        if sent and actual_tokens is not None:
            self._estimates.learn(admission.estimate, admission.tokens, actual_tokens)
        if not sent and self.requests is not None:
            self.requests.give_back(1)
        if self.tokens is not None and (actual_tokens is not None or not sent):
            self.tokens.give_back(admission.tokens - (actual_tokens if sent and actual_tokens is not None else 0))

    def succeeded(self, admission: Admission) -> None:
        """A request that is still in flight was answered well."""
        if admission.began >= self._refused_at:
            # One that was sent before the refusal says nothing about it.
            self._refusals = 0
        self._answered += 1
        self._share_refused *= _MEMORY
        if self.pace is not None:
            self.pace.answered()
        self.concurrency.succeeded(admission.began)

    def refused(
        self, admission: Admission, wait: float | None, fallback: Callable[[int], float], *, told: bool = False
    ) -> float:
        """A 429: all of the group wait, and begin again more carefully.

        Args:
            told: whether the answer says what the limits are.
            wait: seconds, as the server says.
            fallback: seconds for the n-th refusal in a row (from 1), where the server says nothing.

        Returns:
            Seconds from now until the group goes on.
        """
        now = self._clock()
        self.concurrency.refused(admission.began)
        self._share_refused = self._share_refused * _MEMORY + (1 - _MEMORY)
        self._untold = not told
        if admission.began >= self.paused_until:
            # Requests that were under way when the pause began tell nothing new.
            self._refusals += 1
            self._refused_at = now
            for bucket in (self.requests, self.tokens):
                if bucket is not None:
                    bucket.restrain()
            if self.pace is not None and not self.pace.refused(now):
                self.pace = None
        pause = fallback(max(self._refusals, 1)) if wait is None else wait
        self.paused_until = max(self.paused_until, now + pause)
        return self.paused_until - now

    def learn(self, told: RateLimits, admission: Admission) -> None:
        """Take over what an answer to `admission` says about limits and what is left of them."""
        now = self._heard_at = self._clock()
        age = now - admission.began
        if told.requests is not None:
            asked = self._told(told.requests, self._given.requests_per_minute)
            others = self._admitted[0] - admission.ended[0] - 1
            self.requests = self.requests or learned(asked, others, now)
            self.requests.refill(now)
            self.requests.correct(asked, others, age, learning=self._given.requests_per_minute is None)
        if told.tokens is not None:
            counted = self._told(told.tokens, self._given.tokens_per_minute)
            others = self._admitted[1] - admission.ended[1] - admission.tokens
            self.tokens = self.tokens or learned(counted, others, now)
            self.tokens.refill(now)
            self.tokens.correct(counted, others, age, learning=self._given.tokens_per_minute is None)

    def _told(self, told: Allowance, given: int | None) -> Allowance:
        # Of a limit that the user gave, each process has its own share from the start, and what the server says is left
        # bounds them all; of one that the server tells, nobody else divides it.
        return told if given is not None else share_of(told, self._given.shares)
