"""What all requests of a run share in one process: whether it goes on, what it may cost, and what it has done.

Thread-safe: the engine's loop, the threads of partitions and a signal handler all use it.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from penstock.engine.budget import NOTHING, Budget, Reservation
from penstock.engine.meter import Meter
from penstock.engine.prices import Overrides, is_priced, usd_of
from penstock.errors import BudgetSpent, InputError, NoSuccess, RunStopped, TooManyFailures
from penstock.items import Cause, Usage
from penstock.values import format_duration

_MOST_RUNS = 64
_MOST_NOTES = 20


class RunControl:
    """One per run and process.

    Args:
        budget_usd: dollars that may be spent; needs a known price.
        budget_tokens: tokens that may be spent, prompt and completion.
        stop_after: seconds without one success after which the run stops.
        stop_above: share of failed rows above which it stops.
        stop_above_min_rows: rows that must have their fate before that share counts.
        prices: of the user's own, by provider, see `penstock.engine.prices`.
        resumable: whether answers are kept, and a stopped run can be resumed; messages name what to do.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        *,
        budget_usd: float | None = None,
        budget_tokens: int | None = None,
        stop_after: float = 900.0,
        stop_above: float = 0.1,
        stop_above_min_rows: int = 200,
        prices: Mapping[str, Overrides] | None = None,
        resumable: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.meter = Meter()
        self._elsewhere = Meter()
        self._failures_elsewhere: Counter[str] = Counter()
        self._budget = Budget(budget_usd, budget_tokens, prices)
        self.stop_after = stop_after
        self.again = "resume" if resumable else "run the command again"
        self._kept = "; what is answered is kept" if resumable else ""
        self._stop_above = stop_above
        self._stop_above_min_rows = stop_above_min_rows
        self._prices = prices or {}
        self._clock = clock
        self._lock = threading.RLock()
        self._row_failures: Counter[str] = Counter()
        self._stopped: RunStopped | None = None
        self._on_stop: list[Callable[[], object]] = []
        self._working = 0
        self._success_at = clock()
        self._waiting: tuple[str, float] | None = None
        self._notes: dict[str, None] = {}
        self._activity = ""

    # -- stopping

    @property
    def stopped(self) -> RunStopped | None:
        """Why the run stops, None while it goes on."""
        return self._stopped

    def request_stop(self, reason: RunStopped) -> None:
        """Stop the run; the first reason is the one that counts."""
        with self._lock:
            if self._stopped is not None:
                return
            self._stopped = reason
            callbacks = list(self._on_stop)
        for callback in callbacks:
            callback()

    def check(self) -> None:
        """Raise the reason if the run is to stop.

        Raises:
            RunStopped: it is.
        """
        if self._stopped is not None:
            raise self._stopped

    def on_stop(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Call `callback` once when the run stops, at once if it has; returns what takes the callback back."""
        with self._lock:
            self._on_stop.append(callback)
            stopped = self._stopped is not None
        if stopped:
            callback()
        return lambda: self._drop(callback)

    def _drop(self, callback: Callable[[], object]) -> None:
        with self._lock:
            if callback in self._on_stop:
                self._on_stop.remove(callback)

    # -- rows

    def note_rows(self, done: int, failed: int, causes: Iterable[Cause] = ()) -> None:
        """So many more rows have their fate; called by whoever keeps the rows, once per row.

        Stops the run with `TooManyFailures` when the share of failed ones is above what is allowed.

        Args:
            causes: of the failed rows, one for each.
        """
        with self._lock:
            meter = self.meter
            meter.rows_done += done
            meter.rows_failed += failed
            self._row_failures.update(cause.value for cause in causes)
        if failed > 0:
            self._judge_rows()

    def gather(self, elsewhere: Meter, row_failures: Mapping[str, int]) -> None:
        """What all other processes of the run have done by now; it counts with what is done in this one."""
        with self._lock:
            failed_more = elsewhere.rows_failed > self._elsewhere.rows_failed
            self._elsewhere = elsewhere
            self._failures_elsewhere = Counter(row_failures)
        if failed_more:
            self._judge_rows()

    def _judge_rows(self) -> None:
        with self._lock:
            failures = self.meter.rows_failed + self._elsewhere.rows_failed
            rows = self.meter.rows_done + self._elsewhere.rows_done + failures
            too_many = rows >= self._stop_above_min_rows and failures > self._stop_above * rows
            counted = _counted(self._row_failures + self._failures_elsewhere)
        if too_many:
            self.request_stop(
                TooManyFailures(
                    f"{failures:,} of {rows:,} rows failed, which is more than errors.stop_above allows "
                    f"({self._stop_above:.0%}){counted}. Look at the error rows; resume goes on from here"
                )
            )

    # -- budget

    def require_price(self, model: str, *, provider: str = "") -> None:
        """Look up the price of `model`, which also loads the table; refuse a budget in dollars without a price.

        Raises:
            InputError: there is such a budget, and nothing is known of the model's price.
        """
        known = is_priced(model, self._prices.get(provider))
        if self._budget.usd is not None and not known:
            raise InputError(
                f"the budget is in dollars, but the price of the model {model!r} is not known. "
                f"Give its price under `prices`, or a budget in tokens"
            )

    def reserve(
        self, model: str, tokens: int, expected: Sequence[Usage] = (), *, provider: str = ""
    ) -> Reservation | None:
        """Set aside what a request of estimated `tokens` may cost; None: ask again when one under way has ended.

        Args:
            expected: what it will count in something else than tokens.

        Raises:
            RunStopped: the run stops; with `BudgetSpent` if this request does not fit into what is left.
        """
        self.check()
        if not self._budget.limited:
            return NOTHING
        with self._lock:
            reservation = self._budget.reserve(model, tokens, expected, provider=provider)
        if isinstance(reservation, str):
            self.request_stop(BudgetSpent(reservation))
            self.check()
            return None
        return reservation

    def release(self, reservation: Reservation) -> None:
        """The request has ended, or was never sent."""
        if reservation is not NOTHING:
            with self._lock:
                self._budget.release(reservation)

    @property
    def usd_left(self) -> float | None:
        """Dollars that may still be spent; None without a budget in dollars."""
        with self._lock:
            return None if self._budget.usd is None else self._budget.free[0]

    def spend(self, usd: float) -> None:
        """Dollars that are paid for something else than a request, such as a training job, count against the budget."""
        with self._lock:
            self._budget.spend(usd)

    def settle(self) -> None:
        """All other processes of the run have ended: from now on what they spent counts against this one's budget."""
        with self._lock:
            elsewhere = self._elsewhere
            self._budget.spend(elsewhere.usd, elsewhere.prompt_tokens + elsewhere.completion_tokens)

    # -- the meter

    def attempt_began(self, *, again: bool) -> None:
        """A request is sent; `again`: not the first for its items."""
        with self._lock:
            self.meter.requests += 1
            self.meter.in_flight += 1
            self.meter.retried += again

    def attempt_ended(
        self,
        result: str,
        *,
        model: str,
        estimate: int,
        usage: Usage | None = None,
        success: bool = False,
        provider: str = "",
    ) -> float | None:
        """A request has come home, well or not; whatever it cost is counted.

        Args:
            result: the status, or the cause where there is none.
            usage: what the response says it cost, None when it says nothing.
            estimate: tokens, counted against the budget where a success says nothing.

        Returns:
            Dollars; 0 for a failure that says nothing, None when unknown.
        """
        usd = None if usage is None else usd_of(usage, model, self._prices.get(provider))
        with self._lock:
            meter = self.meter
            meter.in_flight -= 1
            meter.results[result] += 1
            if success:
                self._success_at = self._clock()
            if usage is None:
                return 0.0
            counted = usage.prompt_tokens + usage.completion_tokens
            meter.prompt_tokens += usage.prompt_tokens
            meter.completion_tokens += usage.completion_tokens
            meter.cached_tokens += usage.cached_tokens
            meter.seconds += usage.seconds
            meter.characters += usage.characters
            meter.images += usage.images
            if self._budget.limited:
                self._budget.charge(
                    model,
                    estimate,
                    counted or (estimate if success else 0),
                    usd,
                    success=success,
                    provider=provider,
                )
            if usd is None:
                meter.usd_unknown += 1
            else:
                meter.usd += usd
            return usd

    def item_failed(self, cause: Cause) -> None:
        """An item has failed for good."""
        with self._lock:
            self.meter.failures[cause.value] += 1

    def waits(self, reason: str, seconds: float) -> None:
        """Something holds the run up for so long; shown while it lasts."""
        with self._lock:
            self._waiting = (reason, self._clock() + seconds)

    def note(self, text: str) -> None:
        """Something for the run's record that is no failure but worth knowing; told once."""
        with self._lock:
            if len(self._notes) < _MOST_NOTES:
                self._notes[text] = None

    @property
    def notes(self) -> list[str]:
        """What `note` was told, in its order."""
        with self._lock:
            return list(self._notes)

    def busy_with(self, activity: str) -> None:
        """What goes on after the rows have their fate, such as an upload; shown until something else does."""
        with self._lock:
            self._activity = activity

    def publish(self) -> None:
        """A piece of work is over: tell whoever conducts the run. In the process that conducts it nobody is told."""

    def snapshot(self) -> dict[str, Any]:
        """The meter as a dict, with ``waiting``: why nothing is sent at present and for how long, or None.

        ``activity`` is what was told to `busy_with`.
        """
        with self._lock:
            total = Meter()
            total.add(self.meter)
            total.add(self._elsewhere)
            values = total.as_dict()
            waiting = self._waiting
            values["activity"] = self._activity
        left = waiting[1] - self._clock() if waiting else 0.0
        values["waiting"] = f"{waiting[0]}: {format_duration(left)} more" if waiting and left > 0 else None
        return values

    # -- no success

    def work_began(self) -> None:
        """A job begins; the time without success runs only while there are jobs."""
        with self._lock:
            if self._working == 0:
                self._success_at = self._clock()
            self._working += 1

    def work_ended(self) -> None:
        """A job has ended."""
        with self._lock:
            self._working -= 1

    def watch(self) -> None:
        """Stop the run with `NoSuccess` if no request has succeeded for too long; called now and then by the engine."""
        with self._lock:
            silent = self._clock() - self._success_at
            if not self._working or silent <= self.stop_after:
                return
            causes = _counted(self.meter.results, without="200")
        self.request_stop(
            NoSuccess(
                f"no request has succeeded for {format_duration(silent)}{causes}. "
                f"{self.again.capitalize()} when the server answers again{self._kept}"
            )
        )


def _counted(counts: dict[str, int], *, without: str = "") -> str:
    known = sorted(((count, name) for name, count in counts.items() if name != without), reverse=True)
    return f" ({', '.join(f'{name}: {count:,}' for count, name in known)})" if known else ""


_registry: dict[str, RunControl] = {}
_registry_lock = threading.Lock()


def control_of(run_id: str, make: Callable[[], RunControl]) -> RunControl:
    """The control of a run in this process, made by the first who asks, shared by all its tasks."""
    with _registry_lock:
        control = _registry.get(run_id)
        if control is None:
            # A worker that lives for weeks sees many runs and is told of the end of none.
            while len(_registry) >= _MOST_RUNS:
                del _registry[next(iter(_registry))]
            control = _registry[run_id] = make()
        return control


def release(run_id: str) -> None:
    """Forget a run that has ended."""
    with _registry_lock:
        _registry.pop(run_id, None)


if hasattr(os, "register_at_fork"):
    # A child that was forked in the middle of a run is another process, with a meter of its own.
    os.register_at_fork(after_in_child=_registry.clear)
