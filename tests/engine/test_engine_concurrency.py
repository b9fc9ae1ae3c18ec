"""How the limit of requests in flight finds its level."""

from __future__ import annotations

from penstock.engine.concurrency import CAP, START, START_GIVEN, Concurrency


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def fill(limit: Concurrency) -> int:
    count = 0
    while limit.room:
        limit.begin()
        count += 1
    return count


def a_round(limit: Concurrency, clock: Clock, used: float = 1.0) -> None:
    """Fill the limit, answer all well."""
    began = clock.now
    count = max(1, int(limit.limit * used))
    for _ in range(count):
        limit.begin()
    clock.now += 0.05
    for _ in range(count):
        limit.succeeded(began)
        limit.end()


def test_a_limit_of_the_users_own_is_a_cap():
    clock = Clock()
    limit = Concurrency(100, clock)
    assert limit.limit == START_GIVEN
    for _ in range(20):
        a_round(limit, clock)
    assert limit.limit == 100
    assert Concurrency(5, clock).limit == 5


def test_it_doubles_each_round_until_the_cap():
    clock = Clock()
    limit = Concurrency(None, clock)
    seen = [limit.limit]
    while limit.limit < CAP:
        a_round(limit, clock)
        seen.append(limit.limit)
    assert seen == [START, 32, 64, 128, 256]
    a_round(limit, clock)
    assert limit.limit == CAP


def test_it_does_not_grow_while_it_is_not_used():
    clock = Clock()
    limit = Concurrency(None, clock)
    for _ in range(50):
        a_round(limit, clock, used=0.7)
    assert limit.limit == START


def test_a_refusal_cuts_a_fifth_once_in_fifteen_seconds_and_then_it_grows_slowly():
    clock = Clock()
    limit = Concurrency(None, clock)
    while limit.limit < 128:
        a_round(limit, clock)
    for _ in range(30):
        limit.refused(clock.now)
    assert limit.limit == 102
    a_round(limit, clock)
    assert limit.limit == 107
    clock.now += 15
    limit.refused(clock.now)
    assert limit.limit == 85


def test_successes_that_began_before_the_cut_prove_nothing():
    clock = Clock()
    limit = Concurrency(None, clock)
    fill(limit)
    began = clock.now
    clock.now += 1
    limit.refused(began)
    after = limit.limit
    for _ in range(100):
        limit.succeeded(began)
    assert limit.limit == after


def test_it_never_falls_below_one():
    clock = Clock()
    limit = Concurrency(2, clock)
    for _ in range(10):
        clock.now += 16
        limit.refused(clock.now)
    assert limit.limit == 1
    a_round(limit, clock)
    assert limit.limit == 2
