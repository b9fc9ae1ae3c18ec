"""The side of a run that works in a process of its own: it obeys the orders of the run's folder, and reports there."""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

from penstock.engine.control import RunControl
from penstock.engine.worker_control import WorkerControl
from penstock.errors import Interrupted
from penstock.execute.orders import Orders, read_orders, write_report
from penstock.execute.setup import control_for
from penstock.plan.model import Plan
from penstock.sandbox.settings import DEFAULT_KEY
from penstock.spec.model import Spec
from penstock.spec.provider import SANDBOX_KEY

ORDERS_SECONDS = 0.25
_REPORT_SECONDS = 1.0
_SILENCE_SECONDS = 60.0
"""Without new orders whoever conducted the run is dead, and so is the run."""
WORKERS = "workers"
"""The folder of orders and reports within that of the run."""


def workers_folder(plan_file: Path) -> Path:
    """Where orders and reports of the run with that plan stand."""
    return plan_file.parent / WORKERS


def control_of_worker(plan: Plan, spec: Spec, plan_file: Path) -> RunControl:
    """The control of a run in a process that did not open it."""
    if not plan.processes:
        return control_for(spec)
    if plan.base_urls:
        os.environ.setdefault(SANDBOX_KEY, DEFAULT_KEY)
    budget = spec.budget
    control = WorkerControl(
        f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}",
        limited_usd=budget is not None and budget.usd is not None,
        limited_tokens=budget is not None and budget.tokens is not None,
        stop_after=spec.errors.stop_after,
        prices=spec.prices,
    )
    Reporter(workers_folder(plan_file), control).start()
    return control


class Reporter(threading.Thread):
    """Reads orders four times a second and reports once a second, until the run is over.

    Args:
        folder: of orders and reports.
        control: of the run in this process.
    """

    def __init__(self, folder: Path, control: WorkerControl) -> None:
        super().__init__(name="penstock-reporter", daemon=True)
        self._folder = folder
        self._control = control
        self._reported = 0.0
        self._number = -1
        self._renewed = time.monotonic()
        self._wanting = threading.Event()
        self._writing = threading.Lock()
        control.on_want = self._wanting.set
        control.on_publish = self.tell
        with suppress(OSError):
            self._obey(read_orders(folder))

    def run(self) -> None:
        """Report and obey until there are orders to stop."""
        while self._control.stopped is None:
            self._wanting.wait(ORDERS_SECONDS)
            self._obey(read_orders(self._folder))
            if self._wanting.is_set() or time.monotonic() - self._reported >= _REPORT_SECONDS:
                self._wanting.clear()
                self._try_to_tell()
        self._try_to_tell()

    def tell(self) -> None:
        """Report now.

        Raises:
            OSError: the folder cannot be written.
        """
        with self._writing:
            write_report(self._folder, self._control.report())
            self._reported = time.monotonic()

    def _try_to_tell(self) -> None:
        # The next report says all that this one would have.
        with suppress(OSError):
            self.tell()

    def _obey(self, orders: Orders | None) -> None:
        now = time.monotonic()
        if orders is None or orders.number == self._number:
            if now - self._renewed > _SILENCE_SECONDS:
                self._control.request_stop(
                    Interrupted(f"no word for {_SILENCE_SECONDS:.0f} s from the process that conducts the run")
                )
            return
        self._number, self._renewed = orders.number, now
        name = self._control.worker
        self._control.allot(orders.usd.get(name, 0.0), orders.tokens.get(name, 0))
        if orders.reason is not None:
            self._control.request_stop(orders.reason)
