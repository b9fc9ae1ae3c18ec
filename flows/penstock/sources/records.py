"""Where records begin and end in text files: one pass over the bytes, without parsing cells."""

from __future__ import annotations

import hashlib
import mmap
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from penstock.errors import InputError, SourceChanged
from penstock.sources.base import Slice

_CHUNK = 4 << 20
_LONE_RETURN = re.compile(rb"\r(?!\n)")


@dataclass(frozen=True, slots=True)
class CsvForm:
    """What the records of a CSV file look like: what separates their cells, and how many each has."""

    delimiter: str
    cells: int


def record_slices(
    path: Path, file: int, start: int, rows: int, *, delimiter: str | None, name: str = ""
) -> Iterator[Slice]:
    """Slices of at most `rows` records each, from the byte `start` to the end of the file.

    With a `delimiter` the file is CSV and a newline inside a quoted cell ends no record; without one, every newline
    does. A slice says how many records it has, blank lines too, which is the number of its rows or a little more.
    `name` is that of the file in messages.

    Raises:
        InputError: a quoted cell has no end.
    """
    if path.stat().st_size <= start:
        return
    with path.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as data:
        first_line = count_lines(data, 0, start) + 1
        first_row = 0
        try:
            for end, count, lines in record_ends(data, start, rows, delimiter=delimiter):
                yield Slice(file, first_row, count, start, end, first_line, _digest(data, start, end))
                start, first_row, first_line = end, first_row + count, first_line + lines
        except UnclosedQuote as error:
            line = first_line + error.lines
            raise InputError(
                f"source.path: {name or path.name}, line {line}: a cell begins with a quote that is never closed, so "
                "that all rows after it would be read as one cell. Close it, or write a quote in text as two and quote "
                "the cell"
            ) from None


def read_slice(path: Path, piece: Slice) -> bytes:
    """The bytes of a slice.

    Raises:
        SourceChanged: the file is shorter than planned, or gone.
    """
    try:
        with path.open("rb") as handle:
            handle.seek(piece.start)
            data = handle.read(piece.end - piece.start)
    except OSError as error:
        raise SourceChanged(f"the source file {path} cannot be read any more ({error.strerror})") from None
    if len(data) < piece.end - piece.start:
        raise SourceChanged(f"the source file {path} is shorter than planned; start a new run")
    return data


def record_places(data: bytes, *, delimiter: str | None) -> list[tuple[int, int]]:
    """Of each record that is no blank line: how many records (blank ones too) and how many lines stand before it."""
    places: list[tuple[int, int]] = []
    start = line = 0
    for number, (end, _, lines) in enumerate(record_ends(data, 0, 1, delimiter=delimiter)):
        if data[start:end].strip(b"\r\n"):
            places.append((number, line))
        start, line = end, line + lines
    return places


def whole_records(data: bytes, *, delimiter: str | None) -> bytes:
    """The beginning of a file up to the end of its last whole record; empty when there is none."""
    end = 0
    try:
        for upto, _, _ in record_ends(data, 0, 1, delimiter=delimiter):
            end = upto if upto < len(data) else end
    except UnclosedQuote:
        pass
    return data[:end]


def count_lines(data: mmap.mmap, start: int, end: int, *, returns: bool = True) -> int:
    """How many line ends stand between two bytes; a carriage return alone is one too, unless `returns` says no."""
    lines = 0
    for offset in range(start, end, _CHUNK):
        stop = min(end, offset + _CHUNK)
        chunk = data[offset:stop]
        lines += chunk.count(b"\n")
        if returns and b"\r" in chunk:
            split = chunk.endswith(b"\r") and data[stop : stop + 1] == b"\n" and stop < end
            lines += chunk.count(b"\r") - chunk.count(b"\r\n") - split
        _forget(data, offset)
    return lines


def _digest(data: mmap.mmap, start: int, end: int) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for offset in range(start, end, _CHUNK):
        digest.update(data[offset : min(end, offset + _CHUNK)])
    return digest.hexdigest()


class UnclosedQuote(Exception):
    """A quoted cell has no end; `lines` is how many lines before it follow the last records that were given out."""

    def __init__(self, lines: int) -> None:
        super().__init__(lines)
        self.lines = lines


def record_ends(
    data: bytes | mmap.mmap, start: int, rows: int, *, delimiter: str | None
) -> Iterator[tuple[int, int, int]]:
    """(end, records, lines) of each run of `rows` records, and of what is left at the end.

    Raises:
        UnclosedQuote: a quoted cell has no end.
    """
    size = len(data)
    count = 0
    for offset in range(start, size, _CHUNK):
        chunk = data[offset : offset + _CHUNK]
        if delimiter is not None and (b'"' in chunk or (b"\r" in chunk and _LONE_RETURN.search(chunk))):
            # Up to here every newline ends a record and every record is one line; from here on cells decide.
            yield from _quoted_ends(data, start, rows, delimiter)
            return
        left, place = chunk.count(b"\n"), -1
        while count + left >= rows:
            for _ in range(rows - count):
                place = chunk.index(b"\n", place + 1)
            left -= rows - count
            yield offset + place + 1, rows, rows
            count, start = 0, offset + place + 1
        count += left
        _forget(data, offset)
    if start < size:
        count += data[size - 1 : size] != b"\n"
        yield size, count, count


def _forget(data: bytes | mmap.mmap, upto: int) -> None:
    """Give back the memory of a file's beginning, which a mapping holds on to otherwise."""
    if isinstance(data, mmap.mmap) and upto >= mmap.PAGESIZE:
        data.madvise(mmap.MADV_DONTNEED, 0, upto - upto % mmap.PAGESIZE)


def _quoted_ends(data: bytes | mmap.mmap, start: int, rows: int, delimiter: str) -> Iterator[tuple[int, int, int]]:
    # A quote opens a cell only after a delimiter, a line's end or at the very beginning; elsewhere it is a character.
    before = re.escape(delimiter.encode())
    token = re.compile(rb"(?:(?<=[" + before + rb'\r\n])|\A)"[^"]*+(?:""[^"]*+)*+("?)|\r\n?|\n')
    size = len(data)
    count = lines = 0
    end = start
    for match in token.finditer(data, start):
        if match[1] is not None:
            if not match[1]:
                raise UnclosedQuote(lines)
            lines += match[0].count(b"\n")
            continue
        count, lines, end = count + 1, lines + 1, match.end()
        if count == rows:
            yield end, count, lines
            _forget(data, end)
            count = lines = 0
            start = end
    if start < size:
        yield size, count + (end < size), lines + (end < size)
