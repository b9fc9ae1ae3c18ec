"""`chat` from YAML text: what rows ask, what goes over the wire, and which columns there will be."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import FileChanged
from penstock.items import Cause, Fault
from penstock.steps.chat import Chat
from penstock.steps.chat_messages import read_payload
from penstock.tokens import counter

Make = Callable[[str], Any]
PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)
PROMPT = 'uses: chat\nmodel: gpt-4o-mini\nprompt: "{{ body }}"\n'
SCHEMA = """
response_format:
  json_schema:
    type: object
    properties: {topic: {type: string}, stars: {type: integer}}
    required: [topic, stars]
    additionalProperties: false
"""


def step(**settings: Any) -> Chat:
    return Chat.model_validate({"uses": "chat", "model": "gpt-4o-mini", "prompt": "{{ body }}", **settings})


def asked(chat: Chat, **row: Any) -> Any:
    """The messages that a row asks; None where it has nothing to ask; the fault where it cannot."""
    frame = pl.DataFrame([row], infer_schema_length=None)
    payload = chat.payloads(frame)[0]
    if payload is None:
        return chat.payload_error(row)
    return read_payload(payload)[0] if payload else None


def sent(chat: Chat, **row: Any) -> dict[str, Any]:
    """The body of the request that a row becomes."""
    payload = chat.payloads(pl.DataFrame([row], infer_schema_length=None))[0]
    body: dict[str, Any] = json.loads(chat.body([payload]))
    return body


def test_a_prompt_is_a_users_message_after_the_systems() -> None:
    assert asked(step(system="Be terse."), body="Hi") == [
        {"role": "system", "content": "Be terse."},
        {"role": "user", "content": "Hi"},
    ]


def test_messages_are_asked_in_their_order_with_their_names(step_of: Make) -> None:
    chat = step_of("""
        uses: chat
        model: gpt-4o-mini
        messages:
          - {role: developer, content: "Answer in {{ language }}."}
          - {role: user, content: 2 + 2, name: ann}
          - {role: assistant, content: "4"}
          - {role: user, content: "{{ body }}"}
    """)
    assert asked(chat, body="3 + 3", language="German") == [
        {"role": "developer", "content": "Answer in German."},
        {"role": "user", "content": "2 + 2", "name": "ann"},
        {"role": "assistant", "content": "4"},
        {"role": "user", "content": "3 + 3"},
    ]


def test_equal_rows_have_equal_payloads_and_others_do_not() -> None:
    payloads = step(system="x").payloads(pl.DataFrame({"body": ["a", "a", "b"], "other": [1, 2, 3]}))
    assert payloads[0] == payloads[1] != payloads[2]


@given(st.text(max_size=30), st.text(max_size=30))
def test_every_text_arrives_as_it_is(system: str, body: str) -> None:
    chat = step(system="{{ system }}")
    messages = asked(chat, system=system, body=body)
    if not body.strip():
        assert messages is None
    else:
        said = [("system", system), ("user", body)]
        assert [(one["role"], one["content"]) for one in messages] == [one for one in said if one[1].strip()]


@pytest.mark.parametrize("body", [None, "", "  \n"])
def test_a_row_that_says_nothing_asks_nothing(body: str | None) -> None:
    chat = step(system="You are {{ name }}.")
    payload = chat.payloads(pl.DataFrame({"body": [body], "name": ["Bo"]}, schema_overrides={"body": pl.String}))[0]
    assert payload == ""
    assert chat.is_empty(payload)


def test_messages_without_columns_do_not_make_a_blank_row_ask(step_of: Make) -> None:
    chat = step_of("""
        uses: chat
        model: m
        messages:
          - {role: user, content: "Here is an example."}
          - {role: assistant, content: "Understood."}
          - {role: user, content: "{{ body }}"}
    """)
    assert asked(chat, body=" ") is None
    assert len(asked(chat, body="x")) == 3


def test_a_row_whose_template_fails_says_why() -> None:
    fault = asked(step(prompt="{{ 1 / number }}"), number=0)
    assert isinstance(fault, Fault)
    assert fault.cause is Cause.EXPRESSION
    assert "division by zero" in fault.message


def test_half_a_character_is_an_error_of_the_row() -> None:
    fault = asked(step(prompt=r"{{ '\ud800' }}{{ body }}"), body="x")
    assert fault.cause is Cause.EXPRESSION
    assert "surrogate" in fault.message


def test_no_rows_ask_nothing() -> None:
    assert step().payloads(pl.DataFrame(schema={"body": pl.String})).to_list() == []


TALK = [
    {"role": "system", "content": "Be terse."},
    {"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "image_url", "image_url": {"url": "a"}}]},
    {"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": ""}}]},
    {"role": "tool", "tool_call_id": "1", "content": "2"},
]  # fmt: skip


def in_column() -> Chat:
    return Chat.model_validate({"uses": "chat", "model": "m", "messages_column": "talk"})


def test_a_column_may_hold_the_messages_as_json_or_as_structs() -> None:
    assert asked(in_column(), talk=json.dumps(TALK)) == TALK
    structs = [
        {"role": "user", "content": "Hi", "name": None},
        {"role": "assistant", "content": "Hello", "name": "bot"},
    ]
    assert asked(in_column(), talk=structs) == [{"role": "user", "content": "Hi"}, structs[1]]


def test_how_json_is_written_in_a_column_makes_no_other_question() -> None:
    talks = ['[{"role": "user", "content": "Hi"}]', '[{"content":"Hi","role":"user"}]']
    assert in_column().payloads(pl.DataFrame({"talk": talks})).n_unique() == 1


@pytest.mark.parametrize("talk", [None, "", "[]", '[{"role": "user", "content": " "}]', '[{"role": "user"}]'])
def test_a_column_without_anything_said_asks_nothing(talk: str | None) -> None:
    assert in_column().payloads(pl.DataFrame({"talk": [talk]}, schema={"talk": pl.String})).to_list() == [""]


@pytest.mark.parametrize(
    ("talk", "told"),
    [
        ("Hi", "not JSON"),
        ('{"role": "user"}', "no list"),
        ("[1]", "message 1"),
        ('[{"role": "bot", "content": "x"}]', "message 1"),
        ('[{"role": ["user"], "content": "x"}]', "message 1"),
        ("[" * 5000, "not JSON"),
        ('[{"role": "user", "content": [{"type": "image_file", "path": "/etc/passwd"}]}]', "message 1"),
    ],
)  # fmt: skip
def test_a_column_that_holds_no_messages_is_an_error_of_the_row(talk: str, told: str) -> None:
    fault = asked(in_column(), talk=talk)
    assert fault.cause is Cause.EXPRESSION
    assert told in fault.message


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["role", "content", "type", "text", "image_url", "detail", "tool_calls"]), inner
        )
    ),
    max_leaves=12,
)
MESSAGE = st.fixed_dictionaries({"role": st.sampled_from(["user", "tool"]), "content": JSON}, optional={"name": JSON})


@given(st.lists(MESSAGE | JSON, max_size=3).map(json.dumps) | st.text(max_size=20))
def test_whatever_a_column_holds_is_asked_or_is_an_error_of_the_row(talk: str) -> None:
    chat = in_column()
    payload = chat.payloads(pl.DataFrame({"talk": [talk]}))[0]
    if payload is None:
        assert chat.payload_error({"talk": talk}).cause is Cause.EXPRESSION
    elif payload:
        assert json.loads(chat.body([payload]))["messages"]
        assert chat.tokens([payload], counter("m").count_many)[0] > 0


def with_image(folder: Path, detail: str | None = None) -> Chat:
    part = {"image": "{{ photo }}", **({"detail": detail} if detail else {})}
    messages = [{"role": "user", "content": [{"text": "{{ body }}"}, part]}]
    return Chat.model_validate({"uses": "chat", "model": "m", "messages": messages, "image_folder": str(folder)})


def test_an_address_is_passed_on_and_a_file_is_sent_inside_the_request(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    content = sent(with_image(tmp_path, "low"), body="What is it?", photo="https://example.com/a.png")
    assert content["messages"][0]["content"] == [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}},
    ]
    for photo in ("a.png", str(tmp_path / "a.png")):
        part = sent(with_image(tmp_path), body="x", photo=photo)["messages"][0]["content"][1]
        assert part == {
            "type": "image_url",
            "image_url": {"url": "data:image/png;base64," + base64.b64encode(PNG).decode()},
        }


def test_a_changed_image_is_another_question(tmp_path: Path) -> None:
    chat = with_image(tmp_path)
    frame = pl.DataFrame({"body": ["x"], "photo": ["a.png"]})
    (tmp_path / "a.png").write_bytes(PNG)
    before = chat.payloads(frame)[0]
    (tmp_path / "a.png").write_bytes(PNG + b"more")
    assert chat.payloads(frame)[0] != before
    with pytest.raises(FileChanged, match=r"a\.png was changed"):
        chat.body([before])
    (tmp_path / "a.png").unlink()
    with pytest.raises(FileChanged, match="cannot be read any more"):
        chat.body([before])


@pytest.mark.parametrize("photo", ["gone.png", "text.png", ".", "s3://bucket/a.png", "a\0b"])
def test_what_is_no_image_is_an_error_of_the_row(tmp_path: Path, photo: str) -> None:
    (tmp_path / "text.png").write_text("not an image")
    fault = asked(with_image(tmp_path), body="x", photo=photo)
    assert fault.cause is Cause.UNREADABLE_FILE


def test_a_missing_image_is_left_out_and_an_image_alone_is_something_to_ask(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    chat = with_image(tmp_path)
    assert asked(chat, body="x", photo=None) == [{"role": "user", "content": "x"}]
    assert [part["type"] for part in asked(chat, body=None, photo="a.png")[0]["content"]] == ["image_file"]
    assert asked(chat, body=None, photo=None) is None


def test_only_what_is_set_goes_over_the_wire() -> None:
    assert sent(step(), body="Hi") == {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hi"}]}


def test_every_setting_goes_over_the_wire_under_the_apis_name(step_of: Make) -> None:
    body = sent(
        step_of("""
        uses: chat
        model: gpt-4o-mini
        prompt: "{{ body }}"
        temperature: 0
        top_p: 0.5
        n: 2
        max_tokens: 10
        stop: [a, b]
        seed: 3
        presence_penalty: -1
        frequency_penalty: 1
        logit_bias: {50256: -100}
        logprobs: true
        top_logprobs: 2
        tools:
          - {name: find, description: Finds, parameters: {type: object, properties: {a: {type: string}}}}
          - {type: function, function: {name: stop}}
        tool_choice: find
        parallel_tool_calls: false
        reasoning_effort: low
        stream: true
        extra_body: {user: me, metadata: {a: b}}
        """),
        body="Hi",
    )
    find = {
        "name": "find",
        "description": "Finds",
        "parameters": {"type": "object", "properties": {"a": {"type": "string"}}},
    }
    assert body == {
        "model": "gpt-4o-mini",
        "messages": [{"role": "user", "content": "Hi"}],
        "temperature": 0,
        "top_p": 0.5,
        "n": 2,
        "max_tokens": 10,
        "stop": ["a", "b"],
        "seed": 3,
        "presence_penalty": -1,
        "frequency_penalty": 1,
        "logit_bias": {"50256": -100},
        "logprobs": True,
        "top_logprobs": 2,
        "tools": [{"type": "function", "function": find}, {"type": "function", "function": {"name": "stop"}}],
        "tool_choice": {"type": "function", "function": {"name": "find"}},
        "parallel_tool_calls": False,
        "reasoning_effort": "low",
        "stream": True,
        "stream_options": {"include_usage": True},
        "user": "me",
        "metadata": {"a": "b"},
    }


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("gpt-4o-mini", "max_tokens"),
        ("gpt-4.1", "max_tokens"),
        ("llama-3.3-70b", "max_tokens"),
        ("ft:gpt-4o-mini-2024-07-18:me::abc", "max_tokens"),
        ("ollama-o1", "max_tokens"),
        ("o1", "max_completion_tokens"),
        ("o3-mini-2025-01-31", "max_completion_tokens"),
        ("o4-mini", "max_completion_tokens"),
        ("ft:o4-mini:me", "max_completion_tokens"),
        ("gpt-5", "max_completion_tokens"),
        ("gpt-5.1-mini", "max_completion_tokens"),
    ],
)
def test_the_bound_of_an_answer_has_the_name_that_the_model_takes(model: str, name: str) -> None:
    body = sent(step(model=model, max_tokens=9), body="x")
    assert {field: body[field] for field in body if field.startswith("max_")} == {name: 9}


def test_a_schema_is_sent_by_the_name_of_its_column(step_of: Make) -> None:
    named = sent(step_of(PROMPT + SCHEMA + "output: my topic!\n"), body="x")["response_format"]
    assert named["type"] == "json_schema"
    assert named["json_schema"]["name"] == "my_topic_"
    assert named["json_schema"]["strict"] is True
    assert named["json_schema"]["schema"]["required"] == ["topic", "stars"]
    own = sent(step_of(PROMPT + SCHEMA + "  name: mine\n  description: What for\n  strict: false\n"), body="x")
    about = {name: value for name, value in own["response_format"]["json_schema"].items() if name != "schema"}
    assert about == {"name": "mine", "description": "What for", "strict": False}
    assert sent(step(response_format="json_object", system="Answer in JSON."), body="x")["response_format"] == {
        "type": "json_object"
    }


@pytest.mark.parametrize(
    ("more", "columns"),
    [
        ("", {"answer": "String", "answer_finish_reason": "String", "answer_refusal": "String"}),
        ("n: 2", {"answer": "List(String)", "answer_finish_reason": "List(String)", "answer_refusal": "List(String)"}),
        (
            "output: x\ntools: [{name: f}]\nlogprobs: true",
            {"x": "String", "x_finish_reason": "String", "x_refusal": "String"}
            | {"x_tool_calls": None, "x_logprobs": None},
        ),
        (
            SCHEMA,
            {"answer": "Struct({'topic': String, 'stars': Int64})"}
            | {"answer_finish_reason": "String", "answer_refusal": "String"},
        ),
        (
            SCHEMA + "unpack: true",
            {"topic": "String", "stars": "Int64", "answer_finish_reason": "String", "answer_refusal": "String"},
        ),
    ],
)  # fmt: skip
def test_the_columns_are_known_beforehand(step_of: Make, more: str, columns: dict[str, str | None]) -> None:
    chat = step_of(PROMPT + more)
    assert chat.columns_after({"body": None}) == {"body": None, **columns}
    assert list(columns) == chat.result_schema().names
    kinds = pl.DataFrame(chat.result_schema().empty_table()).schema
    assert {name: str(kinds[name]) for name, kind in columns.items() if kind} == {
        name: kind for name, kind in columns.items() if kind
    }


@pytest.mark.parametrize("name", ["topic", "answer_refusal"])
def test_no_column_is_overwritten(step_of: Make, name: str) -> None:
    with pytest.raises(ValueError, match=f"'{name}' exists already"):
        step_of(PROMPT + SCHEMA + "unpack: true").columns_after({name: None})


def test_a_property_may_not_be_called_as_a_column_beside_it(step_of: Make) -> None:
    chat = step_of(PROMPT + SCHEMA.replace("topic", "answer_refusal") + "unpack: true")
    with pytest.raises(ValueError, match="two columns of the answer would be called 'answer_refusal'"):
        chat.columns_after({})


def test_the_result_is_typed(step_of: Make) -> None:
    chat = step_of(PROMPT + SCHEMA + "n: 2")
    assert chat.result_schema().field("answer").type == pa.list_(pa.struct({"topic": pa.string(), "stars": pa.int64()}))


def test_how_an_answer_comes_is_no_part_of_the_fingerprint() -> None:
    assert step().content() == step(stream=True).content() == step(repair=0).content()
    assert step().content() != step(n=2).content()
    assert step().content() != step(system="Be terse.").content()


def test_a_schema_in_a_file_is_part_of_the_fingerprint_and_its_place_is_not(tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    contents = []
    for name, title in (("a.json", "one"), ("b.json", "one"), ("b.json", "two")):
        (tmp_path / name).write_text(json.dumps({**schema, "title": title}))
        form = {"json_schema": str(tmp_path / name), "strict": False}
        contents.append(step(response_format=form).content())
    assert contents[0] == contents[1] != contents[2]


def test_tokens_are_those_of_the_messages_the_declarations_and_the_longest_answer(tmp_path: Path) -> None:
    count = counter("gpt-4o-mini").count_many

    def tokens(chat: Chat, **row: Any) -> int:
        return chat.tokens(chat.payloads(pl.DataFrame([row])).to_list(), count)[0]

    plain = tokens(step(), body="one two three four")
    assert 8 <= plain <= 16
    assert tokens(step(), body="one two three four " * 100) - plain in range(390, 410)
    assert tokens(step(max_tokens=50, n=3), body="one two three four") == plain + 150
    assert tokens(step(tools=[{"name": "find", "description": "word " * 100}]), body="one two three four") > plain + 90
    (tmp_path / "a.png").write_bytes(PNG)
    low, high = (tokens(with_image(tmp_path, detail), body="x", photo="a.png") for detail in ("low", "high"))
    assert high - low == 680


def test_answers_are_bounded_where_the_setting_bounds_them() -> None:
    assert step().answer_tokens is None
    assert step(max_tokens=100, n=3).answer_tokens == 300
    assert step().packing.max_items == 1
    assert step(stream=True).packing.answer_bytes > step().packing.answer_bytes
    assert (step().streams, step(stream=True).streams) == (False, True)
