"""Where records begin and end in text files: one pass over the bytes, without parsing cells."""

from __future__ import annotations

import hashlib
import mmap
import re
from collections.abc import Iterator
from pathlib import Path

from penstock.sources.base import Slice

_CHUNK = 4 << 20


def record_slices(path: Path, file: int, start: int, rows: int, *, delimiter: str | None) -> list[Slice]:
    """Slices of at most `rows` records each, from the byte `start` to the end of the file.

    With a `delimiter` the file is CSV and a newline inside a quoted cell ends no record; without one, every newline
    does. A slice says how many lines it has, blank ones too, which is the number of its records or a little more.
    """
    slices: list[Slice] = []
    if path.stat().st_size <= start:
        return slices
    with path.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as data:
        first_line = data[:start].count(b"\n") + 1
        first_row = 0
        for end, count, lines in record_ends(data, start, rows, delimiter=delimiter):
            slices.append(Slice(file, first_row, count, start, end, first_line, _digest(data, start, end)))
            start, first_row, first_line = end, first_row + count, first_line + lines
    return slices


def _digest(data: mmap.mmap, start: int, end: int) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for offset in range(start, end, _CHUNK):
        digest.update(data[offset : min(end, offset + _CHUNK)])
    return digest.hexdigest()


def record_ends(
    data: bytes | mmap.mmap, start: int, rows: int, *, delimiter: str | None
) -> Iterator[tuple[int, int, int]]:
    """(end, records, lines) of each run of `rows` records, and of what is left at the end."""
    if delimiter is not None and data.find(b'"', start) >= 0:
        return _quoted_ends(data, start, rows, delimiter)
    return _plain_ends(data, start, rows)


def _plain_ends(data: bytes | mmap.mmap, start: int, rows: int) -> Iterator[tuple[int, int, int]]:
    size = len(data)
    count, offset = 0, start
    while offset < size:
        chunk = data[offset : offset + _CHUNK]
        newlines = chunk.count(b"\n")
        if count + newlines < rows:
            count += newlines
            offset += len(chunk)
            continue
        place = -1
        while count < rows:
            place = chunk.index(b"\n", place + 1)
            count += 1
        offset += place + 1
        yield offset, rows, rows
        count, start = 0, offset
    if start < size:
        count += data[size - 1 : size] != b"\n"
        yield size, count, count


def _quoted_ends(data: bytes | mmap.mmap, start: int, rows: int, delimiter: str) -> Iterator[tuple[int, int, int]]:
    # A quote opens a cell only after a delimiter, a newline or at the very beginning; elsewhere it is a character.
    before = re.escape(delimiter.encode())
    token = re.compile(rb"(?:(?<=[" + before + rb'\n])|\A)"[^"]*(?:""[^"]*)*"|\n')
    size = len(data)
    count = lines = 0
    end = start
    for match in token.finditer(data, start):
        if match.end() - match.start() > 1:
            lines += match[0].count(b"\n")
            continue
        count, lines, end = count + 1, lines + 1, match.end()
        if count == rows:
            yield end, count, lines
            count = lines = 0
            start = end
    if start < size:
        yield size, count + (end < size), lines + (end < size)
