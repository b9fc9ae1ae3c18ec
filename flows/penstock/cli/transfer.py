"""How far a file is on its way: one line that grows on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time

from penstock.values import format_size

_EVERY_LIVE = 0.1
_EVERY_PLAIN = 10.0


class Transfer:
    """Tells on standard error; called with the bytes that have gone and those there are, None when nobody knows."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._live = sys.stderr.isatty()
        self._every = _EVERY_LIVE if self._live else _EVERY_PLAIN
        self._began = self._told = time.monotonic()
        self._written = 0

    def __call__(self, done: int, size: int | None) -> None:
        """Tell how far it is, if it is time to; a short transfer is told only on a terminal."""
        now = time.monotonic()
        if now - self._told < self._every and done != size:
            return
        if done == size and not self._live and self._told == self._began:
            return
        self._told = now
        rate = format_size(done / max(now - self._began, 0.001))
        of = f"{done / size:4.0%} of {format_size(size)}" if size else format_size(done)
        self._write(f"{self._what}: {of}, {rate}/s")

    def end(self) -> None:
        """Leave the line to whoever writes next."""
        if self._live and self._written:
            self._write("")
            sys.stderr.write("\r")

    def _write(self, text: str) -> None:
        line = "".join(mark if mark.isprintable() else " " for mark in text)
        sys.stderr.write(f"\r{line.ljust(self._written)}" if self._live else line + "\n")
        sys.stderr.flush()
        self._written = len(line)
