"""`derive` from YAML text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl
import pytest
from pydantic import ValidationError

Make = Callable[[str], Any]
FRAME = pl.DataFrame({"__row": [0, 1], "title": ["A", "B"], "stars": [1, None]})


def test_new_columns_come_after_the_old_ones_and_an_old_one_is_replaced(step_of: Make) -> None:
    step = step_of("""
        uses: derive
        columns:
          text: concat(title, '!')
          stars: coalesce(stars, 0) + 1
    """)
    frame = step.apply(FRAME.lazy()).collect()
    assert frame.to_dict(as_series=False) == {
        "__row": [0, 1],
        "title": ["A", "B"],
        "stars": [2, 1],
        "text": ["A!", "B!"],
    }
    assert list(step.columns_after({"title": "String", "stars": "Int64"})) == ["title", "stars", "text"]


def test_all_expressions_see_the_row_as_it_was(step_of: Make) -> None:
    step = step_of("{uses: derive, columns: {title: \"'x'\", copy: title}}")
    assert step.apply(FRAME.lazy()).collect()["copy"].to_list() == ["A", "B"]


def test_the_type_of_a_new_column_is_not_known(step_of: Make) -> None:
    assert step_of("{uses: derive, columns: {stars: stars + 1}}").columns_after({"stars": "Int64"}) == {"stars": None}


def test_a_column_is_needed(step_of: Make) -> None:
    with pytest.raises(ValidationError):
        step_of("{uses: derive, columns: {}}")
