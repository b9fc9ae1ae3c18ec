"""``penstock finetune continue``: from a written folder to the new model, each step once, and never unasked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner, Result

from penstock.cli.app import app
from penstock.cli.summary import summary
from penstock.execute.delivering import servers_of
from penstock.outputs import Origin
from penstock.outputs.finetune.delivery import place_of
from penstock.outputs.finetune.lock import Lock
from penstock.outputs.finetune.output import FineTune
from penstock.runs.account import Account
from penstock.runs.record import RunRecord, RunStatus
from penstock.sandbox.launch import SandboxProcess, start
from penstock.spec import load
from penstock.tables.state import State
from raw_http import RawServer, Reply, Seen, error, reply


@pytest.fixture(scope="module")
def server() -> Iterator[SandboxProcess]:
    with start(pace=0.05) as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: SandboxProcess) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TUNING_KEY", server.key)
    server.reset()
    return written(tmp_path)


def written(place: Path, count: int = 14) -> Path:
    rows = [
        {"id": n, "q": f"What is {n} of {place.name}?", "a": f"It is the number {n}, of course."} for n in range(count)
    ]
    pl.DataFrame(rows).write_parquet(place / "rows.parquet")
    output = FineTune.model_validate(
        {
            "uses": "finetune",
            "path": str(place / "model"),
            "model": "gpt-4o-mini-2024-07-18",
            "messages": [{"role": "user", "content": "{{ q }}"}, {"role": "assistant", "content": "{{ a }}"}],
            "upload": "ask",
            "job": {"suffix": "shelf", "wait": True, "every": 0.05, "hyperparameters": {"n_epochs": 1}},
        }
    )
    output.prepare([place / "rows.parquet"], ["id"], place / "scratch").publish(Origin())
    return place / "model"


def go_on(server: SandboxProcess, *words: str, stdin: str = "") -> Result:
    where = ["--base-url", server.url, "--key-variable", "TUNING_KEY"]
    return CliRunner().invoke(app, ["finetune", "continue", "model", *where, *words], input=stdin)


def calls(server: SandboxProcess) -> dict[str, Any]:
    found: dict[str, Any] = server.stats()["requests"]
    return {path: counts for path, counts in found.items() if not path.startswith("/_")}


@pytest.mark.usefixtures("folder")
def test_it_uploads_starts_and_waits_and_the_next_time_only_looks(server: SandboxProcess) -> None:
    first = go_on(server, "--yes")
    assert first.exit_code == 0, first.output
    assert "uploaded as file-" in first.stdout
    assert "the new model is ft:gpt-4o-mini-2024-07-18:sandbox:shelf:" in first.stdout
    server.reset()
    second = go_on(server, "--json")
    assert second.exit_code == 0, second.output
    assert json.loads(second.stdout)["model"] in first.stdout
    assert [sum(counts.values()) for counts in calls(server).values()] == [1], "it looks at the job, and that is all"


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(("answer", "code"), [("n\n", 130), ("", 2)], ids=["no", "nobody"])
def test_nothing_is_sent_unless_somebody_agrees(server: SandboxProcess, answer: str, code: int) -> None:
    done = go_on(server, stdin=answer)
    assert done.exit_code == code
    assert "Upload 1 file of model" in done.output
    assert "and train gpt-4o-mini-2024-07-18 for 1 epoch: " in done.output
    assert " tokens, about $0.00" in done.output
    assert calls(server) == {}


@pytest.mark.usefixtures("folder")
def test_it_need_not_wait(server: SandboxProcess) -> None:
    done = go_on(server, "--yes", "--no-wait")
    assert done.exit_code == 0, done.output
    assert "follow it with `penstock finetune watch ftjob-" in done.stdout
    assert "the new model" not in done.stdout


@pytest.mark.usefixtures("folder")
def test_a_cancelled_job_is_started_again_only_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    # Its jobs are still running when they are cancelled, however busy this machine is.
    with start(pace=20) as slow:
        monkeypatch.setenv("TUNING_KEY", slow.key)
        _cancelled_and_begun_again(slow)


def _cancelled_and_begun_again(server: SandboxProcess) -> None:
    begun = go_on(server, "--yes", "--no-wait", "--json")
    job = json.loads(begun.stdout)["job"]
    where = ["--base-url", server.url, "--key-variable", "TUNING_KEY"]
    CliRunner().invoke(app, ["finetune", "cancel", job, "--yes", *where])
    still = go_on(server)
    assert still.exit_code == 1
    assert f"the job {job} was cancelled" in still.output
    assert "--again" in still.output
    again = go_on(server, "--yes", "--again", "--no-wait", "--json")
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout)["job"] != job


def test_files_with_errors_are_not_uploaded(folder: Path, server: SandboxProcess) -> None:
    assert written(folder.parent, count=9) == folder
    done = go_on(server, "--yes")
    assert done.exit_code == 1
    assert "9 examples; 10 are needed at least" in done.output
    assert calls(server) == {}


@pytest.mark.usefixtures("folder")
def test_another_folder_is_told_to_be_none(server: SandboxProcess) -> None:
    done = CliRunner().invoke(app, ["finetune", "continue", ".", "--base-url", server.url])
    assert done.exit_code == 2
    assert "is no folder of a `finetune` output" in done.output


@pytest.mark.usefixtures("folder")
def test_without_a_server_in_the_lock_file_one_must_be_named() -> None:
    done = CliRunner().invoke(app, ["finetune", "continue", "model"])
    assert done.exit_code == 2
    assert "names no server; say which with --provider or --base-url" in done.output


def test_a_key_in_a_secret_block_is_found_again_by_the_name_in_the_lock_file(
    folder: Path, server: SandboxProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = folder.parent / "tune.yaml"
    pipeline.write_text(
        f"name: tune\nprovider: {{base_url: {server.url}, api_key: '${{prefect-secret:tuning-key}}'}}\n"
        "source: {path: rows.parquet, key: id}\nsteps: [{uses: filter, where: id >= 0}]\noutputs:\n"
        "  - {uses: finetune, path: model, model: gpt-4o-mini-2024-07-18, upload: ask,\n"
        '     messages: [{role: user, content: "{{ q }}"}, {role: assistant, content: "{{ a }}"}]}\n'
    )
    facts = servers_of(load(pipeline).spec, State.of(pipeline, "tune"))["openai"]
    lock = Lock.of(folder)
    lock.server(place_of(facts), facts)
    lock.save()
    assert "tuning-key" in lock.path.read_text()
    assert server.key not in lock.path.read_text()

    def block(seen: Seen) -> Reply:
        known = "/block_types/slug/secret/block_documents/name/tuning-key" in seen.path
        return reply(200, {"data": {"value": server.key}}) if known else error(404)

    with RawServer(block) as prefect:
        monkeypatch.setenv("PREFECT_API_URL", prefect.url)
        done = CliRunner().invoke(app, ["finetune", "continue", "model", "--yes", "--upload-only"])
    assert done.exit_code == 0, done.output
    assert "uploaded as file-" in done.stdout
    assert server.key not in done.output + lock.path.read_text()


@pytest.mark.usefixtures("folder")
def test_a_key_that_is_refused_is_told_without_a_run_to_resume(
    server: SandboxProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNING_KEY", "sk-other-0123456789")
    done = go_on(server, "--yes")
    assert done.exit_code == 3
    assert "Mend the key or its rights, then go on; nothing is done twice" in done.output
    assert "resume" not in done.output


def test_the_account_of_a_run_without_failed_rows_does_not_send_the_reader_to_the_errors_table() -> None:
    account = Account(read=9, written=9, filtered=0, failed=0, failures={}, segments=[], outputs=[9])
    record = RunRecord(
        run_id="1", pipeline="tune", file="p.yaml", sha256="", started_at=datetime.now(UTC),
        status=RunStatus.COMPLETED_WITH_ERRORS, message="The job failed.", account=account,
    )  # fmt: skip
    told = "\n".join(summary(record, Path(".penstock")))
    assert "completed, but not all that was to follow" in told
    assert "The job failed." in told
    assert "penstock errors" not in told
