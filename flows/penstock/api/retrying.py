"""The retry loop of single calls, over tenacity. (Requests of a run wait in the engine's queue instead.)

What may be sent again is decided by two things: the class of the failure, and whether the call creates something.
A call that creates is sent again only where nothing can have been created: there was no connection, or the server
refused it by its rate limit. After anything else it may exist, and a second one may cost money.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from penstock.api.errors import ApiError, ConnectionFailed, QuotaExceeded, RateLimited
from penstock.api.provider import RetryPolicy

if TYPE_CHECKING:
    from tenacity import RetryCallState

_FIRST_WAIT = 0.5

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Retry:
    """A call that will be made again: after which attempt (from 1), in how many seconds, and why."""

    attempt: int
    wait: float
    error: ApiError


def worth_retrying(error: BaseException, *, creates: bool) -> bool:
    """Whether the same call may be sent again after `error`."""
    # A server may ask to try again when the money is spent; that cannot help.
    if not isinstance(error, ApiError) or not error.worth_retrying or isinstance(error, QuotaExceeded):
        return False
    if not creates:
        return True
    return isinstance(error, RateLimited) or (isinstance(error, ConnectionFailed) and error.never_sent)


async def with_retries(
    work: Callable[[], Awaitable[T]],
    policy: RetryPolicy,
    *,
    creates: bool,
    on_retry: Callable[[Retry], None] | None = None,
) -> T:
    """What `work` returns, tried up to `policy.attempts` times; the last error says how often it was tried.

    The server's own wait (``Retry-After``) goes before the rule, which is exponential with full jitter; neither is
    longer than `policy.max_wait`.
    """
    from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_random_exponential

    rule = wait_random_exponential(multiplier=min(_FIRST_WAIT, policy.max_wait), max=policy.max_wait)

    def wait(state: RetryCallState) -> float:
        told = _error_of(state).retry_after
        return float(rule(state)) if told is None else min(told, policy.max_wait)

    def tell(state: RetryCallState) -> None:
        if on_retry is not None and state.next_action is not None:
            on_retry(Retry(state.attempt_number, state.next_action.sleep, _error_of(state)))

    loop = AsyncRetrying(
        stop=stop_after_attempt(policy.attempts),
        retry=retry_if_exception(lambda error: worth_retrying(error, creates=creates)),
        wait=wait,
        before_sleep=tell,
        reraise=True,
    )
    async for attempt in loop:
        with attempt:
            try:
                return await work()
            except ApiError as error:
                error.attempts = attempt.retry_state.attempt_number
                raise
    raise AssertionError("tenacity ends by a result or by an exception")


def _error_of(state: RetryCallState) -> ApiError:
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, ApiError)  # noqa: S101  # nothing else is retried
    return error
