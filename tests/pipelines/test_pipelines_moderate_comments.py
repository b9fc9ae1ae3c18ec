"""The pipeline that moderates comments, run as a user runs it: abusive ones are split off, and counted by category."""

from __future__ import annotations

import csv
import tomllib
from collections import Counter
from typing import Any

import polars as pl
import pytest
from pipeline_runs import ROOT, Run, assert_adds_up, project

pytestmark = [pytest.mark.slow, pytest.mark.prefect, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, environ: dict[str, str]) -> Run:
    return project(tmp_path_factory.mktemp("comments"), "moderate_comments", environ).run()


@pytest.fixture(scope="module")
def source() -> dict[str, dict[str, str]]:
    with (ROOT / "sample_data" / "comments.csv").open(newline="", encoding="utf-8") as file:
        return {row["comment_id"]: row for row in csv.DictReader(file, strict=True)}


@pytest.fixture(scope="module")
def phrases() -> dict[str, Any]:
    return tomllib.loads((ROOT / "sample_data" / "comments.toml").read_text("utf-8"))


@pytest.fixture(scope="module")
def clean(run: Run) -> pl.DataFrame:
    return run.rows("comments", "clean")


@pytest.fixture(scope="module")
def flagged(run: Run) -> pl.DataFrame:
    return run.rows("comments", "flagged")


def test_every_comment_that_says_something_is_either_clean_or_flagged(
    run: Run, source: dict[str, dict[str, str]], clean: pl.DataFrame, flagged: pl.DataFrame
) -> None:
    assert run.code == 0
    assert_adds_up(run.account)
    assert (run.account["read"], run.account["failed"]) == (len(source), 0)
    said = [name for name, row in source.items() if row["body"].strip()]
    assert sorted([*clean["comment_id"], *flagged["comment_id"]]) == said
    assert not set(clean["comment_id"]) & set(flagged["comment_id"])


def test_each_planted_insult_is_flagged_for_its_category(phrases: dict[str, Any], flagged: pl.DataFrame) -> None:
    found = {row["body"]: row["flagged_categories"] for row in flagged.iter_rows(named=True)}
    planted = {text: group["category"] for group in phrases["abusive"] for text in group["texts"]}
    assert len(planted) >= 30
    assert {text: category for text, category in planted.items() if category not in found.get(text, [])} == {}


def test_harmless_comments_that_sound_bad_are_clean(phrases: dict[str, Any], clean: pl.DataFrame) -> None:
    harmless = {text for group in phrases["harmless"] for text in group["texts"]}
    assert harmless <= set(clean["body"])


def test_scores_and_verdicts_go_together(clean: pl.DataFrame, flagged: pl.DataFrame) -> None:
    assert clean["flagged_categories"].list.len().max() == 0
    assert flagged["flagged_categories"].list.len().min() >= 1
    scores = flagged["category_scores"].struct.unnest().select(pl.max_horizontal(pl.all()))
    assert scores.to_series().is_between(0.3, 1).all()
    assert clean["category_scores"].struct.field("harassment").max() < 0.3, "a threshold of the pipeline"


def test_the_table_counts_the_flagged_comments_of_each_category(run: Run, flagged: pl.DataFrame) -> None:
    table = pl.read_csv(run.folder / "out" / "comments" / "by_category.csv")
    counted = Counter(name for names in flagged["flagged_categories"] for name in names)
    assert dict(table.select("category", "comments").iter_rows()) == counted
    assert table["comments"].to_list() == sorted(counted.values(), reverse=True)
    assert run.account["outputs"][2] == counted.total(), "of a summary the rows that it summed up"


def test_verify_proves_the_files_and_the_account(run: Run) -> None:
    done = run.project.command("verify", run.record["run_id"])
    assert (done.returncode, done.stderr) == (0, "")


def test_a_second_run_sends_nothing_and_publishes_the_same(run: Run, clean: pl.DataFrame) -> None:
    before = (run.folder / "out" / "comments" / "by_category.csv").read_bytes()
    again = run.project.run()
    assert (again.code, again.record["usage"]["requests"], again.account) == (0, 0, run.account)
    assert again.rows("comments", "clean").equals(clean)
    assert (run.folder / "out" / "comments" / "by_category.csv").read_bytes() == before
