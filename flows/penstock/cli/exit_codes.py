"""What the exit code of `penstock` says."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Named exit codes; shells and schedulers can tell the cases apart."""

    DONE = 0
    ROWS_FAILED = 1
    """The run ended with rows in the errors table, or `check` found mistakes, or `verify` found damage."""
    USAGE = 2
    STOPPED = 3
    """Stopped early (budget, quota, key, error share, no success, disk) and resumable."""
    INTERRUPTED = 130
    """Ctrl-C, SIGTERM or cancelled in Prefect; resumable."""
