"""Where records begin and end in text files: one pass over the bytes, without parsing cells."""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator
from pathlib import Path

from penstock.sources.base import Slice

_CHUNK = 4 << 20


def record_slices(path: Path, file: int, start: int, rows: int, *, delimiter: str | None) -> Iterator[Slice]:
    """Slices of at most `rows` records each, from the byte `start` to the end of the file.

    With a `delimiter` the file is CSV and a newline inside a quoted cell ends no record; without one, every newline
    does. A slice says how many lines it has, blank ones too, which is the number of its records or a little more.
    """
    if path.stat().st_size <= start:
        return
    with path.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as data:
        quoted = delimiter is not None and data.find(b'"', start) >= 0
        ends = _quoted_ends(data, start, rows, delimiter or ",") if quoted else _plain_ends(data, start, rows)
        first_line = data[:start].count(b"\n") + 1
        first_row = 0
        for end, count, lines in ends:
            yield Slice(file, first_row, count, start, end, first_line)
            start, first_row, first_line = end, first_row + count, first_line + lines


def _plain_ends(data: mmap.mmap, start: int, rows: int) -> Iterator[tuple[int, int, int]]:
    """(end, records, lines) of each slice where every newline ends a record."""
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


def _quoted_ends(data: mmap.mmap, start: int, rows: int, delimiter: str) -> Iterator[tuple[int, int, int]]:
    """(end, records, lines) of each slice of a CSV file with quoted cells (RFC 4180)."""
    before = re.escape(delimiter.encode()) + rb"\n"
    token = re.compile(rb"(?<=[" + before + rb'])"[^"]*(?:""[^"]*)*"|\n')
    size = len(data)
    count = lines = 0
    end = start
    # A quote at the very beginning of the data follows the header's newline, so the look-behind holds there too.
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
