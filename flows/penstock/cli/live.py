"""What moves on a terminal while somebody waits: a bar and a line below it, gone at the end."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.live import Live


class LiveDisplay:
    """A place on standard error that is written anew, where that is a terminal.

    Args:
        quiet: there is none.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._live: Live | None = None

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

    def show(self, text: str, done: float | None = None, total: float = 1.0, *, width: int = 0) -> None:
        """Put a line there, below a bar where it is known how much is `done`; nothing without a terminal."""
        if self._live is None:
            return
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.text import Text

        line = Text(text)
        bar = [] if done is None else [ProgressBar(total=total, completed=done, width=width)]
        self._live.update(Group(*bar, line))
