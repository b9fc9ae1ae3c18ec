"""Whatever happens, every item has exactly one outcome, and every book agrees with the wire."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from echo_jobs import Echo, Kept, items
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.api.provider import Limits, Provider, RetryPolicy, Timeouts
from penstock.api.wire import FailureKind, WireError, WireRequest, WireResponse
from penstock.engine import Job, RunControl
from penstock.engine.jobs import Engine
from penstock.engine.portal import portal
from penstock.items import Packing

FAULTS = [
    (500, b'{"error":{"message":"no"}}'),
    (503, b"<html>"),
    (429, b'{"error":{"message":"slow","code":"rate_limit_exceeded"}}'),
    (400, b'{"error":{"message":"bad"}}'),
    (413, b""),
    (200, b'{"data":[],"usage":{"prompt_tokens":3}}'),
    (200, b"<html>"),
    FailureKind.TIMEOUT,
    FailureKind.CLOSED,
    FailureKind.PROTOCOL,
]


@dataclass
class Chaos:
    """A wire in memory: fails as its dice say, and counts."""

    seed: int
    share: float
    poison: frozenset[str]
    sent: int = 0
    tokens: int = 0
    answered: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)  # dice, not secrets

    async def send(self, request: WireRequest, timeouts: Timeouts) -> WireResponse:
        self.sent += 1
        await asyncio.sleep(self.dice.random() * 0.002)
        texts = json.loads(request.body)["input"]
        if self.poison & set(texts):
            return self._response(400, b'{"error":{"message":"poison"}}')
        if self.dice.random() < self.share:
            fault = self.dice.choice(FAULTS)
            if isinstance(fault, FailureKind):
                raise WireError(fault, "chaos", stale=self.dice.random() < 0.5)
            self.tokens += 3 if b"usage" in fault[1] else 0
            return self._response(*fault)
        self.answered.update(texts)
        self.tokens += 10 * len(texts)
        return self._response(200, json.dumps({"data": texts, "usage": {"prompt_tokens": 10 * len(texts)}}).encode())

    def _response(self, status: int, body: bytes) -> WireResponse:
        return WireResponse(status, {"retry-after-ms": "2"} if status == 429 else {}, body)

    async def aclose(self) -> None:
        pass


@dataclass(frozen=True)
class Case:
    count: int
    size: int
    share: float
    seed: int
    poison: set[int]
    concurrency: int
    attempts: int


CASES = st.builds(
    Case,
    count=st.integers(0, 60),
    size=st.integers(1, 9),
    share=st.floats(0, 0.9),
    seed=st.integers(),
    poison=st.sets(st.integers(0, 60), max_size=3),
    concurrency=st.integers(1, 12),
    attempts=st.integers(1, 4),
)


@settings(max_examples=40)
@given(CASES)
def test_every_item_has_exactly_one_outcome(case):
    wire = Chaos(case.seed, case.share, frozenset(f"t{n}" for n in case.poison))
    provider = Provider(
        "mine",
        f"http://{case.seed}",
        limits=Limits(case.concurrency),
        retry=RetryPolicy(case.attempts, 0.002),
    )
    sink, control = Kept(), RunControl()
    job: Any = Job(Echo(Packing(case.size)), items(f"t{n}" for n in range(case.count)), sink, provider, control)
    Engine(portal(), lambda: wire).run(job)

    assert sorted(sink.done + sink.lost) == list(range(case.count))
    for outcome in sink.answered:
        assert outcome.answer.columns.column("text").to_pylist() == [item.payload for item in outcome.items]
    assert not {f"t{n}" for n in sink.done} & wire.poison
    assert all(wire.answered[f"t{n}"] == 1 for n in sink.done), "nothing is paid twice"
    snapshot = control.snapshot()
    assert snapshot["prompt_tokens"] == wire.tokens
    assert sum(snapshot["results"].values()) == snapshot["requests"]
    assert snapshot["in_flight"] == 0
    assert sum(snapshot["failures"].values()) == len(sink.lost)
    spent = sum(outcome.usd or 0 for outcome in [*sink.answered, *sink.failures])
    assert abs(spent - snapshot["usd_known"]) < 1e-9
