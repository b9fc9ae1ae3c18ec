"""Answers to `chat`, whole and as events: what is read, and what is no answer."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.errors import InvalidAnswer, UnusableAnswer
from penstock.items import Usage
from penstock.steps.chat import Chat
from penstock.steps.chat_messages import payload

ASKED = payload([{"role": "user", "content": "Hi"}])
USAGE = {"prompt_tokens": 9, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 2}}


def step(**more: Any) -> Chat:
    return Chat.model_validate({"uses": "chat", "model": "m", "prompt": "{{ body }}", "output": "x", **more})


def choice(content: Any = "Hello", *, index: int | None = 0, finish: Any = "stop", **message: Any) -> dict[str, Any]:
    made = {"message": {"role": "assistant", "content": content, **message}, "finish_reason": finish}
    return made if index is None else {"index": index, **made}


def body(*choices: Any, **more: Any) -> bytes:
    return json.dumps({"choices": list(choices), "model": "m-1", "usage": USAGE, **more}).encode()


def row(answer: bytes, **more: Any) -> dict[str, Any]:
    found: list[dict[str, Any]] = step(**more).read(answer, [ASKED]).columns.batch().to_pylist()
    assert len(found) == 1
    return found[0]


def events(*chunks: Any, done: bool = True, end: str = "\n") -> bytes:
    shown = [chunk if isinstance(chunk, str) else json.dumps(chunk) for chunk in chunks]
    return "".join(f"data: {one}{end}{end}" for one in [*shown, *(["[DONE]"] if done else [])]).encode()


def piece(content: str | None = None, *, index: int = 0, finish: str | None = None, **delta: Any) -> dict[str, Any]:
    said = {**({} if content is None else {"content": content}), **delta}
    return {"choices": [{"index": index, "delta": said, "finish_reason": finish}], "model": "m-1"}


LAST = {"choices": [], "usage": USAGE, "model": "m-1"}
HELLO = [piece("", role="assistant"), piece("Hel"), piece("lo"), piece(finish="stop"), LAST]
TOOLS = [{"name": "find"}]


def test_an_answer_is_its_text_and_how_it_ended() -> None:
    assert row(body(choice())) == {"x": "Hello", "x_finish_reason": "stop", "x_refusal": None}


@pytest.mark.parametrize("stream", [False, True])
def test_tokens_and_the_model_are_those_that_the_server_tells(stream: bool) -> None:
    answer = events(*HELLO) if stream else body(choice())
    assert step(stream=stream).read(answer, [ASKED]).usage == Usage("m-1", 9, 4, 2)


@pytest.mark.parametrize(
    "usage",
    [None, {}, 5, "many", {"prompt_tokens": None}, {"prompt_tokens": -4}, {"prompt_tokens": 10**12},
     {"prompt_tokens": True}, {"prompt_tokens_details": []}, {"prompt_tokens_details": {"cached_tokens": "2"}}],
)  # fmt: skip
def test_a_usage_that_is_no_count_costs_no_paid_answer(usage: Any) -> None:
    assert step().read(body(choice(), usage=usage), [ASKED]).usage == Usage("m-1")


@pytest.mark.parametrize("finish", ["stop", "length", "content_filter", "tool_calls", "something_new"])
def test_how_a_text_ended_is_for_the_user_to_judge(finish: str) -> None:
    assert row(body(choice("Hel", finish=finish))) == {"x": "Hel", "x_finish_reason": finish, "x_refusal": None}


def test_what_a_model_does_not_say_is_null() -> None:
    assert row(body(choice(None)))["x"] is None
    assert row(body(choice("")))["x"] == ""
    refused = row(body(choice(None, refusal="I cannot help with that.")))
    assert (refused["x"], refused["x_refusal"]) == (None, "I cannot help with that.")


def test_other_fields_and_parts_of_other_servers_do_no_harm() -> None:
    parts = [{"type": "thinking", "thinking": []}, {"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}, 5]
    other = choice(parts, reasoning_content="Hm", tool_calls=None, index=None)
    assert row(body(other, error=None, service_tier="x", id=None))["x"] == "Hello"


def test_several_answers_stand_in_a_list_in_the_order_of_their_indexes() -> None:
    found = row(body(choice("b", index=1, finish="length"), choice("a", index=0)), n=2)
    assert found == {"x": ["a", "b"], "x_finish_reason": ["stop", "length"], "x_refusal": [None, None]}
    assert row(body(choice("a", index=None), choice("b", index=None)), n=2)["x"] == ["a", "b"]


def test_calls_of_tools_are_kept_as_the_model_wrote_them() -> None:
    calls = [
        {"id": "1", "type": "function", "function": {"name": "find", "arguments": '{"a": '}},
        {"type": "function", "function": {"name": "find", "arguments": {"a": 1}}},
    ]
    found = row(body(choice(None, tool_calls=calls, finish="tool_calls")), tools=TOOLS)
    assert found == {
        "x": None,
        "x_finish_reason": "tool_calls",
        "x_refusal": None,
        "x_tool_calls": [
            {"id": "1", "name": "find", "arguments": '{"a": '},
            {"id": "", "name": "find", "arguments": '{"a":1}'},
        ],
    }
    assert row(body(choice("No need.")), tools=TOOLS)["x_tool_calls"] is None


def test_log_probabilities_are_typed_and_what_is_none_is_left_out() -> None:
    top = [{"token": "a", "logprob": -0.5, "bytes": [97]}, {"logprob": 1}, 5]
    given_logprobs = {
        "content": [{"token": "a", "logprob": -0.5, "top_logprobs": top}, 7, {"token": "b", "logprob": None}]
    }
    found = row(body({**choice("ab"), "logprobs": given_logprobs}), logprobs=True)["x_logprobs"]
    assert found == [
        {"token": "a", "logprob": -0.5, "top_logprobs": [{"token": "a", "logprob": -0.5}]},
        {"token": "b", "logprob": None, "top_logprobs": []},
    ]
    assert row(body(choice()), logprobs=True)["x_logprobs"] is None
    chunks = [piece("a"), piece("b"), piece(finish="stop")]
    for chunk in chunks[:2]:
        chunk["choices"][0]["logprobs"] = {"content": [{"token": "t", "logprob": -1.0}]}
    assert len(row(events(*chunks), logprobs=True, stream=True)["x_logprobs"]) == 2


BAD: dict[str, bytes] = {
    "nothing": b"",
    "HTML": b"<html>502 Bad Gateway</html>",
    "cut JSON": body(choice())[:-20],
    "not UTF-8": b'{"choices": [{"message": {"content": "\xff"}}]}',
    "a list": b"[]",
    "null": b"null",
    "an error object": b'{"error": {"message": "busy", "code": 500}}',
    "an error text": b'{"error": "busy"}',
    "an error among answers": body(choice(), error={"message": "busy"}),
    "an error in a choice": body({**choice(), "error": {"message": "busy"}}),
    "ended by an error": body(choice(finish="error")),
    "no choices": body(),
    "choices are null": body(choices=None),
    "too few": body(choice(index=0)),
    "too many": body(choice(index=0), choice(index=1), choice(index=2)),
    "an index twice": body(choice(index=0), choice(index=0)),
    "an index too high": body(choice(index=0), choice(index=2)),
    "a negative index": body(choice(index=-1), choice(index=0)),
    "no finish reason": body(choice(index=0), choice(index=1, finish=None)),
    "an empty finish reason": body(choice(index=0), choice(index=1, finish="")),
    "no message": body(choice(index=0), {"index": 1, "finish_reason": "stop"}),
    "content is a number": body(choice(index=0), choice(5, index=1)),
    "a call of nothing": body(choice(index=0), choice(None, index=1, tool_calls=[{"id": "1"}])),
    "half a character": b'{"choices": [{"message": {"content": "\\ud800"}, "finish_reason": "stop"}]}',
    "deep": b'{"usage": ' + b"[" * 100_000,
}


@pytest.mark.parametrize("answer", BAD.values(), ids=BAD)
@pytest.mark.parametrize("as_memory", [False, True])
def test_an_answer_that_is_not_whole_and_right_is_unusable(answer: bytes, as_memory: bool) -> None:
    with pytest.raises(UnusableAnswer):
        step(n=2).read(memoryview(answer) if as_memory else answer, [ASKED])


def test_the_servers_own_words_stand_in_the_complaint() -> None:
    with pytest.raises(UnusableAnswer, match="a success with an error in it: busy"):
        step().read(BAD["an error object"], [ASKED])
    with pytest.raises(UnusableAnswer, match="it begins '<html>502"):
        step().read(BAD["HTML"], [ASKED])


def test_a_stream_is_put_together() -> None:
    assert row(events(*HELLO), stream=True) == {"x": "Hello", "x_finish_reason": "stop", "x_refusal": None}


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_comments_fields_and_line_ends_make_no_difference(end: str) -> None:
    odd = "\ufeff: connected" + end * 2 + "".join(
        f"event: message{end}id: 7{end}retry: 5{end}data:{json.dumps(chunk)}{end * 2}: ping{end * 2}" for chunk in HELLO
    )  # fmt: skip
    assert row(odd.encode(), stream=True)["x"] == "Hello"


def test_one_event_may_stand_on_several_lines_and_the_last_may_lack_its_blank_line() -> None:
    text = json.dumps(piece("Hello", finish="stop"), indent=1)
    assert row("\n".join(f"data: {line}" for line in text.split("\n")).encode(), stream=True)["x"] == "Hello"


def test_characters_that_end_lines_elsewhere_are_part_of_the_answer() -> None:
    said = "a\u2028b\u0085c\x0bd"
    answer = f"data: {json.dumps(piece(said, finish='stop'), ensure_ascii=False)}\n\n".encode()
    assert row(answer, stream=True)["x"] == said


def test_a_stream_without_its_last_mark_is_whole_when_every_choice_has_ended() -> None:
    assert row(events(*HELLO, done=False), stream=True)["x"] == "Hello"


def test_chunks_of_several_choices_may_come_in_any_order() -> None:
    chunks = [piece("b", index=1), piece("a", index=0), piece(finish="length", index=1), piece(finish="stop", index=0)]
    assert row(events(*chunks, LAST), stream=True, n=2) == {
        "x": ["a", "b"],
        "x_finish_reason": ["stop", "length"],
        "x_refusal": [None, None],
    }


def test_a_streamed_refusal_is_one() -> None:
    chunks = [piece("", role="assistant"), piece(refusal="I can"), piece(refusal="not."), piece(finish="stop")]
    found = row(events(*chunks), stream=True)
    assert (found["x"], found["x_refusal"]) == (None, "I cannot.")


def called(*calls: dict[str, Any]) -> dict[str, Any]:
    return piece(tool_calls=list(calls))


@pytest.mark.parametrize(
    "pieces",
    [
        [
            called({"index": 0, "id": "1", "function": {"name": "find", "arguments": ""}}),
            called({"index": 0, "function": {"arguments": '{"a"'}}),
            called({"index": 1, "id": "2", "function": {"name": "stop"}}),
            called({"index": 1, "function": {"arguments": "{}"}}, {"index": 0, "function": {"arguments": ":1}"}}),
        ],
        [
            called({"id": "1", "function": {"name": "find", "arguments": '{"a"'}}),
            called({"function": {"arguments": ":"}}),
            called({"id": "", "function": {"arguments": "1}"}}),
            called({"id": "2", "function": {"name": "stop", "arguments": "{}"}}),
        ],
        [
            called({"id": "1", "function": {"name": "find", "arguments": {"a": 1}}}),
            called({"id": "2", "function": {"name": "stop", "arguments": "{}"}}),
        ],
    ],
    ids=["by index", "without indexes", "whole calls"],
)  # fmt: skip
def test_calls_of_tools_are_put_together(pieces: list[dict[str, Any]]) -> None:
    found = row(events(*pieces, piece(finish="tool_calls")), stream=True, tools=TOOLS)
    assert found["x_tool_calls"] == [
        {"id": "1", "name": "find", "arguments": '{"a":1}'},
        {"id": "2", "name": "stop", "arguments": "{}"},
    ]
    assert found["x"] is None


BAD_STREAMS: dict[str, bytes] = {
    "nothing": b"",
    "no events": b"Bad gateway",
    "JSON": body(choice()),
    "an error as JSON": b'{"error": {"message": "busy"}}',
    "cut before the end": events(*HELLO[:3], done=False),
    "ended without a finish reason": events(*HELLO[:3]),
    "only the mark of the end": events(),
    "no choice": events(LAST),
    "an error in an event": events(*HELLO[:2], {"error": {"message": "busy"}}),
    "an event of the kind error": events(*HELLO[:2], done=False) + b"event: error\ndata: busy\n\n",
    "an error in a choice": events(*HELLO[:2], {"choices": [{"index": 0, "error": {"message": "busy"}}]}),
    "an event that is no JSON": events(*HELLO[:2], "busy", *HELLO[2:]),
    "an event that is no chunk": events(*HELLO[:2], "[1]", *HELLO[2:]),
    "another choice": events(piece("a", index=1, finish="stop")),
    "one choice too many": events(*HELLO[:4], piece("a", index=1, finish="stop")),
    "a far choice": events(piece("a", index=10**9, finish="stop")),
    "cut inside a character": events(piece("é"))[:-20],
    "deep": b"data: " + b"[" * 100_000,
}


@pytest.mark.parametrize("answer", BAD_STREAMS.values(), ids=BAD_STREAMS)
def test_a_stream_that_is_not_whole_and_right_is_unusable(answer: bytes) -> None:
    with pytest.raises(UnusableAnswer):
        step(stream=True).read(answer, [ASKED])


@given(st.text(max_size=40), st.data())
def test_a_text_is_the_same_whole_and_in_pieces(text: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=4)))
    parts = [text[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    streamed = row(events(*map(piece, parts), piece(finish="stop"), LAST), stream=True)
    assert streamed == row(body(choice(text)))


@pytest.mark.parametrize("size", [4_000_000])
def test_a_long_stream_is_read_in_a_time_that_grows_with_its_length(size: int) -> None:
    calls = [called({"index": number, "function": {"name": "f", "arguments": "x"}}) for number in range(100)]
    long = [called({"index": 99, "function": {"arguments": "y" * 40}})] * (size // 150)
    found = row(events(*calls, *long, piece(finish="stop")), stream=True, tools=TOOLS)
    assert len(found["x_tool_calls"][99]["arguments"]) == 1 + 40 * len(long)


KEYS = st.sampled_from(
    ["choices", "message", "delta", "content", "index", "finish_reason", "tool_calls", "function", "name", "arguments",
     "refusal", "usage", "logprobs", "error", "model", "id"]
)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 3) | st.floats() | st.text(max_size=4) | st.just("stop"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=15,
)
LIKELY = st.builds(
    lambda message, finish, more, top: {
        "choices": [{"message": message, "delta": message, "finish_reason": finish, **more}], **top
    },
    st.dictionaries(KEYS, JSON, max_size=4),
    st.sampled_from(["stop", "length", None, 5]),
    st.dictionaries(st.sampled_from(["index", "logprobs", "error"]), JSON, max_size=2),
    st.dictionaries(st.sampled_from(["usage", "model", "error"]), JSON, max_size=2),
)  # fmt: skip
FORMS = st.sampled_from(
    [{}, {"n": 2}, {"tools": TOOLS, "logprobs": True}, {"response_format": "json_object", "prompt": "JSON {{ a }}"}]
)


@settings(max_examples=300)
@given(st.lists(JSON | LIKELY, max_size=3), st.binary(max_size=30), st.booleans(), st.booleans(), FORMS)
def test_any_body_is_an_answer_or_no_usable_one(
    values: list[Any], noise: bytes, stream: bool, clean: bool, form: dict[str, Any]
) -> None:
    text = events(*values) if stream else json.dumps(values[0] if values else None).encode()
    answer = text if clean else text + noise
    try:
        found = step(stream=stream, **form).read(answer, [ASKED])
    except UnusableAnswer:
        return
    batch = found.columns.batch()
    assert batch.num_rows == 1
    assert math.isfinite(found.usage.prompt_tokens)
    batch.validate(full=True)


def test_json_mode_wants_an_object_and_keeps_its_text() -> None:
    form = {"response_format": "json_object", "prompt": "JSON of {{ body }}", "repair": 0}
    assert row(body(choice('{"a": 1.50}')), **form)["x"] == '{"a": 1.50}'
    for wrong in ("[1]", "Sure!", "", '{"a": NaN}'):
        with pytest.raises(InvalidAnswer):
            row(body(choice(wrong)), **form)
