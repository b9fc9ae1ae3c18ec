"""`filter` from YAML text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl
import pytest
from pydantic import ValidationError

Make = Callable[[str], Any]
FRAME = pl.DataFrame({"__row": [0, 1, 2, 3], "body": ["a", "", None, "long"], "stars": [1, 5, 3, None]})


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        ("length(body) > 0", [0, 3]),
        ("stars >= 3", [1, 2]),
        ("body is null", [2]),
        ("stars between 1 and 3 and body <> 'x'", [0]),
        ("body in ('a', 'long') or stars = 5", [0, 1, 3]),
        ("1 = 1", [0, 1, 2, 3]),
        ("false", []),
    ],
)
def test_rows_for_which_the_condition_is_false_or_null_leave(step_of: Make, where: str, kept: list[int]) -> None:
    step = step_of(f'uses: filter\nwhere: "{where}"')
    assert step.apply(FRAME.lazy()).collect()["__row"].to_list() == kept


def test_the_columns_stay(step_of: Make) -> None:
    given = {"a": "Int64", "b": None}
    after = step_of("uses: filter\nwhere: a > 0").columns_after(given)
    assert after == given
    assert after is not given


def test_a_filter_is_counted_as_dropping_rows(step_of: Make) -> None:
    assert step_of("uses: filter\nwhere: a > 0").drops_rows


def test_a_condition_is_needed(step_of: Make) -> None:
    with pytest.raises(ValidationError):
        step_of("uses: filter")
    with pytest.raises(ValidationError):
        step_of("uses: filter\nwhere: ''")


def test_the_id_is_no_part_of_the_fingerprint_and_the_condition_is(step_of: Make) -> None:
    one, named, other = (
        step_of(f"uses: filter\n{rest}") for rest in ("where: a > 0", "where: a > 0\nid: x", "where: a > 1")
    )
    assert one.content() == named.content() != other.content()
