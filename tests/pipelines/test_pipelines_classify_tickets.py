"""The pipeline that classifies tickets, run on the sandbox: every ticket with something in it gets its columns."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from penstock.execute.inline import run_inline
from penstock.execute.session import Request, open_session
from penstock.runs.record import RunRecord

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tickets")
    for name in ("pipelines", "sample_data"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns(".penstock", "__pycache__"))
    return folder


@pytest.fixture(scope="module")
def record(project: Path) -> Iterator[RunRecord]:
    with open_session(Request(project / "pipelines" / "classify_tickets.yaml")) as session:
        yield run_inline(session)


@pytest.fixture(scope="module")
def rows(project: Path, record: RunRecord) -> pl.DataFrame:
    return pl.read_parquet(project / "out" / "tickets" / "*.parquet")


def test_tickets_that_say_nothing_are_filtered_and_all_others_answered(record: RunRecord, rows: pl.DataFrame) -> None:
    with (ROOT / "sample_data" / "tickets.csv").open(newline="", encoding="utf-8") as file:
        tickets = list(csv.DictReader(file))
    said = [ticket["ticket_id"] for ticket in tickets if ticket["body"].strip()]
    assert len(said) == len(tickets) - 2
    assert rows["ticket_id"].to_list() == said
    assert record.account is not None
    assert (record.account.failed, record.account.filtered) == (0, 2)


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
    assert min(right.row(0)) > 0.7


def test_a_copy_costs_nothing(rows: pl.DataFrame) -> None:
    same = rows.filter(pl.col("subject") == "Password")["classify_usage"].struct.field("usd").to_list()
    assert same[0] > 0
    assert same[1] == 0
