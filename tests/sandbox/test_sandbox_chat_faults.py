"""Faults strike chat completions too, whole and streamed, and there are faults of their own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from penstock.faults import FAULTS, Kind
from penstock.sandbox.launch import SandboxProcess

ASKED: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Repeat: one two three four"}]}
SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
FORMAT = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}


@pytest.fixture
def client(server: SandboxProcess) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.url, api_key=server.key, max_retries=0) as client:
        yield client


def post(http: httpx.Client, fault: str, **fields: Any) -> httpx.Response:
    return http.post("/chat/completions", json=ASKED | fields, headers={"x-sandbox-fault": fault})


def choice(http: httpx.Client, fault: str, **fields: Any) -> dict[str, Any]:
    found: dict[str, Any] = post(http, fault, **fields).json()["choices"][0]
    return found


def events(answer: httpx.Response) -> list[str]:
    return [event.removeprefix("data: ") for event in answer.text.split("\n\n") if event]


@pytest.mark.parametrize("name", [name for name, fault in FAULTS.items() if fault.kind is Kind.REFUSAL])
@pytest.mark.parametrize("stream", [False, True])
def test_refusals_refuse(http: httpx.Client, name: str, stream: bool) -> None:
    answer = post(http, name, stream=stream)
    assert str(answer.status_code) == name.removesuffix("-bare").replace("quota", "429")


@pytest.mark.parametrize("stream", [False, True])
def test_bodies_are_garbled(http: httpx.Client, stream: bool) -> None:
    good = http.post("/chat/completions", json=ASKED | {"stream": stream})
    assert post(http, "html", stream=stream).headers["content-type"].startswith("text/html")
    assert post(http, "text", stream=stream).headers["content-type"].startswith("text/plain")
    assert post(http, "empty", stream=stream).content == b""
    assert post(http, "bom", stream=stream).content.startswith(b"\xef\xbb\xbf")
    assert abs(len(post(http, "badjson", stream=stream).content) - len(good.content) // 2) < 50
    assert post(http, "nan", stream=stream).status_code == 200


@pytest.mark.parametrize("name", ["reset", "close", "cut"])
@pytest.mark.parametrize("stream", [False, True])
def test_connections_break(http: httpx.Client, name: str, stream: bool) -> None:
    with pytest.raises(httpx.TransportError):
        post(http, name, stream=stream)


def test_choices_that_are_no_answers(http: httpx.Client) -> None:
    assert post(http, "no-choices").json()["choices"] == []
    refused = choice(http, "refusal")
    assert refused["message"]["content"] is None
    assert refused["message"]["refusal"]
    filtered = choice(http, "filtered")
    assert filtered["finish_reason"] == "content_filter"
    assert filtered["message"]["content"] == "one two t"
    assert choice(http, "stream-cut")["finish_reason"] == "stop"
    with pytest.raises(json.JSONDecodeError):
        json.loads(choice(http, "off-schema", response_format=FORMAT)["message"]["content"])


def test_a_stream_that_is_cut_has_neither_a_finish_reason_nor_done(http: httpx.Client) -> None:
    found = [json.loads(event) for event in events(post(http, "stream-cut", stream=True))]
    assert any(chunk["choices"][0]["delta"].get("content") for chunk in found)
    assert not any(chunk["choices"][0]["finish_reason"] for chunk in found)


def test_an_error_in_a_stream_is_raised_by_the_official_client(http: httpx.Client, client: openai.OpenAI) -> None:
    assert "error" in json.loads(events(post(http, "stream-error", stream=True))[-1])
    headers = {"x-sandbox-fault": "stream-error"}
    with pytest.raises(openai.APIError, match="had an error"):
        list(client.chat.completions.create(**ASKED, stream=True, extra_headers=headers))


def test_an_odd_stream_says_the_same(http: httpx.Client) -> None:
    answer = post(http, "stream-odd", stream=True)
    assert "\r\n" in answer.text
    lines = [line.removeprefix("data:") for line in answer.text.splitlines() if line.startswith("data:")]
    assert lines[-1] == "[DONE]"
    said = [json.loads(line)["choices"][0]["delta"].get("content") or "" for line in lines[:-1]]
    assert "".join(said) == "one two three four"


@pytest.mark.parametrize("name", ["no-choices", "refusal", "filtered", "off-schema"])
def test_streams_meet_them_too(http: httpx.Client, name: str) -> None:
    found = events(post(http, name, stream=True, response_format=FORMAT))
    assert found[-1] == "[DONE]"
    choices = [one for event in found[:-1] for one in json.loads(event)["choices"]]
    said = "".join(one["delta"].get("content") or "" for one in choices)
    match name:
        case "no-choices":
            assert not choices
        case "refusal":
            assert not said
            assert any(one["delta"].get("refusal") for one in choices)
        case "filtered":
            assert choices[-1]["finish_reason"] == "content_filter"
        case _:
            with pytest.raises(json.JSONDecodeError):
                json.loads(said)


@pytest.mark.parametrize("name", [name for name, fault in FAULTS.items() if fault.kind is Kind.CHAT])
def test_faults_of_chat_leave_other_answers_alone(http: httpx.Client, name: str) -> None:
    good = http.get("/models").content
    assert http.get("/models", headers={"x-sandbox-fault": name}).content == good
    good = http.post("/embeddings", json={"model": "tiny", "input": "a"}).content
    changed = http.post("/embeddings", json={"model": "tiny", "input": "a"}, headers={"x-sandbox-fault": name})
    assert changed.content == good
