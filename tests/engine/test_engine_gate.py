"""The queue in front of the limits."""

from __future__ import annotations

import asyncio
import time

import pytest

from penstock.api.provider import Limits
from penstock.engine.gate import Gate
from penstock.engine.limits import Limiter


def test_first_come_first_served_also_for_small_ones_behind_a_large_one():
    async def main() -> list[str]:
        gate = Gate(Limiter(Limits(100, tokens_per_minute=6000)))
        first = await gate.enter(5990)
        order: list[str] = []

        async def enter(name: str, tokens: int) -> None:
            gate.leave(await gate.enter(tokens))
            order.append(name)

        tasks = [asyncio.create_task(enter(*one)) for one in (("large", 20), ("small", 1), ("tiny", 0))]
        await asyncio.gather(*tasks)
        gate.leave(first)
        return order

    began = time.monotonic()
    assert asyncio.run(main()) == ["large", "small", "tiny"]
    assert 0.09 < time.monotonic() - began < 1


def test_never_more_are_in_than_the_limit():
    async def main() -> int:
        gate = Gate(Limiter(Limits(3)))
        inside = most = 0

        async def visit() -> None:
            nonlocal inside, most
            admission = await gate.enter(0)
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0.001)
            inside -= 1
            gate.leave(admission)

        await asyncio.gather(*[visit() for _ in range(40)])
        return most

    assert asyncio.run(main()) == 3


@pytest.mark.parametrize("admitted_meanwhile", [False, True])
def test_who_gives_up_waiting_holds_nothing_and_blocks_nobody(admitted_meanwhile):
    async def main() -> int:
        gate = Gate(Limiter(Limits(1)))
        first = await gate.enter(0)
        waiting = asyncio.create_task(gate.enter(0))
        behind = asyncio.create_task(gate.enter(0))
        await asyncio.sleep(0)
        if admitted_meanwhile:
            gate.leave(first)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        if not admitted_meanwhile:
            gate.leave(first)
        gate.leave(await asyncio.wait_for(behind, 1))
        return gate.limiter.concurrency.in_flight

    assert asyncio.run(main()) == 0


def test_a_pause_holds_those_who_come_during_it():
    async def main() -> float:
        gate = Gate(Limiter(Limits(10)))
        first = await gate.enter(0)
        gate.limiter.refused(first, 0.1, lambda _: 0.1)
        gate.leave(first)
        began = time.monotonic()
        await gate.enter(0)
        return time.monotonic() - began

    assert 0.09 < asyncio.run(main()) < 0.5
