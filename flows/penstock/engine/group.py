"""What requests share that the service counts together: one base URL, one account, one model."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import NamedTuple

from penstock.api.headers import RateLimits
from penstock.api.provider import Limits, Provider
from penstock.engine.control import RunControl
from penstock.engine.gate import Gate
from penstock.engine.limits import Account, Admission, Limiter
from penstock.engine.retry import retrying
from penstock.engine.shared import account_digest, is_offered
from penstock.errors import RunStopped


class GroupKey(NamedTuple):
    """By what limits are told apart; the key by the name of its variable."""

    base_url: str
    key_name: str | None
    organization: str | None
    project: str | None
    model: str


class Group:
    """The gate of one `GroupKey`, and which endpoints have answered well so far.

    Jobs `join` it with the limits of their provider, and `leave` it. While several are in it that were given different
    limits, the strictest of each holds for all of them together: the service counts them together too.

    Args:
        limits: those of the first job.
        clock: seconds, monotonic.
        account: whose rates are bought, where they are shared; see `account_of`.
    """

    def __init__(
        self,
        limits: Limits,
        clock: Callable[[], float] = time.monotonic,
        account: Callable[[Group], Account] | None = None,
    ) -> None:
        self._limits = limits
        self._joined: list[tuple[RunControl, Limits]] = []
        self._lock = threading.Lock()
        self.limiter = Limiter(limits, clock, account(self) if account is not None else None)
        self.gate = Gate(self.limiter)
        self.good_endpoints: set[str] = set()

    @staticmethod
    def key_of(provider: Provider, model: str) -> GroupKey:
        """The key of requests for `model` to `provider`."""
        secret = provider.api_key
        name = secret.name if secret else None
        return GroupKey(provider.base_url, name, provider.organization, provider.project, model)

    @property
    def limits(self) -> Limits:
        """Those that hold at present."""
        return self._limits

    def join(self, control: RunControl, limits: Limits) -> None:
        """A job begins; in the engine's loop."""
        if limits.shared and not is_offered():
            control.note("only runs under Prefect share limits between machines: this one keeps to them by itself")
        with self._lock:
            self._joined.append((control, limits))
        self._keep_to_strictest()

    def leave(self, control: RunControl, limits: Limits) -> None:
        """A job that has joined is over; in the engine's loop."""
        with self._lock:
            self._joined.remove((control, limits))
        if self._joined:
            self._keep_to_strictest()

    def _keep_to_strictest(self) -> None:
        limits = strictest(limits for _, limits in self._joined)
        limits = replace(limits, shared=limits.shared and is_offered())
        if limits != self._limits:
            self._limits = limits
            self.limiter.relimit(limits)
            self.gate.pump()

    def note(self, text: str) -> None:
        """Tell the runs whose jobs are in it; from any thread."""
        for control in self._controls():
            control.note(text)

    def waits(self, reason: str, seconds: float) -> None:
        """Tell those runs that nothing is sent for so long; from any thread."""
        for control in self._controls():
            control.waits(reason, seconds)

    def stop(self, reason: RunStopped) -> None:
        """Stop those runs; from any thread."""
        for control in self._controls():
            control.request_stop(reason)

    def _controls(self) -> list[RunControl]:
        with self._lock:
            return list({id(control): control for control, _ in self._joined}.values())

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


def account_of(provider: Provider, model: str) -> Callable[[Group], Account]:
    """Makes the account whose rates the jobs of a group buy: the same on all machines with the same key.

    Raises:
        InputError: the key is not set.
    """
    secret = provider.api_key
    key = secret.reveal() if secret else ""
    digest = account_digest(provider.base_url, key, provider.organization or "", provider.project or "", model)
    return lambda group: Account(digest, f"{model} at {provider.base_url}", group)


def strictest(limits: Iterable[Limits]) -> Limits:
    """What keeps to all of the given limits at once."""
    every = list(limits)

    def least(values: Iterable[int | None]) -> int | None:
        return min((value for value in values if value is not None), default=None)

    return Limits(
        least(one.concurrency for one in every),
        least(one.requests_per_minute for one in every),
        least(one.tokens_per_minute for one in every),
        shares=max(one.shares for one in every),
        shared=any(one.shared for one in every),
    )
