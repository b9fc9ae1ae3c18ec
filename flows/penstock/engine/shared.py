"""Limits that several machines share: a rate that is bought in blocks from whoever counts for all of them.

One request to that counter costs tens of milliseconds, so a process buys what it will use in the next second or two, in
a thread of its own, and spends it here. A process that dies takes one block with it.

While the counter is away, each process goes on with what was sold to it in the last minute, as a share of all that can
have been sold in that time: the shares of all processes together stay below the limit, whoever they are, and a process
that had bought nothing sends nothing.
"""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from penstock.engine.bucket import MINUTE, Bucket
from penstock.errors import LimitsDiffer, PenstockError

_BLOCK_SECONDS = 1.5
_BURST_SECONDS = 6.0
_LEAST_OF_BLOCK = 0.5
_WINDOW_SECONDS = 60.0
_AGAIN_SECONDS = 3.0
_LOOK_SECONDS = 0.05
_IDLE_SECONDS = 30.0
_MOST_MISSES = 6


class NotSold(PenstockError):
    """The counter does not answer, or not as it should; the message says in the end of a sentence why."""


@dataclass(frozen=True, slots=True)
class Rate:
    """What is counted for all processes under one name.

    Attributes:
        name: the same in all of them; it tells nothing of the key.
        of: whose, for messages: ``gpt-4o at https://api.openai.com/v1``.
        unit: ``requests`` or ``tokens``.
        per_minute: units.
        burst: units that may be bought at once after a rest.
    """

    name: str
    of: str
    unit: str
    per_minute: int
    burst: float

    def __str__(self) -> str:
        return f"{self.per_minute:,} {self.unit} a minute of {self.of}"


@dataclass(frozen=True, slots=True)
class Sale:
    """Units that were sold, or, where there were too few, seconds until there may be enough."""

    units: float
    wait: float = 0.0


class Seller(Protocol):
    """Sells units of rates for all processes."""

    def __call__(self, rate: Rate, least: float, most: float) -> Sale:
        """Buy between `least` and `most` units.

        Raises:
            NotSold: the counter is away, or does not do what it should.
            LimitsDiffer: it counts another limit under this name.
        """


_seller: Seller | None = None


def offer_seller(seller: Seller | None) -> None:
    """Let limits that are shared be bought from `seller` in this process."""
    global _seller  # noqa: PLW0603  # one per process is the point
    _seller = seller


def is_offered() -> bool:
    """Whether somebody sells in this process."""
    return _seller is not None


def account_digest(*parts: str) -> str:
    """A name for an account that is the same on all machines and from which no part of it can be read."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:20]


def _nobody(rate: Rate, least: float, most: float) -> Sale:  # noqa: ARG001  # a Seller
    raise NotSold("this process has none")


class Listener(Protocol):
    """Who is told how buying goes, from the thread that buys."""

    def note(self, text: str) -> None:
        """For the run's record."""

    def waits(self, reason: str, seconds: float) -> None:
        """Nothing is sent for so long."""

    def stop(self, reason: LimitsDiffer) -> None:
        """The runs cannot go on."""


class Bought(Bucket):
    """A bucket that is filled by buying.

    Args:
        name: under which the rate is counted.
        of: whose, for messages.
        unit: ``requests`` or ``tokens``.
        limit: units per minute, of all processes.
        listener: is told how it goes.
        clock: seconds, monotonic.
    """

    def __init__(
        self, name: str, of: str, unit: str, limit: int, *, listener: Listener, clock: Callable[[], float]
    ) -> None:
        super().__init__(float(limit), limit / MINUTE, 0.0, clock())
        self._block = max(1.0, self.rate * _BLOCK_SECONDS)
        self.of = Rate(name, of, unit, limit, max(2 * self._block, self.rate * _BURST_SECONDS))
        self._listener = listener
        self._clock = clock
        self._arrived = 0.0
        self._misses = 0
        self._sold: deque[tuple[float, float]] = deque()
        self._share: float | None = None
        self._lock = threading.Lock()
        self._wanted = threading.Event()
        self._buyer: threading.Thread | None = None

    @property
    def share(self) -> float | None:
        """Units per second of this process alone while the counter is away; None while it sells."""
        return self._share

    def refill(self, now: float, in_flight: float = 0.0) -> None:  # noqa: ARG002  # as every bucket
        """Take over what was bought, and what the clock gives while nothing is sold."""
        with self._lock:
            self.level += self._arrived
            self._arrived = 0.0
        if self._share is not None:
            self.level = max(self.level, min(self._block, self.level + (now - self._at) * self._share))
        self._at = now
        if self.level < self._block / 2 or self._share is not None:
            self._want()

    def wait_for(self, cost: float, reserve: float = 0.0) -> float:  # noqa: ARG002  # what counts more is bought later
        """Seconds until it is worth another look; 0 when `cost` may be taken."""
        # While the counter is away the bucket may be smaller than a request: a full one does, and owes the rest.
        missing = min(cost, self.capacity if self._share is None else self._block) - self.level
        if missing <= 1e-9:
            return 0.0
        self._want()
        return _LOOK_SECONDS

    def _want(self) -> None:
        self._wanted.set()
        if self._buyer is None or not self._buyer.is_alive():
            self._buyer = threading.Thread(target=self._buy, name="penstock-buyer", daemon=True)
            self._buyer.start()

    def _buy(self) -> None:
        while self._wanted.wait(_IDLE_SECONDS):
            self._wanted.clear()
            try:
                pause = self.buy()
            except LimitsDiffer as error:
                self._listener.stop(error)
                return
            if pause > 0:
                time.sleep(pause)

    def buy(self) -> float:
        """Buy a block; seconds until the next one should be asked for.

        Raises:
            LimitsDiffer: another limit is counted under this name.
        """
        try:
            sale = (_seller or _nobody)(self.of, max(1.0, self._block * _LEAST_OF_BLOCK), self._block)
        except NotSold as error:
            self._is_away(str(error))
            return _AGAIN_SECONDS
        if self._share is not None:
            self._share = None
            self._listener.note("the Prefect server that counts the shared limits is back, and they are shared again")
        if sale.units:
            # Not all at once: who was just served would be the first again.
            self._misses = max(0, self._misses - 2)
            self._sold.append((self._clock(), sale.units))
            self._forget_old()
            with self._lock:
                self._arrived += sale.units
            return 0.0
        # Many that wait for the same block must not come back together, where the same one would always be first; nor
        # does the counter have to be asked by all of them as often as by one.
        self._misses = min(self._misses + 1, _MOST_MISSES)
        return sale.wait * random.uniform(0.5, 1 + self._misses / 4)  # noqa: S311  # spread, not secret

    def _is_away(self, why: str) -> None:
        if self._share is None:
            self._forget_old()
            sold = sum(units for _, units in self._sold)
            self._share = self._share_of(sold)
            much = f"at most {self._share * MINUTE:,.0f} of the {self.of}" if self._share else "nothing"
            self._listener.note(
                f"the Prefect server that counts the shared limits is away ({why}): until it is back, "
                f"this process sends {much}, its share of the last minute"
            )
        if not self._share:
            self._listener.waits("the Prefect server that counts the shared limits is away", _AGAIN_SECONDS + 1)

    def _share_of(self, sold: float) -> float:
        # All processes together can have been sold the burst and what came in since.
        return sold * self.rate / (self.rate * _WINDOW_SECONDS + self.of.burst)

    def _forget_old(self) -> None:
        since = self._clock() - _WINDOW_SECONDS
        while self._sold and self._sold[0][0] < since:
            self._sold.popleft()
