"""Rates that a Prefect server counts, at a real one."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from penstock.engine.shared import Bought, NotSold, Rate, offer_seller
from penstock.errors import InputError, LimitsDiffer
from penstock.flow import shared_limits
from penstock.flow.connection import Connection
from penstock.flow.rest import Api, call
from penstock.flow.shared_limits import PrefectSeller

pytestmark = pytest.mark.prefect
_numbers = itertools.count(1)


def rate(per_minute: int = 600, *, number: int | None = None, unit: str = "requests", burst: float = 60.0) -> Rate:
    """A rate of the test's own."""
    name = f"penstock-test{next(_numbers) if number is None else number}-{unit}"
    return Rate(name, "m at http://s/v1", unit, per_minute, burst)


def limit(api: Api, of: Rate) -> dict[str, Any]:
    found: dict[str, Any] = call(api, "GET", f"/v2/concurrency_limits/{of.name}", timeout=30, patience=30).body
    return found


class Told:
    """Whoever listens to a bucket."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def note(self, text: str) -> None:
        self.told.append(text)

    def waits(self, reason: str, seconds: float) -> None:
        self.told.append(reason)

    def stop(self, reason: LimitsDiffer) -> None:
        self.told.append(reason)


def spent(name: str, per_minute: int, seconds: float) -> float:
    """What one process gets in so long, if it spends at once what it buys."""
    listener = Told()
    bucket = Bought(name, "m", "requests", per_minute, listener=listener, clock=time.monotonic)
    units, until = 0.0, time.monotonic() + seconds
    while (now := time.monotonic()) < until:
        bucket.refill(now)
        units, bucket.level = units + bucket.level, 0.0
        bucket.wait_for(1)
        time.sleep(0.02)
    assert listener.told == []
    return units


def test_a_limit_is_made_at_the_first_purchase_and_sells_its_burst_and_then_its_rate(connection: Connection) -> None:
    seller, of = PrefectSeller(connection.api), rate(6000, burst=200)
    assert seller(of, 100, 150).units == 150
    made = limit(connection.api, of)
    assert (made["limit"], made["slot_decay_per_second"]) == (20_000, 10_000)
    assert 50 <= seller(of, 10, 150).units < 100
    refused = seller(of, 100, 150)
    assert refused.units == 0
    assert 0 < refused.wait <= 1
    time.sleep(refused.wait)
    assert seller(of, 50, 150).units >= 50


@pytest.mark.slow
def test_several_processes_that_buy_at_once_get_the_rate_and_not_more(connection: Connection) -> None:
    offer_seller(PrefectSeller(connection.api))
    name, seconds = rate().name, 12.0
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(lambda _: spent(name, 1200, seconds), range(4)))
    offer_seller(None)
    # Twenty a second, and six seconds of it that may be bought at once.
    assert 20 * seconds <= sum(got) <= 20 * (seconds + 6) + 1


def test_few_and_many_units_are_counted_without_loss(connection: Connection) -> None:
    seller = PrefectSeller(connection.api)
    few, many = rate(1, burst=2), rate(10_000_000_000, unit="tokens", burst=1e9)
    assert seller(few, 1, 1).units == 1
    assert seller(few, 1, 1).units == 1
    assert 50 < seller(few, 1, 1).wait <= 60
    assert seller(many, 1e7, 2e7).units == 2e7


def test_another_number_in_use_under_the_same_name_is_refused_with_both_numbers(connection: Connection) -> None:
    seller, first = PrefectSeller(connection.api), rate(600)
    other = Rate(first.name, first.of, "requests", 300, 60.0)
    seller(first, 1, 15)
    with pytest.raises(LimitsDiffer) as caught:
        seller(other, 1, 15)
    said = str(caught.value)
    assert "300 requests a minute of m at http://s/v1" in said
    assert "sharing 600" in said
    assert first.name in said
    assert connection.url in said
    # What was counted under the first number is not disturbed.
    assert seller(first, 1, 15).units == 15


def test_another_number_that_nobody_uses_any_more_is_replaced(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    seller, first = PrefectSeller(connection.api), rate(600)
    seller(first, 1, 15)
    # The server tells the time in whole seconds, and a moment late.
    monkeypatch.setattr(shared_limits, "_IN_USE_SECONDS", -5.0)
    assert seller(Rate(first.name, first.of, "requests", 1200, 120.0), 1, 30).units == 30
    assert limit(connection.api, first)["slot_decay_per_second"] == 2000
    monkeypatch.setattr(shared_limits, "_IN_USE_SECONDS", 60.0)
    with pytest.raises(LimitsDiffer):
        seller(first, 1, 15)


def test_a_limit_that_is_switched_off_sells_nothing(connection: Connection) -> None:
    seller, of = PrefectSeller(connection.api), rate()
    seller(of, 1, 15)
    call(connection.api, "PATCH", f"/v2/concurrency_limits/{of.name}", {"active": False}, timeout=30, patience=30)
    with pytest.raises(NotSold, match="switched off"):
        seller(of, 1, 15)


def test_a_limit_that_was_deleted_is_made_again(connection: Connection) -> None:
    seller, of = PrefectSeller(connection.api), rate()
    seller(of, 1, 15)
    call(connection.api, "DELETE", f"/v2/concurrency_limits/{of.name}", timeout=30, patience=30)
    assert seller(of, 1, 15).units == 15
    assert limit(connection.api, of)["active_slots"] > 1000


def test_two_processes_that_make_the_same_limit_at_once_both_buy(connection: Connection) -> None:
    of = rate()
    with ThreadPoolExecutor(6) as pool:
        got = list(pool.map(lambda _: PrefectSeller(connection.api)(of, 1, 5), range(6)))
    assert sum(sale.units for sale in got) <= of.burst + 10
    assert sum(sale.units > 0 for sale in got) >= 1
    assert limit(connection.api, of)["limit"] == 6000


def test_a_server_that_does_not_answer_sells_nothing_and_says_where_it_was() -> None:
    with pytest.raises(NotSold, match=r"http://127\.0\.0\.1:9/api does not answer"):
        PrefectSeller(Api("http://127.0.0.1:9/api"))(rate(), 1, 15)


def test_shared_limits_with_only_the_local_server_are_refused_before_anything_is_sent(
    stand_in: Callable[..., Any], connection: Connection
) -> None:
    from penstock.flow.run import execute

    provider = {"uses": "sandbox", "limits": {"requests_per_minute": 60, "shared": "prefect"}}
    embed = {"uses": "embed", "input": "{{ text }}", "model": "text-embedding-3-small", "output": "vector"}
    session, recorder = stand_in(lambda *_: None, provider=provider, steps=[embed])
    with pytest.raises(InputError, match="start one that all machines reach"):
        execute(session, connection)
    assert recorder.calls == []
