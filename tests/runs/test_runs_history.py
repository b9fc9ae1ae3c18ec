"""Run records: whole, without secrets, found by any piece of their id, and honest about processes that died."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from penstock.errors import InputError
from penstock.runs.account import SegmentParts, close_account
from penstock.runs.history import find_run, list_runs, mark_crashed
from penstock.runs.record import RECORD, RunRecord, RunStatus, new_run_id, read_record
from penstock.secrets import Secret
from penstock.tables.state import State

BEGAN = datetime(2026, 11, 22, 14, 5, 3, tzinfo=UTC)


def save(root: Path, run_id: str, *, pipeline: str = "p", minutes: int = 0, **fields: Any) -> RunRecord:
    settings = {"status": RunStatus.COMPLETED, "started_at": BEGAN + timedelta(minutes=minutes), **fields}
    record = RunRecord(run_id=run_id, pipeline=pipeline, file="p.yaml", sha256="0" * 64, **settings)
    record.save(State(root, pipeline).run_folder(run_id))
    return record


def test_a_record_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    part = {"segment": "s", "partition": 0, "read": 2, "written": 1, "filtered": {}, "failed": 1, "merged": {}}
    account = close_account([SegmentParts("s", None, [{**part, "added": {}, "failures": {"timeout": 1}}])], ["s"])
    record = save(tmp_path, "r1", account=account, ended_at=BEGAN + timedelta(seconds=90), params={"since": "2026"})
    folder = State(tmp_path, "p").run_folder("r1")
    assert read_record(folder) == record
    assert record.seconds == 90
    assert [path.name for path in folder.iterdir()] == [RECORD]


def test_no_secret_reaches_a_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_RECORD_KEY", "plain-looking-key-0123456789")
    secret = Secret("TEST_RECORD_KEY")
    save(tmp_path, "r1", message=f"the server refused {secret.reveal()}", params={"key": secret.reveal()})
    text = (State(tmp_path, "p").run_folder("r1") / RECORD).read_text()
    assert secret.reveal() not in text
    json.loads(text)


def test_a_key_that_is_a_word_of_a_path_leaves_the_record_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Local servers take any key, and their guides say which: `ollama`."""
    monkeypatch.setenv("TEST_RECORD_KEY", "ollama")
    Secret("TEST_RECORD_KEY").reveal()
    record = save(tmp_path, "r1", pipeline="embed-ollama", provider="openai", errors_path="/out/ollama/errors.parquet")
    assert read_record(State(tmp_path, "embed-ollama").run_folder("r1")) == record


def test_run_ids_sort_by_time_and_differ_within_a_second() -> None:
    ids = {new_run_id(BEGAN) for _ in range(20)}
    assert len(ids) > 15
    assert all(name.startswith("20261122-140503-") for name in ids)
    assert new_run_id(BEGAN + timedelta(seconds=1)) > max(ids)


def test_runs_are_listed_the_newest_first_also_within_a_second(tmp_path: Path) -> None:
    for place, end in enumerate(["ffff", "0000", "8888"]):
        save(tmp_path, f"20261122-140503-{end}", started_at=BEGAN + timedelta(milliseconds=place))
    save(tmp_path, "20261121-000000-aaaa", pipeline="q", started_at=BEGAN - timedelta(days=1))
    ends = [record.run_id[-4:] for _, record in list_runs(tmp_path)]
    assert ends == ["8888", "0000", "ffff", "aaaa"]
    assert [record.run_id[-4:] for _, record in list_runs(tmp_path, "q")] == ["aaaa"]


def test_a_run_is_found_by_its_beginning_its_end_or_as_the_newest(tmp_path: Path) -> None:
    save(tmp_path, "20261122-140503-9f3a")
    save(tmp_path, "20261123-090000-77aa", minutes=60)
    assert find_run(tmp_path, "9f3a")[1].run_id == "20261122-140503-9f3a"
    assert find_run(tmp_path, "20261122")[1].run_id == "20261122-140503-9f3a"
    folder, record = find_run(tmp_path, None)
    assert (folder, record.run_id) == (State(tmp_path, "p").run_folder(record.run_id), "20261123-090000-77aa")


def test_a_run_that_cannot_be_told_is_an_error_that_helps(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="penstock run"):
        find_run(tmp_path, None)
    save(tmp_path, "20261122-140503-9f3a")
    save(tmp_path, "20261122-150000-77aa", minutes=60)
    with pytest.raises(InputError, match=r"several runs match '20261122': .*77aa, .*9f3a"):
        find_run(tmp_path, "20261122")
    with pytest.raises(InputError, match="did you mean 20261122-140503-9f3a"):
        find_run(tmp_path, "20261122-140503-9f3b")
    with pytest.raises(InputError, match="the newest is 20261122-150000-77aa"):
        find_run(tmp_path, "zz")


def test_a_run_whose_process_is_gone_is_marked_crashed_and_others_are_not(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    running = {"status": RunStatus.RUNNING}
    save(tmp_path, "dead", pid=process.pid, **running)
    save(tmp_path, "alive", pid=os.getppid(), **running)
    save(tmp_path, "elsewhere", pid=process.pid, host="another-machine", **running)
    save(tmp_path, "done", pid=process.pid)
    save(tmp_path, "other", pid=process.pid, pipeline="q", **running)
    assert [record.run_id for record in mark_crashed(State(tmp_path, "p"))] == ["dead"]
    record = read_record(State(tmp_path, "p").run_folder("dead"))
    assert record.status is RunStatus.CRASHED
    assert "penstock resume dead" in record.message
    assert record.ended_at is not None
    assert mark_crashed(State(tmp_path, "p")) == []
    assert read_record(State(tmp_path, "q").run_folder("other")).status is RunStatus.RUNNING


def test_one_unreadable_record_hides_no_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save(tmp_path, "good")
    save(tmp_path, "broken")
    (State(tmp_path, "p").run_folder("broken") / RECORD).write_text('{"run_id": ')
    with caplog.at_level(logging.WARNING):
        assert [record.run_id for _, record in list_runs(tmp_path)] == ["good"]
    assert "broken" in caplog.text
    with pytest.raises(InputError, match="cannot be read"):
        read_record(State(tmp_path, "p").run_folder("broken"))
    with pytest.raises(InputError, match="no run"):
        read_record(tmp_path)
