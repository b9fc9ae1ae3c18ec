"""What CSV and JSON Lines share: text that is cut into slices by its bytes, counted or sampled."""

from __future__ import annotations

import bisect
import hashlib
import json
import mmap
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from penstock.errors import InputError
from penstock.sources.base import FileState, Slice
from penstock.sources.files import ROW_KEY
from penstock.sources.records import CsvForm, UnclosedQuote, count_lines, read_slice, record_ends, record_slices
from penstock.sources.sampled import sampled_slices
from penstock.sources.settings import SourceSettings
from penstock.sources.stored import TextFile

LARGE = 4 << 30
"""Bytes from which on a text file is sampled rather than counted, where that may be."""


class TextFiles:
    """One or more text files of one kind."""

    def __init__(self, texts: list[TextFile], settings: SourceSettings) -> None:
        self.texts = texts
        self.settings = settings

    @property
    def files(self) -> list[str | Path]:
        """The files as they are stored."""
        return [text.stored.place for text in self.texts]

    def states(self) -> tuple[FileState, ...]:
        """What tells whether each file is still what was planned."""
        return tuple(text.stored.state for text in self.texts)

    def row_key_names(self) -> dict[str, str | None]:
        """Penstock's own key column, where the pipeline names none."""
        return {} if self.settings.keys else {ROW_KEY: "String"}

    def cut(
        self,
        number: int,
        start: int,
        rows: int,
        form: CsvForm | None,
        *,
        may_estimate: bool,
        extra: Sequence[str] = (),
    ) -> Iterator[Slice]:
        """The slices of one file, whose first record begins at byte `start`.

        Args:
            extra: what else decides the content of its rows.

        Raises:
            InputError: a quoted cell has no end.
        """
        text = self.texts[number]
        path = text.path
        if may_estimate and self._is_sampled(path):
            # The copy of a file has a time of its own.
            modified_ns = text.stored.state.modified_ns
            slices = sampled_slices(path, number, start, rows, form=form, modified_ns=modified_ns)
        else:
            delimiter = form.delimiter if form is not None else None
            slices = record_slices(path, number, start, rows, delimiter=delimiter, name=text.name)
        for piece in slices:
            yield replace(piece, digest=mixed(piece.digest, extra)) if any(extra) else piece

    def slice_bytes(self, piece: Slice, form: CsvForm | None) -> tuple[bytes, int]:
        """The bytes of a slice, and how many records they hold, blank lines too.

        Raises:
            SourceChanged: the file is shorter than planned, or gone.
            InputError: a sampled slice ends inside a quoted cell.
        """
        text = self.texts[piece.file]
        data = read_slice(text.path, piece)
        if piece.counted:
            return data, piece.rows
        try:
            # Each slice proves the place where the next one begins, the first of them begins at a record for sure, and
            # so together they prove that every record is read once.
            delimiter = form.delimiter if form is not None else None
            return data, sum(count for _, count, _ in record_ends(data, 0, len(data) + 1, delimiter=delimiter))
        except UnclosedQuote:
            raise InputError(
                f"source.path: {text.name}: a quoted cell goes over byte {piece.end:,}, where a row was taken to begin "
                "from samples of the file; set source.cut: counted"
            ) from None

    def first_line(self, piece: Slice) -> int:
        """The line of the file that a slice begins on, from 1; counted now where planning did not count."""
        if piece.counted:
            return piece.first_line
        text = self.texts[piece.file]
        return 1 + _lines_before(text.path, text.stored.state.modified_ns, piece.start, csv=_is_csv(text))

    def _is_sampled(self, path: Path) -> bool:
        if not self.settings.keys or self.settings.cut == "counted":
            return False
        return self.settings.cut == "sampled" or path.stat().st_size > LARGE


def mixed(digest: str, extra: Sequence[object]) -> str:
    """A digest of a digest and of what else decides the content."""
    text = json.dumps([digest, *extra], ensure_ascii=False, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _is_csv(text: TextFile) -> bool:
    return text.suffix not in {".jsonl", ".ndjson", ".json"}


_counted: dict[tuple[Path, int], list[tuple[int, int]]] = {}
_counting = threading.Lock()
_MOST_FILES = 64


def _lines_before(path: Path, modified_ns: int, end: int, *, csv: bool) -> int:
    """How many lines stand before a byte. What one call counted, the next ones need not."""
    with _counting, path.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if (path, modified_ns) not in _counted and len(_counted) >= _MOST_FILES:
            _counted.clear()
        known = _counted.setdefault((path, modified_ns), [(0, 0)])
        place = bisect.bisect_right(known, end, key=lambda one: one[0])
        start, lines = known[place - 1]
        if start < end:
            lines += count_lines(data, start, end, returns=csv)
            known.insert(place, (end, lines))
        return lines
