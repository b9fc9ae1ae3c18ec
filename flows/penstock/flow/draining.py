"""Let Prefect's background workers send what they still hold, for a bounded time, before the process or server ends.

Without it the last logs and task states are lost, and errors about it reach the terminal. The workers are private
parts of Prefect, and may move: where they are not found, there is nothing to wait for.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any


def drain(limit: float = 5.0) -> bool:
    """Send all logs and events that are still queued; False when that was not done within `limit` seconds.

    In a thread of its own: within a running event loop, as in a notebook, Prefect's workers would answer with a
    coroutine and send nothing.
    """
    with ThreadPoolExecutor(1, "drain") as pool:
        return pool.submit(_drained, limit).result()


def _drained(limit: float) -> bool:
    deadline = time.monotonic() + limit
    is_done = True
    for worker in _workers():
        result = worker.drain_all(timeout=max(0.1, deadline - time.monotonic()))
        if isinstance(result, tuple) and result[1]:
            is_done = False
    return is_done


def abandon() -> None:
    """Give up what is still queued: the API is dead, and the workers would try for minutes while the process ends."""
    for worker in _workers():
        for instance in list(worker._instances.values()):
            with suppress(AttributeError, RuntimeError):
                instance._loop.call_soon_threadsafe(instance._task.cancel)


def _workers() -> list[Any]:
    with suppress(ImportError):
        from prefect.events.worker import EventsWorker
        from prefect.logging.handlers import APILogWorker

        return [APILogWorker, EventsWorker]
    return []
