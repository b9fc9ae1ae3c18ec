"""A folder or glob of files as rows: where each lies, how large it is, and how long its sound is."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.errors import InputError
from penstock.sources.base import BadRow, FileState, Slice, SliceData
from penstock.sources.casting import cast_typed
from penstock.sources.copies import Copies
from penstock.sources.files import local_files
from penstock.sources.objects import is_address
from penstock.sources.settings import AUDIO, MEDIA, SourceSettings
from penstock.sources.snapshots import Snapshot
from penstock.sources.sound import Unreadable, seconds_of
from penstock.values import TypeWord, polars_type

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl
    import pyarrow as pa

_COLUMNS: dict[str, TypeWord] = {
    "path": "string",
    "name": "string",
    "type": "string",
    "bytes": "integer",
    "modified": "datetime",
    "seconds": "number",
    "text": "string",
}
_UNKNOWN = "application/octet-stream"
_MODIFIED = "__modified_ns"
_LARGEST_TEXT = 64 << 20


class FileRows:
    """Each file is a row, in the order of their paths. The list of files is kept from planning on.

    Columns: `path` (whole), `name`, `type` (media type by ending), `bytes`, `modified` (UTC), `seconds` (of sound; null
    for other files) and, if asked for, `text`.
    """

    def __init__(self, settings: SourceSettings, copies: Copies, planned: Sequence[FileState]) -> None:
        self.settings = settings
        if is_address(settings.path):
            raise InputError(
                f"source.path: {settings.path} is an address, and files as rows must lie on this machine; copy or "
                "mount them"
            )
        self._snapshot = Snapshot(copies, planned, self._listed, "the list of files")

    @property
    def files(self) -> list[str | Path]:
        """The list of files."""
        return [self._snapshot.path]

    def states(self) -> tuple[FileState, ...]:
        """The state of the list."""
        return (self._snapshot.state,)

    def column_names(self) -> dict[str, str | None]:
        """The columns, once a file is there.

        Raises:
            InputError: there is none, or `source.types` names another column.
        """
        local_files(self.settings.path)
        return dict(self._words())

    def schema(self) -> dict[str, pl.DataType]:
        """The columns and their types."""
        return {name: polars_type(word) for name, word in {**self._words(), **self.settings.types}.items()}

    def _words(self) -> dict[str, TypeWord]:
        words = {name: word for name, word in _COLUMNS.items() if name != "text" or self.settings.contents}
        if unknown := sorted(set(self.settings.types) - set(words)):
            raise InputError(f"source.types: files as rows have no column {unknown[0]!r}; they have {', '.join(words)}")
        return words

    def slices(self, rows: int, *, may_estimate: bool = False) -> Iterator[Slice]:  # noqa: ARG002  # a list is counted
        """Cut by the list; digests are of names, sizes and times."""
        yield from self._snapshot.slices(rows)

    def read(self, piece: Slice, schema: dict[str, pl.DataType]) -> SliceData:
        """The files of a slice; one that changed since planning, or whose sound cannot be read, is a bad row."""
        import polars as pl

        listed = self._snapshot.read(piece, ["path", "bytes", _MODIFIED])
        rows: list[dict[str, Any]] = []
        numbers: list[int] = []
        bad: list[BadRow] = []
        for place, (text, size, modified_ns) in enumerate(listed.iter_rows()):
            number = piece.first_row + place
            try:
                rows.append(self._row(Path(text), size, modified_ns))
                numbers.append(number)
            except Unreadable as error:
                bad.append(BadRow(text, number, number + 1, str(error), text))
        own = {name: polars_type(word) for name, word in self._words().items()}
        frame, lost = cast_typed(pl.DataFrame(rows, schema=own), schema)
        bad += [
            BadRow(rows[at]["path"], numbers[at], numbers[at] + 1, why, rows[at]["path"]) for at, why in lost.items()
        ]
        kept = [place for place in range(len(rows)) if place not in lost]
        if lost:
            frame = frame[pl.Series(kept, dtype=pl.UInt32)]
        return SliceData(frame, [numbers[place] for place in kept], piece.rows, sorted(bad, key=lambda one: one.number))

    def _row(self, path: Path, size: int, modified_ns: int) -> dict[str, Any]:
        suffix = path.suffix.lower()
        try:
            stat = path.stat()
            if (stat.st_size, stat.st_mtime_ns) != (size, modified_ns):
                raise Unreadable("the file changed after the run was planned; run again to take it as it is now")
            row = {
                "path": str(path),
                "name": path.name,
                "type": MEDIA.get(suffix, _UNKNOWN),
                "bytes": size,
                "modified": datetime.fromtimestamp(modified_ns // 1000 / 1e6, UTC).replace(tzinfo=None),
                "seconds": seconds_of(path) if suffix in AUDIO else None,
            }
            if self.settings.contents:
                row["text"] = _text_of(path, size)
        except OSError as error:
            raise Unreadable(f"the file cannot be read: {error.strerror or error}") from None
        return row

    def _listed(self) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        import pyarrow as pa

        schema = pa.schema([("path", pa.string()), ("bytes", pa.int64()), (_MODIFIED, pa.int64())])
        rows = [
            (str(path), (stat := path.stat()).st_size, stat.st_mtime_ns) for path in local_files(self.settings.path)
        ]
        columns = [list(column) for column in zip(*rows, strict=True)]
        return schema, iter([pa.record_batch(columns, schema=schema)])


def _text_of(path: Path, size: int) -> str:
    if size > _LARGEST_TEXT:
        raise Unreadable(f"the file has {size:,} bytes, and `contents` reads texts up to {_LARGEST_TEXT:,}")
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unreadable(f"the file is not UTF-8, from byte {error.start:,} on") from None
