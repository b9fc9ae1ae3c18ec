"""What the engine's loop hands to a job's thread, without anything being lost between them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

T = TypeVar("T")


class Outbox(Generic[T]):
    """Outcomes in the order in which they came; one stays until it is `taken`.

    An exception may arise in the job's thread at any moment (Ctrl-C), and what a queue had just given would be lost
    with it: answers that are paid.
    """

    def __init__(self) -> None:
        self._outcomes: deque[T] = deque()
        self._told: SimpleQueue[None] = SimpleQueue()

    def put(self, outcomes: Iterable[T]) -> None:
        """Hand over what came home together; from the loop."""
        self._outcomes.extend(outcomes)
        # Behind the outcomes: whoever is told, or misses it, finds them when it looks before it waits.
        self._told.put(None)

    def first(self, *, wait: bool = True) -> T:
        """The first that is not taken yet; from the job's thread.

        Raises:
            Empty: there is none, and it is not to be waited for.
        """
        while not self._outcomes:
            if not wait and self._told.empty():
                raise Empty
            self._told.get()
        return self._outcomes[0]

    def taken(self) -> None:
        """The first is where it belongs."""
        self._outcomes.popleft()
