"""Hours of requests under limits, by the engine's own queue, gate and retries, in virtual time.

What holds in all of it: no item is lost or failed (`virtual_time.busy` looks at each outcome), at least 97 % of what a
server allows is used, and fewer than 0.5 % of its answers are 429.
"""

from __future__ import annotations

from typing import Any

import pytest
from virtual_time import Server, VirtualLoop, busy, virtually

from penstock.api.provider import Limits
from penstock.engine import RunControl
from penstock.errors import NoSuccess

pytestmark = pytest.mark.slow
HOUR = 3600.0
NO_LIMIT = 1e12


def hours(seconds: float, limits: Limits | None = None, server: Any = None, **more: Any) -> tuple[Server, RunControl]:
    """A server that was asked as much as it allows for so long."""

    async def main(loop: VirtualLoop) -> tuple[Server, RunControl]:
        asked = Server(loop, **(server or {}))
        return asked, await busy(loop, asked, seconds, limits, **more)

    return virtually(main)


def between(moments: list[float], since: float, until: float) -> int:
    return sum(since <= moment < until for moment in moments)


TOKENS = {"rpm": NO_LIMIT, "tpm": 7_500.0, "tokens": (50, 150)}
STEADY = {
    "learned": (None, {"rpm": 75.0}, {}),
    "given, by a server that says nothing": (Limits(requests_per_minute=75), {"rpm": 75.0, "told": False}, {}),
    "ten partitions in one process": (None, {"rpm": 75.0}, {"jobs": 10}),
    "fixed minutes": (None, {"rpm": 75.0, "window": True}, {}),
    "tokens": (None, TOKENS, {"estimate": 100}),
    "tokens, estimated at half": (None, TOKENS, {"estimate": 50}),
    "tokens, given and estimated at half": (Limits(tokens_per_minute=7_500), {**TOKENS, "told": False},
                                            {"estimate": 50}),
    "slow answers": (None, {"rpm": 75.0, "seconds": (5, 40)}, {}),
}  # fmt: skip


@pytest.mark.parametrize("name", STEADY)
def test_for_an_hour_nearly_all_that_is_allowed_is_used_with_hardly_a_refusal(name: str) -> None:
    limits, settings, more = STEADY[name]
    server, _ = hours(HOUR, limits, settings, **more)
    if server.rpm == NO_LIMIT:
        used, allowed = sum(tokens for _, tokens in server.served), server.tpm * (1 + HOUR / 60)
    else:
        # A bucket is full at first; what fixed minutes allow is what is allowed.
        used, allowed = len(server.served), server.rpm * (HOUR / 60 + (not server.window))
    assert used / allowed >= 0.97
    assert len(server.refused) / len(server.served) < 0.005


def test_a_server_that_refuses_and_says_nothing_is_felt_for() -> None:
    """Nobody knows its limit: the first burst finds it, and from then on refusals are rare."""
    server, _ = hours(2 * HOUR, None, {"rpm": 75.0, "told": False})
    served = [moment for moment, _ in server.served]
    assert len(served) / (75 * 121) >= 0.97
    assert between(server.refused, 0, 60) <= 256, "what was in flight when its burst was over"
    assert between(server.refused, 60, 2 * HOUR) / between(served, 60, 2 * HOUR) < 0.005


@pytest.mark.parametrize("share", [0.01, 0.05])
def test_refusals_that_come_by_accident_are_not_taken_for_a_limit(share: float) -> None:
    server, _ = hours(300, Limits(concurrency=8), {"rpm": NO_LIMIT, "told": False, "accidents": share})
    # Eight at a time, 0.3 s each; a refusal pauses all for about a second, and then concurrency grows again.
    assert len(server.served) >= 300 / (0.3 / 8 + share * 1.5) * 0.5


# With the last two, a pace that only averages over the whole way up stays at 0.80 of what the server allows.
@pytest.mark.parametrize("seed", [1, 4, 7])
@pytest.mark.parametrize("told", [True, False], ids=["told", "untold"])
def test_a_limit_that_changes_is_followed_both_ways(told: bool, seed: int) -> None:
    async def main(loop: VirtualLoop) -> Server:
        server = Server(loop, rpm=150.0, told=told, seed=seed)
        loop.call_at(1200, server.change, 30.0)
        loop.call_at(2400, server.change, 120.0)
        await busy(loop, server, HOUR)
        return server

    server = virtually(main, seed)
    served = [moment for moment, _ in server.served]
    # A server that says nothing is not pressed: its higher limit is found step by step.
    found = 60 if told else 900
    for since, until, rpm in ((60, 1200, 150), (1200 + 300, 2400, 30), (2400 + found, HOUR, 120)):
        assert between(served, since, until) >= 0.97 * rpm * (until - since) / 60
    assert between(server.refused, 60, HOUR) / len(served) < 0.01


@pytest.mark.parametrize("retry_after", [None, 5.0])
def test_while_everything_is_refused_one_request_at_a_time_looks_whether_it_is_over(retry_after: float | None) -> None:
    closed = (600.0, 1200.0)
    server, control = hours(1800, None, {"rpm": 150.0, "closed": closed, "retry_after": retry_after, "told": False})
    assert control.stopped is None
    asked = between(server.refused, 630, 1200)
    assert asked <= (570 / 5 + 1 if retry_after else 30), "requests to a server that refuses everything"
    served = [moment for moment, _ in server.served]
    again = min(moment for moment in served if moment >= 1200) - 1200
    assert again <= (retry_after or 120) + 1, "a wait is never longer than two minutes"
    assert between(served, 1330, 1800) >= 0.93 * 150 * 470 / 60


def test_refusals_that_last_end_the_run_after_the_time_without_success() -> None:
    server, control = hours(HOUR, None, {"rpm": 150.0, "closed": (600.0, HOUR)}, stop_after=900.0)
    assert isinstance(control.stopped, NoSuccess)
    assert "429: " in str(control.stopped)
    assert 1500 <= server.loop.time() < 1520
