"""What a run shows while it goes on: a live line on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from penstock.values import format_duration, format_usd

if TYPE_CHECKING:
    from rich.live import Live

    from penstock.execute.session import Session

_EVERY_LIVE = 0.2
_EVERY_PLAIN = 10.0


class Progress:
    """Shows a session's meter on standard error; `tick` may be called as often as one likes."""

    def __init__(self, session: Session, *, quiet: bool = False) -> None:
        self._session = session
        self._quiet = quiet
        self._live: Live | None = None
        self._total = sum(
            session.plan.partitions[index].rows for index in {task.partition for task in session.plan.tasks}
        )
        self._began = time.monotonic()
        self._shown = self._began
        self._every = _EVERY_LIVE if sys.stderr.isatty() else _EVERY_PLAIN

    def __enter__(self) -> Self:
        if not self._quiet and sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live("", console=Console(stderr=True), refresh_per_second=5, transient=True)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def tick(self) -> None:
        """Show where the run is, if it is time to."""
        now = time.monotonic()
        if self._quiet or now - self._shown < self._every:
            return
        self._shown = now
        text = self.line(now - self._began)
        if self._live is not None:
            self._live.update(text)
        else:
            sys.stderr.write(text + "\n")
            sys.stderr.flush()

    def line(self, seconds: float) -> str:
        """One line: rows, requests a second, tokens a minute, errors, dollars, time left."""
        meter: dict[str, Any] = self._session.control.snapshot()
        done = meter["rows_done"] + meter["rows_failed"]
        share = min(1.0, done / self._total) if self._total else 1.0
        tokens = meter["prompt_tokens"] + meter["completion_tokens"]
        parts = [
            f"{done:,} of {self._total:,} rows ({share:.0%})",
            f"{meter['requests'] / max(seconds, 0.001):,.0f} requests/s",
            f"{tokens / max(seconds, 0.001) * 60:,.0f} tokens/min",
            f"{format_usd(meter['usd'])}",
        ]
        if meter["rows_failed"]:
            causes = ", ".join(f"{cause} {count:,}" for cause, count in sorted(meter["failures"].items()))
            parts.append(f"{meter['rows_failed']:,} failed" + (f" ({causes})" if causes else ""))
        if meter["waiting"]:
            parts.append(str(meter["waiting"]))
        if 0 < share < 1:
            parts.append(f"about {format_duration(seconds * (1 - share) / share)} left")
        return " · ".join(parts)
