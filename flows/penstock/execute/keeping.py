"""Rows that are no longer in the source and whose results stay: `on_delete: keep`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.errors import InputError, StorageFailed
from penstock.execute.baseline import KEPT, Left
from penstock.execute.changes import KEY_HASH, gone, key_hashes
from penstock.outputs.rows import fitted, schema_of
from penstock.runs.record import ROWS
from penstock.spec.incremental_key import Incremental
from penstock.tables.parts import METADATA_KEY, read_counts, whole_or_absent, writer_settings
from penstock.tables.state import State

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

_FACTS = ("pipeline", "run", "segment", "kept")


@dataclass(frozen=True, slots=True)
class Former:
    """What runs of before left of one output.

    Attributes:
        settings: of incremental runs; None where runs are not.
        output: the number of the output.
        runs: the runs whose rows may stand in it, the newest first; see `penstock.execute.baseline.left_at`.
    """

    settings: Incremental | None
    state: State
    output: int
    runs: Sequence[Left] = field(default_factory=list)

    def replaced(self) -> list[Path]:
        """The parts that they published, where rows that are in them and not in the new ones are to vanish."""
        if self.settings is None or self.settings.on_delete == "keep":
            return []
        files = [file for left in self.runs for file in (*left.parts(self.state), left.kept) if file is not None]
        return [file for file in dict.fromkeys(files) if file.is_file()]

    def kept(self, parts: Sequence[Path], keys: Sequence[str], folder: Path) -> Path | None:
        """Write the results of rows that were there and are not in the source now; None when there are none.

        Args:
            parts: what the output is made of now; what is kept gets the same columns.
            keys: the source's key.
            folder: of this run, with the table of its rows.

        Raises:
            StorageFailed: what was there before is gone, or does not fit the columns of now.
        """
        if not self.runs or self.settings is None or self.settings.on_delete == "remove":
            return None
        # The newest has all that those before it had, also if it died while it published.
        last = self.runs[0]
        kept = last.kept
        wanted = _wanted(folder / ROWS, last.run.rows, kept, keys)
        if wanted.is_empty():
            return None
        former = [*last.parts(self.state), *([kept] if kept is not None else [])]
        if lost := next((part for part in former if not part.is_file()), None):
            raise StorageFailed(
                f"{lost}, a part of run {last.run.record.run_id}, is gone, and with it rows that `on_delete: keep` "
                "would keep. Run once with `incremental: false`, which publishes the rows of the source as they are"
            )
        target = folder / KEPT.format(self.output)
        facts = {**(read_counts(parts[0]) or {}), "kept": True}
        _write(target, _gone(former, keys, wanted), schema_of(parts), facts)
        return target


def _wanted(now: Path, before: Path | None, kept: Path | None, keys: Sequence[str]) -> pl.DataFrame:
    """The hashes of keys whose rows are to be kept: of those that were there, or were kept, and are not there now."""
    import polars as pl

    found = [pl.DataFrame(schema=dict.fromkeys(KEY_HASH, pl.UInt64()))]
    if before is not None:
        found.append(gone(now, before))
    if kept is not None:
        named = key_hashes(pl.read_parquet(kept, columns=list(keys), glob=False), keys).lazy()
        present = pl.scan_parquet(now, glob=False)
        found.append(named.join(present, on=list(KEY_HASH), how="anti").collect(engine="streaming"))
    return pl.concat(found).unique()


def _write(target: Path, tables: Iterator[pa.Table], schema: pa.Schema, facts: Mapping[str, Any]) -> None:
    """Write the rows with the columns of `schema`; `facts` say in the metadata whose they are."""
    from pyarrow import parquet

    with (
        whole_or_absent(target) as temporary,
        parquet.ParquetWriter(temporary, schema, **writer_settings(schema)) as writer,
    ):
        for table in tables:
            try:
                writer.write_table(fitted(_with_missing(table, schema), schema))
            except InputError as error:
                raise StorageFailed(
                    f"rows that `on_delete: keep` keeps do not fit what the steps give now: {error}. Set "
                    "`on_delete: remove`, or give the column another name"
                ) from error
        writer.add_key_value_metadata({METADATA_KEY: json.dumps({name: facts.get(name) for name in _FACTS})})


def _gone(parts: Sequence[Path], keys: Sequence[str], wanted: pl.DataFrame) -> Iterator[pa.Table]:
    """The rows of some parts that have one of these keys, a row group at a time."""
    import polars as pl
    from pyarrow import parquet

    for part in parts if len(wanted) else ():
        named = key_hashes(pl.read_parquet(part, columns=list(keys), glob=False), keys).with_row_index("__place")
        places = named.join(wanted, on=list(KEY_HASH), how="semi")["__place"].sort().to_list()
        with parquet.ParquetFile(part) as file:
            first = 0
            for group in range(file.num_row_groups if places else 0):
                after = first + file.metadata.row_group(group).num_rows
                here = [place - first for place in places if first <= place < after]
                if here:
                    yield file.read_row_group(group).take(here)
                first = after


def _with_missing(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table with empty columns where it has none of that name."""
    import pyarrow as pa

    for one in schema:
        if one.name not in table.column_names:
            table = table.append_column(one, pa.nulls(table.num_rows, one.type))
    return table
