"""What a server has done so far: the proof that nothing was asked, or paid for, twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

LARGEST_MEMORY = 1_000_000
"""Inputs that are remembered by a hash of eight bytes; beyond it `repeated_inputs` is only a lower bound."""


class Stats:
    """Counters of one server, from its start or the last `clear`."""

    def __init__(self) -> None:
        self.in_flight = 0
        self.clear()

    def clear(self) -> None:
        """Count from zero again; requests that are in flight stay in flight."""
        self._requests: dict[str, Counter[str]] = {}
        self._faults: Counter[str] = Counter()
        self._seen: set[int] = set()
        self._repeated: set[int] = set()
        self._answers_again = 0
        self._forgotten = 0
        self.inputs = 0
        self.tokens = 0
        self.peak_in_flight = self.in_flight

    def begin(self) -> None:
        """A request came in."""
        self.in_flight += 1
        self.peak_in_flight = max(self.peak_in_flight, self.in_flight)

    def end(self, path: str, outcome: str) -> None:
        """A request is over; `outcome` is its status, or the name of the fault when no status was sent."""
        self.in_flight -= 1
        self._requests.setdefault(path, Counter())[outcome] += 1

    def fault(self, name: str) -> None:
        """A fault was played."""
        self._faults[name] += 1

    def answered(self, texts: Iterable[str], key: tuple[object, ...], tokens: int) -> None:
        """Inputs got a good answer, and would have been paid for."""
        self.tokens += tokens
        for text in texts:
            self.inputs += 1
            mark = hash((text, key))
            if mark in self._seen:
                self._repeated.add(mark)
                self._answers_again += 1
            elif len(self._seen) < LARGEST_MEMORY:
                self._seen.add(mark)
            else:
                self._forgotten += 1

    def report(self) -> dict[str, object]:
        """All counters as plain values.

        ``repeated_inputs`` is how many distinct inputs got more than one good answer, ``repeated_answers`` how many
        answers were given beyond the first; ``forgotten_inputs`` were too many to be remembered.
        """
        requests = {path: dict(sorted(counts.items())) for path, counts in sorted(self._requests.items())}
        return {
            "requests": requests,
            "total_requests": sum(sum(counts.values()) for counts in self._requests.values()),
            "in_flight": self.in_flight,
            "peak_in_flight": self.peak_in_flight,
            "faults": dict(sorted(self._faults.items())),
            "inputs": self.inputs,
            "tokens": self.tokens,
            "distinct_inputs": len(self._seen),
            "repeated_inputs": len(self._repeated),
            "repeated_answers": self._answers_again,
            "forgotten_inputs": self._forgotten,
        }
