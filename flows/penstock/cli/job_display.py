"""What a fine-tuning job shows while somebody waits: its events, and on a terminal a bar with its losses below them."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from penstock.cli.console import say, warn
from penstock.cli.listing import moment, shown

if TYPE_CHECKING:
    from rich.live import Live

    from penstock.api.fine_tuning import FineTuningEvent
    from penstock.outputs.finetune.following import Course

_EVERY_PLAIN = 10.0
_BAR = 40


class JobDisplay:
    """Lines on standard output for what happened; on standard error how far it is.

    Args:
        quiet: show nothing, for programs.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._live: Live | None = None
        self._told = ("", time.monotonic())

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
            from rich.text import Text

            self._live.update(Text(text))
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
            return
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.text import Text

        self._live.update(Group(ProgressBar(total=course.steps, completed=course.step, width=_BAR), Text(text)))


def event_line(event: FineTuningEvent) -> str:
    """An event on one line."""
    return f"{moment(event.created_at, '%Y-%m-%d %H:%M:%S')}  {shown(event.level):<5}  {shown(event.message)}"
