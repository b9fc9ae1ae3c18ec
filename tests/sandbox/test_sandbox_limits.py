"""Requests and tokens per minute on a virtual clock, and their headers."""

from __future__ import annotations

import asyncio
import math
import time
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.sandbox.app import make_app
from penstock.sandbox.errors import ApiError
from penstock.sandbox.launch import start
from penstock.sandbox.limits import UNLIMITED_REQUESTS, Limits, format_reset
from penstock.sandbox.settings import Settings


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def admitted(limits: Limits, tokens: int = 1, model: str = "m") -> bool:
    try:
        limits.admit(model, tokens)
    except ApiError:
        return False
    return True


def test_a_minute_allows_its_requests_at_once_and_then_refills_evenly() -> None:
    clock = Clock()
    limits = Limits(60, None, clock)
    assert [admitted(limits) for _ in range(61)] == [True] * 60 + [False]
    clock.now += 0.99
    assert not admitted(limits)
    clock.now += 0.01
    assert admitted(limits)
    assert not admitted(limits)
    clock.now += 3600
    assert sum(admitted(limits) for _ in range(100)) == 60


def test_a_refusal_says_how_long_to_wait_and_takes_nothing() -> None:
    clock = Clock()
    limits = Limits(3, None, clock)
    for _ in range(3):
        limits.admit("m", 1)
    for _ in range(2):
        with pytest.raises(ApiError) as refused:
            limits.admit("m", 1)
        headers = refused.value.headers
        assert (headers["retry-after"], headers["retry-after-ms"]) == ("20", "20000")
        assert headers["x-ratelimit-remaining-requests"] == "0"
        assert headers["x-ratelimit-reset-requests"] == "1m0s"
        assert refused.value.message == (
            "Rate limit reached for m in organization org-sandbox on requests per min (RPM): Limit 3, Used 3, "
            "Requested 1. Please try again in 20s. "
            "Visit https://platform.openai.com/account/rate-limits to learn more."
        )
        assert (refused.value.type, refused.value.code) == ("requests", "rate_limit_exceeded")
    clock.now += 20
    assert admitted(limits)


def test_tokens_are_limited_beside_requests_and_both_or_neither_are_taken() -> None:
    clock = Clock()
    limits = Limits(100, 1000, clock)
    headers = limits.admit("m", 900)
    assert headers["x-ratelimit-remaining-tokens"] == "100"
    assert headers["x-ratelimit-reset-tokens"] == "54s"
    with pytest.raises(ApiError, match="tokens per min") as refused:
        limits.admit("m", 200)
    assert refused.value.type == "tokens"
    assert refused.value.headers["retry-after-ms"] == "6000"
    assert limits.headers("m")["x-ratelimit-remaining-requests"] == "99"
    assert admitted(limits, 100)


def test_a_request_over_the_whole_budget_is_told_that_waiting_does_not_help() -> None:
    with pytest.raises(ApiError, match="Request too large") as refused:
        Limits(None, 100, Clock()).admit("m", 101)
    assert "retry-after" not in refused.value.headers


def test_each_model_has_its_own_limits() -> None:
    limits = Limits(1, None, Clock())
    assert admitted(limits, model="a")
    assert not admitted(limits, model="a")
    assert admitted(limits, model="b")


def test_without_limits_nothing_is_refused_and_the_headers_are_large() -> None:
    limits = Limits(None, None, Clock())
    assert all(admitted(limits, 10**9) for _ in range(1000))
    assert int(limits.headers("m")["x-ratelimit-limit-requests"]) == UNLIMITED_REQUESTS


@given(
    rpm=st.integers(1, 10_000), tpm=st.integers(1, 10**7), asks=st.lists(st.integers(0, 2000), min_size=1, max_size=60)
)
def test_who_waits_exactly_as_long_as_told_gets_through(rpm: int, tpm: int, asks: list[int]) -> None:
    clock = Clock()
    limits = Limits(rpm, tpm, clock)
    for tokens in (min(tokens, tpm) for tokens in asks):
        try:
            limits.admit("m", tokens)
        except ApiError as error:
            clock.now += int(error.headers["retry-after-ms"]) / 1000
            assert admitted(limits, tokens)


@given(rpm=st.integers(1, 1000), gaps=st.lists(st.floats(0, 30), min_size=1, max_size=80))
def test_never_more_is_admitted_than_a_full_bucket_and_what_flowed_in(rpm: int, gaps: list[float]) -> None:
    clock = Clock()
    limits = Limits(rpm, None, clock)
    taken = 0
    for gap in gaps:
        clock.now += gap
        taken += sum(admitted(limits) for _ in range(5))
        assert taken <= rpm + (clock.now - 1000) * rpm / 60 + 1e-3


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.0121, "13ms"),
        (0.012, "12ms"),
        (1, "1s"),
        (1.5, "1.5s"),
        (60, "1m0s"),
        (360, "6m0s"),
        (3723.25, "1h2m3.25s"),
        (59.9999, "1m0s"),
    ],
)
def test_time_spans_are_written_as_the_service_writes_them(seconds: float, text: str) -> None:
    assert format_reset(seconds) == text


def test_limits_over_http_with_a_virtual_clock() -> None:
    clock = Clock()
    app = make_app(Settings.parse(rpm=2, tpm=10, models=["tiny:8"]), clock=clock)

    async def run() -> None:
        transport = httpx.ASGITransport(app=app)
        headers = {"Authorization": "Bearer sk-sandbox"}
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost/v1", headers=headers) as client:

            async def post(**fields: object) -> httpx.Response:
                return await client.post("/embeddings", json={"model": "tiny", "input": "one two", **fields})

            first = await post()
            assert first.headers["x-ratelimit-remaining-requests"] == "1"
            assert first.headers["x-ratelimit-remaining-tokens"] == "8"
            refused = await post(dimensions=0)
            assert refused.status_code == 400
            assert refused.headers["x-ratelimit-remaining-requests"] == "0"
            limited = await post()
            assert limited.status_code == 429
            assert limited.headers["retry-after"] == "30"
            assert (await client.get("/models")).status_code == 200
            clock.now += 30
            assert (await post()).status_code == 200
            await client.post("/../_sandbox/reset")
            assert (await post()).headers["x-ratelimit-remaining-requests"] == "1"

    asyncio.run(run())


def test_limits_over_http_in_real_time() -> None:
    """600 requests a minute are ten a second once the first minute's worth is spent."""
    with start(rpm=600, models=["tiny:8"]) as server:
        headers = {"Authorization": f"Bearer {server.key}"}
        with httpx.Client(base_url=server.url, headers=headers) as client:
            waits = []
            while len(waits) < 3:
                answer = client.post("/embeddings", json={"model": "tiny", "input": "a"})
                if answer.status_code == 429:
                    waits.append(int(answer.headers["retry-after-ms"]))
                    assert int(answer.headers["retry-after"]) == math.ceil(waits[-1] / 1000)
                    time.sleep(waits[-1] / 1000)
            assert all(1 <= wait <= 100 for wait in waits)
        counts = server.stats()["requests"]["/v1/embeddings"]
        assert counts["429"] == 3
        assert counts["200"] >= 600


def test_refused_forms_count_as_requests_like_refused_json() -> None:
    """The guide on limits: unsuccessful requests count too."""
    with start(rpm=2) as process:
        headers = {"Authorization": f"Bearer {process.key}"}
        with httpx.Client(base_url=process.url, headers=headers, timeout=10) as http:
            bad: dict[str, Any] = {
                "data": {"model": "whisper-1", "temperature": "9"},
                "files": {"file": ("a.wav", b"x")},
            }
            answers = [http.post("/audio/transcriptions", **bad) for _ in range(3)]
            assert [answer.status_code for answer in answers] == [400, 400, 429]
            assert [answer.headers["x-ratelimit-remaining-requests"] for answer in answers] == ["1", "0", "0"]
            other = http.post("/audio/transcriptions", data={"model": "nobody"}, files={"file": ("a.wav", b"x")})
            assert other.status_code == 404
