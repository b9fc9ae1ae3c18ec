"""The pipelines that prepare models: from tickets to a model that answers in one command, and from calls to lines."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pipeline_runs import ROOT, Run, assert_adds_up, copied, project

from penstock.execute.inline import run_inline
from penstock.execute.session import Request, open_session

pytestmark = [pytest.mark.slow, pytest.mark.prefect, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, environ: dict[str, str]) -> Run:
    return project(tmp_path_factory.mktemp("support"), "prepare_support_model", environ).run()


def lines(run: Run, name: str) -> list[dict[str, Any]]:
    (file,) = (run.folder / "out" / "support-model").glob(f"{name}-*.jsonl")
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


def rows(run: Run, name: str) -> pl.DataFrame:
    (file,) = (run.folder / "out" / "support-model").glob(f"{name}-*.rows.parquet")
    return pl.read_parquet(file)


def test_one_command_leads_from_tickets_to_a_model_that_answers(run: Run) -> None:
    assert run.code == 0
    assert_adds_up(run.account)
    delivered = run.record["outputs"][0]["delivered"]
    assert delivered["state"] == "succeeded"
    assert re.fullmatch(r"ft:gpt-4o-mini-2024-07-18:sandbox:tickets:\w+", delivered["model"])
    answers = (run.folder / "out" / "support-model" / delivered["answers"]).read_text("utf-8").splitlines()
    assert [json.loads(line)["model"] for line in answers] == [delivered["model"]] * 3
    assert all(json.loads(line)["answer"] for line in answers)


def test_every_ticket_has_its_fate_and_what_is_written_is_in_the_lines(run: Run) -> None:
    written = len(lines(run, "train")) + len(lines(run, "validation"))
    assert run.account["written"] == written
    assert (run.account["read"], run.account["failed"]) == (360, 0)
    assert run.account["filtered"] > 30, "a model took out thanks, and rules took out blanks"


def test_no_customer_is_in_both_sets_and_no_address_is_left(run: Run) -> None:
    tickets = pl.read_csv(ROOT / "sample_data" / "tickets.csv").select("ticket_id", "customer")
    met = [set(rows(run, name).join(tickets, on="ticket_id")["customer"]) for name in ("train", "validation")]
    assert met[0]
    assert met[1]
    assert not met[0] & met[1]
    texts = json.dumps([lines(run, name) for name in ("train", "validation")])
    assert not re.search(r"[\w.]+@[\w.]+\.[a-z]{2,}", texts)


def test_every_answer_is_json_that_names_what_is_meant(run: Run) -> None:
    tickets = {one["ticket_id"]: one for one in pl.read_csv(ROOT / "sample_data" / "tickets.csv").iter_rows(named=True)}
    for line, ticket in zip(lines(run, "train"), rows(run, "train")["ticket_id"], strict=True):
        answer = json.loads(line["messages"][-1]["content"])
        assert answer["category"] == tickets[ticket]["meant_category"]
        assert set(answer) == {"category", "urgency", "team"}


def test_a_second_run_uploads_nothing_starts_no_job_and_says_so(run: Run) -> None:
    again = run.project.run()
    assert again.code == 0
    assert again.record["outputs"][0]["delivered"] == run.record["outputs"][0]["delivered"]
    job = run.record["outputs"][0]["delivered"]["job"]
    assert f"the job {job} was started before (succeeded): not started again" in again.record["notes"]
    assert again.record["usage"]["requests"] == 0


def test_calls_become_lines_of_what_was_heard_and_what_was_said(tmp_path: Path) -> None:
    copied(tmp_path)
    # Two of the ten calls, for hearing takes its time: so they are too few to be uploaded, and the run says so.
    with open_session(Request(tmp_path / "pipelines" / "prepare_call_model.yaml", limit=2)) as session:
        record = run_inline(session)
    assert record.account is not None
    assert (record.account.written, record.account.failed) == (2, 0)
    (file,) = (tmp_path / "out" / "call-model.first-2").glob("train-*.jsonl")
    said = [json.loads(line)["messages"][2]["content"] for line in file.read_text("utf-8").splitlines()]
    assert said == pl.read_csv(tmp_path / "sample_data" / "calls.csv")["true_text"].head(2).to_list()
    assert "2 examples; 10 are needed at least" in record.message
