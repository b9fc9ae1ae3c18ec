"""Walking a plan with threads and nothing else: for tests, debugging, and programs that bring their own scheduler."""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from penstock.execute.segment import run_segment
from penstock.execute.session import Session
from penstock.runs.record import RunRecord


def run_inline(session: Session) -> RunRecord:
    """Run every task of an entered session in its order, then finish it.

    Raises:
        RunStopped: the run ended early and can be resumed.
    """
    waiting = list(session.plan.tasks)
    running: dict[Future[dict[str, Any]], tuple[str, int]] = {}
    left = {(task.segment, task.partition) for task in waiting}
    with ThreadPoolExecutor(session.workers) as pool:
        while waiting or running:
            ready = [task for task in waiting if not left.intersection(task.after)]
            for task in ready[: session.workers - len(running)]:
                waiting.remove(task)
                future = pool.submit(run_segment, str(session.plan_file), task.segment, task.partition)
                running[future] = (task.segment, task.partition)
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                left.discard(running.pop(future))
                future.result()
    record = session.finish()
    session.control.check()
    return record
