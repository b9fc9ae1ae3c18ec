"""`split` from YAML text: stable sets that never part a group."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from penstock.steps.split import Split

Make = Callable[[str], Any]
IDS = pl.DataFrame({"__row": range(10_000), "id": [f"id-{n}" for n in range(10_000)]})
STEP = "{uses: split, sets: {train: 80%, validation: 10%, test: 10%}, by: id}"


def sets(step: Any, frame: pl.DataFrame) -> list[str]:
    found: list[str] = step.apply(frame.lazy()).collect()[step.output].to_list()
    return found


def test_sets_have_about_their_shares_and_stay_what_they_are(step_of: Make) -> None:
    found = sets(step_of(STEP), IDS)
    assert [round(found.count(name) / 10_000, 1) for name in ("train", "validation", "test")] == [0.8, 0.1, 0.1]
    assert found[:6] == ["validation", "train", "train", "train", "train", "test"], "as when this was written"


@given(
    st.lists(st.none() | st.text(max_size=2) | st.sampled_from(["a", "b"]), max_size=15),
    st.lists(st.integers(1, 20), min_size=1, max_size=5),
    st.integers(0, 99),
)
def test_every_row_is_in_one_set_and_no_group_in_two(values: list[str | None], parts: list[int], seed: int) -> None:
    total = sum(parts)
    shares = {f"set{number}": part / total for number, part in enumerate(parts)}
    step = Split.model_validate({"uses": "split", "sets": shares, "by": "id", "seed": seed})
    frame = pl.DataFrame({"__row": range(len(values)), "id": values}, schema={"__row": pl.Int64, "id": pl.String})
    found = sets(step, frame)
    assert len(found) == len(values)
    assert set(found) <= set(shares)
    groups: dict[str | None, str] = {}
    for value, name in zip(values, found, strict=True):
        assert groups.setdefault(value, name) == name
    assert found == [sets(step, frame[row])[0] for row in range(len(values))], "other rows do not matter"


def test_a_sample_before_it_does_not_empty_its_sets(step_of: Make) -> None:
    """A sample and a split by the same column have nothing to do with each other."""
    sampled = step_of("{uses: sample, share: 10%, by: id}").apply(IDS.lazy()).collect()
    found = sets(step_of(STEP), sampled)
    assert 0.7 < found.count("train") / len(found) < 0.9


def test_one_column_is_added(step_of: Make) -> None:
    step = step_of(STEP.replace("by: id", "by: id, output: part"))
    assert step.columns_after({"id": "Int64"}) == {"id": "Int64", "part": "String"}
    done = step.apply(IDS.lazy()).collect()
    assert done.columns == ["__row", "id", "part"]
    assert step.apply(IDS.clear().lazy()).collect().schema == done.schema
    with pytest.raises(ValueError, match="'set' exists already; give `output` another name"):
        step_of(STEP).columns_after({"id": None, "set": None})


@pytest.mark.parametrize(
    ("sets", "reason"),
    [
        ("{train: 80%, test: 15%}", "add up to 95%, and they must add up to 100%"),
        ("{train: 80%, test: 0.3}", "add up to 110%"),
        ("{train: 100%, test: 0}", "share of 'test' is 0"),
        ("{}", "at least 1"),
        ("[train, test]", "dictionary"),
    ],
)
def test_shares_that_are_no_whole_are_mistakes(step_of: Make, sets: str, reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        step_of(f"{{uses: split, sets: {sets}}}")


@pytest.mark.parametrize("shares", [("0.7", "0.2", "0.1"), ("33.33333333%", "33.33333333%", "33.33333333%")])
def test_shares_that_are_whole_but_for_rounding_are_taken(step_of: Make, shares: tuple[str, str, str]) -> None:
    step = step_of(f"{{uses: split, sets: {{a: {shares[0]}, b: {shares[1]}, c: {shares[2]}}}}}")
    assert list(step.sets) == ["a", "b", "c"]
    assert sum(step.sets.values()) != 1, "or nothing is rounded"
    assert sum(step.sets.values()) == pytest.approx(1)
