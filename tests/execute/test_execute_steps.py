"""Chains of steps on real rows: what they make, and where each row ends."""

from __future__ import annotations

import shutil

import duckdb
import polars as pl
import pyarrow.dataset as ds
import pytest
from execute_bench import Bench
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.errors import InputError, SourceChanged, StorageFailed
from penstock.execute.inline import run_inline
from penstock.execute.publish import plan_parts
from penstock.runs.verify import verify_run
from penstock.sandbox.launch import start

EMBED = """
uses: embed
input: "{{ text }}"
model: text-embedding-3-small
dimensions: 8
"""


def test_filter_derive_embed_and_select_make_the_table_that_was_asked_for(bench: Bench) -> None:
    bench.rows([{"id": n, "text": f"text {n}" if n % 3 else "", "stars": n % 5} for n in range(30)])
    bench.pipeline(
        "uses: filter\nwhere: length(text) > 0\n---\n"
        "uses: derive\ncolumns:\n  shout: upper(text)\n  good: stars >= 3\n---\n"
        + EMBED.replace("{{ text }}", "{{ shout }}").strip()
        + "\n---\nuses: select\ncolumns: {key: id, vector: embedding, good: good}"
    )
    record = bench.run()
    assert record.account is not None
    assert [one.segment for one in record.account.segments] == ["embed", "select"]
    assert (record.account.read, record.account.written, record.account.filtered) == (30, 20, 10)
    result = bench.result()
    assert result.schema == {"key": pl.Int64, "vector": pl.Array(pl.Float32, 8), "good": pl.Boolean}
    assert result["key"].to_list() == [n for n in range(30) if n % 3]


def test_polars_pyarrow_and_duckdb_open_the_published_folder(bench: Bench) -> None:
    bench.texts([f"text {n}" for n in range(12)])
    bench.pipeline(EMBED, source="partition_rows: 5")
    bench.run()
    folder = bench.folder / "out" / "result"
    assert pl.read_parquet(folder).schema["embedding"] == pl.Array(pl.Float32, 8)
    kind = ds.dataset(folder).schema.field("embedding").type
    assert (str(kind.value_type), kind.list_size) == ("float", 8)
    counted = duckdb.sql(f"select count(*), min(len(embedding)), max(len(embedding)) from '{folder}/*.parquet'")
    assert counted.fetchall() == [(12, 8, 8)]


@pytest.mark.parametrize("name", ["number", "usage"])
@pytest.mark.parametrize("usage", ["true", "false"])
def test_the_new_column_may_be_called_as_a_column_of_the_journal(bench: Bench, name: str, usage: str) -> None:
    bench.texts(["a", "b", "a"])
    bench.pipeline(
        'uses: embed\ninput: "{{ text }}"\nmodel: text-embedding-3-small\ndimensions: 8\n'
        f"output: {name}\nusage: {usage}"
    )
    record = bench.run()
    result = bench.result()
    assert record.account is not None
    assert record.account.written == 3
    assert result.columns == ["id", "text", name, *(["embed_usage"] if usage == "true" else [])]
    assert result[name][0].to_list() == result[name][2].to_list() != result[name][1].to_list()


def test_rows_for_which_when_does_not_hold_pass_with_nulls(bench: Bench) -> None:
    bench.rows([{"id": n, "text": f"text {n}", "language": "en" if n % 2 else "de"} for n in range(10)])
    bench.pipeline(EMBED + "when: language = 'en'")
    record = bench.run()
    assert record.account is not None
    assert record.account.written == 10
    result = bench.result()
    assert [row["embedding"] is None for row in result.to_dicts()] == [n % 2 == 0 for n in range(10)]
    assert bench.server.stats()["inputs"] == 5


def test_a_row_that_breaks_an_expression_is_an_error_row_and_the_others_go_on(bench: Bench) -> None:
    bench.rows([{"id": n, "text": f"text {n}", "number": "x" if n == 4 else str(n)} for n in range(9)])
    bench.pipeline("uses: derive\ncolumns:\n  value: CAST(number AS INTEGER)\n---\n" + EMBED.strip())
    record = bench.run()
    assert record.account is not None
    assert record.account.failures == {"expression": 1}
    assert bench.errors(record)["id"].to_list() == [4]
    assert bench.result()["value"].to_list() == [0, 1, 2, 3, 5, 6, 7, 8]


def test_a_row_that_breaks_a_condition_is_an_error_row_and_the_others_go_on(bench: Bench) -> None:
    bench.rows([{"id": n, "text": f"text {n}", "number": "x" if n == 4 else str(n)} for n in range(9)])
    bench.pipeline(EMBED + "when: CAST(number AS INTEGER) > 2")
    record = bench.run()
    assert record.account is not None
    assert record.account.failures == {"expression": 1}
    assert bench.errors(record)["id"].to_list() == [4]
    assert bench.result()["embedding"].null_count() == 3


def test_a_template_that_fails_on_one_row_is_that_rows_error(bench: Bench) -> None:
    bench.rows([{"id": n, "text": f"text {n}", "size": 0 if n == 2 else 7} for n in range(5)])
    bench.pipeline(EMBED.replace("{{ text }}", "{{ text }} {{ 100 // size }}"))
    record = bench.run()
    assert record.account is not None
    assert record.account.failures == {"expression": 1}
    assert "zero" in bench.errors(record)["message"][0]


def test_empty_and_over_long_texts_are_error_rows_that_cost_nothing(bench: Bench) -> None:
    bench.texts(["good", "", "   ", "word " * 9000, "also good"])
    bench.pipeline(EMBED, more="errors: {stop_above: 100%}\n")
    record = bench.run()
    assert record.account is not None
    assert record.account.failures == {"empty_input": 2, "too_long": 1}
    assert bench.errors(record)["id"].to_list() == [1, 2, 3]
    assert bench.server.stats()["total_requests"] == 1


def test_bad_lines_of_the_source_are_error_rows_with_their_line(bench: Bench) -> None:
    bench.texts(["unused"])
    (bench.folder / "rows.csv").write_bytes(b"id,text\n1,good\n2,too,many\n3,\xff\xfe\n4,good too\n")
    bench.pipeline(EMBED)
    record = bench.run()
    assert record.account is not None
    assert record.account.failures == {"source": 2}
    assert bench.errors(record)["line"].to_list() == [3, 4]
    assert bench.result()["id"].to_list() == [1, 4]


def test_a_source_without_rows_makes_an_output_without_rows(bench: Bench) -> None:
    bench.texts(["unused"])
    (bench.folder / "rows.csv").write_text("id,text\n")
    bench.pipeline(EMBED)
    record = bench.run()
    assert record.account is not None
    assert record.account.read == 0
    assert bench.result().schema["embedding"] == pl.Array(pl.Float32, 8)


def test_the_length_of_vectors_is_learned_from_a_model_that_nobody_knows(bench: Bench) -> None:
    bench.texts([f"text {n}" for n in range(20)])
    with start(models=["tiny:6"]) as server:
        bench.pipeline(EMBED.replace("text-embedding-3-small", "tiny").replace("dimensions: 8\n", ""))
        text = bench.file.read_text().replace(bench.server.url, server.url)
        bench.file.write_text(text)
        record = bench.run()
    assert record.account is not None
    assert record.account.written == 20
    assert record.usage.usd is None, "an unknown price is unknown, never 0"
    assert bench.result().schema["embedding"] == pl.Array(pl.Float32, 6)
    assert bench.result()["embed_usage"].struct.field("usd").null_count() == 20


def test_a_source_that_changes_during_the_run_stops_it(bench: Bench) -> None:
    bench.texts([f"text {n}" for n in range(20)])
    bench.pipeline(EMBED)
    with bench.open() as session:
        bench.texts([f"other {n}" for n in range(21)])
        with pytest.raises(SourceChanged, match=r"rows\.csv changed"):
            run_inline(session)
    assert session.record.status.value == "stopped"
    assert bench.server.stats()["total_requests"] == 0
    assert bench.run().status.value == "completed"


def test_a_source_that_goes_away_during_the_run_stops_it(bench: Bench) -> None:
    bench.texts(["one", "two"])
    bench.pipeline(EMBED)
    with bench.open() as session:
        (bench.folder / "rows.csv").unlink()
        with pytest.raises(SourceChanged, match=r"rows\.csv cannot be read any more.*resume"):
            run_inline(session)
    assert session.record.status.value == "stopped"


def test_a_state_folder_that_goes_away_during_the_run_stops_it(bench: Bench) -> None:
    bench.texts(["one", "two"])
    bench.pipeline(EMBED)
    with bench.open() as session:
        shutil.rmtree(bench.folder / ".penstock")
        with pytest.raises(StorageFailed, match=r"is gone: was the state folder removed"):
            run_inline(session)
    assert bench.run().status.value == "completed"


def test_a_strange_file_in_the_output_that_comes_during_the_run_stops_it(bench: Bench) -> None:
    bench.texts(["one", "two"])
    bench.pipeline(EMBED)
    with bench.open() as session:
        (bench.folder / "out" / "result").mkdir(parents=True)
        (bench.folder / "out" / "result" / "mine.txt").write_text("mine")
        with pytest.raises(StorageFailed, match=r"did not write.*then resume; all answers are kept"):
            run_inline(session)
    assert session.record.status.value == "stopped"


def test_keys_that_stand_twice_are_told(bench: Bench) -> None:
    bench.rows([{"id": n % 4, "text": f"text {n}"} for n in range(6)])
    bench.pipeline(EMBED)
    record = bench.run()
    assert record.notes == ["2 rows have a key (id) that another row has too"]


def test_a_source_without_a_key_gets_names_for_its_rows(bench: Bench) -> None:
    bench.texts(["one", "two"])
    bench.pipeline(EMBED)
    bench.file.write_text(bench.file.read_text().replace("  key: id\n", ""))
    bench.run()
    names = bench.result()["row_key"].to_list()
    assert len(set(names)) == 2
    bench.run()
    assert bench.result()["row_key"].to_list() == names


def test_an_output_folder_of_somebody_else_is_refused_before_a_request(bench: Bench) -> None:
    bench.texts(["one"])
    bench.pipeline(EMBED)
    (bench.folder / "out" / "result").mkdir(parents=True)
    (bench.folder / "out" / "result" / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="did not write"):
        bench.run()
    assert bench.server.stats()["total_requests"] == 0


AWKWARD = st.sampled_from(["", " ", "same", "POISON one", "long " * 9000])


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(
        st.sampled_from(["", " ", "same", "POISON one", "long " * 9000]) | st.text(max_size=20), max_size=30
    ),
    rows=st.integers(1, 40),
    fault=st.sampled_from(["", "500:20%", "reset:20%", "one-short:20%", "429-bare:10%", "cut:20%"]),
)
def test_rows_in_are_rows_out_filtered_and_failed_whatever_the_texts_and_faults(
    bench: Bench, texts: list[str], rows: int, fault: str
) -> None:
    bench.server.change(faults=[fault] if fault else [], poison=["POISON"])
    bench.texts(texts or ["only"])
    bench.pipeline(
        "uses: filter\nwhere: text IS NULL OR text <> 'same'\n---\n" + EMBED.strip(),
        provider="retry: {attempts: 6, max_wait: 20ms}\n",
        source=f"partition_rows: {rows}\ntypes: {{text: string}}\n",
        more="errors: {stop_above: 100%}\n",
    )
    with bench.open() as session:
        record = run_inline(session)
    account = record.account
    assert account is not None
    assert account.read == max(1, len(texts))
    assert account.read == account.written + account.filtered + account.failed
    result = bench.result()["id"].to_list()
    failed = bench.errors(record)["id"].to_list() if record.errors_path else []
    assert len(result) == account.written
    assert not set(result) & set(failed)
    filtered = {number for number, text in enumerate(texts) if text == "same"}
    assert set(result) | set(failed) | filtered == set(range(account.read))
    assert verify_run(record, plan_parts(session.plan, session.state), session.plan.ends, session.spec.outputs) == []
