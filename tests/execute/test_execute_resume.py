"""What was answered is never asked again, whatever ended the run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from random import Random

import polars as pl
import pytest
from execute_bench import Bench

from penstock.engine.control import RunControl
from penstock.errors import AccountError, InputError, Interrupted, RunLocked
from penstock.execute.inline import run_inline
from penstock.runs.history import list_runs
from penstock.runs.record import RunStatus
from penstock.tables.parts import read_counts, write_part
from penstock.tables.state import State

ROWS = 1500
KILLS = 10
STEP = """
uses: embed
input: "{{ text }}"
model: text-embedding-3-small
dimensions: 8
batch_size: 5
"""
RUN_IT = """
import sys
from pathlib import Path
from penstock.execute.inline import run_inline
from penstock.execute.session import Request, open_session
with open_session(Request(Path(sys.argv[1]))) as session:
    run_inline(session)
"""


def _texts(count: int) -> list[str]:
    return [f"row {number} of a long table about weather and harbours" for number in range(count)]


def _stop_after(bench: Bench, control: RunControl, inputs: int) -> None:
    """Stop the run once so many texts are answered."""
    while bench.server.stats()["inputs"] < inputs:
        time.sleep(0.005)
    control.request_stop(Interrupted("stop"))


def test_a_second_run_asks_nothing(bench: Bench) -> None:
    bench.texts(_texts(40))
    bench.pipeline(STEP)
    first = bench.run()
    before = bench.result()
    asked = bench.server.stats()["total_requests"]
    second = bench.run()
    assert bench.server.stats()["total_requests"] == asked
    assert second.usage.requests == 0
    assert second.carried_rows == 40
    assert second.account == first.account
    assert bench.result().equals(before)


def test_rows_added_at_the_end_cost_only_their_own_partition(bench: Bench) -> None:
    bench.texts(_texts(30))
    bench.pipeline(STEP, source="partition_rows: 10")
    bench.run()
    bench.texts(_texts(34))
    record = bench.run()
    assert record.account is not None
    assert record.account.written == 34
    assert bench.server.stats()["inputs"] == 34
    assert bench.server.stats()["repeated_inputs"] == 0


def test_settings_that_change_no_vector_keep_what_is_paid(bench: Bench) -> None:
    bench.texts(_texts(30))
    bench.pipeline(STEP)
    bench.run()
    bench.pipeline(STEP.replace("batch_size: 5", "batch_size: 7"), provider="limits: {concurrency: 3}\n")
    assert bench.run().usage.requests == 0
    bench.pipeline(STEP.replace("dimensions: 8", "dimensions: 16"))
    assert bench.run().usage.requests == 6


@pytest.mark.slow
def test_killed_at_ten_random_moments_the_table_is_that_of_an_undisturbed_run(bench: Bench) -> None:
    """Requests sent again are no more than those unanswered at the kills, or read but not yet written."""
    bench.texts(_texts(ROWS))
    bench.pipeline(STEP, source="partition_rows: 300", provider="limits: {concurrency: 4}\n")
    bench.server.change(latency="5ms..25ms")
    random = Random(11)
    for kill in range(KILLS):
        # At a random moment while about so many rows are answered, so that a slow machine is killed ten times too.
        wanted = (kill + random.random()) * ROWS / (KILLS + 1)
        with subprocess.Popen([sys.executable, "-c", RUN_IT, str(bench.file)]) as process:
            while bench.server.stats()["inputs"] <= wanted:
                assert process.poll() is None, "the run ended before it could be killed"
                time.sleep(0.002)
            time.sleep(random.uniform(0, 0.05))
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
    record = bench.run()
    stats = bench.server.stats()
    disturbed = bench.result()
    assert record.account is not None
    assert (record.account.read, record.account.written) == (ROWS, ROWS)
    # On its way at a kill are 4 requests of 5 texts. An answer that was read makes room for the next request before
    # it is written, so as many again may be on their way from the loop to the journal.
    assert stats["repeated_answers"] <= KILLS * (4 + 4) * 5
    for path in (bench.folder / ".penstock", bench.folder / "out"):
        subprocess.run(["rm", "-r", str(path)], check=True)
    bench.run()
    assert disturbed.drop("embed_usage").equals(bench.result().drop("embed_usage"))
    statuses = [one.status for _, one in list_runs(bench.folder / ".penstock")]
    assert statuses == [RunStatus.COMPLETED]


def test_a_run_that_died_is_marked_crashed_by_the_next(bench: Bench) -> None:
    bench.texts(_texts(400))
    bench.pipeline(STEP, provider="limits: {concurrency: 1}\n")
    bench.server.change(latency="200ms")
    with subprocess.Popen([sys.executable, "-c", RUN_IT, str(bench.file)]) as process:
        while not any(record.usage.requests for _, record in list_runs(bench.folder / ".penstock")):
            assert process.poll() is None
            time.sleep(0.05)
        process.kill()
    bench.server.change(latency=None)
    with bench.open() as session:
        assert [record.pid for record in session.crashed] == [process.pid]
        run_inline(session)
    completed, crashed = (record for _, record in list_runs(bench.folder / ".penstock"))
    assert (completed.status, crashed.status) == (RunStatus.COMPLETED, RunStatus.CRASHED)
    assert crashed.usage.requests > 0, "what a killed run cost is known, but for its last seconds"
    assert crashed.usage.prompt_tokens > 0


def test_a_second_run_at_once_is_refused_with_the_process_that_has_the_lock(bench: Bench) -> None:
    bench.texts(_texts(5))
    bench.pipeline(STEP)
    lock = State(bench.folder / ".penstock", "bench").lock()
    with pytest.raises(RunLocked, match=str(os.getpid())):
        bench.run()
    lock.release()
    assert bench.run().status is RunStatus.COMPLETED


def test_a_stop_keeps_what_was_answered_and_is_told_in_the_record(bench: Bench) -> None:
    bench.texts(_texts(300))
    bench.pipeline(STEP, provider="limits: {concurrency: 2}\n")
    bench.server.change(latency="20ms")
    with bench.open() as session:
        threading.Thread(target=_stop_after, args=(bench, session.control, 20)).start()
        began = time.monotonic()
        with pytest.raises(Interrupted):
            run_inline(session)
        assert time.monotonic() - began < 5
    assert session.record.status is RunStatus.INTERRUPTED
    answered = bench.server.stats()["inputs"]
    assert 0 < answered < 300
    bench.server.change(latency=None)
    assert bench.run().usage.requests == -(-(300 - answered) // 5)
    assert bench.server.stats()["repeated_inputs"] == 0


def test_failed_requests_are_asked_again_and_only_they(bench: Bench) -> None:
    texts = [f"{text} {'POISON' if number in {3, 17} else ''}" for number, text in enumerate(_texts(40))]
    bench.texts(texts)
    bench.pipeline(STEP, more="errors: {stop_above: 50%}\n")
    bench.server.change(poison=["POISON"])
    record = bench.run()
    assert record.account is not None
    assert record.account.failures == {"invalid_request": 2}
    bench.server.change(poison=[])
    bench.server.reset()
    again = bench.run(retries=record.run_id, retry_causes=["invalid_request"])
    assert again.account is not None
    assert again.account.written == 40
    assert bench.server.stats()["inputs"] == 2
    assert bench.result()["id"].to_list() == list(range(40))
    assert again.errors_path is None


def test_a_retry_of_one_cause_leaves_the_errors_of_others_as_they_are(bench: Bench) -> None:
    bench.texts([f"{text} {'POISON' if number == 3 else ''}" for number, text in enumerate(_texts(20))])
    bench.pipeline(STEP, more="errors: {stop_above: 50%}\n")
    bench.server.change(poison=["POISON"])
    record = bench.run()
    bench.server.change(poison=[])
    bench.server.reset()
    again = bench.run(retries=record.run_id, retry_causes=["timeout"])
    assert again.account is not None
    assert again.account.failures == {"invalid_request": 1}
    assert bench.server.stats()["inputs"] == 0


def test_a_resumed_retry_of_one_cause_asks_only_that_cause(bench: Bench) -> None:
    bench.texts(["good", "poison one", "silent two"])
    bench.pipeline(STEP.replace("batch_size: 5", "batch_size: 1"), more="errors: {stop_above: 100%}\n")
    bench.server.change(poison=["poison", "silent"])
    first = bench.run()
    with bench.open(resumes=first.run_id, retries=first.run_id, retry_causes=("timeout",)) as session:
        retried = session.run_id
    with bench.open(resumes=retried) as session:
        assert session.plan.retry_causes == ("timeout",)
        assert session.plan.tasks == ()
    with bench.open(resumes=first.run_id) as session:
        assert session.plan.retry_causes is None
        assert len(session.plan.tasks) == 1


def test_a_parameter_that_the_record_does_not_hold_is_not_made_up(bench: Bench) -> None:
    bench.texts(["a"])
    bench.pipeline(STEP)
    with pytest.raises(InputError, match="the parameter 'word' of run r1 looked like a key"):
        bench.open(resumes="r1", params={"word": "***"})


def test_a_retry_of_a_changed_source_is_refused(bench: Bench) -> None:
    bench.texts(_texts(20))
    bench.pipeline(STEP)
    record = bench.run()
    bench.texts(_texts(21))
    with pytest.raises(InputError, match="changed since run"):
        bench.run(retries=record.run_id)


TWO = """
uses: embed
id: one
input: "{{ text }}"
model: text-embedding-3-small
dimensions: 8
output: first
batch_size: 1
---
uses: embed
id: two
input: "{{ other }}"
model: text-embedding-3-small
dimensions: 8
output: second
batch_size: 1
"""


def _two(bench: Bench) -> None:
    rows = [("poison", "same"), ("good", "same"), ("fine", "another"), ("well", "same")]
    bench.rows([{"id": number, "text": text, "other": other} for number, (text, other) in enumerate(rows)])
    bench.pipeline(TWO, more="errors: {stop_above: 100%}\n")


def test_a_row_that_comes_later_takes_the_answer_that_was_paid_for_its_copies(bench: Bench) -> None:
    _two(bench)
    bench.server.change(poison=["poison"])
    first = bench.run()
    bench.server.change(poison=[])
    second = bench.run()
    assert first.account is not None
    assert second.account is not None
    assert (first.account.failed, second.account.failed) == (1, 0)
    assert second.usage.requests == 1, "only the row that had failed, and only in the first step"
    result = bench.result()
    assert result["second"][0].to_list() == result["second"][1].to_list() != result["second"][2].to_list()
    paid = result["two_usage"].struct.field("prompt_tokens").to_list()
    assert [tokens > 0 for tokens in paid] == [True, False, True, False], "paid once, counted at the first that asks it"


def test_a_row_that_comes_later_is_asked_with_its_copies_that_had_failed_for_good(bench: Bench) -> None:
    _two(bench)
    bench.server.change(poison=["poison", "same"])
    first = bench.run()
    assert first.account is not None
    assert first.account.failed == 3
    causes = set(bench.errors(first)["cause"])
    part = next((bench.folder / ".penstock").rglob("parts/two/*.errors.parquet"))
    errors = pl.read_parquet(part)
    errors.with_columns(cause=pl.lit("timeout")).write_parquet(part)
    _change_causes(part.with_name(part.name.replace(".errors", "")), {"timeout": 2})
    bench.server.change(poison=["same"])
    record = bench.run(resumes=first.run_id, retries=first.run_id, retry_causes=tuple(causes))
    assert record.account is not None
    assert (record.account.read, record.account.written + record.account.failed) == (4, 4)


def _change_causes(part: Path, failures: dict[str, int]) -> None:
    """Make a part say that its rows failed for other reasons."""
    from pyarrow import parquet

    table, counts = parquet.read_table(part), read_counts(part)
    assert counts is not None
    write_part(part, iter([table]), table.schema, lambda: {**counts, "failures": failures})


def test_a_part_whose_errors_are_gone_is_made_again_and_pays_for_nothing(bench: Bench) -> None:
    bench.texts(["a", "", "b"])
    bench.pipeline(STEP)
    first = bench.run()
    for path in (bench.folder / ".penstock").rglob("*.errors.parquet"):
        path.unlink()
    asked = bench.server.stats()["total_requests"]
    second = bench.run()
    assert bench.server.stats()["total_requests"] == asked
    assert second.account == first.account
    assert bench.errors(second)["cause"].to_list() == ["empty_input"]


def test_nothing_is_published_while_an_errors_part_is_missing(bench: Bench) -> None:
    bench.texts(["a", ""])
    bench.pipeline(STEP)
    bench.run()
    with bench.open() as session:
        for path in (bench.folder / ".penstock").rglob("parts/*/*.errors.parquet"):
            path.unlink()
        with pytest.raises(AccountError, match="1 rows failed and the errors parts hold 0"):
            run_inline(session)


def test_copies_of_a_text_are_sent_once_and_cost_once(bench: Bench) -> None:
    bench.texts(["same words"] * 9 + ["other words"])
    bench.pipeline(STEP)
    record = bench.run()
    result = bench.result()
    assert bench.server.stats()["inputs"] == 2
    assert result["embedding"][0].to_list() == result["embedding"][8].to_list()
    assert result["embed_usage"].struct.field("prompt_tokens").sum() == record.usage.prompt_tokens
    assert result["embed_usage"].struct.field("usd").sum() == pytest.approx(record.usage.usd)
    assert result["embed_usage"].struct.field("prompt_tokens").to_list()[1:9] == [0] * 8


def test_a_journal_torn_at_any_byte_gives_back_what_was_whole(bench: Bench) -> None:
    bench.texts(_texts(60))
    bench.pipeline(STEP, provider="limits: {concurrency: 1}\n")
    bench.server.change(latency="30ms")
    with bench.open() as session:
        threading.Thread(target=_stop_after, args=(bench, session.control, 15)).start()
        with pytest.raises(Interrupted):
            run_inline(session)
    journal = next((bench.folder / ".penstock").rglob("*.journal"))
    journal.write_bytes(journal.read_bytes()[:-7])
    bench.server.change(latency=None)
    bench.server.reset()
    assert bench.run().status is RunStatus.COMPLETED
    assert bench.server.stats()["repeated_inputs"] <= 5
    assert bench.result()["id"].to_list() == list(range(60))
    assert not journal.exists()


def _wait_for(path: Path) -> None:
    deadline = time.monotonic() + 20
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert path.exists()


def test_the_result_is_in_the_order_of_the_source(bench: Bench) -> None:
    bench.texts(_texts(200))
    bench.pipeline(STEP, source="partition_rows: 30", provider="limits: {concurrency: 16}\n")
    bench.server.change(latency="1ms..40ms")
    bench.run()
    assert bench.result()["id"].to_list() == list(range(200))
    assert bench.result().schema["embedding"] == pl.Array(pl.Float32, 8)
