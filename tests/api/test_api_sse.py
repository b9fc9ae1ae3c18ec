"""Event streams: bytes in any pieces give the same events, and a stream is an answer only when it is finished."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.api import errors
from penstock.api.chat_objects import ChatChunk, ChatCompletion
from penstock.api.chat_stream import ChatAssembler
from penstock.api.sse import SseEvent, SseParser


def events(*pieces: bytes) -> list[SseEvent]:
    parser = SseParser()
    found = [event for piece in pieces for event in parser.feed(piece)]
    return found + parser.close()


def data(*pieces: bytes) -> list[str]:
    return [event.data for event in events(*pieces)]


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"data: one\n\ndata: two\n\n", ["one", "two"]),
        (b"data: one\r\n\r\ndata: two\r\n\r\n", ["one", "two"]),
        (b"data: one\r\rdata: two\r\r", ["one", "two"]),
        (b"data: one\n\r\ndata: two\r\n\n", ["one", "two"]),
        (b"data:one\n\n", ["one"]),
        (b"data:  one \n\n", [" one "]),
        (b"data: a\ndata: b\ndata\n\n", ["a\nb\n"]),
        (b": keep-alive\n\n: again\ndata: one\n\n", ["one"]),
        (b"\xef\xbb\xbfdata: one\n\n", ["one"]),
        (b"data: one\n\n\xef\xbb\xbfdata: two\n\n", ["one"]),
        (b"data: one", ["one"]),
        (b"data: one\n", ["one"]),
        (b"data: one\r", ["one"]),
        (b"id: 1\nretry: 5\nunknown: x\n\n", []),
        (b"\n\n\n", []),
        (b"", []),
        ("data: \u00e9\u4e16\U0001f30a\n\n".encode(), ["\u00e9\u4e16\U0001f30a"]),
        (b"data: \xff\xfe\n\n", ["\ufffd\ufffd"]),
        (b'data: {"a":\ndata: 1}\n\n', ['{"a":\n1}']),
    ],
)
def test_events_are_read_as_the_standard_says(stream: bytes, expected: list[str]) -> None:
    assert data(stream) == expected
    assert data(*(stream[at : at + 1] for at in range(len(stream)))) == expected


def test_an_event_has_a_type_and_the_last_id() -> None:
    assert events(b"event: error\nid: 7\ndata: x\n\ndata: y\n\n") == [
        SseEvent("x", "error", "7"),
        SseEvent("y", "message", "7"),
    ]


def test_events_come_as_soon_as_they_are_whole() -> None:
    parser = SseParser()
    assert parser.feed(b"data: one\r") == []
    assert [event.data for event in parser.feed(b"\n\r")] == ["one"]
    assert parser.feed(b"\ndata: two\n") == []
    assert [event.data for event in parser.feed(b"\n")] == ["two"]
    assert parser.close() == []


@pytest.mark.parametrize("stream", [b"x" * 200, b"data: 0123456789\n" * 20])
def test_an_endless_event_is_an_error_and_not_memory(stream: bytes) -> None:
    parser = SseParser(max_event=100)
    pieces = [stream[at : at + 7] for at in range(0, len(stream), 7)]
    with pytest.raises(errors.UnusableBody, match="longer than 100 bytes"):
        list(map(parser.feed, pieces))


# Bytes that mean something in a stream are drawn far more often than chance would.
_PIECES = st.sampled_from(
    (
        b"\r",
        b"\n",
        b"\r\n",
        b"\n\n",
        b":",
        b" ",
        b"data",
        b"data: ",
        b"data: {}",
        b"event: error",
        b"id",
        b"\0",
        b"\xef\xbb\xbf",
        b"\xe4\xb8",
        b"\x96",
        b"[DONE]",
        b'data: {"choices": []}\n\n',
        b'data: {"error": {}}\n\n',
    )
)
_STREAMS = st.lists(_PIECES | st.binary(max_size=4), max_size=30).map(b"".join)


@given(_STREAMS, st.lists(st.integers(0, 200), max_size=12))
def test_cutting_the_bytes_anywhere_gives_the_same_events(stream: bytes, cuts: list[int]) -> None:
    places = sorted({min(cut, len(stream)) for cut in cuts} | {0, len(stream)})
    pieces = [stream[begin:end] for begin, end in pairwise(places)]
    assert events(*pieces) == events(stream)


@given(_STREAMS)
def test_any_bytes_give_an_answer_or_an_error_of_the_tree(stream: bytes) -> None:
    with contextlib.suppress(errors.ApiError):
        assert assembled(stream).choices


_KEYS = st.sampled_from(
    (
        "id",
        "choices",
        "delta",
        "index",
        "content",
        "finish_reason",
        "tool_calls",
        "function",
        "usage",
        "error",
        "code",
        "message",
        "status",
        "logprobs",
        "role",
        "model",
    )
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS | st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)


@given(st.lists(_JSON, max_size=4))
def test_any_json_gives_an_answer_or_an_error_of_the_tree(values: list[Any]) -> None:
    with contextlib.suppress(errors.ApiError):
        assert assembled(sse(*values)).choices


def sse(*values: Any, done: bool = True) -> bytes:
    stream = "".join(f"data: {json.dumps(value)}\n\n" for value in values)
    return (stream + ("data: [DONE]\n\n" if done else "")).encode()


def assembled(stream: bytes, choices: int = 1) -> ChatCompletion:
    assembler = ChatAssembler({"x-request-id": "req_7"}, choices=choices)
    for event in events(stream):
        assembler.take(event)
    return assembler.finish()


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, index: int = 0, **more: Any) -> Any:
    choice = {"index": index, "delta": delta or {}, "finish_reason": finish}
    return {"id": "c-1", "object": "chat.completion.chunk", "model": "m", "created": 5, "choices": [choice], **more}


def test_the_pieces_become_the_whole_answer() -> None:
    usage = {"id": "c-1", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}}
    answer = assembled(
        sse(
            chunk({"role": "assistant", "content": ""}, system_fingerprint="fp"),
            chunk({"content": "Hel"}, new_field=1),
            chunk({"content": "lo"}),
            chunk(finish="stop"),
            usage,
        )
    )
    assert (answer.id, answer.model, answer.created, answer.system_fingerprint) == ("c-1", "m", 5, "fp")
    assert answer.text == "Hello"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens == 5
    assert answer.request_id == "req_7"


def test_calls_of_tools_grow_by_their_index() -> None:
    answer = assembled(
        sse(
            chunk({"role": "assistant", "content": None}),
            chunk({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": ""}}]}),
            chunk({"tool_calls": [{"index": 1, "id": "b", "function": {"name": "g", "arguments": "{"}}]}),
            chunk({"tool_calls": [{"index": 0, "function": {"arguments": "[1]"}}]}),
            chunk({"tool_calls": [{"index": 1, "function": {"arguments": "}"}}]}),
            chunk(finish="tool_calls"),
        )
    )
    message = answer.choices[0].message
    assert message.content is None
    calls = [(call.id, call.function.name, call.function.arguments) for call in message.tool_calls or ()]
    assert calls == [("a", "f", "[1]"), ("b", "g", "{}")]


def test_calls_of_tools_without_an_index_grow_by_their_id() -> None:
    pieces = [("a", "f", "1"), (None, None, "2"), ("b", "g", "3"), (None, None, "4")]
    tools = [{"id": name, "function": {"name": function, "arguments": text}} for name, function, text in pieces]
    answer = assembled(sse(*(chunk({"tool_calls": [tool]}) for tool in tools), chunk(finish="tool_calls")))
    calls = [(call.id, call.function.arguments) for call in answer.choices[0].message.tool_calls or ()]
    assert calls == [("a", "12"), ("b", "34")]


def test_a_refusal_and_log_probabilities_are_kept() -> None:
    first = chunk({"refusal": "I ca"})
    first["choices"][0]["logprobs"] = {"content": [{"token": "a"}], "refusal": None}
    second = chunk({"refusal": "nnot"}, finish="stop")
    second["choices"][0]["logprobs"] = {"content": [{"token": "b"}], "refusal": None}
    choice = assembled(sse(first, second)).choices[0]
    assert (choice.message.content, choice.message.refusal) == (None, "I cannot")
    assert choice.logprobs == {"content": [{"token": "a"}, {"token": "b"}], "refusal": None}


def test_several_choices_are_kept_apart() -> None:
    stream = sse(
        chunk({"content": "b"}, index=1), chunk({"content": "a"}), chunk(finish="stop"), chunk(finish="length", index=1)
    )
    answer = assembled(stream, choices=2)
    found = [(choice.index, choice.message.content, choice.finish_reason) for choice in answer.choices]
    assert found == [(0, "a", "stop"), (1, "b", "length")]


def test_a_finish_reason_is_enough_without_done_and_the_ids_may_differ() -> None:
    assert assembled(sse(chunk({"content": "a"}), {**chunk(finish="stop"), "id": "other"}, done=False)).text == "a"


@pytest.mark.parametrize(
    ("values", "done", "choices", "kind"),
    [
        ([], False, 1, errors.ConnectionFailed),
        ([chunk({"content": "short"})], False, 1, errors.ConnectionFailed),
        ([chunk({"content": "short"})], True, 1, errors.UnusableBody),
        ([chunk({"content": "a"}, finish="stop")], False, 2, errors.ConnectionFailed),
        ([chunk({"content": "a"}, finish="stop"), chunk({"content": "b"}, index=1)], True, 1, errors.UnusableBody),
    ],
)
def test_a_stream_without_its_finish_reason_is_a_failure(
    values: Sequence[Any], done: bool, choices: int, kind: type[errors.ApiError]
) -> None:
    with pytest.raises(kind, match="without a finish reason") as got:
        assembled(sse(*values, done=done), choices)
    assert got.value.worth_retrying
    assert got.value.request_id == "req_7"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"message": "slow", "type": "server_error"}, errors.ServerFailed),
        ({"message": "slow", "type": "requests", "code": "rate_limit_exceeded"}, errors.RateLimited),
        ({"message": "broke", "code": "insufficient_quota"}, errors.QuotaExceeded),
        ({"message": "no", "type": "invalid_request_error", "param": "n"}, errors.BadRequest),
        ({"message": "no", "code": 503}, errors.ServerFailed),
        ({"message": "no", "status": 429}, errors.RateLimited),
        ({"message": "no", "code": "nobody knows"}, errors.UnusableBody),
        ("text", errors.UnusableBody),
    ],
)
def test_an_error_as_an_event_is_raised_by_its_kind(error: Any, kind: type[errors.ApiError]) -> None:
    with pytest.raises(errors.ApiError) as got:
        assembled(sse(chunk({"content": "a"}), {"error": error}))
    assert type(got.value) is kind
    assert "inside a success" in got.value.message
    assert got.value.request_id == "req_7"


@pytest.mark.parametrize("text", ["gone", '{"message": "gone", "code": "server_error"}', "[[" * 9000])
def test_an_event_of_the_type_error_is_an_error(text: str) -> None:
    with pytest.raises(errors.ApiError):
        assembled(f"event: error\ndata: {text}\n\n".encode())


@pytest.mark.parametrize("text", ["{", "[]", "7", '{"choices": 7}', '{"choices": [{"index": -1}]}', "[" * 9000])
def test_an_event_that_is_no_chunk_is_unusable(text: str) -> None:
    with pytest.raises(errors.UnusableBody):
        assembled(f"data: {text}\n\n".encode())


def test_a_chunk_keeps_fields_that_nobody_knows() -> None:
    taken = ChatAssembler().take(SseEvent(json.dumps(chunk({"content": "a", "reasoning": "b"}, obfuscation="x"))))
    assert isinstance(taken, ChatChunk)
    assert taken.text == "a"
    assert taken.raw["obfuscation"] == "x"
    assert taken.raw["choices"][0]["delta"]["reasoning"] == "b"
