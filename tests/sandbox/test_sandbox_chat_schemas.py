"""What is filled into a JSON Schema is valid by it, whatever the text says."""

from __future__ import annotations

import json
import time
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.sandbox.json_schemas import BadSchema, check_schema
from penstock.sandbox.models.chat import Conversation, find_subject, reply
from penstock.sandbox.models.extraction import fill
from penstock.sandbox.models.labels import find_labels, rank_labels
from penstock.sandbox.models.moderation import score_text

NAMES = st.sampled_from(["name", "age", "is_late", "date", "email", "price", "tags", "stars", "summary", "x"])
STRINGS = st.builds(lambda low, more: {"type": "string", "minLength": low, "maxLength": low + more},
                    st.integers(0, 20), st.integers(0, 30))  # fmt: skip
PATTERNS = st.sampled_from([r"^[A-Z]{2}-\d{4}$", r"^\d{3}$", r"^(red|green)$", r"^\w+@\w+\.com$", r"^#[0-9a-f]{6}$"])
LEAVES = st.one_of(
    STRINGS,
    PATTERNS.map(lambda pattern: {"type": "string", "pattern": pattern}),
    st.builds(lambda low, more: {"type": "integer", "minimum": low, "maximum": low + more},
              st.integers(-1000, 1000), st.integers(0, 100)),
    st.builds(lambda low, more: {"type": "number", "exclusiveMinimum": low, "maximum": low + more},
              st.integers(-1000, 1000), st.integers(1, 100)),
    st.sampled_from([3, 5, 10]).map(lambda step: {"type": "integer", "multipleOf": step}),
    st.just({"type": "boolean"}),
    st.just({"type": ["string", "null"]}),
    st.lists(st.sampled_from(["red", "green", "blue", 1, None]), min_size=1, unique=True).map(
        lambda values: {"enum": values}
    ),
    st.integers().map(lambda value: {"const": value}),
)  # fmt: skip


def closed(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


SCHEMAS = st.dictionaries(
    NAMES,
    st.recursive(
        LEAVES,
        lambda inner: st.dictionaries(NAMES, inner, max_size=3).map(closed)
        | st.builds(lambda items, low, more: {"type": "array", "items": items, "minItems": low, "maxItems": low + more},
                    inner, st.integers(0, 3), st.integers(0, 3))
        | st.lists(inner, min_size=1, max_size=3).map(lambda branches: {"anyOf": branches}),
        max_leaves=8,
    ),
    max_size=6,
).map(closed)  # fmt: skip
TEXTS = st.text(max_size=80) | st.sampled_from(
    [
        "Name: Bob; age: 12. Stars: 7. It was not late, price $3.50, AB-1234, red and green.",
        "I am Jane Doe, jane@x.com, 34 years old, 3 March 2024, #00ff00, 123.",
    ]
)


@settings(max_examples=250, deadline=None)
@given(SCHEMAS, TEXTS, st.integers(0, 4))
def test_a_filled_schema_is_valid(schema: dict[str, Any], text: str, variant: int) -> None:
    check_schema(schema, strict=True)
    value = fill(schema, text, variant)
    jsonschema.validate(json.loads(json.dumps(value)), schema)
    assert fill(schema, text, variant) == value


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "object", "properties": {"a": {"allOf": [{}]}}, "required": ["a"], "additionalProperties": False},
         r"In context=\('properties', 'a'\), 'allOf' is not permitted"),
        ({"type": "object", "properties": {"a": {}}, "required": ["a"], "additionalProperties": False},
         "schema must have a 'type' key"),
        ({"type": "object", "properties": {"a": {"$ref": "#/$defs/b"}}, "required": ["a"],
          "additionalProperties": False}, "can only point to definitions"),
        ({"type": "object", "properties": {"a": {"type": "array"}}, "required": ["a"], "additionalProperties": False},
         "array schema missing items"),
        ({"type": "object", "properties": {}, "required": ["b"], "additionalProperties": False}, "Extra required key"),
        ({}, "schema must be a JSON Schema of 'type: \"object\"'"),
    ],
)  # fmt: skip
def test_what_cannot_be_followed_strictly_is_named_with_its_place(schema: dict[str, Any], words: str) -> None:
    with pytest.raises(BadSchema, match=words):
        check_schema(schema, strict=True)


@pytest.mark.parametrize(
    ("instruction", "labels"),
    [
        ("Classify the text into one of the following categories: sports, business or politics.",
         ["sports", "business", "politics"]),
        ("Labels: [spam, ham]", ["spam", "ham"]),
        ("Is the sentiment positive/negative/neutral?", ["positive", "negative", "neutral"]),
        ("Answer only with yes or no.", ["yes", "no"]),
        ("Categories:\n1. Billing - money\n2. Technical: errors\n", ["Billing", "Technical"]),
        ("Tell me a story.", []),
    ],
)  # fmt: skip
def test_labels_are_found_as_people_list_them(instruction: str, labels: list[str]) -> None:
    assert find_labels(instruction) == labels


def test_labels_are_chosen_by_what_is_said() -> None:
    topics = ["sports", "business", "politics"]
    assert rank_labels(topics, "The team won the match")[0] == "sports"
    assert rank_labels(topics, "The election of the president")[0] == "politics"
    assert rank_labels(["bug report", "feature request"], "I request a new feature: dark mode")[0] == "feature request"
    assert rank_labels(["English", "German", "French"], "Das ist ein Haus und der Hund ist nicht da")[0] == "German"


def test_the_subject_is_what_the_instruction_is_about() -> None:
    assert find_subject("Summarize the following text:\n\nIt rained. It snowed.") == "It rained. It snowed."
    assert find_subject("Classify this.\nText: It rained.") == "It rained."
    assert find_subject("Extract the data:\n```\na: 1\n```") == "a: 1"
    assert find_subject("Name: Bob\nAge: 3") == "Name: Bob\nAge: 3"


@given(st.text(max_size=200), st.text(max_size=100), st.integers(0, 5))
def test_every_conversation_gets_an_answer(user: str, system: str, variant: int) -> None:
    talk = Conversation(system, user)
    assert reply(talk, variant) == reply(talk, variant)


@pytest.mark.parametrize("piece", ["a", "1", "1,234 ", '"', "a.", "a: ", "classify as ", "<a>", ",", "$1"])
def test_long_texts_of_any_kind_are_read_in_no_time(piece: str) -> None:
    text = piece * (60_000 // len(piece))
    names = ("name", "email", "price", "age", "url", "city", "phone", "date", "order_id")
    properties = {name: {"type": "number" if name in ("price", "age") else "string"} for name in names}
    started = time.process_time()
    reply(Conversation("", text), 0)
    fill({"type": "object", "properties": properties}, text)
    score_text(text)
    assert time.process_time() - started < 3
