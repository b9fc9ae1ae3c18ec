"""The whole spec: what is refused, what it becomes, and its way through the plan file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from spec_pipelines import HEAD, TAIL

from penstock.errors import Problem, SpecError
from penstock.spec import dump, load, load_text, restore

Load = Callable[..., Any]
Mistakes = Callable[..., list[Problem]]
SELECT = "  - {uses: select, columns: {id: review_id, v: embedding}}"
BODY = "extra_body: {user: x}"
ROOT = Path(__file__).parents[2]

FULL = f"""{HEAD}
description: Vectors.
tags: [a, b]
params: {{since: 2026-01-01}}
steps:
  - {{uses: filter, where: length(body) > 0}}
  - {{uses: derive, columns: {{text: "concat(title, body)"}}}}
  - {{uses: embed, input: "{{{{ text }}}}", model: text-embedding-3-small, extra_body: {{user: x}}}}
  - {{uses: select, columns: {{id: review_id, v: embedding}}}}
{TAIL}
errors: {{stop_above: 5%, stop_after: 1m, path: out_errors.parquet}}
budget: {{usd: 25, tokens: 50M}}
"""


def test_the_spec_goes_through_json_unchanged(load_yaml: Load) -> None:
    for provider in ("sandbox", "openai", "{base_url: 'http://x/v1', api_key: '${X_KEY}'}"):
        spec = load_yaml(FULL.replace("sandbox", provider)).spec
        data = json.loads(json.dumps(dump(spec)))
        assert restore(data) == spec
        assert [type(step) for step in restore(data).steps] == [type(step) for step in spec.steps]


def test_a_dumped_spec_names_the_key_and_never_holds_it(load_yaml: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    environ = {"OPENAI_API_KEY": "sk-abcdefgh12345678"}
    text = json.dumps(dump(load_yaml(FULL.replace("sandbox", "openai"), environ=environ).spec))
    assert "OPENAI_API_KEY" in text
    assert "abcdefgh" not in text


def test_units_and_defaults(load_yaml: Load) -> None:
    spec = load_yaml(FULL).spec
    assert (spec.errors.stop_above, spec.errors.stop_after) == (0.05, 60)
    assert (spec.budget.usd, spec.budget.tokens) == (25, 50_000_000)
    plain = load_yaml(HEAD + TAIL).spec
    assert (plain.errors.stop_above, plain.errors.stop_after, plain.errors.path) == (0.10, 900, None)
    assert plain.budget is None


def test_relative_paths_start_at_the_pipeline_file(
    folder: Path, load_yaml: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    spec = load_yaml(FULL.replace("path: out\n", "path: ../elsewhere/out\n")).spec
    assert spec.source.path == str(folder / "reviews.csv")
    assert spec.outputs[0].path == str(folder.parent / "elsewhere" / "out")
    assert spec.errors.path == str(folder / "out_errors.parquet")


def test_absolute_paths_and_addresses_stay(tmp_path: Path) -> None:
    text = HEAD.replace("reviews.csv", "s3://bucket/x/*.csv") + TAIL.replace("path: out", "path: /data/out")
    spec = load_text(text, file="p.yaml", folder=tmp_path, environ={}, source_may_miss=True).spec
    assert (spec.source.path, spec.outputs[0].path) == ("s3://bucket/x/*.csv", "/data/out")


def test_what_was_loaded_says_where_it_came_from(folder: Path, load_yaml: Load) -> None:
    loaded = load_yaml(FULL)
    assert loaded.file == folder / "pipeline.yaml"
    assert loaded.folder == folder
    assert loaded.text == (folder / "pipeline.yaml").read_text()
    assert len(loaded.sha256) == 64


@pytest.mark.parametrize(
    ("old", "new", "place", "words"),
    [
        ("name: reviews", "name: My Reviews", (2, 7), ("`name` may hold only a-z", "for example embed-reviews")),
        ("name: reviews", "nme: reviews", (2, 1), ("unknown key `nme`", "did you mean `name`?")),
        ("name: reviews\n", "", (2, 1), ("`name` is missing", "for example name: embed-reviews")),
        ("name: reviews", "name: 5", (2, 7), ("`name` must be text; put it in quotes", "for example")),
        ("name: reviews", "name:", (2, 6), ("`name` must be text and not empty", "")),
        ("tags: [a, b]", "tags: a", (9, 7), ("`tags` must be a list", "for example [reviews, nightly]")),
        ("tags: [a, b]", "tags: [a, {b: c}]", (9, 11), ("`tags` must be text", "")),
        ("usd: 25", "usd: 0", (22, 15), ("`usd` must be more than 0", "for example 25")),
        ("usd: 25", "usd: lots", (22, 15), ("`usd` must be a number", "")),
        ("{usd: 25, tokens: 50M}", "{}", (22, 9), ("a budget needs `usd`, `tokens` or both", "")),
        ("{usd: 25, tokens: 50M}", "5", (22, 9), ("`budget` must be a mapping", "")),
        ("stop_above: 5%", "stop_above: 105%", (21, 22), ("'105%' is not a share", "")),
        ("stop_after: 1m", "stop_after: soon", (21, 38), ("'soon' is not a duration", "")),
        ("key: review_id", "key: {a: b}", (6, 8), ("`key` must be text or a list", "for example review_id")),
        ("key: review_id", "key: [review_id, 5]", (6, 20), ("`key` must be text; put it in quotes", "")),
        ("key: review_id", "partition_rows: 0", (6, 19), ("`partition_rows` must be 1 or more", "for example 10000")),
        (
            "key: review_id",
            "format: xml",
            (6, 11),
            ("`format` must be one of 'csv', 'jsonl', 'json', 'parquet', 'files'", ""),
        ),
        ("key: review_id", "delimiter: ab", (6, 14), ("`delimiter` must have 1 characters or fewer", "")),
        ("uses: derive", "uses: derve", (13, 12), ("there is no step `derve`", "did you mean `derive`?")),
        ("uses: derive, ", "", (13, 6), ("a step needs `uses`, its kind", "there are: chat, chunk, dedupe")),
        (SELECT, "  - select", (15, 5), ("a step is a mapping", "- uses: select")),
        (SELECT, "  - select: {}", (15, 5), ("a step needs `uses`", "write `- uses: select`")),
        ("uses: parquet", "uses: parket", (18, 11), ("there is no output `parket`", "did you mean `parquet`?")),
        (BODY, f"{BODY}, batch_sise: 1", (14, 94), ("unknown key `batch_sise`", "did you mean `batch_size`?")),
        (BODY, "usage: maybe", (14, 78), ("`usage` must be true or false", "")),
    ],
)  # fmt: skip
def test_each_mistake_is_one_sentence_at_its_place(
    mistakes: Mistakes, old: str, new: str, place: tuple[int, int], words: tuple[str, str]
) -> None:
    assert old in FULL
    found = mistakes(FULL.replace(old, new))
    assert [(problem.line, problem.column) for problem in found] == [place]
    assert words[0] in found[0].message
    assert words[1] in found[0].hint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEAD, "`outputs` is missing"),
        (f"{HEAD}outputs: []\n", "`outputs` must not be empty"),
        (f"{HEAD}outputs:\n", "`outputs` must"),
        (f"{HEAD}outputs: {{uses: parquet}}\n", "`outputs` must be a list"),
        (f"name: a\n{TAIL}", "`source` is missing"),
        (f"name: a\nsource: reviews.csv\n{TAIL}", "`source` must be a mapping"),
        (f"name: a\nsource:\n{TAIL}", "`source` must be a mapping"),
        (f"{HEAD}steps: {{uses: filter}}\n{TAIL}", "`steps` must be a list"),
        (f"{HEAD}budget:\n{TAIL}", "`budget` must be a mapping"),
        (f"{HEAD}params: [a]\n{TAIL}", "`params` must be a mapping"),
    ],
)
def test_a_key_of_the_wrong_shape_is_one_mistake(mistakes: Mistakes, text: str, message: str) -> None:
    found = mistakes(text)
    assert len(found) == 1
    assert message in found[0].message


def test_a_mistake_of_a_whole_step_does_not_name_the_list_it_stands_in(mistakes: Mistakes) -> None:
    assert mistakes(f"{HEAD}steps: [{{uses: dedupe}}]\n{TAIL}")[0].message.startswith("say what makes rows the same")


def test_steps_may_be_left_out_or_empty(load_yaml: Load) -> None:
    assert load_yaml(HEAD + TAIL).spec.steps == []
    assert load_yaml(f"{HEAD}steps:\n{TAIL}").spec.steps == []


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ("[{uses: parquet, path: out}, {uses: parquet, path: ./out}]", "this is the same place as the output in line"),
        ("[{uses: parquet, path: out}, {uses: parquet, path: out/a/b}]", "inside or around"),
        ("[{uses: parquet, path: out/a/b}, {uses: parquet, path: out}]", "inside or around"),
        ("[{uses: parquet, path: .}]", "the source stands in this place"),
        ("[{uses: parquet, path: reviews.csv}]", "the source stands in this place"),
        ("[{uses: parquet, path: 's3://bucket/out'}]", "this is an address"),
    ],
)
def test_nothing_is_written_over_anything_else(mistakes: Mistakes, outputs: str, message: str) -> None:
    found = mistakes(f"{HEAD}outputs: {outputs}\n")
    assert len(found) == 1
    assert message in found[0].message


def test_the_errors_table_is_not_written_into_an_output(mistakes: Mistakes) -> None:
    found = mistakes(f"{HEAD}errors: {{path: out/errors.parquet}}\n{TAIL}")
    assert "inside or around" in found[0].message


def test_neighbours_are_no_clash(load_yaml: Load) -> None:
    spec = load_yaml(f"{HEAD}outputs: [{{uses: parquet, path: out}}, {{uses: parquet, path: out2}}]\n").spec
    assert [one.target.name for one in spec.outputs] == ["out", "out2"]


def test_all_mistakes_of_a_file_come_in_its_order(mistakes: Mistakes) -> None:
    text = """
name: Bad Name
provider: {limits: {concurrency: 0}, api_key: literal}
source: {path: reviews.csv, key: nope}
steps:
  - {uses: filter, where: "nope > "}
  - {uses: nope}
outputs:
  - {uses: parquet, path: out, nope: 1}
budget: {usd: -1}
nope: 1
"""
    found = mistakes(text)
    lines = [problem.line for problem in found]
    assert lines == sorted(lines)
    assert lines == [2, 3, 3, 4, 6, 7, 9, 10, 11]


def test_a_mistake_is_shown_with_its_line_and_a_caret(mistakes: Mistakes) -> None:
    found = mistakes(f"{HEAD}stepz: []\n{TAIL}")
    assert found[0].render().split("\n")[1:] == ["    stepz: []", "    ^^^^^", "    did you mean `steps`?"]


def test_the_error_crosses_process_borders(load_yaml: Load) -> None:
    import pickle

    with pytest.raises(SpecError) as caught:
        load_yaml("name: x")
    assert pickle.loads(pickle.dumps(caught.value)).problems == caught.value.problems  # noqa: S301  # our own bytes


def test_text_with_lone_surrogates_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"U\+D800"):
        load_text("name: \ud800", file="p.yaml", folder=tmp_path, environ={})


@pytest.mark.parametrize("path", sorted(ROOT.glob("pipelines/*.yaml")), ids=lambda path: path.name)
def test_every_pipeline_that_is_shipped_has_no_mistake(path: Path) -> None:
    assert load(path, environ={}).spec.outputs


def test_a_source_without_a_key_is_worth_a_note(load_yaml: Load) -> None:
    assert load_yaml(HEAD + TAIL).notes == ()
    loaded = load_yaml(HEAD.replace("  key: review_id\n", "") + TAIL)
    assert "no `key`" in loaded.notes[0]
    assert next(iter(loaded.columns[0])) == "row_key"
