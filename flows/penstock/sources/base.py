"""The contract of a source: its columns without reading it, its slices, and the rows of one slice."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, slots=True)
class FileState:
    """What tells whether a file is still the one that was planned.

    Attributes:
        path: as a full path, or the address of an object.
        size: bytes.
        modified_ns: time of the last change.
        digest: hash of the content (of a large file: of its beginning, middle and end), or an object's size and tag.
    """

    path: str
    size: int
    modified_ns: int
    digest: str


@dataclass(frozen=True, slots=True)
class Slice:
    """Some rows of one file, one after the other.

    Attributes:
        file: which of the source's files.
        first_row: number of the first row in the file, from 0.
        rows: how many.
        start, end: the bytes they stand in, for formats that are read by bytes; 0 for others.
        first_line: the line of the file that the first row begins on, from 1.
        digest: hash of what the slice holds, so that a slice which only moved, or whose file only grew, is known again.
        counted: whether `rows` and `first_row` were counted; else they are estimates, and `read` tells how many there
            are (`SliceData.records`). Line numbers are then found when a bad row needs one.
    """

    file: int
    first_row: int
    rows: int
    start: int = 0
    end: int = 0
    first_line: int = 1
    digest: str = ""
    counted: bool = True


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row of the source that cannot be read.

    `number` counts the file's rows from 0, blank lines too; `line` is where it begins, from 1, and in sources without
    lines the row's number from 1. `file` is a path, an address, or the database of a query.
    """

    file: str
    number: int
    line: int
    message: str
    text: str


@dataclass(slots=True)
class SliceData:
    """The rows of a slice that can be read, and those that cannot. `numbers` holds each good row's number in its file.

    The rows read are `len(frame) + len(bad)`. `records` is how many the slice spans, blank lines too: `Slice.rows`
    where they were counted; all numbers are below `Slice.first_row + records`.
    """

    frame: pl.DataFrame
    numbers: list[int] | range
    records: int
    bad: list[BadRow] = field(default_factory=list)


class Source(Protocol):
    """One kind of rows. Constructed from settings; opens nothing until asked.

    `files` are those that slices are numbered by: paths, or addresses of objects.
    """

    @property
    def files(self) -> Sequence[str | Path]:
        """What slices are numbered by: paths, or addresses of objects; of a query, its local copy."""

    def states(self) -> tuple[FileState, ...]:
        """What tells whether each of `files` is still what was planned. `open_source` takes them back."""

    def column_names(self) -> dict[str, str | None]:
        """Column names and, where the format tells them, type names. Cheap: the beginning of the first file.

        Raises:
            InputError: there is no file, or the first is not of this kind.
        """

    def schema(self) -> dict[str, pl.DataType]:
        """Column names and types, inferred from the beginning of each file where the format does not tell them.

        Raises:
            InputError: two files have different columns, or a file is not of this kind.
        """

    def slices(self, rows: int, *, may_estimate: bool = False) -> Iterator[Slice]:
        """All rows as slices of at most `rows`, in order. One pass over text formats, none over Parquet.

        Args:
            rows: of a slice at most; of one that is not counted, about.
            may_estimate: whether slices of large text files may come uncounted, after a look at a little of the file.
                Not for a limit on rows, which needs exact counts.

        Raises:
            InputError: two files have different columns, or a text file cannot be cut into rows.
        """

    def read(self, piece: Slice, schema: dict[str, pl.DataType]) -> SliceData:
        """The rows of one slice, with the columns of `schema`.

        Raises:
            SourceChanged: the file is shorter than planned or gone.
        """


def expand(pattern: Path) -> list[Path]:
    """The files that a path, a folder or a glob means, sorted by name; of a folder all that lie below it.

    What a folder or a wildcard finds is left out when its name, or a folder's on the way, begins with a dot or an
    underscore.
    """
    if pattern.is_file():
        return [pattern]
    base, rest = pattern, "**/*"
    if not pattern.is_dir():
        plain = list(itertools.takewhile(lambda part: not any(mark in part for mark in "*?["), pattern.parts))
        if len(plain) == len(pattern.parts):
            return []
        base = Path(*plain)
        rest = str(pattern.relative_to(base))
    return sorted(path for path in base.glob(rest) if path.is_file() and not _is_hidden(path.relative_to(base)))


def _is_hidden(path: Path) -> bool:
    return any(part.startswith((".", "_")) for part in path.parts)
