"""Whatever the server does, every row has one fate and the account adds up."""

from __future__ import annotations

import math

import pytest
from execute_bench import Bench

from penstock.errors import BudgetSpent, InputError, RunStopped, TooManyFailures
from penstock.execute.inline import run_inline

TEXTS = [f"text number {number} about kettles and tides" for number in range(120)]
PATIENT = "limits: {concurrency: 8}\nretry: {attempts: 8, max_wait: 50ms}\ntimeout: {read: 1s, total: 3s}\n"
STEP = """
uses: embed
input: "{{ text }}"
model: text-embedding-3-small
dimensions: 8
batch_size: 5
"""


@pytest.mark.parametrize(
    "fault",
    [
        "429", "429-bare", "500", "502", "503", "504", "529", "408", "409", "reset", "close", "cut", "html", "text",
        "badjson", "bom", "floats", "shuffled", "one-short", "one-over", "bad-index", "wrong-dim", "nan", "inf",
        "zeros", "empty",
    ],
)  # fmt: skip
def test_a_fault_that_passes_costs_no_row(bench: Bench, fault: str) -> None:
    bench.texts(TEXTS)
    bench.pipeline(STEP, provider=PATIENT)
    bench.server.change(faults=[f"{fault}:x4"], seed=3)
    record = bench.run()
    assert record.account is not None
    assert (record.account.read, record.account.written, record.account.failed) == (120, 120, 0)
    result = bench.result()
    assert result["id"].to_list() == list(range(120))
    assert all(math.isclose(sum(x * x for x in vector), 1.0, rel_tol=1e-4) for vector in result["embedding"])
    assert bench.server.stats()["repeated_answers"] == 0


@pytest.mark.parametrize("fault", ["hang", "slow"])
def test_a_silent_server_is_given_up_and_asked_again(bench: Bench, fault: str) -> None:
    bench.texts(TEXTS[:20])
    bench.pipeline(STEP, provider=PATIENT)
    bench.server.change(faults=[f"{fault}:x2"])
    record = bench.run()
    assert record.account is not None
    assert record.account.written == 20
    assert record.usage.retried >= 2


def test_a_fault_that_stays_puts_rows_into_the_errors_table_with_its_cause(bench: Bench) -> None:
    bench.texts(TEXTS[:10])
    bench.pipeline(STEP, provider="retry: {attempts: 2, max_wait: 10ms}\n", more="errors: {stop_above: 100%}\n")
    bench.server.change(faults=["500:100%"])
    record = bench.run()
    assert record.account is not None
    assert record.account.failures == {"server_error": 10}
    errors = bench.errors(record)
    assert errors["id"].to_list() == list(range(10))
    assert set(errors["status"]) == {500}
    assert set(errors["attempts"]) == {2}
    assert errors["text"][3] == TEXTS[3]
    assert bench.result().height == 0
    assert "embedding" in bench.result().columns


def test_a_run_without_one_good_answer_publishes_nothing_and_says_why(bench: Bench) -> None:
    bench.texts(TEXTS[:10])
    bench.pipeline(STEP, provider="retry: {attempts: 1}\n")
    assert bench.run().status == "completed"
    before = bench.result()
    bench.texts([f"other {text}" for text in TEXTS[:10]])
    bench.server.change(faults=["500:100%"])
    with pytest.raises(TooManyFailures, match=r"no request succeeded \(server_error 10\), for example: .*500"):
        bench.run()
    assert bench.result().equals(before)
    bench.server.change(faults=[])
    record = bench.run()
    assert record.account is not None
    assert record.account.written == 10


def test_one_poisonous_text_is_found_by_halving_and_the_others_lose_nothing(bench: Bench) -> None:
    texts = [*TEXTS[:50], "this one is POISON for the server", *TEXTS[50:]]
    bench.texts(texts)
    bench.pipeline(STEP.replace("batch_size: 5", "batch_size: 200"), provider=PATIENT)
    bench.server.change(poison=["POISON"])
    record = bench.run()
    assert record.account is not None
    assert record.account.written == 120
    assert record.account.failures == {"invalid_request": 1}
    assert bench.errors(record)["id"].to_list() == [50]


@pytest.mark.parametrize(
    ("fault", "reason", "words"),
    [("401", "access", "key"), ("403", "access", "BENCH_API_KEY"), ("quota", "quota", "quota")],
)
def test_an_answer_that_no_retry_can_mend_stops_the_run_and_a_resume_completes_it(
    bench: Bench, fault: str, reason: str, words: str
) -> None:
    bench.texts(TEXTS)
    bench.pipeline(STEP, provider=PATIENT)
    bench.server.change(faults=[f"{fault}:100%"])
    with bench.open() as session, pytest.raises(RunStopped) as stopped:
        run_inline(session)
    assert session.record.reason == reason
    assert words in str(stopped.value)
    assert bench.server.key not in session.record.model_dump_json()
    bench.server.change(faults=[])
    record = bench.run()
    assert record.account is not None
    assert record.account.written == 120


def test_too_many_failures_stop_the_run_before_the_money_is_gone(bench: Bench) -> None:
    bench.texts([f"{text} {'POISON' if number % 2 else ''}" for number, text in enumerate(TEXTS * 10)])
    bench.pipeline(
        STEP.replace("batch_size: 5", "batch_size: 20"),
        source="partition_rows: 100",
        provider="limits: {concurrency: 2}\n",
    )
    bench.server.change(poison=["POISON"])
    with bench.open(workers=1) as session, pytest.raises(TooManyFailures, match="stop_above"):
        run_inline(session)
    assert session.record.status.value == "stopped"


def test_a_budget_of_tokens_stops_in_time_keeps_what_was_paid_and_goes_on_with_more(bench: Bench) -> None:
    bench.texts(TEXTS)
    bench.pipeline(STEP, provider="limits: {concurrency: 1}\n", more="budget: {tokens: 400}\n")
    with bench.open() as session, pytest.raises(BudgetSpent, match="budget"):
        run_inline(session)
    spent = bench.server.stats()["tokens"]
    assert 300 <= spent <= 400
    bench.pipeline(STEP, provider="limits: {concurrency: 1}\n", more="budget: {tokens: 1M}\n")
    record = bench.run()
    assert record.account is not None
    assert record.account.written == 120
    assert bench.server.stats()["repeated_inputs"] == 0


def test_a_budget_in_dollars_needs_a_known_price(bench: Bench) -> None:
    bench.texts(TEXTS)
    bench.pipeline(STEP.replace("text-embedding-3-small", "my-own-model"), more="budget: {usd: 1}\n")
    with pytest.raises(InputError, match=r"my-own-model.*provider\.prices"):
        bench.run()
