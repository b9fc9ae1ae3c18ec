"""Let Prefect's background workers send what they still hold, for a bounded time, before the process or server ends.

Without it the last logs and task states are lost, and errors about it reach the terminal.
"""

from __future__ import annotations

import time
from contextlib import suppress


def drain(limit: float = 5.0) -> bool:
    """Send all logs and events that are still queued; False when that was not done within `limit` seconds.

    The workers are private parts of Prefect, and their classes may move: then there is nothing to wait for.
    """
    deadline = time.monotonic() + limit
    is_done = True
    with suppress(ImportError, AttributeError):
        from prefect.events.worker import EventsWorker
        from prefect.logging.handlers import APILogWorker

        # Logs first: the events worker ends faster, and both are asked to stop at the same time anyway.
        for worker in (APILogWorker, EventsWorker):
            result = worker.drain_all(timeout=max(0.1, deadline - time.monotonic()))
            if isinstance(result, tuple) and result[1]:
                is_done = False
    return is_done
