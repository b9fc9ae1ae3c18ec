"""What requests share that the service counts together: one base URL, one key, one model."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from penstock.api.headers import RateLimits
from penstock.api.provider import Limits, Provider
from penstock.engine.gate import Gate
from penstock.engine.limits import Admission, Limiter
from penstock.engine.retry import retrying


class GroupKey(NamedTuple):
    """By what limits are told apart; the key by the name of its variable."""

    base_url: str
    key_name: str | None
    model: str


class Group:
    """The gate of one `GroupKey`, and which endpoints have answered well so far.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits = limits
        self.limiter = Limiter(limits, clock)
        self.gate = Gate(self.limiter)
        self.good_endpoints: set[str] = set()

    @staticmethod
    def key_of(provider: Provider, model: str) -> GroupKey:
        """The key of requests for `model` to `provider`."""
        secret = provider.api_key
        return GroupKey(provider.base_url, secret.name if secret else None, model)

    def succeeded(self, admission: Admission, endpoint: str, told: RateLimits | None, tokens: int | None) -> None:
        """An answer has come; `tokens` as the server counted them, None when it did not."""
        self.good_endpoints.add(endpoint)
        self.limiter.succeeded(admission)
        if told is not None:
            self.limiter.learn(told, admission)
        self.gate.leave(admission, tokens)

    def refused(self, admission: Admission, told: RateLimits | None, wait: float | None, provider: Provider) -> float:
        """A 429 has come; the seconds from now until the group goes on."""
        pause = self.limiter.refused(admission, wait, retrying(provider.retry).pause, told=told is not None)
        if told is not None:
            self.limiter.learn(told, admission)
        self.gate.leave(admission)
        return pause
