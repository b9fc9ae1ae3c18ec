"""The JSON Schema agrees with the loader, and what is generated is up to date."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from penstock.outputs import KINDS as OUTPUTS
from penstock.spec.generated import pages, schemas
from penstock.spec.markers import keys_of
from penstock.spec.model import Spec
from penstock.spec.reference import takes
from penstock.spec.schema import pipeline_schema
from penstock.steps import KINDS as STEPS

jsonschema = pytest.importorskip("jsonschema")
ROOT = Path(__file__).parents[2]
SCHEMA = pipeline_schema()

GOOD = """
name: reviews
tags: [a]
params: {since: '2026-01-01', n: {type: integer, default: 3}}
provider:
  base_url: ${OPENAI_BASE_URL:-https://api.openai.com/v1}
  api_key: ${OPENAI_API_KEY}
  limits: {concurrency: "${N:-64}", requests_per_minute: 5000, tokens_per_minute: 2_000_000}
  retry: {attempts: 8, max_wait: 120s}
  timeout: {connect: 10s, total: 1m30s}
source: {path: reviews.csv, key: [a, b], types: {a: string}, partition_rows: "${params.n}"}
steps:
  - {uses: filter, where: a > 0}
  - {uses: embed, input: "{{ a }}", model: m, usage: "${USAGE:-true}", batch_size: 5}
  - {uses: derive, columns: {c: a}}
  - {uses: select, columns: [c]}
  - {uses: select, columns: {d: c}}
outputs: [{uses: parquet, path: out}]
errors: {stop_above: 5%, stop_after: 15m}
budget: {usd: 25, tokens: 50M}
"""


def errors_of(data: Any) -> list[Any]:
    return list(jsonschema.Draft7Validator(SCHEMA).iter_errors(data))


def test_the_schema_is_one_of_draft_7() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "http://json-schema.org/draft-07/schema#"


def test_a_pipeline_with_everything_is_valid() -> None:
    assert errors_of(yaml.safe_load(GOOD)) == []


@pytest.mark.parametrize("path", sorted(ROOT.glob("pipelines/*.yaml")), ids=lambda path: path.name)
def test_every_pipeline_that_is_shipped_is_valid_and_names_the_schema(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert errors_of(yaml.safe_load(text)) == []
    assert text.startswith("# yaml-language-server: $schema=../schemas/pipeline.schema.json\n")


@pytest.mark.parametrize(
    "provider", ["sandbox", "openai", {"uses": "sandbox", "faults": ["429:5%"], "latency": "5ms"}, {"uses": "openai"}]
)
def test_every_form_of_a_provider_is_valid(provider: Any) -> None:
    assert errors_of({**yaml.safe_load(GOOD), "provider": provider}) == []


@pytest.mark.parametrize(
    "change",
    [
        {"nme": 1},
        {"name": "Not Good"},
        {"outputs": []},
        {"outputs": [{"uses": "parket", "path": "x"}]},
        {"outputs": [{"uses": "parquet"}]},
        {"steps": [{"uses": "filter", "wher": "x"}]},
        {"steps": [{"uses": "embed", "input": "x", "model": "m", "batch_size": 5000}]},
        {"steps": [{"uses": "embed", "input": "x", "model": "m", "batch_size": "many"}]},
        {"steps": [{"where": "x"}]},
        {"provider": "sandbx"},
        {"provider": {"uses": "sandbox", "api_key": "${X}"}},
        {"provider": {"api_key": "sk-literal"}},
        {"errors": {"stop_after": "soon"}},
        {"errors": {"stop_above": "much"}},
        {"budget": {"tokens": "lots"}},
        {"params": {"x": [1]}},
        {"source": {"path": "x", "format": "xml"}},
    ],
    ids=str,
)
def test_what_the_loader_refuses_by_shape_the_schema_refuses_too(change: dict[str, Any]) -> None:
    assert errors_of({**yaml.safe_load(GOOD), **change})


def test_every_field_of_the_schema_has_a_description() -> None:
    def bare(node: Any, where: str) -> list[str]:
        if not isinstance(node, dict):
            return [name for item in node for name in bare(item, where)] if isinstance(node, list) else []
        found = [
            f"{where}.{name}"
            for name, field in node.get("properties", {}).items()
            if isinstance(field, dict) and not field.get("description") and "const" not in field
        ]
        return found + [
            name
            for key, value in node.items()
            if key not in {"examples", "default"}
            for name in bare(value, f"{where}.{key}")
        ]

    assert bare({key: value for key, value in SCHEMA.items() if key != "definitions"}, "") == []
    assert bare(SCHEMA["definitions"], "") == []


def test_generated_files_are_up_to_date() -> None:
    for folder, files in {ROOT / "schemas": schemas(), ROOT / "docs/reference": pages()}.items():
        for name, text in files.items():
            found = (folder / name).read_text(encoding="utf-8") if (folder / name).exists() else ""
            assert found == text, f"{name} is old: penstock schema --write schemas --docs docs/reference"


def test_every_key_and_kind_has_its_place_in_the_reference() -> None:
    text = pages()
    for name in Spec.model_fields:
        assert f"`{name}`" in text["pipeline.md"]
    for page, kinds in {"steps.md": STEPS, "outputs.md": OUTPUTS}.items():
        for name, kind in kinds.items():
            assert f"## `{name}`" in text[page]
            for field in keys_of(kind):
                assert f"| `{field}` |" in text[page]


def test_examples_in_the_reference_are_yaml() -> None:
    for text in pages().values():
        for fence in text.split("```yaml\n")[1:]:
            entry = yaml.safe_load(fence.split("```")[0])[0]
            assert entry["uses"] in {**STEPS, **OUTPUTS}


@pytest.mark.parametrize(
    ("owner", "field", "words"),
    [
        (STEPS["filter"], "where", "SQL expression"),
        (STEPS["embed"], "input", "template"),
        (STEPS["embed"], "dimensions", "whole number"),
        (STEPS["select"], "columns", "list of column or mapping of names to column"),
        (STEPS["derive"], "columns", "mapping of names to SQL expression"),
        (OUTPUTS["parquet"], "path", "path"),
        (Spec, "tags", "list of text"),
    ],
)
def test_what_a_field_takes_in_words(owner: Any, field: str, words: str) -> None:
    declared = owner.model_fields[field]
    assert takes(declared.annotation, tuple(declared.metadata)) == words


def test_the_schema_is_plain_json() -> None:
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA
