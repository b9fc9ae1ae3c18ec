"""Whole jobs against a server that sends whatever it likes: fates of all items, requests sent, messages."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from echo_jobs import Echo, Kept, echo, items, provider_of, run

from penstock.api.provider import Limits, RetryPolicy, Timeouts
from penstock.engine import Job, RunControl, engine
from penstock.errors import AskAgain, InvalidAnswer
from penstock.items import Cause, Packing, Usage
from raw_http import RawServer, Reply, Seen, error, reply

PACKED = Packing(max_items=8)


def first_fails(answer: Reply) -> Callable[[Seen], Reply]:
    """Each text's first request gets `answer`, later ones the echo."""
    seen_before: set[str] = set()

    def respond(seen: Seen) -> Reply:
        new = set(seen.json["input"]) - seen_before
        seen_before.update(new)
        return answer if new else echo(seen)

    return respond


def test_every_item_comes_back_once_with_its_answer_and_its_price():
    with RawServer(echo) as server:
        control = RunControl()
        sink = run(server, [f"t{n}" for n in range(100)], Echo(PACKED), control=control)
    assert sink.done == list(range(100))
    assert len(server.seen) == len(sink.answered) == 13
    for outcome in sink.answered:
        assert outcome.answer.columns.column("text").to_pylist() == [item.payload for item in outcome.items]
        assert outcome.attempts == 1
        assert outcome.request_id.startswith("req_")
        assert outcome.usd == pytest.approx(len(outcome.items) * 10 * 0.02e-6)
    snapshot = control.snapshot()
    assert snapshot["results"] == {"200": 13}
    assert (snapshot["requests"], snapshot["prompt_tokens"], snapshot["in_flight"]) == (13, 1000, 0)
    assert snapshot["usd"] == pytest.approx(1000 * 0.02e-6)


def test_no_items_need_no_requests():
    with RawServer(echo) as server:
        assert run(server, []).done == []
    assert server.seen == []


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        (error(500), "500"),
        (error(503, "slow_down"), "503"),
        (error(529), "529"),
        (error(408), "408"),
        (error(409), "409"),
        (error(425), "425"),
        (Reply(then="reset"), "connection"),
        (Reply(then="close"), "connection"),
        (Reply(then="hold"), "timeout"),
        (Reply(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", "close"), "connection"),
        (Reply(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", "hold"), "timeout"),
        (Reply(b"\x00garbled\r\n\r\n", "close"), "unusable_answer"),
        (reply(200, b"<html>maintenance"), "unusable_answer"),
        (reply(200, b'{"data": ["cut'), "unusable_answer"),
        (reply(200, b'\xef\xbb\xbf{"data": []}'), "unusable_answer"),
        (reply(200, {"error": "overloaded"}), "unusable_answer"),
        (reply(200, b'{"title":"problem"}', {"Content-Type": "application/problem+json"}), "unusable_answer"),
        (reply(200, {"data": ["too", "many", "texts"]}), "unusable_answer"),
        (reply(200, b""), "unusable_answer"),
    ],
    ids=repr,
)
def test_a_failure_that_passes_costs_no_item(answer, result):
    with RawServer(first_fails(answer)) as server:
        control = RunControl()
        sink = run(server, ["a", "b", "c"], control=control)
    assert (sink.done, sink.lost) == ([0, 1, 2], [])
    assert len(server.seen) in {6, 7, 8, 9}, "each text twice; a connection that was kept may be tried once more"
    assert all(outcome.attempts == 2 for outcome in sink.answered)
    results = control.snapshot()["results"]
    assert results["200"] == 3
    assert results[result] == 3
    assert control.snapshot()["retried"] == 3


@pytest.mark.parametrize(
    ("answer", "cause", "status", "words"),
    [
        (error(500, "server_error", "boom"), Cause.SERVER_ERROR, 500, "the server answered 500 server_error: boom"),
        (Reply(then="hold"), Cause.TIMEOUT, None, "no answer in time"),
        (reply(200, b"<html>sorry"), Cause.UNUSABLE_ANSWER, 200, "it begins '<html>sorry'"),
        (reply(200, b'{"data": 1'), Cause.UNUSABLE_ANSWER, 200, "it begins '{\"data\": 1'"),
        (reply(200, {"error": {"message": "no GPU"}}), Cause.UNUSABLE_ANSWER, 200, "an error in it: no GPU"),
    ],
    ids=repr,
)
def test_a_failure_that_stays_is_an_error_row_with_its_reason(answer, cause, status, words):
    bad = {"b"}
    with RawServer(lambda seen: answer if bad & set(seen.json["input"]) else echo(seen)) as server:
        control = RunControl()
        sink = run(server, ["a", "b", "c"], control=control)
    (failure,) = sink.failures
    assert (sink.done, sink.lost) == ([0, 2], [1])
    assert (failure.cause, failure.status, failure.attempts) == (cause, status, 4)
    assert words in failure.message
    assert Counter(seen.json["input"][0] for seen in server.seen) == {"a": 1, "b": 4, "c": 1}
    assert control.snapshot()["failures"] == {cause.value: 1}


def test_one_attempt_means_one():
    with RawServer(lambda _: error(500)) as server:
        sink = run(server, ["a"], retry=RetryPolicy(attempts=1))
    assert len(server.seen) == 1
    assert sink.failures[0].attempts == 1


@pytest.mark.parametrize("status", [400, 413, 422])
def test_one_bad_item_is_found_by_halving_and_the_good_ones_lose_nothing(status):
    def respond(seen: Seen) -> Reply:
        return error(status, "bad_input", "I dislike it") if "t5" in seen.json["input"] else echo(seen)

    with RawServer(respond) as server:
        sink = run(server, [f"t{n}" for n in range(8)], Echo(PACKED))
    assert sink.done == [0, 1, 2, 3, 4, 6, 7]
    (failure,) = sink.failures
    assert (failure.item.number, failure.cause) == (5, Cause.INVALID_REQUEST)
    assert (failure.status, failure.code, failure.request_id) == (status, "bad_input", "req_1")
    assert failure.message == f"the server answered {status} bad_input: I dislike it"
    assert len(server.seen) == 7, "8, then halves of 4, 2 and 1: two each"


def test_all_bad_items_are_found():
    bad = {"t0", "t3", "t7"}
    with RawServer(lambda seen: error(400) if bad & set(seen.json["input"]) else echo(seen)) as server:
        sink = run(server, [f"t{n}" for n in range(20)], Echo(PACKED))
    assert sink.lost == [0, 3, 7]
    assert sorted(sink.done + sink.lost) == list(range(20))


def test_an_unusable_answer_that_one_item_causes_costs_only_that_item():
    with RawServer(lambda seen: reply(200, b"[]") if "t2" in seen.json["input"] else echo(seen)) as server:
        sink = run(server, [f"t{n}" for n in range(4)], Echo(PACKED), retry=RetryPolicy(attempts=3, max_wait=0))
    assert (sink.done, sink.lost) == ([0, 1, 3], [2])
    assert sink.failures[0].cause is Cause.UNUSABLE_ANSWER
    assert len(server.seen) == 3 + 2 + 1 + 2 + 1, "3 of four, 2 of its half and 2 of itself, and the good ones"


def test_too_fast_pauses_all_and_fails_nothing():
    times: list[float] = []

    def respond(seen: Seen) -> Reply:
        times.append(time.monotonic())
        if seen.number < 3:
            return error(429, "rate_limit_exceeded", "slow", {"retry-after": "0.3"})
        return echo(seen)

    with RawServer(respond) as server:
        control = RunControl()
        sink = run(
            server, [f"t{n}" for n in range(30)], control=control, limits=Limits(concurrency=1), retry=RetryPolicy(1)
        )
    assert sink.done == list(range(30))
    assert all(outcome.attempts == 1 for outcome in sink.answered)
    assert len(server.seen) == 33
    assert [later - sooner >= 0.29 for sooner, later in itertools.pairwise(times[:4])] == [True] * 3
    assert control.snapshot()["results"] == {"200": 30, "429": 3}


def test_a_refusal_never_fans_out():
    with RawServer(
        lambda seen: error(429, headers={"retry-after-ms": "20"}) if seen.number < 5 else echo(seen)
    ) as server:
        sink = run(server, [f"t{n}" for n in range(8)], Echo(PACKED))
    assert sink.done == list(range(8))
    assert [len(seen.json["input"]) for seen in server.seen] == [8] * 6


def test_a_request_larger_than_a_minutes_limit_is_halved_not_repeated():
    def respond(seen: Seen) -> Reply:
        large = len(seen.json["input"]) > 2
        return error(429, "rate_limit_exceeded", "Request too large for model-x: Limit 20") if large else echo(seen)

    with RawServer(respond) as server:
        sink = run(server, [f"t{n}" for n in range(8)], Echo(PACKED))
    assert sink.done == list(range(8))
    assert [len(seen.json["input"]) for seen in server.seen].count(8) == 1


def test_packs_keep_under_the_tokens_of_a_minute():
    with RawServer(echo) as server:
        run(server, ["a"] * 606, Echo(Packing(max_items=2048)), limits=Limits(8, tokens_per_minute=6000))
    assert [len(seen.json["input"]) for seen in server.seen] == [600, 6]


def test_tokens_of_failed_attempts_are_counted_and_priced():
    used = {"data": ["wrong"], "model": "text-embedding-3-small", "usage": {"prompt_tokens": 10}}
    with RawServer(first_fails(reply(200, {**used, "data": ["x", "y"]}))) as server:
        control = RunControl()
        sink = run(server, ["a"], control=control)
    assert sink.answered[0].usd == pytest.approx(20 * 0.02e-6)
    assert sink.answered[0].answer.usage.prompt_tokens == 20
    assert control.snapshot()["prompt_tokens"] == 20


def test_a_failed_item_tells_what_its_attempts_cost():
    used = {"data": [], "model": "text-embedding-3-small", "usage": {"prompt_tokens": 7}}
    with RawServer(lambda _: reply(200, used)) as server:
        control = RunControl()
        sink = run(server, ["a", "b", "c"], Echo(PACKED), control=control, retry=RetryPolicy(2, 0))
    assert sum(failure.usage.prompt_tokens for failure in sink.failures) == 7 * len(server.seen)
    assert control.snapshot()["prompt_tokens"] == 7 * len(server.seen)
    assert sum(failure.usd or 0 for failure in sink.failures) == pytest.approx(control.snapshot()["usd"])


class Mended(Echo):
    """Wants the text in capitals, and says so in the next request; `last` refuses it for good."""

    last: int = 2

    def read(self, body, payloads):
        answer = super().read(body, payloads)
        (text,) = payloads
        if text.isupper():
            return answer
        if text.count("!") >= self.last:
            raise InvalidAnswer(f"{text!r} is not in capitals")
        raise AskAgain("not in capitals", text.upper() if text == "mend me" else f"{text}!")


def test_an_answer_that_should_be_mended_is_asked_for_with_the_next_payload_and_all_of_it_is_counted():
    with RawServer(echo) as server:
        control = RunControl()
        sink = run(server, ["mend me", "FINE"], Mended(), control=control)
    assert sink.done == [0, 1]
    mended = next(outcome for outcome in sink.answered if outcome.items[0].number == 0)
    assert mended.answer.columns.column("text").to_pylist() == ["MEND ME"]
    assert (mended.attempts, mended.answer.usage.prompt_tokens) == (2, 20)
    assert mended.usd == pytest.approx(20 * 0.02e-6)
    assert control.snapshot()["prompt_tokens"] == 30


def test_an_answer_that_stays_wrong_is_an_error_row_and_not_asked_for_again():
    with RawServer(echo) as server:
        sink = run(server, ["never"], Mended(), retry=RetryPolicy(8, 0))
    assert [seen.json["input"] for seen in server.seen] == [["never"], ["never!"], ["never!!"]]
    (failure,) = sink.failures
    assert (failure.cause, failure.attempts) == (Cause.INVALID_ANSWER, 3)
    assert "is not in capitals" in failure.message
    assert failure.usage.prompt_tokens == 30


@pytest.mark.parametrize(("streams", "at_once", "cut"), [(False, True, True), (False, False, False)])
def test_silence_is_a_fault_only_where_nothing_has_to_be_written(streams: bool, at_once: bool, cut: bool):
    with RawServer(lambda seen: Reply(echo(seen).data, delay=0.6)) as server:
        timeouts = Timeouts(connect=1, read=0.3, total=2)
        work = Echo(streams=streams, at_once=at_once)
        sink = run(server, ["a"], work, retry=RetryPolicy(1, 0), timeouts=timeouts)
    assert bool(sink.failures) == cut


def test_an_unknown_price_stays_unknown():
    with RawServer(echo) as server:
        control = RunControl()
        sink = run(server, ["a"], Echo(model="llama3"), control=control)
    assert sink.answered[0].usd is None
    assert control.snapshot()["usd"] is None


def test_the_concurrency_of_the_provider_and_of_the_job_is_kept():
    with RawServer(lambda seen: Reply(echo(seen).data, delay=0.02)) as server:
        run(server, [f"t{n}" for n in range(60)], limits=Limits(concurrency=6))
        assert server.most_in_flight == 6
        server.most_in_flight = 0
        run(server, [f"t{n}" for n in range(30)], limits=Limits(concurrency=6), concurrency=2)
        assert server.most_in_flight == 2


def test_jobs_of_many_threads_share_client_and_limits():
    with RawServer(lambda seen: Reply(echo(seen).data, delay=0.01)) as server, ThreadPoolExecutor(6) as pool:
        provider = provider_of(server, limits=Limits(concurrency=5))
        control = RunControl()
        sinks = [Kept() for _ in range(6)]
        jobs = [
            Job(Echo(), items(f"{n}-{k}" for k in range(40)), sink, provider, control) for n, sink in enumerate(sinks)
        ]
        list(pool.map(engine().run, jobs))
    assert [sink.done for sink in sinks] == [list(range(40))] * 6
    assert server.most_in_flight == 5
    assert server.connections <= 5
    assert len(server.seen) == control.snapshot()["requests"] == 240


def test_source_and_sink_run_in_the_thread_of_the_caller():
    threads: set[int] = set()

    def source() -> Iterator[str]:
        for n in range(50):
            threads.add(threading.get_ident())
            yield f"t{n}"

    with RawServer(echo) as server:
        sink = run(server, source())
    assert threads == sink.threads == {threading.get_ident()}


def test_items_are_pulled_as_they_are_needed():
    pulled = 0
    gate = threading.Event()

    def source() -> Iterator[str]:
        nonlocal pulled
        for n in range(10_000):
            pulled += 1
            yield f"t{n}"

    def respond(seen: Seen) -> Reply:
        gate.wait(5)
        return echo(seen)

    with RawServer(respond) as server, ThreadPoolExecutor(1) as pool:
        control = RunControl()
        provider = provider_of(server, limits=Limits(concurrency=4))
        job = pool.submit(engine().run, Job(Echo(), items(source()), Kept(), provider, control))
        time.sleep(0.3)
        assert 4 <= pulled <= 40
        gate.set()
        job.result(60)
    assert pulled == 10_000


def test_a_slow_sink_holds_up_the_source():
    """What is answered but not yet stored counts as under way: memory stays bounded."""
    pulled: list[int] = []

    class Slow(Kept):
        def delivered(self, outcome: Any) -> None:
            super().delivered(outcome)
            time.sleep(0.005)
            assert len(pulled) - len(self.answered) < 40

    def source() -> Iterator[str]:
        for n in range(150):
            pulled.append(n)
            yield f"t{n}"

    with RawServer(echo) as server:
        sink = run(server, source(), sink=Slow(), limits=Limits(concurrency=4))
    assert len(sink.done) == 150


def test_a_watchdog_ends_what_nothing_else_ends():
    from penstock.engine.jobs import Engine
    from penstock.engine.portal import portal

    class Deaf:
        sent = 0

        async def send(self, request: Any, timeouts: Any) -> Any:
            import asyncio

            Deaf.sent += 1
            await asyncio.Event().wait()

        async def aclose(self) -> None:
            pass

    from dataclasses import replace

    from penstock.api.provider import Provider, Timeouts

    provider = Provider("mine", "http://x", timeouts=Timeouts(0.1, 0.1, 0.1), retry=RetryPolicy(2, 0))
    sink = Kept()
    began = time.monotonic()
    Engine(portal(), Deaf).run(Job(Echo(), items(["a"]), sink, replace(provider), RunControl()))
    assert 2 * 2.0 < time.monotonic() - began < 2 * 3.5
    assert Deaf.sent == 2
    assert sink.failures[0].cause is Cause.TIMEOUT
    assert sink.failures[0].usage == Usage()


def test_connections_that_the_server_closes_are_no_failures():
    with RawServer(echo) as server:
        control = RunControl()
        run(server, [f"t{n}" for n in range(20)], control=control)
        server.drop_connections()
        sink = run(server, [f"t{n}" for n in range(20)], control=control)
    assert sink.lost == []
    assert control.snapshot()["results"] == {"200": 40}
