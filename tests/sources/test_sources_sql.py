"""Queries: run once, in the order of the key, from real databases; passwords stay in the environment."""

from __future__ import annotations

import sqlite3
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from source_servers import Postgres
from source_tables import bad_rows, pieces, table

from penstock.errors import InputError, SourceChanged
from penstock.secrets import redact
from penstock.sources import Source, SourceSettings, check_unchanged, open_source


def _database(folder: Path, *statements: str) -> Path:
    path = folder / "shop.db"
    with sqlite3.connect(path) as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()
    return path


def _query(folder: Path, sql: str, uri: str = "", key: Any = "id", **more: Any) -> Source:
    uri = uri or f"sqlite:///{folder / 'shop.db'}"
    return open_source(SourceSettings(sql=sql, uri=uri, key=key, **more), copies=folder / "copies")


def test_rows_come_in_the_order_of_the_key_whatever_the_query_says(tmp_path: Path) -> None:
    values = ", ".join(f"({number}, 'text {number}')" for number in (5, 3, 9, 1))
    _database(tmp_path, "create table t(id integer, body text)", f"insert into t values {values}")
    source = _query(tmp_path, "select * from t order by body desc -- as it was asked for")
    assert table(_query(tmp_path, "select * from t order by body desc; \n")).height == 4
    assert source.column_names() == {"id": None, "body": None}
    for size in (1, 3, 10):
        assert table(source, size).rows() == [(number, f"text {number}") for number in (1, 3, 5, 9)]


def test_a_column_of_sqlite_gets_the_type_that_holds_all_its_values(tmp_path: Path) -> None:
    _database(
        tmp_path,
        "create table t(id, whole, real, mixed, bytes, empty)",
        "insert into t values (1, 1, 1, 1, 'x', null), (2, 2, 2.5, 'two', x'ff00', null)",
        "insert into t values (3, null, null, 0.5, null, null)",
    )
    read = table(_query(tmp_path, "select * from t"))
    assert dict(read.schema) == {
        "id": pl.Int64(), "whole": pl.Int64(), "real": pl.Float64(), "mixed": pl.String(), "bytes": pl.Binary(),
        "empty": pl.String(),
    }  # fmt: skip
    assert read.rows() == [
        (1, 1, 1.0, "1", b"x", None),
        (2, 2, 2.5, "two", b"\xff\x00", None),
        (3, None, None, "0.5", None, None),
    ]


def test_a_value_that_does_not_fit_a_named_type_costs_only_its_row(tmp_path: Path) -> None:
    _database(
        tmp_path,
        "create table t(id, day, done)",
        "insert into t values (1, '2026-01-02', 1), (2, 'soon', 0), (3, '', 7), (4, null, null)",
    )
    source = _query(tmp_path, "select * from t", types={"day": "date", "done": "boolean"})
    assert table(source).rows() == [(1, date(2026, 1, 2), True), (4, None, None)]
    assert [(bad.number, bad.line, bad.file) for bad in bad_rows(source)] == [
        (1, 2, f"sqlite:///{tmp_path / 'shop.db'}"),
        (2, 3, f"sqlite:///{tmp_path / 'shop.db'}"),
    ]


def test_the_rows_of_a_plan_stay_those_that_it_was_made_from(tmp_path: Path) -> None:
    database = _database(tmp_path, "create table t(id, body)", "insert into t values (1, 'a'), (2, 'b'), (3, 'c')")
    planned = _query(tmp_path, "select * from t")
    schema, cut, states = planned.schema(), list(planned.slices(2)), planned.states()
    with sqlite3.connect(database) as connection:
        connection.execute("delete from t")
    connection.close()
    later = open_source(
        SourceSettings(sql="select * from t", uri=f"sqlite:///{database}", key="id"),
        copies=tmp_path / "copies",
        planned=states,
    )
    assert [row for piece in cut for row in later.read(piece, schema).frame.rows()] == [(1, "a"), (2, "b"), (3, "c")]
    check_unchanged(states[0])
    Path(states[0].path).unlink()
    with pytest.raises(SourceChanged, match="the local copy of the query's rows"):
        later.read(cut[0], schema)


def test_rows_that_are_added_leave_the_digests_of_earlier_slices(tmp_path: Path) -> None:
    database = _database(tmp_path, "create table t(id, body)")
    digests: list[list[str]] = []
    for batch in (range(10), range(0), range(10, 13)):
        with sqlite3.connect(database) as connection:
            connection.executemany("insert into t values (?, ?)", [(number, number / 3) for number in batch])
        connection.close()
        digests.append([piece.digest for piece in _query(tmp_path, "select * from t").slices(4)])
    assert digests[0] == digests[1]
    assert digests[2][:2] == digests[0][:2]
    assert digests[2][2] != digests[0][2]
    assert len({*digests[2]}) == 4


def test_the_same_rows_are_one_file_however_often_they_are_fetched(tmp_path: Path) -> None:
    _database(tmp_path, "create table t(id)", "insert into t values (1)")
    states = [_query(tmp_path, "select * from t").states() for _ in range(3)]
    assert states[0] == states[1] == states[2]
    assert len(list((tmp_path / "copies").glob("*.parquet"))) == 1


def test_a_database_is_only_read(tmp_path: Path) -> None:
    _database(tmp_path, "create table t(id)", "insert into t values (1)")
    for sql in ("delete from t", "select 1; drop table t", "insert into t values (2) returning id as id"):
        with pytest.raises(InputError, match="SQLite refuses the query"):
            _query(tmp_path, sql).column_names()


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("select * from nowhere", "no such table: nowhere"),
        ("selec id from t", "syntax error"),
        ("select body from t", r"source\.key: the query gives no column 'id'; it gives body"),
    ],
)
def test_a_query_that_cannot_be_run_says_why(tmp_path: Path, sql: str, words: str) -> None:
    _database(tmp_path, "create table t(id, body)")
    with pytest.raises(InputError, match=words):
        _query(tmp_path, sql).column_names()


def test_a_database_that_is_not_there_or_none_is_told_by_its_path(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"shop\.db does not exist"):
        _query(tmp_path, "select 1 as id").column_names()
    (tmp_path / "shop.db").write_text("no database at all, but long enough to be looked at as one" * 20)
    with pytest.raises(InputError, match="not a database"):
        _query(tmp_path, "select * from t").column_names()


def test_whole_numbers_that_no_floating_point_number_holds_come_as_text_beside_fractions(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        connection.execute("create table t(id, value)")
        connection.executemany("insert into t values (?, ?)", [(1, 2**53 + 1), (2, 0.5)])
    connection.close()
    assert table(_query(tmp_path, "select * from t"))["value"].to_list() == ["9007199254740993", "0.5"]


VALUES = st.none() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8
)  # fmt: skip


@settings(max_examples=40)
@given(rows=st.lists(st.tuples(st.integers(-100, 100), VALUES), max_size=30), size=st.integers(1, 12))
def test_slices_of_any_query_put_together_are_its_rows(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, Any]], size: int
) -> None:
    folder = tmp_path_factory.mktemp("law")
    with sqlite3.connect(folder / "shop.db") as connection:
        connection.execute("create table t(id, value)")
        connection.executemany("insert into t values (?, ?)", rows)
    connection.close()
    source = _query(folder, "select * from t")
    cut = list(source.slices(size))
    assert all(0 < piece.rows <= size for piece in cut)
    read = table(source, size)
    assert sum(len(piece.frame) for piece in pieces(source, size)) == len(rows)
    assert read["id"].to_list() == [number for number, _ in sorted(rows, key=lambda row: row[0])] or not rows
    if read.schema["value"] == pl.Int64:
        assert sorted(map(repr, read.rows())) == sorted(map(repr, rows))


# PostgreSQL


def test_postgresql_rows_come_typed_and_ordered(tmp_path: Path, postgres: Postgres) -> None:
    postgres.execute(
        "drop table if exists tickets",
        "create table tickets(id int primary key, body text, at timestamptz, day date, price numeric(8,2), "
        "done bool, score float8, tags text[], data jsonb, raw bytea, uid uuid)",
        "insert into tickets select n, 'text ' || n, timestamptz '2026-01-02 03:04:05+00', date '2026-01-02', "
        "n + 0.25, "
        "n % 2 = 0, n / 4.0, array['a', 'b'], '{\"x\": 1}', '\\x00ff', '12345678-1234-1234-1234-123456789abc' "
        "from generate_series(25, 1, -1) n",
    )
    source = _query(tmp_path, "select * from tickets", postgres.uri("owner"))
    assert list(source.column_names()) == list(source.schema())
    read = table(source, 7)
    assert read["id"].to_list() == list(range(1, 26))
    first = read.row(0, named=True)
    assert first["at"] == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert (first["body"], first["day"], first["price"]) == ("text 1", date(2026, 1, 2), "1.25")
    assert (first["done"], first["score"], first["tags"], first["raw"]) == (False, 0.25, ["a", "b"], b"\x00\xff")
    assert first["data"] == '{"x": 1}'
    typed = _query(tmp_path, "select id, price from tickets", postgres.uri("owner"), types={"price": "number"})
    assert table(typed)["price"].to_list()[:2] == [1.25, 2.25]


def test_a_type_that_has_no_form_here_is_told_with_what_to_do(tmp_path: Path, postgres: Postgres) -> None:
    with pytest.raises(InputError, match=r"'pause' is of type .*interval; cast it to text"):
        _query(tmp_path, "select 1 as id, interval '1 day' as pause", postgres.uri("owner")).column_names()


def test_postgresql_is_only_read(tmp_path: Path, postgres: Postgres) -> None:
    postgres.execute("drop table if exists t", "create table t(id int)", "insert into t values (1)")
    sql = "with gone as (delete from t returning id) select * from gone"
    with pytest.raises(InputError, match=r"source\.sql: PostgreSQL at 127\.0\.0\.1 refuses the query"):
        _query(tmp_path, sql, postgres.uri("owner")).schema()
    assert table(_query(tmp_path, "select * from t", postgres.uri("owner"))).rows() == [(1,)]


def test_a_password_comes_from_its_variable_and_stands_nowhere(
    tmp_path: Path, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = _query(tmp_path, "select 1 as id", postgres.uri(), password="${DB_PASSWORD}")
    with pytest.raises(InputError, match=r"source\.password: the environment variable DB_PASSWORD is not set"):
        source.column_names()
    monkeypatch.setenv("DB_PASSWORD", postgres.password)
    assert table(source).rows() == [(1,)]
    assert postgres.password not in repr(source.__dict__)
    assert redact(f"it is {postgres.password}") == "it is ***"
    monkeypatch.setenv("DB_PASSWORD", "not-the-password")
    with pytest.raises(
        InputError, match=r"source\.uri: PostgreSQL at 127\.0\.0\.1 cannot be reached: .*authentication"
    ) as told:
        source.column_names()
    assert "not-the-password" not in str(told.value)


def test_an_address_may_stand_in_a_variable_with_its_password(
    tmp_path: Path, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    from urllib.parse import quote

    whole = postgres.uri().replace("reader@", f"reader:{quote(postgres.password, safe='')}@")
    source = _query(tmp_path, "select 1 as id", "${DATABASE_URL}")
    with pytest.raises(InputError, match=r"source\.uri: the environment variable DATABASE_URL is not set"):
        source.column_names()
    monkeypatch.setenv("DATABASE_URL", whole)
    assert table(source).rows() == [(1,)]
    assert redact(whole) == "***"
    monkeypatch.setenv("DATABASE_URL", "mysql://somebody@somewhere/x")
    with pytest.raises(InputError, match="DATABASE_URL holds no address: write sqlite"):
        source.column_names()


def test_a_server_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"source\.uri: PostgreSQL at 127\.0\.0\.1 cannot be reached: .*refused"):
        _query(tmp_path, "select 1 as id", "postgresql://owner@127.0.0.1:9/postgres").column_names()


def test_many_rows_of_a_server_come_in_little_memory(tmp_path: Path, postgres: Postgres) -> None:
    import psutil

    sql = "select n as id, repeat(md5(n::text), 20) as body from generate_series(1, 200000) n"
    source = _query(tmp_path, sql, postgres.uri("owner"))
    before = psutil.Process().memory_info().rss
    cut = list(source.slices(50_000))
    assert sum(piece.rows for piece in cut) == 200_000
    # The rows take 130 MB; a batch of the driver 16 MB, and it is held a few times while it is written.
    assert psutil.Process().memory_info().rss - before < 200 << 20
