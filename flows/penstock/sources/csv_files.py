"""CSV and TSV files (RFC 4180): cut by records without parsing, parsed slice by slice by pyarrow."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.errors import InputError
from penstock.sources.base import BadRow, Slice, SliceData
from penstock.sources.casting import cast_columns, infer_types, misfit
from penstock.sources.files import ROW_KEY, check_row_key, polars_type, with_row_keys
from penstock.sources.records import UnclosedQuote, read_slice, record_ends, record_places, record_slices, whole_records
from penstock.sources.settings import SourceSettings

if TYPE_CHECKING:
    import polars as pl

_SAMPLE = 1 << 20
_SAMPLED_FILES = 16

_Lost = tuple[int, str, str]
"""A row that cannot be read: its place among the rows of the text, why, and its text."""


class CsvFiles:
    """A source of one or more CSV files with the same header."""

    def __init__(self, files: list[Path], settings: SourceSettings) -> None:
        self.files = files
        self.settings = settings
        self.delimiter = settings.delimiter or ("\t" if files[0].suffix.lower() == ".tsv" else ",")

    def column_names(self) -> dict[str, str | None]:
        """The header of the first file; types are not known before cells are read."""
        names, _ = self._header(self.files[0])
        return {**self._row_key(), **dict.fromkeys(names)}

    def schema(self) -> dict[str, pl.DataType]:
        """The header's names with types found in the first megabyte of up to 16 files, unless `source.types` says."""
        import polars as pl

        names, _ = self._header(self.files[0])
        unknown = sorted(set(self.settings.types) - set(names))
        if unknown:
            raise InputError(
                f"source.types names columns that {self.files[0].name} does not have: {', '.join(unknown)}"
            )
        step = max(1, len(self.files) // _SAMPLED_FILES)
        found: dict[str, list[pl.DataType]] = {name: [] for name in names}
        for path in self.files[::step]:
            for name, kind in infer_types(self._sample(path, names)).items():
                found[name].append(kind)
        types = {name: _widest(kinds) for name, kinds in found.items()}
        types |= {name: polars_type(word) for name, word in self.settings.types.items()}
        return {**({ROW_KEY: pl.String()} if not self.settings.keys else {}), **types}

    def slices(self, rows: int) -> Iterator[Slice]:
        """One pass over each file's bytes."""
        first, _ = self._header(self.files[0])
        for number, path in enumerate(self.files):
            names, start = self._header(path)
            if names != first:
                raise InputError(
                    f"source.path: {path.name} has other columns than {self.files[0].name}: "
                    f"{', '.join(names)} instead of {', '.join(first)}"
                )
            yield from record_slices(path, number, start, rows, delimiter=self.delimiter)

    def read(self, piece: Slice, schema: dict[str, pl.DataType]) -> SliceData:
        """The slice's rows; a row with too few or too many cells, or a cell that does not fit, is a bad row."""
        path = self.files[piece.file]
        data = read_slice(path, piece)
        cells = {name: kind for name, kind in schema.items() if name != ROW_KEY or self.settings.keys}
        frame, places, lost = self._parse(data, list(cells), path)
        typed, good, culprit = cast_columns(frame, cells)
        if culprit:
            for row_place in (~good).arg_true():
                row = frame.row(row_place, named=True)
                text = self.delimiter.join(str(cell or "") for cell in row.values())
                lost.append((places[row_place], misfit(row, cells), text))
            places = [place for place, kept in zip(places, good, strict=True) if kept]
            typed = typed.filter(good)
        if not lost and len(places) == piece.rows:
            result = SliceData(typed, range(piece.first_row, piece.first_row + piece.rows))
        else:
            result = self._placed(typed, places, lost, data, piece)
        return result if self.settings.keys else with_row_keys(result, piece.file)

    def _placed(
        self, frame: pl.DataFrame, places: list[int], lost: list[_Lost], data: bytes, piece: Slice
    ) -> SliceData:
        """With the numbers and lines that rows have in the file, where blank lines and long cells count."""
        stand = record_places(data, delimiter=self.delimiter)
        path = str(self.files[piece.file])
        bad = [
            BadRow(path, piece.first_row + stand[place][0], piece.first_line + stand[place][1], message, text[:1000])
            for place, message, text in sorted(lost)
        ]
        return SliceData(frame, [piece.first_row + stand[place][0] for place in places], bad)

    def _row_key(self) -> dict[str, str | None]:
        return {} if self.settings.keys else {ROW_KEY: "String"}

    def _header(self, path: Path) -> tuple[list[str], int]:
        """The column names and the byte at which the first record begins."""
        with path.open("rb") as handle:
            start = handle.read(_SAMPLE)
        mark = len(codecs.BOM_UTF8) if start.startswith(codecs.BOM_UTF8) else 0
        if not start[mark:].strip():
            raise InputError(f"source.path: {path.name} is empty; a CSV file begins with a header of column names")
        try:
            end = next(record_ends(start[mark:], 0, 1, delimiter=self.delimiter))[0] + mark
            names = next(csv.reader(io.StringIO(start[mark:end].decode(), newline=""), delimiter=self.delimiter))
        except UnicodeDecodeError:
            raise InputError(f"source.path: {path.name} is not UTF-8; convert it, for example with iconv") from None
        except UnclosedQuote:
            raise InputError(f"source.path: the header of {path.name} has a quote that is never closed") from None
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice or "" in names:
            raise InputError(
                f"source.path: the header of {path.name} has {f'{twice[0]!r} twice' if twice else 'an empty name'}"
            )
        check_row_key(names, self.settings, path)
        return names, end

    def _sample(self, path: Path, names: list[str]) -> pl.DataFrame:
        _, start = self._header(path)
        left = path.stat().st_size - start
        wanted = _SAMPLE
        with path.open("rb") as handle:
            handle.seek(start)
            data = handle.read(wanted)
            while len(data) < left and not (whole := whole_records(data, delimiter=self.delimiter)):
                # The first row is longer than all that was read.
                wanted *= 4
                data += handle.read(wanted)
        return self._parse(data if len(data) >= left else whole, names, path)[0]

    def _parse(self, data: bytes, names: list[str], path: Path) -> tuple[pl.DataFrame, list[int], list[_Lost]]:
        """The rows as text, the place of each among those that are not blank, and what is lost."""
        import polars as pl
        import pyarrow as pa
        from pyarrow import csv as arrow_csv

        lost: list[_Lost] = []

        def refuse(row: Any) -> str:
            message = f"the row has {row.actual_columns} cells and the header {row.expected_columns}"
            lost.append((row.number - 1, message, row.text))
            return "skip"

        if not data.strip(b"\r\n"):
            return pl.DataFrame(schema=dict.fromkeys(names, pl.String())), [], []
        arguments: dict[str, Any] = {
            "read_options": arrow_csv.ReadOptions(
                column_names=names, use_threads=False, block_size=max(len(data), 1024)
            ),
            "parse_options": arrow_csv.ParseOptions(
                delimiter=self.delimiter, newlines_in_values=True, invalid_row_handler=refuse
            ),
        }
        try:
            table = arrow_csv.read_csv(io.BytesIO(data), convert_options=_as(pa.string(), names), **arguments)
        except pa.ArrowInvalid:
            # Some cell is not UTF-8: read bytes, and only the rows that do not decode are lost.
            lost.clear()
            try:
                raw = arrow_csv.read_csv(io.BytesIO(data), convert_options=_as(pa.binary(), names), **arguments)
            except pa.ArrowInvalid as error:
                raise InputError(f"source.path: {path.name} cannot be read as CSV: {error}") from None
            table, undecoded = _decoded(raw, {place for place, _, _ in lost})
            lost += [(place, "the row is not UTF-8", text) for place, text in undecoded]
        gone = {place for place, _, _ in lost}
        return pl.DataFrame(table), [place for place in range(table.num_rows + len(gone)) if place not in gone], lost


def _as(kind: Any, names: list[str]) -> Any:
    from pyarrow import csv as arrow_csv

    return arrow_csv.ConvertOptions(
        column_types=dict.fromkeys(names, kind),
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
        null_values=[""],
    )


def _decoded(table: Any, refused: set[int]) -> tuple[Any, list[tuple[int, str]]]:
    """The rows of a table of bytes that are UTF-8, as text, and the place and a rendering of those that are not."""
    import pyarrow as pa

    places = iter(place for place in range(table.num_rows + len(refused)) if place not in refused)
    good: list[dict[str, str | None]] = []
    lost: list[tuple[int, str]] = []
    for place, row in zip(places, table.to_pylist(), strict=False):
        try:
            good.append({name: None if cell is None else cell.decode() for name, cell in row.items()})
        except UnicodeDecodeError:
            lost.append((place, ",".join((cell or b"").decode("utf-8", "replace") for cell in row.values())))
    return pa.Table.from_pylist(good, schema=pa.schema([(name, pa.string()) for name in table.column_names])), lost


def _widest(kinds: list[pl.DataType]) -> pl.DataType:
    import polars as pl

    distinct = list(dict.fromkeys(kinds))
    if len(distinct) == 1:
        return distinct[0]
    return pl.Float64() if set(distinct) == {pl.Int64(), pl.Float64()} else pl.String()
