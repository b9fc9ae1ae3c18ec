"""When to try again: exponential with full jitter, capped; one attempt means one."""

from __future__ import annotations

import pytest

from penstock.api.provider import RetryPolicy
from penstock.engine.retry import Retrying


def test_one_attempt_means_one():
    assert Retrying(RetryPolicy(attempts=1)).next_wait(1) is None


@pytest.mark.parametrize("attempts", [2, 8])
def test_attempts_are_counted_in_all(attempts):
    rules = Retrying(RetryPolicy(attempts=attempts, max_wait=0))
    made = 1
    while rules.next_wait(made) is not None:
        made += 1
    assert made == attempts


def test_waits_widen_with_full_jitter_up_to_the_cap():
    rules = Retrying(RetryPolicy(attempts=100, max_wait=5))
    for attempt, most in ((1, 0.5), (2, 1.0), (3, 2.0), (4, 4.0), (5, 5.0), (50, 5.0)):
        drawn = [rules.next_wait(attempt) for _ in range(300)]
        assert all(wait is not None and 0 <= wait <= most for wait in drawn)
        assert min(drawn) < most * 0.1  # type: ignore[type-var]
        assert max(drawn) > most * 0.9  # type: ignore[operator,type-var]


def test_what_the_server_asks_for_goes_before_the_rule():
    assert Retrying(RetryPolicy()).next_wait(1, told=42.0) == 42.0


def test_pauses_of_a_group_widen_and_are_never_nothing():
    rules = Retrying(RetryPolicy(max_wait=10))
    for refusals, most in ((1, 1.0), (2, 2.0), (3, 4.0), (10, 10.0)):
        drawn = [rules.pause(refusals) for _ in range(200)]
        assert min(drawn) >= 0.5
        assert most * 0.8 < max(drawn) <= most


def test_without_waits_nothing_is_waited():
    """`max_wait: 0` takes all waits away, for tests of pipelines."""
    rules = Retrying(RetryPolicy(max_wait=0))
    assert rules.next_wait(3) == 0
    assert rules.pause(3) == 0
