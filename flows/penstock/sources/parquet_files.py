"""Parquet files: types and row counts from their footers, slices read with pushed-down row ranges."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.errors import InputError, SourceChanged
from penstock.sources.base import Slice, SliceData
from penstock.sources.files import ROW_KEY, check_row_key, file_state, with_row_keys
from penstock.sources.settings import SourceSettings

if TYPE_CHECKING:
    import polars as pl


class ParquetFiles:
    """A source of one or more Parquet files with the same columns."""

    def __init__(self, files: list[Path], settings: SourceSettings) -> None:
        self.files = files
        self.settings = settings

    def column_names(self) -> dict[str, str | None]:
        """Names and Arrow types of the first file's footer."""
        schema = self._footer(self.files[0]).schema_arrow
        key: dict[str, str | None] = {} if self.settings.keys else {ROW_KEY: "String"}
        return {**key, **{field.name: str(field.type) for field in schema}}

    def schema(self) -> dict[str, pl.DataType]:
        """Names and types of the first file."""
        import polars as pl

        if self.settings.types:
            raise InputError(
                "source.types: a Parquet file says the types of its columns; use a derive step to change one"
            )
        check_row_key(self._footer(self.files[0]).schema_arrow.names, self.settings, self.files[0])
        key = {} if self.settings.keys else {ROW_KEY: pl.String()}
        return {**key, **pl.scan_parquet(self.files[0], glob=False).collect_schema()}

    def slices(self, rows: int) -> Iterator[Slice]:
        """Cut by the row counts in the footers; no data is read."""
        first = self._footer(self.files[0]).schema_arrow
        for number, path in enumerate(self.files):
            footer = self._footer(path)
            if not footer.schema_arrow.equals(first):
                raise InputError(f"source.path: {path.name} has other columns than {self.files[0].name}")
            total = footer.metadata.num_rows
            digest = file_state(path).digest
            for start in range(0, total, rows):
                yield Slice(number, start, min(rows, total - start), digest=f"{digest}-{start}")

    def read(self, piece: Slice, schema: dict[str, pl.DataType]) -> SliceData:
        """The slice's rows."""
        import polars as pl

        path = self.files[piece.file]
        names = [name for name in schema if name != ROW_KEY or self.settings.keys]
        try:
            frame = pl.scan_parquet(path, glob=False).select(names).slice(piece.first_row, piece.rows).collect()
        except OSError as error:
            raise SourceChanged(f"the source file {path} cannot be read any more ({error.strerror})") from None
        except pl.exceptions.PolarsError as error:
            reason = str(error).split("\n", 1)[0]
            raise InputError(f"the source file {path} is damaged, from row {piece.first_row} on: {reason}") from None
        if len(frame) != piece.rows:
            raise SourceChanged(f"the source file {path} has fewer rows than planned; start a new run")
        result = SliceData(frame, range(piece.first_row, piece.first_row + piece.rows))
        return result if self.settings.keys else with_row_keys(result, piece.file)

    def _footer(self, path: Path) -> Any:
        import pyarrow as pa
        from pyarrow import parquet

        try:
            return parquet.ParquetFile(path)
        except (pa.ArrowInvalid, OSError) as error:
            raise InputError(f"source.path: {path.name} is not a whole Parquet file: {error}") from None
