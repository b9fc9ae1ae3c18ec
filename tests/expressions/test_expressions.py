"""SQL expressions and templates: the columns they need, and the place of each mistake."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import ExpressionError
from penstock.expressions import plain_pieces, renderer, sql_columns, template_columns


def mistake_of(call: Callable[[], object]) -> ExpressionError | None:
    try:
        call()
    except ExpressionError as error:
        return error
    return None


def place(text: str, error: ExpressionError) -> str:
    return text[error.offset : error.offset + error.width]


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("length(body) > 0", {"body": 7}),
        ("stars >= 3 AND language = 'stars'", {"stars": 0, "language": 15}),
        ("\"we ird\" = 'we ird'", {"we ird": 0}),
        ("'body' || body", {"body": 10}),
        ("bodyx + body", {"bodyx": 0, "body": 8}),
        ("a /* b */ + b -- c", {"a": 0, "b": 12}),
        ("case when a > 1 then b else c end", {"a": 10, "b": 21, "c": 28}),
        ("extract(year from created)", {"created": 18}),
        ("trim(both 'x' from a) is distinct from b", {"a": 19, "b": 39}),
        ("cast(a as int) in (1, 2)", {"a": 5}),
        ('"select" = 1', {"select": 0}),
        ("1 = 1", {}),
    ],
)
def test_the_columns_of_sql_with_their_places(text: str, columns: dict[str, int]) -> None:
    assert sql_columns(text) == columns


@pytest.mark.parametrize(
    ("text", "at", "message"),
    [
        ("lenght(body) > 0", "lenght", "no function"),
        ("body >", "body >", "not an SQL expression"),
        ("a; drop", ";", "unexpected"),
        ("(a + (b)", "(", "not closed"),
        ("a) + 1", ")", "closes nothing"),
        ("a = 'x", "'", "quote"),
        ("a /* b", "/*", "comment"),
        ("case when a then b", "case", "not closed"),
        ("a > $1", "$", "dollar"),
        ("   ", " ", "empty"),
        ("not " * 4000 + "a", "n", "longer than"),
        ("(" * 30 + "a" + ")" * 30, "(", "nested too deeply"),
    ],
)
def test_a_mistake_in_sql_has_its_place(text: str, at: str, message: str) -> None:
    with pytest.raises(ExpressionError, match=message) as caught:
        sql_columns(text)
    assert place(text, caught.value) == at


def test_a_misspelt_function_gets_a_suggestion() -> None:
    with pytest.raises(ExpressionError) as caught:
        sql_columns("lenght(body) > 0")
    assert caught.value.hint == "did you mean `length`?"


@pytest.mark.parametrize(
    "text",
    [
        "(select * from read_csv('{file}'))",
        "a in (SELECT a FROM read_csv('{file}'))",
        "exists(select 1 from read_csv('{file}'))",
        "a = (/* */ select a from read_csv('{file}'))",
        "(with x as (select * from read_csv('{file}')) select * from x)",
        "(table x)",
        "(from read_csv('{file}'))",
        "read_csv('{file}')",
        "read_parquet('{file}')",
        "a union select * from read_csv('{file}')",
        "x'00' = e'\\' or a in (select 1) --'",
        "a = $$ ' $$ or a in (select * from read_csv('{file}')) or '$$' = ''",
    ],
)
def test_sql_can_neither_query_nor_read_files(text: str, tmp_path: Path) -> None:
    file = tmp_path / "secret.csv"
    file.write_text("a\n1\n")
    with pytest.raises(ExpressionError):
        sql_columns(text.format(file=file))


@pytest.mark.parametrize("text", ["sum(a) > 1", "count(*)", "a > max(a)", "row_number() over (order by a)", "FIRST(a)"])
def test_sql_over_many_rows_is_refused_because_a_step_sees_one_partition(text: str) -> None:
    with pytest.raises(ExpressionError, match="over many rows"):
        sql_columns(text)


@pytest.mark.parametrize("text", ["case when a then " * 20, "position(" * 14 + "a", "a and (" * 500])
def test_sql_that_takes_the_parser_exponential_time_does_not_reach_it(text: str) -> None:
    with pytest.raises(ExpressionError):
        sql_columns(text)


SQL_PIECES = st.sampled_from(
    [
        "a",
        "b",
        '"c d"',
        "1",
        "'x'",
        "+",
        "-",
        "(",
        ")",
        "[",
        "]",
        ",",
        "and",
        "or",
        "not",
        "in",
        "case",
        "when",
        "then",
        "else",
        "end",
        "like",
        "is",
        "null",
        "between",
        "select",
        "from",
        "length",
        "cast",
        "as",
        "int",
        "::",
        ".",
        "*",
        "'",
    ]
)


@given(st.lists(SQL_PIECES, max_size=25).map(" ".join) | st.text(max_size=60))
def test_any_text_is_sql_or_an_expression_error_inside_it(text: str) -> None:
    error = mistake_of(lambda: sql_columns(text))
    if error is not None:
        assert 0 <= error.offset <= len(text)
        assert error.width >= 1


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("{{ title }}. {{ body }}", {"title": 3, "body": 16}),
        ("body {# body #} {{ body }}", {"body": 19}),
        ("{{ 'body' ~ body }}", {"body": 12}),
        ("{{ x.body }} {{ body|upper }}", {"x": 3, "body": 16}),
        ("{% for tag in tags %}{{ tag }}{{ loop.index }}{% endfor %}", {"tags": 14}),
        ("{% set t = title %}{{ t }}", {"title": 11}),
        ("line\r\n{%- if a -%}\r\n {{- b }}{% endif %} {{ c }}", {"a": 13, "b": 25, "c": 44}),
        ("no column", {}),
        ("{{ range(3)|join(sep) }}", {"sep": 17}),
    ],
)
def test_the_columns_of_a_template_with_their_places(text: str, columns: dict[str, int]) -> None:
    assert template_columns(text) == columns


@pytest.mark.parametrize(
    ("text", "at", "message"),
    [
        ("ok\n  {{ a", "{{ a", "does not parse"),
        ("a {% if %}", "{% if %}", "does not parse"),
        ("{{ upperr }}\n{{ a|upperr }}", "upperr", "unknown filter"),
        ("{{ a is shorrt }}", "shorrt", "unknown test"),
        ("{{ a|random }}", "random", "always give the same text"),
        ("x\n{% include 'x' %}", "include", "include"),
        ("{% import 'x' as y %}", "import", "import"),
        ("{% from 'x' import y %}", "from", "import"),
        ("{% extends 'x' %}", "extends", "extend"),
        ("{% block b %}{% endblock %}", "block", "block"),
        ("{% macro m() %}{% endmacro %}", "macro", "macro"),
        ("{% for a in b recursive %}{% endfor %}", "recursive", "recursive"),
        ("{{ self }}", "self", "self"),
        ("{% nope %}", "{% nope %}", "unknown tag"),
        ("{{ " + "(" * 600 + "a" + ")" * 600 + " }}", "{", "nested too deeply"),
        ("{{ " + "a + " * 3000 + "a }}", "{", "nested too deeply"),
        ("{{ " + "9" * 5000 + " }}", "{", "does not parse"),
        ("x" * 100_001, "x", "longer than"),
        ("{% for a in b %}" * 30 + "{% endfor %}" * 30, None, "nested"),
    ],
)
def test_a_mistake_in_a_template_has_its_place(text: str, at: str | None, message: str) -> None:
    with pytest.raises(ExpressionError, match=message) as caught:
        template_columns(text)
    assert at is None or place(text, caught.value) == at


def test_the_place_of_an_unknown_filter_is_where_it_is_used_as_one() -> None:
    text = "{{ upperr }}\n{{ a|upperr }}"
    with pytest.raises(ExpressionError) as caught:
        template_columns(text)
    assert caught.value.offset == text.rindex("upperr")


TEMPLATE_PIECES = st.sampled_from(
    [
        "{{ ",
        " }}",
        "{% ",
        " %}",
        "{#",
        "#}",
        "a",
        "b",
        "if",
        "endif",
        "for",
        "in",
        "endfor",
        "set",
        "=",
        "|",
        "upper",
        "is",
        "defined",
        "(",
        ")",
        "[",
        "]",
        ".",
        ",",
        "'x'",
        "1",
        "~",
        "+",
        "*",
        "\n",
        "text",
        "{{ a }}",
        "-",
        "%",
        "raw",
        "not",
    ]
)


@given(st.lists(TEMPLATE_PIECES, max_size=25).map(" ".join) | st.text(max_size=60))
def test_any_text_is_a_template_or_an_expression_error_inside_it(text: str) -> None:
    error = mistake_of(lambda: template_columns(text))
    if error is not None:
        assert 0 <= error.offset <= len(text)
        return
    failure = mistake_of(lambda: renderer(text)({"a": "x", "b": 3}))
    assert failure is None or failure.message


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("{{ a }}. {{ b }}", [("a", True), (". ", False), ("b", True)]),
        ("only text", [("only text", False)]),
        ("{{ a|upper }}", None),
        ("{% if a %}{% endif %}", None),
        ("{{ range }}", None),
        ("", []),
    ],
)
def test_templates_of_text_and_bare_columns_are_told_from_others(text: str, pieces: object) -> None:
    assert plain_pieces(text) == pieces


def test_checking_sql_does_not_import_polars() -> None:
    code = (
        "import sys; from penstock.expressions import sql_columns; sql_columns('a > 1'); print('polars' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": "flows"}
    )
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("text", "name", "hint"),
    [
        ("stars desc", "desc", "order"),
        ("stars ASC", "ASC", "order"),
        ("stars > 3 and", None, ""),
        ("length(body) AS size", "size", "leave out AS"),
        ('length(body) as "my size"', '"my size"', "leave out AS"),
        ("title body", "body", "operator"),
        ("title 'x'", "'x'", "operator"),
        ("stars `desc` -- so", "`desc`", "operator"),
        ("body body", "body", "operator"),
        ("CASE WHEN stars > 3 THEN 1 END value", "value", "operator"),
    ],
    ids=lambda value: str(value).replace(" ", "_"),
)
def test_another_name_behind_an_sql_expression_is_a_mistake(text: str, name: str | None, hint: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        sql_columns(text)
    if name is not None:
        assert text[caught.value.offset :][: caught.value.width] == name
        assert "another name" in caught.value.message
        assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("text", "columns"),
    [("CASE WHEN a THEN b END", {"a": 10, "b": 17}), ("a IS NOT NULL", {"a": 0}), ("CAST(a AS VARCHAR)", {"a": 5}),
     ("a::date", {"a": 0}), ("INTERVAL '1' day", {}), ("a.city", {"a": 0}), ("NOT a", {"a": 4}),
     ("extract(day from a)", {"a": 17}), ("a || b", {"a": 0, "b": 5}), ("if(a, b, c)", {"a": 3, "b": 6, "c": 9}),
     ("a = 'b'", {"a": 0}), ("true", {})],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_words_at_the_end_of_an_sql_expression_that_are_part_of_it_are_none(text: str, columns: dict[str, int]) -> None:
    assert sql_columns(text) == columns
