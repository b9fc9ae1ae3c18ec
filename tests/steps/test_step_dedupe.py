"""`dedupe` from YAML text: rows that are equal."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from barrier_harness import carry_out
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from penstock.steps.base import SIMILARITY
from penstock.steps.dedupe import Dedupe

Make = Callable[[str], Any]


def table(**columns: list[Any]) -> pl.DataFrame:
    count = len(next(iter(columns.values())))
    return pl.DataFrame({"id": [f"k{number:03}" for number in range(count)], **columns}, strict=False)


MAILS = table(
    email=["a@x.org", "b@x.org", "A@x.org ", "a@x.org", None, None, "b@x.org"],
    at=[3, 5, 1, 9, 2, 2, None],
)


def test_rows_with_equal_columns_are_merged_into_the_first(step_of: Make) -> None:
    carried = carry_out(step_of("uses: dedupe\nby: [email]"), MAILS)
    assert carried.into == {"k003": "k000", "k006": "k001"}
    assert carried.merged[SIMILARITY].to_list() == [1.0, 1.0]


def test_the_last_row_can_be_kept(step_of: Make) -> None:
    assert carry_out(step_of("uses: dedupe\nby: [email]\nkeep: last"), MAILS).into == {"k000": "k003", "k001": "k006"}


@pytest.mark.parametrize(
    ("keep", "into"), [("first", {"k003": "k000", "k006": "k001"}), ("last", {"k000": "k003", "k006": "k001"})]
)
def test_an_expression_orders_the_rows_and_its_nulls_are_never_kept(
    step_of: Make, keep: str, into: dict[str, str]
) -> None:
    assert carry_out(step_of(f"uses: dedupe\nby: [email]\norder_by: at * 2\nkeep: {keep}"), MAILS).into == into


def test_equal_values_of_the_order_are_ordered_by_key_not_by_place(step_of: Make) -> None:
    step = step_of("uses: dedupe\nby: [email]\norder_by: 1 + 0 * at")
    same = table(email=["a"] * 4, at=[1, 2, 3, 4])
    assert carry_out(step, same.reverse(), [2]).into == dict.fromkeys(["k001", "k002", "k003"], "k000")


def test_rows_without_anything_to_compare_are_all_different_unless_said_otherwise(step_of: Make) -> None:
    assert {"k004", "k005"} <= carry_out(step_of("uses: dedupe\nby: [email]"), MAILS).kept_keys
    equal = carry_out(step_of("uses: dedupe\nby: [email]\nnulls: equal"), MAILS)
    assert equal.into["k005"] == "k004"
    texts = carry_out(step_of('uses: dedupe\ntext: "{{ email }}"\nnulls: equal'), MAILS)
    assert texts.into == equal.into


def test_a_null_equals_a_null_where_other_columns_are_compared_too(step_of: Make) -> None:
    rows = table(name=["a", "a", "a", None], stars=[None, None, 3, None])
    assert carry_out(step_of("uses: dedupe\nby: [name, stars]"), rows).into == {"k001": "k000"}


def test_a_null_is_no_text_that_looks_like_one(step_of: Make) -> None:
    rows = table(a=["-", None, "", "1:-"], b=["x", "x", "x", "x"])
    assert carry_out(step_of("uses: dedupe\nby: [a, b]"), rows).into == {}


def test_the_border_between_two_columns_counts(step_of: Make) -> None:
    rows = table(a=["ab", "a", "1:a2:b"], b=["c", "bc", ""])
    assert carry_out(step_of("uses: dedupe\nby: [a, b]"), rows).into == {}


def test_a_star_is_all_columns(step_of: Make) -> None:
    rows = table(a=[1, 1, 2]).with_columns(id=pl.Series(["x", "x", "x"]))
    carried = carry_out(step_of("uses: dedupe\nby: '*'\nduplicates: n"), rows)
    assert carried.kept.select("a", "n").sort("a").rows() == [(1, 1), (2, 0)]


@pytest.mark.parametrize(
    "values",
    [
        [1.5, 0.1 + 0.2, 0.3, float("nan"), float("inf"), -float("inf")],
        [date(2024, 1, 1), date(2024, 1, 2)],
        [datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 1, 0, 0, 0, 1, tzinfo=UTC)],
        [True, False],
        [[1, 2], [1], [], [1, 2, 3]],
        [{"a": 1, "b": "x"}, {"a": 1, "b": "y"}],
        [Decimal("1.10"), Decimal("1.11")],
        [b"\xff", b"\xfe"],
    ],
    ids=["floats", "dates", "times", "booleans", "lists", "structs", "decimals", "bytes"],
)
def test_columns_of_all_types_can_be_compared(step_of: Make, values: list[Any]) -> None:
    rows = table(value=values * 2)
    count = len(values)
    into = {f"k{count + place:03}": f"k{place:03}" for place in range(count)}
    assert carry_out(step_of("uses: dedupe\nby: [value]"), rows).into == into


def test_categories_and_columns_of_nulls_can_be_compared(step_of: Make) -> None:
    rows = table(kind=["a", "b", "a"], nothing=[None] * 3).with_columns(pl.col("kind").cast(pl.Categorical))
    assert carry_out(step_of("uses: dedupe\nby: [kind, nothing]"), rows).into == {"k002": "k000"}


def test_minus_zero_is_zero(step_of: Make) -> None:
    assert carry_out(step_of("uses: dedupe\nby: [value]"), table(value=[0.0, -0.0])).into == {"k001": "k000"}


@pytest.mark.parametrize(
    ("ignore", "merged"),
    [
        ("[]", set()),
        ("[case]", {"k001"}),
        ("[whitespace]", {"k002"}),
        ("[punctuation]", {"k003"}),
        ("[accents]", {"k004"}),
        ("[case, whitespace, punctuation, accents]", {"k001", "k002", "k003", "k004"}),
    ],
)
@pytest.mark.parametrize("what", ["by: body", "by: [body]", 'text: "{{ body }}"'])
def test_what_is_ignored_makes_no_difference(step_of: Make, what: str, ignore: str, merged: set[str]) -> None:
    rows = table(
        body=["ein cafe am Eck", "Ein Cafe am eck", "  ein cafe  am\tEck ", "ein cafe am Eck.", "ein café am Eck"]
    )
    assert set(carry_out(step_of(f"uses: dedupe\n{what}\nignore: {ignore}"), rows).into) == merged


def test_texts_of_punctuation_only_are_still_different(step_of: Make) -> None:
    step = step_of('uses: dedupe\ntext: "{{ body }}"\nignore: [punctuation, whitespace]')
    assert carry_out(step, table(body=["!!!", "???", " !!! ", "-"])).into == {"k002": "k000"}


def test_columns_and_text_must_both_be_equal(step_of: Make) -> None:
    rows = table(shop=[1, 2, 1, None], body=["a", "a", "a", "a"])
    assert carry_out(step_of('uses: dedupe\nby: [shop]\ntext: "{{ body }}"'), rows).into == {"k002": "k000"}


def test_duplicates_are_counted_on_the_row_that_is_kept(step_of: Make) -> None:
    step = step_of("uses: dedupe\nby: [email]\nignore: [case, whitespace]\nduplicates: copies")
    carried = carry_out(step, MAILS)
    assert step.columns_after({"email": "String"}) == {"email": "String", "copies": "Int64"}
    assert carried.rows["copies"].to_list() == [2, 1, 0, 0, 0, 0, 0]


def test_a_template_that_fails_on_a_row_says_so(step_of: Make) -> None:
    step = step_of('uses: dedupe\ntext: "{{ 1 / at }}"')
    with pytest.raises(pl.exceptions.ComputeError, match="zero"):
        carry_out(step, table(at=[1, 0]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "say what makes rows the same"),
        ("by: []", "names no column"),
        ("by: [a]\nnear: 0.8", "`near` compares texts"),
        ("by: a\norder_by: at desc", "it takes no direction"),
        ("text: body", "it uses no column"),
        ('text: "{{ body }}"\nnear: 0.3', "less than 50% alike"),
        ('text: "{{ body }}"\nnear: 130%', "is not a share"),
        ("by: [a]\nkeep: best", "first"),
        ("by: [a]\nignore: [spelling]", "case"),
    ],
)
def test_settings_that_mean_nothing_are_refused(step_of: Make, text: str, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        step_of(f"uses: dedupe\n{text}")


def test_the_column_of_duplicates_must_be_new(step_of: Make) -> None:
    with pytest.raises(ValueError, match="exists already"):
        step_of("uses: dedupe\nby: [a]\nduplicates: a").columns_after({"a": None})


def test_a_table_without_rows_stays_one(step_of: Make) -> None:
    for more in ("", "near: 0.8", "duplicates: n", "order_by: id"):
        step = step_of(f'uses: dedupe\ntext: "{{{{ body }}}}"\n{more}')
        assert carry_out(step, table(body=["a"])[:0]).rows.is_empty()


CELLS = st.one_of(st.none(), st.sampled_from(["", "a", "A", "b", "-", "1:a", "ä", " a"]))


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(CELLS, st.one_of(st.none(), st.integers(0, 2))), max_size=25),
    cuts=st.lists(st.integers(0, 25), max_size=4),
    keep=st.sampled_from(["first", "last"]),
    nulls=st.sampled_from(["distinct", "equal"]),
    data=st.data(),
)
def test_equal_rows_become_one_however_the_table_is_cut(
    rows: list[tuple[str | None, int | None]], cuts: list[int], keep: Any, nulls: Any, data: st.DataObject
) -> None:
    step = Dedupe(uses="dedupe", by=["a", "b"], keep=keep, nulls=nulls, order_by="b")
    given_table = pl.DataFrame(
        {"id": [f"k{place:02}" for place in range(len(rows))], "a": [a for a, _ in rows], "b": [b for _, b in rows]},
        schema={"id": pl.String, "a": pl.String, "b": pl.Int64},
    )
    whole = carry_out(step, given_table)
    order = data.draw(st.permutations(range(len(cuts) + 1)))
    assert (
        carry_out(step, given_table, cuts, order)
        .rows.select("id", "__fate", "__into")
        .equals(whole.rows.select("id", "__fate", "__into"))
    )
    assert len(whole.kept) + len(whole.merged) + len(whole.filtered) == len(rows)
    known = {row for row in rows if nulls == "equal" or any(cell is not None for cell in row)}
    unknown = 0 if nulls == "equal" else rows.count((None, None))
    assert len(whole.kept) == len(known) + unknown
    cells = {f"k{place:02}": row for place, row in enumerate(rows)}
    assert all(cells[one] == cells[other] for one, other in whole.into.items())
