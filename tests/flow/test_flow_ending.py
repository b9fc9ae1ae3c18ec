"""The state that a run ends in, and what Prefect is shown of it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from penstock.engine.control import RunControl
from penstock.flow.artifacts import MOST_ROWS, failed_rows, summary_markdown
from penstock.flow.ending import end_state
from penstock.runs.account import Account
from penstock.runs.record import OutputRecord, RunRecord, RunStatus
from penstock.secrets import remember

KEY = "local-marked-7c21"


def record(folder: Path, **more: Any) -> RunRecord:
    values: dict[str, Any] = {
        "run_id": "20261122-020000-abcd",
        "pipeline": "night_ly",
        "file": str(folder / "night.yaml"),
        "sha256": "",
        "status": RunStatus.COMPLETED_WITH_ERRORS,
        "started_at": datetime(2026, 11, 22, 2, tzinfo=UTC),
        "ended_at": datetime(2026, 11, 22, 2, 0, 12, tzinfo=UTC),
        "account": Account(read=40, written=36, filtered=1, failed=3, failures={"timeout": 3}, segments=[]),
        "outputs": [OutputRecord(path=str(folder / "out|put"), rows=36, files=[{"bytes": 1200}])],
    }
    return RunRecord(**values | more)


@pytest.mark.parametrize(("stop_above", "state"), [(0.1, "Completed"), (0.075, "Completed"), (0.05, "Failed")])
def test_a_run_fails_at_its_end_when_more_rows_failed_than_it_allows(
    tmp_path: Path, stop_above: float, state: str
) -> None:
    settings = SimpleNamespace(errors=SimpleNamespace(stop_above=stop_above))
    session: Any = SimpleNamespace(
        finish=lambda: record(tmp_path), control=RunControl(), loaded=SimpleNamespace(spec=settings), run_id="r"
    )
    ended = end_state(session, None)
    assert ended.state == state
    assert ended.message.endswith(
        "40 rows: 36 written, 1 filtered, 3 failed (see penstock errors 20261122-020000-abcd)"
    )
    if state == "Failed":
        assert ended.message.startswith("7.5% of the rows failed, and errors.stop_above allows 5.0%: ")


def test_the_summary_says_rows_causes_cost_and_places_and_no_key(tmp_path: Path) -> None:
    remember(KEY)
    told = record(tmp_path, message=f"the server said {KEY} is wrong", notes=[f"asked with {KEY}"])
    text = summary_markdown(told)
    assert text.startswith("# night_ly: completed with errors in 12s\n")
    for line in (
        "| read | 40 |",
        "| failed | 3 |",
        "| timeout | 3 |",
        "| requests | 0 |",
        "the server said *** is wrong",
    ):
        assert line in text
    assert "out\\|put (36 rows, 1.2 kB)" in text, "a bar in a path is no column"
    assert KEY not in text


def test_the_price_of_unknown_models_is_unknown_and_not_nothing(tmp_path: Path) -> None:
    told = record(tmp_path)
    told.usage = told.usage.model_copy(update={"usd": None})
    assert "| dollars at list price | unknown |" in summary_markdown(told)


def test_the_sample_of_failed_rows_is_short_and_has_no_key(tmp_path: Path) -> None:
    remember(KEY)
    messages = [f"{'x' * 290}{KEY} {index} {'y' * 900}" for index in range(MOST_ROWS + 10)]
    table = pl.DataFrame(
        {"id": range(len(messages)), "cause": "timeout", "message": messages, "more": [None] * len(messages)}
    )
    table.write_parquet(tmp_path / "errors.parquet")
    rows = failed_rows(record(tmp_path, errors_path=str(tmp_path / "errors.parquet")))
    assert len(rows) == MOST_ROWS
    assert rows[1]["id"] == "1"
    assert set(rows[0]) == {"id", "cause", "message"}
    assert all(len(row["message"]) <= 301 and KEY[:8] not in row["message"] for row in rows)
    assert failed_rows(record(tmp_path)) == []
