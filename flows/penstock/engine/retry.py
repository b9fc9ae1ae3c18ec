"""When to try again, after the first failure: tenacity's rules, applied to requests that wait in a queue.

tenacity's own loop sleeps; here a retry gets a due time and frees its slot at once. So its stop and wait rules are
asked directly, with the state they need.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from penstock.api.provider import RetryPolicy

_FIRST_WAIT = 0.5
_FIRST_PAUSE = 1.0


class Retrying:
    """The rules of one policy: attempts in all, and exponential waits with full jitter up to a longest one."""

    def __init__(self, policy: RetryPolicy) -> None:
        from tenacity import stop_after_attempt, wait_random_exponential

        self._stop = stop_after_attempt(policy.attempts)
        self._wait = wait_random_exponential(multiplier=min(_FIRST_WAIT, policy.max_wait), max=policy.max_wait)
        self._pause = wait_random_exponential(
            multiplier=min(_FIRST_PAUSE, policy.max_wait),
            max=policy.max_wait,
            min=min(_FIRST_PAUSE / 2, policy.max_wait),
        )

    def next_wait(self, attempts: int, told: float | None = None) -> float | None:
        """Seconds before the next attempt, None when the `attempts` made were the last.

        Args:
            attempts: how many have failed.
            told: seconds that the server asks for; they go before the rule.
        """
        state = _state(attempts)
        if self._stop(state):
            return None
        return self._wait(state) if told is None else told

    def pause(self, refusals: int) -> float:
        """Seconds that a group waits at its n-th refusal in a row (from 1), when the server says nothing."""
        return self._pause(_state(refusals))


@lru_cache(maxsize=64)
def retrying(policy: RetryPolicy) -> Retrying:
    """The rules of `policy`; made at the first failure, so that a run without any never imports tenacity."""
    return Retrying(policy)


def _state(attempt: int) -> Any:
    from tenacity import RetryCallState
    from tenacity import Retrying as Loop

    state = RetryCallState(retry_object=Loop(), fn=None, args=(), kwargs={})
    state.attempt_number = attempt
    return state
