"""JSON Lines files: one JSON object a line, cut by newlines and parsed slice by slice by polars."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.errors import InputError
from penstock.sources.base import BadRow, Slice, SliceData
from penstock.sources.files import ROW_KEY, polars_type, with_row_keys
from penstock.sources.records import record_slices
from penstock.sources.settings import SourceSettings

if TYPE_CHECKING:
    import polars as pl

_SAMPLE = 4 << 20
_SAMPLED_FILES = 16


class JsonlFiles:
    """A source of one or more JSON Lines files; the columns are the keys found at their beginning."""

    def __init__(self, files: list[Path], settings: SourceSettings) -> None:
        self.files = files
        self.settings = settings

    def column_names(self) -> dict[str, str | None]:
        """The keys in the first 1,000 lines of the first file."""
        import msgspec

        names: dict[str, str | None] = {} if self.settings.keys else {ROW_KEY: "String"}
        with self.files[0].open("rb") as handle:
            for number, line in zip(range(1, 1001), handle, strict=False):
                if not line.strip():
                    continue
                try:
                    names |= dict.fromkeys(msgspec.json.decode(line, type=dict[str, Any]))
                except (msgspec.DecodeError, UnicodeDecodeError) as error:
                    if len(names) <= 1 and number == 1:
                        raise InputError(f"source.path: {self.files[0].name} is not JSON Lines: {error}") from None
        if not names:
            raise InputError(f"source.path: {self.files[0].name} is empty")
        return names

    def schema(self) -> dict[str, pl.DataType]:
        """Keys and types found in the first 4 MB of up to 16 files, unless `source.types` says."""
        import polars as pl

        step = max(1, len(self.files) // _SAMPLED_FILES)
        types: dict[str, pl.DataType] = {}
        for path in self.files[::step]:
            for name, kind in self._sampled_types(path).items():
                types[name] = _common(types.get(name), kind)
        unknown = sorted(set(self.settings.types) - set(types))
        if unknown:
            raise InputError(f"source.types names keys that {self.files[0].name} does not have: {', '.join(unknown)}")
        types = {name: pl.String() if kind == pl.Null else kind for name, kind in types.items()}
        types |= {name: polars_type(word) for name, word in self.settings.types.items()}
        return {**({ROW_KEY: pl.String()} if not self.settings.keys else {}), **types}

    def slices(self, rows: int) -> list[Slice]:
        """One pass over each file's bytes."""
        return [
            piece
            for number, path in enumerate(self.files)
            for piece in record_slices(path, number, 0, rows, delimiter=None)
        ]

    def read(self, piece: Slice, schema: dict[str, pl.DataType]) -> SliceData:
        """The slice's rows; a line that is no JSON object, or has a value of another type, is a bad row."""
        import polars as pl

        path = self.files[piece.file]
        with path.open("rb") as handle:
            handle.seek(piece.start)
            data = handle.read(piece.end - piece.start)
        cells = {name: kind for name, kind in schema.items() if name != ROW_KEY or self.settings.keys}
        numbers = [piece.first_row + place for place, line in enumerate(data.splitlines()) if line.strip()]
        try:
            frame = pl.read_ndjson(io.BytesIO(data), schema=cells) if numbers else pl.DataFrame(schema=cells)
            result = SliceData(frame, numbers)
            if len(frame) != len(numbers):
                result = self._line_by_line(data, piece, cells)
        except pl.exceptions.PolarsError:
            result = self._line_by_line(data, piece, cells)
        return result if self.settings.keys else with_row_keys(result, piece.file)

    def _line_by_line(self, data: bytes, piece: Slice, cells: dict[str, pl.DataType]) -> SliceData:
        import polars as pl

        path = self.files[piece.file]
        frames: list[pl.DataFrame] = []
        numbers: list[int] = []
        bad: list[BadRow] = []
        for place, line in enumerate(data.split(b"\n")):
            if not line.strip():
                continue
            try:
                row = pl.read_ndjson(io.BytesIO(line), schema=cells)
            except pl.exceptions.PolarsError as error:
                text = line.decode("utf-8", "replace")[:1000]
                message = f"the line is not a JSON object with the file's types: {str(error).splitlines()[0]}"
                bad.append(BadRow(str(path), piece.first_row + place, piece.first_line + place, message, text))
                continue
            frames.append(row)
            numbers.append(piece.first_row + place)
        frame = pl.concat(frames) if frames else pl.DataFrame(schema=cells)
        return SliceData(frame, numbers, bad)

    def _sampled_types(self, path: Path) -> dict[str, pl.DataType]:
        import polars as pl

        with path.open("rb") as handle:
            data = handle.read(_SAMPLE)
        if len(data) == _SAMPLE:
            data = data[: data.rfind(b"\n") + 1]
        if not data.strip():
            return {}
        try:
            return dict(pl.read_ndjson(io.BytesIO(data), infer_schema_length=10_000).schema)
        except pl.exceptions.PolarsError:
            good = [line for line in data.split(b"\n") if _is_object(line)]
        if not good:
            raise InputError(f"source.path: {path.name} is not JSON Lines: no line of its beginning is a JSON object")
        return dict(pl.read_ndjson(io.BytesIO(b"\n".join(good)), infer_schema_length=10_000).schema)


def _is_object(line: bytes) -> bool:
    import msgspec

    try:
        msgspec.json.decode(line, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return True


def _common(one: pl.DataType | None, other: pl.DataType) -> pl.DataType:
    import polars as pl

    if one is None or one in (other, pl.Null):
        return other
    if other == pl.Null:
        return one
    return pl.Float64() if {one, other} == {pl.Int64(), pl.Float64()} else pl.String()
