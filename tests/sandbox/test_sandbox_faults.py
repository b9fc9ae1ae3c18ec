"""Every fault, as a client sees it over a real socket."""

from __future__ import annotations

import base64
import json
import math
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from sandbox_requests import embed

from penstock.errors import InputError
from penstock.faults import FAULTS, FaultRule, Kind, parse_faults
from penstock.sandbox.faults import FaultPlan
from penstock.sandbox.launch import SandboxProcess

TEXTS = ["one", "two", "three", "four"]
STATUS = {"429-bare": 429, "quota": 429}


@pytest.fixture(autouse=True)
def _fresh(server: SandboxProcess) -> None:
    server.reset()


def names(kind: Kind) -> list[str]:
    return [name for name, fault in FAULTS.items() if fault.kind is kind]


def raw_request(server: SandboxProcess, fault: str) -> tuple[bytes, str]:
    """What a bare socket receives, and how the connection ended: ``closed``, ``reset`` or ``silent``."""
    body = json.dumps({"model": "tiny", "input": TEXTS}).encode()
    head = (
        "POST /v1/embeddings HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer sk-sandbox\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nx-sandbox-fault: {fault}\r\n\r\n"
    )
    received = b""
    with socket.create_connection(("127.0.0.1", server.port), timeout=0.5) as link:
        link.sendall(head.encode() + body)
        while True:
            try:
                piece = link.recv(65536)
            except ConnectionResetError:
                return received, "reset"
            except TimeoutError:
                return received, "silent"
            if not piece:
                return received, "closed"
            received += piece


def split(received: bytes) -> tuple[dict[str, str], bytes]:
    head, _, body = received.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")[1:]
    return {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}, body


@pytest.mark.parametrize("name", names(Kind.REFUSAL))
def test_refusals_have_their_status_and_a_body_as_the_service_or_a_proxy_sends_it(
    http: httpx.Client, name: str
) -> None:
    answer = embed(http, TEXTS, fault=name)
    assert answer.status_code == STATUS.get(name) or answer.status_code == int(name)
    if name == "502":
        assert answer.headers["content-type"].startswith("text/html")
        assert answer.content.startswith(b"<html>")
    elif name == "504":
        assert answer.headers["content-type"].startswith("text/plain")
    else:
        assert answer.json()["error"].keys() == {"message", "type", "param", "code"}


def test_the_three_kinds_of_429_can_be_told_apart(http: httpx.Client) -> None:
    limited, bare, quota = (embed(http, "a", fault=name) for name in ("429", "429-bare", "quota"))
    assert limited.headers["retry-after"] == "1"
    assert limited.headers["retry-after-ms"] == "250"
    assert limited.json()["error"]["code"] == "rate_limit_exceeded"
    assert bare.json()["error"]["code"] == "rate_limit_exceeded"
    assert bare.headers.keys() == {"date", "content-type", "content-length"}
    assert quota.json()["error"]["code"] == "insufficient_quota"
    assert "retry-after" not in quota.headers


def test_reset_is_a_tcp_reset_and_close_is_not(server: SandboxProcess) -> None:
    for _ in range(20):
        assert raw_request(server, "reset") == (b"", "reset")
        assert raw_request(server, "close") == (b"", "closed")


def test_cut_sends_half_of_what_content_length_promises(server: SandboxProcess) -> None:
    received, end = raw_request(server, "cut")
    headers, body = split(received)
    assert end == "closed"
    assert headers["content-type"] == "application/json"
    assert len(body) == int(headers["content-length"]) // 2


def test_hang_answers_nothing_and_is_over_when_the_client_goes(server: SandboxProcess) -> None:
    assert raw_request(server, "hang") == (b"", "silent")
    deadline = time.monotonic() + 5
    while server.stats()["in_flight"] and time.monotonic() < deadline:
        time.sleep(0.01)
    assert server.stats()["in_flight"] == 0
    assert server.stats()["requests"] == {"/v1/embeddings": {"hang": 1}}


def test_slow_sends_the_good_answer_byte_by_byte(http: httpx.Client) -> None:
    good = embed(http, "a").content
    headers = {"x-sandbox-fault": "slow"}
    started = time.monotonic()
    with http.stream("POST", "/embeddings", json={"model": "tiny", "input": "a"}, headers=headers) as answer:
        pieces = list(answer.iter_raw())
    assert b"".join(pieces) == good
    assert len(pieces) > len(good) / 2
    assert time.monotonic() - started > 0.009 * len(good)


def test_a_slow_answer_ends_with_its_client(server: SandboxProcess, http: httpx.Client) -> None:
    headers = {"x-sandbox-fault": "slow"}
    with http.stream("POST", "/embeddings", json={"model": "tiny", "input": TEXTS * 9}, headers=headers) as answer:
        next(answer.iter_raw())
    deadline = time.monotonic() + 5
    while server.stats()["in_flight"] and time.monotonic() < deadline:
        time.sleep(0.01)
    assert server.stats()["in_flight"] == 0


def test_bodies_that_are_no_json(http: httpx.Client) -> None:
    html, text, cut, marked, empty = (
        embed(http, TEXTS, fault=name) for name in ("html", "text", "badjson", "bom", "empty")
    )
    assert {answer.status_code for answer in (html, text, cut, marked, empty)} == {200}
    assert html.headers["content-type"].startswith("text/html")
    assert text.headers["content-type"].startswith("text/plain")
    good = embed(http, TEXTS).content
    assert cut.content == good[: len(good) // 2]
    assert cut.headers["content-type"] == "application/json"
    assert marked.content == b"\xef\xbb\xbf" + good
    assert empty.content == b""


def vectors(data: list[dict[str, Any]]) -> list[list[float]]:
    found = []
    for item in data:
        value = item["embedding"]
        if isinstance(value, str):
            raw = base64.b64decode(value)
            value = list(struct.unpack(f"<{len(raw) // 4}f", raw))
        found.append(value)
    return found


CHECKS: dict[str, Callable[[list[dict[str, Any]]], bool]] = {
    "floats": lambda data: all(isinstance(item["embedding"], list) for item in data),
    "shuffled": lambda data: [item["index"] for item in data] == [3, 2, 1, 0],
    "one-short": lambda data: [item["index"] for item in data] == [0, 1, 2],
    "one-over": lambda data: [item["index"] for item in data] == [0, 1, 2, 3, 4],
    "bad-index": lambda data: sorted(item["index"] for item in data) == [0, 0, 1, 2],
    "wrong-dim": lambda data: sorted(map(len, vectors(data))) == [7, 8, 8, 8],
    "nan": lambda data: sum(any(map(math.isnan, vector)) for vector in vectors(data)) == 1,
    "inf": lambda data: sum(any(map(math.isinf, vector)) for vector in vectors(data)) == 1,
    "zeros": lambda data: sum(not any(vector) for vector in vectors(data)) == 1,
}


@pytest.mark.parametrize("encoding", ["base64", "float"])
@pytest.mark.parametrize("name", names(Kind.VECTORS))
def test_vectors_that_are_not_what_was_asked_for(http: httpx.Client, name: str, encoding: str) -> None:
    answer = embed(http, TEXTS, fault=name, encoding_format=encoding)
    assert answer.status_code == 200
    data = answer.json()["data"]
    assert CHECKS[name](data)
    if name == "shuffled":
        good = embed(http, TEXTS, encoding_format=encoding).json()["data"]
        assert sorted(data, key=lambda item: item["index"]) == good


def test_every_fault_is_harmless_to_the_next_request(server: SandboxProcess, http: httpx.Client) -> None:
    good = embed(http, TEXTS).content
    for name in FAULTS:
        if name not in ("hang", "slow"):
            raw_request(server, name) if FAULTS[name].kind is Kind.TRANSPORT else embed(http, TEXTS, fault=name)
        assert embed(http, TEXTS).content == good


def test_vector_faults_leave_answers_without_vectors_alone(http: httpx.Client) -> None:
    good = http.get("/models")
    assert http.get("/models", headers={"x-sandbox-fault": "nan"}).content == good.content
    assert http.get("/models", headers={"x-sandbox-fault": "503"}).status_code == 503


def test_an_unknown_fault_is_refused_with_all_names(server: SandboxProcess, http: httpx.Client) -> None:
    answer = embed(http, "a", fault="50")
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["code"] == "unknown_sandbox_fault"
    assert all(name in error["message"] for name in FAULTS)
    with pytest.raises(InputError, match=r"no fault named 'nam'\. Did you mean nan"):
        server.change(faults=["nam:5%"])


@pytest.mark.parametrize("text", ["", "429", "429:", "429:x", "429:-1%", "429:101%", "429:x-3", "boom:5%", "429:5%:1"])
def test_a_rule_that_says_nothing_clear_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        FaultRule.parse(text)


def test_shares_over_a_hundred_per_cent_are_refused() -> None:
    with pytest.raises(InputError, match="add up to 110%"):
        parse_faults(["429:60%", "500:50%"])
    assert len(parse_faults(["429:60%", "500:0.4"])) == 2


def test_counted_faults_come_first_and_in_the_order_given(server: SandboxProcess, http: httpx.Client) -> None:
    server.change(faults=["500:x2", "429:x1"])
    assert [embed(http, "a").status_code for _ in range(5)] == [500, 500, 429, 200, 200]


def test_the_same_seed_fails_the_same_requests_and_shares_are_kept() -> None:
    rules = parse_faults(["429:5%", "reset:1%"])

    def draws(seed: int) -> list[str | None]:
        plan = FaultPlan(rules, seed)
        return [plan.draw() for _ in range(20_000)]

    assert draws(1) == draws(1) != draws(2)
    counts = Counter(draws(1))
    assert counts["429"] == pytest.approx(1000, rel=0.15)
    assert counts["reset"] == pytest.approx(200, rel=0.3)


def test_faults_change_while_the_server_runs(server: SandboxProcess, http: httpx.Client) -> None:
    now = server.change(faults=["503:100%"], latency="10ms..20ms", seed=3, poison=["x"])
    assert now == {"faults": ["503:100%"], "latency": [0.01, 0.02], "poison": ["x"], "seed": 3}
    assert embed(http, "a").status_code == 503
    assert server.change(faults=[]) == now | {"faults": []}
    server.reset()
    assert embed(http, "x").status_code == 200


@pytest.mark.parametrize(
    "fields",
    [{"fault": []}, {"faults": "500:x1"}, {"seed": "1"}, {"latency": []}, {"latency": "soon"}, {"poison": [""]}],
)
def test_a_wrong_change_is_refused_and_changes_nothing(server: SandboxProcess, fields: dict[str, object]) -> None:
    before = server.change()
    with pytest.raises(InputError):
        server.change(**fields)
    assert server.change() == before


def test_web_pages_cannot_change_faults(server: SandboxProcess) -> None:
    with httpx.Client(base_url=server.url.removesuffix("/v1")) as client:
        for path in ("/_sandbox/faults", "/_sandbox/reset"):
            assert client.post(path, json={}, headers={"Origin": "http://evil.example"}).status_code == 403


def test_a_poisoned_input_refuses_its_whole_request(http: httpx.Client) -> None:
    answer = embed(http, ["fine", "a bit of arsenic", "fine too"])
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert "arsenic" not in answer.text
    assert embed(http, ["fine", "fine too"]).status_code == 200


def test_latency_holds_answers_back_within_its_range(server: SandboxProcess, http: httpx.Client) -> None:
    server.change(latency="50ms..90ms")
    for _ in range(5):
        started = time.monotonic()
        embed(http, "a")
        assert 0.05 <= time.monotonic() - started < 0.5
