"""What the exit code of `penstock` says."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Named exit codes; shells and schedulers can tell the cases apart."""

    DONE = 0
    ROWS_FAILED = 1
    """The run ended with rows in the errors table, or `check` found mistakes, or `verify` found damage."""
    USAGE = 2
    """The command line, the pipeline, its source or the environment is wrong; nothing was sent."""
    STOPPED = 3
    """Stopped early and resumable (budget, quota, key, error share, no success, disk), or could not begin now
    (another run goes on, the Prefect API does not answer)."""
    INTERRUPTED = 130
    """Ctrl-C, SIGTERM or cancelled in Prefect; resumable."""
