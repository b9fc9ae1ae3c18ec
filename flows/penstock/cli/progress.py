"""What a run shows while it goes on: a bar and a line on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from penstock.cli.live import LiveDisplay
from penstock.flow.row_count import RowCount
from penstock.values import format_duration, format_usd

if TYPE_CHECKING:
    from penstock.execute.session import Session

_EVERY_LIVE = 0.2
_EVERY_PLAIN = 10.0
_RATE_SECONDS = 10.0
_BAR = 60


class Progress(LiveDisplay):
    """Shows a session's meter on standard error; `tick` may be called as often as one likes."""

    def __init__(self, session: Session, *, quiet: bool = False) -> None:
        super().__init__(quiet=quiet)
        self._session = session
        self._rows = RowCount(session.plan)
        self._began = time.monotonic()
        self._shown = self._began
        self._every = _EVERY_LIVE if sys.stderr.isatty() else _EVERY_PLAIN
        self._recent: deque[tuple[float, int, int]] = deque([(self._began, 0, 0)])

    def tick(self) -> None:
        """Show where the run is, if it is time to."""
        now = time.monotonic()
        if self._quiet or now - self._shown < self._every:
            return
        self._shown = now
        meter = self._session.control.snapshot()
        text = self.line(meter, now)
        if self._live is None:
            sys.stderr.write(text + "\n")
            sys.stderr.flush()
        else:
            self.show(text, self._rows.share(meter), width=_BAR)

    def line(self, meter: dict[str, Any], now: float) -> str:
        """One line: rows, requests a second, tokens a minute, dollars, errors by cause, time left."""
        done, tokens = self._rows.done(meter), meter["prompt_tokens"] + meter["completion_tokens"]
        requests_rate, tokens_rate = self._rates(now, meter["requests"], tokens)
        share = self._rows.share(meter)
        parts = [
            f"{done:,} of {self._rows.total:,} rows ({share:.0%})",
            f"{requests_rate:,.0f} requests/s",
            f"{tokens_rate * 60:,.0f} tokens/min",
            format_usd(meter["usd"]),
        ]
        if meter["rows_failed"]:
            causes = ", ".join(f"{cause} {count:,}" for cause, count in sorted(meter["failures"].items()))
            parts.append(f"{meter['rows_failed']:,} failed" + (f" ({causes})" if causes else ""))
        if meter["waiting"]:
            parts.append(str(meter["waiting"]))
        if meter["activity"]:
            parts.append(str(meter["activity"]))
        elif 0 < share < 1:
            parts.append(f"about {format_duration((now - self._began) * (1 - share) / share)} left")
        elif share == 1:
            parts.append("writing the result")
        return " · ".join(parts)

    def _rates(self, now: float, requests: int, tokens: int) -> tuple[float, float]:
        """Requests and tokens a second over the last ten seconds."""
        self._recent.append((now, requests, tokens))
        while len(self._recent) > 2 and self._recent[0][0] < now - _RATE_SECONDS:
            self._recent.popleft()
        since, requests_then, tokens_then = self._recent[0]
        seconds = max(now - since, 0.001)
        return (requests - requests_then) / seconds, (tokens - tokens_then) / seconds
