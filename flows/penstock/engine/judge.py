"""What follows from a failed attempt. Pure: an error and a few facts in, a verdict out.

The table it implements: server errors and connections are tried again; a 429 pauses the group; what may be one item's
fault is found by halving; what no item can help (key, quota, model, address) stops the run.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, replace
from enum import Enum, auto

from penstock.api.errors import (
    ApiError,
    ConnectionFailed,
    Forbidden,
    NotFound,
    QuotaExceeded,
    RateLimited,
    Redirected,
    Unauthorized,
)
from penstock.api.provider import Provider
from penstock.engine.pack import Pack
from penstock.engine.retry import retrying
from penstock.errors import AccessDenied, NoSuccess, QuotaExhausted, RunStopped


class Action(Enum):
    """What happens to the items of a failed attempt."""

    RETRY = auto()
    """Back to the queue, due in `wait` seconds."""
    PAUSE = auto()
    """Back to the front of the queue; the whole group waits."""
    HALVE = auto()
    """Two requests of half the items each."""
    FAIL = auto()
    """Each item to the errors table."""
    STOP = auto()
    """The run ends with `reason`; the items stay undone."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """An action and what it needs."""

    action: Action
    wait: float = 0.0
    reason: RunStopped | None = None


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What the judge must know besides the error.

    Attributes:
        stop_after: seconds without success at most.
        items: in the request.
        attempts: made for these items, this one included; refusals by 429 not counted.
        had_success: whether this endpoint has ever answered well in this process.
        refused_for: seconds since these items were refused by 429 first.
        again: what to do once the cause is mended, in the words of messages.
    """

    provider: Provider
    endpoint: str
    model: str
    stop_after: float = 900.0
    items: int = 1
    attempts: int = 1
    had_success: bool = False
    refused_for: float = 0.0
    again: str = "resume"

    def of(self, pack: Pack, good_endpoints: Container[str], now: float) -> Circumstances:
        """The circumstances of `pack`."""
        return replace(
            self,
            items=len(pack.items),
            attempts=pack.attempts,
            had_success=self.endpoint in good_endpoints,
            refused_for=0.0 if pack.refused_at is None else now - pack.refused_at,
        )


def judge(error: ApiError, at: Circumstances) -> Verdict:
    """The verdict on `error`."""
    if reason := _stops(error, at):
        return Verdict(Action.STOP, reason=reason)
    if isinstance(error, RateLimited) and error.worth_retrying:
        # While others succeed nothing else would ever end this; when none do, the run stops long before.
        return Verdict(Action.FAIL if at.refused_for > 2 * at.stop_after else Action.PAUSE)
    if error.worth_retrying:
        wait = retrying(at.provider.retry).next_wait(at.attempts, error.retry_after)
        if wait is not None:
            return Verdict(Action.RETRY, wait=wait)
        if isinstance(error, ConnectionFailed) and error.never_sent and not at.had_success:
            return Verdict(Action.STOP, reason=_unreachable(error, at))
    # A half is a further attempt, and one that may be paid: whoever allows a single one gets a single one.
    tried_out = error.worth_retrying and at.provider.retry.attempts == 1
    if error.per_item and at.items > 1 and not tried_out:
        return Verdict(Action.HALVE)
    return Verdict(Action.FAIL)


def _stops(error: ApiError, at: Circumstances) -> RunStopped | None:
    if isinstance(error, Unauthorized):
        return AccessDenied(
            f"{_address(at)} does not accept {_key(at)}. {_said(error)} Set a valid key, then {at.again}"
        )
    if isinstance(error, QuotaExceeded):
        return QuotaExhausted(
            f"the account behind {_key(at)} has no quota or money left at {_address(at)}. {_said(error)} "
            f"Add credit or raise its limit, then {at.again}"
        )
    if isinstance(error, Redirected):
        return AccessDenied(
            f"{_address(at)} is not where the API is. {_said(error)} "
            f"Set `base_url` to the right address, then {at.again}"
        )
    if isinstance(error, NotFound) and error.of_model:
        return AccessDenied(
            f"the model {at.model!r} is not there, or not for {_key(at)}, at {_address(at)}. {_said(error)} "
            f"Choose another model, or ask for access to it, then {at.again}"
        )
    if isinstance(error, NotFound) and error.of_endpoint and not at.had_success:
        return AccessDenied(
            f"{_address(at)} knows no {at.endpoint}. {_said(error)} "
            f"Look at `base_url`: most servers want /v1 at its end. Then {at.again}"
        )
    if isinstance(error, Forbidden):
        return AccessDenied(
            f"{_address(at)} does not let {_key(at)} use the model {at.model!r}. {_said(error)} "
            f"Give the key that right, or use another one, then {at.again}"
        )
    return None


def _unreachable(error: ApiError, at: Circumstances) -> RunStopped:
    return NoSuccess(
        f"the provider {at.provider.name!r} cannot be reached, {at.attempts} attempts: {error.message}. "
        f"Is the server running, and is `base_url` right? Then {at.again}"
    )


def _address(at: Circumstances) -> str:
    return f"the provider {at.provider.name!r} ({at.provider.base_url})"


def _key(at: Circumstances) -> str:
    secret = at.provider.api_key
    return "a request without a key" if secret is None else f"the key in {secret.name}"


def _said(error: ApiError) -> str:
    message = error.message.rstrip(". ")
    return f"{message[:1].upper()}{message[1:]}."
