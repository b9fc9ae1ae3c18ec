"""`sample_rows` from YAML text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest
from barrier_harness import carry_out
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from penstock.steps.sample_rows import SampleRows

Make = Callable[[str], Any]


def table(count: int, **columns: list[Any]) -> pl.DataFrame:
    return pl.DataFrame({"id": [f"k{number:05}" for number in range(count)], **columns})


@pytest.mark.parametrize(("wanted", "count", "kept"), [(10, 1_000, 10), (10, 10, 10), (10, 3, 3), (1, 1, 1), (5, 0, 0)])
def test_exactly_the_number_stays_or_all_where_there_are_fewer(
    step_of: Make, wanted: int, count: int, kept: int
) -> None:
    carried = carry_out(step_of(f"uses: sample_rows\nrows: {wanted}"), table(max(1, count))[:count])
    assert len(carried.kept) == kept
    assert len(carried.filtered) == count - kept


@pytest.mark.parametrize(("count", "kept"), [(1_000, 100), (99, 10), (4, 0), (0, 0)])
def test_exactly_the_share_stays(step_of: Make, count: int, kept: int) -> None:
    carried = carry_out(step_of("uses: sample_rows\nshare: 10%"), table(max(1, count))[:count])
    assert len(carried.kept) == kept


def test_so_many_rows_of_each_category_stay(step_of: Make) -> None:
    categories = ["a"] * 50 + ["b"] * 3 + [None] * 20
    carried = carry_out(step_of("uses: sample_rows\nrows: 5\nby: category"), table(73, category=categories), [20])
    assert Counter(carried.kept["category"].to_list()) == {"a": 5, "b": 3, None: 5}


def test_the_same_share_of_each_category_stays_and_of_all_exactly(step_of: Make) -> None:
    categories = [number // 7 for number in range(700)]
    carried = carry_out(step_of("uses: sample_rows\nshare: 20%\nby: [category]"), table(700, category=categories))
    assert len(carried.kept) == 140
    assert set(Counter(carried.kept["category"].to_list()).values()) <= {1, 2}
    assert carried.kept["category"].n_unique() == 100


def test_rows_of_one_value_stay_together_as_far_as_the_number_allows(step_of: Make) -> None:
    step = step_of("uses: sample_rows\nrows: 25\nhashed: customer")
    counts = Counter(carry_out(step, table(100, customer=[n % 10 for n in range(100)])).kept["customer"].to_list())
    assert sorted(counts.values()) == [5, 10, 10]


def test_a_larger_sample_holds_the_smaller_one(step_of: Make) -> None:
    small, large = (carry_out(step_of(f"uses: sample_rows\nrows: {n}"), table(500)).kept_keys for n in (20, 80))
    assert small < large


def test_another_seed_is_another_sample(step_of: Make) -> None:
    one, other = (carry_out(step_of(f"uses: sample_rows\nrows: 50\nseed: {n}"), table(500)).kept_keys for n in (0, 1))
    assert len(one & other) < 25


def test_a_sample_is_the_same_for_good(step_of: Make) -> None:
    """Written down once: a change of this takes other rows in every pipeline."""
    kept = carry_out(step_of("uses: sample_rows\nrows: 4\nseed: 7"), table(100)).kept_keys
    assert kept == {"k00044", "k00052", "k00060", "k00086"}


def test_the_columns_stay(step_of: Make) -> None:
    given_columns = {"a": "Int64", "b": None}
    assert step_of("uses: sample_rows\nrows: 3").columns_after(given_columns) == given_columns


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "either `rows: 1000` or `share: 10%`"),
        ("rows: 3\nshare: 10%", "either `rows: 1000` or `share: 10%`"),
        ("rows: 0", "keeps no row"),
        ("share: 0%", "keeps no row"),
        ("rows: -1", "0 or more"),
        ("share: 110%", "is not a share"),
    ],
)
def test_samples_of_nothing_are_refused(step_of: Make, text: str, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        step_of(f"uses: sample_rows\n{text}")


@settings(max_examples=40, deadline=None)
@given(
    categories=st.lists(st.one_of(st.none(), st.sampled_from("abc")), min_size=1, max_size=50),
    how=st.sampled_from([{"rows": 3}, {"share": "30%"}, {"rows": 4, "hashed": "category"}]),
    by=st.sampled_from([None, "category"]),
    cuts=st.lists(st.integers(0, 50), max_size=4),
    data=st.data(),
)
def test_the_result_depends_on_keys_and_not_on_the_order_of_rows(
    categories: list[str | None], how: dict[str, Any], by: str | None, cuts: list[int], data: st.DataObject
) -> None:
    step = SampleRows.model_validate({"uses": "sample_rows", "by": by, **how})
    rows = table(len(categories), category=categories)
    whole = carry_out(step, rows)
    order = data.draw(st.permutations(range(len(cuts) + 1)))
    assert carry_out(step, rows.reverse(), cuts, order).kept_keys == whole.kept_keys
    assert len(whole.kept) + len(whole.filtered) == len(categories)
    if "rows" in how:
        counts = Counter(categories).values() if by else [len(categories)]
        assert len(whole.kept) == sum(min(how["rows"], count) for count in counts)
    else:
        assert len(whole.kept) == round(0.3 * len(categories))
