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
from penstock.sources.files import ROW_KEY, check_row_key, with_row_keys
from penstock.sources.stored import TextFile
from penstock.sources.text_files import TextFiles
from penstock.values import polars_type

if TYPE_CHECKING:
    import polars as pl

_SAMPLE = 4 << 20
_SAMPLED_FILES = 16
_LOOKED_THROUGH = 4 << 30


class JsonlFiles(TextFiles):
    """A source of one or more JSON Lines files; the columns are the keys found at their beginning.

    A key that first appears later is a column only if `source.types` names it. JSON arrays come as lines too.
    """

    def column_names(self) -> dict[str, str | None]:
        """The keys at the beginning of the first file that has any, and those that `source.types` names."""
        keys = next((keys for text in self.texts if (keys := self._keys(text))), {})
        if not keys and not self.settings.types:
            raise self._nothing()
        check_row_key(keys, self.settings, self.texts[0].name)
        return {**self.row_key_names(), **keys, **{name: None for name in self.settings.types if self._occurs(name)}}

    def schema(self) -> dict[str, pl.DataType]:
        """Keys and types found in the first 4 MB of up to 16 files, unless `source.types` says."""
        import polars as pl

        step = max(1, len(self.texts) // _SAMPLED_FILES)
        types: dict[str, pl.DataType] = {}
        for text in self.texts[::step]:
            for name, kind in self._sampled_types(text).items():
                types[name] = _common(types.get(name), kind)
        unknown = sorted(name for name in set(self.settings.types) - set(types) if not self._occurs(name))
        if unknown:
            raise InputError(f"source.types names keys that {self.texts[0].name} does not have: {', '.join(unknown)}")
        types = {name: pl.String() if kind == pl.Null else kind for name, kind in types.items()}
        types |= {name: polars_type(word) for name, word in self.settings.types.items()}
        if not types:
            raise self._nothing()
        check_row_key(types, self.settings, self.texts[0].name)
        return {**({ROW_KEY: pl.String()} if not self.settings.keys else {}), **types}

    def slices(self, rows: int, *, may_estimate: bool = False) -> Iterator[Slice]:
        """One pass over each file's bytes, or a look at places of large ones."""
        for number, text in enumerate(self.texts):
            mark = text.beginning(len(codecs.BOM_UTF8))
            start = len(mark) if mark == codecs.BOM_UTF8 else 0
            yield from self.cut(number, start, rows, None, may_estimate=may_estimate)

    def read(self, piece: Slice, schema: dict[str, pl.DataType]) -> SliceData:
        """The slice's rows; a line that is no JSON object, or has a value of another type, is a bad row."""
        import polars as pl

        cells = {name: kind for name, kind in schema.items() if name != ROW_KEY or self.settings.keys}
        data, records = self.slice_bytes(piece, None)
        lines = [(place, line) for place, line in enumerate(data.split(b"\n")) if line.strip()]
        frames: list[pl.DataFrame] = []
        numbers: list[int] = []
        lost: list[tuple[int, str, str]] = []
        for places, frame in _read_lines(lines, cells):
            if isinstance(frame, pl.DataFrame):
                frames.append(frame)
                numbers += [piece.first_row + place for place, _ in places]
                continue
            place, line = places[0]
            message = f"the line is not a JSON object with the file's types: {frame}"
            lost.append((place, message, line.decode("utf-8", "replace")[:1000]))
        first_line = self.first_line(piece) if lost else 0
        address = self.texts[piece.file].address
        bad = [
            BadRow(address, piece.first_row + place, first_line + place, message, text) for place, message, text in lost
        ]
        result = SliceData(pl.concat(frames) if frames else pl.DataFrame(schema=cells), numbers, records, bad)
        return result if self.settings.keys else with_row_keys(result, piece.file)

    def _nothing(self) -> InputError:
        name = self.texts[0].name
        beginning = next((data for text in self.texts if (data := text.beginning(_SAMPLE))), b"")
        if not beginning:
            return InputError(f"source.path: {name} is empty")
        if beginning.lstrip().startswith(b"["):
            return InputError(f"source.path: {name} is a JSON array, not JSON Lines; write `format: json`")
        return InputError(
            f"source.path: {name} is not JSON Lines: no line of its beginning is a JSON object with a key"
        )

    def _occurs(self, name: str) -> bool:
        """Whether a key that the beginnings of the files do not have stands further on in one of them.

        Files that would have to be copied or are very large are not looked through: there the pipeline's word counts.
        """
        if any(name in self._keys(text) for text in self.texts):
            return True
        unseen = any(not text.is_in_place or text.stored.size > _LOOKED_THROUGH for text in self.texts)
        return unseen or any(_mentions(text.path, name) for text in self.texts)

    def _keys(self, text: TextFile) -> dict[str, str | None]:
        return dict.fromkeys(key for line in _sample(text) for key in _object(line) or {})

    def _sampled_types(self, text: TextFile) -> dict[str, pl.DataType]:
        import msgspec
        import polars as pl

        lines = _sample(text)
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


def _sample(text: TextFile) -> list[bytes]:
    """The lines at the beginning of a file that are not blank; more than `_SAMPLE` bytes if the first is longer."""
    wanted = _SAMPLE
    data = text.beginning(wanted)
    while len(data) == wanted and b"\n" not in data:
        wanted *= 4
        data = text.beginning(wanted)
    if len(data) == wanted:
        data = data[: data.rfind(b"\n") + 1]
    return [line for line in data.removeprefix(codecs.BOM_UTF8).split(b"\n") if line.strip()]


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
