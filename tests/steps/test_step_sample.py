"""`sample` from YAML text: the same rows, always."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from penstock.errors import InputError
from penstock.steps.base import KEY
from penstock.steps.sample import Sample

Make = Callable[[str], Any]
IDS = pl.DataFrame({"__row": range(10_000), "id": [f"id-{n}" for n in range(10_000)]})


def kept(step: Any, frame: pl.DataFrame = IDS) -> list[int]:
    rows: list[int] = step.apply(frame.lazy()).collect()["__row"].to_list()
    return rows


def test_about_the_share_stays_and_ever_the_same_rows(step_of: Make) -> None:
    first = kept(step_of("{uses: sample, share: 10%, by: id}"))
    assert 900 < len(first) < 1100
    assert first[:5] == [16, 74, 82, 87, 92], "these rows were chosen when this was written"
    assert set(kept(step_of("{uses: sample, share: 5%, by: id}"))) < set(first), "a smaller share is a part of it"
    assert kept(step_of("{uses: sample, share: 100%, by: id}")) == list(range(10_000))


@given(st.lists(st.none() | st.text(max_size=3), max_size=12), st.floats(0.01, 1), st.integers(0, 2**64 - 1))
def test_a_rows_lot_is_its_own(values: list[str | None], share: float, seed: int) -> None:
    """Whatever other rows there are, in whatever order, and however often its value stands there."""
    step = Sample.model_validate({"uses": "sample", "share": share, "by": "id", "seed": seed})
    frame = pl.DataFrame({"__row": range(len(values)), "id": values}, schema={"__row": pl.Int64, "id": pl.String})
    alone = [row for row in range(len(values)) if kept(step, frame[row])]
    assert kept(step, frame) == alone
    lots: dict[str | None, bool] = {}
    for row, value in enumerate(values):
        assert lots.setdefault(value, row in alone) == (row in alone)


def test_the_key_decides_where_no_column_is_named(step_of: Make) -> None:
    step = step_of("{uses: sample, share: 50%}")
    assert step.needs_key
    assert not step_of("{uses: sample, share: 50%, by: id}").needs_key
    done = step.apply(IDS.rename({"id": KEY}).lazy()).collect()
    assert 4500 < len(done) < 5500
    assert done.columns == ["__row", KEY]
    assert step.apply(IDS.clear().lazy()).collect().columns == ["__row", "id"]
    with pytest.raises(InputError, match="name the columns it goes by in `by`"):
        step.apply(IDS.lazy()).collect()


def test_another_seed_is_another_choice(step_of: Make) -> None:
    one, two = (set(kept(step_of(f"{{uses: sample, share: 10%, by: id, seed: {seed}}}"))) for seed in (1, 2))
    assert len(one & two) < 200


def test_borders_between_columns_count_and_types_do_not(step_of: Make) -> None:
    step = step_of("{uses: sample, share: 50%, by: [a, b]}")
    rows = pl.DataFrame({"__row": range(400), "a": [f"{n}" for n in range(400)], "b": ["12"] * 400})
    shifted = pl.DataFrame({"__row": range(400), "a": [f"{n}1" for n in range(400)], "b": ["2"] * 400})
    assert kept(step, rows) != kept(step, shifted)
    assert kept(step, rows) == kept(step, rows.with_columns(pl.col("a", "b").cast(pl.Int32)))


def test_columns_stay(step_of: Make) -> None:
    step = step_of("{uses: sample, share: 50%, by: id}")
    assert step.columns_after({"id": "String"}) == {"id": "String"}
    assert step.apply(IDS.lazy()).collect().columns == IDS.columns
    with pytest.raises(InputError, match=r"cannot go by the column 'id', which is List\(Int64\)"):
        step.apply(pl.LazyFrame({"id": [[1]]}))


@pytest.mark.parametrize(
    "settings", ["share: 0", "share: 110%", "share: 10%, seed: -1", "by: id", "share: 5%, rows: 3"]
)
def test_settings_that_make_no_sense_are_mistakes(step_of: Make, settings: str) -> None:
    with pytest.raises(ValidationError):
        step_of(f"{{uses: sample, {settings}}}")
