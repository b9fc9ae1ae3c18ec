"""Cutting a large text file into slices by looking at a little of it: its time, and a few blocks of each slice.

Where a record begins is plain in JSON Lines: after any newline. In CSV a newline may stand inside a quoted cell, so at
a place in the middle of a file both are tried: that it lies inside a quoted cell, and that it does not. The one is
taken under which the records that follow have as many cells as the header. Where that does not decide, the slice before
is read through. Reading a slice proves its end (`TextFiles.slice_bytes`).
"""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from penstock.errors import InputError
from penstock.sources.base import Slice
from penstock.sources.records import CsvForm, UnclosedQuote, record_ends

_BLOCK = 16 << 10
_LARGEST_BLOCK = 8 << 20
_DIGEST_BLOCK = 4 << 10
_READ = 4 << 20
_RECORDS = 64
_FEWEST = 4
_CLOSED = re.compile(rb'[^"]*+(?:""[^"]*+)*+"')


def sampled_slices(
    path: Path, file: int, start: int, rows: int, *, form: CsvForm | None, modified_ns: int
) -> Iterator[Slice]:
    """Slices of about `rows` records each, from the byte `start`, which begins a record, to the end of the file.

    Their numbers of rows are estimates. Their digests hold the file's time and size, so that a file which changed
    anywhere is new as a whole.

    Raises:
        InputError: a quoted cell has no end.
    """
    with path.open("rb") as handle:
        text = _Text(handle, path.stat().st_size, form, path.name)
        first_row = 0
        while start < text.size:
            record = text.record_size(start)
            wanted = start + max(1, round(rows * record))
            # What would be left over by less than half a slice goes to the last one.
            last = wanted + rows * record / 2 >= text.size
            end = text.size if last else text.next_record(start, wanted)
            count = max(1, round((end - start) / record))
            yield Slice(file, first_row, count, start, end, 0, text.digest(start, end, modified_ns), counted=False)
            start, first_row = end, first_row + count


@dataclass(frozen=True, slots=True)
class _Text:
    """An open file; `form` is that of CSV, and None is JSON Lines."""

    handle: BinaryIO
    size: int
    form: CsvForm | None
    name: str

    def record_size(self, start: int) -> float:
        """Bytes of a record, on average over those that begin at `start`."""
        block = _BLOCK
        while True:
            data = self._read(start, start + block)
            whole = list(_ends(data, self.form.delimiter if self.form else None))
            at_end = start + block >= self.size
            if len(whole) >= _FEWEST or at_end or block >= _LARGEST_BLOCK:
                return whole[-1] / len(whole) if whole else len(data)
            block *= 4

    def next_record(self, begin: int, wanted: int) -> int:
        """The first byte from `wanted` on at which a record begins; the file's size if none does.

        `begin` is one where a record begins for sure.
        """
        if self.form is None:
            return self._after_newline(wanted)
        block = _BLOCK
        while block <= _LARGEST_BLOCK:
            at_end = wanted + block >= self.size
            found = _decided(self._read(wanted, wanted + block), self.form, is_end=at_end)
            if found is not None:
                return wanted + found
            if at_end:
                break
            block *= 4
        return self._read_through(begin, wanted, self.form.delimiter)

    def digest(self, start: int, end: int, modified_ns: int) -> str:
        """Of the file's time and size, the slice's place, and its beginning, middle and end."""
        digest = hashlib.blake2b(repr((modified_ns, self.size, start, end)).encode(), digest_size=16)
        middle = max(start, (start + end - _DIGEST_BLOCK) // 2)
        for place in (start, middle, max(start, end - _DIGEST_BLOCK)):
            digest.update(self._read(place, min(end, place + _DIGEST_BLOCK)))
        return digest.hexdigest()

    def _after_newline(self, wanted: int) -> int:
        place = wanted - 1
        while data := self._read(place, place + _BLOCK):
            if (found := data.find(b"\n")) >= 0:
                return place + found + 1
            place += len(data)
        return self.size

    def _read_through(self, begin: int, wanted: int, delimiter: str) -> int:
        """As `next_record`, by reading all from `begin` on."""
        upto = wanted
        while True:
            upto = min(self.size, max(upto + _READ, begin + 2 * (upto - begin)))
            data = self._read(begin, upto)
            try:
                for end, _, _ in record_ends(data, 0, 1, delimiter=delimiter):
                    # At the end of what was read, a carriage return may lack its newline.
                    if begin + end >= wanted and (end < len(data) or upto >= self.size):
                        return begin + end
            except UnclosedQuote:
                if upto >= self.size:
                    raise InputError(
                        f"source.path: {self.name}: somewhere after byte {begin:,} a cell begins with a quote that is "
                        "never closed, so that all rows after it would be read as one cell. Close it"
                    ) from None
            if upto >= self.size:
                return self.size

    def _read(self, start: int, end: int) -> bytes:
        self.handle.seek(start)
        return self.handle.read(min(end, self.size) - start)


def _ends(data: bytes, delimiter: str | None) -> Iterator[int]:
    """Where whole records of a block end."""
    try:
        for end, _, _ in record_ends(data, 0, 1, delimiter=delimiter):
            if data[end - 1 : end] in {b"\n", b"\r"}:
                yield end
    except UnclosedQuote:
        return


def _decided(data: bytes, form: CsvForm, *, is_end: bool) -> int | None:
    """Where in a block that begins anywhere the first record begins; None when the block does not tell."""
    outside = _first_record(data, 0, form, is_end=is_end)
    closed = _CLOSED.match(data)
    inside = _first_record(data, closed.end(), form, is_end=is_end) if closed else None
    if inside is None or outside is None:
        return outside if inside is None else inside
    return outside if outside == inside else None


def _first_record(data: bytes, place: int, form: CsvForm, *, is_end: bool) -> int | None:
    """Where the first record after `place` begins if `place` is outside of quotes and that makes sense, else None."""
    rest = data[place:]
    ends = list(itertools.islice(_ends(rest, form.delimiter), _RECORDS + 1))
    records = [rest[start:end] for start, end in itertools.pairwise(ends) if rest[start:end].strip(b"\r\n")]
    enough = len(records) >= _FEWEST or (is_end and bool(records))
    if not enough or not all(_cells(record, form.delimiter) == form.cells for record in records):
        return None
    return place + ends[0]


def _cells(record: bytes, delimiter: str) -> int:
    text = io.StringIO(record.decode("utf-8", "replace"), newline="")
    try:
        return len(next(csv.reader(text, delimiter=delimiter)))
    except csv.Error:
        return 0
