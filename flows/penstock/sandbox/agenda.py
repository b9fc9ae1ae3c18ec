"""What is to happen at a later time by the server's clock: states of jobs and batches, files that expire.

Each request first runs what is due, so that every answer shows the state of its moment; timers of the event loop run
it when no request comes. Tests give the clock and need not wait.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable, Coroutine
from typing import Any


class Agenda:
    """Actions by time.

    Args:
        clock: seconds since 1970.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._tasks: set[asyncio.Task[None]] = set()

    def now(self) -> float:
        """Seconds since 1970."""
        return self._clock()

    def at(self, when: float, action: Callable[[], None]) -> None:
        """Run `action` at the time `when`, or with the first request after it."""
        heapq.heappush(self._due, (when, next(self._numbers), action))
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        loop.call_later(max(0.0, when - self._clock()) + 0.001, self.run_due)

    def run_due(self) -> None:
        """Run what is due, in the order of time; also what that adds."""
        while self._due and self._due[0][0] <= self._clock():
            heapq.heappop(self._due)[2]()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` beside the requests; must be called inside the event loop."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def settle(self) -> None:
        """Wait for all work that was started (for tests)."""
        while self._tasks:
            await asyncio.gather(*self._tasks)
