"""The table "judging an answer", row by row, over real sockets: the fate of the rows, the requests, the message.

Three fates are told apart. What may pass (`TRIED_AGAIN`, `UNUSABLE`) is met twice by one row and always by another one:
the first is written, the second is an error row after as many requests as `attempts` allows. What no row can help
(`STOPS`) ends the run after one request, and a resumed run asks only what has no answer. What is a row's own fault
(`AT_FAULT`) is found by halving. What an answer says well, however oddly (`TAKEN`), is taken at the first request.
"""

from __future__ import annotations

import itertools
import json
import time
from collections import Counter
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

import pytest
from judging_server import (
    CHAT,
    COUNTED,
    EMBED,
    KEY,
    PROVIDER,
    STEPS,
    STREAM,
    Judged,
    choice,
    chunk,
    completion,
    events,
    good,
    judged,
    streamed,
    texts_of,
    vector,
    vectors,
)

from penstock.cli.summary import exit_code
from penstock.errors import Interrupted, RunStopped
from penstock.execute.inline import run_inline
from raw_http import Reply, Seen, error, reply


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Judged]:
    monkeypatch.setenv("BENCH_API_KEY", KEY)
    monkeypatch.delenv("PENSTOCK_STATE", raising=False)
    with judged(tmp_path) as found:
        yield found


class Trouble(NamedTuple):
    """What comes instead of an answer, and what the errors table says when it does not pass."""

    name: str
    answer: Reply
    cause: str
    status: int | None
    words: str
    kinds: str = "embed"
    resent: bool = False
    """Whether a request that a kept connection lost so is sent again at once, and counted as no attempt."""

    def __str__(self) -> str:
        return self.name


def as_json(body: object, status: int = 200, **headers: str) -> Reply:
    return reply(status, body, headers)


def raw(body: bytes, kind: str = "application/json", then: str = "keep") -> Reply:
    return reply(200, body, {"Content-Type": kind}, then=then)


GOOD = vectors({"index": 0, "embedding": vector(1, 0)})
CUT = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n" + GOOD[:40]
CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
HTML = b"<!DOCTYPE html><html><body>Just a moment...</body></html>"
ENDED = "the connection ended before the answer did"

TRIED_AGAIN = [
    Trouble("408", error(408), "timeout", 408, "the server answered 408: no"),
    Trouble("409", error(409), "server_error", 409, "the server answered 409: no"),
    Trouble("425", error(425), "server_error", 425, "the server answered 425: no"),
    Trouble("500", error(500, "server_error"), "server_error", 500, "the server answered 500 server_error: no"),
    Trouble("502 in HTML", reply(502, b"<html>Bad gateway"), "server_error", 502, "it begins '<html>Bad gateway'"),
    Trouble("503", error(503), "server_error", 503, "the server answered 503: no"),
    Trouble("504 in text", reply(504, b"upstream timed out"), "server_error", 504, "it begins 'upstream timed out'"),
    Trouble("529", error(529, "overloaded_error"), "server_error", 529, "the server answered 529 overloaded_error"),
    Trouble("reset", Reply(then="reset"), "connection", None, ENDED, resent=True),
    Trouble("closed without an answer", Reply(then="close"), "connection", None, ENDED, resent=True),
    Trouble("closed in the head", Reply(b"HTTP/1.1 200 OK\r\nCo", then="close"), "connection", None, ENDED),
    Trouble("cut body", Reply(CUT, then="close"), "connection", None, ENDED),
    Trouble("cut chunk", Reply(CHUNKED + b"50\r\ndata: {", then="close"), "connection", None, ENDED, "embed stream"),
    Trouble("not HTTP", Reply(b"SSH-2.0-OpenSSH_9.2\r\n", then="close"), "*", None, ""),
    Trouble("silence", Reply(then="hold"), "timeout", None, "no answer in time", "embed chat stream"),
    Trouble("silence in the body", Reply(CUT, then="hold"), "timeout", None, "no answer in time", "embed chat stream"),
]
"""Row 1: 408, 409, 425, 5xx, 529, connection errors, time-outs, cut bodies."""

PROBLEM = {"type": "about:blank", "title": "Service Unavailable", "status": 503}
UNUSABLE = [
    Trouble("HTML", raw(HTML, "text/html"), "unusable_answer", 200, "a web page came instead of an answer: it begins "
            "'<!DOCTYPE html>", "embed chat stream"),
    Trouble("problem+json", raw(json.dumps(PROBLEM).encode(), "application/problem+json"), "unusable_answer", 200,
            "Service Unavailable", "embed chat stream"),
    Trouble("error as text", as_json({"error": "no GPU left"}), "unusable_answer", 200, "an error in it: no GPU left",
            "embed chat stream"),
    Trouble("error as object", as_json({"error": {"message": "no GPU left", "code": "x"}}), "unusable_answer", 200,
            "an error in it: no GPU left", "embed chat stream"),
    Trouble("cut JSON", raw(GOOD[:40]), "unusable_answer", 200, "it begins '{\"data\": [{", "embed chat"),
    Trouble("text", raw(b"upstream connect error", "text/plain"), "unusable_answer", 200,
            "it begins 'upstream connect error'", "embed chat stream"),
    Trouble("BOM and text", raw(b"\xef\xbb\xbfsorry", "text/plain"), "unusable_answer", 200, "sorry'",
            "embed chat stream"),
    Trouble("empty body", raw(b""), "unusable_answer", 200, "an empty body", "embed chat stream"),
    Trouble("204", Reply(b"HTTP/1.1 204 No Content\r\n\r\n"), "unusable_answer", 204, "an empty body", "embed chat"),
    Trouble("another JSON", as_json({"object": "list"}), "unusable_answer", 200, "it begins '{\"object\"",
            "embed chat stream"),
]  # fmt: skip
"""Row 7: HTTP 200 with HTML, problem+json, an error, cut JSON, another content type, a BOM."""


def one(*numbers: float, index: int = 0) -> dict[str, Any]:
    return {"index": index, "embedding": vector(*numbers)}


def unusable(name: str, body: bytes, words: str, kinds: str = "embed") -> Trouble:
    answer = streamed(body) if kinds == "stream" else raw(body)
    return Trouble(name, answer, "unusable_answer", 200, words, kinds)


NAN, INF = float("nan"), float("inf")
UNUSABLE_VECTORS = [
    unusable("fewer", vectors(), "0 vectors came for 1 texts"),
    unusable("more", vectors(one(1, 0), one(1, 0, index=1)), "2 vectors came for 1 texts"),
    unusable("an index that was not asked for", vectors(one(1, 0, index=1)), "the vector indexes are not 0 to 0"),
    unusable("another dimension", vectors(one(1, 0, 0)), "a vector has 3 numbers where 2 belong"),
    unusable("NaN", vectors(one(NAN, 1)), "NaN"),
    unusable("infinity", vectors(one(INF, 1)), "infinit"),
    unusable("NaN as a word", vectors({"index": 0, "embedding": [NAN, 1]}), "it begins"),
    unusable("all zero", vectors(one(0, 0)), "zero"),
    unusable("an empty vector", vectors(one()), "a vector is empty"),
    unusable("vectors of tokens", vectors({"index": 0, "embedding": [[1, 0], [0, 1]]}), "it begins"),
    unusable("null", vectors({"index": 0, "embedding": None}), "it begins"),
    unusable("no base64", vectors({"index": 0, "embedding": "???"}), "it begins"),
]
"""Row 8: embeddings that are not what was asked for."""

UNUSABLE_CHATS = [
    unusable("no choices", completion(), "1 choices were asked for", "chat"),
    unusable("two choices", completion(choice(), {**choice(), "index": 1}), "and these came: 0, 1", "chat"),
    unusable("no finish reason", completion(choice(finish_reason=None)), "has no finish reason", "chat"),
    unusable("no message", completion({"index": 0, "finish_reason": "stop"}), "has no message", "chat"),
]
"""Row 9, as far as it is no result."""

EVENT_ERROR = {"error": {"message": "The server had an error", "type": "server_error"}}
UNUSABLE_STREAMS = [
    unusable("no end", events(chunk("fi"), chunk("ne"), done=False), "has no finish reason", "stream"),
    unusable("[DONE] without a finish reason", events(chunk("fi")), "has no finish reason", "stream"),
    unusable("error as an event", events(chunk("fi"), EVENT_ERROR), "an error in it: The server had an error",
             "stream"),
    unusable("event of kind error", events(chunk("fi"), done=False) + b"event: error\ndata: out of memory\n\n",
             "an error in the stream: out of memory", "stream"),
    unusable("half a chunk", events(chunk("fi"), done=False) + b'data: {"choices": [', "it begins", "stream"),
    unusable("only comments", b": keep-alive\n\n: keep-alive\n\n", "no event stream", "stream"),
    Trouble("incomplete chunked read", Reply(CHUNKED + b"7\r\ndata: {\r\n", then="close"), "connection", None, ENDED,
            "stream"),
]  # fmt: skip
"""Row 10: a stream that has not ended is a failure, however whole its text looks."""

MET_TWICE = [
    pytest.param(kind, trouble, id=f"{kind}: {trouble}")
    for trouble in [*TRIED_AGAIN, *UNUSABLE, *UNUSABLE_VECTORS, *UNUSABLE_CHATS, *UNUSABLE_STREAMS]
    for kind in trouble.kinds.split()
]


@pytest.mark.parametrize(("kind", "trouble"), MET_TWICE)
def test_what_passes_costs_no_row_and_what_stays_is_one_error_row(bench: Judged, kind: str, trouble: Trouble) -> None:
    left = {"passes": 2, "stays": 100}
    came = [("", False)]

    def respond(seen: Seen) -> Reply:
        (text,) = texts_of(seen)
        came.append((text, not left.get(text)))
        if not left.get(text):
            return good(seen)
        left[text] -= 1
        return trouble.answer

    bench.answer(respond)
    bench.pipeline(STEPS[kind], ["fine", "passes", "stays"])
    record = bench.bench.run()
    assert record.account is not None
    assert (record.account.read, record.account.written, record.account.failed) == (3, 2, 1)
    sent = bench.sent()
    assert (sent["fine"], sent["passes"]) == (1, 3)
    # In which order rows are tried again is chance; what follows a good answer may have gone over its connection.
    lost = Counter(text for (_, kept), (text, well) in itertools.pairwise(came) if kept and not well and trouble.resent)
    assert sent["stays"] == 3 + lost["stays"]
    usage = bench.bench.result()[f"{kind.replace('stream', 'chat')}_usage"].struct.unnest()
    assert usage["attempts"].to_list() == [1, 3 - lost["passes"]]
    assert all(usage["request_id"].str.starts_with("req_"))
    (failed,) = bench.bench.errors(record).to_dicts()
    assert (failed["id"], failed["attempts"], failed["status"]) == (2, 3, trouble.status)
    assert trouble.cause in {failed["cause"], "*"}
    assert trouble.words in failed["message"], failed["message"]


@pytest.mark.parametrize("code", ["rate_limit_exceeded", "slow_down", None])
def test_a_429_pauses_all_for_as_long_as_told_and_is_no_failure_of_the_row(bench: Judged, code: str | None) -> None:
    """Row 2. More refusals than attempts, and no row is lost."""
    times: list[float] = []

    def respond(seen: Seen) -> Reply:
        times.append(time.monotonic())
        return error(429, code, headers={"retry-after-ms": "60"}) if seen.number < 5 else good(seen)

    bench.answer(respond)
    bench.pipeline(EMBED, ["one", "two"], provider=PROVIDER.replace("concurrency: 1", "concurrency: 8"))
    record = bench.bench.run()
    assert record.account is not None
    assert (record.account.written, record.account.failed) == (2, 0)
    assert bench.bench.result()["embed_usage"].struct.field("attempts").to_list() == [1, 1]
    assert sum(bench.sent().values()) == 5 + 2
    pauses = [later - sooner for sooner, later in itertools.pairwise(times[:6]) if later - sooner > 0.02]
    assert len(pauses) >= 2
    assert min(pauses) > 0.055


class Stop(NamedTuple):
    """What ends the run, and the sentence that says why."""

    name: str
    answer: Reply
    reason: str
    words: str

    def __str__(self) -> str:
        return self.name


QUOTA = "the account behind the key in BENCH_API_KEY has no quota or money left"
REFUSED = "does not accept the key in BENCH_API_KEY"
FORBIDDEN = "does not let the key in BENCH_API_KEY use the model"
TYPED = {"error": {"message": "pay", "type": "insufficient_quota", "code": None}}
STOPS = [
    Stop("429 insufficient_quota", error(429, "insufficient_quota"), "quota", QUOTA),
    Stop("429 billing_hard_limit_reached", error(429, "billing_hard_limit_reached"), "quota", QUOTA),
    Stop("429 credit_balance_exhausted", error(429, "credit_balance_exhausted"), "quota", QUOTA),
    Stop("429 of the type insufficient_quota", reply(429, TYPED), "quota", QUOTA),
    Stop("402", error(402), "quota", QUOTA),
    Stop("401", error(401, "invalid_api_key", f"Incorrect API key provided: {KEY}"), "access", REFUSED),
    Stop("403", error(403, "unsupported_country_region_territory"), "access", FORBIDDEN),
    Stop("404 model_not_found", error(404, "model_not_found"), "access", "the model 'text-embedding-3-small' is not"),
    Stop("307", reply(307, b"", {"Location": "https://elsewhere.example/"}), "access", "https://elsewhere.example/"),
]
"""Rows 3 and 4: what no row can help."""


@pytest.mark.parametrize("stop", STOPS, ids=str)
def test_what_no_row_can_help_stops_the_run_with_exit_code_3_and_a_resumed_run_loses_nothing(
    bench: Judged, stop: Stop
) -> None:
    bench.answer(lambda seen: good(seen) if texts_of(seen) == ["first"] else stop.answer)
    bench.pipeline(EMBED, ["first", "second", "third"])
    with bench.bench.open() as session, pytest.raises(RunStopped, match="then resume") as stopped:
        run_inline(session)
    assert stop.words in str(stopped.value)
    assert session.record.reason == stop.reason
    assert int(exit_code(session.record)) == 3
    assert KEY not in session.record.model_dump_json()
    assert bench.sent() == {"first": 1, "second": 1}, "one refusal, and none again"
    bench.answer(good)
    record = bench.bench.run()
    assert record.account is not None
    assert (record.account.read, record.account.written, record.account.failed) == (3, 3, 0)
    assert bench.sent() == {"first": 1, "second": 2, "third": 1}


AT_FAULT = {400: "invalid_request", 404: "not_found", 413: "invalid_request", 422: "invalid_request"}
"""Row 5: what one row may be at fault for."""


@pytest.mark.parametrize("status", AT_FAULT)
def test_a_row_at_fault_is_found_by_halving_and_the_others_lose_nothing(bench: Judged, status: int) -> None:
    bad = error(status, "bad_input", "I dislike it")
    bench.answer(lambda seen: bad if "bad" in texts_of(seen) else good(seen))
    bench.pipeline(EMBED.replace("batch_size: 1", "batch_size: 8"), [*"abcdefgh", "bad", *"ijklmno"])
    record = bench.bench.run()
    assert record.account is not None
    assert (record.account.written, record.account.failures) == (15, {AT_FAULT[status]: 1})
    (failed,) = bench.bench.errors(record).to_dicts()
    assert (failed["text"], failed["status"], failed["code"]) == ("bad", status, "bad_input")
    assert (failed["request_id"], failed["attempts"]) == ("req_1", 1)
    assert failed["message"] == f"the server answered {status} bad_input: I dislike it"
    assert [len(texts_of(seen)) for seen in bench.server.seen] == [8, 8, 4, 2, 1, 1, 2, 4]


def test_a_packed_request_that_is_refused_for_its_rate_is_sent_again_whole(bench: Judged) -> None:
    """Row 5: a 429 never fans out."""
    bench.answer(lambda seen: error(429, headers={"retry-after-ms": "5"}) if seen.number < 3 else good(seen))
    bench.pipeline(EMBED.replace("batch_size: 1", "batch_size: 8"), [*"abcdefgh"])
    bench.bench.run()
    assert [len(texts_of(seen)) for seen in bench.server.seen] == [8] * 4


LATER = {"Retry-After": "30"}
HEADERS = {
    "x-should-retry: false ends it at once": (503, {"x-should-retry": "false"}, 1),
    "x-should-retry: true goes before the status": (400, {"x-should-retry": "true"}, 3),
    "retry-after-ms goes before Retry-After": (503, {"retry-after-ms": "5", **LATER}, 3),
    "Retry-After as a float": (503, {"Retry-After": "0.005"}, 3),
    "Retry-After as a date that is over": (503, {"Retry-After": formatdate(time.time() - 60, usegmt=True)}, 3),
    "nothing that can be read": (503, {"Retry-After": "soon"}, 3),
}
"""Row 6: the order of headers."""


@pytest.mark.parametrize("name", HEADERS)
def test_what_headers_say_about_trying_again_is_done_in_their_order(bench: Judged, name: str) -> None:
    status, headers, requests = HEADERS[name]
    bench.answer(lambda seen: error(status, headers=headers) if texts_of(seen) == ["bad"] else good(seen))
    bench.pipeline(EMBED, ["fine", "bad"])
    began = time.monotonic()
    record = bench.bench.run()
    assert time.monotonic() - began < 5
    assert bench.sent() == {"fine": 1, "bad": requests}
    assert bench.bench.errors(record)["attempts"].to_list() == [requests]


@pytest.mark.parametrize("status", [429, 503])
def test_a_wait_of_114_hours_is_cut_to_two_minutes_and_told_while_it_lasts_and_afterwards(
    bench: Judged, status: int
) -> None:
    bench.answer(lambda _: error(status, headers={"Retry-After": "410400"}))
    bench.pipeline(EMBED, ["one"])
    with bench.bench.open() as session:
        told: list[str] = []
        control = session.control

        def look() -> None:
            for _ in range(1000):
                if waiting := control.snapshot()["waiting"]:
                    told.append(waiting)
                    break
                time.sleep(0.01)
            control.request_stop(Interrupted("enough"))

        Thread(target=look).start()
        with pytest.raises(Interrupted):
            run_inline(session)
    cut = "the server asks for 114h00m, at most 2m00s are waited"
    assert cut in told[0]
    assert session.record.notes == [f"{cut}, by an answer {status} of 'openai'"]
    assert bench.sent() == {"one": 1}


CALLS = [{"id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"a": 1}'}}]
USAGE_CHUNK = events(chunk("fi"), chunk("ne", "stop"), COUNTED)
ODD = (
    b"\xef\xbb\xbf: a comment\r\n\r\nretry: 10\r\n\r\n"
    + events({**chunk("fi"), "id": "another"}, chunk("né", "stop"), {**COUNTED, "id": "third"}, end="\r\n")
)  # fmt: skip
SLOWLY = "Dönde está".encode()
TAKEN: dict[str, tuple[str, bytes | Reply, dict[str, Any]]] = {
    "length": (CHAT, completion(choice("half", "length")), {"answer": "half", "answer_finish_reason": "length"}),
    "content_filter": (CHAT, completion(choice("ha", "content_filter")), {"answer_finish_reason": "content_filter"}),
    "null": (CHAT, completion(choice(None)), {"answer": None, "answer_finish_reason": "stop"}),
    "refusal": (CHAT, completion(choice(None, refusal="I cannot")), {"answer": None, "answer_refusal": "I cannot"}),
    "tool calls": (
        CHAT + "tools: [{name: find}]\n",
        completion(choice(None, "tool_calls", tool_calls=CALLS)),
        {"answer_finish_reason": "tool_calls", "answer_tool_calls": [
            {"id": "c1", "name": "find", "arguments": '{"a": 1}'}]},
    ),
    "usage chunk without choices": (STREAM, USAGE_CHUNK, {"answer": "fine", "answer_finish_reason": "stop"}),
    "streamed length": (STREAM, events(chunk("ha"), chunk(None, "length")), {"answer_finish_reason": "length"}),
    "streamed refusal": (
        STREAM,
        events({**chunk(), "choices": [{"index": 0, "delta": {"refusal": "no"}}]}, chunk(None, "stop")),
        {"answer": None, "answer_refusal": "no"},
    ),
    "no [DONE] after a finish reason": (STREAM, events(chunk("fine", "stop"), done=False), {"answer": "fine"}),
    "character by character": (
        STREAM, events(*(chunk(mark) for mark in "Dónde"), chunk(None, "stop")), {"answer": "Dónde"}),
    "CRLF, comments, BOM, chunks of other ids": (STREAM, ODD, {"answer": "finé"}),
    "shuffled": (EMBED.replace("batch_size: 1", "batch_size: 3"),
                 vectors(*(one(1, n, index=n) for n in (2, 0, 1))), {"embedding": [[1, 0], [1, 1], [1, 2]]}),
    "floats": (EMBED, vectors({"index": 0, "embedding": [1.0, 0.5]}), {"embedding": [[1, 0.5]]}),
    "text/plain": (EMBED, raw(GOOD, "text/plain"), {"embedding": [[1, 0]]}),
    "BOM": (EMBED, raw(b"\xef\xbb\xbf" + GOOD), {"embedding": [[1, 0]]}),
    "no content type": (
        EMBED, Reply(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(GOOD) + GOOD), {"embedding": [[1, 0]]}),
}  # fmt: skip
"""Rows 7 to 10: answers that are odd and whole; they are paid for, so they are taken."""


@pytest.mark.parametrize("name", TAKEN)
def test_what_is_odd_and_whole_is_taken_at_the_first_request(bench: Judged, name: str) -> None:
    step, body, expected = TAKEN[name]
    answer = body if isinstance(body, Reply) else streamed(body) if step is STREAM else raw(body)
    bench.answer(lambda _: answer)
    rows = max((len(value) for value in expected.values() if isinstance(value, list) and name == "shuffled"), default=1)
    bench.pipeline(step, [*"abc"][:rows])
    record = bench.bench.run()
    assert record.account is not None
    assert (record.account.written, record.account.failed) == (rows, 0)
    assert len(bench.server.seen) == 1
    result = bench.bench.result()
    for column, value in expected.items():
        found: Any = result[column].to_list()
        assert found == (value if column == "embedding" else [value]), column


def test_a_stream_split_inside_characters_is_put_together(bench: Judged) -> None:
    """Row 10: pieces of one byte each, so that every character and every line end is split."""
    body = events(chunk("Dónde está"), chunk(None, "stop"))
    pieces = b"".join(b"1\r\n" + body[place : place + 1] + b"\r\n" for place in range(len(body)))
    bench.answer(lambda _: Reply(CHUNKED + pieces + b"0\r\n\r\n"))
    bench.pipeline(STREAM, ["one"])
    bench.bench.run()
    assert bench.bench.result()["answer"].to_list() == ["Dónde está"]


TOPIC = CHAT + (
    "response_format: {json_schema: {type: object, properties: {topic: {type: string}}, required: [topic], "
    "additionalProperties: false}}\n"
)


@pytest.mark.parametrize(("repair", "requests"), [(0, 1), (2, 3)])
def test_a_structured_answer_that_does_not_fit_is_asked_again_up_to_repair_times(
    bench: Judged, repair: int, requests: int
) -> None:
    """Row 9."""
    bench.answer(lambda _: raw(completion(choice('{"subject": 1}'))))
    bench.pipeline(f"{TOPIC}repair: {repair}\n", ["one"])
    record = bench.bench.run()
    (failed,) = bench.bench.errors(record).to_dicts()
    assert (failed["cause"], failed["attempts"]) == ("invalid_answer", requests)
    assert len(bench.server.seen) == requests
    assert all("topic" in seen.json["messages"][-1]["content"] for seen in bench.server.seen[1:])
    assert record.usage.prompt_tokens == 5 * requests, "all of it was paid for"


@pytest.mark.parametrize("kind", ["embed", "chat", "stream"])
def test_a_server_that_sends_a_byte_now_and_then_is_given_up_at_the_deadline(bench: Judged, kind: str) -> None:
    """Row 11: its silences are shorter than `read`, so the deadline in all must end it (for streams, an hour)."""
    drip = CHUNKED + b"1\r\n \r\n"
    bench.server.drips = (b"1\r\n \r\n", 0.05)
    bench.answer(lambda seen: Reply(drip, then="drip") if texts_of(seen) == ["bad"] else good(seen))
    bench.pipeline(STEPS[kind], ["fine", "bad"])
    if kind == "stream":
        bench.pipeline(STREAM, ["fine", "bad"], more="stop_above: 100%, stop_after: 1s")
    began = time.monotonic()
    with bench.bench.open() as session:
        if kind == "stream":
            with pytest.raises(RunStopped, match="no request has succeeded"):
                run_inline(session)
            assert time.monotonic() - began < 8
            return
        record = run_inline(session)
    (failed,) = bench.bench.errors(record).to_dicts()
    assert (failed["cause"], failed["attempts"]) == ("timeout", 3)
    assert bench.sent() == {"fine": 1, "bad": 3}
    assert time.monotonic() - began < 5


def test_no_success_for_a_while_stops_the_run_with_the_causes_counted(bench: Judged) -> None:
    """Row 12."""
    bench.answer(lambda seen: good(seen) if texts_of(seen) == ["fine"] else error(503))
    bench.pipeline(
        EMBED,
        ["fine", "a", "b"],
        provider=PROVIDER.replace("attempts: 3", "attempts: 100").replace("10ms", "200ms"),
        more="stop_after: 1s",
    )
    with bench.bench.open() as session, pytest.raises(RunStopped, match=r"for 1\..*s \(503: \d+\)\. Resume when"):
        run_inline(session)
    assert (session.record.reason, int(exit_code(session.record))) == ("no_success", 3)
    bench.answer(good)
    assert bench.bench.run().account.written == 3  # type: ignore[union-attr]  # it is complete
    assert bench.sent()["fine"] == 1


def test_a_bug_stops_the_run_with_its_traceback_and_is_no_bad_row(
    bench: Judged, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 13."""
    from penstock.steps.embed import Embed

    def read(*_: object) -> None:
        raise TypeError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr(Embed, "read", read)
        bench.pipeline(EMBED, ["one", "two"])
        with bench.bench.open() as session, pytest.raises(TypeError, match="a bug") as caught:
            run_inline(session)
    assert "read" in [entry.name for entry in caught.traceback]
    assert (session.record.status.value, session.record.account) == ("failed", None)
    assert bench.sent() == {"one": 1}
    record = bench.bench.run()
    assert record.account is not None
    assert (record.account.written, record.account.failed) == (2, 0)


def test_one_attempt_is_one_request_whatever_comes(bench: Judged) -> None:
    answers = [error(500), Reply(then="reset"), raw(HTML), Reply(then="hold")]
    bench.answer(lambda seen: answers[seen.number])
    bench.pipeline(EMBED, [*"abcd"], provider=PROVIDER.replace("attempts: 3", "attempts: 1"))
    errors = bench.bench.errors(bench.bench.run())
    assert bench.sent() == {"a": 1, "b": 1, "c": 1, "d": 1}
    assert sorted(errors["cause"]) == ["connection", "server_error", "timeout", "unusable_answer"]
    assert set(errors["attempts"]) == {1}
