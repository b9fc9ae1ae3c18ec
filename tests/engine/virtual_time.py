"""Hours of the engine in seconds: its own queue, gate, limits and retries, in an event loop whose clock jumps ahead.

Only the network and the threads are left out. Whenever nothing is ready to run, the clock jumps to the next timer.
"""

from __future__ import annotations

import asyncio
import json
import random
import selectors
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from queue import Empty
from typing import Any, TypeVar

from echo_jobs import Echo

from penstock.api.client import ApiClient
from penstock.api.provider import Limits, Provider, RetryPolicy
from penstock.api.wire import WireRequest, WireResponse
from penstock.engine import RunControl
from penstock.engine.attempt import Caller
from penstock.engine.dispatch import Dispatch, Ended
from penstock.engine.group import Group
from penstock.engine.judge import Circumstances
from penstock.engine.pack import Pack
from penstock.engine.room import Room
from penstock.items import Delivered, Item

T = TypeVar("T")


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop that never waits: what it would wait for happens at once, later."""

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__(_Jumping(self))

    def time(self) -> float:
        """Seconds since the loop was made, as it believes."""
        return self.now


class _Jumping(selectors.SelectSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "everything waits, and for nothing that would come"
            self._loop.now += timeout
        return ready


def virtually(work: Callable[[VirtualLoop], Coroutine[Any, Any, T]], seed: int = 1) -> T:
    """Run `work` in a virtual loop; the waits that the engine draws by chance are the same each time."""
    loop, before = VirtualLoop(), random.getstate()
    random.seed(seed)
    try:
        return loop.run_until_complete(work(loop))
    finally:
        random.setstate(before)
        loop.close()


@dataclass
class Server:
    """Enforces requests and tokens per minute, and keeps a book of what it allowed and what it answered.

    Attributes:
        rpm, tpm: limits; `change` sets others from a moment on.
        window: fixed minutes that begin anew (as gateways count), instead of buckets that refill evenly.
        told: whether answers have the headers of limits.
        retry_after: seconds that refusals ask for; None says nothing.
        seconds: an answer takes from this to that.
        tokens: a request really takes from this to that.
        closed: from when to when everything is refused.
        accidents: share of requests that are refused for no reason.
        seed: of its own chance: seconds, tokens and accidents.
    """

    loop: VirtualLoop
    rpm: float = 600.0
    tpm: float = 1e12
    window: bool = False
    told: bool = True
    retry_after: float | None = None
    seconds: tuple[float, float] = (0.1, 0.5)
    tokens: tuple[int, int] = (10, 10)
    closed: tuple[float, float] = (0.0, 0.0)
    accidents: float = 0.0
    seed: int = 1
    served: list[tuple[float, int]] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    levels: list[float] = field(init=False)
    at: float = 0.0

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)
        self.levels = [self.rpm, self.tpm]

    def change(self, rpm: float) -> None:
        """Another limit from now on."""
        self._refill()
        self.rpm = rpm
        self.levels[0] = min(self.levels[0], rpm)

    async def send(self, request: WireRequest, timeouts: object) -> WireResponse:
        """Answer or refuse, after a while."""
        takes = self.dice.uniform(*self.seconds)
        await asyncio.sleep(takes / 2)
        now = self._refill()
        need = (1.0, float(self.dice.randint(*self.tokens)))
        closed = self.closed[0] <= now < self.closed[1] or (self.accidents and self.dice.random() < self.accidents)
        good = not closed and all(level >= want for level, want in zip(self.levels, need, strict=True))
        if good:
            self.levels = [level - want for level, want in zip(self.levels, need, strict=True)]
            self.served.append((now, int(need[1])))
        else:
            self.refused.append(now)
        headers = self._headers(now)
        await asyncio.sleep(takes / 2)
        if not good:
            if self.retry_after is not None:
                headers["retry-after"] = str(self.retry_after)
            return WireResponse(429, headers, b'{"error":{"message":"slow","code":"rate_limit_exceeded"}}')
        texts = json.loads(request.body)["input"]
        usage = {"prompt_tokens": int(need[1])}
        return WireResponse(200, headers, json.dumps({"data": texts, "usage": usage}).encode())

    async def aclose(self) -> None:
        """Nothing is open."""

    def _refill(self) -> float:
        now = self.loop.time()
        limits = (self.rpm, self.tpm)
        if self.window:
            if int(now // 60) > int(self.at // 60):
                self.levels = list(limits)
        else:
            self.levels = [
                min(limit, level + (now - self.at) * limit / 60)
                for level, limit in zip(self.levels, limits, strict=True)
            ]
        self.at = now
        return now

    def _headers(self, now: float) -> dict[str, str]:
        if not self.told:
            return {}
        found = {}
        for name, limit, level in (("requests", self.rpm, self.levels[0]), ("tokens", self.tpm, self.levels[1])):
            if limit >= 1e12:
                continue
            reset = 60 - now % 60 if self.window else (limit - level) / limit * 60
            found |= {
                f"x-ratelimit-limit-{name}": str(int(limit)),
                f"x-ratelimit-remaining-{name}": str(max(0, int(level))),
                f"x-ratelimit-reset-{name}": f"{reset:.3f}s",
            }
        return found


async def busy(
    loop: VirtualLoop,
    server: Server,
    until: float,
    limits: Limits | None = None,
    *,
    jobs: int = 1,
    estimate: int = 10,
    stop_after: float = 900.0,
) -> RunControl:
    """Have `jobs` partitions ask as much as they may until then; every item is answered, or is under way at the end."""
    limits = limits or Limits()
    provider = Provider("virtual", "http://virtual/v1", limits=limits, retry=RetryPolicy())
    group = Group(limits, loop.time)
    control = RunControl(clock=loop.time, stop_after=stop_after)
    client, room, work = ApiClient(provider, server), Room(), Echo()
    cap = group.limiter.concurrency.cap
    at = Circumstances(provider, work.endpoint, work.model, stop_after=stop_after)
    dispatches = [
        Dispatch(Caller(work, client, group, control, provider), group, control, at, most_workers=cap, room=room)
        for _ in range(jobs)
    ]
    handed, settled, over = [0] * jobs, [0] * jobs, 0
    while loop.time() < until and control.stopped is None:
        for number, dispatch in enumerate(dispatches):
            settled[number] += _settled(dispatch)
            window = group.limiter.concurrency.limit * 3 // 2 + 8
            fresh = range(handed[number], settled[number] + window)
            handed[number] += len(fresh)
            dispatch.take([Pack.of([Item(n, f"{number}-{n}", estimate)]) for n in fresh], last=False)
        await asyncio.sleep(0.1)
    for dispatch in dispatches:
        dispatch.close()
    while over < jobs:
        await asyncio.sleep(0.1)
        over = sum(dispatch._ended for dispatch in dispatches)
    assert len(server.served) >= sum(settled)
    return control


def _settled(dispatch: Dispatch) -> int:
    count = 0
    while True:
        try:
            outcome = dispatch.outbox.first(wait=False)
        except Empty:
            return count
        assert isinstance(outcome, Delivered | Ended), outcome
        count += isinstance(outcome, Delivered)
        dispatch.outbox.taken()
