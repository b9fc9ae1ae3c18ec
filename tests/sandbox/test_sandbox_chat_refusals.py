"""What ``/v1/chat/completions`` refuses, and that no body makes it fail."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.sandbox.app import make_app
from penstock.sandbox.chat_models import find_chat_model
from penstock.sandbox.chat_request import FIELDS
from penstock.sandbox.errors import ApiError
from penstock.sandbox.launch import SandboxProcess
from penstock.sandbox.settings import Settings

HELLO: list[Any] = [{"role": "user", "content": "Hello!"}]
TOOL: Any = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
CALL: Any = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}


@pytest.fixture
def client(server: SandboxProcess) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.url, api_key=server.key, max_retries=0) as client:
        yield client


def message(**fields: Any) -> dict[str, Any]:
    return {"messages": [fields]}


def schema(value: Any, *, strict: bool = True) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": value, "strict": strict}}}


def picture(url: str) -> dict[str, Any]:
    return message(role="user", content=[{"type": "image_url", "image_url": {"url": url}}])


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"model": ""}, {"message": "you must provide a model parameter"}),
        ({"model": 7}, {"param": "model", "code": "invalid_type"}),
        ({"messages": []}, {"param": "messages", "code": "empty_array"}),
        ({"messages": "hi"}, {"param": "messages", "code": "invalid_type"}),
        ({"messages": ["hi"]}, {"param": "messages[0]", "code": "invalid_type"}),
        (message(content="a"), {"param": "messages[0].role", "code": "missing_required_parameter"}),
        (
            message(role="robot", content="a"),
            {
                "message": "Invalid value: 'robot'. Supported values are: 'system', 'assistant', 'user', 'function', "
                "'tool', and 'developer'.",
                "param": "messages[0].role",
                "code": "invalid_value",
            },
        ),
        (message(role="user"), {"param": "messages[0].content", "code": "missing_required_parameter"}),
        (message(role="user", content=None), {"param": "messages[0].content"}),
        (message(role="user", content=7), {"param": "messages[0].content", "code": "invalid_type"}),
        (message(role="user", content=[]), {"param": "messages[0].content", "code": "empty_array"}),
        (message(role="user", content="a", x=1), {"param": "messages[0].x", "code": "unknown_parameter"}),
        (message(role="user", content=[{"type": "video"}]), {"param": "messages[0].content[0].type"}),
        (message(role="system", content=[{"type": "image_url"}]), {"param": "messages[0].content[0].type"}),
        (message(role="user", content=[{"type": "text"}]), {"param": "messages[0].content[0].text"}),
        (picture("a.png"), {"param": "messages[0].content[0].image_url.url", "code": "invalid_value"}),
        (picture("data:image/png;base64,a"), {"code": "invalid_base64"}),
        (picture("data:image/tiff;base64,AAAA"), {"code": "invalid_image_format"}),
        (message(role="tool", content="a", tool_call_id="call_1"), {"param": "messages.[0].role"}),
        (
            {"messages": [*HELLO, {"role": "assistant", "tool_calls": [CALL]}, *HELLO]},
            {
                "message": "An assistant message with 'tool_calls' must be followed by tool messages responding to "
                "each 'tool_call_id'. The following tool_call_ids did not have response messages: call_1"
            },
        ),
        (
            {"temperature": 2.5},
            {
                "message": "Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 2.5 "
                "instead.",
                "param": "temperature",
                "code": "decimal_above_max_value",
            },
        ),
        ({"temperature": -1}, {"code": "decimal_below_min_value"}),
        ({"temperature": "hot"}, {"param": "temperature", "code": "invalid_type"}),
        ({"top_p": 1.1}, {"param": "top_p"}),
        ({"n": 0}, {"param": "n", "code": "integer_below_min_value"}),
        ({"n": 129}, {"param": "n", "code": "integer_above_max_value"}),
        ({"n": 1.5}, {"param": "n", "code": "invalid_type"}),
        ({"presence_penalty": 3}, {"param": "presence_penalty"}),
        ({"logit_bias": {"a": 1}}, {"param": "logit_bias"}),
        ({"logit_bias": {"1": 101}}, {"param": "logit_bias.1"}),
        ({"stop": ["a"] * 5}, {"param": "stop", "code": "array_above_max_length"}),
        ({"stop": [1]}, {"param": "stop[0]", "code": "invalid_type"}),
        ({"max_tokens": 0}, {"param": "max_tokens", "code": "integer_below_min_value"}),
        (
            {"max_tokens": 20_000},
            {
                "message": "max_tokens is too large: 20000. This model supports at most 16384 completion tokens, "
                "whereas you provided 20000.",
                "param": "max_tokens",
            },
        ),
        ({"max_tokens": 1, "max_completion_tokens": 1}, {"param": "max_tokens"}),
        ({"top_logprobs": 2}, {"param": "top_logprobs"}),
        ({"logprobs": True, "top_logprobs": 21}, {"param": "top_logprobs"}),
        ({"stream_options": {"include_usage": True}}, {"param": "stream_options"}),
        ({"stream": "yes"}, {"param": "stream", "code": "invalid_type"}),
        ({"service_tier": "gold"}, {"param": "service_tier", "code": "invalid_value"}),
        ({"metadata": {str(at): "a" for at in range(17)}}, {"param": "metadata"}),
        ({"metadata": {"a": 1}}, {"param": "metadata.a", "code": "invalid_type"}),
        ({"user": 7}, {"param": "user", "code": "invalid_type"}),
        ({"seed": "a"}, {"param": "seed", "code": "invalid_type"}),
        ({"colour": "red"}, {"message": "Unrecognized request argument supplied: colour"}),
        (
            {"response_format": {"type": "json_object"}},
            {
                "message": "'messages' must contain the word 'json' in some form, to use 'response_format' of type "
                "'json_object'.",
                "param": "messages",
            },
        ),
        ({"response_format": {"type": "xml"}}, {"param": "response_format.type", "code": "invalid_value"}),
        ({"response_format": {"type": "json_schema"}}, {"param": "response_format.json_schema"}),
        (
            schema({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}),
            {
                "message": "Invalid schema for response_format 'x': In context=(), 'additionalProperties' is required "
                "to be supplied and to be false.",
                "param": "response_format",
            },
        ),
        (
            schema({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False}),
            {
                "message": "Invalid schema for response_format 'x': In context=(), 'required' is required to be "
                "supplied and to be an array including every key in properties. Missing 'a'."
            },
        ),
        (schema({"type": "array", "items": {}}), {"param": "response_format"}),
        (schema({"type": "objekt"}, strict=False), {"param": "response_format"}),
        (
            {"tool_choice": "auto"},
            {
                "message": "Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are specified.",
                "param": "tool_choice",
            },
        ),
        ({"parallel_tool_calls": True}, {"param": "parallel_tool_calls"}),
        ({"tools": []}, {"param": "tools", "code": "empty_array"}),
        ({"tools": [{"type": "function"}]}, {"param": "tools[0].function"}),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, {"param": "tools[0].function.name"}),
        (
            {"tools": [{"type": "function", "function": {"name": "a", "parameters": {"type": "string"}}}]},
            {"param": "tools[0].function.parameters", "code": "invalid_function_parameters"},
        ),
        ({"tools": [TOOL], "tool_choice": "always"}, {"param": "tool_choice", "code": "invalid_value"}),
        (
            {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "jump"}}},
            {"message": "Tool choice 'jump' not found in 'tools' parameter.", "param": "tool_choice"},
        ),
        ({"model": "o1", "max_tokens": 5}, {"param": "max_tokens", "code": "unsupported_parameter"}),
        ({"model": "o1", "temperature": 0}, {"param": "temperature", "code": "unsupported_value"}),
        ({"model": "gpt-4", **schema({})}, {"param": "response_format"}),
        ({"model": "gpt-3.5-turbo", **picture("https://a.b/c.png")}, {"param": "messages[0].content[0].type"}),
    ],
)
def test_what_the_service_refuses_is_refused_with_its_words(
    http: httpx.Client, fields: dict[str, Any], error: dict[str, Any]
) -> None:
    answer = http.post("/chat/completions", json={"model": "gpt-4o", "messages": HELLO, **fields})
    assert answer.status_code == 400, answer.text
    said = answer.json()["error"]
    assert said.keys() == {"message", "type", "param", "code"}
    assert said["type"] == "invalid_request_error"
    assert {name: said[name] for name in error} == error


def test_messages_are_required(http: httpx.Client) -> None:
    error = http.post("/chat/completions", json={"model": "gpt-4o"}).json()["error"]
    assert (error["param"], error["code"]) == ("messages", "missing_required_parameter")


def test_models_that_are_not_there_or_not_for_chat_are_not_found(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        client.chat.completions.create(model="gpt-9", messages=HELLO)
    assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError, match="not a chat model"):
        client.chat.completions.create(model="text-embedding-3-small", messages=HELLO)


def test_a_fine_tuned_model_is_like_its_base_once_it_is_known() -> None:
    name = "ft:gpt-4o-mini-2024-07-18:acme:support:abc"
    model = find_chat_model(name, {name})
    assert (model.answered_as, model.context) == (name, 128_000)
    with pytest.raises(ApiError) as unknown:
        find_chat_model(name, set())
    assert unknown.value.status == 404


def test_a_prompt_over_the_context_is_refused_with_its_length(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="gpt-4", messages=[{"role": "user", "content": "word " * 9_000}])
    assert caught.value.code == "context_length_exceeded"
    assert caught.value.param == "messages"
    assert "maximum context length is 8192 tokens. However, your messages resulted in 900" in caught.value.message
    with pytest.raises(openai.BadRequestError, match=r"you requested 8198 tokens \(8 in the messages, 8190 in the"):
        client.chat.completions.create(model="gpt-4", messages=[{"role": "user", "content": "a"}], max_tokens=8_190)


def test_poison_is_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="poison"):
        client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "some arsenic"}])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
TYPES = st.sampled_from(["string", "number", "integer", "boolean", "object", "array", "null"])
NUMBERS = st.integers(-(10**20), 10**20) | st.floats(allow_nan=False, allow_infinity=False)


def schemas() -> st.SearchStrategy[Any]:
    leaf: Any = st.fixed_dictionaries(
        {},
        optional={
            "type": TYPES | st.lists(TYPES, min_size=1, max_size=2),
            "enum": st.lists(JSON, max_size=3),
            "const": JSON,
            "minimum": NUMBERS,
            "maximum": NUMBERS,
            "exclusiveMinimum": NUMBERS,
            "multipleOf": NUMBERS,
            "minLength": st.integers(0, 50),
            "maxLength": st.integers(-1, 50),
            "pattern": st.sampled_from(["^a+$", r"\d{3}", "(", "[A-Z]{2}-\\d+", "^(x|y)$", "a{9999999999}"]),
            "format": st.sampled_from(["date", "email", "uuid", "odd"]),
            "$ref": st.sampled_from(["#", "#/$defs/a", "#/nowhere", "other"]),
            "description": st.text(max_size=10),
        },
    )
    return st.recursive(
        leaf,
        lambda inner: st.fixed_dictionaries(
            {},
            optional={
                "type": TYPES,
                "properties": st.dictionaries(st.sampled_from(["name", "age", "is_ok", "date"]), inner, max_size=3),
                "required": st.lists(st.sampled_from(["name", "age", "other"]), max_size=2),
                "items": inner | st.booleans(),
                "minItems": st.integers(0, 4),
                "maxItems": st.integers(0, 4),
                "anyOf": st.lists(inner, max_size=2),
                "allOf": st.lists(inner, max_size=2),
                "$defs": st.fixed_dictionaries({"a": inner}),
                "additionalProperties": inner | st.just(False),
            },
        ),
        max_leaves=6,
    )


NAMES = sorted(FIELDS)
APP = make_app(Settings())


def post(body: Any) -> httpx.Response:
    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app=APP)
        headers = {"Authorization": "Bearer sk-sandbox", "Content-Type": "application/json"}
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost/v1", headers=headers) as http:
            return await http.post("/chat/completions", content=json.dumps(body).encode())

    return asyncio.run(ask())


def check(answer: httpx.Response) -> None:
    if answer.status_code == 200:
        if answer.headers["content-type"] == "application/json":
            assert answer.json()["choices"]
    else:
        assert answer.status_code in (400, 404), answer.text
        assert answer.json()["error"].keys() == {"message", "type", "param", "code"}


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.dictionaries(st.sampled_from(NAMES), JSON, max_size=4), st.booleans())
def test_any_json_gets_an_answer_or_a_well_formed_error(fields: dict[str, Any], good: bool) -> None:
    check(post({"model": "gpt-4o", "messages": HELLO, **fields} if good else fields))


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(schemas(), st.text(max_size=60), st.booleans())
def test_any_schema_gets_an_answer_or_a_well_formed_error(value: Any, text: str, as_tool: bool) -> None:
    asked: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": text}]}
    if as_tool:
        asked["tools"] = [{"type": "function", "function": {"name": "f", "parameters": value}}]
        asked["tool_choice"] = "required"
    else:
        asked |= schema(value, strict=False)
    check(post(asked))


@pytest.mark.parametrize("text", ["\ud800", "a\x00b", "\uffff", "x: " * 500, "[" * 500, "1e999", "9" * 500])
def test_odd_texts_get_answers(text: str) -> None:
    check(post({"model": "gpt-4o", "messages": [{"role": "user", "content": text}]}))
    value = {"type": "object", "properties": {"age": {"type": "integer"}, "name": {"type": "string"}}}
    check(post({"model": "gpt-4o", "messages": [{"role": "user", "content": text}], **schema(value, strict=False)}))


def test_a_schema_that_refers_to_itself_ends() -> None:
    tree = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "children": {"type": "array", "items": {"$ref": "#"}}},
        "required": ["name", "children"],
        "additionalProperties": False,
    }
    answer = post({"model": "gpt-4o", "messages": HELLO, **schema(tree)})
    assert json.loads(answer.json()["choices"][0]["message"]["content"])["name"]


def test_a_schema_whose_parts_all_refer_to_the_whole_ends() -> None:
    value = {"type": "object", "allOf": [{"$ref": "#"}] * 50, "properties": {"name": {"type": "string"}}}
    answer = post({"model": "gpt-4o", "messages": HELLO, **schema(value, strict=False)})
    assert "name" in json.loads(answer.json()["choices"][0]["message"]["content"])
