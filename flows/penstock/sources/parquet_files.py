"""Parquet files: types and row counts from their footers, slices read with pushed-down row ranges."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.errors import InputError, SourceChanged
from penstock.sources.base import BadRow, FileState, Slice, SliceData
from penstock.sources.casting import cast_typed
from penstock.sources.copies import Copies
from penstock.sources.files import ROW_KEY, check_row_key, row_texts, with_row_keys
from penstock.sources.mirrors import Mirror
from penstock.sources.settings import SourceSettings
from penstock.sources.stored import StoredFile
from penstock.values import polars_type

if TYPE_CHECKING:
    import polars as pl


class ParquetFiles:
    """A source of one or more Parquet files with the same columns, here or in object storage."""

    def __init__(self, stored: list[StoredFile], settings: SourceSettings, copies: Copies) -> None:
        self.stored = stored
        self.settings = settings
        self._mirrors = {place: Mirror(file, copies) for place, file in enumerate(stored) if file.is_remote}

    @property
    def files(self) -> list[str | Path]:
        """The files as they are stored."""
        return [file.place for file in self.stored]

    def states(self) -> tuple[FileState, ...]:
        """What tells whether each file is still what was planned."""
        return tuple(file.state for file in self.stored)

    def column_names(self) -> dict[str, str | None]:
        """Names and Arrow types of the first file's footer."""
        schema = self._footer(0).schema_arrow
        key: dict[str, str | None] = {} if self.settings.keys else {ROW_KEY: "String"}
        return {**key, **{field.name: str(field.type) for field in schema}}

    def schema(self) -> dict[str, pl.DataType]:
        """Names and types of the first file, but for those that `source.types` names."""
        import polars as pl

        check_row_key(self._footer(0).schema_arrow.names, self.settings, self.stored[0].name)
        stored = pl.scan_parquet(self._path(0), glob=False).collect_schema()
        if unknown := sorted(set(self.settings.types) - set(stored)):
            raise InputError(
                f"source.types names columns that {self.stored[0].name} does not have: {', '.join(unknown)}"
            )
        key = {} if self.settings.keys else {ROW_KEY: pl.String()}
        return {**key, **stored, **{name: polars_type(word) for name, word in self.settings.types.items()}}

    def slices(self, rows: int, *, may_estimate: bool = False) -> Iterator[Slice]:  # noqa: ARG002  # footers count
        """Cut by the row counts in the footers; no data is read."""
        first = self._footer(0).schema_arrow
        for number, file in enumerate(self.stored):
            footer = self._footer(number)
            if not footer.schema_arrow.equals(first):
                raise InputError(f"source.path: {file.name} has other columns than {self.stored[0].name}")
            total = footer.metadata.num_rows
            digest = file.state.digest
            for start in range(0, total, rows):
                yield Slice(number, start, min(rows, total - start), digest=f"{digest}-{start}")

    def read(self, piece: Slice, schema: dict[str, pl.DataType]) -> SliceData:
        """The slice's rows; one with a value that does not fit a type of `source.types` is a bad row."""
        names = [name for name in schema if name != ROW_KEY or self.settings.keys]
        address = self.stored[piece.file].address
        frame = read_rows(self._path(piece.file, piece.first_row, piece.rows), names, piece, address)
        result = typed_slice(frame, {name: schema[name] for name in names}, piece, address)
        return result if self.settings.keys else with_row_keys(result, piece.file)

    def _path(self, number: int, first: int = 0, count: int = 0) -> Path:
        """A file of this machine that holds these rows of a file, and its footer."""
        mirror = self._mirrors.get(number)
        return Path(self.stored[number].address) if mirror is None else mirror.rows(first, count)

    def _footer(self, number: int) -> Any:
        import pyarrow as pa
        from pyarrow import parquet

        mirror = self._mirrors.get(number)
        try:
            return parquet.ParquetFile(self.stored[number].address if mirror is None else mirror.footer())
        except (pa.ArrowInvalid, OSError) as error:
            name = self.stored[number].name
            raise InputError(f"source.path: {name} is not a whole Parquet file: {error}") from None


def read_rows(path: Path, names: list[str], piece: Slice, shown: str) -> pl.DataFrame:
    """Rows of a Parquet file of this machine; `shown` is what messages call it.

    Raises:
        SourceChanged: the file is gone or has fewer rows than planned.
        InputError: it is damaged.
    """
    import polars as pl

    try:
        frame = pl.scan_parquet(path, glob=False).select(names).slice(piece.first_row, piece.rows).collect()
    except OSError as error:
        raise SourceChanged(f"the source file {shown} cannot be read any more ({error.strerror})") from None
    except pl.exceptions.PolarsError as error:
        reason = str(error).split("\n", 1)[0]
        raise InputError(f"the source file {shown} is damaged, from row {piece.first_row} on: {reason}") from None
    if len(frame) != piece.rows:
        raise SourceChanged(f"the source file {shown} has fewer rows than planned; start a new run")
    return frame


def typed_slice(frame: pl.DataFrame, schema: dict[str, pl.DataType], piece: Slice, shown: str) -> SliceData:
    """All rows of a slice with the types of `schema`; those that do not fit are bad rows."""
    import polars as pl

    numbers = range(piece.first_row, piece.first_row + piece.rows)
    typed, lost = cast_typed(frame, schema)
    if not lost:
        return SliceData(typed, numbers, piece.rows)
    texts = row_texts(frame[sorted(lost)])
    bad = [
        BadRow(shown, numbers[place], numbers[place] + 1, lost[place], text[:1000])
        for place, text in zip(sorted(lost), texts, strict=True)
    ]
    kept = [place for place in range(len(frame)) if place not in lost]
    return SliceData(typed[pl.Series(kept, dtype=pl.UInt32)], [numbers[place] for place in kept], piece.rows, bad)
