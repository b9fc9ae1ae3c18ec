"""The files of the sets: JSON Lines whose names hold their content's digest, and beside each one which row is where."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from penstock.tables.failures import key_column
from penstock.tables.parts import sync_file

if TYPE_CHECKING:
    import polars as pl

LINES, ROWS = ".jsonl", ".rows.parquet"
REPORT, REPORT_TEXT, MANIFEST = "report.json", "report.txt", "manifest.json"
OWN_NAME = re.compile(
    rf"[a-z0-9][a-z0-9_-]*-[0-9a-f]{{12}}(\.jsonl|\.rows\.parquet)|report\.(json|txt)|{re.escape(MANIFEST)}"
    r"|answers-[A-Za-z0-9_-]+\.jsonl"
)
"""What files of such a folder are called."""
_BUFFERED = 16_384
_MOST_NAMED = 3
_OWN = frozenset({"line", "partition", "number", "group", "flagged"})

Place = tuple[int, int]
"""A row's part, and its number in it."""


class SetFile:
    """One set on its way to its files.

    Args:
        folder: where they are written.
        name: of the set.
        keys: the columns that name a row, with their types.
    """

    def __init__(self, folder: Path, name: str, keys: Mapping[str, pl.DataType]) -> None:
        self.name = name
        self.lines = 0
        self.rows = 0
        self.bytes = 0
        self._folder = folder
        self._keys = keys
        self._digest = hashlib.sha256()
        self._file = (folder / f"{name}{LINES}").open("wb")
        self._waiting: list[tuple[Any, ...]] = []
        self._writer: Any = None

    def add(
        self,
        line: bytes,
        rows: Sequence[tuple[Place, Sequence[Any]]],
        *,
        group: str | None = None,
        flagged: Sequence[str] | None = None,
    ) -> None:
        """Write a line.

        Args:
            rows: the places and keys of those that made it.
            group: what names the group of the example.
            flagged: the categories it was flagged for.
        """
        self.lines += 1
        whole = line + b"\n"
        self._file.write(whole)
        self._digest.update(whole)
        self.bytes += len(whole)
        for (part, number), keys in rows:
            self.rows += 1
            self._waiting.append((self.lines, *keys, part, number, group, flagged))
        if len(self._waiting) >= _BUFFERED:
            self._flush()

    def finish(self) -> dict[str, Any]:
        """Name, close and describe the files: ``set``, ``file``, ``rows_file``, lines, rows, bytes, SHA-256."""
        self._file.close()
        self._flush()
        self._writer.close()
        sha256 = self._digest.hexdigest()
        stem = f"{self.name}-{sha256[:12]}"
        for ending in (LINES, ROWS):
            file = self._folder / f"{self.name}{ending}"
            sync_file(file)
            file.rename(self._folder / f"{stem}{ending}")
        return {
            "set": self.name,
            "file": stem + LINES,
            "rows_file": stem + ROWS,
            "lines": self.lines,
            "rows": self.rows,
            "bytes": self.bytes,
            "sha256": sha256,
        }

    def abandon(self) -> None:
        """Close what is open; the files are of no use."""
        self._file.close()
        if self._writer is not None:
            self._writer.close()

    def _flush(self) -> None:
        import polars as pl
        from pyarrow import parquet

        schema: dict[str, Any] = {
            "line": pl.Int64(),
            **{key_column(name): kind for name, kind in self._keys.items()},
            "partition": pl.Int64(),
            "number": pl.Int64(),
            "group": pl.String(),
            "flagged": pl.List(pl.String()),
        }
        table = pl.DataFrame(self._waiting, schema=schema, orient="row").to_arrow(compat_level=pl.CompatLevel.oldest())
        if self._writer is None:
            self._writer = parquet.ParquetWriter(self._folder / f"{self.name}{ROWS}", table.schema, compression="zstd")
        self._writer.write_table(table)
        self._waiting.clear()


class SetRows:
    """Which rows made which lines of a set's file, as it was written beside it."""

    def __init__(self, file: Path) -> None:
        import polars as pl

        table = pl.read_parquet(file, glob=False)
        self._lines = table["line"]
        self._group, self._flagged = table["group"], table["flagged"]
        keys = [name for name in table.columns if name not in _OWN] or ["partition", "number"]
        self._keys = table.select(keys)

    def row(self, line: int) -> str:
        """The rows of a line in words: ``ticket_id t0031``."""
        begin, end = self._bounds(line)
        shown = self._keys[begin : min(end, begin + _MOST_NAMED)]
        names = [
            ", ".join(f"{name} {value}" for name, value in zip(shown.columns, values, strict=True))
            for values in shown.iter_rows()
        ]
        more = f" and {end - begin - _MOST_NAMED} more" if end - begin > _MOST_NAMED else ""
        return "; ".join(names) + more

    def group(self, line: int) -> str | None:
        """The group of a line."""
        return cast("str | None", self._group[self._bounds(line)[0]])

    def flagged(self, line: int) -> list[str] | None:
        """The categories that a line was flagged for."""
        found = self._flagged[self._bounds(line)[0]]
        return None if found is None else list(found)

    def _bounds(self, line: int) -> tuple[int, int]:
        """The first row of a line, and the one behind its last."""
        # Lines stand in their order.
        return self._lines.search_sorted(line, side="left"), self._lines.search_sorted(line, side="right")
