"""Files that rows name, such as recordings and pictures: known again by size and time, and told apart by content."""

from __future__ import annotations

import os
from functools import lru_cache
from hashlib import blake2b, file_digest
from pathlib import Path
from typing import NamedTuple

_MARK_BYTES = 16


class NamedFile(NamedTuple):
    """A file as it was when a row was looked at: full path, bytes, and when it was last changed."""

    path: str
    size: int
    mtime_ns: int

    @property
    def is_unchanged(self) -> bool:
        """Whether the file is there, with this size and time."""
        try:
            found = os.stat(self.path)  # noqa: PTH116  # one call tells all
        except (OSError, ValueError):
            return False
        return (found.st_size, found.st_mtime_ns) == (self.size, self.mtime_ns)


@lru_cache(maxsize=65_536)
def content_mark(file: NamedFile) -> str:
    """32 hexadecimal digits that stand for a file's content, wherever it lies and whenever it was written.

    Of one that cannot be read, or that was changed meanwhile, what is known of it: it names no other file's content.
    """
    try:
        with Path(file.path).open("rb") as content:
            mark = file_digest(content, lambda: blake2b(digest_size=_MARK_BYTES)).hexdigest()
    except OSError:
        return repr(tuple(file))
    return mark if file.is_unchanged else repr(tuple(file))
