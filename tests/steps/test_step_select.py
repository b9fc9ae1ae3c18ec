"""`select` from YAML text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl
import pytest
from pydantic import ValidationError

Make = Callable[[str], Any]
FRAME = pl.DataFrame({"__row": [0], "a": [1], "b": [2], "c": [3]})


@pytest.mark.parametrize(
    ("columns", "names"),
    [("[c, a]", ["c", "a"]), ("{x: a, y: b}", ["x", "y"]), ("{a: b, b: a}", ["a", "b"]), ("[a]", ["a"])],
)
def test_the_columns_named_stay_in_their_order_and_so_do_penstocks_own(
    step_of: Make, columns: str, names: list[str]
) -> None:
    step = step_of(f"{{uses: select, columns: {columns}}}")
    assert step.apply(FRAME.lazy()).collect().columns == ["__row", *names]
    assert list(step.columns_after({"a": "Int64", "b": "Int64", "c": "Int64"})) == names


def test_two_columns_can_change_names(step_of: Make) -> None:
    frame = step_of("{uses: select, columns: {a: b, b: a}}").apply(FRAME.lazy()).collect()
    assert (frame["a"].item(), frame["b"].item()) == (2, 1)


def test_types_go_with_their_columns(step_of: Make) -> None:
    after = step_of("{uses: select, columns: {x: a}}").columns_after({"a": "Int64", "b": None})
    assert after == {"x": "Int64"}


def test_a_column_named_twice_is_a_mistake(step_of: Make) -> None:
    with pytest.raises(ValueError, match="'a' is named twice"):
        step_of("{uses: select, columns: [a, b, a]}").columns_after({"a": None, "b": None})


@pytest.mark.parametrize("columns", ["[]", "{}", "a", "[1]"])
def test_the_columns_are_a_list_or_a_mapping_of_names(step_of: Make, columns: str) -> None:
    with pytest.raises(ValidationError):
        step_of(f"{{uses: select, columns: {columns}}}")
