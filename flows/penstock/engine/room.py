"""Memory for answers: how many bytes may be on their way or waiting for their sink at a time, over all jobs."""

from __future__ import annotations

import asyncio
from collections import deque

MOST_BYTES = 24 << 20
"""Of expected response bodies. A body is held about three times while it is received, decoded and stored."""


class Room:
    """First come, first served; an answer larger than all of it is let in alone. Belongs to the engine's loop."""

    def __init__(self, most: int = MOST_BYTES) -> None:
        self._most = most
        self._taken = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def enter(self, size: int) -> None:
        """Wait until `size` bytes fit in."""
        if not self._waiting and self._fits(size):
            self._taken += size
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            await turn
        except asyncio.CancelledError:
            # Also when it waited still: those behind it may be small enough to go on.
            self.leave(size if turn.done() and not turn.cancelled() else 0)
            raise

    def leave(self, size: int) -> None:
        """These bytes are stored, or will not come."""
        self._taken -= size
        while self._waiting:
            wanted, turn = self._waiting[0]
            if turn.cancelled():
                self._waiting.popleft()
            elif self._fits(wanted):
                self._waiting.popleft()
                self._taken += wanted
                turn.set_result(None)
            else:
                return

    @property
    def taken(self) -> int:
        """Bytes that were let in and have not left."""
        return self._taken

    def _fits(self, size: int) -> bool:
        return self._taken == 0 or self._taken + size <= self._most


class Share:
    """What one job has of the room. Closed, it gives back whatever is left in it, so that no ending of a job leaks."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._taken = 0
        self._is_closed = False

    async def enter(self, size: int) -> None:
        """See `Room.enter`."""
        await self._room.enter(size)
        if self._is_closed:
            self._room.leave(size)
        else:
            self._taken += size

    def leave(self, size: int) -> None:
        """See `Room.leave`; nothing any more once the share is closed."""
        if not self._is_closed:
            self._taken -= size
            self._room.leave(size)

    def close(self) -> None:
        """The job is over, and nobody waits for its answers."""
        self.leave(self._taken)
        self._is_closed = True
