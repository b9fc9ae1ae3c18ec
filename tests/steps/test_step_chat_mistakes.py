"""Mistakes in a `chat` step are told at their places before the first request."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import pytest

from penstock.errors import SpecError
from penstock.spec.load import Loaded, load_text

HEAD = """\
name: tickets
provider: {base_url: "http://localhost:1/v1"}
source: {path: tickets.csv, key: id}
outputs: [{uses: parquet, path: out}]
steps:
"""
SCHEMA = {
    "type": "object",
    "properties": {"topic": {"type": "string"}},
    "required": ["topic"],
    "additionalProperties": False,
}


def load(folder: Path, step: str) -> Loaded:
    """A pipeline whose only step is this one; its settings begin in line 7, column 5."""
    (folder / "tickets.csv").write_text("id,body,photo\n1,a,b\n")
    settings = textwrap.indent(textwrap.dedent(step).strip(), "    ")
    text = f"{HEAD}  - uses: chat\n    model: gpt-4o-mini\n{settings}\n"
    return load_text(text, file="tickets.yaml", folder=folder, environ={})


def mistakes(folder: Path, step: str) -> list[tuple[str, str]]:
    """The marked text and the message of each mistake."""
    with pytest.raises(SpecError) as caught:
        load(folder, step)
    return [
        (problem.source[problem.column - 1 : problem.column - 1 + problem.width], problem.message)
        for problem in caught.value.problems
    ]


@pytest.mark.parametrize(
    ("step", "marked", "told"),
    [
        ("temperature: 0", "chat", "needs `prompt`, `messages` or `messages_column`"),
        ('prompt: "{{ body }}"\nmessages_column: body', "body", "`prompt` says already what is asked"),
        ("messages_column: body\nsystem: 'Like {{ photo }}'", "'Like", "it goes with `prompt`"),
        ('prompt: "{{ bdy }}"', "bdy", "there is no column `bdy`"),
        ("prompt: Hello.", "Hello.", "uses no column"),
        ("messages_column: talk", "talk", "there is no column `talk`"),
        ('messages: [{role: user, content: "{{ bdy }}"}]', "bdy", "there is no column `bdy`"),
        ('messages: [{role: user, content: [{text: "{{ body }}"}, {image: "{{ pic }}"}]}]', "pic", "no column `pic`"),
        ('messages: [{role: bot, content: "{{ body }}"}]', "bot", "`role` must be one of"),
        ('messages: [{role: user, content: [{txt: "{{ body }}"}]}]', "txt", "unknown key `txt`"),
        ("messages: [{role: user, content: [{detail: low}]}]", "{", "either `text` or `image`"),
        ('messages: [{role: user, content: [{text: "{{ body }}", detail: low}]}]', "low", "only an image has it"),
        ('prompt: "{{ body }}"\ntemperature: 3', "3", "must be 2 or less"),
        ('prompt: "{{ body }}"\nn: 0', "0", "must be 1 or more"),
        ('prompt: "{{ body }}"\nrepair: 6', "6", "must be 5 or less"),
        ('prompt: "{{ body }}"\nstop: [a, b, c, d, e]', "[", "4 entries or fewer"),
        ('prompt: "{{ body }}"\nlogit_bias: {50256: -101}', "-101", "must be -100 or more"),
        ('prompt: "{{ body }}"\ntop_logprobs: 3', "3", "it goes with `logprobs: true`"),
        ('prompt: "{{ body }}"\nunpack: true', "true", "it needs `response_format`"),
        ('prompt: "{{ body }}"\nresponse_format: json_object', "json_object", "the word JSON"),
        ('prompt: "{{ body }}"\nresponse_format: xml', "xml", "must be one of"),
        ('prompt: "{{ body }}"\ntool_choice: auto', "auto", "it goes with `tools`"),
        ('prompt: "{{ body }}"\ntools: [{name: find}]\ntool_choice: fnd', "fnd", "there is no tool 'fnd'; allowed"),
        ('prompt: "{{ body }}"\ntools: [{name: find}, {name: find}]', "find", "two tools are called 'find'"),
        ('prompt: "{{ body }}"\ntools: [{name: find it}]', "find it", "does not have the form"),
        ('prompt: "{{ body }}"\ntools: [{name: f, parameters: {type: objct}}]', "objct", "`type: object`"),
        ('prompt: "{{ body }}"\ntools: [{name: f, strict: true}]', "{", "a strict tool needs `parameters`"),
        ('prompt: "{{ body }}"\nextra_body: {n: 2}', "2", "this is a setting of the step"),
        ('prompt: "{{ body }}"\nseed: 1\nextra_body: {seed: 2}', "2", "this is a setting of the step"),
        ('prompt: "{{ body }}"\nextra_body: {functions: []}', "[", "use `tools`"),
        ('prompt: "{{ body }}"\nmax_tokens: 9\nextra_body: {max_completion_tokens: 9}', "9", "`max_tokens` is set too"),
        ('prompt: "{{ body }}"\noutput: body', "body", "the column 'body' exists already"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_at_its_place(tmp_path: Path, step: str, marked: str, told: str) -> None:
    found = mistakes(tmp_path, step)
    assert len(found) == 1, found
    assert told in found[0][1]
    assert found[0][0].startswith(marked)


def structured(schema: str, more: str = "") -> str:
    indented = textwrap.indent(textwrap.dedent(schema).strip(), "    ")
    return f'prompt: "{{{{ body }}}}"\nresponse_format:\n  json_schema:\n{indented}\n{more}'


GOOD = """
type: object
properties:
  topic: {type: string}
  parts: {type: array, items: {$ref: "#/$defs/part"}}
required: [topic, parts]
additionalProperties: false
$defs:
  part: {anyOf: [{type: string}, {type: "null"}]}
"""


def test_a_schema_that_the_service_takes_is_right(tmp_path: Path) -> None:
    assert load(tmp_path, structured(GOOD)).columns[-1]["answer"] == "Struct({'topic': String, 'parts': List(String)})"


@pytest.mark.parametrize(
    ("change", "marked", "told"),
    [
        (("topic: {type: string}", "topic: {type: strng}"), "strng", "there is no type 'strng'"),
        (("topic: {type: string}", "topic: {}"), "{", "strict mode wants a `type`"),
        (("topic: {type: string}", "topic: {type: string, default: a}"), "a", "strict mode does not take `default`"),
        (("topic: {type: string}", "topic: {type: string, format: uri}"), "uri", "does not know the format 'uri'"),
        (("topic: {type: string}", 'topic: {type: string, pattern: "("}'), '"("', "must be a regular expression"),
        (("topic: {type: string}", "topic: {enum: []}"), "[", "must be a list of values, and not empty"),
        (("topic: {type: string}", "topic: {type: array}"), "{", "an array needs `items`"),
        (("topic: {type: string}", "topic: {type: object}"), "{", "strict mode wants `additionalProperties: false`"),
        (('"#/$defs/part"', '"#/$defs/prt"'), '"#/$defs/prt"', "leads nowhere"),
        (('"#/$defs/part"', '"http://example.com/a.json"'), '"http', "leads nowhere"),
        (('{$ref: "#/$defs/part"}', '{$ref: "#/$defs/part", title: a}'), "{", "takes nothing beside `$ref`"),
        (("[topic, parts]", "[topic]"), "[", "missing: parts"),
        (("[topic, parts]", "[topic, parts, more]"), "[", "`properties` does not have: more"),
        (("additionalProperties: false", "additionalProperties: true"), "true", "`additionalProperties: false`"),
        (("additionalProperties: false", "minProperties: 1\nadditionalProperties: false"), "1", "`minProperties`"),
        (("type: object\nproperties", "type: array\nproperties"), "array", "`type: object`"),
        (("part: {anyOf: [", "part: {oneOf: ["), "[", "strict mode does not take `oneOf`"),
    ],
)  # fmt: skip
def test_what_a_strict_schema_may_not_have_is_told_where_it_stands(
    tmp_path: Path, change: tuple[str, str], marked: str, told: str
) -> None:
    assert change[0] in GOOD
    found = mistakes(tmp_path, structured(GOOD.replace(*change)))
    assert found[0][0].startswith(marked), found
    assert told in found[0][1]


def test_all_mistakes_of_a_schema_are_told_at_once(tmp_path: Path) -> None:
    schema = GOOD.replace("type: string}", "type: strng, default: a}").replace("[topic, parts]", "[]")
    assert len(mistakes(tmp_path, structured(schema))) == 5


def test_without_strict_a_schema_may_have_what_json_schema_has(tmp_path: Path) -> None:
    schema = "type: object\nproperties: {topic: {type: string, default: a}}\nminProperties: 1"
    load(tmp_path, structured(schema, "  strict: false"))
    assert mistakes(tmp_path, structured(schema.replace("string", "strng"), "  strict: false"))


def test_unpacking_needs_a_schema_that_names_all_properties(tmp_path: Path) -> None:
    free = structured("type: object\nadditionalProperties: {type: string}", "  strict: false\nunpack: true")
    assert "does not say which properties" in mistakes(tmp_path, free)[0][1]


def test_a_schema_file_is_found_from_the_pipelines_folder(tmp_path: Path) -> None:
    (tmp_path / "schemas").mkdir()
    (tmp_path / "schemas" / "topic.json").write_text(json.dumps(SCHEMA))
    loaded = load(tmp_path, 'prompt: "{{ body }}"\nresponse_format: {json_schema: schemas/topic.json}\nunpack: true')
    assert loaded.columns[-1]["topic"] == "String"


def test_a_schema_file_may_be_yaml_and_dates_in_it_are_text(tmp_path: Path) -> None:
    (tmp_path / "topic.yaml").write_text(
        "type: object\nproperties: {day: {enum: [2026-01-01]}}\nrequired: [day]\nadditionalProperties: false\n"
    )
    loaded = load(tmp_path, 'prompt: "{{ body }}"\nresponse_format: {json_schema: topic.yaml}\nunpack: true')
    assert loaded.columns[-1]["day"] == "String"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "cannot be read"),
        (b"{", "cannot be read"),
        (b"[]", "holds no JSON object"),
        (b"\xff\xfe", "not UTF-8"),
        (b'{"type": "object", "properties": {"a": {"type": "strng"}}}', "; it stands at `properties.a.type` of the"),
        (b"[" * 100_000, "nested too deeply"),
        (b" " * 1_000_001, "larger than 1,000,000 bytes"),
    ],
    ids=["missing", "cut", "list", "binary", "wrong", "deep", "large"],
)
def test_a_schema_file_that_is_none_is_told_where_it_is_named(tmp_path: Path, content: bytes | None, told: str) -> None:
    if content is not None:
        (tmp_path / "topic.json").write_bytes(content)
    found = mistakes(tmp_path, 'prompt: "{{ body }}"\nresponse_format: {json_schema: topic.json, strict: false}')
    assert "topic.json" in found[0][0]
    assert told in found[0][1]


def test_the_wrapper_of_the_api_around_a_schema_is_told(tmp_path: Path) -> None:
    wrapped = f"name: topic\nschema: {json.dumps(SCHEMA)}"
    assert "one level higher" in mistakes(tmp_path, structured(wrapped))[0][1]


def test_two_chat_steps_need_two_outputs(tmp_path: Path) -> None:
    (tmp_path / "tickets.csv").write_text("id,body\n1,a\n")
    step = '  - {uses: chat, id: %s, model: m, prompt: "{{ body }}", output: %s}\n'
    load_text(HEAD + step % ("a", "a") + step % ("b", "b"), file="x.yaml", folder=tmp_path, environ={})
    with pytest.raises(SpecError, match="'a' exists already"):
        load_text(HEAD + step % ("a", "a") + step % ("b", "a"), file="x.yaml", folder=tmp_path, environ={})


@pytest.mark.parametrize("schema", [json.dumps(SCHEMA), "missing.json", "5", '{"type": "object", "properties": 5}'])
def test_a_mistake_does_not_hide_the_columns_from_later_steps(tmp_path: Path, schema: str) -> None:
    (tmp_path / "tickets.csv").write_text("id,body\n1,a\n")
    chat = (
        f'  - {{uses: chat, model: m, prompt: "{{{{ body }}}}", temperature: 3, unpack: true, '
        f"response_format: {{json_schema: {schema}}}}}\n"
    )
    with pytest.raises(SpecError) as caught:
        load_text(f"{HEAD}{chat}  - {{uses: filter, where: topic = 'a'}}\n", file="x", folder=tmp_path, environ={})
    assert not [problem for problem in caught.value.problems if "no column" in problem.message]
