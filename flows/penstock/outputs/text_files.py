"""What `jsonl`, `csv` and `summary` share: one file, put in place in one step; text is written row by row."""

from __future__ import annotations

import os
import re
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, field_validator

from penstock.errors import InputError, StorageFailed
from penstock.outputs.base import Origin, Output, Published
from penstock.values import FilePath

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

_COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}


class OneFile(Output):
    """One file, put in place in one step. A kind says what is written into it."""

    endings: ClassVar[tuple[str, ...]]

    path: FilePath = Field(
        min_length=1,
        description="The file, relative to the pipeline file. What stands there is replaced.",
        examples=["../out/reviews.jsonl"],
    )

    @field_validator("path")
    @classmethod
    def _has_an_ending(cls, path: str) -> str:
        # So that a path written by mistake never costs somebody another kind of file.
        if not any(Path(_uncompressed(path)).name.lower().endswith(ending) for ending in cls.endings):
            raise ValueError(
                f"the name of the file must end in {' or '.join(cls.endings)}, then .gz or .zst if you like"
            )
        return path

    @property
    def target(self) -> Path:
        """The file."""
        return Path(self.path)

    def beside(self, suffix: str) -> OneFile:
        """A file whose name has the word before its endings: ``reviews.first-100.jsonl.gz``."""
        if not suffix:
            return self
        stem = Path(_uncompressed(self.target.name)).stem
        return self.at(self.target.with_name(f"{stem}.{suffix}{self.target.name[len(stem) :]}"))

    def check(self, schema: pa.Schema | None = None) -> None:  # noqa: ARG002  # rows of any schema can be written
        """No folder stands there, and the file can be written."""
        from penstock.outputs.folder import check_parents, real

        target = real(self.target)
        if target.is_dir():
            raise InputError(f"the output path {target} is a folder; a file belongs there")
        check_parents(target)
        if target.exists() and not os.access(target.parent, os.W_OK | os.X_OK):
            raise StorageFailed(f"the folder {target.parent} cannot be written; mend its permissions and resume")

    def publish(self, parts: Sequence[Path], origin: Origin | None = None) -> Published:
        """Write a file beside the target, wait until it is on the disk, and put it in the target's place."""
        from penstock.outputs.folder import real, sha256_of, writing
        from penstock.tables.parts import whole_or_absent

        self.check()
        target = real(self.target)
        with writing(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            _sweep(target)
            with whole_or_absent(target) as temporary:
                counts = self._write(temporary, parts, origin)
                entry = {
                    "name": self.target.name,
                    **counts,
                    "bytes": temporary.stat().st_size,
                    "sha256": sha256_of(temporary),
                }
        return Published(self.target, counts["rows"], [entry])

    def damage(self, files: Sequence[Mapping[str, Any]]) -> list[str]:
        """The file is missing or changed."""
        from penstock.outputs.folder import file_damage

        return [problem for entry in files for problem in file_damage(self.target, entry)]

    @abstractmethod
    def _write(self, temporary: Path, parts: Sequence[Path], origin: Origin | None) -> dict[str, int]:
        """Write the file; gives `rows`, those of the parts, and other counts for the record."""


class TextFile(OneFile):
    """One file of text. A kind says how rows are written, and what stands before them."""

    compression: Literal["none", "gzip", "zstd"] | None = Field(
        default=None,
        description="How the file is compressed; by its ending if left out: .gz is gzip, .zst is zstd, others are not.",
    )

    @abstractmethod
    def head(self, schema: pa.Schema) -> bytes:
        """What stands before the rows."""

    @abstractmethod
    def lines(self, frame: pl.DataFrame) -> bytes:
        """Some rows as text."""

    def save(self, file: Path, schema: pa.Schema, tables: Iterable[pa.Table]) -> int:
        """Write the rows of the tables, which have that schema, to a file; returns how many they were."""
        import polars as pl

        rows = 0
        with self._stream(file) as stream:
            stream.write(self.head(schema))
            for table in tables:
                frame = pl.from_arrow(table)
                assert isinstance(frame, pl.DataFrame)  # noqa: S101  # for mypy: of a table
                stream.write(self.lines(frame))
                rows += len(frame)
        return rows

    def _write(self, temporary: Path, parts: Sequence[Path], origin: Origin | None) -> dict[str, int]:  # noqa: ARG002  # text has no place for it
        from penstock.outputs.rows import schema_of, tables

        if not parts:
            self._stream(temporary).close()
            return {"rows": 0}
        schema = schema_of(parts)
        return {"rows": self.save(temporary, schema, tables(parts, schema))}

    def _stream(self, file: Path) -> Any:
        import pyarrow as pa

        by_ending = _COMPRESSIONS.get(Path(self.path).suffix.lower(), "none")
        compression = self.compression or by_ending
        return pa.output_stream(str(file), compression=None if compression == "none" else compression)


def _uncompressed(path: str) -> str:
    return path[: -len(Path(path).suffix)] if Path(path).suffix.lower() in _COMPRESSIONS else path


def _sweep(target: Path) -> None:
    """Remove what processes that died while they wrote left beside the file."""
    from penstock.tables.state import is_alive

    name = re.compile(rf"\.{re.escape(target.name)}\.(\d+)(\.[0-9a-f]+)?\.tmp")
    for left in list(target.parent.iterdir()):
        match = name.fullmatch(left.name)
        if match and (int(match[1]) == os.getpid() or not is_alive(int(match[1]))):
            left.unlink()
