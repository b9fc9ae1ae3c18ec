"""`join` from YAML text, with files on the disk: what matches, what does not, and what is refused."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from penstock.errors import InputError
from penstock.steps.join import Join

Make = Callable[[str], Any]
CUSTOMERS = "id,country,tier\n1,DE,gold\n2,FR,\n3,日本,silver\n"
ORDERS = pl.DataFrame({"__row": [0, 1, 2, 3], "customer": [3, 1, None, 9], "sum": [5.0, 6.0, 7.0, 8.0]})


@pytest.fixture
def customers(tmp_path: Path) -> Path:
    path = tmp_path / "customers.csv"
    path.write_text(CUSTOMERS, "utf-8")
    return path


def joined(path: Path, frame: pl.DataFrame = ORDERS, **settings: Any) -> pl.DataFrame:
    step = Join.model_validate({"uses": "join", "with": {"path": str(path)}, "on": {"customer": "id"}, **settings})
    after = step.columns_after(dict.fromkeys(name for name in frame.columns if name != "__row"))
    done = step.apply(frame.lazy()).collect()
    assert done.columns == ["__row", *after], "columns are those that were told"
    return done


def test_left_keeps_every_row_in_its_order_with_nulls_where_nothing_matches(customers: Path) -> None:
    done = joined(customers)
    assert done.rows() == [
        (0, 3, 5.0, "日本", "silver"),
        (1, 1, 6.0, "DE", "gold"),
        (2, None, 7.0, None, None),
        (3, 9, 8.0, None, None),
    ]


@pytest.mark.parametrize(
    ("how", "rows", "drops"),
    [("inner", [0, 1], True), ("semi", [0, 1], True), ("anti", [2, 3], True), ("left", [0, 1, 2, 3], False)],
)
def test_a_row_stays_by_how_and_whether_there_is_a_match(
    customers: Path, how: str, rows: list[int], *, drops: bool
) -> None:
    done = joined(customers, how=how)
    assert done["__row"].to_list() == rows
    assert ("country" in done.columns) == (how in {"left", "inner"})
    step = Join.model_validate({"uses": "join", "with": {"path": str(customers)}, "on": {"customer": "id"}, "how": how})
    assert step.drops_rows is drops
    assert step.adds_rows is False


def test_columns_are_taken_by_name_and_under_other_names(customers: Path) -> None:
    assert joined(customers, columns=["tier"]).columns[-1] == "tier"
    done = joined(customers, columns={"land": "country", "customer_id": "id"})
    assert done["land"].to_list() == ["日本", "DE", None, None]
    assert done["customer_id"].to_list() == [3, 1, None, None]


KEYS = st.lists(st.none() | st.integers(0, 3), max_size=6)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(here=KEYS, there=KEYS, how=st.sampled_from(["left", "inner", "semi", "anti"]))
def test_with_many_every_match_is_a_row(tmp_path: Path, here: Any, there: Any, how: str) -> None:
    path = tmp_path / "there.parquet"
    pl.DataFrame({"id": there, "n": range(len(there))}, schema={"id": pl.Int64, "n": pl.Int64}).write_parquet(path)
    frame = pl.DataFrame(
        {"__row": range(len(here)), "customer": here}, schema={"__row": pl.Int64, "customer": pl.Int64}
    )
    matches = [[n for n, key in enumerate(there) if key is not None and key == mine] for mine in here]
    if how in {"semi", "anti"}:
        expected = [(row,) for row, found in enumerate(matches) if bool(found) == (how == "semi")]
        assert joined(path, frame, how=how).select("__row").rows() == expected
        return
    expected_rows = [
        (row, n, place)
        for row, found in enumerate(matches)
        for place, n in enumerate(found or ([None] if how == "left" else []))
    ]
    done = joined(path, frame, how=how, many=True)
    assert done.select("__row", "n", "match").rows() == expected_rows


def test_two_rows_with_one_key_are_an_error_unless_many_is_said(customers: Path) -> None:
    customers.write_text(CUSTOMERS + "1,AT,gold\n")
    with pytest.raises(InputError, match=r"several rows with id = 1, so that .* `many: true`"):
        joined(customers)
    assert joined(customers, how="semi")["__row"].to_list() == [0, 1], "whether there is a match is all it asks"
    step = Join.model_validate(
        {"uses": "join", "with": {"path": str(customers)}, "on": {"customer": "id"}, "many": True}
    )
    assert step.adds_rows
    assert step.adds_keys == ("match",)


def test_several_columns_must_all_be_equal(tmp_path: Path) -> None:
    path = tmp_path / "prices.jsonl"
    path.write_text('{"shop":"a","item":1,"price":2.5}\n{"shop":"b","item":1,"price":3.5}\n{"shop":null,"item":1}\n')
    step = Join.model_validate({"uses": "join", "with": {"path": str(path)}, "on": ["shop", "item"]})
    frame = pl.DataFrame({"shop": ["b", "b", None], "item": [1, 2, 1]})
    assert step.apply(frame.lazy()).collect()["price"].to_list() == [3.5, None, None]


def test_the_other_side_is_read_once_and_again_when_it_changes(
    customers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from penstock.steps import other_table

    reads = []
    read = other_table._read

    def counted(*args: Any) -> pl.DataFrame:
        reads.append(1)
        return read(*args)

    monkeypatch.setattr(other_table, "_read", counted)
    threads = [threading.Thread(target=joined, args=(customers,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(reads) == 1
    customers.write_text(CUSTOMERS.replace("DE", "AT"))
    os.utime(customers, ns=(1, 1))
    assert joined(customers)["country"].to_list()[1] == "AT"
    assert len(reads) == 2


def test_only_its_content_counts_not_where_it_lies(customers: Path, tmp_path: Path) -> None:
    step, moved = (
        Join.model_validate({"uses": "join", "with": {"path": str(path)}, "on": "id", "memory": memory})
        for path, memory in ((customers, "1GB"), (tmp_path / "other.csv", "2GB"))
    )
    assert step.content() == moved.content()
    assert list(step.files) == [customers]


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"on": {"customer": "no"}}, r"`on`: customers.csv has no column 'no'; it has: id, country, tier"),
        ({"on": {"nobody": "id"}}, "`on`: there is no column 'nobody' here; the columns are: customer, sum"),
        ({"columns": ["contry"]}, r"`columns`: customers.csv has no column 'contry'"),
        ({"columns": {"sum": "tier"}}, r"'sum' exists already; .* columns: \{other_sum: tier\}"),
        ({"many": True, "position": "tier"}, "'tier' exists already; give `position` another name"),
        ({"with": {"path": "gone.csv"}}, r"with\.path: gone.csv does not exist"),
    ],
)
def test_names_that_are_not_there_are_found_by_check(customers: Path, settings: Any, reason: str) -> None:
    data = {"uses": "join", "with": {"path": str(customers)}, "on": {"customer": "id"}, **settings}
    with pytest.raises(ValueError, match=reason):
        Join.model_validate(data).columns_after({"customer": None, "sum": None})


def test_a_row_there_that_cannot_be_read_is_an_error(customers: Path) -> None:
    customers.write_text(CUSTOMERS + "4,too,many,cells\n")
    with pytest.raises(InputError, match=r"customers.csv, line 5: .* A join needs every row of the other side"):
        joined(customers)


def test_a_table_that_is_too_large_is_an_error(customers: Path) -> None:
    with pytest.raises(InputError, match="takes more than 10 B of memory; name fewer `columns`"):
        joined(customers, memory=10)


def test_types_that_cannot_be_equal_are_an_error(customers: Path) -> None:
    frame = ORDERS.with_columns(pl.col("customer").cast(pl.String))
    with pytest.raises(InputError, match=r"'customer', which is String, with 'id' of customers.csv, which is Int64"):
        joined(customers, frame)
    small = ORDERS.with_columns(pl.col("customer").cast(pl.UInt8))
    assert joined(customers, small)["country"].to_list() == ["日本", "DE", None, None]


@pytest.mark.parametrize(
    "data",
    [
        {"how": "outer"},
        {"how": "semi", "columns": ["a"]},
        {"how": "anti", "many": True},
        {"on": []},
        {"on": {}},
        {"on": ["a", "a"]},
        {"with": {"path": "a.csv", "key": "id"}},
        {"with": {"path": "a.csv", "partition_rows": 5}},
        {"with": {"path": "s3://bucket/a.csv"}},
        {"with": {"sql": "select 1", "uri": "sqlite:///a.db", "key": "id"}},
        {"with": {}},
    ],
)
def test_settings_that_make_no_sense_are_mistakes(data: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Join.model_validate({"uses": "join", "with": {"path": "a.csv"}, "on": "id", **data})


def test_no_rows_here_and_no_rows_there(customers: Path) -> None:
    assert joined(customers, ORDERS.clear()).is_empty()
    customers.write_text("id,country\n")
    with pytest.raises(InputError, match="which is String; set `types`"):
        joined(customers)
    done = joined(customers, **{"with": {"path": str(customers), "types": {"id": "integer"}}})
    assert done["country"].null_count() == 4
