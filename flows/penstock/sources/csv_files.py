"""CSV and TSV files (RFC 4180): cut by records without parsing, parsed slice by slice by pyarrow."""

from __future__ import annotations

import codecs
import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.errors import InputError
from penstock.sources.base import BadRow, Slice, SliceData
from penstock.sources.casting import cast_columns, infer_types, misfit
from penstock.sources.files import ROW_KEY, polars_type, with_row_keys
from penstock.sources.records import record_ends, record_slices
from penstock.sources.settings import SourceSettings

if TYPE_CHECKING:
    import polars as pl

_SAMPLE = 1 << 20
_SAMPLED_FILES = 16


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

    def slices(self, rows: int) -> list[Slice]:
        """One pass over each file's bytes."""
        first, _ = self._header(self.files[0])
        pieces: list[Slice] = []
        for number, path in enumerate(self.files):
            names, start = self._header(path)
            if names != first:
                raise InputError(
                    f"source.path: {path.name} has other columns than {self.files[0].name}: "
                    f"{', '.join(names)} instead of {', '.join(first)}"
                )
            pieces += record_slices(path, number, start, rows, delimiter=self.delimiter)
        return pieces

    def read(self, piece: Slice, schema: dict[str, pl.DataType]) -> SliceData:
        """The slice's rows; a row with too few or too many cells, or a cell that does not fit, is a bad row."""
        path = self.files[piece.file]
        with path.open("rb") as handle:
            handle.seek(piece.start)
            data = handle.read(piece.end - piece.start)
        cells = {name: kind for name, kind in schema.items() if name != ROW_KEY or self.settings.keys}
        frame, numbers, bad = self._parse(data, list(cells), piece, path)
        typed, good, culprit = cast_columns(frame, cells)
        if culprit:
            for place in (~good).arg_true():
                row = frame.row(place, named=True)
                text = self.delimiter.join(str(cell or "") for cell in row.values())[:1000]
                line = piece.first_line + numbers[place] - piece.first_row
                bad.append(BadRow(str(path), numbers[place], line, misfit(row, cells), text))
            numbers = [number for number, kept in zip(numbers, good, strict=True) if kept]
            typed = typed.filter(good)
        result = SliceData(typed, numbers, bad)
        return result if self.settings.keys else with_row_keys(result, piece.file)

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
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice or "" in names:
            raise InputError(
                f"source.path: the header of {path.name} has {f'{twice[0]!r} twice' if twice else 'an empty name'}"
            )
        return names, end

    def _sample(self, path: Path, names: list[str]) -> pl.DataFrame:
        _, start = self._header(path)
        size = path.stat().st_size
        with path.open("rb") as handle:
            handle.seek(start)
            data = handle.read(_SAMPLE)
        if start + len(data) < size:
            data = data[: data.rfind(b"\n") + 1] or data
        frame, _, _ = self._parse(data, names, Slice(0, 0, 0), path)
        return frame

    def _parse(
        self, data: bytes, names: list[str], piece: Slice, path: Path
    ) -> tuple[pl.DataFrame, list[int], list[BadRow]]:
        import polars as pl
        import pyarrow as pa
        from pyarrow import csv as arrow_csv

        bad: list[BadRow] = []
        places: set[int] = set()

        def refuse(row: Any) -> str:
            places.add(row.number - 1)
            message = f"the row has {row.actual_columns} cells and the header {row.expected_columns}"
            place = row.number - 1
            bad.append(BadRow(str(path), piece.first_row + place, piece.first_line + place, message, row.text[:1000]))
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
            bad.clear()
            places.clear()
            raw = arrow_csv.read_csv(io.BytesIO(data), convert_options=_as(pa.binary(), names), **arguments)
            table, undecoded = _decoded(raw, places)
            for place, text in undecoded:
                places.add(place)
                number, line = piece.first_row + place, piece.first_line + place
                bad.append(BadRow(str(path), number, line, "the row is not UTF-8", text))
        total = table.num_rows + len(places)
        numbers = [piece.first_row + place for place in range(total) if place not in places]
        return pl.DataFrame(table), numbers, bad


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
            lost.append((place, ",".join((cell or b"").decode("utf-8", "replace") for cell in row.values())[:1000]))
    return pa.Table.from_pylist(good, schema=pa.schema([(name, pa.string()) for name in table.column_names])), lost


def _widest(kinds: list[pl.DataType]) -> pl.DataType:
    import polars as pl

    distinct = list(dict.fromkeys(kinds))
    if len(distinct) == 1:
        return distinct[0]
    return pl.Float64() if set(distinct) == {pl.Int64(), pl.Float64()} else pl.String()
