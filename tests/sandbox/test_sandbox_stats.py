"""The counters: a run can prove that nothing was asked twice."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from sandbox_requests import embed

from penstock.sandbox import stats as stats_module
from penstock.sandbox.launch import SandboxProcess
from penstock.sandbox.stats import Stats


def test_only_good_answers_count_as_answered(server: SandboxProcess, http: httpx.Client) -> None:
    server.reset()
    embed(http, ["one", "two words"])
    for fault in ("500", "429", "cut", "nan", "one-short", "html"):
        if fault == "cut":
            with pytest.raises(httpx.RemoteProtocolError):
                embed(http, ["one", "two words"], fault=fault)
        else:
            embed(http, ["one", "two words"], fault=fault)
    stats = server.stats()
    assert (stats["inputs"], stats["tokens"], stats["distinct_inputs"]) == (2, 3, 2)
    assert (stats["repeated_inputs"], stats["repeated_answers"]) == (0, 0)
    assert stats["requests"] == {"/v1/embeddings": {"200": 4, "429": 1, "500": 1, "cut": 1}}
    assert stats["faults"] == {"500": 1, "429": 1, "cut": 1, "nan": 1, "one-short": 1, "html": 1}


def test_inputs_that_were_answered_again_are_counted(server: SandboxProcess, http: httpx.Client) -> None:
    server.reset()
    embed(http, ["a", "b", "c"])
    embed(http, ["a", "b", "d"])
    embed(http, "a")
    stats = server.stats()
    assert (stats["inputs"], stats["distinct_inputs"]) == (7, 4)
    assert (stats["repeated_inputs"], stats["repeated_answers"]) == (2, 3)


def test_another_model_or_size_is_another_input(server: SandboxProcess, http: httpx.Client) -> None:
    server.reset()
    embed(http, "a")
    embed(http, "a", dimensions=4)
    embed(http, "a", model="text-embedding-3-small")
    assert server.stats()["repeated_inputs"] == 0


def test_paths_are_counted_without_their_parameters(server: SandboxProcess, http: httpx.Client) -> None:
    server.reset()
    for path in ("/models", "/models/tiny", "/models/none", "/wrong", "/wrong/too"):
        http.get(path)
    assert server.stats()["requests"] == {
        "/v1/models": {"200": 1},
        "/v1/models/{model}": {"200": 1, "404": 1},
        "(other)": {"404": 2},
    }


def test_the_peak_of_requests_in_flight_is_kept(server: SandboxProcess) -> None:
    server.change(latency="100ms")
    server.reset()
    server.change(latency="100ms")
    headers = {"Authorization": f"Bearer {server.key}"}

    def one(number: int) -> int:
        with httpx.Client(base_url=server.url, headers=headers) as client:
            return embed(client, f"text {number}").status_code

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(one, range(4))) == {200}
    stats = server.stats()
    assert stats["peak_in_flight"] >= 2
    assert stats["in_flight"] == 0
    server.reset()


def test_memory_is_bounded_and_what_was_forgotten_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stats_module, "LARGEST_MEMORY", 10)
    stats = Stats()
    stats.answered([f"text {number}" for number in range(25)], ("m",), 25)
    report = stats.report()
    assert (report["inputs"], report["distinct_inputs"], report["forgotten_inputs"]) == (25, 10, 15)
