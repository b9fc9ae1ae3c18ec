"""A template can neither leave its row nor eat the machine."""

from __future__ import annotations

import datetime as dt
import time

import pytest

from penstock.errors import ExpressionError
from penstock.expressions import FILTERS, LONGEST_TEXT, renderer
from penstock.expressions.template_sandbox import TemplateEnvironment

ROW = {
    "body": "hello",
    "n": 3,
    "nothing": None,
    "tags": ["b", "a"],
    "day": dt.date(2026, 1, 31),
    "struct": {"x": 1},
    "true": True,
}
DOUBLING = "{% set a = 'xxxxxxxxxx' %}" + "{% set a = a ~ a %}" * 40 + "{{ a }}"
LISTS = "{% set a = [1] %}" + "{% set a = [a, a] %}" * 40 + "{{ a }}"
ADDED = "{% set a = 'xxxxxxxxxx' %}" + "{% set a = a + a %}" * 40 + "{{ a }}"


@pytest.mark.parametrize(
    "text",
    [
        "{{ 'x' * 10**9 }}",
        "{{ 10**9 * 'x' }}",
        "{{ [1] * 10**9 }}",
        "{{ 9 ** (9 ** 9) }}",
        "{{ 10**4000 * 10**4000 }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ '%*d' | format(10**9, 1) }}",
        "{{ '{:1000000000}'.format(1) }}",
        "{{ body | center(10**9) }}",
        "{{ body | indent(10**9) }}",
        "{{ body.ljust(10**9) }}",
        "{{ body.zfill(10**9) }}",
        "{{ 1.5 | round(10**9) }}",
        "{{ [1] | tojson(indent=10**9) }}",
        "{{ range(10**9) | list }}",
        "{{ range(99999) | batch(10**9, 'x') | list }}",
        "{{ (body * 1000000).replace('', body * 1000000) }}",
        "{{ (body * 1000000) | replace('', body * 1000000) }}",
        "{{ (body * 1000000) | list | join(body * 1000000) }}",
        "{{ (body * 1000000).join([body, body]) }}{{ (body * 1000).join((body * 100000) | list) }}",
        "{{ '<!---->' * 1000000 | striptags }}" + "{{ ('<!---->' * 1000000) | striptags }}",
        "{{ [[1], [2]] | sum(start=[]) }}",
        "{{ range(99999) | map('center', 1000000) | list | length }}",
        "{{ range(99999) | map('center', 1000000) | join }}",
        "{% for i in range(10**9) %}x{% endfor %}",
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{% for i in range(99999) %}" + "x" * 1000 + "{% endfor %}",
        "{% set x %}{% for i in range(99999) %}{{ body * 1000 }}{% endfor %}{% endset %}{{ x | length }}",
        "{% filter upper %}{% for i in range(99999) %}{{ body * 1000 }}{% endfor %}{% endfilter %}",
        DOUBLING,
        ADDED,
        LISTS,
    ],
)
def test_no_template_grows_without_bound(text: str) -> None:
    started = time.process_time()
    with pytest.raises(ExpressionError):
        renderer(text)(ROW)
    assert time.process_time() - started < 3


@pytest.mark.parametrize(
    "text",
    [
        "{{ body.__class__ }}",
        "{{ body.__class__.__mro__[1].__subclasses__() }}",
        "{{ ''['__class__'] }}",
        "{{ (body|map('upper')).gi_frame }}",
        "{{ tags.append('c') }}",
        "{{ struct.update({}) }}",
        "{{ body.encode() }}",
        "{{ body.format_map({}) }}",
        "{{ [body] | map('attr', '__class__') | list }}",
        "{{ body.translate({}) }}",
    ],
)
def test_no_template_reaches_python(text: str) -> None:
    with pytest.raises(ExpressionError):
        renderer(text)(ROW)


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("{{ body }}{{ nothing }}{{ none }}", "hello"),
        ("{{ n + 1 }} {{ n * 2 }} {{ 7 // 2 }} {{ -n }} {{ 2 ** 10 }}", "4 6 3 -3 1024"),
        ("{{ 'a' ~ n ~ nothing ~ 'b' }}", "a3b"),
        ("{{ 'a' + 'b' }} {{ 'ab' * 2 }} {{ '%05.1f' % 2.25 }}", "ab abab 002.2"),
        ("{{ body.upper() }} {{ body[1:3] }} {{ 'll' in body }}", "HELLO el True"),
        ("{{ body | upper | center(9) }}|", "  HELLO  |"),
        ("{{ tags | sort | join(', ') }} {{ tags | length }}", "a, b 2"),
        ("{{ tags | map('upper') | join('-') }}", "B-A"),
        ("{{ nothing | default('x', true) }}", "x"),
        ("{{ [1, none, 2] | sum }}", "3"),
        ("{{ {'é': '<b>'} | tojson }}", '{"é": "<b>"}'),
        ("{{ day }} {{ day.year }} {{ day.strftime('%d.%m.') }}", "2026-01-31 2026 31.01."),
        ("{{ struct.x }} {{ struct.get('y', 'no') }}", "1 no"),
        (
            "{% for t in tags %}{{ loop.index }}/{{ loop.length }}{{ t }}{{ loop.cycle(',', '.') }}{% endfor %}",
            "1/2b,2/2a.",
        ),
        ("{% for i in range(3) %}{{ i }}{% else %}none{% endfor %}", "012"),
        ("{% if n > 2 %}many{% else %}few{% endif %}", "many"),
        ("{% set x = n * 2 %}{{ x }}", "6"),
        ("{% set x %}a{{ n }}{% endset %}{{ x }}{{ x }}", "a3a3"),
        ("{% filter upper %}a{{ body }}{% endfilter %}", "AHELLO"),
        ("{% with x = 1 %}{{ x }}{% endwith %}", "1"),
        ("{{ body }}\n", "hello\n"),
        ("{{ '<b>' }} {{ '<b>' | e }}", "<b> &lt;b&gt;"),
        ("$5 {{ n }}%", "$5 3%"),
    ],
)
def test_honest_templates_render(text: str, rendered: str) -> None:
    assert renderer(text)(ROW) == rendered


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{ nope }}", "'nope' is undefined"),
        ("{{ body.nope }}", "has no attribute 'nope'"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ body.upper }}", "is no text"),
        ("{{ body | map('upper') }}", "is no text"),
        ("{{ body + n }}", "fails on this row"),
    ],
)
def test_a_row_that_cannot_be_rendered_says_why(text: str, message: str) -> None:
    with pytest.raises(ExpressionError, match=message):
        renderer(text)(ROW)


def test_a_text_may_have_the_longest_length_and_no_more() -> None:
    render = renderer("{{ body }}")
    assert len(render({"body": "x" * LONGEST_TEXT})) == LONGEST_TEXT
    with pytest.raises(ExpressionError, match="longer than"):
        renderer("{{ body }}!")({"body": "x" * LONGEST_TEXT})


def test_each_row_has_a_budget_of_its_own() -> None:
    render = renderer("{% for i in range(60000) %}{% endfor %}x")
    assert [render({}) for _ in range(3)] == ["x", "x", "x"]


def test_every_filter_that_is_promised_exists() -> None:
    assert set(TemplateEnvironment().filters) >= FILTERS
