"""`explode` from YAML text: each element once, in its order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from penstock.errors import InputError

Make = Callable[[str], Any]
LISTS = st.lists(st.none() | st.lists(st.none() | st.integers(-5, 5), max_size=4), max_size=8)


def frame(lists: list[Any], kind: Any = None) -> pl.DataFrame:
    kind = pl.List(pl.Int64) if kind is None else kind
    schema = {"__row": pl.Int64, "id": pl.String, "items": kind, "after": pl.Int64}
    count = len(lists)
    data = {"__row": range(count), "id": [f"r{n}" for n in range(count)], "items": lists, "after": [1] * count}
    return pl.DataFrame(data, schema=schema)


@given(LISTS)
def test_every_element_becomes_one_row_and_empty_lists_none(lists: list[list[int | None] | None]) -> None:
    from penstock.steps.explode import Explode

    done = Explode.model_validate({"uses": "explode", "column": "items"}).apply(frame(lists).lazy()).collect()
    expected = [(row, place, element) for row, items in enumerate(lists) for place, element in enumerate(items or [])]
    assert list(zip(done["__row"], done["position"], done["items"], strict=True)) == expected


@given(LISTS)
def test_with_keep_a_row_without_elements_stays_one_row(lists: list[list[int | None] | None]) -> None:
    from penstock.steps.explode import Explode

    step = Explode.model_validate({"uses": "explode", "column": "items", "empty": "keep"})
    done = step.apply(frame(lists).lazy()).collect()
    expected = [
        (row, place, element) for row, items in enumerate(lists) for place, element in enumerate(items or [None])
    ]
    assert list(zip(done["__row"], done["position"], done["items"], strict=True)) == expected


def test_elements_stand_where_the_list_stood_under_the_name_that_is_asked_for(step_of: Make) -> None:
    step = step_of("{uses: explode, column: items, output: item, position: n}")
    after = step.columns_after({"id": "String", "items": "List(Int64)", "after": "Int64"})
    assert after == {"id": "String", "item": "Int64", "after": "Int64", "n": "Int64"}
    schema = step.apply(frame([[1], None]).lazy()).collect().drop("__row").schema
    assert {name: str(kind) for name, kind in schema.items()} == after
    assert list(schema) == list(after)
    assert step.adds_keys == ("n",)


STRUCTS = [[{"text": "a", "score": 1}, None, {"text": None, "score": 2}], [], None]
KIND = pl.List(pl.Struct({"text": pl.String, "score": pl.Int64}))


@pytest.mark.parametrize("fields", ["[text, score]", "{t: text}", "{items: score, text: text}"])
def test_fields_of_structs_become_columns(step_of: Make, fields: str) -> None:
    step = step_of(f"{{uses: explode, column: items, fields: {fields}}}")
    done = step.apply(frame(STRUCTS, KIND).lazy()).collect()
    assert list(done.drop("__row").columns) == list(step.columns_after({"id": None, "items": None, "after": None}))
    for new, field in step.unpacked.items():
        assert done[new].to_list() == [(one or {}).get(field) for one in STRUCTS[0] or []]
    assert step.apply(frame([], KIND).lazy()).collect().columns == done.columns


def test_lists_of_a_fixed_size_and_of_lists_are_lists_too(step_of: Make) -> None:
    step = step_of("{uses: explode, column: items}")
    done = step.apply(frame([[1, 2], None], pl.Array(pl.Int64, 2)).lazy()).collect()
    assert done["items"].to_list() == [1, 2]
    done = step.apply(frame([[[1], []], [None]], pl.List(pl.List(pl.Int64))).lazy()).collect()
    assert done["items"].to_list() == [[1], [], None]
    assert step.columns_after({"items": "Array(Float32, 3)"})["items"] == "Float32"
    assert step.columns_after({"items": "List(Struct({'a': Int64}))"})["items"] == "Struct({'a': Int64})"
    assert step.columns_after({"items": "list<element: int64>"})["items"] == "int64"


def test_what_cannot_be_is_told(step_of: Make) -> None:
    step = step_of("{uses: explode, column: items}")
    with pytest.raises(ValueError, match="explode needs a list, and the column 'items' is String"):
        step.columns_after({"items": "String"})
    with pytest.raises(ValueError, match="'position' exists already"):
        step.columns_after({"items": None, "position": None})
    with pytest.raises(InputError, match="needs a list, and the column 'items' is Int64"):
        step.apply(pl.LazyFrame({"items": [1]}))
    with pytest.raises(ValueError, match="'id' exists already"):
        step_of("{uses: explode, column: items, output: id}").columns_after({"items": None, "id": None})
    with pytest.raises(ValueError, match="both name the column 'position'"):
        step_of("{uses: explode, column: items, output: position}").columns_after({"items": None})
    with pytest.raises(InputError, match="no field 'x'; they have: text, score"):
        step_of("{uses: explode, column: items, fields: [x]}").apply(frame(STRUCTS, KIND).lazy())
    with pytest.raises(InputError, match="takes fields of structs, and the elements of 'items' are Int64"):
        step_of("{uses: explode, column: items, fields: [x]}").apply(frame([]).lazy())


@pytest.mark.parametrize(
    "settings", ["fields: []", "fields: [a, a]", "output: x, fields: [a]", "empty: maybe", "position: ''"]
)
def test_settings_that_make_no_sense_are_mistakes(step_of: Make, settings: str) -> None:
    with pytest.raises(ValidationError):
        step_of(f"{{uses: explode, column: items, {settings}}}")
