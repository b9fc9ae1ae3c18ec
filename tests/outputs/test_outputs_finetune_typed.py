"""The fast ways take no line that the exact one finds something in, and read what they take as it does."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.outputs.finetune.checks import check_example
from penstock.outputs.finetune.example import Example, example_of
from penstock.outputs.finetune.limits import Rules
from penstock.outputs.finetune.shapes import read_object
from penstock.outputs.finetune.typed import typed_chat, typed_preference

RULES = Rules.of("gpt-4o-2024-08-06", tokens=False)
TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}}
    for name in ("find", "ask")
]
USER = {"role": "user", "content": 'Where "is" it?'}
ANSWER = {"role": "assistant", "content": "On its way."}


def call(number: str = "c1", name: str = "find", arguments: str = '{"a": 1}') -> dict[str, Any]:
    return {"id": number, "type": "function", "function": {"name": name, "arguments": arguments}}


def calling(*calls: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "tool_calls": list(calls), **more}


def found(number: str = "c1") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": number, "content": '{"state": "here"}'}


CHATS = {
    "a call and its answer": {"messages": [USER, calling(call()), found(), ANSWER], "tools": TOOLS},
    "two calls": {
        "messages": [USER, calling(call("a"), call("b", "ask", "{}")), found("b"), found("a"), ANSWER],
        "tools": TOOLS,
        "parallel_tool_calls": False,
    },
    "a call that is learned": {"messages": [USER, calling(call())], "tools": TOOLS},
    "weights": {"messages": [USER, {**ANSWER, "weight": 0}, USER, {**ANSWER, "weight": 1}]},
    "no content at all": {"messages": [USER, {"role": "assistant", "tool_calls": [call()]}], "tools": TOOLS},
}
PREFERENCES = {
    "plain": {
        "input": {"messages": [USER]},
        "preferred_output": [ANSWER],
        "non_preferred_output": [{"role": "assistant", "content": "I do not know."}],
    },
    "tools": {
        "input": {"messages": [USER, calling(call()), found()], "tools": TOOLS},
        "preferred_output": [ANSWER],
        "non_preferred_output": [{"role": "assistant", "content": "No \\ idea."}],
    },
}


def same(one: Example, other: Example | None) -> bool:
    return other is not None and [*one.roles] == [*other.roles] and [*one.texts] == [*other.texts] and (
        one.context, one.other_output, one.digests
    ) == (other.context, other.other_output, other.digests)  # fmt: skip


@pytest.mark.parametrize("name", [*CHATS, *PREFERENCES])
@pytest.mark.parametrize("spaced", [True, False])
def test_usual_lines_are_read_by_their_types_and_as_the_exact_way_reads_them(name: str, spaced: bool) -> None:
    value = {**CHATS, **PREFERENCES}[name]
    line = json.dumps(value, separators=(", ", ": ") if spaced else (",", ":")).encode()
    example = typed_chat(line) if name in CHATS else typed_preference(line)
    assert example is not None
    assert same(example, example_of(value))


TEXTS = st.sampled_from(["a", "", " ", '"', "\\", "<|im_end|>", "é", "find", "c1", "\ud83d"])
ARGUMENTS = st.sampled_from(["{}", '{"a": 1}', "[]", "{", "", '{"a": 01}', '{"\\x": 1}', "null"])
NAMES = st.sampled_from(["find", "ask", "lose", "", "a b"])
CALLS = st.builds(call, st.sampled_from(["c1", "c2"]), NAMES, ARGUMENTS) | st.just({"id": "c1"})
MESSAGES = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "user", "assistant", "assistant", "tool", "bot"])},
    optional={
        "content": TEXTS | st.none() | st.just([{"type": "text", "text": "a"}]),
        "tool_calls": st.lists(CALLS, max_size=2) | st.none(),
        "tool_call_id": st.sampled_from(["c1", "c2", 3]),
        "weight": st.sampled_from([0, 1, 1.0, True, 2, None]),
        "name": st.just("ann"),
    },
)
GOOD = st.sampled_from([USER, ANSWER, calling(call()), found(), {**ANSWER, "weight": 0}, calling(call("c2", "ask"))])
TOOL_LISTS = st.sampled_from([TOOLS, [], [*TOOLS, TOOLS[0]], {}, [{"type": "function"}], None, TOOLS[:1]])
CHAT_LINES = st.fixed_dictionaries(
    {"messages": st.lists(GOOD | GOOD | MESSAGES, max_size=5)},
    optional={"tools": st.just(TOOLS) | TOOL_LISTS, "parallel_tool_calls": st.sampled_from([True, 1]), "x": st.just(1)},
)
OUTPUTS = st.lists(st.just(ANSWER) | GOOD | MESSAGES, max_size=2)
PREFERENCE_LINES = st.fixed_dictionaries(
    {"input": CHAT_LINES | st.none(), "preferred_output": OUTPUTS},
    optional={"non_preferred_output": OUTPUTS | st.just([{"role": "assistant", "content": "No."}]), "x": st.just(1)},
)


@settings(max_examples=250)
@given(CHAT_LINES | PREFERENCE_LINES, st.booleans(), st.sampled_from(["", '"tools": 1, ', '"messages": [], ']))
def test_the_fast_ways_take_no_line_that_the_exact_one_finds_something_in(
    value: dict[str, Any], ascii_only: bool, twice: str
) -> None:
    text = "{" + twice + json.dumps(value, ensure_ascii=ascii_only)[1:]
    line = text.encode("utf-8", "surrogatepass")
    for form, read in (("chat", typed_chat), ("preference", typed_preference)):
        example = read(line)
        if example is not None:
            exact, problems = read_object(line, 1)
            assert not problems
            assert list(check_example(exact, form, RULES)) == []  # type: ignore[arg-type]
            assert same(example, example_of(exact))


def test_a_key_that_stands_twice_is_left_to_the_exact_way() -> None:
    line = json.dumps(CHATS["a call and its answer"])
    message = line.replace('"content": null', '"content": "a", "content": null', 1)
    whole = line.replace('"messages":', '"tools": [], "messages":', 1)
    call_twice = line.replace('"id": "c1"', '"id": "c0", "id": "c1"', 1)
    in_tools = line.replace('"name": "ask"', '"name": "other", "name": "ask"', 1)
    for twice in (message, whole, call_twice, in_tools):
        assert twice != line
        assert typed_chat(twice.encode()) is None
    preferred = json.dumps(PREFERENCES["plain"])
    for key in ("input", "preferred_output", "non_preferred_output"):
        assert typed_preference(preferred.replace(f'"{key}":', f'"{key}": 1, "{key}":', 1).encode()) is None


OTHER_CHATS = {
    "an answer before the call's": [USER, calling(call()), ANSWER],
    "an answer to no call": [USER, found(), ANSWER],
    "another id": [USER, calling(call()), found("c2"), ANSWER],
    "a call of a tool that there is not": [USER, calling(call(name="lose")), found(), ANSWER],
    "arguments that are no object": [USER, calling(call(arguments="[]")), found(), ANSWER],
    "arguments that are no JSON": [USER, calling(call(arguments='{"a": 01}')), found(), ANSWER],
    "a call of the user's": [{**USER, "tool_calls": [call()]}, ANSWER],
    "an empty list of calls": [USER, calling(), ANSWER],
    "a weight of the user's": [{**USER, "weight": 1}, ANSWER],
    "nothing that is learned": [USER, {**ANSWER, "weight": 0}],
    "no answer at the end": [USER, ANSWER, USER],
    "no content": [USER, {"role": "assistant"}],
    "empty content": [USER, {"role": "assistant", "content": " "}],
    "nobody": [],
}


@pytest.mark.parametrize("name", OTHER_CHATS)
def test_lines_with_something_to_say_of_are_left_to_the_exact_way(name: str) -> None:
    value = {"messages": OTHER_CHATS[name], "tools": TOOLS}
    assert list(check_example(value, "chat", RULES))
    assert typed_chat(json.dumps(value).encode()) is None


@pytest.mark.parametrize("tools", [[], TOOLS[:1] * 2, {}, [{"type": "function"}], None], ids=range(5))
def test_tools_with_something_to_say_of_are_left_to_the_exact_way(tools: Any) -> None:
    assert typed_chat(json.dumps({"messages": [USER, ANSWER], "tools": tools}).encode()) is None


OTHER_PREFERENCES: dict[str, dict[str, Any]] = {
    "equal outputs": {"non_preferred_output": [ANSWER]},
    "an input that ends with an answer": {"input": {"messages": [USER, ANSWER]}},
    "an output of the user's": {"preferred_output": [USER]},
    "an empty output": {"non_preferred_output": []},
    "an empty answer": {"non_preferred_output": [{"role": "assistant", "content": ""}]},
    "an empty input": {"input": {"messages": []}},
    "a key more": {"x": 1},
}


@pytest.mark.parametrize("name", OTHER_PREFERENCES)
def test_preferences_with_something_to_say_of_are_left_to_the_exact_way(name: str) -> None:
    value = {**PREFERENCES["plain"], **OTHER_PREFERENCES[name]}
    assert list(check_example(value, "preference", RULES))
    assert typed_preference(json.dumps(value).encode()) is None
