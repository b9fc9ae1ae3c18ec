"""Requests per second that a server bears that refuses and does not say what its limit is.

Each refusal tells what was answered since the last one: that is the limit, but for the first, which may only have ended
a burst; so the pace begins low and hurries to the second one. From a little below the limit it creeps up until the next
refusal; far above the last limit it hurries again, for then the limit is another one. The way up from a lower limit
says nothing of the higher one, so what was answered lately counts too, less the burst of a minute that a server may
have saved up by then.
"""

from __future__ import annotations

from collections import deque

_FIRST = 0.1
_FIRST_GROWTH = 1.5
_BELOW = 0.95
_CREEP = 0.01
_HURRY = 1.05
_NEAR = 1.1
_STEP_SECONDS = 15.0
_SHORTEST_SECONDS = 0.5
_SLOWEST = 1 / 60
_BORNE = 0.8
_MOST_DOUBTS = 3
_LARGEST_CUT = 0.25
_BURST_SECONDS = 60.0
_MARKS = 120


class Pace:
    """A rate that is felt for. Made after the first refusals.

    Args:
        answered: requests answered well before them.
        seconds: in which they were.
    """

    def __init__(self, answered: int, seconds: float, now: float) -> None:
        self._ceiling = max(answered / max(seconds, _SHORTEST_SECONDS), _SLOWEST)
        self._rate = _FIRST * self._ceiling
        self._searching = True
        self._doubts = 0
        self._level = 1.0
        self._at = now
        self._stepped = now
        self._began = now
        self._answered = 0
        self._marks: deque[tuple[float, int]] = deque(maxlen=_MARKS)

    @property
    def rate(self) -> float:
        """Requests per second at present."""
        return self._rate

    def answered(self) -> None:
        """A request was answered well."""
        self._answered += 1

    def refused(self, now: float) -> bool:
        """A refusal that is news: the first since the last pause has ended.

        Returns:
            False when it shows that there is no such limit: what the server bore is refused now and then.
        """
        seconds = now - self._began
        if not self._answered:
            # A server that answers nothing at all is closed, which says nothing of its pace.
            self._start_counting(now)
        if seconds < _SHORTEST_SECONDS or not self._answered:
            return True
        found = self._answered / seconds
        lately = self._answered_lately(now)
        self._start_counting(now)
        # A limit that was just undercut refuses nothing for a while, and where it does, much of what is sent.
        soon = not self._searching and seconds < 2 * _STEP_SECONDS and found > _BORNE * self._rate
        self._doubts = self._doubts + 1 if soon else 0
        if self._doubts >= _MOST_DOUBTS:
            return False
        self._searching = False
        self._ceiling = max(min(max(found, lately), self._rate), self._rate * _LARGEST_CUT, _SLOWEST)
        self._rate = _BELOW * self._ceiling
        self._level = min(self._level, 0.0)
        self._stepped = now
        return True

    def wait(self, now: float) -> float:
        """Seconds until one more may go."""
        step = 1.0 if self._searching else _STEP_SECONDS
        while now - self._stepped >= step:
            self._stepped += step
            self._rate = self._grown()
            self._marks.append((self._stepped, self._answered))
        self._level = min(max(1.0, self._rate), self._level + (now - self._at) * self._rate)
        self._at = now
        return 0.0 if self._level >= 1 - 1e-9 else (1 - self._level) / self._rate

    def _grown(self) -> float:
        if self._searching:
            return self._rate * _FIRST_GROWTH
        near = self._rate < _NEAR * self._ceiling
        return self._rate + _CREEP * self._ceiling if near else self._rate * _HURRY

    def _start_counting(self, now: float) -> None:
        self._began = now
        self._answered = 0
        self._marks.clear()

    def _answered_lately(self, now: float) -> float:
        """Per second since the step that shows most, had the server saved up a whole minute's burst by then.

        A bucket that is empty now was full when its limit was passed: since then it gave its burst and its limit.
        """
        return max(
            ((self._answered - before) / (now - since + _BURST_SECONDS) for since, before in self._marks), default=0.0
        )

    def take(self) -> None:
        """One more goes."""
        self._level -= 1
