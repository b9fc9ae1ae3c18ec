"""Pipelines that are unusual and right, from the source to the result."""

from __future__ import annotations

import polars as pl
import pytest
from execute_bench import Bench

from penstock.errors import InputError
from penstock.execute import asking
from penstock.plan.make import HIDDEN
from penstock.steps.base import ROW

STEP = """
uses: embed
input: "{{ text }}"
model: text-embedding-3-small
dimensions: 8
batch_size: 5
"""


def test_a_price_of_ones_own_may_name_only_the_input(bench: Bench) -> None:
    bench.texts(["one two", "three four five"])
    bench.pipeline(STEP, provider="prices: {text-embedding-3-small: {input: 1000}}\n")
    record = bench.run()
    assert record.usage.usd == pytest.approx(record.usage.prompt_tokens / 1000)


def test_a_key_column_may_be_called_as_a_column_of_the_errors_table(bench: Bench) -> None:
    rows = [{"number": f"A-{place}", "text": "POISON" if place == 2 else f"text {place}"} for place in range(5)]
    bench.rows([{"id": 1, **row} for row in rows])
    bench.pipeline(STEP, more="errors: {stop_above: 90%}\n")
    bench.file.write_text(bench.file.read_text().replace("key: id", "key: number"))
    bench.server.change(poison=["POISON"])
    record = bench.run()
    assert bench.errors(record).select("key_number", "number").rows() == [("A-2", 2)]
    again = bench.run(retries=record.run_id, retry_causes=["timeout"])
    assert bench.errors(again).select("key_number", "number").rows() == [("A-2", 2)]


@pytest.mark.parametrize("size", [2, 100])
def test_rows_that_cannot_be_read_and_blank_lines_have_their_fate_and_their_line(bench: Bench, size: int) -> None:
    bench.texts([])
    (bench.folder / "rows.csv").write_bytes(b'id,text\n1,"a\nb"\n\n2\n3,caf\xe9\n4,d\n')
    bench.pipeline(STEP, source=f"partition_rows: {size}", more="errors: {stop_above: 90%}\n")
    record = bench.run()
    assert record.account is not None
    assert (record.account.read, record.account.written, record.account.failures) == (4, 2, {"source": 2})
    assert bench.errors(record)["line"].to_list() == [5, 6]
    assert bench.result()["text"].to_list() == ["a\nb", "d"]


def test_every_column_that_a_run_hides_in_its_rows_is_refused_in_a_source() -> None:
    assert {ROW, asking._HOLDS} <= HIDDEN


def test_a_file_with_an_open_quote_costs_nothing(bench: Bench) -> None:
    bench.texts([])
    (bench.folder / "rows.csv").write_text('id,text\n1,"never closed\n2,b\n')
    bench.pipeline(STEP)
    with pytest.raises(InputError, match="line 2"):
        bench.run()
    assert bench.server.stats()["total_requests"] == 0


def test_rows_of_a_parquet_file_without_a_key_go_through(bench: Bench) -> None:
    pl.DataFrame({"text": ["x", "y"], "raw": [b"\xff", None]}).write_parquet(bench.folder / "rows.parquet")
    bench.pipeline(STEP)
    text = bench.file.read_text().replace("path: rows.csv\n  key: id", "path: rows.parquet")
    bench.file.write_text(text)
    record = bench.run()
    assert record.account is not None
    assert record.account.written == 2
    assert bench.result().columns[0] == "row_key"
