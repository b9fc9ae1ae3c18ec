"""Walk a plan: submit its tasks through a bounded window, take what comes back, and end early when told to."""

from __future__ import annotations

import queue
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import BrokenExecutor
from typing import Any

from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture

from penstock.errors import RunStopped, TakenOver
from penstock.flow.contract import RunSession
from penstock.flow.frontier import Bundle, Frontier, Key, key_of
from penstock.flow.runners import given_up, mend
from penstock.flow.tasks import shown, task_for
from penstock.secrets import redact

_LOOK = 0.1
WINDOW_PER_WORKER = 2
MOST_TASKS = 32
"""Of one segment in Prefect, unless that would be too few for the threads. A task costs it some 17 ms, and a thousand
of them in its UI are of no use: so one takes several partitions where there are many."""
_LEAST_PER_WORKER = 8


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
    together = _together(session)
    done: queue.SimpleQueue[tuple[Bundle, PrefectFuture[Any]]] = queue.SimpleQueue()
    submit = _Submission(session, together)
    running = 0
    defect: BaseException | None = None
    window = window or session.workers * (1 if session.processes else WINDOW_PER_WORKER)
    while True:
        while running < window and not session.control.stopped and (bundle := frontier.next(together)):
            running += 1
            submit(bundle).add_done_callback(_put(done, bundle))
        if not running:
            return defect
        try:
            bundle, future = done.get(timeout=_LOOK)
        except queue.Empty:
            continue
        running -= 1
        error = _error_of(future)
        if error is None:
            frontier.finish(bundle)
            submit.finish(bundle)
        elif not session.control.stopped and mend(error):
            frontier.again(bundle)
        else:
            defect = defect or _noted(session, bundle, error)


def _together(session: RunSession) -> dict[str, int]:
    """By segment, how many partitions one task of Prefect takes.

    With worker processes it is one: a worker that was cut off and comes back would go on with partitions of others.
    """
    counts = Counter(task.segment for task in session.plan.tasks)
    most = max(MOST_TASKS, session.workers * _LEAST_PER_WORKER)
    return {segment: 1 if session.processes else -(-count // most) for segment, count in counts.items()}


class _Submission:
    """Submits tasks, each with the futures it came after: that draws the edges of the graph in Prefect's UI."""

    def __init__(self, session: RunSession, together: Mapping[str, int]) -> None:
        self._plan_file = str(session.plan_file)
        self._tasks = {name: task_for(name, many) for name, many in together.items()}
        # A future holds what Prefect knows of its task, so it is kept only for those that come after it.
        self._followers = Counter(before for task in session.plan.tasks for before in task.after)
        self._futures: dict[Key, PrefectFuture[Any]] = {}

    def __call__(self, bundle: Bundle) -> PrefectFuture[Any]:
        inputs = [key for task in bundle for key in task.after if key in self._futures]
        before = list({id(future): future for future in map(self._futures.__getitem__, inputs)}.values())
        numbers = [task.partition for task in bundle]
        submitted = self._tasks[bundle[0].segment].submit(
            self._plan_file, bundle[0].segment, numbers, shown(numbers), wait_for=before or None
        )
        self._futures |= {key: submitted for key in map(key_of, bundle) if self._followers[key]}
        return submitted

    def finish(self, bundle: Bundle) -> None:
        """Let go of the futures that nobody comes after any more."""
        for key in (before for task in bundle for before in task.after):
            self._followers[key] -= 1
            if not self._followers[key]:
                self._futures.pop(key, None)


def _put(done: queue.SimpleQueue[tuple[Bundle, PrefectFuture[Any]]], bundle: Bundle) -> Callable[[Any], None]:
    return lambda future: done.put((bundle, future))


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


def _noted(session: RunSession, bundle: Bundle, error: BaseException) -> BaseException | None:
    """Stop the run; the error itself when it is a defect and not the reason of an early end."""
    if isinstance(error, RunStopped):
        session.control.request_stop(error)
        return None
    segment, numbers = bundle[0].segment, shown([task.partition for task in bundle])
    partitions = f"partition{'s' if len(bundle) > 1 else ''} {numbers}"
    if isinstance(error, (TaskCrashed, TakenOver, BrokenExecutor)):
        cause = redact(str(error)).rstrip(".")
        session.control.request_stop(
            RunStopped(
                f"no worker process finished {partitions} of {segment!r} ({cause}). "
                "What was answered is kept: see what became of the workers, then resume"
            )
        )
        return None
    cause = redact(f"{type(error).__name__}: {error}")
    session.control.request_stop(
        RunStopped(f"the run was ended because {segment!r}, {partitions}, failed with {cause}")
    )
    return error
