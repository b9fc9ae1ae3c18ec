"""The lines of a JSONL file with their numbers, read by chunks: memory holds one chunk and the longest line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from penstock.errors import InputError

LONGEST_LINE = 160 * 1024 * 1024
"""Bytes of a line that is still read: ten images of 10 MB in base64 and their text."""
_CHUNK = 1024 * 1024

Line = tuple[int, bytes | None]
"""Its number, from 1, and its bytes without the line feed; None instead of those of a line that is too long."""


def open_file(path: Path) -> BinaryIO:
    """The file, opened for reading.

    Raises:
        InputError: it is not there, a folder, or may not be read.
    """
    try:
        return path.open("rb")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error


def read_lines(file: BinaryIO, *, longest: int = LONGEST_LINE) -> Iterator[Line]:
    """All lines; a line feed at the end of the file ends the last line and begins none.

    Args:
        file: at its beginning.
        longest: bytes of a line above which it is not kept.
    """
    number = 0
    begun: list[bytes] = []
    size = 0
    while chunk := file.read(_CHUNK):
        *whole, rest = chunk.split(b"\n")
        for piece in whole:
            number += 1
            if begun or size:
                yield number, b"".join([*begun, piece]) if size + len(piece) <= longest else None
                begun, size = [], 0
            else:
                yield number, piece if len(piece) <= longest else None
        size += len(rest)
        # Of a line that is too long only its length is kept.
        begun = [*begun, rest] if rest and size <= longest else begun if size <= longest else []
    if size:
        yield number + 1, b"".join(begun) if size <= longest else None
