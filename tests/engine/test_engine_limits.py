"""Laws of the limits, on a clock that is turned by hand."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.api.headers import Allowance, RateLimits
from penstock.api.provider import Limits
from penstock.engine.limits import Admission, Limiter


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def admitted(limiter: Limiter, tokens: int = 0) -> Admission:
    got = limiter.admit(tokens)
    assert isinstance(got, Admission), f"must wait {got} s"
    return got


def waits(limiter: Limiter, tokens: int = 0) -> float:
    got = limiter.admit(tokens)
    assert not isinstance(got, Admission)
    return got


REQUESTS = st.lists(st.tuples(st.floats(0, 5), st.integers(0, 400), st.integers(0, 400)), max_size=80)


@settings(max_examples=60)
@given(REQUESTS, st.integers(1, 300), st.integers(1, 5000))
def test_never_more_is_admitted_than_bucket_plus_rate_times_time(requests, per_minute, tokens_per_minute):
    clock = Clock()
    limiter = Limiter(Limits(10_000, per_minute, tokens_per_minute), clock)
    limiter.concurrency.limit = 10_000
    count = tokens = largest = 0
    for pause, estimate, actual in requests:
        clock.now += pause
        got = limiter.admit(estimate)
        if not isinstance(got, Admission):
            assert 0 < got < math.inf
            continue
        count, tokens, largest = count + 1, tokens + actual, max(largest, estimate, actual)
        limiter.ended(got, actual)
        elapsed = clock.now - 1000.0
        assert count <= per_minute + elapsed * per_minute / 60 + 1e-6
        # One request above the bucket may leave a full bucket, and an answer may cost more than its estimate.
        assert tokens <= tokens_per_minute + elapsed * tokens_per_minute / 60 + 2 * largest + 1e-6


@given(st.integers(1, 600), st.integers(100, 100_000))
def test_the_wait_that_is_told_is_long_enough_and_not_too_long(per_minute, tokens_per_minute):
    clock = Clock()
    limiter = Limiter(Limits(10_000, per_minute, tokens_per_minute), clock)
    limiter.concurrency.limit = 10_000
    while isinstance(limiter.admit(50), Admission):
        pass
    wait = waits(limiter, 50)
    clock.now += wait * 0.98
    assert waits(limiter, 50) > 0
    clock.now += wait * 0.02 + 1e-6
    admitted(limiter, 50)


def test_both_limits_are_taken_together_or_not_at_all():
    limiter = Limiter(Limits(100, requests_per_minute=10, tokens_per_minute=100), Clock())
    admitted(limiter, 100)
    for _ in range(20):
        assert waits(limiter, 50) > 0
    assert limiter.requests is not None
    assert limiter.requests.level == 9


def test_what_was_estimated_too_high_comes_back_and_too_low_is_taken():
    limiter = Limiter(Limits(100, tokens_per_minute=1000), Clock())
    assert limiter.tokens is not None
    limiter.ended(admitted(limiter, 400), 100)
    assert limiter.tokens.level == 900
    limiter.ended(admitted(limiter, 100), 500)
    assert limiter.tokens.level == 400
    got = admitted(limiter, 100)
    limiter.ended(got, None)
    assert limiter.tokens.level == 400 - got.tokens
    limiter.ended(admitted(limiter, 100), sent=False)
    assert limiter.tokens.level == 400 - got.tokens


def test_estimates_that_are_always_wrong_are_corrected():
    clock = Clock()
    limiter = Limiter(Limits(100, tokens_per_minute=10_000), clock)
    for _ in range(200):
        clock.now += 2
        limiter.ended(admitted(limiter, 100), 150)
    assert admitted(limiter, 100).tokens in {150, 151}
    limiter = Limiter(Limits(100, tokens_per_minute=10_000), clock)
    limiter.concurrency.limit = 100
    for counted in [50, 150] * 100:
        clock.now += 2
        limiter.ended(admitted(limiter, 100), counted)
    clock.now += 60
    left = 0
    while isinstance(limiter.admit(100), Admission):
        left += 1
    assert 90 <= left < 100, "something is kept for those that count more than estimated"


def test_where_a_server_counts_by_fixed_minutes_nothing_comes_back_before_the_next_one():
    clock = Clock()
    limiter = Limiter(Limits(), clock)
    limiter.concurrency.limit = 10_000
    got = admitted(limiter)
    clock.now += 0.1
    learned(limiter, got, 60, 55, 40.0)
    limiter.ended(got)
    admitted(limiter)
    clock.now += 20
    while isinstance(limiter.admit(0), Admission):
        pass
    assert waits(limiter) == pytest.approx(20)
    clock.now += 20
    assert isinstance(limiter.admit(0), Admission)


def test_after_two_refusals_in_a_row_requests_go_one_at_a_time_until_one_is_answered():
    clock = Clock()
    limiter = Limiter(Limits(100), clock)
    for _ in range(2):
        got = admitted(limiter)
        limiter.refused(got, 1.0, lambda _: 1.0)
        limiter.ended(got)
        clock.now += 1
    probe = admitted(limiter)
    assert waits(limiter) == math.inf
    clock.now += 1
    limiter.succeeded(probe)
    limiter.ended(probe)
    admitted(limiter)
    admitted(limiter)


def test_a_success_of_before_the_refusal_says_nothing_about_it():
    clock = Clock()
    limiter = Limiter(Limits(100), clock)
    old = admitted(limiter)
    clock.now += 1
    for _ in range(2):
        got = admitted(limiter)
        limiter.refused(got, 1.0, lambda _: 1.0)
        limiter.ended(got)
        clock.now += 1
    limiter.succeeded(old)
    admitted(limiter)
    assert waits(limiter) == math.inf


def test_a_request_above_the_bucket_goes_when_the_bucket_is_full():
    clock = Clock()
    limiter = Limiter(Limits(100, tokens_per_minute=600), clock)
    admitted(limiter, 1200)
    clock.now += 60
    assert waits(limiter, 1) > 0
    clock.now += 1
    admitted(limiter, 1)


def test_a_refusal_holds_all_until_its_time_has_come():
    clock = Clock()
    limiter = Limiter(Limits(100), clock)
    got = admitted(limiter)
    assert limiter.refused(got, 7.0, lambda _: 99.0) == 7.0
    assert waits(limiter) == 7.0
    clock.now += 7
    admitted(limiter)


def test_refusals_of_requests_that_were_under_way_count_as_one():
    clock = Clock()
    limiter = Limiter(Limits(100), clock)
    flight = [admitted(limiter) for _ in range(10)]
    clock.now += 0.1
    told = []
    for got in flight:
        limiter.refused(got, None, lambda n: told.append(n) or 1.0)
    assert told == [1] * 10
    assert limiter.paused_until == pytest.approx(clock.now + 1)


def learned(limiter: Limiter, got: Admission, limit: int, remaining: int | None, reset: float | None) -> None:
    limiter.learn(RateLimits(requests=Allowance(limit, remaining, reset)), got)


def test_limits_that_nobody_gave_are_learned_from_answers():
    clock = Clock()
    limiter = Limiter(Limits(), clock)
    flight = [admitted(limiter) for _ in range(4)]
    clock.now += 0.05
    learned(limiter, flight[0], 600, 590, 1.0)
    assert limiter.requests is not None
    assert limiter.requests.rate == 10
    # Three more are under way: the server may not have counted them yet.
    assert limiter.requests.level == 587


def test_a_limit_by_the_day_is_not_taken_for_one_by_the_minute():
    limiter = Limiter(Limits(), Clock())
    learned(limiter, admitted(limiter), 200, 199, 432.0)
    assert limiter.requests is not None
    assert limiter.requests.rate == pytest.approx(200 / 86_400)


def test_what_others_use_of_the_same_key_is_noticed():
    clock = Clock()
    limiter = Limiter(Limits(), clock)
    learned(limiter, admitted(limiter), 600, 599, 0.1)
    clock.now += 1
    got = admitted(limiter)
    clock.now += 0.1
    learned(limiter, got, 600, 3, 59.0)
    assert limiter.requests is not None
    assert limiter.requests.level == pytest.approx(3 + 1 + 1)  # left, one hidden, a tenth of a second's refill


def test_a_limit_of_the_users_own_is_never_widened():
    clock = Clock()
    limiter = Limiter(Limits(100, requests_per_minute=60), clock)
    limiter.concurrency.limit = 100
    for _ in range(60):
        got = admitted(limiter)
        learned(limiter, got, 5000, 4999, 0.01)
        limiter.ended(got)
    assert waits(limiter) > 0.9
    learned(limiter, got, 5000, 0, 60.0)
    assert limiter.requests is not None
    assert limiter.requests.rate == 1


@dataclass
class Enforcing:
    """A server that enforces requests per minute as a bucket, and says so in its headers."""

    clock: Clock
    limit: int
    level: float
    at: float
    refused: int = 0
    served: int = 0

    def answer(self) -> tuple[bool, Allowance]:
        self.level = min(self.limit, self.level + (self.clock.now - self.at) * self.limit / 60)
        self.at = self.clock.now
        good = self.level >= 1
        if good:
            self.level -= 1
            self.served += 1
        else:
            self.refused += 1
        return good, Allowance(self.limit, int(self.level), (self.limit - self.level) / self.limit * 60)


@pytest.mark.parametrize("limits", [Limits(), Limits(256, 1200)])
@pytest.mark.parametrize("used_before", [0, 1190])
def test_at_least_97_percent_of_what_a_server_allows_with_hardly_a_refusal(limits, used_before):
    """Ten minutes at 20 a second, 50 ms each way, simulated."""
    clock = Clock()
    limiter = Limiter(limits, clock)
    server = Enforcing(clock, 1200, 1200 - used_before, clock.now)
    travelling: list[tuple[float, Admission, tuple[bool, Allowance] | None]] = []
    end = clock.now + 600
    while clock.now < end:
        clock.now += 0.005
        arrived, travelling = travelling, []
        for due, got, result in arrived:
            if clock.now < due:
                travelling.append((due, got, result))
            elif result is None:
                travelling.append((clock.now + 0.05, got, server.answer()))
            else:
                good, told = result
                if good:
                    limiter.succeeded(got)
                else:
                    limiter.refused(got, 1.0, lambda _: 1.0)
                limiter.learn(RateLimits(requests=told), got)
                limiter.ended(got)
        while isinstance(got := limiter.admit(0), Admission):
            travelling.append((clock.now + 0.05, got, None))
    allowed = 1200 - used_before + 600 * 20
    assert server.served >= 0.97 * allowed
    assert server.refused <= 0.005 * server.served
