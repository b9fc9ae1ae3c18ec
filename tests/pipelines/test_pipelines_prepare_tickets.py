"""The pipeline that prepares tickets and asks no model: names and numbers gone, copies merged, customers together."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from pipeline_runs import ROOT, copied

from penstock.execute.inline import run_inline
from penstock.execute.session import Request, open_session
from penstock.runs.record import RunRecord


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copied(tmp_path_factory.mktemp("prepared"))


@pytest.fixture(scope="module")
def record(project: Path) -> RunRecord:
    with open_session(Request(project / "pipelines" / "prepare_tickets.yaml")) as session:
        return run_inline(session)


@pytest.fixture(scope="module")
def rows(project: Path, record: RunRecord) -> pl.DataFrame:
    return pl.read_parquet(project / "out" / "prepared" / "tickets" / "**" / "*.parquet", hive_partitioning=True)


@pytest.fixture(scope="module")
def tickets() -> pl.DataFrame:
    return pl.read_csv(ROOT / "sample_data" / "tickets.csv")


def test_every_ticket_has_one_fate(record: RunRecord, rows: pl.DataFrame) -> None:
    account = record.account
    assert account is not None
    assert account.read + account.branched == account.written + account.filtered + account.merged
    assert account.failed == 0
    assert account.merged == rows["duplicates"].sum() > 0


def test_no_customer_is_named_and_no_order_has_its_number(rows: pl.DataFrame, tickets: pl.DataFrame) -> None:
    named = rows.join(tickets.select("ticket_id", "customer"), on="ticket_id").filter(
        pl.col("body").str.contains(pl.col("customer"), literal=True)
    )
    assert named.is_empty()
    assert not rows["body"].str.contains(r"\b[0-9]{5}\b").any()
    assert rows["named"].sum() > 50
    assert rows.filter(pl.col("redacted") > 0)["body"].str.contains("[order]", literal=True).any()


def test_no_customer_is_in_two_sets(rows: pl.DataFrame, tickets: pl.DataFrame) -> None:
    of_each = rows.join(tickets.select("ticket_id", "customer"), on="ticket_id").group_by("customer")
    assert of_each.agg(pl.col("subset").n_unique())["subset"].max() == 1
    assert set(rows["subset"]) == {"train", "validation", "test"}


def test_a_team_is_named_for_all_categories_but_those_without_one(rows: pl.DataFrame) -> None:
    assert set(rows.filter(pl.col("team").is_null())["meant_category"]) == {"other"}
    assert rows.filter(meant_category="account")["answer_within_hours"].unique().to_list() == [4]


def test_five_tickets_of_each_category_are_there_to_read(project: Path, record: RunRecord) -> None:
    drawn = pl.read_csv(project / "out" / "prepared" / "to_read.csv")
    assert drawn.group_by("meant_category").len()["len"].to_list() == [5] * 6
