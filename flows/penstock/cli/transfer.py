"""Files on their way, and how far they are: one line that grows on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.values import format_size

if TYPE_CHECKING:
    from penstock.api import Api
    from penstock.api.files import FileObject

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


async def send(api: Api, file: Path, purpose: str, name: str | None = None) -> FileObject:
    """Upload with its progress on standard error."""
    transfer = Transfer(f"uploading {file.name}")
    try:
        return await api.files.upload(file, purpose, filename=name, progress=transfer)
    finally:
        transfer.end()


async def file_id(api: Api, given: str, purpose: str) -> str:
    """The id of a file: as given, or of the file here of that name, once it is uploaded."""
    if Path(given).is_file():
        return (await send(api, Path(given), purpose)).id
    return given
