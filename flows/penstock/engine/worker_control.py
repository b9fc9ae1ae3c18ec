"""The control of a run in a worker process: it counts for itself, spends what it is allotted, and reports both.

Whoever conducts the run adds up the reports, judges the share of failed rows over all of them, and hands out the
budget piece by piece: the pieces never add up to more than the whole, so no two processes spend the same cent.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from penstock.engine.budget import NOTHING, Reservation
from penstock.engine.control import RunControl
from penstock.engine.meter import Meter
from penstock.engine.prices import Overrides
from penstock.items import Usage


class Report(msgspec.Struct, frozen=True):
    """What a worker process tells of itself.

    Attributes:
        worker: its name, new for each process.
        number: of the report; one that goes on counting lives.
        busy: whether it has work.
        meter: `Meter.as_fields`.
        row_failures: failed rows by cause.
        under_way: requests that have a part of the budget set aside.
        allotted_usd, allotted_tokens: what it knew to be allotted in all.
        returned_usd, returned_tokens: of what it was allotted, what it gave back in all.
        spent_usd, spent_tokens: what counts against the budget.
        wants_usd, wants_tokens: what its next request needs and is not allotted; 0 when it wants nothing.
        waiting: why nothing is sent, and for how many seconds more.
    """

    worker: str
    number: int
    busy: bool
    meter: dict[str, Any]
    row_failures: dict[str, int]
    under_way: int = 0
    allotted_usd: float = 0.0
    allotted_tokens: int = 0
    returned_usd: float = 0.0
    returned_tokens: int = 0
    spent_usd: float = 0.0
    spent_tokens: int = 0
    wants_usd: float = 0.0
    wants_tokens: int = 0
    waiting: tuple[str, float] | None = None
    notes: tuple[str, ...] = ()


class WorkerControl(RunControl):
    """A `RunControl` whose budget is what it was allotted so far.

    Attributes:
        on_want: called when a request waits for a larger allotment; must return at once.
        on_publish: writes a report now.

    Args:
        worker: the process's name in reports.
        limited_usd, limited_tokens: whether the run has such a budget.
        stop_after: seconds without one success after which the run stops.
        prices: of the user's own, by provider.
    """

    def __init__(
        self,
        worker: str,
        *,
        limited_usd: bool,
        limited_tokens: bool,
        stop_after: float,
        prices: Mapping[str, Overrides],
    ) -> None:
        super().__init__(
            budget_usd=0.0 if limited_usd else None,
            budget_tokens=0 if limited_tokens else None,
            stop_after=stop_after,
            # Only all rows of all processes tell what share of them failed.
            stop_above=1.0,
            prices=prices,
        )
        self.worker = worker
        self.on_want: Callable[[], object] = lambda: None
        self.on_publish: Callable[[], object] = lambda: None
        self._limited_usd, self._limited_tokens = limited_usd, limited_tokens
        self._allotted = (0.0, 0)
        self._returned = (0.0, 0)
        self._wants = (0.0, 0)
        self._reports = 0
        self._numbering = threading.Lock()

    def reserve(
        self, model: str, tokens: int, expected: Sequence[Usage] = (), *, provider: str = ""
    ) -> Reservation | None:
        """As `RunControl.reserve`, but what does not fit waits for more instead of ending the run."""
        self.check()
        if not self._budget.limited:
            return NOTHING
        with self._lock:
            reservation = self._budget.reserve(model, tokens, expected, provider=provider)
            if isinstance(reservation, Reservation):
                self._wants = (0.0, 0)
                return reservation
            is_new = self._wants == (0.0, 0)
            needed = self._budget.needed(model, tokens, expected, provider=provider)
            self._wants = (max(self._wants[0], needed[0]), max(self._wants[1], needed[1]))
        if is_new:
            self.on_want()
        return None

    def allot(self, usd: float, tokens: int) -> None:
        """What this process may spend in all by now, before what it gave back."""
        with self._lock:
            self._allotted = (usd, tokens)
            if self._limited_usd:
                self._budget.usd = usd - self._returned[0]
            if self._limited_tokens:
                self._budget.tokens = tokens - self._returned[1]

    def publish(self) -> None:
        """Report now."""
        self.on_publish()

    def report(self) -> Report:
        """Where this process stands. One that has no work gives back what it did not spend."""
        with self._numbering, self._lock:
            self._reports += 1
            if not self._working:
                self._give_back()
            spent_usd, spent_tokens = self._budget.spent
            left = self._waiting[1] - self._clock() if self._waiting else 0.0
            return Report(
                worker=self.worker,
                number=self._reports,
                busy=self._working > 0,
                meter=self.meter.as_fields(),
                row_failures=dict(self._row_failures),
                under_way=self._budget.under_way,
                allotted_usd=self._allotted[0],
                allotted_tokens=self._allotted[1],
                returned_usd=self._returned[0],
                returned_tokens=self._returned[1],
                spent_usd=spent_usd,
                spent_tokens=spent_tokens,
                wants_usd=self._wants[0],
                wants_tokens=self._wants[1],
                waiting=(self._waiting[0], left) if self._waiting and left > 0 else None,
                notes=tuple(self._notes),
            )

    def _give_back(self) -> None:
        self._wants = (0.0, 0)
        free_usd, free_tokens = self._budget.free
        self._returned = (self._returned[0] + free_usd, self._returned[1] + free_tokens)
        if self._budget.usd is not None:
            self._budget.usd -= free_usd
        if self._budget.tokens is not None:
            self._budget.tokens -= free_tokens


def elsewhere(reports: Sequence[Report]) -> tuple[Meter, Counter[str]]:
    """The sum of what worker processes did: their meters, and failed rows by cause."""
    total, failures = Meter(), Counter[str]()
    for report in reports:
        total.add(Meter.of(report.meter))
        failures.update(report.row_failures)
    return total, failures
