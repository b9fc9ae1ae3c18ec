"""What several processes of one run keep to together, with the processes played by controls of this one."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.engine.control import RunControl
from penstock.engine.worker_control import WorkerControl
from penstock.errors import BudgetSpent, Interrupted, TooManyFailures
from penstock.execute import working
from penstock.execute.conducting import Conductor
from penstock.execute.orders import Orders, read_orders, write_orders, write_report
from penstock.execute.working import Reporter
from penstock.items import Cause, Usage
from penstock.spec.budget import Budget

MODEL = "text-embedding-3-small"


class Played:
    """A worker process with a budget of tokens, which looks at its orders and reports when it is told to."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.control = WorkerControl(name, limited_usd=False, limited_tokens=True, stop_after=900.0, prices={})
        self.spent = 0

    def hear(self) -> None:
        orders = read_orders(self.folder)
        assert orders is not None
        self.control.allot(orders.usd.get(self.control.worker, 0.0), orders.tokens.get(self.control.worker, 0))
        if orders.reason is not None:
            self.control.request_stop(orders.reason)

    def tell(self) -> None:
        write_report(self.folder, self.control.report())

    def ask(self, estimate: int, actual: int) -> bool:
        reservation = self.control.reserve(MODEL, estimate)
        if reservation is None:
            return False
        self.control.attempt_began(again=False)
        self.control.attempt_ended("200", model=MODEL, estimate=estimate, usage=Usage(MODEL, actual), success=True)
        self.control.release(reservation)
        self.spent += actual
        return True


@given(
    whole=st.integers(10, 5_000),
    loads=st.lists(st.lists(st.integers(1, 60), max_size=40), min_size=1, max_size=4),
)
def test_a_budget_holds_over_all_processes_and_none_of_it_is_left_lying_while_somebody_wants_it(
    tmp_path_factory: pytest.TempPathFactory, whole: int, loads: list[list[int]]
) -> None:
    folder = tmp_path_factory.mktemp("workers")
    control = RunControl(budget_tokens=whole)
    conductor = Conductor(folder, control, Budget(tokens=whole), len(loads))
    played = [Played(folder, f"worker-{place}") for place in range(len(loads))]
    left = [list(load) for load in loads]
    for one in played:
        one.control.work_began()
    for _ in range(1_000):
        if control.stopped or not any(left):
            break
        for one, work in zip(played, left, strict=True):
            one.hear()
            while work and not one.control.stopped and one.ask(work[0], work[0]):
                work.pop(0)
            if not work and one.control._working:
                one.control.work_ended()
            one.tell()
        conductor.look()
    spent = sum(one.spent for one in played)
    assert spent <= whole
    assert control.snapshot()["prompt_tokens"] == spent
    if control.stopped is None:
        assert spent == sum(map(sum, loads))
    else:
        assert isinstance(control.stopped, BudgetSpent)
        assert f"{whole:,} tokens" in str(control.stopped)
        assert min(work[0] for work in left if work) + spent > whole - sum(
            one.control._budget.free[1] for one in played
        )


def test_what_a_silent_process_was_allotted_counts_as_spent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    control = RunControl(budget_tokens=100)
    conductor = Conductor(tmp_path, control, Budget(tokens=100), 2)
    dead, alive = Played(tmp_path, "dead"), Played(tmp_path, "alive")
    for one in (dead, alive):
        one.control.work_began()
    assert not dead.ask(50, 50)
    dead.tell()
    conductor.look()
    monkeypatch.setattr("penstock.execute.conducting._SILENT_SECONDS", 0.05)
    time.sleep(0.1)
    assert not alive.ask(60, 60)
    alive.tell()
    conductor.look()
    assert isinstance(control.stopped, BudgetSpent)


def test_rows_that_fail_in_any_process_count_against_the_share_that_may(tmp_path: Path) -> None:
    control = RunControl(stop_above=0.1)
    conductor = Conductor(tmp_path, control, None, 2)
    for name in ("one", "two"):
        played = Played(tmp_path, name)
        played.control.note_rows(done=80, failed=20, causes=[Cause.TIMEOUT] * 20)
        assert played.control.stopped is None
        played.tell()
        conductor.look()
    assert isinstance(control.stopped, TooManyFailures)
    assert "40 of 200 rows failed" in str(control.stopped)
    assert (control.snapshot()["rows_done"], control.snapshot()["rows_failed"]) == (160, 40)


def test_a_stop_of_the_run_reaches_every_process_within_a_second_with_its_reason(tmp_path: Path) -> None:
    control = RunControl()
    conductor = Conductor(tmp_path, control, None, 1)
    conductor.start()
    played = Played(tmp_path, "worker")
    reporter = Reporter(tmp_path, played.control)
    reporter.start()
    control.request_stop(Interrupted("the run was interrupted by Ctrl-C"))
    began = time.monotonic()
    while played.control.stopped is None and time.monotonic() - began < 5:
        time.sleep(0.01)
    assert time.monotonic() - began < 2
    assert isinstance(played.control.stopped, Interrupted)
    assert "Ctrl-C" in str(played.control.stopped)
    reporter.join(5)
    conductor.end()
    assert not reporter.is_alive()


def test_a_process_whose_run_has_nobody_left_who_conducts_it_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(working, "_SILENCE_SECONDS", 0.3)
    write_orders(tmp_path, Orders(1))
    played = Played(tmp_path, "worker")
    reporter = Reporter(tmp_path, played.control)
    reporter.start()
    reporter.join(5)
    assert isinstance(played.control.stopped, Interrupted)
    assert "no word" in str(played.control.stopped)


def test_more_processes_than_the_limits_were_divided_by_are_told_of(tmp_path: Path) -> None:
    control = RunControl()
    conductor = Conductor(tmp_path, control, None, 1)
    for name in ("one", "two"):
        played = Played(tmp_path, name)
        played.control.work_began()
        played.tell()
    conductor.look()
    assert control.notes == [
        "2 worker processes took part and `runner.workers` says 1: together they may have gone over the provider's "
        "limits"
    ]


def test_a_run_tells_that_the_last_second_of_a_worker_that_died_is_not_in_its_usage(tmp_path: Path) -> None:
    control = RunControl()
    conductor = Conductor(tmp_path, control, None, 2)
    dead, alive = Played(tmp_path, "dead"), Played(tmp_path, "alive")
    for one in (dead, alive):
        one.control.work_began()
        one.tell()
    alive.control.work_ended()
    alive.tell()
    conductor.end()
    (note,) = control.notes
    assert note.startswith("1 of the worker processes died at work")


def test_a_run_that_was_stopped_takes_no_worker_for_dead(tmp_path: Path) -> None:
    control = RunControl()
    conductor = Conductor(tmp_path, control, None, 1)
    busy = Played(tmp_path, "busy")
    busy.control.work_began()
    busy.tell()
    control.request_stop(Interrupted("the run was interrupted by Ctrl-C"))
    conductor.end()
    assert not control.notes
