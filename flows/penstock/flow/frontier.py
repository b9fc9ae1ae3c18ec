"""Which task may start next: those whose inputs are there, the one farthest along the pipeline first."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence

from penstock.errors import AccountError
from penstock.plan.model import PlannedTask

Key = tuple[str, int]
Bundle = Sequence[PlannedTask]
"""Tasks of one segment that are done one after the other."""


def key_of(task: PlannedTask) -> Key:
    """What names a task within its run: segment and partition."""
    return task.segment, task.partition


class Frontier:
    """The tasks of a plan, handed out once their inputs are done.

    Depth first: a partition that has begun goes on before another one begins. So the limits of all API steps are used
    at the same time, and the first rows arrive at the end early. A task is never handed out before its inputs are
    there, so that none occupies a worker while it waits.

    Args:
        tasks: in an order in which each comes after those it reads. Inputs that are no task of the plan are there.
    """

    def __init__(self, tasks: Sequence[PlannedTask]) -> None:
        self._tasks = {key_of(task): (place, task) for place, task in enumerate(tasks)}
        self._waits: dict[Key, int] = {}
        self._followers: dict[Key, list[Key]] = {}
        self._depth: dict[Key, int] = {}
        self._ready: list[tuple[int, int, Key]] = []
        for task in tasks:
            self._add(task)

    def _add(self, task: PlannedTask) -> None:
        key = key_of(task)
        inputs = [before for before in task.after if before in self._tasks]
        if any(before not in self._depth for before in inputs):
            raise AccountError(f"the plan has {key} before a task that it reads")
        self._depth[key] = 1 + max((self._depth[before] for before in inputs), default=0)
        self._waits[key] = len(inputs)
        for before in inputs:
            self._followers.setdefault(before, []).append(key)
        if not inputs:
            self._push(key)

    def _push(self, key: Key) -> None:
        heapq.heappush(self._ready, (-self._depth[key], self._tasks[key][0], key))

    def next(self, most: Mapping[str, int]) -> Bundle:
        """Tasks of one segment that may start now, to be done one after the other; none when all that are left wait.

        Args:
            most: by segment, how many of its tasks; one where it says nothing.
        """
        found: list[PlannedTask] = []
        others: list[tuple[int, int, Key]] = []
        while self._ready and (not found or len(found) < most.get(found[0].segment, 1)):
            entry = heapq.heappop(self._ready)
            task = self._tasks[entry[2]][1]
            if not found or task.segment == found[0].segment:
                found.append(task)
            else:
                # Branches are as far as each other and stand in turn, so that their limits are used at the same time.
                others.append(entry)
        for entry in others:
            heapq.heappush(self._ready, entry)
        return found

    def again(self, bundle: Bundle) -> None:
        """Hand tasks out a second time: their worker died."""
        for task in bundle:
            self._push(key_of(task))

    def finish(self, bundle: Bundle) -> None:
        """Say that tasks are done, and so set free those that wait for them."""
        for task in bundle:
            for follower in self._followers.pop(key_of(task), ()):
                self._waits[follower] -= 1
                if not self._waits[follower]:
                    self._push(follower)
