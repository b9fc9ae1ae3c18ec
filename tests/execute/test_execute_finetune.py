"""From rows to a new model: each file is uploaded once and each job created once, whatever dies in between."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from execute_bench import Bench

from penstock.api import Api
from penstock.api.provider import Provider
from penstock.errors import Interrupted
from penstock.execute.session import Request, Session, load_request, plan_request
from penstock.outputs.finetune.dataset import read_manifest
from penstock.outputs.finetune.following import Course, read_results
from penstock.outputs.finetune.lock import Lock
from penstock.runs.record import RunRecord, RunStatus
from penstock.runs.verify import verify_run
from penstock.sandbox.launch import SandboxProcess, start
from penstock.secrets import Secret

RUNNER = """
import os, signal, sys
from pathlib import Path
from penstock.execute.inline import run_inline
from penstock.execute.session import Request, open_session
from penstock.outputs.finetune import following, lock
stage, file = sys.argv[1:]
def die():
    os.kill(os.getpid(), signal.SIGKILL)
def dying(method, word, state, before):
    def noted(self, key, /, **facts):
        if before and facts.get("state") == state: die()
        method(self, key, **facts)
        if not before and facts.get("state") == state: die()
    setattr(lock.ServerLock, word, noted)
files, jobs = lock.ServerLock.note_file, lock.ServerLock.note_job
if stage == "before the upload": dying(files, "note_file", "sending", False)
if stage == "uploaded, not saved": dying(files, "note_file", "uploaded", True)
if stage == "before the job": dying(jobs, "note_job", "creating", False)
if stage == "job created, not saved": dying(jobs, "note_job", "created", True)
if stage == "while waiting": following.Course.line = lambda *_: die()
with open_session(Request(Path(file))) as session:
    run_inline(session)
"""
STAGES = ["before the upload", "uploaded, not saved", "before the job", "job created, not saved", "while waiting"]


@pytest.fixture(scope="module")
def server() -> Iterator[SandboxProcess]:
    with start(pace=0.05) as running:
        yield running


class Tuning:
    """A bench whose pipeline trains a model, and what its server holds."""

    def __init__(self, bench: Bench, server: SandboxProcess) -> None:
        self.bench = bench
        self.server = server
        self.target = bench.folder / "out" / "model"

    def write(self, *, more: str = "", upload: str = "always", job: str = "", count: int = 20) -> None:
        # The folder's name makes the content of each test its own, at a server that all of them share.
        mark = self.bench.folder.name
        self.bench.rows(
            [
                {
                    "id": number,
                    # With characters that Python, and no JSON, takes for ends of lines.
                    "question": f"What is\u2028{number} of {mark}\x85?",
                    "answer": f"It is the number {number}, and nothing else.",
                    "part": "train" if number % 4 else "validation",
                }
                for number in range(count)
            ]
        )
        self.bench.pipeline("uses: filter\nwhere: id >= 0")
        text = self.bench.file.read_text()
        job = job or "{suffix: support, wait: true, every: 50ms, hyperparameters: {n_epochs: 2}, seed: 3}"
        self.bench.file.write_text(
            text[: text.index("outputs:")]
            + "outputs:\n  - uses: finetune\n    path: out/model\n    model: gpt-4o-mini-2024-07-18\n"
            '    messages: [{role: user, content: "{{ question }}"}, {role: assistant, content: "{{ answer }}"}]\n'
            "    sets: [train, validation]\n    set_column: part\n"
            f"    upload: {upload}\n" + (f"    job: {job}\n" if upload != "never" and job != "none" else "") + more
        )

    def run(self) -> RunRecord:
        return self.bench.run()

    def killed(self, stage: str) -> None:
        """Run in a process that is killed at `stage`."""
        done = subprocess.run(
            [sys.executable, "-c", RUNNER, stage, str(self.bench.file)], capture_output=True, text=True, check=False
        )
        assert done.returncode == -signal.SIGKILL, done.stderr

    def held(self) -> tuple[list[str], list[dict[str, Any]]]:
        """The names of the files that the server holds of this test, and the jobs that train on them."""

        async def ask() -> tuple[list[str], list[dict[str, Any]]]:
            async with Api(Provider("test", self.server.url, Secret("BENCH_API_KEY"))) as api:
                mine = {file.name for file in self.target.glob("*.jsonl")}
                files = {one.id: one.filename async for one in api.files.list() if one.filename in mine}
                jobs = [one.raw async for one in api.fine_tuning.list() if one.training_file in files]
                return sorted(files.values()), jobs

        return asyncio.run(ask())

    def calls(self) -> dict[str, Any]:
        found: dict[str, Any] = self.server.stats()["requests"]
        return {path: counts for path, counts in found.items() if not path.startswith("/_")}


def _lines(file: Path) -> list[str]:
    return [line for line in file.read_text("utf-8").split("\n") if line]


@pytest.fixture
def tuning(bench: Bench, server: SandboxProcess) -> Tuning:
    return Tuning(bench, server)


def test_a_run_uploads_trains_waits_and_tries_the_model_out(tuning: Tuning) -> None:
    tuning.write(job="{suffix: support, wait: true, every: 50ms, try_out: 2}")
    record = tuning.run()
    assert record.status == RunStatus.COMPLETED
    names, jobs = tuning.held()
    assert [name.split("-")[0] for name in names] == ["train", "validation"]
    assert [(job["status"], job["user_provided_suffix"]) for job in jobs] == [("succeeded", "support")]
    delivered = record.outputs[0].delivered
    assert delivered["model"] == jobs[0]["fine_tuned_model"]
    answers = [json.loads(line) for line in _lines(tuning.target / delivered["answers"])]
    assert [(one["model"], one["rows"]) for one in answers] == [
        (delivered["model"], "id 0"),
        (delivered["model"], "id 4"),
    ]
    assert any("loss" in note and "▁" in note for note in record.notes)


def test_a_second_run_uploads_nothing_starts_nothing_and_says_so(tuning: Tuning) -> None:
    tuning.write()
    first = tuning.run()
    tuning.server.reset()
    second = tuning.run()
    job = first.outputs[0].delivered["job"]
    assert second.outputs[0].delivered == first.outputs[0].delivered
    assert f"the job {job} was started before (succeeded): not started again" in second.notes
    assert [sum(counts.values()) for counts in tuning.calls().values()] == [1], "it looks at the job, and that is all"
    assert len(tuning.held()[0]) == 2


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.replace(" ", "-").replace(",", ""))
def test_after_a_kill_the_next_run_uploads_and_creates_nothing_twice(tuning: Tuning, stage: str) -> None:
    tuning.write()
    tuning.killed(stage)
    record = tuning.run()
    assert record.status == RunStatus.COMPLETED
    names, jobs = tuning.held()
    assert [name.split("-")[0] for name in names] == ["train", "validation"]
    assert [job["status"] for job in jobs] == ["succeeded"]
    assert record.outputs[0].delivered["job"] == jobs[0]["id"]


def test_without_its_lock_file_a_run_finds_files_and_job_at_the_service(tuning: Tuning) -> None:
    tuning.write()
    first = tuning.run()
    Lock.of(tuning.target).path.unlink()
    second = tuning.run()
    assert second.outputs[0].delivered == first.outputs[0].delivered
    assert sum("was found at the service" in note for note in second.notes) == 3
    assert (len(tuning.held()[0]), len(tuning.held()[1])) == (2, 1)


def test_other_rows_are_other_files_and_another_job_and_what_was_uploaded_stays(tuning: Tuning) -> None:
    tuning.write()
    tuning.run()
    before = {file.name: file.read_bytes() for file in tuning.target.glob("*.jsonl")}
    tuning.write(count=24)
    tuning.run()
    after = {file.name: file.read_bytes() for file in tuning.target.glob("*.jsonl")}
    assert before.items() < after.items()
    assert len(after) == 4
    assert len(tuning.held()[1]) == 2


def test_another_setting_of_the_job_is_another_job_with_the_same_files(tuning: Tuning) -> None:
    tuning.write()
    tuning.run()
    tuning.write(job="{suffix: support, wait: true, every: 50ms, hyperparameters: {n_epochs: 3}}")
    record = tuning.run()
    assert sum("not uploaded again" in note for note in record.notes) == 2
    assert (len(tuning.held()[0]), len(tuning.held()[1])) == (2, 2)


def test_a_file_that_is_gone_at_the_service_is_uploaded_again(tuning: Tuning) -> None:
    tuning.write(job="none")
    record = tuning.run()

    async def delete() -> None:
        async with Api(Provider("test", tuning.server.url, Secret("BENCH_API_KEY"))) as api:
            await api.files.delete(record.outputs[0].delivered["files"]["train"])

    asyncio.run(delete())
    again = tuning.run()
    assert any("does not hold any more: uploaded again" in note for note in again.notes)
    assert len(tuning.held()[0]) == 2


def test_nothing_is_uploaded_while_the_check_finds_errors(tuning: Tuning) -> None:
    tuning.write(count=9)
    record = tuning.run()
    assert record.status == RunStatus.COMPLETED_WITH_ERRORS
    assert "nothing was uploaded" in record.message
    assert "6 examples; 10 are needed at least" in record.message
    assert tuning.held() == ([], [])


def test_to_ask_ends_the_run_well_and_names_the_command(tuning: Tuning) -> None:
    tuning.write(upload="ask")
    record = tuning.run()
    assert record.status == RunStatus.COMPLETED
    assert any("go on with: penstock finetune continue" in note for note in record.notes)
    assert tuning.calls() == {}


def test_of_the_first_rows_only_nothing_is_uploaded(tuning: Tuning) -> None:
    tuning.write()
    record = tuning.bench.run(limit=16)
    assert record.status == RunStatus.COMPLETED
    assert any("only the first rows are here, so nothing is uploaded" in note for note in record.notes)
    assert tuning.calls() == {}


def test_a_job_over_the_budget_is_not_started(tuning: Tuning) -> None:
    tuning.write(more="budget: {usd: 0.0001}\n")
    with tuning.bench.open() as session:
        record = _finished(session)
    assert (record.status, record.reason) == (RunStatus.STOPPED, "budget")
    assert re.fullmatch(
        r"training gpt-4o-mini-2024-07-18 costs about \$[\d.]+ \([\d,]+ tokens\) and the budget has \$0\.0001 left, so "
        r"no job was started; the uploaded files stay; raise `budget` and resume, or allow this job alone with: "
        r"penstock finetune continue \S+/out/model",
        record.message,
    )
    assert (len(tuning.held()[0]), tuning.held()[1]) == (2, [])
    tuning.write(more="budget: {usd: 1}\n")
    assert tuning.run().status == RunStatus.COMPLETED
    assert (len(tuning.held()[0]), len(tuning.held()[1])) == (2, 1)


def test_once_its_rows_are_there_the_plan_knows_the_cost_of_a_job_exactly(tuning: Tuning) -> None:
    chat = 'uses: chat\nid: reply\nmodel: gpt-4o-mini\noutput: reply\nmax_tokens: 20\nprompt: "{{ question }}"'
    job = "{suffix: support, hyperparameters: {n_epochs: 2}}"
    tuning.write(upload="ask", job=job)
    text = tuning.bench.file.read_text()
    text = text.replace("  - uses: filter", "  - " + chat.replace("\n", "\n    ") + "\n  - uses: filter")
    tuning.bench.file.write_text(text.replace("{{ answer }}", "{{ reply }}").replace("id >= 0", "length(reply) > 1"))
    request = Request(tuning.bench.file)
    (before,) = plan_request(request, load_request(request)).bills
    assert (before.tokens_least, before.tokens_most) == (None, None)
    tuning.run()
    (after,) = plan_request(request, load_request(request)).bills
    cost = read_manifest(tuning.target)["cost"]
    assert (after.exact, after.tokens_least, after.tokens_most) == (True, *[2 * cost["tokens_per_epoch"]] * 2)
    assert after.usd_most == pytest.approx(2 * cost["usd_per_epoch"])


def test_a_job_that_is_there_needs_no_budget(tuning: Tuning) -> None:
    tuning.write()
    job = tuning.run().outputs[0].delivered["job"]
    Lock.of(tuning.target).path.unlink()
    tuning.write(more="budget: {usd: 0.0001}\n")
    record = tuning.run()
    assert record.status == RunStatus.COMPLETED
    assert record.outputs[0].delivered["job"] == job


def test_two_jobs_share_one_budget(tuning: Tuning) -> None:
    tuning.write()
    text = tuning.bench.file.read_text()
    first = text[text.index("  - uses: finetune") :]
    tuning.bench.file.write_text(text + first.replace("out/model", "out/other").replace("seed: 3", "seed: 4"))
    tuning.run()
    (cost,) = {cost for note in tuning.run().notes for cost in re.findall(r"an epoch, \$([\d.]+)", note)}
    more = first.replace("out/model", "out/third").replace("seed: 3", "seed: 5")
    tuning.bench.file.write_text(
        text.replace("seed: 3", "seed: 6") + more + f"budget: {{usd: {2 * float(cost) * 1.5:.6f}}}\n"
    )
    with tuning.bench.open() as session:
        record = _finished(session)
    assert (record.status, record.reason) == (RunStatus.STOPPED, "budget")
    assert len(tuning.held()[1]) == 3, "the first of the two was started, the second one was not"


def test_what_the_new_model_is_asked_counts_in_usage_and_budget_and_is_paid_once(tuning: Tuning) -> None:
    job = "{suffix: support, wait: true, every: 50ms, try_out: 3, hyperparameters: {n_epochs: 1}}"
    tuning.write(job=job, more="budget: {tokens: 40}\n")
    with tuning.bench.open() as session:
        record = _finished(session)
    assert (record.status, record.reason) == (RunStatus.STOPPED, "budget")
    assert "the budget of 40 tokens is used up" in record.message
    (answers,) = tuning.target.glob("answers-*.jsonl")
    kept = _lines(answers)
    assert 1 <= len(kept) < 3
    usage = record.usage
    assert (usage.requests, usage.prompt_tokens > 0, usage.completion_tokens > 0) == (len(kept), True, True)
    assert usage.usd is not None
    assert usage.usd > 0
    tuning.write(job=job)
    again = tuning.run()
    assert again.status == RunStatus.COMPLETED
    assert again.usage.requests == 3 - len(kept)
    assert _lines(answers)[: len(kept)] == kept
    assert tuning.run().usage.requests == 0


def test_a_model_whose_price_is_unknown_is_not_asked_on_a_budget_and_the_run_says_so(tuning: Tuning) -> None:
    job = "{suffix: support, wait: true, every: 50ms, try_out: 2, hyperparameters: {n_epochs: 1}}"
    tuning.write(job=job, more="    price: 3\nbudget: {usd: 5}\n")
    text = tuning.bench.file.read_text()
    tuning.bench.file.write_text(text.replace("gpt-4o-mini-2024-07-18", "gpt-4.1-mini-2025-04-14"))
    record = tuning.run()
    assert record.status == RunStatus.COMPLETED
    assert record.usage.requests == 0
    (note,) = (note for note in record.notes if "is not tried out" in note)
    assert "Give it under `prices` of the provider and run again" in note


def test_where_events_tell_no_losses_the_table_of_results_does(tuning: Tuning) -> None:
    tuning.write()
    job_id = tuning.run().outputs[0].delivered["job"]
    course = Course()

    async def read() -> None:
        async with Api(Provider("test", tuning.server.url, Secret("BENCH_API_KEY"))) as api:
            await read_results(api, await api.fine_tuning.retrieve(job_id), course)

    asyncio.run(read())
    assert len(course.losses) == len(course.valid_losses) > 10
    assert course.losses[0] > course.losses[-1]


def test_rows_that_make_no_example_are_in_the_errors_table_and_in_the_account(tuning: Tuning) -> None:
    tuning.write(upload="never")
    frame = pl.read_csv(tuning.bench.folder / "rows.csv")
    blank = frame.with_columns(answer=pl.when(pl.col("id") == 7).then(pl.lit(" ")).otherwise("answer"))
    blank.write_csv(tuning.bench.folder / "rows.csv")
    with tuning.bench.open() as session:
        record = _finished(session)
        account = record.account
        assert account is not None
        assert (account.read, account.written, account.failed, account.outputs) == (20, 19, 1, [19])
        assert record.outputs[0].refused == {"empty_input": 1}
        errors = tuning.bench.errors(record)
        assert errors.select("id", "step", "cause").rows() == [(7, "finetune", "empty_input")]
        from penstock.execute.publish import plan_parts

        parts = plan_parts(session.plan, session.state)
        outputs = [one.at(Path(place)) for one, place in zip(session.spec.outputs, session.plan.targets, strict=True)]
        assert verify_run(record, parts, session.plan.ends, outputs) == []


def test_too_many_rows_that_make_no_example_stop_the_run(tuning: Tuning) -> None:
    tuning.write(upload="never", count=300)
    frame = pl.read_csv(tuning.bench.folder / "rows.csv")
    frame.with_columns(answer=pl.when(pl.col("id") % 3 == 0).then(None).otherwise("answer")).write_csv(
        tuning.bench.folder / "rows.csv"
    )
    with tuning.bench.open() as session:
        record = _finished(session)
    assert (record.status, record.reason) == (RunStatus.STOPPED, "failures")
    assert "100 of 300 rows cannot be written" in record.message
    assert not tuning.target.exists()


def test_who_asks_to_stop_while_a_job_runs_leaves_it_running_and_waits_again_later(
    tuning: Tuning, monkeypatch: pytest.MonkeyPatch
) -> None:
    tuning.write()
    with tuning.bench.open() as session, monkeypatch.context() as patch:

        def stopping(self: Course, job_id: str) -> str:
            session.control.request_stop(Interrupted("Ctrl-C"))
            return f"{job_id} {self.status}"

        patch.setattr(Course, "line", stopping)
        with pytest.raises(Interrupted):
            _finished(session)
        assert session.record.status == RunStatus.INTERRUPTED
        assert any("goes on at the service" in note for note in session.record.notes)
    record = tuning.run()
    assert record.status == RunStatus.COMPLETED
    assert [job["status"] for job in tuning.held()[1]] == ["succeeded"]


def test_a_service_that_is_away_stops_the_run_and_the_next_one_goes_on(tuning: Tuning) -> None:
    tuning.write()
    text = tuning.bench.file.read_text()
    away = text.replace(tuning.server.url, "http://127.0.0.1:9/v1").replace(
        "source:", "  retry: {attempts: 1}\nsource:"
    )
    tuning.bench.file.write_text(away)
    with tuning.bench.open() as session:
        record = _finished(session)
    assert (record.status, record.reason) == (RunStatus.STOPPED, "delivery")
    tuning.bench.file.write_text(text)
    assert tuning.run().status == RunStatus.COMPLETED


def test_the_lock_file_holds_no_key(tuning: Tuning, server: SandboxProcess) -> None:
    tuning.write(job="none")
    tuning.run()
    text = Lock.of(tuning.target).path.read_text()
    assert server.key not in text
    assert "BENCH_API_KEY" in text


def _finished(session: Session) -> RunRecord:
    from penstock.execute.segment import run_segment

    for task in session.plan.tasks:
        run_segment(str(session.plan_file), task.segment, task.partition)
    record = session.finish()
    if isinstance(session.control.stopped, Interrupted):
        raise session.control.stopped
    return record
