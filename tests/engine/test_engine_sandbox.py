"""The engine against the sandbox: limits that are enforced, and faults of every kind at once."""

from __future__ import annotations

import time

import pytest
from echo_jobs import Kept, items

from penstock.api.provider import Limits, Provider, RetryPolicy, Timeouts
from penstock.engine import Job, RunControl, engine
from penstock.sandbox.launch import start
from penstock.secrets import Secret
from penstock.steps.embed import Embed


@pytest.fixture(autouse=True)
def _sandbox_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANDBOX_TEST_KEY", "sk-sandbox")


def embed(url: str, count: int, limits: Limits, batch_size: int, **settings: object) -> tuple[Kept, RunControl]:
    step = Embed(uses="embed", input="{{ x }}", model="text-embedding-3-small", dimensions=64, batch_size=batch_size)
    provider = Provider("sandbox", url, Secret("SANDBOX_TEST_KEY"), limits=limits, **settings)  # type: ignore[arg-type]
    sink, control = Kept(), RunControl()
    engine().run(Job(step, items(f"text number {n}" for n in range(count)), sink, provider, control))
    return sink, control


@pytest.mark.slow
@pytest.mark.parametrize("limits", [Limits(), Limits(requests_per_minute=1200)], ids=["learned", "given"])
def test_nearly_all_that_a_server_allows_with_hardly_a_refusal(limits):
    """At least 97 % of what is allowed, fewer than 0.5 % refusals."""
    with start(rpm=1200) as sandbox:
        began = time.monotonic()
        sink, control = embed(sandbox.url, 1400, limits, 1)
        allowed = 1200 + 20 * (time.monotonic() - began)
    assert len(sink.done) == 1400
    assert allowed * 0.97 <= 1400
    assert control.snapshot()["results"].get("429", 0) <= 0.005 * 1400


def test_faults_of_many_kinds_cost_no_row():
    faults = ["429:5%", "500:5%", "503:3%", "reset:3%", "html:3%", "cut:3%"]
    with start(faults=faults, seed=7) as sandbox:
        sink, control = embed(
            sandbox.url,
            600,
            Limits(concurrency=16),
            4,
            retry=RetryPolicy(attempts=8, max_wait=0.05),
            timeouts=Timeouts(2, 2, 4),
        )
    assert (len(sink.done), sink.lost) == (600, [])
    assert control.snapshot()["results"]["200"] == 150
    assert len(control.snapshot()["results"]) > 3


def test_a_poisoned_text_is_the_only_one_lost():
    with start(poison=["number 42"]) as sandbox:
        sink, _ = embed(sandbox.url, 100, Limits(), 50)
    assert sink.lost == [42]
    assert len(sink.done) == 99
