"""The pipeline that classifies tickets, run as a user runs it: every ticket with something in it gets its columns."""

from __future__ import annotations

import csv

import polars as pl
import pytest
from pipeline_runs import ROOT, Run, assert_adds_up, project

pytestmark = [pytest.mark.slow, pytest.mark.prefect, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, environ: dict[str, str]) -> Run:
    return project(tmp_path_factory.mktemp("tickets"), "classify_tickets", environ).run()


@pytest.fixture(scope="module")
def rows(run: Run) -> pl.DataFrame:
    return run.rows("tickets")


def test_tickets_that_say_nothing_are_filtered_and_all_others_answered(run: Run, rows: pl.DataFrame) -> None:
    with (ROOT / "sample_data" / "tickets.csv").open(newline="", encoding="utf-8") as file:
        tickets = list(csv.DictReader(file))
    said = [ticket["ticket_id"] for ticket in tickets if ticket["body"].strip()]
    assert len(said) == len(tickets) - 2
    assert rows["ticket_id"].to_list() == said
    assert run.code == 0
    assert_adds_up(run.account)
    assert (run.account["failed"], run.account["filtered"]) == (0, 2)


def test_every_answer_is_of_the_lists(rows: pl.DataFrame) -> None:
    assert set(rows["category"]) <= {"billing", "technical", "shipping", "account", "returns", "other"}
    assert set(rows["urgency"]) <= {"low", "normal", "high"}
    assert rows["summary"].str.len_chars().min() > 0
    assert rows.select(pl.col("category", "urgency", "summary").null_count()).row(0) == (0, 0, 0)


def test_even_the_sandbox_is_mostly_right(rows: pl.DataFrame) -> None:
    right = rows.select(
        (pl.col("category") == pl.col("meant_category")).mean(),
        (pl.col("urgency") == pl.col("meant_urgency")).mean(),
    )
    category, urgency = right.row(0)
    assert category > 0.75, "77 % were seen"
    assert urgency > 0.8, "83 % were seen"


def test_a_copy_costs_nothing(rows: pl.DataFrame) -> None:
    same = rows.filter(pl.col("subject") == "Password")["classify_usage"].struct.field("usd").to_list()
    assert same[0] > 0
    assert same[1] == 0


def test_what_the_rows_cost_is_what_the_run_cost(run: Run, rows: pl.DataFrame) -> None:
    usage = rows["classify_usage"].struct.unnest()
    for name in ("prompt_tokens", "completion_tokens"):
        assert usage[name].sum() == run.record["usage"][name]
    assert usage["usd"].sum() == pytest.approx(run.record["usage"]["usd"])


def test_a_second_run_sends_nothing_and_publishes_the_same(run: Run, rows: pl.DataFrame) -> None:
    again = run.project.run()
    assert (again.code, again.record["usage"]["requests"], again.account) == (0, 0, run.account)
    assert again.rows("tickets").equals(rows)
