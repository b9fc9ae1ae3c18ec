"""JSON Lines files: one JSON object a line, cut by newlines and parsed slice by slice by polars."""

from __future__ import annotations

import codecs
import io
import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.errors import InputError
from penstock.sources.base import BadRow, Slice, SliceData
from penstock.sources.files import ROW_KEY, check_row_key, polars_type, with_row_keys
from penstock.sources.records import read_slice, record_slices
from penstock.sources.settings import SourceSettings

if TYPE_CHECKING:
    import polars as pl

_SAMPLE = 4 << 20
_SAMPLED_FILES = 16


class JsonlFiles:
    """A source of one or more JSON Lines files; the columns are the keys found at their beginning.

    A key that first appears later is a column only if `source.types` names it.
    """

    def __init__(self, files: list[Path], settings: SourceSettings) -> None:
        self.files = files
        self.settings = settings

    def column_names(self) -> dict[str, str | None]:
        """The keys at the beginning of the first file that has any, and those that `source.types` names."""
        keys = next((keys for path in self.files if (keys := self._keys(path))), {})
        if not keys and not self.settings.types:
            raise self._nothing()
        check_row_key(keys, self.settings, self.files[0])
        known: dict[str, str | None] = {} if self.settings.keys else {ROW_KEY: "String"}
        return {**known, **keys, **{name: None for name in self.settings.types if self._occurs(name)}}

    def schema(self) -> dict[str, pl.DataType]:
        """Keys and types found in the first 4 MB of up to 16 files, unless `source.types` says."""
        import polars as pl

        step = max(1, len(self.files) // _SAMPLED_FILES)
        types: dict[str, pl.DataType] = {}
        for path in self.files[::step]:
            for name, kind in self._sampled_types(path).items():
                types[name] = _common(types.get(name), kind)
        unknown = sorted(name for name in set(self.settings.types) - set(types) if not self._occurs(name))
        if unknown:
            raise InputError(f"source.types names keys that {self.files[0].name} does not have: {', '.join(unknown)}")
        types = {name: pl.String() if kind == pl.Null else kind for name, kind in types.items()}
        types |= {name: polars_type(word) for name, word in self.settings.types.items()}
        if not types:
            raise self._nothing()
        check_row_key(types, self.settings, self.files[0])
        return {**({ROW_KEY: pl.String()} if not self.settings.keys else {}), **types}

    def slices(self, rows: int) -> Iterator[Slice]:
        """One pass over each file's bytes."""
        for number, path in enumerate(self.files):
            yield from record_slices(path, number, _begin(path), rows, delimiter=None)

    def read(self, piece: Slice, schema: dict[str, pl.DataType]) -> SliceData:
        """The slice's rows; a line that is no JSON object, or has a value of another type, is a bad row."""
        import polars as pl

        path = str(self.files[piece.file])
        cells = {name: kind for name, kind in schema.items() if name != ROW_KEY or self.settings.keys}
        data = read_slice(self.files[piece.file], piece)
        lines = [(place, line) for place, line in enumerate(data.split(b"\n")) if line.strip()]
        frames: list[pl.DataFrame] = []
        numbers: list[int] = []
        bad: list[BadRow] = []
        for places, frame in _read_lines(lines, cells):
            if isinstance(frame, pl.DataFrame):
                frames.append(frame)
                numbers += [piece.first_row + place for place, _ in places]
                continue
            place, line = places[0]
            text = line.decode("utf-8", "replace")[:1000]
            message = f"the line is not a JSON object with the file's types: {frame}"
            bad.append(BadRow(path, piece.first_row + place, piece.first_line + place, message, text))
        result = SliceData(pl.concat(frames) if frames else pl.DataFrame(schema=cells), numbers, bad)
        return result if self.settings.keys else with_row_keys(result, piece.file)

    def _nothing(self) -> InputError:
        name = self.files[0].name
        return InputError(
            f"source.path: {name} is not JSON Lines: no line of its beginning is a JSON object with a key"
            if any(path.stat().st_size for path in self.files)
            else f"source.path: {name} is empty"
        )

    def _occurs(self, name: str) -> bool:
        """Whether a key that the beginnings of the files do not have stands further on in one of them."""
        return any(name in self._keys(path) for path in self.files) or any(_mentions(path, name) for path in self.files)

    def _keys(self, path: Path) -> dict[str, str | None]:
        return dict.fromkeys(key for line in _sample(path) for key in _object(line) or {})

    def _sampled_types(self, path: Path) -> dict[str, pl.DataType]:
        import msgspec
        import polars as pl

        lines = _sample(path)
        try:
            return _types(lines)
        except pl.exceptions.PolarsError:
            rows = [row for line in lines if (row := _object(line)) is not None]
        names = dict.fromkeys(name for row in rows for name in row)
        types: dict[str, pl.DataType] = {}
        for name in names:
            try:
                types |= _types([msgspec.json.encode({name: row[name]}) for row in rows if name in row])
            except pl.exceptions.PolarsError:
                # Values of types that have nothing in common are kept as they are written.
                types[name] = pl.String()
        return types


def _begin(path: Path) -> int:
    """The byte at which the first line begins: after a byte order mark."""
    with path.open("rb") as handle:
        return len(codecs.BOM_UTF8) if handle.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8 else 0


def _sample(path: Path) -> list[bytes]:
    """The lines at the beginning of a file that are not blank; more than `_SAMPLE` bytes if the first is longer."""
    with path.open("rb") as handle:
        handle.seek(_begin(path))
        data = handle.read(_SAMPLE)
        if len(data) == _SAMPLE:
            data = data[: data.rfind(b"\n") + 1] or data + handle.readline()
    return [line for line in data.split(b"\n") if line.strip()]


def _types(lines: list[bytes]) -> dict[str, pl.DataType]:
    import polars as pl

    return dict(pl.read_ndjson(io.BytesIO(b"\n".join(lines)), infer_schema_length=None).schema) if lines else {}


def _read_lines(
    lines: list[tuple[int, bytes]], cells: dict[str, pl.DataType]
) -> Iterator[tuple[list[tuple[int, bytes]], pl.DataFrame | str]]:
    """Runs of lines with their table, in order, and each line that cannot be read alone with the reason."""
    import polars as pl

    waiting = [lines] if lines else []
    while waiting:
        part = waiting.pop()
        reason = "more than one object"
        try:
            frame = pl.read_ndjson(io.BytesIO(b"\n".join(line for _, line in part)), schema=cells)
            if len(frame) == len(part):
                yield part, frame
                continue
        except pl.exceptions.PolarsError as error:
            reason = str(error).splitlines()[0]
        if len(part) == 1:
            yield part, reason
        else:
            middle = len(part) // 2
            waiting += [part[middle:], part[:middle]]


def _mentions(path: Path, name: str) -> bool:
    import msgspec

    if not path.stat().st_size:
        return False
    with path.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return data.find(msgspec.json.encode(name)) >= 0


def _object(line: bytes) -> dict[str, Any] | None:
    import msgspec

    try:
        return msgspec.json.decode(line, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _common(one: pl.DataType | None, other: pl.DataType) -> pl.DataType:
    import polars as pl

    if one is None or one in (other, pl.Null):
        return other
    if other == pl.Null:
        return one
    return pl.Float64() if {one, other} == {pl.Int64(), pl.Float64()} else pl.String()
