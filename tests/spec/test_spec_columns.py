"""Columns are followed through the steps, and every wrong name has its place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from spec_pipelines import HEAD, TAIL

from penstock.errors import Problem

Load = Callable[..., Any]
Mistakes = Callable[..., list[Problem]]


def test_the_columns_after_each_step(load_steps: Load) -> None:
    loaded = load_steps("""
        - uses: filter
          where: length(body) > 0
        - uses: derive
          columns: {text: "concat(title, body)"}
        - uses: embed
          input: "{{ text }}"
          model: text-embedding-3-small
        - uses: select
          columns: {id: review_id, vector: embedding}
    """)
    source = ["review_id", "title", "body", "stars"]
    assert [list(columns) for columns in loaded.columns] == [
        source,
        source,
        [*source, "text"],
        [*source, "text", "embedding", "embed_usage"],
        ["id", "vector"],
    ]
    assert loaded.columns[3]["embedding"] == "Array(Float32, 1536)"


def test_a_word_that_stands_for_all_columns_is_no_name_of_one(load_steps: Load) -> None:
    assert load_steps("- uses: dedupe\n  by: '*'").spec.steps[0].by == "*"


def test_without_steps_the_columns_are_the_sources(load_yaml: Load) -> None:
    assert [list(columns) for columns in load_yaml(HEAD + TAIL).columns] == [["review_id", "title", "body", "stars"]]


@pytest.mark.parametrize(
    ("steps", "place", "word"),
    [
        ("- uses: filter\n  where: length(bdy) > 0", (8, 19), "bdy"),
        ("- uses: filter\n  where: \"'bdy' = bdy\"", (8, 21), "bdy"),
        ("- uses: dedupe\n  by: bdy", (8, 9), "bdy"),
        ("- uses: dedupe\n  by: [title, bdy]", (8, 17), "bdy"),
        ('- uses: embed\n  model: m\n  input: "{{ title }} {{ bdy }}"', (9, 28), "bdy"),
        ("- uses: embed\n  model: m\n  input: '{{ title }} it''s {{ bdy }}'", (9, 34), "bdy"),
        ('- uses: embed\n  model: m\n  input: "\\t\\u00e9 {{ title }} {{ bdy }}"', (9, 37), "bdy"),
        ("- uses: embed\n  model: m\n  input: |\n    Title: {{ title }}\n    {{ bdy }}", (11, 10), "bdy"),
        ("- uses: embed\n  model: m\n  input: >-\n    {{ title }}\n    and {{ bdy\n    | upper }}", (11, 14), "bdy"),
        (
            "- uses: embed\n  model: m\n  input: {{ title }}\n".replace(
                "{{ title }}", "a {{ title }}\n    and {{ bdy }}"
            ),
            (10, 14),
            "bdy",
        ),
        ("- uses: embed\n  model: m\n  input: '{{ body }}'\n  when: stars > 1 and bdy = 'x'", (10, 25), "bdy"),
        ("- uses: select\n  columns: [title, bdy]", (8, 22), "bdy"),
        ("- uses: select\n  columns: {a: title, b: bdy}", (8, 28), "bdy"),
        ("- uses: derive\n  columns:\n    x: stars + 1\n    y: upper(bdy)", (10, 16), "bdy"),
        ("- uses: filter\n  where: stars > ${MANY:-100000} and bdy = 'x'", (8, 40), "bdy"),
    ],
)
def test_a_column_that_does_not_exist_is_underlined_where_it_is_used(
    step_mistakes: Mistakes, steps: str, place: tuple[int, int], word: str
) -> None:
    found = step_mistakes(steps)
    assert len(found) == 1
    assert (found[0].line, found[0].column) == place
    assert found[0].source[found[0].column - 1 :][: found[0].width] == word
    assert found[0].hint == "did you mean `body`?"
    assert "review_id, title, body, stars" in found[0].message


def test_a_name_from_a_reference_is_underlined_at_the_reference(step_mistakes: Mistakes) -> None:
    found = step_mistakes("- uses: filter\n  where: stars > 1 and ${COLUMN} = 'x'", environ={"COLUMN": "bdy"})
    assert (found[0].line, found[0].column) == (8, 26)


def test_each_step_sees_what_the_steps_before_it_left(step_mistakes: Mistakes) -> None:
    found = step_mistakes("""
        - uses: derive
          columns: {text: body}
        - uses: select
          columns: [review_id, text]
        - uses: filter
          where: length(body) > 0 and length(text) > 0
    """)
    assert [problem.message for problem in found] == [
        "there is no column `body` here; the columns are: review_id, text"
    ]


def test_one_broken_step_does_not_hide_the_mistakes_of_another(step_mistakes: Mistakes) -> None:
    found = step_mistakes("""
        - uses: filter
          were: length(body) > 0
        - uses: embed
          input: "{{ bdy }}"
          model: m
          dimensions: many
        - uses: filter
          where: embeding is null
        - uses: embed
          id: second
          input: "{{ body | upperr }}"
          model: m
          output: vectors
    """)
    assert [(problem.line, problem.message.split(";")[0]) for problem in found] == [
        (8, "unknown key `were`"),
        (10, "there is no column `bdy` here"),
        (12, "`dimensions` must be a whole number"),
        (14, "there is no column `embeding` here"),
        (17, "`input`: the template uses an unknown filter 'upperr'"),
    ]


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("body", "did you mean `{{ body }}`?"),
        ("some text about body", "for example `{{ "),
        ("bdy", "for example `{{ body }}`"),
    ],
)
def test_a_template_without_any_column_is_a_mistake(step_mistakes: Mistakes, written: str, hint: str) -> None:
    found = step_mistakes(f"- uses: embed\n  model: m\n  input: {written}")
    assert found[0].message == "`input` uses no column, so that each row would ask the same"
    assert found[0].hint.startswith(hint)


def test_the_keys_and_types_of_the_source_are_columns_of_it(mistakes: Mistakes) -> None:
    text = HEAD.replace("key: review_id", "key: [review_id, sta]\n  types: {starz: integer}") + TAIL
    found = mistakes(text)
    assert [(problem.message.split(" here")[0], problem.hint) for problem in found] == [
        ("there is no column `sta`", "did you mean `stars`?"),
        ("there is no column `starz`", "did you mean `stars`?"),
    ]


def test_a_header_that_was_read_as_one_column_points_at_the_delimiter(mistakes: Mistakes) -> None:
    found = mistakes(HEAD.replace("key: review_id", "delimiter: ';'\n  key: review_id") + TAIL)
    assert [problem.hint for problem in found] == ["is ',' the delimiter? Then write it as `delimiter` of the source"]


def test_text_in_double_quotes_is_told_how_text_is_written(step_mistakes: Mistakes) -> None:
    found = step_mistakes('- uses: filter\n  where: body = "hello there, whoever you are"')
    assert [problem.hint for problem in found] == ["text is written 'hello there, whoever you are'"]


def test_a_source_that_is_not_there_is_one_mistake_and_syntax_is_still_checked(mistakes: Mistakes) -> None:
    steps = "steps:\n  - {uses: filter, where: 'any_column > '}\n  - {uses: filter, where: any_column > 1}\n"
    found = mistakes(HEAD.replace("reviews.csv", "nothing.csv") + steps + TAIL)
    assert [problem.line for problem in found] == [5, 8]
    assert "nothing.csv does not exist" in found[0].message
    assert "not an SQL expression" in found[1].message


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ('- {uses: embed, input: "{{ body }}", model: m, output: title}', "the column 'title' exists already"),
        ('- {uses: embed, input: "{{ body }}", model: m, output: __x}', "begins with __"),
        (
            "- {uses: derive, columns: {embed_usage: '1'}}\n- {uses: embed, input: '{{ body }}', model: m}",
            "`embed_usage`",
        ),
        ("- {uses: select, columns: [body, body]}", "named twice"),
    ],
)
def test_columns_that_clash_are_mistakes(step_mistakes: Mistakes, steps: str, message: str) -> None:
    found = step_mistakes(steps)
    assert len(found) == 1
    assert message in found[0].message


def test_without_a_usage_column_nothing_clashes(load_steps: Load) -> None:
    loaded = load_steps(
        "- {uses: derive, columns: {embed_usage: '1'}}\n- {uses: embed, input: '{{ body }}', model: m, usage: false}"
    )
    assert list(loaded.columns[-1])[-2:] == ["embed_usage", "embedding"]


def test_steps_have_ids_of_their_own(load_steps: Load) -> None:
    loaded = load_steps("""
        - {uses: filter, where: stars > 1}
        - {uses: filter, where: stars > 2}
        - {uses: filter, where: stars > 3, id: filter_3}
        - {uses: filter, where: stars > 4}
        - {uses: embed, input: "{{ body }}", model: m, id: vectors}
    """)
    assert [step.id for step in loaded.spec.steps] == ["filter", "filter_2", "filter_3", "filter_4", "vectors"]


def test_two_steps_with_one_id_are_a_mistake(step_mistakes: Mistakes) -> None:
    embed = '{uses: embed, input: "{{ body }}", model: m'
    found = step_mistakes(f"- {embed}}}\n- {embed}, output: b}}")
    assert "two steps have the id `embed`; the first stands in line 7" in found[0].message
    assert found[0].hint == "give it an id, for example id: embed_2"
    found = step_mistakes("- {uses: filter, where: stars > 1, id: a}\n- {uses: filter, where: stars > 2, id: a}")
    assert "two steps have the id `a`" in found[0].message
