from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest

from penstock.errors import AccountError, BudgetSpent, Interrupted
from penstock.flow.connection import Connection
from penstock.flow.rest import call

pytestmark = pytest.mark.prefect


def run(session: Any, connection: Connection, **more: Any) -> Any:
    from penstock.flow.run import execute

    return execute(session, connection, **more)


def flow_run(connection: Connection, session: Any) -> dict[str, Any]:
    return call(connection.api, "GET", f"/flow_runs/{session.flow_run_id}", timeout=30, patience=30).body


def task_runs(connection: Connection, session: Any, *, number: int | None = None) -> list[dict[str, Any]]:
    """What Prefect has of the tasks, once it has it all: it records them from events, some time after the run."""
    wanted = {"flow_runs": {"id": {"any_": [session.flow_run_id]}}}
    number = len(session.plan.tasks) if number is None else number
    deadline = time.monotonic() + 20
    while True:
        found: list[dict[str, Any]] = call(
            connection.api, "POST", "/task_runs/filter", wanted, timeout=30, patience=30
        ).body
        ended = [task for task in found if task["state_type"] in {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}]
        if len(ended) >= number or time.monotonic() > deadline:
            return found
        time.sleep(0.1)


def test_a_run_ends_completed_and_prefect_knows_each_of_its_tasks(stand_in, connection):
    session, recorder = stand_in(lambda *_: {"rows": 1}, params={"since": "2026-01-01"})
    outcome = run(session, connection)
    assert (outcome.state, outcome.stopped, outcome.warning) == ("Completed", None, "")
    assert session.finished == 1
    assert (
        outcome.message == "10 rows: 8 written, 1 filtered, 1 failed (see penstock errors run-1); 3 requests, unknown"
    )
    assert sorted(recorder.calls) == sorted((task.segment, task.partition) for task in session.plan.tasks)
    seen = flow_run(connection, session)
    assert (seen["state_name"], seen["name"]) == ("Completed", session.run_id)
    assert seen["parameters"] == {"since": "2026-01-01"}
    assert seen["labels"]["penstock.run"] == session.run_id
    tasks = task_runs(connection, session)
    assert {task["name"] for task in tasks} == {f"{name}[{index}]" for name in ("embed", "copy") for index in range(4)}
    assert {task["state_type"] for task in tasks} == {"COMPLETED"}
    assert {task["run_count"] for task in tasks} == {1}
    assert not any(task["tags"] for task in tasks)


def test_the_graph_in_prefect_has_an_edge_from_each_part_to_the_one_made_of_it(stand_in, connection):
    session, _ = stand_in(lambda *_: None, partitions=2)
    run(session, connection)
    tasks = {task["name"]: task for task in task_runs(connection, session)}
    edges = tasks["copy[1]"]["task_inputs"]["wait_for"]
    assert [edge["id"] for edge in edges] == [tasks["embed[1]"]["id"]]


def test_no_task_starts_before_those_it_reads_have_ended(stand_in, connection):
    session, recorder = stand_in(lambda *_: time.sleep(0.01), partitions=6, segments=("a", "b", "c"))
    run(session, connection)
    for task in session.plan.tasks:
        for before in task.after:
            assert recorder.ended[before] <= recorder.began[task.segment, task.partition]


def test_one_partition_goes_on_while_another_is_still_in_the_first_segment(stand_in, connection):
    slow = threading.Event()

    def work(segment: str, partition: int) -> None:
        if (segment, partition) == ("embed", 0):
            assert slow.wait(20)
        if segment == "copy":
            slow.set()

    session, recorder = stand_in(work)
    assert run(session, connection).state == "Completed"
    assert min(recorder.ended[key] for key in recorder.ended if key[0] == "copy") < recorder.ended["embed", 0]


def test_at_most_twice_as_many_tasks_as_workers_are_submitted(stand_in, connection, monkeypatch):
    from penstock.flow import walk

    open_now: set[Any] = set()
    most = 0
    submit = walk._Submission.__call__

    def counted(self: Any, bundle: Any) -> Any:
        nonlocal most
        open_now.update((task.segment, task.partition) for task in bundle)
        most = max(most, len(open_now))
        return submit(self, bundle)

    monkeypatch.setattr(walk._Submission, "__call__", counted)
    session, _ = stand_in(lambda segment, partition: open_now.discard((segment, partition)), partitions=20)
    run(session, connection)
    assert 2 < most <= 2 * session.workers


def test_a_task_of_prefect_takes_several_partitions_where_there_are_many(stand_in, connection):
    session, recorder = stand_in(lambda *_: None, partitions=100)
    assert run(session, connection).state == "Completed"
    assert sorted(recorder.calls) == sorted((task.segment, task.partition) for task in session.plan.tasks)
    tasks = {task["name"]: task for task in task_runs(connection, session, number=50)}
    wanted = {f"{first}-{first + 3}" for first in range(0, 100, 4)}
    assert {name for name in tasks if name.startswith("embed")} == {f"embed[{shown}]" for shown in wanted}
    edges = {name: {edge["id"] for edge in task["task_inputs"]["wait_for"]} for name, task in tasks.items()
             if name.startswith("copy")}  # fmt: skip
    assert edges["copy[96-99]"] == {tasks["embed[96-99]"]["id"]}
    assert len(set.union(*edges.values())) == len(wanted)


def test_what_fails_among_several_partitions_of_a_task_is_told_with_their_numbers(stand_in, connection):
    def work(segment: str, partition: int) -> None:
        if partition == 38:
            raise ValueError("odd")

    session, recorder = stand_in(work, partitions=64, segments=("embed",))
    with pytest.raises(ValueError, match="odd"):
        run(session, connection)
    assert "partitions 38-39, failed with ValueError: odd" in str(session.control.stopped)
    assert ("embed", 39) not in recorder.calls


def test_each_of_several_partitions_of_a_task_may_meet_a_breakdown(stand_in, connection):
    broken: list[int] = []

    def work(segment: str, partition: int) -> None:
        if partition in {10, 11} and partition not in broken:
            broken.append(partition)
            raise TimeoutError(110, "the disk did not answer")

    session, recorder = stand_in(work, partitions=64, segments=("embed",))
    assert run(session, connection).state == "Completed"
    assert broken == [10, 11]
    assert [partition for _, partition in recorder.calls if partition in {10, 11}] == [10, 10, 11, 10, 11]


def test_worker_processes_get_one_partition_a_task(stand_in):
    from penstock.flow.walk import _together

    session, _ = stand_in(lambda *_: None, partitions=100)
    session.processes = 2
    assert _together(session) == {"embed": 1, "copy": 1}


def test_tasks_work_in_as_many_threads_as_the_session_has_workers(stand_in, connection):
    threads: set[int] = set()

    def work(segment: str, partition: int) -> None:
        threads.add(threading.get_ident())
        time.sleep(0.02)

    session, _ = stand_in(work, partitions=12)
    run(session, connection)
    assert len(threads) == session.workers


def test_ctrl_c_ends_the_run_within_five_seconds_as_cancelled(stand_in, connection):
    began: list[float] = []

    def work(segment: str, partition: int) -> None:
        if not began:
            began.append(time.monotonic())
            os.kill(os.getpid(), signal.SIGINT)
        wait_for_stop(session)

    session, recorder = stand_in(work, partitions=10)
    outcome = run(session, connection)
    assert time.monotonic() - began[0] < 6
    assert outcome.state == "Cancelled"
    assert isinstance(outcome.stopped, Interrupted)
    assert "Ctrl-C" in outcome.message
    assert session.finished == 1
    assert len(recorder.calls) <= 2 * session.workers
    assert flow_run(connection, session)["state_type"] == "CANCELLED"
    assert {task["state_type"] for task in task_runs(connection, session, number=len(recorder.calls))} == {"CANCELLED"}


def test_the_signal_handlers_of_before_are_put_back(stand_in, connection):
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    session, _ = stand_in(lambda *_: None)
    run(session, connection)
    assert {number: signal.getsignal(number) for number in before} == before


def wait_for_stop(session: Any) -> None:
    for _ in range(600):
        session.control.check()
        time.sleep(0.05)


def test_cancelling_in_prefect_ends_the_run_as_cancelled(stand_in, connection):
    def work(segment: str, partition: int) -> None:
        if partition == 0:
            state = {"type": "CANCELLING", "name": "Cancelling"}
            call(
                connection.api,
                "POST",
                f"/flow_runs/{session.flow_run_id}/set_state",
                {"state": state},
                timeout=30,
                patience=30,
            )
        wait_for_stop(session)

    session, _ = stand_in(work)
    began = time.monotonic()
    outcome = run(session, connection)
    assert time.monotonic() - began < 6
    assert outcome.state == "Cancelled"
    assert "cancelled in Prefect" in outcome.message
    assert flow_run(connection, session)["state_type"] == "CANCELLED"


def test_a_run_that_somebody_put_into_an_end_state_by_force_ends_too(stand_in, connection):
    def work(segment: str, partition: int) -> None:
        if partition == 0:
            state = {"state": {"type": "CANCELLED", "name": "Cancelled"}, "force": True}
            call(connection.api, "POST", f"/flow_runs/{session.flow_run_id}/set_state", state, timeout=30, patience=30)
        wait_for_stop(session)

    session, _ = stand_in(work)
    outcome = run(session, connection)
    assert (outcome.state, outcome.warning) == ("Cancelled", "")
    assert flow_run(connection, session)["state_type"] == "CANCELLED"


def test_a_spent_budget_ends_the_run_as_failed_and_says_that_it_can_be_resumed(stand_in, connection):
    def work(segment: str, partition: int) -> None:
        session.control.request_stop(BudgetSpent("the budget of $1 is used up"))
        session.control.check()

    session, recorder = stand_in(work, partitions=10)
    outcome = run(session, connection)
    assert outcome.state == "Failed"
    assert isinstance(outcome.stopped, BudgetSpent)
    assert f"penstock resume {session.run_id}" in outcome.message
    assert session.finished == 1
    assert len(recorder.calls) <= 2 * session.workers
    assert flow_run(connection, session)["state"]["message"] == outcome.message


def test_a_stop_that_only_the_task_knows_of_reaches_the_whole_run(stand_in, connection):
    """As it is with workers elsewhere, whose stop flag is not this process's."""

    def work(segment: str, partition: int) -> None:
        raise BudgetSpent("the budget is used up")

    session, _ = stand_in(work, partitions=10)
    assert isinstance(run(session, connection).stopped, BudgetSpent)


def test_a_defect_ends_the_run_with_its_own_exception_after_one_attempt(stand_in, connection):
    def work(segment: str, partition: int) -> None:
        raise ZeroDivisionError("no rows and sk-secretsecretsecret")

    session, recorder = stand_in(work, partitions=10)
    with pytest.raises(ZeroDivisionError):
        run(session, connection)
    assert len(recorder.calls) == len(set(recorder.calls)) <= 2 * session.workers
    seen = flow_run(connection, session)
    assert seen["state_type"] == "FAILED"
    assert "ZeroDivisionError" in seen["state"]["message"]
    assert "secretsecret" not in seen["state"]["message"]


def test_a_task_whose_worker_broke_down_is_tried_once_more(stand_in, connection):
    broken = {("embed", 1)}

    def work(segment: str, partition: int) -> None:
        if (segment, partition) in broken:
            broken.discard((segment, partition))
            raise ConnectionResetError("the worker went away")

    session, recorder = stand_in(work)
    assert run(session, connection).state == "Completed"
    assert recorder.calls.count(("embed", 1)) == 2


def test_an_account_that_does_not_add_up_is_raised_and_the_flow_run_is_failed(stand_in, connection, monkeypatch):
    def finish(self: Any) -> None:
        raise AccountError("10 rows came in and 9 went out")

    session, _ = stand_in(lambda *_: None)
    monkeypatch.setattr(type(session), "finish", finish)
    with pytest.raises(AccountError, match="10 rows came in"):
        run(session, connection)
    assert flow_run(connection, session)["state_type"] == "FAILED"


def test_the_run_record_names_the_flow_run_before_the_first_task(stand_in, connection):
    known: list[str] = []
    session, _ = stand_in(lambda *_: known.append(session.flow_run_id) and None)
    run(session, connection)
    assert set(known) == {session.flow_run_id} != {""}


def test_flow_runs_of_dead_processes_are_marked_as_crashed_by_the_next_run(stand_in, connection):
    from penstock.flow.flow_runs import create_flow_run

    dead = create_flow_run(connection.api, "stand-in", name="dead", parameters={}, tags=[], labels={})["id"]
    call(
        connection.api, "POST", f"/flow_runs/{dead}/set_state", {"state": {"type": "RUNNING"}}, timeout=30, patience=30
    )
    session, _ = stand_in(lambda *_: None)
    session.crashed = [SimpleNamespace(flow_run_id=dead), SimpleNamespace(flow_run_id=None)]
    run(session, connection)
    assert call(connection.api, "GET", f"/flow_runs/{dead}", timeout=30, patience=30).body["state_type"] == "CRASHED"


def test_progress_is_told_in_the_calling_thread(stand_in, connection):
    threads: set[int] = set()
    session, _ = stand_in(lambda *_: time.sleep(0.2), partitions=2)
    run(session, connection, on_tick=lambda: threads.add(threading.get_ident()))
    assert threads == {threading.get_ident()}


def test_a_run_within_an_event_loop_sends_all_it_has_to_prefect_too(stand_in, connection):
    """As in a notebook. A worker of Prefect that was not waited for leaves a coroutine, which is a warning here."""
    session, recorder = stand_in(lambda *_: None, partitions=3)

    async def main() -> Any:
        ended = run(session, connection)
        gc.collect()
        return ended

    ended = asyncio.run(main())
    assert (ended.state, ended.warning) == ("Completed", "")
    assert len(recorder.calls) > 0


def test_an_exception_of_the_caller_stops_the_tasks_before_it_goes_on(stand_in, connection):
    session, recorder = stand_in(lambda *_: session.control.stopped or time.sleep(0.2), partitions=40)
    # Tests of a lost server leave flows behind that Prefect holds for minutes.
    before = set(threading.enumerate())

    def flows() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name == "flow" and thread not in before]

    def tick() -> None:
        if len(recorder.calls) > 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(session, connection, on_tick=tick)
    assert isinstance(session.control.stopped, Interrupted)
    assert len(recorder.calls) < 12
    # Prefect may take longer than the tasks to write the run's end.
    deadline = time.monotonic() + 20
    while flows() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not flows()
    assert len(recorder.calls) < 12


def test_a_plan_without_tasks_is_finished_at_once(stand_in, connection):
    session, recorder = stand_in(lambda *_: None, partitions=0)
    assert run(session, connection).state == "Completed"
    assert (recorder.calls, session.finished) == ([], 1)


def test_tasks_that_do_not_stop_are_left_behind_when_the_process_may_end(stand_in, connection):
    release = threading.Event()
    said: list[str] = []

    class Left(BaseException):
        pass

    def leave(message: str) -> Any:
        said.append(message)
        raise Left

    asked: list[float] = []

    def work(*_: object) -> None:
        asked.append(time.monotonic())
        session.control.request_stop(Interrupted("the run was interrupted by Ctrl-C"))
        release.wait(30)

    session, _ = stand_in(work, partitions=2)
    with pytest.raises(Left):
        run(session, connection, leave=leave)
    assert time.monotonic() - asked[0] < 6
    assert flow_run(connection, session)["state_type"] == "CANCELLED"
    assert "penstock resume" in said[0]
    assert session.finished == 1
    release.set()
    for thread in threading.enumerate():
        if thread.name == "flow":
            thread.join(10)
