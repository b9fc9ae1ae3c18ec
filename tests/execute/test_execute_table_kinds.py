"""Table steps of every kind in whole runs: what they make of a file on the disk, and the account of its rows."""

from __future__ import annotations

import polars as pl
import pytest
from execute_bench import Bench

from penstock.errors import FunctionFailed, InputError, SpecError

ROWS = [
    {"id": n, "customer": n % 7, "text": f"Call +49 30 12345{n:02d} or write to c{n}@example.com"} for n in range(60)
]


def test_split_and_redact_and_join_keep_every_row_in_many_partitions(bench: Bench) -> None:
    bench.rows(ROWS)
    (bench.folder / "customers.csv").write_text("number,country\n" + "".join(f"{n},C{n}\n" for n in range(5)))
    bench.pipeline(
        "uses: redact\ncolumns: [text]\ncount: found\n---\n"
        "uses: join\nwith: {path: customers.csv}\non: {customer: number}\n---\n"
        "uses: split\nsets: {train: 70%, test: 30%}\nby: customer",
        source="partition_rows: 9",
    )
    record = bench.run()
    assert record.account is not None
    assert (record.account.read, record.account.written, record.account.filtered) == (60, 60, 0)
    result = bench.result()
    assert result["id"].to_list() == list(range(60))
    assert result["text"].unique().to_list() == ["Call [phone] or write to [mail]"]
    assert result["found"].unique().to_list() == [2]
    assert result["country"].to_list() == [f"C{n % 7}" if n % 7 < 5 else None for n in range(60)]
    assert result.group_by("customer").agg(pl.col("set").n_unique())["set"].unique().to_list() == [1]


@pytest.mark.parametrize(
    ("step", "kept"),
    [
        ("uses: sample\nshare: 30%\nby: id", None),
        ("uses: join\nwith: {path: customers.csv}\non: {customer: number}\nhow: semi", 44),
        ("uses: join\nwith: {path: customers.csv}\non: {customer: number}\nhow: anti", 16),
        ("uses: python\nfunction: mine:odd\nrows: fewer", 30),
    ],
)
def test_rows_that_a_step_drops_are_counted_as_filtered(bench: Bench, step: str, kept: int | None) -> None:
    bench.rows(ROWS)
    (bench.folder / "customers.csv").write_text("number\n" + "".join(f"{n}\n" for n in range(5)))
    (bench.folder / "mine.py").write_text("def odd(table):\n    return table.filter(table['id'] % 2 == 1).reverse()\n")
    bench.pipeline(step, source="partition_rows: 9")
    record = bench.run()
    assert record.account is not None
    written = record.account.written
    assert record.account.read == 60 == written + record.account.filtered
    assert 0 < written < 60
    assert kept in {None, written}
    assert bench.result()["id"].is_sorted()


def test_an_exception_of_a_users_function_stops_the_run(bench: Bench) -> None:
    bench.rows(ROWS)
    (bench.folder / "mine.py").write_text("def f(table):\n    return table.select('nobody')\n")
    bench.pipeline("uses: python\nfunction: mine:f")
    with pytest.raises(FunctionFailed, match="the function mine:f raised ColumnNotFoundError"):
        bench.run()


def test_what_check_can_see_is_told_with_its_place(bench: Bench) -> None:
    bench.rows(ROWS)
    (bench.folder / "customers.csv").write_text("number,country\n")
    bench.pipeline(
        "uses: join\nwith: {path: customers.csv}\non: {customer: id}\n---\nuses: python\nfunction: mine:f\n---\n"
        "uses: split\nsets: {a: 50%, b: 40%}\nby: id\n---\nuses: redact\ncolumns: [txt]\npatterns: {x: '(?=a)'}"
    )
    with pytest.raises(SpecError) as caught:
        bench.open()
    told = str(caught.value)
    assert "`on`: customers.csv has no column 'id'; it has: number, country" in told
    assert f"there is no mine.py in {bench.folder}" in told
    assert "add up to 90%, and they must add up to 100%" in told
    assert "look-around" in told
    assert told.count("pipeline.yaml:") >= 4


def test_a_join_that_would_make_rows_is_refused_before_any_row(bench: Bench) -> None:
    bench.rows(ROWS)
    (bench.folder / "customers.csv").write_text("number,country\n1,A\n1,B\n")
    bench.pipeline("uses: join\nwith: {path: customers.csv}\non: {customer: number}")
    with pytest.raises(InputError, match="several rows with number = 1"), bench.open():
        pytest.fail("it was planned")


def test_a_function_is_found_beside_the_pipeline_whatever_the_working_directory(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.rows(ROWS)
    code = "def f(table, word):\n    return table.with_columns(word=word + table['id'].cast(str))\n"
    (bench.folder / "mine.py").write_text(code)
    (bench.folder / "elsewhere").mkdir()
    monkeypatch.chdir(bench.folder / "elsewhere")
    bench.pipeline("uses: python\nfunction: mine:f\ncolumns: {word: string}\narguments: {word: n}")
    bench.run()
    assert bench.result()["word"].to_list() == [f"n{n}" for n in range(60)]
    assert not list((bench.folder / "elsewhere").iterdir())
    assert not (bench.folder / "__pycache__").exists()


def test_steps_that_make_rows_are_in_the_account_and_number_what_they_made(bench: Bench) -> None:
    """Rows read and rows made are rows written and rows filtered, and each row has a key of its own."""
    bench.rows([{"id": n, "text": "" if n % 5 == 0 else "One two three four. " * n} for n in range(30)])
    (bench.folder / "tags.csv").write_text("tag,of\n" + "".join(f"t{n},{n % 20}\n" for n in range(40)))
    (bench.folder / "mine.py").write_text(
        "import polars as pl\n"
        "def twice(table):\n"
        "    return pl.concat([table, table.filter(pl.col('chunk') == 0)]).sort('tag')\n"
        "def listed(table):\n"
        "    return table.with_columns(letters=pl.col('tag').str.split('').list.slice(0, 2))\n"
    )
    bench.pipeline(
        "uses: chunk\ninput: text\ntokens: 16\noverlap: 4\n---\n"
        "uses: join\nwith: {path: tags.csv}\non: {id: of}\nhow: inner\nmany: true\n---\n"
        "uses: python\nfunction: mine:twice\nrows: any\n---\n"
        "uses: python\nfunction: mine:listed\ncolumns: {letters: list of string}\n---\n"
        "uses: explode\ncolumn: letters\noutput: letter\nposition: place",
        source="partition_rows: 7",
    )
    record = bench.run()
    account = record.account
    assert account is not None
    result = bench.result()
    assert account.read == 30
    assert account.added > 0 < account.filtered
    assert account.read + account.added - account.filtered == account.written == len(result)
    names = ["id", "chunk", "match", "position", "place"]
    assert result.select(names).is_unique().all()
    assert set(result["id"]) == {n for n in range(20) if n % 5}
    for row in result.iter_rows(named=True):
        assert row["text"][row["start"] : row["end"]] == row["chunk_text"]
    assert result["id"].is_sorted()


def test_the_key_decides_where_a_sample_or_split_names_no_column(bench: Bench) -> None:
    bench.rows(ROWS)
    bench.pipeline("uses: sample\nshare: 60%\n---\nuses: split\nsets: {a: 50%, b: 50%}", source="partition_rows: 9")
    bench.run()
    first = bench.result()
    assert 20 < len(first) < 52
    assert first["set"].n_unique() == 2
    assert [name for name in first.columns if name.startswith("__")] == []
    bench.rows(list(reversed(ROWS)))
    bench.pipeline("uses: sample\nshare: 60%\n---\nuses: split\nsets: {a: 50%, b: 50%}", source="partition_rows: 25")
    bench.run()
    assert bench.result().sort("id").equals(first), "neither order nor partitions matter"


def test_a_changed_file_beside_the_pipeline_makes_parts_stale_and_nothing_else_does(bench: Bench) -> None:
    bench.rows(ROWS)
    (bench.folder / "customers.csv").write_text("number,country\n1,A\n")
    (bench.folder / "mine.py").write_text("def f(table):\n    return table.with_columns(text=table['text'] + '!')\n")
    steps = (
        "uses: join\nwith: {path: customers.csv}\non: {customer: number}\nmemory: 1MB\n---\n"
        "uses: python\nfunction: mine:f\ncolumns: {text: string}"
    )
    bench.pipeline(steps)
    bench.run()
    bench.pipeline(steps.replace("1MB", "2MB"))
    with bench.open() as session:
        assert not session.plan.tasks
    (bench.folder / "customers.csv").write_text("number,country\n1,B\n")
    bench.run()
    assert bench.result()["country"].drop_nulls().unique().to_list() == ["B"]
    (bench.folder / "mine.py").write_text("def f(table):\n    return table.with_columns(text=table['text'] + '?')\n")
    bench.run()
    assert bench.result()["text"].str.ends_with("?").all()
