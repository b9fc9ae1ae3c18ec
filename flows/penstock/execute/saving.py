"""Answers that are files: each is written whole to its folder, and the table holds its path.

A file's name ends with a digest of what was asked for and how. So two rows never write the same file, a repeated run
writes the same files again, and a published table of before still means the files that it meant.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.errors import ExpressionError
from penstock.execute.asking import Asked
from penstock.expressions import renderer
from penstock.steps.base import ROW, SavedFile
from penstock.tables.parts import whole_or_absent

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

_UNSAFE = re.compile(r"[^\w.-]+")
_LONGEST_NAME = 100
_DIGEST_BYTES = 16


@dataclass(frozen=True, slots=True)
class Saving:
    """Writes the files of one step.

    Attributes:
        files: what is written, see `penstock.steps.base.SavedFile`.
        made_by: the step's `wire` fingerprint: another voice is another file.
        place: from a folder of the settings to the one to write to, which is another one in a rehearsal.
        written: path and size of each file so far.
    """

    files: Sequence[SavedFile]
    made_by: bytes
    place: Callable[[Path], Path]
    written: list[tuple[str, int]] = field(default_factory=list)
    _renderers: dict[str, Callable[[Mapping[str, Any]], str]] = field(default_factory=dict)

    def fields(self, fields: Sequence[pa.Field]) -> list[pa.Field]:
        """The columns of a table with paths in the place of contents."""
        import pyarrow as pa

        found: list[pa.Field] = []
        for one in fields:
            file = self._file_of(one.name)
            found += [one] if file is None else [pa.field(file.path_column, pa.string())]
            found += [pa.field(file.bytes_column, pa.int64())] if file and file.bytes_column else []
        return found

    def columns(self, answers: pa.Table, frame: pl.DataFrame, asked: Asked) -> list[Any]:
        """The columns of `fields` for some rows; their files are written, whole or not at all.

        Raises:
            OSError: the disk is full or the folder cannot be written.
        """
        import pyarrow as pa

        found: list[Any] = []
        for name, column in zip(answers.column_names, answers.columns, strict=True):
            file = self._file_of(name)
            if file is None:
                found.append(column)
                continue
            written = [
                self._written(file, content, row, asked)
                for content, row in zip(column.to_pylist(), frame.iter_rows(named=True), strict=True)
            ]
            found.append(pa.array([None if one is None else one[0] for one in written], pa.string()))
            if file.bytes_column:
                found.append(pa.array([None if one is None else one[1] for one in written], pa.int64()))
        return found

    def _file_of(self, column: str) -> SavedFile | None:
        return next((file for file in self.files if file.column == column), None)

    def _written(
        self, file: SavedFile, content: bytes | str | None, row: Mapping[str, Any], asked: Asked
    ) -> tuple[str, int] | None:
        if content is None:
            return None
        data = content.encode() if isinstance(content, str) else content
        digest = blake2b(self.made_by + b"".join(asked.rows[row[ROW]]), digest_size=_DIGEST_BYTES).hexdigest()
        target = self.place(Path(file.folder)) / f"{self._name(file, row)}-{digest}{file.ending}"
        if not (target.is_file() and target.stat().st_size == len(data) and target.read_bytes() == data):
            with whole_or_absent(target) as temporary:
                temporary.write_bytes(data)
        self.written.append((str(target), len(data)))
        return self.written[-1]

    def _name(self, file: SavedFile, row: Mapping[str, Any]) -> str:
        render = self._renderers.setdefault(file.name, renderer(file.name))
        try:
            text = render(row)
        except ExpressionError:
            # The answer is paid for; a name that cannot be made is no reason to lose it.
            text = ""
        return _UNSAFE.sub("_", text).strip("._-")[:_LONGEST_NAME] or "file"
