"""`split_exact` from YAML text."""

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

from penstock.errors import InputError
from penstock.steps.allotment import cuts, parse_amount, whole_numbers
from penstock.steps.split_exact import SplitExact

Make = Callable[[str], Any]


def table(count: int, **columns: list[Any]) -> pl.DataFrame:
    return pl.DataFrame({"id": [f"k{number:05}" for number in range(count)], **columns})


def sizes(step: SplitExact, rows: pl.DataFrame) -> dict[str | None, int]:
    return dict(Counter(carry_out(step, rows).rows[step.output].to_list()))


@pytest.mark.parametrize("count", [1, 2, 5, 10, 99, 1_000, 1_003])
def test_shares_are_met_to_the_row(step_of: Make, count: int) -> None:
    found = sizes(step_of("uses: split_exact\nsets: {train: 80%, validation: 10%, test: 10%}"), table(count))
    assert sum(found.values()) == count
    assert abs(found["train"] - 0.8 * count) < 1
    assert abs(found.get("test", 0) - 0.1 * count) < 1


def test_numbers_of_rows_are_met_and_the_rows_beyond_them_are_filtered(step_of: Make) -> None:
    step = step_of("uses: split_exact\nsets: {train: 300, test: 50}\noutput: part")
    carried = carry_out(step, table(1_000))
    assert Counter(carried.kept["part"].to_list()) == {"train": 300, "test": 50}
    assert len(carried.filtered) == 650
    assert carried.filtered["part"].null_count() == 650


@pytest.mark.parametrize("sets", ["{test: 50, train: rest}", "{test: 5%, train: rest}", "{train: rest, test: 50}"])
def test_the_rest_is_what_is_left(step_of: Make, sets: str) -> None:
    assert sizes(step_of(f"uses: split_exact\nsets: {sets}"), table(1_000)) == {"test": 50, "train": 950}


def test_groups_are_never_divided(step_of: Make) -> None:
    customers = [f"c{number % 37}" for number in range(1_000)]
    rows = table(1_000, customer=customers)
    step = step_of("uses: split_exact\nsets: {train: 80%, test: 20%}\nby: customer")
    carried = carry_out(step, rows, [400]).rows
    assert carried.group_by("customer").agg(pl.col("set").n_unique())["set"].unique().to_list() == [1]
    assert abs((carried["set"] == "train").sum() - 800) <= 28


def test_a_group_may_be_named_by_several_columns_and_null_is_one_group(step_of: Make) -> None:
    rows = table(60, shop=[1, 2] * 30, order=[number // 6 or None for number in range(60)])
    step = step_of("uses: split_exact\nsets: {a: 50%, b: 50%}\nby: [shop, order]")
    carried = carry_out(step, rows).rows
    assert carried.group_by("shop", "order").agg(pl.col("set").n_unique())["set"].unique().to_list() == [1]


def test_each_value_of_stratify_has_its_share_in_each_set(step_of: Make) -> None:
    labels = ["rare"] * 30 + ["often"] * 870 + [None] * 100
    step = step_of("uses: split_exact\nsets: {train: 80%, test: 20%}\nstratify: label")
    carried = carry_out(step, table(1_000, label=labels), [500]).rows
    counts = {(label, name): count for label, name, count in carried.group_by("label", "set").len().rows()}
    assert abs(counts["rare", "test"] - 6) <= 1
    assert abs(counts["often", "test"] - 174) <= 1
    assert abs(counts[None, "test"] - 20) <= 1
    assert (carried["set"] == "test").sum() == 200


def test_many_small_strata_do_not_add_their_rounding_up(step_of: Make) -> None:
    step = step_of("uses: split_exact\nsets: {train: 80%, test: 20%}\nstratify: label")
    assert sizes(step, table(300, label=[number // 3 for number in range(300)])) == {"train": 240, "test": 60}


def test_groups_and_strata_go_together(step_of: Make) -> None:
    customer = [number // 10 for number in range(2_000)]
    labels = ["a" if number % 4 else "b" for number in customer]
    step = step_of("uses: split_exact\nsets: {train: 75%, test: 25%}\nby: customer\nstratify: label")
    carried = carry_out(step, table(2_000, customer=customer, label=labels)).rows
    test = carried.filter(pl.col("set") == "test")
    assert test.height == 500
    assert abs((test["label"] == "b").sum() - 125) <= 10


def test_a_small_set_gets_a_group_even_where_that_is_too_many(step_of: Make) -> None:
    step = step_of("uses: split_exact\nsets: {train: 97%, validation: 3%}\nby: customer")
    for seed in range(5):
        found = sizes(step.model_copy(update={"seed": seed}), table(500, customer=[n // 100 for n in range(500)]))
        assert found == {"train": 400, "validation": 100}


def test_another_seed_is_another_split_and_the_same_seed_the_same(step_of: Make) -> None:
    step = step_of("uses: split_exact\nsets: {a: 50%, b: 50%}")
    one, again, other = (
        carry_out(step.model_copy(update={"seed": seed}), table(200)).rows["set"].to_list() for seed in (1, 1, 2)
    )
    assert one == again != other


def test_a_split_is_the_same_for_good(step_of: Make) -> None:
    """Written down once: a change of this moves rows between the sets of finished work."""
    step = step_of("uses: split_exact\nsets: {a: 50%, b: 50%}\nseed: 7")
    assert "".join(carry_out(step, table(16)).rows["set"].to_list()) == "baabaabbababbbaa"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (table(99), "asks for 100 rows, and there are 99"),
        (table(200, customer=[1] * 200), "cannot fill 2 sets: `by` makes only 1 groups of 200 rows"),
    ],
)
def test_too_few_rows_or_groups_are_told(step_of: Make, rows: pl.DataFrame, message: str) -> None:
    by = "by: customer" if "customer" in rows.columns else ""
    with pytest.raises(InputError, match=message):
        carry_out(step_of(f"uses: split_exact\nsets: {{train: 80, test: 20}}\n{by}"), rows)


def test_a_table_without_rows_stays_one(step_of: Make) -> None:
    assert carry_out(step_of("uses: split_exact\nsets: {train: 80, test: 20}\nby: id"), table(1)[:0]).rows.is_empty()


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        ("{}", "at least 1"),
        ("{a: 80%, b: 10%}", "add up to 90%, and they must add up to 100%; write one of them as rest"),
        ("{a: 80%, b: 30%}", "add up to 110%"),
        ("{a: 80%, b: 30%, c: rest}", "add up to 110%"),
        ("{a: 80%, b: 30}", "some amounts are shares and some are numbers"),
        ("{a: rest, b: rest}", "only one can be"),
        ("{a: 0%, b: 100%}", "it is nothing"),
        ("{a: 0, b: 10}", "it is nothing"),
        ("{a: most, b: 10}", "neither a share nor a number of rows"),
        ("{a: -5, b: 10}", "neither a share nor a number of rows"),
        ("{a: true, b: 10}", "neither a share nor a number of rows"),
    ],
)
def test_sets_that_make_no_whole_are_refused(step_of: Make, sets: str, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        step_of(f"uses: split_exact\nsets: {sets}")


@pytest.mark.parametrize(
    ("written", "amount"),
    [("80%", 0.8), (0.8, 0.8), ("0.25", 0.25), (5000, 5000), ("20k", 20_000), (1, 1), ("100%", 1.0), ("rest", "rest")],
)
def test_amounts_are_read_as_people_write_them(written: object, amount: object) -> None:
    read = parse_amount(written)
    assert read == amount
    assert type(read) is type(amount)


def test_the_new_column_must_be_new(step_of: Make) -> None:
    step = step_of("uses: split_exact\nsets: {a: 50%, b: 50%}")
    assert step.columns_after({"x": None}) == {"x": None, "set": "String"}
    with pytest.raises(ValueError, match="exists already"):
        step.columns_after({"set": None})


@given(st.lists(st.integers(1, 50), min_size=1, max_size=5), st.integers(0, 10_000))
def test_shares_are_rounded_to_whole_rows_that_add_up(parts: list[int], rows: int) -> None:
    shares: dict[str, float | int | str] = {f"s{place}": part / sum(parts) for place, part in enumerate(parts)}
    found = whole_numbers(shares, rows)
    assert sum(found.values()) == rows
    assert all(abs(found[name] - float(share) * rows) < 1 for name, share in shares.items())


@given(st.lists(st.integers(1, 30), min_size=1, max_size=40), st.lists(st.integers(0, 300), min_size=1, max_size=4))
def test_pieces_of_a_line_are_out_by_less_than_its_largest_unit(units: list[int], wanted: list[int]) -> None:
    rows = sum(units)
    total = sum(wanted) or 1
    numbers = list(whole_numbers({str(place): number / total for place, number in enumerate(wanted)}, rows).values())
    ends = cuts(pl.Series(units), numbers)
    begins = [0, *ends[:-1]]
    assert begins == sorted(begins)
    assert ends == sorted(ends)
    assert ends[-1] <= len(units)
    pieces = [sum(units[begin:end]) for begin, end in zip(begins, ends, strict=True)]
    filled = [piece > 0 for piece, number in zip(pieces, numbers, strict=True) if number]
    assert all(filled) or len(units) < len(filled)
    if sum(wanted) and min(number for number in numbers if number) >= max(units):
        assert all(abs(piece - number) <= max(units) for piece, number in zip(pieces, numbers, strict=True))


@settings(max_examples=40, deadline=None)
@given(
    groups=st.lists(st.one_of(st.none(), st.integers(0, 12)), min_size=3, max_size=60),
    cuts_at=st.lists(st.integers(0, 60), max_size=4),
    by=st.sampled_from([None, "customer"]),
    stratify=st.sampled_from([None, "label"]),
    data=st.data(),
)
def test_the_result_depends_on_keys_and_groups_and_not_on_the_order_of_rows(
    groups: list[int | None], cuts_at: list[int], by: str | None, stratify: str | None, data: st.DataObject
) -> None:
    sets = {"train": "60%", "test": "rest"}
    step = SplitExact.model_validate({"uses": "split_exact", "sets": sets, "by": by, "stratify": stratify})
    rows = table(len(groups), customer=groups, label=[place % 3 for place in range(len(groups))])
    if by and len(set(groups)) < 2:
        return
    whole = carry_out(step, rows).rows.select("id", "set")
    order = data.draw(st.permutations(range(len(cuts_at) + 1)))
    assert carry_out(step, rows.reverse(), cuts_at, order).rows.select("id", "set").equals(whole)
    largest = max(Counter(groups).values()) if by else 1
    off = abs((whole["set"] == "train").sum() - 0.6 * len(groups))
    assert off < 1 if not by else off <= max(largest, 1)
