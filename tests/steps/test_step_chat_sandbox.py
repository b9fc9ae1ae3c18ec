"""`chat` over HTTP against the sandbox: what the step sends is taken, and what comes back becomes columns."""

from __future__ import annotations

import http.client
import json
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from penstock.errors import AskAgain, InvalidAnswer, UnusableAnswer
from penstock.items import Answer
from penstock.sandbox.launch import SandboxProcess, start

Make = Callable[[str], Any]
CLASSIFY = """
uses: chat
model: gpt-4o-mini
prompt: "{{ body }}"
response_format:
  json_schema:
    type: object
    properties:
      topic: {type: string, enum: [billing, technical, shipping]}
      order: {type: [integer, "null"]}
      amounts: {type: array, items: {type: number}}
    required: [topic, order, amounts]
    additionalProperties: false
"""
TICKET = "The invoice for order: 4711 is wrong, my card was charged $12.50 twice."


@pytest.fixture(scope="module")
def running() -> Iterator[SandboxProcess]:
    with start() as process:
        yield process


@pytest.fixture
def server(running: SandboxProcess) -> SandboxProcess:
    running.change(faults=[])
    return running


def post(server: SandboxProcess, body: bytes) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    headers = {"authorization": f"Bearer {server.key}", "content-type": "application/json"}
    try:
        connection.request("POST", "/v1/chat/completions", body, headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def ask(server: SandboxProcess, chat: Any, payload: str) -> Answer:
    status, answer = post(server, chat.body([payload]))
    assert status == 200, answer
    read: Answer = chat.read(answer, [payload])
    return read


def payload_of(chat: Any, **row: Any) -> str:
    payload: str = chat.payloads(pl.DataFrame([row]))[0]
    return payload


def answer(server: SandboxProcess, chat: Any, **row: Any) -> dict[str, Any]:
    found: list[dict[str, Any]] = ask(server, chat, payload_of(chat, **row)).columns.batch().to_pylist()
    return found[0]


@pytest.mark.parametrize("stream", ["false", "true"])
def test_a_ticket_is_classified_into_typed_columns(server: SandboxProcess, step_of: Make, stream: str) -> None:
    found = answer(server, step_of(f"{CLASSIFY}unpack: true\nstream: {stream}"), body=TICKET)
    assert found["topic"] == "billing"
    assert found["order"] == 4711
    assert found["amounts"][:2] == [4711.0, 12.5]
    assert (found["answer_finish_reason"], found["answer_refusal"]) == ("stop", None)


@pytest.mark.parametrize("stream", ["false", "true"])
def test_tokens_are_counted_as_the_server_counts_them(server: SandboxProcess, step_of: Make, stream: str) -> None:
    from penstock.tokens import counter

    chat = step_of(f"{CLASSIFY}stream: {stream}")
    payload = payload_of(chat, body=TICKET)
    usage = ask(server, chat, payload).usage
    assert usage.completion_tokens > 5
    assert chat.tokens([payload], counter(chat.model).count_many)[0] == pytest.approx(usage.prompt_tokens, abs=40)


@pytest.mark.parametrize("stream", ["false", "true"])
def test_several_answers_come_as_lists(server: SandboxProcess, step_of: Make, stream: str) -> None:
    found = answer(server, step_of(f"{CLASSIFY}n: 3\nstream: {stream}"), body=TICKET)
    assert len(found["answer"]) == len(found["answer_finish_reason"]) == 3
    assert {one["topic"] for one in found["answer"]} <= {"billing", "technical", "shipping"}


@pytest.mark.parametrize("stream", ["false", "true"])
def test_a_tool_is_called(server: SandboxProcess, step_of: Make, stream: str) -> None:
    chat = step_of(f"""
        uses: chat
        model: gpt-4o
        prompt: "{{{{ body }}}}"
        stream: {stream}
        tool_choice: find_order
        tools:
          - name: find_order
            description: Finds an order by its number.
            strict: true
            parameters:
              type: object
              properties: {{number: {{type: integer}}}}
              required: [number]
              additionalProperties: false
    """)
    found = answer(server, chat, body="Where is order number 4711?")
    (call,) = found["answer_tool_calls"]
    assert (call["name"], json.loads(call["arguments"])) == ("find_order", {"number": 4711})
    assert call["id"].startswith("call_")
    assert found["answer"] is None


@pytest.mark.parametrize("stream", ["false", "true"])
def test_an_answer_may_be_cut_by_its_length(server: SandboxProcess, step_of: Make, stream: str) -> None:
    plain = 'uses: chat\nmodel: gpt-4o-mini\nprompt: "Repeat: {{ body }}"\nmax_tokens: 3\n'
    found = answer(server, step_of(f"{plain}stream: {stream}"), body="one two three four five")
    assert (found["answer"], found["answer_finish_reason"]) == ("one two three", "length")
    with pytest.raises(AskAgain, match="cut off"):
        answer(server, step_of(f"{CLASSIFY}max_tokens: 3\nstream: {stream}"), body=TICKET)


def test_models_that_think_take_the_bound_by_its_other_name(server: SandboxProcess, step_of: Make) -> None:
    chat = step_of('uses: chat\nmodel: o4-mini\nprompt: "Repeat: {{ body }}"\nmax_tokens: 900\nreasoning_effort: low')
    assert answer(server, chat, body="one two")["answer"] == "one two"


def test_log_probabilities_come_with_their_alternatives(server: SandboxProcess, step_of: Make) -> None:
    chat = step_of('uses: chat\nmodel: gpt-4o-mini\nprompt: "Repeat: {{ body }}"\nlogprobs: true\ntop_logprobs: 2')
    (first, second) = answer(server, chat, body="one two")["answer_logprobs"]
    assert (first["token"], second["token"]) == ("one", " two")
    assert first["logprob"] < 0
    assert len(first["top_logprobs"]) == 2


def test_json_mode_gives_an_object_as_text(server: SandboxProcess, step_of: Make) -> None:
    chat = step_of(
        "uses: chat\nmodel: gpt-4o-mini\nresponse_format: json_object\n"
        "prompt: 'Answer in JSON with the keys \"name\": {{ body }}'"
    )
    assert "name" in json.loads(answer(server, chat, body="Name: Ann")["answer"])


def test_messages_of_every_kind_are_taken(server: SandboxProcess, step_of: Make) -> None:
    chat = step_of("uses: chat\nmodel: gpt-4o-mini\nmessages_column: talk")
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    talk = [
        {"role": "system", "content": "Be terse.", "name": None, "tool_calls": None, "tool_call_id": None},
        {"role": "user", "content": "What is the weather?", "name": "ann", "tool_calls": None, "tool_call_id": None},
        {"role": "assistant", "content": None, "name": None, "tool_calls": [call], "tool_call_id": None},
        {"role": "tool", "content": "rain", "name": None, "tool_calls": None, "tool_call_id": "c1"},
    ]
    # Polars infers one struct for all messages, with a null for each field that one of them lacks.
    assert "rain" in answer(server, chat, talk=talk)["answer"]


def png() -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 2, 2, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(6))) + chunk(b"IEND", b"")


def test_an_image_file_reaches_the_server(server: SandboxProcess, step_of: Make, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png())
    chat = step_of(f"""
        uses: chat
        model: gpt-4o
        image_folder: {tmp_path}
        messages:
          - role: user
            content:
              - {{text: "Repeat: {{{{ body }}}}"}}
              - {{image: "{{{{ photo }}}}", detail: low}}
    """)
    with_picture = ask(server, chat, payload_of(chat, body="seen", photo="a.png"))
    without = ask(server, chat, payload_of(chat, body="seen", photo=None))
    assert with_picture.columns.batch().to_pylist()[0]["answer"] == "seen"
    assert with_picture.usage.prompt_tokens - without.usage.prompt_tokens == 85


def test_an_answer_that_does_not_fit_is_mended_when_the_server_can(server: SandboxProcess, step_of: Make) -> None:
    chat = step_of(CLASSIFY)
    server.change(faults=["off-schema:x1"])
    with pytest.raises(AskAgain, match="not JSON") as caught:
        ask(server, chat, payload_of(chat, body=TICKET))
    assert ask(server, chat, str(caught.value.payload)).columns.batch().num_rows == 1


@pytest.mark.parametrize("stream", ["false", "true"])
def test_an_answer_that_never_fits_is_given_up(server: SandboxProcess, step_of: Make, stream: str) -> None:
    chat = step_of(f"{CLASSIFY}repair: 1\nstream: {stream}")
    server.change(faults=["off-schema:100%"])
    with pytest.raises(AskAgain) as caught:
        ask(server, chat, payload_of(chat, body=TICKET))
    with pytest.raises(InvalidAnswer, match="after 1 repair: it is not JSON"):
        ask(server, chat, str(caught.value.payload))


@pytest.mark.parametrize("stream", ["false", "true"])
def test_refusals_and_filtered_answers_are_results(server: SandboxProcess, step_of: Make, stream: str) -> None:
    chat = step_of(f"{CLASSIFY}stream: {stream}")
    server.change(faults=["refusal:100%"])
    refused = answer(server, chat, body=TICKET)
    assert (refused["answer"], refused["answer_finish_reason"]) == (None, "stop")
    assert "can't help" in refused["answer_refusal"]
    server.change(faults=["filtered:100%"])
    filtered = answer(server, chat, body=TICKET)
    assert (filtered["answer"], filtered["answer_finish_reason"]) == (None, "content_filter")


@pytest.mark.parametrize(
    ("fault", "stream"),
    [("no-choices", "false"), ("html", "false"), ("text", "false"), ("badjson", "false"), ("empty", "false"),
     ("bom", "false"), ("html", "true"), ("no-choices", "true"), ("stream-cut", "true"), ("stream-error", "true")],
)  # fmt: skip
def test_what_is_no_answer_is_unusable(server: SandboxProcess, step_of: Make, fault: str, stream: str) -> None:
    server.change(faults=[f"{fault}:100%"])
    chat = step_of(f"{CLASSIFY}stream: {stream}")
    with pytest.raises(UnusableAnswer):
        ask(server, chat, payload_of(chat, body=TICKET))


def test_a_stream_that_is_hard_to_read_is_read(server: SandboxProcess, step_of: Make) -> None:
    server.change(faults=["stream-odd:100%"])
    found = answer(server, step_of(f"{CLASSIFY}stream: true"), body=TICKET)
    assert found["answer"]["topic"] == "billing"


def test_the_server_refuses_no_schema_that_was_found_right(server: SandboxProcess, step_of: Make) -> None:
    chat = step_of("""
        uses: chat
        model: gpt-4o
        prompt: "{{ body }}"
        response_format:
          json_schema:
            type: object
            properties:
              people: {type: array, items: {$ref: "#/$defs/person"}}
              when: {anyOf: [{type: string, format: date}, {type: "null"}]}
              share: {type: number, minimum: 0, maximum: 1}
              kind: {enum: [a, b]}
            required: [people, when, share, kind]
            additionalProperties: false
            $defs:
              person:
                type: object
                properties: {name: {type: string}, friends: {type: array, items: {$ref: "#/$defs/person"}}}
                required: [name, friends]
                additionalProperties: false
    """)
    found = answer(server, chat, body="Ann Smith met Bob Jones on 2026-03-04.")["answer"]
    assert found["when"] == "2026-03-04"
    assert found["people"][0].keys() == {"name", "friends"}
