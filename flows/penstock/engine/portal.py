"""One event loop in a daemon thread per process, and the way into it from any thread.

An HTTP client belongs to the loop it was made in, and Prefect runs tasks in whatever threads it likes; so all requests
of a process go through this loop.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")

_CLOSING_SECONDS = 5.0
_SWITCH_SECONDS = 0.0005


class Portal:
    """An event loop in a thread of its own.

    Attributes:
        loop: only for `call_soon_threadsafe` from outside; everything else goes through `run` and `submit`.
    """

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._closers: list[Callable[[], Awaitable[None]]] = []
        self._thread = threading.Thread(target=self._serve, name="penstock-engine", daemon=True)
        self._thread.start()

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Start `work` in the loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` in the loop and wait for its result; never from the loop's own thread."""
        if threading.current_thread() is self._thread:
            work.close()
            raise RuntimeError("Portal.run would wait for itself: await the coroutine instead")
        return self.submit(work).result()

    def at_close(self, closer: Callable[[], Awaitable[None]]) -> None:
        """Await `closer()` in the loop before it ends."""
        self._closers.append(closer)

    @property
    def alive(self) -> bool:
        """Whether the loop still takes work."""
        return self._thread.is_alive() and not self.loop.is_closed()

    def close(self) -> None:
        """Run the closers, cancel what is left, end the loop and its thread. Twice does no harm."""
        if not self.alive:
            return
        ending = self.submit(self._end())
        try:
            ending.result(_CLOSING_SECONDS)
        except TimeoutError:
            ending.cancel()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(_CLOSING_SECONDS)

    def _serve(self) -> None:
        # For the whole process: at the 5 ms of the interpreter a partition at work could hold up all answers.
        sys.setswitchinterval(_SWITCH_SECONDS)
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        finally:
            self.loop.close()

    async def _end(self) -> None:
        own = asyncio.current_task()
        left = [task for task in asyncio.all_tasks() if task is not own]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        for closer in reversed(self._closers):
            await closer()


_lock = threading.Lock()
_portal: Portal | None = None


def portal() -> Portal:
    """The portal of this process, started at the first call and closed when the interpreter ends."""
    global _portal  # noqa: PLW0603  # one loop per process is the point
    with _lock:
        if _portal is None or not _portal.alive:
            _portal = Portal()
            atexit.register(_portal.close)
        return _portal


def _forget() -> None:
    # After a fork only the forking thread lives on: the loop, its thread and the lock belong to the parent.
    global _portal, _lock  # noqa: PLW0603
    _portal = None
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
