"""The standard streams as they come: closed, in a narrow encoding, full, or with a reader that went away."""

from __future__ import annotations

import io
import os
import sys

from penstock.errors import StorageFailed


def prepare() -> None:
    """Put a silent stream where one is closed, and let characters that an encoding lacks be escaped."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        stream = getattr(sys, name)
        if stream is None:
            # The lowest number that is free is this one: the streams before it are open by now.
            os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, open(number, "w" if number else "r", encoding="utf-8", closefd=False))  # noqa: SIM115  # lives as long as the process
        elif number and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def write_out(text: str) -> None:
    """Write to standard output. A reader that went away, as `head` does, is no error.

    Raises:
        StorageFailed: it goes into a file that cannot be written.
    """
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        # What is left in the buffer would fail again when the process ends.
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, sys.stdout.fileno())
        os.close(silent)
        if not isinstance(error, BrokenPipeError):
            raise StorageFailed(f"standard output cannot be written: {error.strerror}") from None
