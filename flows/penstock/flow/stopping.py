"""What makes a run end early from outside: Ctrl-C, SIGTERM, and "Cancel" in Prefect.

Prefect itself leaves a run that no worker owns in ``Cancelling`` until all its tasks have ended, and cannot interrupt
threads; so the run's own stop flag is raised here, and every task looks at it between requests.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from penstock.engine.control import RunControl
from penstock.errors import Interrupted
from penstock.flow.rest import Api, ServerRefused, ServerUnavailable, call

_LOOK = 0.1
POLL_SECONDS = 2.0
_SIGNALS = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM", signal.SIGHUP: "the end of its terminal"}
_ENDED_BY_OTHERS = {"CANCELLING", "CANCELLED"}


class StopWatch(threading.Thread):
    """Raises the run's stop flag when a signal came or when the flow run was cancelled.

    The state is asked for by plain HTTP: Prefect's client in a thread of one's own may start a server of its own.

    Attributes:
        signals: the signals that came; a handler may only append, since locks are not safe in it.
        unanswered_since: `time.monotonic` since when the API does not answer; None while it does.
    """

    def __init__(self, control: RunControl, api: Api, flow_run_id: str, revive: Callable[[], None] | None) -> None:
        super().__init__(name="stop-watch", daemon=True)
        self._control = control
        self._api = api
        self._path = f"/flow_runs/{flow_run_id}"
        self._revive = revive
        self._over = threading.Event()
        self.signals: list[int] = []
        self.unanswered_since: float | None = None

    def run(self) -> None:
        """Look for signals ten times a second, and at the flow run's state every other second."""
        asked = time.monotonic()
        while not self._over.wait(_LOOK):
            if self.signals:
                name = _SIGNALS[signal.Signals(self.signals[0])]
                self._control.request_stop(Interrupted(f"the run was interrupted by {name}"))
            if time.monotonic() - asked >= POLL_SECONDS:
                self._ask()
                asked = time.monotonic()

    def end(self) -> None:
        """Stop looking, and wait for the thread."""
        self._over.set()
        self.join()

    def on_signal(self, number: int, _frame: FrameType | None) -> None:
        """Signal handler."""
        self.signals.append(number)

    def _ask(self) -> None:
        try:
            found = call(self._api, "GET", self._path, timeout=5).body
        except ServerRefused:
            # It lives, and is busy or has lost the run: neither ends a run.
            self.unanswered_since = None
            return
        except ServerUnavailable:
            self.unanswered_since = self.unanswered_since or time.monotonic()
            if self._revive is not None:
                self._revive()
            return
        self.unanswered_since = None
        if isinstance(found, dict) and found.get("state_type") in _ENDED_BY_OTHERS:
            self._control.request_stop(Interrupted("the run was cancelled in Prefect"))


@contextmanager
def watching(
    control: RunControl, api: Api, flow_run_id: str, *, revive: Callable[[], None] | None = None
) -> Iterator[StopWatch]:
    """Watch for reasons to stop; signals only in the main thread, whose handlers are put back at the end.

    `revive` is called in the thread of the watch each time the API did not answer.

    A signal that is ignored (``nohup``) stays ignored. Prefect's engine puts a SIGTERM handler of its own in place,
    which raises in the middle of the flow: within this context it is out of the way.
    """
    watch = StopWatch(control, api, flow_run_id, revive)
    kept: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():
        kept = {number: signal.getsignal(number) for number in _SIGNALS}
        for number in _SIGNALS:
            if kept[number] is not signal.SIG_IGN:
                signal.signal(number, watch.on_signal)
    watch.start()
    try:
        yield watch
    finally:
        watch.end()
        for kept_number, handler in kept.items():
            signal.signal(kept_number, signal.SIG_DFL if handler is None else handler)
