"""Whatever stands in a file, loading it gives a spec or a SpecError, and soon."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from penstock.errors import SpecError
from penstock.spec import Loaded, load, load_text
from penstock.spec.model import Spec as Model
from penstock.steps import KINDS

FOLDER = Path(__file__).parent
FUZZ = settings(max_examples=150, deadline=5000, suppress_health_check=list(HealthCheck))

PIPELINE = """\
name: reviews
tags: [a]
params: {since: 2026-01-01, n: {type: integer, default: 3}}
provider: {uses: openai, base_url: "http://localhost/v1", limits: {concurrency: 3}, timeout: {total: 5s}}
source: {path: nothing.csv, key: [a, b], types: {a: string}}
steps:
  - uses: filter
    where: a > ${params.n} and "b c" = 'x'
  - uses: embed
    input: >-
      {{ a }} is
      {{ b | upper }}
    model: ${MODEL:-m}
  - &again {uses: derive, columns: {c: a + 1}}
  - uses: select
    columns: {x: a}
outputs:
  - {uses: parquet, path: out}
errors: {stop_above: 5%, stop_after: 15m}
budget: {usd: 5}
"""


def read(text: str) -> None:
    check(lambda: load_text(text, file="p.yaml", folder=FOLDER, environ={}, source_may_miss=True), text)


def check(loading: Callable[[], Loaded], text: str) -> None:
    """A pipeline comes of it, or at least one mistake, each with a message and a place that is in the text."""
    try:
        spec = loading().spec
    except SpecError as error:
        problems = error.problems
    else:
        assert spec.name
        assert spec.outputs
        return
    assert problems
    # The line after the last one may be where something is missing.
    last = len(re.split("\r\n|[\r\n\x85\u2028\u2029]", text)) + 1
    for problem in problems:
        assert problem.message
        assert 0 <= problem.line <= last


@FUZZ
@example("")
@example("- a")
@example("&a [*a]")
@example("a: &a {<<: *a}")
@example("a: &a {b: 1}\nc: {<<: [*a, *a]}")
@example("!!python/object/apply:os.system [x]")
@example("? [a]\n: b")
@example("%TAG ! tag:x,2000:\n---\na: b")
@example("name: \ud800")
@example("{" * 5000)
@example("a: '${'\n")
@example("params: {a: '${params.a}'}")
@given(st.text(max_size=200))
def test_any_text_gives_a_spec_or_all_its_mistakes(text: str) -> None:
    read(text.encode("utf-8", "replace").decode())


@FUZZ
@given(st.binary(max_size=200))
def test_any_bytes_in_a_file_give_a_spec_or_its_mistakes(tmp_path_factory: Any, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(content)
    check(lambda: load(path, environ={}), content.decode("utf-8", "replace"))


@FUZZ
@given(
    st.integers(0, len(PIPELINE)),
    st.integers(0, 30),
    st.text(alphabet=" \n\t:-{}[]'\"$&*!|>#%@,<abe0.5_\\", max_size=12),
)
def test_a_pipeline_with_a_damaged_place_gives_a_spec_or_its_mistakes(place: int, cut: int, put: str) -> None:
    read(PIPELINE[:place] + put + PIPELINE[place + cut :])


_WORDS = st.sampled_from(
    [
        *Model.model_fields,
        *{name for kind in KINDS.values() for name in kind.model_fields},
        *KINDS,
        "sandbox",
        "openai",
        "parquet",
        "path",
        "base_url",
        "api_key",
        "limits",
        "usd",
        "type",
        "date",
        "default",
        "${X}",
        "${X:-5}",
        "${params.a}",
        "{{ a }}",
        "{{",
        "{% if %}",
        "a > 1",
        "select 1",
        "'",
        "5%",
        "1h",
        "-1",
        "$",
        "~",
        "é",
        "\x85",
        "\t",
        "x" * 300,
    ]
)
_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10) | _WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_WORDS | st.text(max_size=5), inner, max_size=5),
    max_leaves=25,
)


@FUZZ
@given(st.dictionaries(st.sampled_from(list(Model.model_fields)), _VALUES))
def test_any_structure_gives_a_spec_or_all_its_mistakes(data: dict[str, Any]) -> None:
    read(yaml.safe_dump(data, allow_unicode=True))


@FUZZ
@given(
    st.sampled_from(sorted(KINDS)),
    st.dictionaries(st.sampled_from(sorted({name for kind in KINDS.values() for name in kind.model_fields})), _VALUES),
)
def test_any_settings_of_a_step_give_a_spec_or_all_their_mistakes(kind: str, data: dict[str, Any]) -> None:
    read(yaml.safe_dump({**yaml.safe_load(PIPELINE.replace("*", "")), "steps": [{**data, "uses": kind}]}))
