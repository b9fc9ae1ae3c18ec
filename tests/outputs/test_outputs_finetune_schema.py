"""What the published JSON Schema of a line refuses, the check refuses; usual lines pass both."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from penstock.outputs.finetune.checks import check_example, format_of
from penstock.outputs.finetune.faults import ERRORS
from penstock.outputs.finetune.limits import Rules
from penstock.outputs.finetune.schema import finetune_schema

VALIDATOR = Draft202012Validator(json.loads(finetune_schema()))
ROOT = Path(__file__).parents[2]
RULES = Rules.of("gpt-4o-2024-08-06", tokens=False)
USER = {"role": "user", "content": "Where is it?"}
ANSWER = {"role": "assistant", "content": "On its way."}
CALL = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": "{}"}}
TOOL = {"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}
PICTURE = {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}}
CALLED = [
    USER,
    {"role": "assistant", "content": None, "tool_calls": [CALL], "weight": 0},
    {"role": "tool", "content": "here", "tool_call_id": "c1"},
    ANSWER,
]
GOOD: dict[str, Any] = {
    "chat": {"messages": [{"role": "system", "content": "Be brief."}, USER, ANSWER]},
    "tools": {"messages": CALLED, "tools": [TOOL], "parallel_tool_calls": False},
    "vision": {"messages": [{"role": "user", "content": [{"type": "text", "text": "What?"}, PICTURE]}, ANSWER]},
    "refusal": {"messages": [USER, {"role": "assistant", "refusal": "No."}]},
    "preference": {
        "input": {"messages": [USER], "tools": [TOOL]},
        "preferred_output": [ANSWER],
        "non_preferred_output": [{"role": "assistant", "content": "No."}],
    },
}


def refused(value: Any) -> bool:
    form = format_of(value) or "chat"
    return any(code in ERRORS for code, _ in check_example(value, form, RULES))


@pytest.mark.parametrize("name", GOOD)
def test_usual_lines_pass_the_schema_and_the_check(name: str) -> None:
    assert list(VALIDATOR.iter_errors(GOOD[name])) == []
    assert not refused(GOOD[name])


def test_the_schema_is_one_and_is_the_published_one() -> None:
    Draft202012Validator.check_schema(VALIDATOR.schema)
    assert (ROOT / "schemas" / "finetune.schema.json").read_text("utf-8") == finetune_schema()


PLACED: list[Any] = [1, True, None, "", "user", "assistant", "bot", [], {}, [USER], "https://a", 0.5, PICTURE, ["x"]]
GIF = {"type": "image_url", "image_url": {"url": "data:image/gif;base64,A"}}
# Copies, for what is drawn may be changed in turn.
OTHER = st.sampled_from(PLACED).map(copy.deepcopy)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, one in inner for place in places(one, (*path, key)))]


@st.composite
def changed_lines(draw: st.DrawFn) -> Any:
    """A good line in which a place or two hold something else, or nothing, or one key more."""
    value = json.loads(json.dumps(draw(st.sampled_from(list(GOOD.values())))))
    for _ in range(draw(st.integers(1, 2))):
        place = draw(st.sampled_from(places(value)))
        if not place:
            return draw(OTHER)
        owner = value
        for key in place[:-1]:
            owner = owner[key]
        what = draw(st.integers(0, 2))
        if what == 0:
            del owner[place[-1]]
        elif what == 1:
            owner[place[-1]] = draw(OTHER)
        elif isinstance(owner, dict):
            owner[draw(st.sampled_from(["weight", "tool_calls", "name", "x", "tools", "detail"]))] = draw(OTHER)
    return value


@settings(max_examples=400)
@given(changed_lines())
def test_what_the_schema_refuses_the_check_refuses(value: Any) -> None:
    refuses = not VALIDATOR.is_valid(value)
    event(f"schema refuses: {refuses}")
    if refuses:
        assert refused(value)


FEW = {
    "a tool's message without its call": {"messages": [{"role": "tool", "content": "x"}, ANSWER]},
    "an image of the assistant's": {"messages": [USER, {"role": "assistant", "content": [PICTURE]}]},
    "a weight of the user's": {"messages": [{**USER, "weight": 1}, ANSWER]},
    "no answer": {"messages": [USER]},
    "an unknown key": {"messages": [USER, ANSWER], "x": 1},
    "one output": {"input": {"messages": [USER]}, "preferred_output": [ANSWER]},
    "an output of the user's": {**GOOD["preference"], "preferred_output": [USER]},
    "a bad name of a tool": {"messages": [USER, ANSWER], "tools": [{"type": "function", "function": {"name": "a b"}}]},
    "a gif": {"messages": [{"role": "user", "content": [GIF]}, ANSWER]},
    "prompt and completion": {"prompt": "a", "completion": "b"},
}  # fmt: skip


@pytest.mark.parametrize("name", FEW)
def test_the_schema_refuses_what_one_line_alone_tells(name: str) -> None:
    assert not VALIDATOR.is_valid(FEW[name])
    assert refused(FEW[name])
