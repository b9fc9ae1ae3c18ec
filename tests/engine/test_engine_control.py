"""What a run's requests share: stopping, budgets, the meter."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from echo_jobs import Echo, Kept, provider_of
from hypothesis import given
from hypothesis import strategies as st

from penstock.api.provider import Limits
from penstock.engine import Job, RunControl, control_of, engine, release
from penstock.engine.meter import Meter
from penstock.errors import BudgetSpent, InputError, Interrupted, NoSuccess, QuotaExhausted, TooManyFailures
from penstock.items import Cause, Item, Usage
from raw_http import RawServer, Reply, Seen, reply

MODEL = "text-embedding-3-small"


class Clock:
    now = 50.0

    def __call__(self) -> float:
        return self.now


def attempt(control: RunControl, tokens: int, *, result: str = "200", model: str = MODEL) -> float | None:
    reservation = control.reserve(model, tokens)
    assert reservation is not None
    control.attempt_began(again=False)
    control.release(reservation)
    good = result == "200"
    return control.attempt_ended(
        result, model=model, estimate=tokens, usage=Usage(model, tokens) if good else None, success=good
    )


def test_the_first_reason_to_stop_is_the_one_that_counts():
    control = RunControl()
    control.check()
    called: list[str] = []
    control.on_stop(lambda: called.append("a"))
    forget = control.on_stop(lambda: called.append("b"))
    forget()
    control.request_stop(Interrupted("first"))
    control.request_stop(QuotaExhausted("second"))
    control.on_stop(lambda: called.append("late"))
    assert called == ["a", "late"]
    with pytest.raises(Interrupted, match="first"):
        control.check()


def test_a_stop_may_come_from_any_thread():
    control = RunControl()
    stopped = threading.Event()
    control.on_stop(stopped.set)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: control.request_stop(Interrupted(str(n))), range(100)))
    assert stopped.is_set()
    assert isinstance(control.stopped, Interrupted)


def test_too_many_failed_rows_stop_the_run_but_not_before_there_are_enough():
    control = RunControl(stop_above=0.05, stop_above_min_rows=200)
    # One request that fails is the fate of all rows that ask the same.
    control.item_failed(Cause.TIMEOUT)
    control.note_rows(0, 199, [Cause.TIMEOUT] * 199)
    assert control.stopped is None
    control.note_rows(0, 1, [Cause.EXPRESSION])
    with pytest.raises(TooManyFailures, match=r"200 of 200 rows failed.*5%.*\(timeout: 199, expression: 1\)"):
        control.check()


def test_exactly_the_allowed_share_is_allowed():
    control = RunControl(stop_above=0.1, stop_above_min_rows=10)
    control.note_rows(90, 10)
    assert control.stopped is None
    control.note_rows(0, 1)
    assert isinstance(control.stopped, TooManyFailures)


@given(st.integers(1, 10_000), st.lists(st.integers(1, 500), max_size=60))
def test_a_budget_in_tokens_is_never_exceeded_when_estimates_hold(budget, requests):
    control = RunControl(budget_tokens=budget)
    spent = 0
    for tokens in requests:
        if spent + tokens > budget:
            with pytest.raises(BudgetSpent, match=f"the budget of {budget:,} tokens is used up: {spent:,} are spent"):
                attempt(control, tokens)
            break
        attempt(control, tokens)
        spent += tokens
    assert control.snapshot()["prompt_tokens"] == spent


def test_a_request_that_may_yet_fit_waits_for_those_under_way():
    control = RunControl(budget_tokens=100)
    first = control.reserve(MODEL, 80)
    assert first is not None
    assert control.reserve(MODEL, 50) is None
    assert control.stopped is None
    control.attempt_began(again=False)
    control.release(first)
    control.attempt_ended("200", model=MODEL, estimate=80, usage=Usage(MODEL, 10), success=True)
    assert control.reserve(MODEL, 50) is not None


def test_a_budget_in_dollars_counts_what_answers_cost():
    control = RunControl(budget_usd=0.02)
    assert attempt(control, 600_000) == pytest.approx(0.012)
    with pytest.raises(BudgetSpent, match=r"the budget of \$0\.02 is used up: \$0\.012 are spent"):
        control.reserve(MODEL, 600_000)


def test_answers_teach_what_completions_add_to_the_estimate():
    control = RunControl(budget_usd=1.0)
    reservation = control.reserve("gpt-4o-mini", 1000)
    assert reservation is not None
    control.attempt_began(again=False)
    control.release(reservation)
    usage = Usage("gpt-4o-mini", 1000, 10_000)
    usd = control.attempt_ended("200", model="gpt-4o-mini", estimate=1000, usage=usage, success=True)
    again = control.reserve("gpt-4o-mini", 2000)
    assert usd is not None
    assert again is not None
    assert again.usd == pytest.approx(2 * usd)


def test_a_budget_in_dollars_needs_a_price():
    control = RunControl(budget_usd=1.0)
    control.require_price(MODEL)
    with pytest.raises(InputError, match="the price of the model 'llama3' is not known"):
        control.require_price("llama3")
    priced = RunControl(budget_usd=1.0, prices={"here": {"llama3": {"input": 1.0}}})
    priced.require_price("llama3", provider="here")
    with pytest.raises(InputError, match="llama3"):
        priced.require_price("llama3", provider="there")
    RunControl(budget_tokens=1).require_price("llama3")


def test_an_unknown_price_is_unknown_never_nothing():
    control = RunControl()
    assert attempt(control, 10) is not None
    assert control.snapshot()["usd"] is not None
    assert attempt(control, 10, model="llama3") is None
    snapshot = control.snapshot()
    assert snapshot["usd"] is None
    assert snapshot["usd_known"] > 0
    assert snapshot["prompt_tokens"] == 20


def test_failed_attempts_that_cost_tokens_are_counted():
    control = RunControl(budget_tokens=100)
    control.attempt_began(again=True)
    control.attempt_ended("unusable_answer", model=MODEL, estimate=50, usage=Usage(MODEL, 40))
    snapshot = control.snapshot()
    assert snapshot["results"] == {"unusable_answer": 1}
    assert (snapshot["prompt_tokens"], snapshot["retried"], snapshot["in_flight"]) == (40, 1, 0)
    with pytest.raises(BudgetSpent):
        control.reserve(MODEL, 61)


def test_a_wait_is_told_while_it_lasts():
    clock = Clock()
    control = RunControl(clock=clock)
    control.waits("rate limited", 10)
    assert control.snapshot()["waiting"] == "rate limited: 10s more"
    clock.now += 11
    assert control.snapshot()["waiting"] is None


def test_no_success_for_too_long_stops_the_run_with_the_causes():
    clock = Clock()
    control = RunControl(stop_after=60, clock=clock)
    clock.now += 1000
    control.watch()
    assert control.stopped is None, "time without work does not count"
    control.work_began()
    attempt(control, 1)
    for _ in range(3):
        attempt(control, 1, result="503")
    clock.now += 59
    control.watch()
    assert control.stopped is None
    clock.now += 2
    control.watch()
    with pytest.raises(NoSuccess, match=r"no request has succeeded for 1m01s \(503: 3\)"):
        control.check()


def test_tasks_of_one_run_share_one_control():
    made: list[RunControl] = []

    def make() -> RunControl:
        made.append(RunControl())
        return made[-1]

    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: id(control_of("run-x", make)), range(100)))
    assert len(found) == len(made) == 1
    assert control_of("run-y", RunControl) is not control_of("run-x", make)
    release("run-x")
    release("run-x")
    assert control_of("run-x", make) is made[-1]
    assert len(made) == 2
    release("run-x")
    release("run-y")


def test_one_model_has_its_own_price_at_each_provider() -> None:
    prices = {"dear": {"m": {"input": 1_000_000.0}}, "cheap": {"m": {"input": 1.0}}}
    control = RunControl(budget_usd=10.0, prices=prices)
    usage = Usage("m", 2)
    costs = [
        control.attempt_ended("200", model="m", estimate=2, usage=usage, success=True, provider=name)
        for name in ("dear", "cheap", "other")
    ]
    assert costs == [2.0, pytest.approx(2e-6), None]
    taught = control.reserve("m", 4, provider="cheap")
    assert taught is not None
    assert taught.usd == pytest.approx(4e-6), "what answers of one provider cost says nothing about the other's"


def test_a_budget_holds_before_the_first_answer_has_come_where_answers_have_a_bound():
    def dear(seen: Seen) -> Reply:
        texts = seen.json["input"]
        usage = {"prompt_tokens": 10, "completion_tokens": 1000}
        return Reply(reply(200, {"data": texts, "model": "gpt-4o-mini", "usage": usage}).data, delay=0.3)

    control = RunControl(budget_usd=0.01)
    work = Echo(model="gpt-4o-mini", answer_tokens=1000)
    items = (Item(number, f"t{number}", 1010) for number in range(200))
    with RawServer(dear) as server:
        job = Job(work, items, Kept(), provider_of(server, limits=Limits(concurrency=64)), control, None)
        with pytest.raises(BudgetSpent):
            engine().run(job)
    assert 0.009 < control.snapshot()["usd"] <= 0.01


def test_what_other_processes_and_a_job_cost_is_gone_from_the_budget():
    control = RunControl(budget_usd=10.0)
    control.gather(Meter(usd=4.0), {})
    assert control.usd_left == 10.0
    control.settle()
    assert control.usd_left == 6.0
    control.spend(5.5)
    assert control.usd_left == 0.5
    control.spend(2.0)
    assert control.usd_left == 0.0
    assert RunControl(budget_tokens=5).usd_left is None
