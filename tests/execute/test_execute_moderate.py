"""`moderate`, and `embed` with float16 and cut texts, through engine, journal, part and output."""

from __future__ import annotations

import math

import polars as pl
import pyarrow.parquet as pq
from execute_bench import Bench

MODERATE = 'uses: moderate\ninput: "{{ text }}"'
TEXTS = [f"have a nice day {number}" for number in range(60)] + ["I will hurt you", "you are an idiot", "", "you too"]


def test_verdicts_stand_beside_their_rows_and_cost_nothing(bench: Bench) -> None:
    bench.texts(TEXTS)
    bench.pipeline(MODERATE)
    record = bench.run()
    result = bench.result()
    assert result.filter("flagged")["text"].to_list() == TEXTS[60:62]
    assert result.height == len(TEXTS) - 1
    assert bench.errors(record)["cause"].to_list() == ["empty_input"]
    usage = result["moderate_usage"].struct.unnest()
    assert usage["usd"].to_list() == [0.0] * result.height, "free is known to be nothing, and not unknown"
    assert bench.server.stats()["requests"] == {"/v1/moderations": {"200": 2}}, "63 texts, 32 a request"


def test_flagged_rows_can_be_filtered_by_verdict_category_and_score(bench: Bench) -> None:
    bench.texts(TEXTS)
    steps = [MODERATE, 'uses: filter\nwhere: flagged AND category_scores."harassment/threatening" > 0.5']
    bench.pipeline("\n---\n".join(steps))
    bench.run()
    assert bench.result()["text"].to_list() == ["I will hurt you"]
    steps = [MODERATE, "uses: filter\nwhere: NOT categories.violence"]
    bench.pipeline("\n---\n".join(steps))
    bench.run()
    assert bench.result()["text"].to_list() == [text for text in TEXTS if text and "hurt" not in text]


def test_rows_that_are_not_asked_have_no_verdict(bench: Bench) -> None:
    bench.texts(["I will hurt you", "you are an idiot"])
    bench.pipeline(f"{MODERATE}\nwhen: id = 1")
    bench.run()
    assert bench.result()["flagged"].to_list() == [None, True]
    assert bench.result()["category_scores"].is_null().to_list() == [True, False]


def test_one_poisoned_text_costs_the_others_of_its_request_nothing(bench: Bench) -> None:
    bench.server.change(poison=["arsenic"])
    bench.texts([*(f"text {number}" for number in range(20)), "arsenic"])
    bench.pipeline(MODERATE)
    record = bench.run()
    assert bench.result().height == 20
    assert bench.errors(record)["text"].to_list() == ["arsenic"]


def test_answers_of_before_are_kept_when_only_failed_rows_are_asked_again(bench: Bench) -> None:
    bench.server.change(poison=["arsenic"])
    bench.texts([*TEXTS[50:62], "arsenic"])
    bench.pipeline(MODERATE, more="errors: {stop_above: 50%}\n")
    record = bench.run()
    before = bench.result()
    bench.server.change(poison=[])
    bench.server.reset()
    bench.run(retries=record.run_id, retry_causes=["invalid_request"])
    assert bench.server.stats()["requests"] == {"/v1/moderations": {"200": 1}}
    columns = ["text", "flagged", "flagged_categories", "categories", "category_scores", "other_categories"]
    assert bench.result().select(columns).head(12).equals(before.select(columns))
    assert bench.result().height == 13


def test_vectors_of_float16_stay_a_fixed_size_list_in_the_output(bench: Bench) -> None:
    bench.texts(["one text", "another text"])
    bench.pipeline('uses: embed\ninput: "{{ text }}"\nmodel: text-embedding-3-small\ndimensions: 8\ndtype: float16')
    bench.run()
    result = bench.result()
    assert result.schema["embedding"] == pl.Array(pl.Float16, 8)
    assert all(abs(math.hypot(*vector) - 1) < 1e-2 for vector in result["embedding"].to_list())
    [file] = (bench.folder / "out" / "result").glob("*.parquet")
    assert pq.read_schema(file).field("embedding").type.list_size == 8


def test_a_text_over_the_limit_is_an_error_row_or_cut(bench: Bench) -> None:
    long = "Every week I boiled the kettle 20 times. " * 1_000
    bench.texts(["short", long])
    embed = 'uses: embed\ninput: "{{ text }}"\nmodel: text-embedding-3-small\ndimensions: 8\n'
    bench.pipeline(embed)
    assert bench.errors(bench.run())["cause"].to_list() == ["too_long"]
    bench.pipeline(f"{embed}overflow: truncate")
    bench.run()
    assert bench.result().height == 2
    assert bench.result()["embed_usage"].struct.field("prompt_tokens").to_list()[1] == 8192
