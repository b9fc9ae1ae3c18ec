"""What a fine-tuning job shows while somebody waits: its events, and on a terminal a bar with its losses below them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from penstock.cli.console import say, warn
from penstock.cli.listing import moment, shown
from penstock.cli.live import LiveDisplay

if TYPE_CHECKING:
    from penstock.api.fine_tuning import FineTuningEvent
    from penstock.outputs.finetune.following import Course

_EVERY_PLAIN = 10.0
_BAR = 40


class JobDisplay(LiveDisplay):
    """Lines on standard output for what happened; on standard error how far it is.

    Args:
        quiet: show nothing, for programs.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        super().__init__(quiet=quiet)
        self._told = ("", time.monotonic())

    def happened(self, event: FineTuningEvent) -> None:
        """An event, the figures of each step aside where the bar shows them."""
        if self._quiet or (self._live is not None and event.type == "metrics"):
            return
        self.note(event_line(event))

    def note(self, text: str) -> None:
        """A line that stays."""
        if self._quiet:
            return
        if self._live is not None:
            # Above the line that moves.
            self._live.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            say(text)

    def tell(self, text: str) -> None:
        """What goes on at present; without a terminal a line now and then."""
        if self._quiet:
            return
        if self._live is not None:
            self.show(text)
            return
        now = time.monotonic()
        if text != self._told[0] and now - self._told[1] >= _EVERY_PLAIN:
            self._told = (text, now)
            warn(shown(text))

    def changed(self, job_id: str, course: Course) -> None:
        """How a job stands."""
        text = course.line(job_id)
        if self._live is None or not course.steps:
            self.tell(text)
        else:
            self.show(text, course.step, course.steps, width=_BAR)


def event_line(event: FineTuningEvent) -> str:
    """An event on one line."""
    return f"{moment(event.created_at, '%Y-%m-%d %H:%M:%S')}  {shown(event.level):<5}  {shown(event.message)}"
