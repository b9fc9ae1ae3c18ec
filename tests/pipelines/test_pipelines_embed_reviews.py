"""The first pipeline, run as a user runs it: what becomes of each sample row."""

from __future__ import annotations

import csv
import re
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest
from pipeline_runs import ROOT, Run, assert_adds_up, project

pytestmark = [pytest.mark.slow, pytest.mark.prefect, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, environ: dict[str, str]) -> Run:
    return project(tmp_path_factory.mktemp("reviews"), "embed_reviews", environ).run()


@pytest.fixture(scope="module")
def rows(run: Run) -> pl.DataFrame:
    return run.rows("reviews")


@pytest.fixture(scope="module")
def source() -> dict[str, dict[str, str]]:
    """The sample rows by their id, as Python's own CSV reader sees them."""
    with (ROOT / "sample_data" / "reviews.csv").open(newline="", encoding="utf-8") as file:
        return {row["review_id"]: row for row in csv.DictReader(file, strict=True)}


@pytest.fixture(scope="module")
def fates() -> dict[str, str]:
    """What the sample data's README says becomes of its awkward rows."""
    table = (ROOT / "sample_data" / "README.md").read_text("utf-8")
    return dict(re.findall(r"^\| (r\d{4}) \| .* \| (embedded|filtered) \|$", table, re.MULTILINE))


def test_the_account_adds_up_and_the_exit_code_says_that_all_is_well(run: Run, source: dict[str, Any]) -> None:
    assert run.code == 0
    assert run.account["read"] == len(source)
    assert_adds_up(run.account)


def test_each_row_has_the_fate_that_the_readme_says(
    run: Run, rows: pl.DataFrame, source: dict[str, Any], fates: dict[str, str]
) -> None:
    elsewhere = {name for name, fate in fates.items() if fate != "embedded"}
    assert rows["review_id"].to_list() == [name for name in source if name not in elsewhere]
    assert run.account["filtered"] == sum(fate == "filtered" for fate in fates.values())
    assert run.record["errors_path"] is None


def test_no_character_of_a_text_is_changed(rows: pl.DataFrame, source: dict[str, dict[str, str]]) -> None:
    changed = [
        (row["review_id"], name)
        for row in rows.iter_rows(named=True)
        for name in ("title", "body", "language", "product")
        if (row[name] or "") != source[row["review_id"]][name]
    ]
    assert changed == []


def test_vectors_are_what_was_asked_for(rows: pl.DataFrame) -> None:
    vectors = rows["embedding"]
    assert vectors.dtype == pl.Array(pl.Float32, 512)
    assert vectors.null_count() == 0
    lengths = rows.select(pl.col("embedding").arr.to_list().list.eval(pl.element() ** 2).list.sum().sqrt())
    assert lengths.to_series().is_between(0.999, 1.001).all()


def test_equal_texts_get_equal_vectors_and_alike_texts_near_ones(
    rows: pl.DataFrame, source: dict[str, dict[str, str]]
) -> None:
    vectors = dict(rows.select("review_id", "embedding").iter_rows())

    def likeness(one: str, other: str) -> float:
        return float(sum(a * b for a, b in zip(vectors[one], vectors[other], strict=True)))

    same = [name for name, row in source.items() if row["body"].startswith("Arrived on time and works as described.")]
    first, second, third, *_ = same
    assert vectors[first] == vectors[second] == vectors[third]
    typing_errors = next(name for name, row in source.items() if "decsribed" in row["body"])
    stranger = next(name for name, row in source.items() if row["language"] == "ja" and len(row["body"]) > 20)
    assert likeness(first, typing_errors) > 0.5 > likeness(first, stranger)


def test_the_tokens_of_the_rows_are_those_of_the_run(run: Run, rows: pl.DataFrame) -> None:
    usage = rows["embed_usage"].struct.unnest()
    assert usage["prompt_tokens"].sum() == run.record["usage"]["prompt_tokens"]
    assert usage["usd"].sum() == pytest.approx(run.record["usage"]["usd"])
    assert usage["request_id"].null_count() == 0


def test_the_published_files_are_compressed_and_nothing_else_is_in_the_folder(run: Run) -> None:
    files = sorted((run.folder / "out" / "reviews").iterdir())
    assert [file.suffix for file in files] == [".parquet"] * len(files)
    column = pq.ParquetFile(files[0]).metadata.row_group(0).column(0)
    assert column.compression == "ZSTD"


def test_a_second_run_sends_nothing_and_publishes_the_same(run: Run, rows: pl.DataFrame) -> None:
    again = run.project.run()
    assert (again.code, again.record["usage"]["requests"], again.account) == (0, 0, run.account)
    assert again.rows("reviews").equals(rows)


def test_a_review_that_no_request_can_take_is_an_error_row_when_the_filter_lets_it_pass(run: Run) -> None:
    done = run.project.run("-p", "longest=100000")
    assert done.code == 1
    assert done.errors.select("review_id", "cause").rows() == [("r0680", "too_long")]
    assert done.account["failures"] == {"too_long": 1}
