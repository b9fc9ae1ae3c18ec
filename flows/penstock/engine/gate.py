"""Where requests wait for the limits of their group: first come, first served, in the engine's loop."""

from __future__ import annotations

import asyncio
import math
from collections import deque

from penstock.engine.limits import Admission, Limiter


class Gate:
    """A queue in front of a `Limiter`. All methods belong to the engine's loop."""

    def __init__(self, limiter: Limiter) -> None:
        self.limiter = limiter
        self._waiting: deque[tuple[asyncio.Future[Admission], int]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    async def enter(self, tokens: int) -> Admission:
        """Wait for leave to send a request of `tokens`; it must be given to `leave` afterwards."""
        if not self._waiting:
            leave = self.limiter.admit(tokens)
            if isinstance(leave, Admission):
                return leave
        future: asyncio.Future[Admission] = asyncio.get_running_loop().create_future()
        self._waiting.append((future, tokens))
        self.pump()
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self.leave(future.result(), sent=False)
            else:
                future.cancel()
                self.pump()
            raise

    def leave(self, admission: Admission, actual_tokens: int | None = None, *, sent: bool = True) -> None:
        """The request is over; see `Limiter.ended`."""
        self.limiter.ended(admission, actual_tokens, sent=sent)
        if self._waiting:
            self.pump()

    def pump(self) -> None:
        """Let in who may go; called whenever the limits may have changed."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting:
            future, tokens = self._waiting[0]
            if future.done():
                self._waiting.popleft()
                continue
            leave = self.limiter.admit(tokens)
            if isinstance(leave, Admission):
                self._waiting.popleft()
                future.set_result(leave)
                continue
            if leave != math.inf:
                self._timer = asyncio.get_running_loop().call_later(leave, self.pump)
            return
