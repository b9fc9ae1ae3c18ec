"""Types: an expression that suits no row is a mistake with its place, before anything is sent."""

from __future__ import annotations

import pytest
from plan_bench import EMBED, PlanBench

from penstock.errors import SpecError


def _told(bench: PlanBench) -> str:
    with pytest.raises(SpecError) as caught:
        bench.plan()
    assert "Traceback" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ("uses: filter\nwhere: text > 3", "`where`: text cannot be compared with a number"),
        ("uses: filter\nwhere: length(id) > 3", "`where`: a function of String is given `id`, which is i64"),
        ("uses: filter\nwhere: text >= DATE '2026-02-01'", "`where`: a date cannot be compared with text"),
        ("uses: filter\nwhere: id", "`where`: a condition is true or false, and this gives integer"),
        ("uses: derive\ncolumns: {ok: id + 1, sum: text + id}", "`columns.sum`: arithmetic on dtypes str and i64"),
        (f"{EMBED}\nwhen: text > 3", "`when`: text cannot be compared with a number"),
    ],
)
def test_an_expression_that_suits_no_row_is_a_mistake_with_its_place(bench: PlanBench, step: str, said: str) -> None:
    bench.rows(20)
    bench.write("uses: filter\nwhere: id >= 0", step, "uses: filter\nwhere: id IS NOT NULL")
    told = _told(bench)
    assert said in told
    assert told.count("p.yaml:") == 1


def test_the_types_of_the_columns_used_are_told(bench: PlanBench) -> None:
    bench.rows(3)
    bench.write("uses: derive\ncolumns: {sum: text + id}")
    assert "`text` is string, `id` is integer; convert with CAST" in _told(bench)


def test_steps_after_an_api_step_see_its_columns_with_their_types(bench: PlanBench) -> None:
    bench.rows(5)
    usage = "uses: derive\ncolumns: {tokens: embed_usage.prompt_tokens}"
    bench.write(EMBED, usage, "uses: select\ncolumns: [id, embedding, embed_usage, tokens]")
    assert bench.plan().estimates[0].rows == 5
    bench.write(EMBED, usage, "uses: filter\nwhere: tokens = 'x'")
    assert "text cannot be compared with a number" in _told(bench)


def test_an_expression_that_only_some_rows_break_is_no_mistake(bench: PlanBench) -> None:
    bench.rows(4, text="word {}")
    bench.write("uses: derive\ncolumns: {number: CAST(text AS INTEGER)}", EMBED)
    assert bench.plan().estimates[0].rows == 0
    bench.write(f"{EMBED}\nwhen: CAST(text AS INTEGER) > 1")
    assert bench.plan().estimates[0].rows == 0
