"""Limits that are bought from a counter for several machines, and limits of several providers in one process."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest
from echo_jobs import Echo, Kept, echo, items, provider_of
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.api.provider import Limits
from penstock.engine import Job, RunControl, engine
from penstock.engine.group import Group, account_of, strictest
from penstock.engine.limits import Admission, Limiter
from penstock.engine.shared import Bought, NotSold, Rate, Sale, offer_seller
from penstock.errors import LimitsDiffer
from raw_http import RawServer, Reply


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Counter:
    """Counts for all, as Prefect does: a bucket that begins full."""

    clock: Any
    is_away: bool = False
    used: float = 0.0
    at: float = 0.0
    sold: float = 0.0
    names: set[str] = field(default_factory=set)

    def __call__(self, rate: Rate, least: float, most: float) -> Sale:
        if self.is_away:
            raise NotSold("it does not answer")
        self.names.add(rate.name)
        now = self.clock()
        self.used = max(0.0, self.used - (now - self.at) * rate.per_minute / 60)
        self.at = now
        free = rate.burst - self.used
        if free < least:
            return Sale(0.0, (least - free) * 60 / rate.per_minute)
        units = min(free, most)
        self.used += units
        self.sold += units
        return Sale(units)


class Told:
    """A listener that keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.waited: list[str] = []
        self.stopped: list[LimitsDiffer] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def waits(self, reason: str, seconds: float) -> None:
        self.waited.append(reason)

    def stop(self, reason: LimitsDiffer) -> None:
        self.stopped.append(reason)


@pytest.fixture(autouse=True)
def _nobody_sells() -> Iterator[None]:
    yield
    offer_seller(None)


def bought(limit: int, clock: Clock, told: Told | None = None) -> Bought:
    """A bucket whose buying is done by the test."""
    bucket = Bought("penstock-x-requests", "m at u", "requests", limit, listener=told or Told(), clock=clock)
    bucket._want = lambda: None  # type: ignore[method-assign]  # no thread
    return bucket


@settings(max_examples=50, deadline=None)
@given(
    st.integers(1, 50_000),
    st.lists(st.integers(0, 3), min_size=1, max_size=12),
    st.sampled_from([0.1, 0.4, 2.0, 20.0]),
    st.floats(1, 200),
    st.floats(0, 30),
)
def test_what_processes_send_by_themselves_is_together_below_the_limit_whatever_they_bought(
    limit, order, pause, seconds, late
):
    clock, told = Clock(), Told()
    counter = Counter(clock)
    offer_seller(counter)
    processes = [bought(limit, clock, told) for _ in range(4)]
    began = clock.now
    burst = processes[0].of.burst
    for who in itertools.islice(itertools.cycle(order), int(seconds / pause)):
        clock.now += pause
        processes[who].buy()
        assert counter.sold <= burst + (clock.now - began) * limit / 60 + 1e-6
    counter.is_away = True
    for one in processes:
        one.buy()
    shares = [one.share for one in processes]
    assert None not in shares
    assert sum(share or 0 for share in shares) <= limit / 60 + 1e-9
    # It stays so: a later look that fails again changes nothing.
    clock.now += late
    for one in processes:
        one.buy()
    assert [one.share for one in processes] == shares


def test_a_block_that_is_bought_is_some_seconds_of_the_limit_and_never_less_than_one_request():
    clock = Clock()
    counter = Counter(clock)
    offer_seller(counter)
    fast, slow = bought(600, clock), bought(3, clock)
    fast.buy()
    assert counter.sold == 15
    assert 2 * 15 <= fast.of.burst <= 60
    counter.sold = counter.used = 0.0
    slow.buy()
    assert counter.sold == 1


def test_a_request_larger_than_a_block_waits_until_enough_is_bought_and_no_longer():
    clock = Clock()
    offer_seller(Counter(clock))
    bucket = bought(6000, clock)
    seconds = 0
    while bucket.wait_for(4000) > 0:
        bucket.buy()
        clock.now += 0.5
        seconds += 0.5
        bucket.refill(clock.now)
    assert (4000 - bucket.of.burst) / 100 - 1 <= seconds <= 45
    bucket.level -= 4000
    assert bucket.wait_for(4000) > 0


def test_while_the_counter_is_away_a_process_goes_on_with_what_it_was_sold_and_says_so_once():
    clock, told = Clock(), Told()
    counter = Counter(clock)
    offer_seller(counter)
    bucket = bought(600, clock, told)
    spent = 0.0
    for _ in range(1200):
        clock.now += 0.1
        bucket.buy()
        bucket.refill(clock.now)
        spent, bucket.level = spent + bucket.level, 0.0
    counter.is_away = True
    bucket.buy()
    bucket.buy()
    assert len(told.notes) == 1
    assert "is away (it does not answer)" in told.notes[0]
    assert told.waited == []
    alone = 0.0
    for _ in range(600):
        clock.now += 0.1
        bucket.refill(clock.now)
        alone, bucket.level = alone + bucket.level, 0.0
    assert 540 <= alone <= 600
    counter.is_away = False
    bucket.buy()
    assert bucket.share is None
    assert "is back" in told.notes[1]


def test_a_process_that_has_bought_nothing_sends_nothing_while_the_counter_is_away_and_shows_it():
    clock, told = Clock(), Told()
    offer_seller(Counter(clock, is_away=True))
    bucket = bought(600, clock, told)
    bucket.buy()
    clock.now += 100
    bucket.refill(clock.now)
    assert bucket.wait_for(1) > 0
    assert "sends nothing" in told.notes[0]
    assert told.waited


def test_what_was_sold_longer_than_a_minute_ago_is_no_share():
    clock, told = Clock(), Told()
    counter = Counter(clock)
    offer_seller(counter)
    bucket = bought(600, clock, told)
    bucket.buy()
    clock.now += 61
    counter.is_away = True
    bucket.buy()
    assert bucket.share == 0


def test_two_limiters_that_buy_of_one_counter_keep_to_one_limit_and_use_it_up():
    counter = Counter(time.monotonic)
    offer_seller(counter)
    limiters = [_limiter(12_000, "sk-one") for _ in range(2)]
    began, sent = time.monotonic(), [0, 0]
    while time.monotonic() - began < 2:
        for number, limiter in enumerate(limiters):
            admission = limiter.admit(1)
            if isinstance(admission, Admission):
                limiter.ended(admission, 1)
                sent[number] += 1
        time.sleep(0.001)
    seconds = time.monotonic() - began
    assert len(counter.names) == 1
    # Six seconds of the limit may be bought at once at the start.
    assert sum(sent) <= 200 * seconds + 1200
    assert min(sent) > 0.2 * sum(sent)
    assert sum(sent) >= 200 * seconds


def _limiter(limit: int, key: str, told: Told | None = None) -> Limiter:
    from penstock.engine.limits import Account
    from penstock.engine.shared import account_digest

    limits = Limits(concurrency=10_000, requests_per_minute=limit, shared=True)
    return Limiter(limits, account=Account(account_digest("u", key, "m"), "m at u", told or Told()))


def test_another_limit_under_the_same_name_ends_the_runs_with_one_sentence():
    def other(rate: Rate, least: float, most: float) -> Sale:
        raise LimitsDiffer(f"not {rate}")

    offer_seller(other)
    with RawServer(echo) as server:
        limits = Limits(requests_per_minute=600, shared=True)
        control = RunControl()
        with pytest.raises(LimitsDiffer, match="600 requests a minute of text-embedding-3-small at http"):
            engine().run(Job(Echo(), items(["a", "b"]), Kept(), provider_of(server, limits=limits), control))
    assert server.seen == []


def test_names_of_limits_are_the_same_on_all_machines_and_tell_nothing_of_the_key(monkeypatch: pytest.MonkeyPatch):
    with RawServer(echo) as server:
        provider = provider_of(server)
        names = []
        for key in ("sk-engine-0123456789", "sk-engine-0123456789", "sk-other-0123456789"):
            monkeypatch.setenv("ENGINE_TEST_KEY", key)
            names.append(account_of(provider, "m")(Group(Limits())).digest)
        names.append(account_of(provider, "n")(Group(Limits())).digest)
    assert (names[0] == names[1], len(set(names))) == (True, 3)
    assert not any("sk-" in name or "0123" in name for name in names)


def test_where_nobody_sells_a_process_keeps_to_a_shared_limit_by_itself_and_says_so():
    with RawServer(echo) as server:
        limits = Limits(concurrency=8, requests_per_minute=600, shared=True)
        control, sink = RunControl(), Kept()
        engine().run(Job(Echo(), items(["a", "b"]), sink, provider_of(server, limits=limits), control))
    assert sink.done == [0, 1]
    assert "only runs under Prefect" in control.notes[0]


# -- several providers of one account in one process


def test_providers_of_one_account_with_other_limits_keep_to_the_strictest_together():
    with RawServer(lambda seen: Reply(echo(seen).data, delay=0.03)) as server, ThreadPoolExecutor(2) as pool:
        jobs = [
            Job(Echo(), items(f"{most}-{n}" for n in range(60)), Kept(), provider, RunControl())
            for most in (6, 3)
            for provider in [provider_of(server, limits=Limits(concurrency=most))]
        ]
        list(pool.map(engine().run, jobs))
    assert len(server.seen) == 120
    # Each by itself would be nine.
    assert server.most_in_flight <= 6


def test_a_job_with_other_limits_does_not_forget_what_the_account_has_spent():
    """Two limits of 60 a minute for one account are 60 a minute, whatever else they say."""
    with RawServer(echo) as server:
        providers = [provider_of(server, limits=Limits(most, requests_per_minute=60)) for most in (8, 4)]
        for number, provider in enumerate(itertools.islice(itertools.cycle(providers), 4)):
            engine().run(Job(Echo(), items(f"{number}-{n}" for n in range(14)), Kept(), provider, RunControl()))
        began = time.monotonic()
        engine().run(Job(Echo(), items(f"last-{n}" for n in range(6)), Kept(), providers[0], RunControl()))
    # 56 of the minute's 60 were spent; the last two of six have to wait for what comes in, one a second.
    assert time.monotonic() - began > 0.5


def test_the_strictest_of_limits_keeps_to_each_of_them():
    found = strictest([Limits(8, None, 500, shares=2), Limits(None, 60, 900), Limits(4, 90, None, shared=True)])
    assert found == Limits(4, 60, 500, shares=2, shared=True)
    assert strictest([Limits()]) == Limits()


@pytest.mark.parametrize("after", [Limits(50, 600), Limits(50, 30), Limits(50)], ids=["more", "less", "none"])
def test_other_limits_keep_what_was_spent_under_the_old_ones(after: Limits):
    clock = Clock()
    limiter = Limiter(Limits(50, 60), clock)
    for _ in range(40):
        admission = limiter.admit(1)
        assert isinstance(admission, Admission)
        limiter.ended(admission)
    limiter.relimit(after)
    if after.requests_per_minute is None:
        assert limiter.requests is None
        return
    assert limiter.requests is not None
    assert limiter.requests.level == after.requests_per_minute - 40
