"""Every night only what is new or changed: nothing that was answered is asked again, wherever its row stands now."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import polars as pl
import pytest
from execute_bench import Bench
from pyarrow import parquet

from penstock.errors import BudgetSpent
from penstock.execute.inline import run_inline
from penstock.execute.session import Request, load_request, plan_request
from penstock.runs.record import RunRecord

EMBED = """
uses: embed
input: "{{ text }}"
model: text-embedding-3-small
dimensions: 8
batch_size: 5
"""
MODERATE = 'uses: moderate\ninput: "{{ text }}"\nbatch_size: 5'
CHAT = 'uses: chat\nprompt: "Say in a word what this is about: {{ text }}"\nmodel: gpt-4o-mini\ntemperature: 1'
SPEAK = 'uses: speak\ninput: "{{ text }}"\nfolder: out/spoken\nfile_name: "{{ id }}"'
SOURCE = "partition_rows: 10"
NIGHTLY = "incremental: true\n"


def _rows(count: int) -> list[dict[str, Any]]:
    return [{"id": number, "text": f"row {number} tells of harbours and weather"} for number in range(count)]


def _night(bench: Bench, rows: list[dict[str, Any]]) -> tuple[RunRecord, int]:
    """A run over these rows, and how many texts were sent for it."""
    bench.rows(rows)
    before = bench.server.stats()["inputs"]
    record = bench.run()
    assert record.account is not None
    assert record.account.written == len(rows)
    return record, bench.server.stats()["inputs"] - before


def _edits() -> dict[str, tuple[list[dict[str, Any]], int]]:
    rows = _rows(34)
    changed = [{**row, "text": "another text"} if row["id"] == 20 else row for row in rows]
    shuffled = Random(3).sample(rows, len(rows))
    return {
        "a row at the top": ([{"id": 99, "text": "a new row"}, *rows], 1),
        "a row deleted": (rows[:5] + rows[6:], 0),
        "a row changed": (changed, 1),
        "all rows in another order": (shuffled, 0),
        "rows twice": ([*rows, *({**row, "id": row["id"] + 100} for row in rows)], 0),
    }


@pytest.mark.parametrize("edit", list(_edits()))
def test_only_new_texts_are_asked(bench: Bench, edit: str) -> None:
    bench.pipeline(EMBED, source=SOURCE)
    _night(bench, _rows(34))
    before = bench.result()
    rows, new = _edits()[edit]
    record, sent = _night(bench, rows)
    assert sent == new
    assert record.carried_rows == len(rows) - new
    result = bench.result()
    assert result["id"].to_list() == [row["id"] for row in rows]
    vectors = dict(before.select("text", "embedding").iter_rows())
    assert all(vectors.get(text, vector) == vector for text, vector in result.select("text", "embedding").iter_rows())
    assert record.usage.usd is not None
    assert (record.usage.usd == 0) == (new == 0)


@pytest.mark.parametrize("step", [MODERATE, CHAT, SPEAK], ids=["moderate", "chat", "speak"])
def test_every_kind_of_answer_is_found_again(bench: Bench, step: str) -> None:
    bench.pipeline(step, source=SOURCE)
    bench.rows(_rows(12))
    bench.run()
    before = bench.result()
    asked = bench.server.stats()["total_requests"]
    bench.rows([{"id": 99, "text": "a new row"}, *_rows(12)])
    record = bench.run()
    assert bench.server.stats()["total_requests"] == asked + 1
    assert record.carried_rows == 12
    names = [name for name in before.columns if not name.endswith("_usage")]
    assert bench.result().filter(pl.col("id") != 99).select(names).equals(before.select(names))


def test_thresholds_conditions_and_folders_change_without_asking(bench: Bench) -> None:
    bench.rows([{"id": 1, "text": "I will kill you"}, {"id": 2, "text": "have a nice day"}])
    bench.pipeline(MODERATE)
    bench.run()
    assert bench.result()["flagged"].to_list() == [True, False]
    asked = bench.server.stats()["total_requests"]
    bench.pipeline(MODERATE + "\nthresholds: {violence: 0, harassment: 1.0}")
    bench.run()
    assert bench.result()["flagged"].to_list() == [True, True]
    bench.pipeline(MODERATE + "\nwhen: id = 2\nprefix: text_")
    bench.run()
    assert bench.result()["text_flagged"].to_list() == [None, False]
    bench.pipeline(MODERATE)
    bench.run()
    assert bench.result()["flagged"].to_list() == [True, False]
    assert bench.server.stats()["total_requests"] == asked


def test_another_model_is_asked_everything(bench: Bench) -> None:
    bench.pipeline(EMBED, source=SOURCE)
    _night(bench, _rows(20))
    bench.pipeline(EMBED.replace("3-small", "3-large"), source=SOURCE)
    assert _night(bench, _rows(20))[1] == 20


def test_a_damaged_or_missing_part_is_asked_again_and_never_believed(bench: Bench) -> None:
    bench.pipeline(EMBED, source=SOURCE)
    _night(bench, _rows(30))
    before = bench.result().drop("embed_usage")
    first, second, _ = sorted((bench.folder / ".penstock/bench/parts/embed").glob("*[!s].parquet"))
    vectors = parquet.read_metadata(first).row_group(0).column(2)
    assert vectors.path_in_schema.startswith("embedding")
    content = bytearray(first.read_bytes())
    # One bit of one number, in the middle of the pages.
    content[vectors.data_page_offset + vectors.total_compressed_size // 2] ^= 4
    first.write_bytes(content)
    second.unlink()
    bench.rows([{"id": 99, "text": "a new row"}, *_rows(30)])
    asked = bench.server.stats()["inputs"]
    bench.run()
    assert bench.server.stats()["inputs"] - asked == 21
    assert bench.result().drop("embed_usage").filter(pl.col("id") != 99).equals(before)


def test_a_lost_or_damaged_index_is_made_again(bench: Bench) -> None:
    bench.pipeline(EMBED, source=SOURCE)
    _night(bench, _rows(30))
    index = bench.folder / ".penstock/bench/answers.sqlite"
    _night(bench, [{"id": 98, "text": "one"}, *_rows(30)])
    index.write_bytes(b"no database at all" * 1000)
    assert _night(bench, [{"id": 98, "text": "one"}, {"id": 99, "text": "two"}, *_rows(30)])[1] == 1
    index.unlink()
    assert _night(bench, [{"id": 97, "text": "nought"}, {"id": 98, "text": "one"}, *_rows(30)])[1] == 1


def test_answers_of_an_interrupted_night_are_found_when_rows_have_moved(bench: Bench) -> None:
    """A journal of a run that never finished its part."""
    bench.pipeline(EMBED, source=SOURCE, more="budget: {tokens: 120}\n", provider="limits: {concurrency: 1}\n")
    bench.rows(_rows(30))
    with bench.open() as session, pytest.raises(BudgetSpent):
        run_inline(session)
    answered = bench.server.stats()["inputs"]
    assert 0 < answered < 30
    bench.pipeline(EMBED, source=SOURCE)
    assert _night(bench, [{"id": 99, "text": "a new row"}, *_rows(30)])[1] == 31 - answered


def test_plan_counts_only_what_a_run_would_send(bench: Bench) -> None:
    bench.pipeline(EMBED, source=SOURCE)
    _night(bench, _rows(34))
    bench.rows([{"id": 99, "text": "a new row"}, *_rows(34)])
    request = Request(Path(bench.file))
    (estimate,) = plan_request(request, load_request(request)).estimates
    assert (estimate.rows, estimate.answered, estimate.requests) == (1, 34, 1)
