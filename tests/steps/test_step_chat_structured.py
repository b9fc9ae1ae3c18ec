"""Structured answers: what columns a JSON Schema becomes, and what becomes of answers that do not fit."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.errors import AskAgain, InvalidAnswer
from penstock.steps.chat import Chat
from penstock.steps.chat_messages import payload, read_payload
from penstock.steps.json_answers import read_json
from penstock.steps.json_schemas import schema_problems
from penstock.steps.json_types import arrow_type, cell, shape_of

QUESTION = {"role": "user", "content": "Which topic?"}
ASKED = payload([QUESTION])
TEXT, WHOLE, NUMBER, YES = pa.string(), pa.int64(), pa.float64(), pa.bool_()
TOPIC = {
    "type": "object",
    "properties": {"topic": {"type": "string", "enum": ["a", "b"]}, "stars": {"type": ["integer", "null"]}},
    "required": ["topic", "stars"],
    "additionalProperties": False,
}


def strict(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        ({"type": "string"}, TEXT),
        ({"type": "string", "format": "date"}, TEXT),
        ({"type": "integer"}, WHOLE),
        ({"type": "number"}, NUMBER),
        ({"type": "boolean"}, YES),
        ({"type": ["string", "null"]}, TEXT),
        ({"type": ["integer", "number"]}, NUMBER),
        ({"type": ["integer", "string"]}, TEXT),
        ({"type": "null"}, TEXT),
        ({}, TEXT),
        (True, TEXT),
        ({"enum": ["a", "b", None]}, TEXT),
        ({"enum": [1, 2]}, WHOLE),
        ({"enum": [1, 2.5]}, NUMBER),
        ({"enum": [True]}, YES),
        ({"enum": [1, "a"]}, TEXT),
        ({"const": 5}, WHOLE),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, WHOLE),
        ({"oneOf": [{"type": "integer"}, {"const": 1.5}]}, NUMBER),
        ({"anyOf": [{"type": "integer"}, {"type": "string"}]}, TEXT),
        ({"allOf": [{"type": "boolean"}]}, YES),
        ({"type": "array", "items": {"type": "integer"}}, pa.list_(WHOLE)),
        ({"items": {"type": "boolean"}}, pa.list_(YES)),
        ({"type": "array", "items": {"type": "array", "items": {"type": "string"}}}, pa.list_(pa.list_(TEXT))),
        ({"type": "array"}, TEXT),
        ({"type": "array", "prefixItems": [{"type": "string"}], "items": {"type": "integer"}}, TEXT),
        (strict(a={"type": "string"}, b={"type": "number"}), pa.struct({"a": TEXT, "b": NUMBER})),
        ({"properties": {"a": {"type": "string"}}}, pa.struct({"a": TEXT})),
        ({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": True}, TEXT),
        ({"type": "object", "properties": {}}, TEXT),
        ({"type": "object", "additionalProperties": {"type": "string"}}, TEXT),
        ({"$ref": "#/$defs/stars"}, WHOLE),
        ({"$ref": "#/$defs/list/items"}, YES),
        ({"$ref": "#/$defs/tree"}, pa.struct({"name": TEXT, "inner": pa.list_(TEXT)})),
        ({"anyOf": [{"$ref": "#/$defs/stars"}, {"type": "null"}]}, WHOLE),
    ],
)
def test_each_schema_has_one_type_of_column(schema: Any, kind: pa.DataType) -> None:
    tree = strict(name={"type": "string"}, inner={"type": "array", "items": {"$ref": "#/$defs/tree"}})
    about = {"stars": {"type": "integer"}, "list": {"type": "array", "items": {"type": "boolean"}}, "tree": tree}
    assert arrow_type(shape_of({**strict(value=schema), "$defs": about})) == pa.struct({"value": kind})


@pytest.mark.parametrize(
    ("schema", "value", "held"),
    [
        ({"type": "integer"}, 2.0, 2),
        ({"type": "number"}, 2, 2.0),
        ({"type": "number"}, 2**60 + 1, float(2**60 + 1)),
        ({"type": ["string", "null"]}, None, None),
        ({}, {"a": [1, None]}, '{"a":[1,null]}'),
        ({}, "text", '"text"'),
        ({"type": ["integer", "string"]}, 5, "5"),
        ({"type": "array", "items": {"type": "number"}}, [1, None], [1.0, None]),
        ({"type": "object", "properties": {"a": {"type": "string"}}}, {"b": 1}, {"a": None}),
    ],
)
def test_a_value_is_held_as_its_column_holds_it(schema: Any, value: Any, held: Any) -> None:
    shape = shape_of(strict(value=schema))
    found = cell(shape, {"value": value})
    assert found == {"value": held}
    assert pa.array([found], arrow_type(shape)).to_pylist() == [found]


SCALARS: list[tuple[dict[str, Any], st.SearchStrategy[Any]]] = [
    ({"type": "string"}, st.text(max_size=6)),
    ({"type": "integer"}, st.integers(-(2**63), 2**63 - 1)),
    ({"type": "number"}, st.floats(allow_nan=False, allow_infinity=False)),
    ({"type": "boolean"}, st.booleans()),
    ({"enum": ["x", "y", None]}, st.sampled_from(["x", "y", None])),
    ({"type": ["integer", "null"]}, st.none() | st.integers(-5, 5)),
]


@st.composite
def schemas(draw: st.DrawFn, depth: int = 3) -> tuple[dict[str, Any], st.SearchStrategy[Any]]:
    """A strict schema and a strategy of the values that it allows."""
    kind = draw(st.sampled_from(["scalar", "array", "object"] if depth else ["scalar"]))
    if kind == "array":
        inner, values = draw(schemas(depth=depth - 1))
        return {"type": "array", "items": inner}, st.lists(values, max_size=3)
    if kind == "object":
        parts = {name: draw(schemas(depth=depth - 1)) for name in draw(st.sets(st.sampled_from("abé "), min_size=1))}
        made = strict(**{name: part for name, (part, _) in parts.items()})
        return made, st.fixed_dictionaries({name: values for name, (_, values) in parts.items()})
    return draw(st.sampled_from(SCALARS))


@settings(max_examples=150)
@given(st.data())
def test_every_valid_answer_is_read_back_from_its_columns(data: st.DataObject) -> None:
    inner, values = data.draw(schemas())
    value = {"value": data.draw(values)}
    schema = strict(value=inner)
    assert schema_problems(schema, strict=True) == []
    answer = json.dumps(value, ensure_ascii=data.draw(st.booleans()))
    chat = step(response_format={"json_schema": schema}, unpack=data.draw(st.booleans()))
    found = read(answer, chat)
    assert (found if chat.unpack else found["answer"])["value"] == value["value"]


def step(**more: Any) -> Chat:
    form = {"response_format": {"json_schema": TOPIC}}
    return Chat.model_validate({"uses": "chat", "model": "m", "prompt": "{{ body }}", **form, **more})


def body(content: Any, finish: str = "stop", **message: Any) -> bytes:
    said = {"message": {"content": content, **message}, "finish_reason": finish}
    return json.dumps({"choices": [said], "usage": {"prompt_tokens": 1}}).encode()


def read(content: Any, chat: Chat, finish: str = "stop", asked: str = ASKED, **message: Any) -> dict[str, Any]:
    row: dict[str, Any] = chat.read(body(content, finish, **message), [asked]).columns.batch().to_pylist()[0]
    return row


def test_a_valid_answer_becomes_a_struct_or_columns() -> None:
    answer = '{"topic": "a", "stars": 5}'
    about = {"answer_finish_reason": "stop", "answer_refusal": None}
    assert read(answer, step()) == {"answer": {"topic": "a", "stars": 5}, **about}
    assert read(answer, step(unpack=True)) == {"topic": "a", "stars": 5, **about}


@pytest.mark.parametrize(
    "answer",
    [
        '```json\n{"topic": "a", "stars": 5}\n```',
        ' ```\n{"topic": "a", "stars": 5}\n``` \n',
        '\n{"topic":"a","stars":5}',
    ],
)
def test_markdown_around_a_valid_answer_is_taken_off(answer: str) -> None:
    assert read(answer, step())["answer"] == {"topic": "a", "stars": 5}


WRONG: dict[str, tuple[str, str]] = {
    "prose": ("Sure! Here it is.", "it is not JSON"),
    "prose around": ('Sure! {"topic": "a", "stars": 5}', "it is not JSON"),
    "half a fence": ('```json\n{"topic": "a", "stars": 5}', "it is not JSON"),
    "cut": ('{"topic": "a", "st', "it is not JSON"),
    "empty": ("", "it is empty"),
    "no object": ("[1]", "is not of type 'object'"),
    "not in the list": ('{"topic": "c", "stars": 5}', "$.topic: 'c' is not one of ['a', 'b']"),
    "wrong type": ('{"topic": "a", "stars": "5"}', "$.stars: '5' is not of type 'integer', 'null'"),
    "missing": ('{"topic": "a"}', "'stars' is a required property"),
    "too much": ('{"topic": "a", "stars": 5, "x": 1}', "('x' was unexpected)"),
    "not a number": ('{"topic": "a", "stars": NaN}', "it is not JSON"),
    "too large": ('{"topic": "a", "stars": 9223372036854775808}', "too large"),
    "deep": ("[" * 100_000, "nested too deeply"),
}


@pytest.mark.parametrize(("answer", "told"), WRONG.values(), ids=WRONG)
def test_an_answer_that_does_not_fit_is_sent_back_with_what_is_wrong(answer: str, told: str) -> None:
    with pytest.raises(AskAgain) as caught:
        read(answer, step())
    assert told in str(caught.value)
    messages, repairs = read_payload(str(caught.value.payload))
    assert repairs == 1
    assert messages[0] == QUESTION
    assert [message["role"] for message in messages[1:]] == (["assistant", "user"] if answer else ["user"])
    assert told in messages[-1]["content"]
    if answer:
        assert answer.startswith(messages[1]["content"])


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(AskAgain) as caught:
        read('{"topic": "c", "stars": "5", "x": 1}', step())
    told = read_payload(str(caught.value.payload))[0][-1]["content"]
    assert told.count("\n- ") == 3


def test_an_answer_is_sent_back_as_often_as_allowed_and_then_the_row_fails() -> None:
    asked = ASKED
    for repairs in (1, 2, 3):
        with pytest.raises(AskAgain) as again:
            read("Sure!", step(repair=3), asked=asked)
        asked = str(again.value.payload)
        assert read_payload(asked)[1] == repairs
    with pytest.raises(InvalidAnswer) as caught:
        read("Sure!", step(repair=3), asked=asked)
    assert str(caught.value) == (
        "the answer is not as asked for after 3 repairs: it is not JSON: JSON is malformed: invalid character "
        "(byte 0); it begins 'Sure!'"
    )
    assert [message["role"] for message in read_payload(asked)[0]] == ["user", *["assistant", "user"] * 3]


def test_without_repairs_the_row_fails_at_once() -> None:
    with pytest.raises(InvalidAnswer, match="the answer is not as asked for: it is not JSON"):
        read("Sure!", step(repair=0))


def test_an_answer_mended_is_like_any_other() -> None:
    with pytest.raises(AskAgain) as caught:
        read("Sure!", step())
    found = read('{"topic": "b", "stars": null}', step(), asked=str(caught.value.payload))
    assert found["answer"] == {"topic": "b", "stars": None}


def test_an_answer_cut_by_its_length_is_asked_for_again_more_briefly() -> None:
    with pytest.raises(AskAgain, match="cut off at the largest number of tokens"):
        read('{"topic": "a", "st', step(), finish="length")
    assert read('{"topic": "a", "stars": 1}', step(), finish="length")["answer_finish_reason"] == "length"


@pytest.mark.parametrize("unpack", [False, True])
def test_refusals_filtered_answers_and_calls_of_tools_are_never_mended(unpack: bool) -> None:
    chat = step(unpack=unpack, tools=[{"name": "f"}])
    column = "topic" if unpack else "answer"
    refused = read(None, chat, refusal="I cannot.")
    assert (refused[column], refused["answer_refusal"]) == (None, "I cannot.")
    filtered = read('{"topic": "a', chat, finish="content_filter")
    assert (filtered[column], filtered["answer_finish_reason"]) == (None, "content_filter")
    called = read(None, chat, finish="tool_calls", tool_calls=[{"id": "1", "function": {"name": "f", "arguments": ""}}])
    assert (called[column], called["answer_tool_calls"][0]["name"]) == (None, "f")


def test_of_several_answers_one_that_does_not_fit_is_enough() -> None:
    choices = [
        {"index": number, "message": {"content": content}, "finish_reason": "stop"}
        for number, content in enumerate(['{"topic": "a", "stars": 1}', "Sure!"])
    ]
    with pytest.raises(AskAgain) as caught:
        step(n=2).read(json.dumps({"choices": choices}).encode(), [ASKED])
    assert read_payload(str(caught.value.payload))[0][1] == {"role": "assistant", "content": "Sure!"}


def test_a_very_long_answer_is_not_sent_back_whole() -> None:
    with pytest.raises(AskAgain) as caught:
        read("x" * 1_000_000, step())
    assert len(str(caught.value.payload)) < 25_000


def test_an_image_of_a_file_stays_in_the_question_that_is_asked_again() -> None:
    image = {"type": "image_file", "path": "/a.png", "size": 1, "modified": 2}
    question = {"role": "user", "content": [image]}
    with pytest.raises(AskAgain) as caught:
        read("Sure!", step(), asked=payload([question]))
    assert read_payload(str(caught.value.payload))[0][0] == question


def test_a_schema_that_refers_to_itself_is_followed_as_deep_as_an_answer_goes() -> None:
    tree = strict(name={"type": "string"}, inner={"type": "array", "items": {"$ref": "#"}})
    chat = step(response_format={"json_schema": tree})
    deep: Any = {"name": "leaf", "inner": []}
    for _ in range(20):
        deep = {"name": "node", "inner": [deep]}
    assert json.loads(read(json.dumps(deep), chat)["answer"]["inner"][0])["name"] == "node"
    for _ in range(400):
        deep = {"name": "node", "inner": [deep]}
    with pytest.raises(AskAgain, match="nested too deeply"):
        read(json.dumps(deep), chat)


def test_an_answer_that_its_schema_allows_and_no_column_holds_is_sent_back() -> None:
    loose = {"type": "object", "properties": {"a": {"properties": {"b": {"type": "string"}}}}}
    chat = step(response_format={"json_schema": loose, "strict": False})
    assert read('{"a": {"b": "x"}}', chat)["answer"] == {"a": {"b": "x"}}
    with pytest.raises(AskAgain, match="'5' stands where the column holds a struct"):
        read('{"a": 5}', chat)


def test_a_reference_to_another_place_is_never_followed() -> None:
    value, complaints = read_json('{"a": 1}', '{"type": "object"}')
    assert (value, complaints) == ({"a": 1}, [])
    problems = schema_problems({"type": "object", "properties": {"a": {"$ref": "http://localhost/a"}}}, strict=False)
    assert [place for place, _ in problems] == [("properties", "a", "$ref")]


SCHEMA_KEYS = st.sampled_from(
    ["type", "properties", "items", "$ref", "$defs", "anyOf", "allOf", "oneOf", "enum", "const", "required", "pattern",
     "additionalProperties", "prefixItems", "minLength", "not", "if", "then", "contains", "uniqueItems",
     "propertyNames", "dependentRequired", "dependentSchemas", "patternProperties", "multipleOf", "maximum", "$id",
     "$anchor", "unevaluatedProperties", "format", "minContains", "$dynamicRef"]
)  # fmt: skip
LEAVES = (
    st.none() | st.booleans() | st.integers(-2, 3) | st.sampled_from(["object", "array", "string", "#", "#/$defs/a"])
)
ANY_SCHEMA = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(SCHEMA_KEYS | st.just("a"), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=300)
@given(st.dictionaries(SCHEMA_KEYS, ANY_SCHEMA, max_size=5), st.booleans(), ANY_SCHEMA)
def test_any_mapping_is_a_schema_with_a_type_or_has_problems_that_are_told(
    schema: Any, is_strict: bool, value: Any
) -> None:
    schema = {**schema, "type": "object"}
    problems = schema_problems(schema, strict=is_strict)
    assert all(isinstance(message, str) for _, message in problems)
    if not problems:
        shape = shape_of(schema)
        for answer in ({}, {"a": value}, value):
            _, complaints = read_json(json.dumps(answer), json.dumps(schema))
            if not complaints:
                with contextlib.suppress(ValueError):
                    held = cell(shape, answer)
                    assert pa.array([held], arrow_type(shape)).to_pylist() == [held]
