"""``/v1/chat/completions`` through the official client: answers, usage, streams, tools, structured outputs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema
import openai
import pydantic
import pytest
from splintr import Tokenizer

from penstock.sandbox.launch import SandboxProcess
from penstock.sandbox.launch import start as start_sandbox

WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]}},
            "required": ["city"],
        },
    },
}
TIME: Any = {"type": "function", "function": {"name": "get_time", "description": "The time of a city."}}
TEXT = (
    "My name is Jane Doe, I am 34 years old and live in Paris. My mail is jane@example.org. "
    "I gave 4 stars. The delivery was late and the food was not good. Order ORD-1234 on 3 March 2024 cost $12.50."
)
REVIEW: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": "integer"},
        "email": {"type": "string", "format": "email"},
        "city": {"type": "string"},
        "stars": {"type": "integer", "minimum": 1, "maximum": 5},
        "sentiment": {"type": "string", "enum": ["positive", "neutral", "negative"]},
        "is_late": {"type": "boolean"},
        "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 3},
        "order": {"type": "string", "pattern": "^ORD-\\d{4}$"},
        "price": {"type": "number"},
        "date": {"type": "string", "format": "date"},
        "nickname": {"type": ["string", "null"]},
        "contact": {"$ref": "#/$defs/contact"},
    },
    "required": [
        "name", "age", "email", "city", "stars", "sentiment", "is_late", "tags", "order", "price", "date", "nickname",
        "contact",
    ],
    "additionalProperties": False,
    "$defs": {
        "contact": {
            "type": "object",
            "properties": {"email": {"type": "string"}},
            "required": ["email"],
            "additionalProperties": False,
        }
    },
}  # fmt: skip


@pytest.fixture
def client(server: SandboxProcess) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.url, api_key=server.key, max_retries=0) as client:
        yield client


def user(text: str, system: str = "") -> list[Any]:
    head = [{"role": "system", "content": system}] if system else []
    return [*head, {"role": "user", "content": text}]


def say(client: openai.OpenAI, text: str, system: str = "", **fields: Any) -> str:
    answer = client.chat.completions.create(model="gpt-4o-mini", messages=user(text, system), **fields)
    return answer.choices[0].message.content or ""


def test_the_example_of_the_reference_gets_its_answer_and_its_tokens(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="gpt-4o", messages=user("Hello!", "You are a helpful assistant."))
    assert answer.id.startswith("chatcmpl-")
    assert answer.object == "chat.completion"
    assert answer.model == "gpt-4o-2024-08-06"
    assert answer.system_fingerprint
    assert answer.system_fingerprint.startswith("fp_")
    (choice,) = answer.choices
    assert (choice.index, choice.finish_reason, choice.logprobs) == (0, "stop", None)
    assert choice.message.content == "Hello! How can I assist you today?"
    assert choice.message.role == "assistant"
    assert answer.usage
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (19, 9, 28)
    assert answer.usage.prompt_tokens_details
    assert answer.usage.prompt_tokens_details.cached_tokens == 0
    assert answer.usage.completion_tokens_details
    assert answer.usage.completion_tokens_details.reasoning_tokens == 0


def test_the_async_client_gets_the_same(server: SandboxProcess, client: openai.OpenAI) -> None:
    async def ask() -> str:
        async with openai.AsyncOpenAI(base_url=server.url, api_key=server.key, max_retries=0) as other:
            stream = await other.chat.completions.create(model="gpt-4o-mini", messages=user(TEXT), stream=True)
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    assert asyncio.run(ask()) == say(client, TEXT)


@pytest.mark.parametrize(
    ("system", "text", "answer"),
    [
        ("", "Repeat after me: the quick brown fox", "the quick brown fox"),
        ("", 'Say "hi there"', "hi there"),
        ("Repeat what the user says.", "Grüße, 日本語!", "Grüße, 日本語!"),
        ('Reply with exactly "OK".', "whatever", "OK"),
        ("Classify the review as positive, negative or neutral.", "The food was great, I loved it.", "positive"),
        ("Classify the review as positive, negative or neutral.", "It was not good at all.", "negative"),
        ("Classify the review as positive, negative or neutral.", "It is a chair.", "neutral"),
        ("Categories:\n- billing\n- shipping\n- other\nAnswer with the category.", "Where is my parcel?", "shipping"),
        ("", "Is this spam or ham? Answer with spam or ham.\n\nWin a free prize, click now!", "spam"),
        ("", "Summarize in one sentence: The cat sat. The dog ran. It rained.", "The cat sat."),
        ("", "Context: Berlin is big. Paris is the capital of France.\n\nQuestion: What is the capital of France?",
         "Paris is the capital of France."),
        ("", "How many words are in this text: one two three", "3"),
    ],
)  # fmt: skip
def test_simple_instructions_are_followed(client: openai.OpenAI, system: str, text: str, answer: str) -> None:
    assert say(client, text, system) == answer


def test_equal_requests_get_equal_answers_and_choices_differ(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": "gpt-4o", "messages": user(TEXT), "n": 3}
    first = client.chat.completions.create(**asked)
    again = client.chat.completions.create(**asked)
    assert first.choices == again.choices
    assert first.id != again.id
    assert [choice.index for choice in first.choices] == [0, 1, 2]
    assert len({choice.message.content for choice in first.choices}) == 3
    cold = client.chat.completions.create(**asked, temperature=0)
    assert len({choice.message.content for choice in cold.choices}) == 1


@pytest.mark.parametrize(("model", "vocabulary"), [("gpt-4o", "o200k_base"), ("gpt-3.5-turbo", "cl100k_base")])
def test_tokens_are_those_of_the_models_vocabulary(client: openai.OpenAI, model: str, vocabulary: str) -> None:
    text = "Donaudampfschifffahrtsgesellschaft 日本語 \U0001f600 <|endoftext|>"
    tokenizer = Tokenizer.from_pretrained(vocabulary)
    answer = client.chat.completions.create(model=model, messages=user(f"Repeat: {text}"))
    assert answer.choices[0].message.content == text
    assert answer.usage
    assert answer.usage.completion_tokens == len(tokenizer.encode_ordinary(text))
    assert answer.usage.prompt_tokens == 7 + len(tokenizer.encode_ordinary(f"Repeat: {text}"))


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_an_answer_is_cut_at_its_limit(client: openai.OpenAI, name: str) -> None:
    fields: dict[str, Any] = {name: 3}
    answer = client.chat.completions.create(model="gpt-4o", messages=user("Repeat: one two three four"), **fields)
    assert answer.choices[0].finish_reason == "length"
    assert answer.choices[0].message.content == "one two three"
    assert answer.usage
    assert answer.usage.completion_tokens == 3


def test_stop_ends_an_answer_before_the_stop(client: openai.OpenAI) -> None:
    assert say(client, "Repeat: one, two; three", stop=[";", ","]) == "one"
    assert say(client, "Repeat: one, two; three", stop=";") == "one, two"


def test_log_probabilities_spell_the_answer(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="gpt-4o", messages=user("Repeat: na so was \U0001f468\u200d\U0001f469"), logprobs=True, top_logprobs=3
    )
    choice = answer.choices[0]
    assert choice.logprobs
    assert choice.logprobs.content
    spelt = b"".join(bytes(entry.bytes or []) for entry in choice.logprobs.content)
    assert spelt.decode() == choice.message.content
    for entry in choice.logprobs.content:
        chances = [top.logprob for top in entry.top_logprobs]
        assert len(chances) == 3
        assert chances == sorted(chances, reverse=True)
        assert entry.logprob == chances[0] <= 0


@pytest.mark.parametrize("text", ["Repeat: äh 日本語 \U0001f468\u200d\U0001f469\u200d\U0001f467 ok", "Hello!"])
def test_a_stream_adds_up_to_the_whole_answer(client: openai.OpenAI, text: str) -> None:
    asked: dict[str, Any] = {"model": "gpt-4o", "messages": user(text), "n": 2, "logprobs": True}
    whole = client.chat.completions.create(**asked)
    chunks = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    assert len({chunk.id for chunk in chunks}) == 1
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    *parts, last = chunks
    assert last.choices == []
    assert last.usage == whole.usage
    assert all(part.usage is None for part in parts)
    for choice in whole.choices:
        mine = [part.choices[0] for part in parts if part.choices[0].index == choice.index]
        assert mine[0].delta.role == "assistant"
        assert "".join(one.delta.content or "" for one in mine) == choice.message.content
        assert [one.finish_reason for one in mine if one.finish_reason] == ["stop"]
        assert choice.logprobs
        assert [
            entry for one in mine if one.logprobs for entry in one.logprobs.content or []
        ] == choice.logprobs.content


def test_a_stream_is_events_and_ends_with_done(http: httpx.Client) -> None:
    answer = http.post("/chat/completions", json={"model": "gpt-4o", "messages": user("Hello!"), "stream": True})
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = answer.text.split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    assert all("usage" not in json.loads(event.removeprefix("data: ")) for event in events[:-2])


def test_structured_output_is_filled_from_the_text_and_valid(client: openai.OpenAI) -> None:
    wanted: Any = {"type": "json_schema", "json_schema": {"name": "review", "schema": REVIEW, "strict": True}}
    found = json.loads(say(client, TEXT, "Extract the review.", response_format=wanted))
    jsonschema.validate(found, REVIEW)
    tags = found.pop("tags")
    assert len(tags) == 3
    assert found == {
        "name": "Jane Doe",
        "age": 34,
        "email": "jane@example.org",
        "city": "Paris",
        "stars": 4,
        "sentiment": "negative",
        "is_late": True,
        "order": "ORD-1234",
        "price": 12.5,
        "date": "2024-03-03",
        "nickname": None,
        "contact": {"email": "jane@example.org"},
    }


def test_the_clients_own_parsing_gets_typed_objects(client: openai.OpenAI) -> None:
    class Step(pydantic.BaseModel):
        explanation: str
        number: int

    class Event(pydantic.BaseModel):
        name: str
        date: str
        participants: list[str]
        steps: list[Step]

    answer = client.chat.completions.parse(
        model="gpt-4o-2024-08-06",
        messages=user("Extract the event: Alice and Bob go to the Science Fair on 2024-05-01."),
        response_format=Event,
    )
    event = answer.choices[0].message.parsed
    assert event
    assert event.date == "2024-05-01"
    assert event.steps


def test_json_mode_gives_an_object_with_the_keys_that_are_named(client: openai.OpenAI) -> None:
    text = 'Answer as JSON with the keys "email" and "city". Text: I am in Rome, write to me@example.org'
    found = json.loads(say(client, text, response_format={"type": "json_object"}))
    assert found == {"email": "me@example.org", "city": "Rome"}


def test_a_tool_is_called_when_the_text_asks_for_it(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": "gpt-4o", "tools": [WEATHER, TIME]}
    answer = client.chat.completions.create(messages=user("What is the weather in Paris?"), **asked)
    choice = answer.choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None
    (call,) = choice.message.tool_calls or []
    assert call.type == "function"
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments)["city"] == "Paris"
    told: Any = [
        *user("What is the weather in Paris?"),
        choice.message.to_dict(),
        {"role": "tool", "tool_call_id": call.id, "content": "21 degrees"},
    ]
    final = client.chat.completions.create(messages=told, **asked)
    assert final.choices[0].finish_reason == "stop"
    assert "21 degrees" in (final.choices[0].message.content or "")
    plain = client.chat.completions.create(messages=user("Hello!"), **asked)
    assert plain.choices[0].message.tool_calls is None


@pytest.mark.parametrize(
    ("choice", "names", "finish"),
    [
        ("none", [], "stop"),
        ("auto", [], "stop"),
        ("required", ["get_weather"], "tool_calls"),
        ({"type": "function", "function": {"name": "get_time"}}, ["get_time"], "stop"),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [
                {"type": "function", "function": {"name": "get_time"}}]}},
            ["get_time"],
            "tool_calls",
        ),
    ],
)  # fmt: skip
def test_tool_choice_decides(client: openai.OpenAI, choice: Any, names: list[str], finish: str) -> None:
    answer = client.chat.completions.create(
        model="gpt-4o", messages=user("Hello!"), tools=[WEATHER, TIME], tool_choice=choice
    )
    calls = answer.choices[0].message.tool_calls or []
    assert [call.function.name for call in calls if call.type == "function"] == names
    assert answer.choices[0].finish_reason == finish


def test_several_tools_are_called_at_once_unless_that_is_forbidden(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": "gpt-4o", "tools": [WEATHER, TIME]}
    text = user("Tell me the weather and the time in Paris")
    both = client.chat.completions.create(messages=text, **asked).choices[0].message.tool_calls or []
    assert {call.function.name for call in both if call.type == "function"} == {"get_weather", "get_time"}
    assert len({call.id for call in both}) == 2
    one = client.chat.completions.create(messages=text, parallel_tool_calls=False, **asked)
    assert len(one.choices[0].message.tool_calls or []) == 1


def test_streamed_tool_calls_add_up(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="gpt-4o", messages=user("Weather and time in Paris?"), tools=[WEATHER, TIME], stream=True
    )
    found: dict[int, list[str]] = {}
    finish = ""
    for chunk in stream:
        finish = chunk.choices[0].finish_reason or finish
        for call in chunk.choices[0].delta.tool_calls or []:
            assert call.function
            if call.id:
                found[call.index] = [call.function.name or "", ""]
            found[call.index][1] += call.function.arguments or ""
    assert finish == "tool_calls"
    assert sorted(name for name, _ in found.values()) == ["get_time", "get_weather"]
    assert all(isinstance(json.loads(arguments), dict) for _, arguments in found.values())


def test_functions_of_old_are_still_answered(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="gpt-4o", messages=user("What is the weather in Rome?"), functions=[WEATHER["function"]]
    )
    assert answer.choices[0].finish_reason == "function_call"
    assert answer.choices[0].message.function_call
    assert json.loads(answer.choices[0].message.function_call.arguments)["city"] == "Rome"


def test_reasoning_models_pay_for_their_thoughts(client: openai.OpenAI) -> None:
    def tokens(effort: Any) -> int:
        answer = client.chat.completions.create(model="o1", messages=user("Hello!"), reasoning_effort=effort)
        assert answer.usage
        assert answer.usage.completion_tokens_details
        thought = answer.usage.completion_tokens_details.reasoning_tokens or 0
        assert answer.usage.completion_tokens == thought + 9
        return thought

    assert 0 < tokens("low") < tokens("medium") < tokens("high")
    short = client.chat.completions.create(model="o1", messages=user("Hello!"), max_completion_tokens=20)
    assert (short.choices[0].message.content, short.choices[0].finish_reason) == ("", "length")


def test_long_prompts_are_cached_from_the_second_time_on(client: openai.OpenAI) -> None:
    def cached(tail: str) -> int:
        answer = client.chat.completions.create(model="gpt-4o", messages=user("word " * 2_000 + tail))
        assert answer.usage
        assert answer.usage.prompt_tokens_details
        return answer.usage.prompt_tokens_details.cached_tokens or 0

    assert cached("one") == 0
    assert cached("two") == 1_920


def test_pictures_cost_tokens_by_their_size(client: openai.OpenAI) -> None:
    def tokens(detail: str) -> int:
        parts: Any = [
            {"type": "text", "text": "Look"},
            {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": detail}},
        ]
        answer = client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": parts}])
        assert answer.usage
        return answer.usage.prompt_tokens

    assert tokens("low") == 8 + 85
    assert tokens("high") == 8 + 765


def test_tier_and_metadata_are_given_back(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="gpt-4o", messages=user("Hello!"), service_tier="auto", metadata={"row": "7"}, seed=3, user="me"
    )
    assert answer.service_tier == "default"
    assert answer.to_dict()["metadata"] == {"row": "7"}


def test_the_counters_count_what_was_used_and_the_limits_what_was_asked_for() -> None:
    with start_sandbox(tpm=1_000) as server, openai.OpenAI(base_url=server.url, api_key=server.key) as client:
        raw = client.chat.completions.with_raw_response.create(model="gpt-4o", messages=user("Hello!"), max_tokens=500)
        assert raw.headers["x-ratelimit-remaining-tokens"] == str(1_000 - 9 - 500)
        assert server.stats()["tokens"] == 18
