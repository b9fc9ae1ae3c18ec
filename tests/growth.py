"""How work grows with what it is given: a ratio of two measurements of one run, which no busy machine changes much."""

from __future__ import annotations

import time
from collections.abc import Callable


def growth(small: Callable[[], object], large: Callable[[], object]) -> float:
    """How many times the CPU-seconds of `small` those of `large` are; the least of three tries each, by turns."""
    tries = [(_seconds(small), _seconds(large)) for _ in range(3)]
    return min(one for _, one in tries) / min(one for one, _ in tries)


def _seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return max(time.process_time() - began, 1e-4)
