"""Walk a plan: submit its tasks through a bounded window, take what comes back, and end early when told to."""

from __future__ import annotations

import queue
from collections.abc import Callable
from concurrent.futures import BrokenExecutor
from typing import Any

from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture

from penstock.errors import RunStopped, TakenOver
from penstock.flow.contract import RunSession
from penstock.flow.frontier import Frontier, Key, key_of
from penstock.flow.runners import given_up, mend
from penstock.flow.tasks import task_for
from penstock.plan.model import PlannedTask
from penstock.secrets import redact

_LOOK = 0.1
WINDOW_PER_WORKER = 2


class TaskCrashed(RuntimeError):
    """A task ended without leaving its exception: its worker died."""


def walk(session: RunSession, window: int | None = None) -> BaseException | None:
    """Run the tasks of the session's plan inside the current flow run.

    Args:
        session: the run.
        window: tasks that are submitted at a time; twice as many as workers if left out, so that none waits for work,
            and with worker processes as many as they take. Prefect itself has no bound, and a short queue keeps memory
            flat and the stop quick.

    Returns:
        The first exception of a task that is no `RunStopped`: a defect of ours or of the user's own code. The reason
        of an early end, and that worker processes were lost, stands in ``session.control.stopped``.
    """
    frontier = Frontier(session.plan.tasks)
    done: queue.SimpleQueue[tuple[Key, PrefectFuture[Any]]] = queue.SimpleQueue()
    submit = _Submission(session)
    running: set[Key] = set()
    defect: BaseException | None = None
    window = window or session.workers * (1 if session.processes else WINDOW_PER_WORKER)
    while True:
        while len(running) < window and not session.control.stopped and (task := frontier.next()):
            key = key_of(task)
            running.add(key)
            submit(task).add_done_callback(_put(done, key))
        if not running:
            return defect
        try:
            key, future = done.get(timeout=_LOOK)
        except queue.Empty:
            continue
        running.discard(key)
        error = _error_of(future)
        if error is None:
            frontier.finish(key)
        elif not session.control.stopped and mend(error):
            frontier.again(key)
        else:
            defect = defect or _noted(session, key, error)


class _Submission:
    """Submits tasks, each with the futures it came after: that draws the edges of the graph in Prefect's UI."""

    def __init__(self, session: RunSession) -> None:
        self._plan_file = str(session.plan_file)
        self._tasks = {name: task_for(name) for name in {task.segment for task in session.plan.tasks}}
        self._futures: dict[Key, PrefectFuture[Any]] = {}

    def __call__(self, task: PlannedTask) -> PrefectFuture[Any]:
        before = [self._futures[key] for key in task.after if key in self._futures]
        submitted = self._tasks[task.segment].submit(
            self._plan_file, task.segment, task.partition, wait_for=before or None
        )
        self._futures[key_of(task)] = submitted
        return submitted


def _put(done: queue.SimpleQueue[tuple[Key, PrefectFuture[Any]]], key: Key) -> Callable[[PrefectFuture[Any]], None]:
    return lambda future: done.put((key, future))


def _error_of(future: PrefectFuture[Any]) -> BaseException | None:
    try:
        future.wait()
    except BrokenExecutor as error:
        return error
    if why := given_up(future):
        return TaskCrashed(why)
    state: State[Any] = future.state
    if state.is_completed():
        return None
    result = state.result(raise_on_failure=False)
    if state.is_crashed() and type(result).__module__.partition(".")[0] == "ray":
        # Ray's own exceptions come as the state's; they tell of its workers and nodes, and take many lines for it.
        return TaskCrashed(str(result).strip().partition(".")[0])
    return result if isinstance(result, BaseException) else TaskCrashed(state.message or f"it ended {state.name}")


def _noted(session: RunSession, key: Key, error: BaseException) -> BaseException | None:
    """Stop the run; the error itself when it is a defect and not the reason of an early end."""
    if isinstance(error, RunStopped):
        session.control.request_stop(error)
        return None
    segment, partition = key
    if isinstance(error, (TaskCrashed, TakenOver, BrokenExecutor)):
        cause = redact(str(error)).rstrip(".")
        session.control.request_stop(
            RunStopped(
                f"partition {partition} of {segment!r} was given up, for no worker process finished it ({cause}). "
                "What was answered is kept: see what became of the workers, then resume"
            )
        )
        return None
    cause = redact(f"{type(error).__name__}: {error}")
    session.control.request_stop(
        RunStopped(f"the run was ended because {segment!r}, partition {partition}, failed with {cause}")
    )
    return error
