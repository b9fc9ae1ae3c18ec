"""The side of a run that conducts worker processes: adds up their reports, hands out the budget, passes on stops."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from penstock.engine.budget import shortage
from penstock.engine.control import RunControl
from penstock.engine.worker_control import Report, elsewhere
from penstock.errors import BudgetSpent
from penstock.execute.orders import Orders, read_reports, write_orders
from penstock.spec.budget import Budget
from penstock.values import format_usd

LOOK_SECONDS = 0.2
_BEAT_SECONDS = 1.0
_SILENT_SECONDS = 15.0
"""Without a new report a process counts as dead; what it was allotted counts as spent."""


class Allotment:
    """Hands out one kind of budget, dollars or tokens, in pieces that get smaller as it runs out.

    Args:
        whole: of the run.
        processes: that are expected to share it.
        in_units: whether pieces are whole numbers.
    """

    def __init__(self, whole: float, processes: int, *, in_units: bool = False) -> None:
        self._whole = whole
        self._processes = processes
        self._in_units = in_units
        self.granted: dict[str, float] = {}

    def grant(self, worker: str, wants: float, seen: float, returned: float) -> bool:
        """Give a process more if it wants more; whether it has what it wants.

        Args:
            seen: what it knew to be granted when it said so.
            returned: by all processes so far.
        """
        if wants <= 0 or self.granted.get(worker, 0) > seen:
            return True
        free = self._whole - sum(self.granted.values()) + returned
        if wants > free:
            return False
        piece = max(wants, free / (2 * self._processes))
        piece = math.floor(piece) if self._in_units else piece
        self.granted[worker] = self.granted.get(worker, 0.0) + piece
        return True


class Conductor(threading.Thread):
    """Looks at the reports a few times a second, and writes orders when there is something new or a second has gone.

    Args:
        folder: for orders and reports; it is made.
        control: of the run, in this process.
        budget: of the run.
        processes: worker processes that are expected.
    """

    def __init__(self, folder: Path, control: RunControl, budget: Budget | None, processes: int) -> None:
        super().__init__(name="penstock-conductor", daemon=True)
        self._folder = folder
        self._control = control
        self._budget = budget
        self._processes = processes
        self._usd = Allotment(budget.usd, processes) if budget and budget.usd is not None else None
        self._tokens = (
            Allotment(budget.tokens, processes, in_units=True) if budget and budget.tokens is not None else None
        )
        self._orders = Orders()
        self._written = 0.0
        self._heard: dict[str, tuple[int, float]] = {}
        self._look = threading.Lock()
        self._wake = threading.Event()
        self._over = False
        folder.mkdir(parents=True, exist_ok=True)
        write_orders(folder, self._orders)

    def run(self) -> None:
        """Conduct until `end`."""
        unsubscribe = self._control.on_stop(self._wake.set)
        while not self._over:
            # A shared folder that is away for a moment stops nobody: the next look makes up for it.
            with suppress(OSError):
                self.look()
            self._wake.wait(LOOK_SECONDS)
            self._wake.clear()
        unsubscribe()

    def end(self) -> None:
        """Look a last time, and leave orders to stop for whoever comes late."""
        self._over = True
        self._wake.set()
        if self.is_alive() and threading.current_thread() is not self:
            self.join()
        with suppress(OSError):
            self.look()
            self._note_the_dead()
            stop = self._orders.stop or ("RunStopped", "the run is over")
            write_orders(self._folder, Orders(self._orders.number + 1, stop))

    def _note_the_dead(self) -> None:
        """Say whose last second is not in the usage: a process that lives says at the end that it has no work."""
        dead = [] if self._control.stopped else [one for one in read_reports(self._folder) if one.busy]
        if dead:
            self._control.note(
                f"{len(dead)} of the worker processes died at work or did not come back: what they asked in the second "
                "before that is not in this run's usage, and what they had in flight was asked again"
            )

    def look(self) -> None:
        """Take in all reports and write what follows from them.

        Raises:
            OSError: the folder cannot be read or written.
        """
        with self._look:
            reports = read_reports(self._folder)
            meter, failures = elsewhere(reports)
            self._control.gather(meter, failures)
            for report in reports:
                for note in report.notes:
                    self._control.note(note)
                if report.waiting is not None:
                    self._control.waits(*report.waiting)
            alive = self._alive(reports)
            if len(alive) > self._processes:
                self._control.note(
                    f"{len(alive)} worker processes took part and `runner.workers` says {self._processes}: "
                    "together they may have gone over the provider's limits"
                )
            self._hand_out(reports, alive)
            self._tell()

    def _alive(self, reports: Sequence[Report]) -> list[Report]:
        now = time.monotonic()
        for report in reports:
            if self._heard.get(report.worker, (-1, 0.0))[0] != report.number:
                self._heard[report.worker] = (report.number, now)
        return [one for one in reports if one.busy and now - self._heard[one.worker][1] < _SILENT_SECONDS]

    def _hand_out(self, reports: Sequence[Report], alive: Sequence[Report]) -> None:
        if self._budget is None:
            return
        returned_usd = sum(report.returned_usd for report in reports)
        returned_tokens = sum(report.returned_tokens for report in reports)
        starved = []
        for one in alive:
            has_usd = self._usd is None or self._usd.grant(one.worker, one.wants_usd, one.allotted_usd, returned_usd)
            has_tokens = self._tokens is None or self._tokens.grant(
                one.worker, one.wants_tokens, one.allotted_tokens, returned_tokens
            )
            if not (has_usd and has_tokens) and not one.under_way:
                starved.append((one, has_usd))
        if starved and len(starved) == len(alive):
            # Nobody is left whose unspent piece could come back.
            self._control.request_stop(BudgetSpent(self._shortage(reports, *starved[0])))

    def _shortage(self, reports: Sequence[Report], starved: Report, has_usd: bool) -> str:
        budget = self._budget
        if not has_usd and budget is not None and budget.usd is not None:
            spent = sum(report.spent_usd for report in reports)
            return shortage(format_usd(budget.usd), format_usd(spent), format_usd(starved.wants_usd))
        spent_tokens = sum(report.spent_tokens for report in reports)
        limit = budget.tokens if budget is not None else 0
        return shortage(f"{limit:,} tokens", f"{spent_tokens:,}", f"{starved.wants_tokens:,}")

    def _tell(self) -> None:
        stopped = self._control.stopped
        orders = Orders(
            self._orders.number,
            None if stopped is None else (type(stopped).__name__, str(stopped)),
            dict(self._usd.granted) if self._usd else {},
            {worker: int(count) for worker, count in self._tokens.granted.items()} if self._tokens else {},
        )
        now = time.monotonic()
        if orders == self._orders and now - self._written < _BEAT_SECONDS:
            return
        self._orders = Orders(orders.number + 1, orders.stop, orders.usd, orders.tokens)
        write_orders(self._folder, self._orders)
        self._written = now
