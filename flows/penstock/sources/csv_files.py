"""CSV and TSV files (RFC 4180): cut by records without parsing, parsed slice by slice by pyarrow."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from penstock.errors import InputError
from penstock.sources.base import BadRow, Slice, SliceData
from penstock.sources.casting import cast_columns, infer_types, misfit
from penstock.sources.files import ROW_KEY, check_row_key, with_row_keys
from penstock.sources.records import CsvForm, UnclosedQuote, record_ends, record_places, whole_records
from penstock.sources.settings import SourceSettings
from penstock.sources.stored import TextFile
from penstock.sources.text_files import TextFiles
from penstock.values import polars_type

if TYPE_CHECKING:
    import polars as pl

_SAMPLE = 1 << 20
_SAMPLED_FILES = 16

_Lost = tuple[int, str, str]
"""A row that cannot be read: its place among the rows of the text, why, and its text."""


class CsvFiles(TextFiles):
    """A source of one or more CSV files with the same header."""

    def __init__(self, texts: list[TextFile], settings: SourceSettings) -> None:
        super().__init__(texts, settings)
        self.delimiter = settings.delimiter or ("\t" if texts[0].suffix == ".tsv" else ",")
        self.nulls = ["", *settings.null_values]

    def column_names(self) -> dict[str, str | None]:
        """The header of the first file; types are not known before cells are read."""
        names, _ = self._header(self.texts[0])
        return {**self.row_key_names(), **dict.fromkeys(names)}

    def schema(self) -> dict[str, pl.DataType]:
        """The header's names with types found in the first megabyte of up to 16 files, unless `source.types` says."""
        import polars as pl

        names, _ = self._header(self.texts[0])
        unknown = sorted(set(self.settings.types) - set(names))
        if unknown:
            raise InputError(
                f"source.types names columns that {self.texts[0].name} does not have: {', '.join(unknown)}"
            )
        step = max(1, len(self.texts) // _SAMPLED_FILES)
        found: dict[str, list[pl.DataType]] = {name: [] for name in names}
        for text in self.texts[::step]:
            for name, kind in infer_types(self._sample(text, names)).items():
                found[name].append(kind)
        types = {name: _widest(kinds) for name, kinds in found.items()}
        types |= {name: polars_type(word) for name, word in self.settings.types.items()}
        return {**({ROW_KEY: pl.String()} if not self.settings.keys else {}), **types}

    def slices(self, rows: int, *, may_estimate: bool = False) -> Iterator[Slice]:
        """One pass over each file's bytes, or a look at places of large ones."""
        first, _ = self._header(self.texts[0])
        for number, text in enumerate(self.texts):
            names, start = self._header(text)
            if names != first:
                raise InputError(
                    f"source.path: {text.name} has other columns than {self.texts[0].name}: "
                    f"{', '.join(names)} instead of {', '.join(first)}"
                )
            form = CsvForm(self.delimiter, len(names))
            # The fingerprint of a partition knows the delimiter only of files that are not compressed.
            extra = [*self.settings.null_values, self.delimiter if text.compression else ""]
            yield from self.cut(number, start, rows, form, may_estimate=may_estimate, extra=extra)

    def read(self, piece: Slice, schema: dict[str, pl.DataType]) -> SliceData:
        """The slice's rows; a row with too few or too many cells, or a cell that does not fit, is a bad row."""
        text = self.texts[piece.file]
        data, records = self.slice_bytes(piece, CsvForm(self.delimiter, len(schema)))
        cells = {name: kind for name, kind in schema.items() if name != ROW_KEY or self.settings.keys}
        frame, places, lost = self._parse(data, list(cells), text.name)
        typed, good, culprit = cast_columns(frame, cells)
        if culprit:
            for row_place in (~good).arg_true():
                row = frame.row(row_place, named=True)
                shown = self.delimiter.join(str(cell or "") for cell in row.values())
                lost.append((places[row_place], misfit(row, cells), shown))
            places = [place for place, kept in zip(places, good, strict=True) if kept]
            typed = typed.filter(good)
        if not lost and len(places) == records:
            result = SliceData(typed, range(piece.first_row, piece.first_row + records), records)
        else:
            result = self._placed(SliceData(typed, places, records), lost, data, piece)
        return result if self.settings.keys else with_row_keys(result, piece.file)

    def _placed(self, found: SliceData, lost: list[_Lost], data: bytes, piece: Slice) -> SliceData:
        """With the numbers and lines that rows have in the file, where blank lines and long cells count."""
        stand = record_places(data, delimiter=self.delimiter)
        first_line = self.first_line(piece) if lost else 0
        address = self.texts[piece.file].address
        bad = [
            BadRow(address, piece.first_row + stand[place][0], first_line + stand[place][1], message, text[:1000])
            for place, message, text in sorted(lost)
        ]
        numbers = [piece.first_row + stand[place][0] for place in found.numbers]
        return SliceData(found.frame, numbers, found.records, bad)

    def _header(self, text: TextFile) -> tuple[list[str], int]:
        """The column names and the byte at which the first record begins."""
        start = text.beginning(_SAMPLE)
        mark = len(codecs.BOM_UTF8) if start.startswith(codecs.BOM_UTF8) else 0
        if not start[mark:].strip():
            raise InputError(f"source.path: {text.name} is empty; a CSV file begins with a header of column names")
        try:
            end = next(record_ends(start[mark:], 0, 1, delimiter=self.delimiter))[0] + mark
            names = next(csv.reader(io.StringIO(start[mark:end].decode(), newline=""), delimiter=self.delimiter))
        except UnicodeDecodeError:
            raise InputError(
                f"source.path: {text.name} is not UTF-8; name its encoding, for example encoding: latin-1 or utf-16"
            ) from None
        except UnclosedQuote:
            raise InputError(f"source.path: the header of {text.name} has a quote that is never closed") from None
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice or "" in names:
            raise InputError(
                f"source.path: the header of {text.name} has {f'{twice[0]!r} twice' if twice else 'an empty name'}"
            )
        check_row_key(names, self.settings, text.name)
        return names, end

    def _sample(self, text: TextFile, names: list[str]) -> pl.DataFrame:
        _, start = self._header(text)
        wanted = _SAMPLE
        while True:
            data = text.beginning(start + wanted)[start:]
            whole = data if len(data) < wanted else whole_records(data, delimiter=self.delimiter)
            if whole or not data:
                return self._parse(whole, names, text.name)[0]
            # The first row is longer than all that was read.
            wanted *= 4

    def _parse(self, data: bytes, names: list[str], name: str) -> tuple[pl.DataFrame, list[int], list[_Lost]]:
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
            table = arrow_csv.read_csv(
                io.BytesIO(data), convert_options=_as(pa.string(), names, self.nulls), **arguments
            )
        except pa.ArrowInvalid:
            # Some cell is not UTF-8: read bytes, and only the rows that do not decode are lost.
            lost.clear()
            try:
                raw = arrow_csv.read_csv(
                    io.BytesIO(data), convert_options=_as(pa.binary(), names, self.nulls), **arguments
                )
            except pa.ArrowInvalid as error:
                raise InputError(f"source.path: {name} cannot be read as CSV: {error}") from None
            table, undecoded = _decoded(raw, {place for place, _, _ in lost})
            lost += [(place, "the row is not UTF-8", text) for place, text in undecoded]
        gone = {place for place, _, _ in lost}
        return pl.DataFrame(table), [place for place in range(table.num_rows + len(gone)) if place not in gone], lost


def _as(kind: Any, names: list[str], nulls: list[str]) -> Any:
    from pyarrow import csv as arrow_csv

    return arrow_csv.ConvertOptions(
        column_types=dict.fromkeys(names, kind),
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
        null_values=nulls,
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
