"""`delta`: a Delta Lake table; each run is one transaction."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self
from urllib.parse import unquote

from pydantic import Field, model_validator

from penstock.errors import InputError
from penstock.outputs.base import NamedColumn, Origin, Output, Published, named_in
from penstock.values import FilePath, names_in

if TYPE_CHECKING:
    import pyarrow as pa

_MARK = "Written by Penstock"
_GONE = "__gone"
"""A column beside the rows of a merge: whether its key is to be taken out."""


class Delta(Output):
    """Rows become a new version of a Delta Lake table, all of them or none."""

    kind: ClassVar[str] = "delta"
    summary: ClassVar[str] = (
        "Writes a Delta Lake table in one transaction: replaced, added to, or updated by key. Needs `penstock[delta]`."
    )
    example: ClassVar[str] = "uses: delta\npath: ../out/reviews_delta\nmode: upsert\nkey: review_id\n"

    uses: Literal["delta"] = Field(description="The kind of output.")
    path: FilePath = Field(
        min_length=1,
        description="The folder of the table, relative to the pipeline file.",
        examples=["../out/reviews_delta"],
    )
    mode: Literal["replace", "append", "upsert"] = Field(
        default="replace",
        description=(
            "`replace`: the newest version holds the rows of the last run. `append`: each run adds its rows, once. "
            "`upsert`: rows whose `key` is in the table take that row's place, others are added; with `incremental`, "
            "rows of the last run that are no more are taken out."
        ),
    )
    key: str | list[str] | None = Field(
        default=None,
        description="The columns that name a row for `mode: upsert`; never null, and no two rows alike.",
        examples=["review_id"],
    )
    partition_by: list[str] = Field(
        default_factory=list, description="Columns by whose values the table's files are kept.", examples=[["language"]]
    )

    @model_validator(mode="after")
    def _has_a_key_to_upsert_by(self) -> Self:
        if (self.mode == "upsert") != bool(self.key):
            raise ValueError("`mode: upsert` and `key` belong together: give both or neither")
        return self

    @property
    def target(self) -> Path:
        """The folder."""
        return Path(self.path)

    @property
    def keys(self) -> list[str]:
        """The key columns; empty when there is none."""
        return names_in(self.key)

    @property
    def named_columns(self) -> Sequence[NamedColumn]:
        """Those of `key` and `partition_by`."""
        return [*named_in("key", self.key), *named_in("partition_by", self.partition_by)]

    def check(self, schema: pa.Schema | None = None) -> None:
        """The library is there, the folder is free or a table of ours, and the rows fit what is added to."""
        from penstock.outputs.delta_types import delta_schema
        from penstock.outputs.folder import check_place
        from penstock.outputs.hive import check_columns
        from penstock.outputs.stores import check_key_columns, check_standing

        check_place(self.target, "a Delta table")
        table = self._table()
        if schema is not None:
            check_key_columns(self.keys, schema)
            check_columns(self.partition_by, schema)
            schema = delta_schema(schema)
        if table is None:
            return
        own = (table.metadata().description or "").startswith(_MARK)
        check_standing(self.target, self.mode, _arrow_schema(table), schema, own=own)
        standing = table.metadata().partition_columns
        if self.partition_by and standing != self.partition_by:
            raise InputError(f"the table {self.target} is partitioned by {', '.join(standing) or 'nothing'}")

    def publish(self, parts: Sequence[Path], origin: Origin | None = None) -> Published:
        """Write the rows as data files, then one commit that makes all of them visible."""
        from penstock.outputs.delta_types import delta_schema
        from penstock.outputs.folder import publish_folder, writing
        from penstock.outputs.rows import origin_of, schema_of
        from penstock.outputs.stores import RowStream, check_keys, gone_keys, store_errors

        with writing(self.target):
            origin = origin or origin_of(parts)
            if not parts:
                return Published(self.target, 0, [])
            schema = schema_of(parts)
            self.check(schema)
            check_keys(parts if self.keys else (), self.keys)
            digest = _digest(parts) if self.mode == "append" else 0
        stream = RowStream(parts, delta_schema(schema))
        with store_errors(self.target, stream):
            table = self._table()
            name = f"penstock-{origin.added_as}"
            added = table.transaction_version(name) if table is not None and self.mode == "append" else None
            if added is not None:
                return self._added_before(parts, added == digest, origin)
            transaction = (name, digest) if self.mode == "append" else None
            if table is None:
                # Beside its place and then moved there, so that no half table is left when this process is killed.
                publish_folder(self.target, lambda folder: self._write(folder, stream, origin, transaction))
            elif self.mode == "upsert":
                self._merge(table, stream, origin, gone_keys(origin.replaces, parts, self.keys))
            else:
                self._write(self.target, stream, origin, transaction)
            return self._published(stream.rows, origin)

    def damage(self, files: Sequence[Mapping[str, Any]]) -> list[str]:
        """The commit or one of its data files is missing or changed."""
        from penstock.outputs.folder import damage

        return damage(self.target, files, alone=False) if files else []

    def rows(self, files: Sequence[Mapping[str, Any]]) -> int:
        """Rows of the commit; a data file of an upsert holds rows of before too."""
        return sum(int(entry["rows"]) for entry in files if "version" in entry)

    def _table(self) -> Any:
        """The table that stands there; None when there is nothing.

        Raises:
            InputError: there is something else.
        """
        from penstock.outputs.stores import library, store_errors

        deltalake = library("deltalake", self.kind)
        with store_errors(self.target):
            if self.target.is_dir() and deltalake.DeltaTable.is_deltatable(str(self.target)):
                return deltalake.DeltaTable(str(self.target))
        if self.target.is_dir() and any(self.target.iterdir()):
            raise InputError(f"{self.target} holds other files and no Delta table; choose another path or empty it")
        return None

    def _write(
        self, folder: Path, stream: Any, origin: Origin, transaction: tuple[str, int] | None
    ) -> list[dict[str, Any]]:
        import deltalake

        overwrite = self.mode == "replace"
        deltalake.write_deltalake(
            str(folder),
            stream.reader(),
            mode="overwrite" if overwrite else "append",
            schema_mode="overwrite" if overwrite else None,
            partition_by=self.partition_by or None,
            description=f"{_MARK}, pipeline {origin.pipeline}",
            writer_properties=deltalake.WriterProperties(compression="ZSTD"),
            commit_properties=_commit(origin, transaction),
        )
        return []

    def _merge(self, table: Any, stream: Any, origin: Origin, gone: pa.Table) -> None:
        """Update by key; rows with a key of `gone` are taken out in the same commit."""
        import deltalake

        columns = [name.replace("`", "``") for name in self.keys]
        merger = table.merge(
            stream.reader() if not gone.num_rows else stream.reader_with(gone, _GONE),
            predicate=" AND ".join(f"t.`{name}` = s.`{name}`" for name in columns),
            source_alias="s",
            target_alias="t",
            writer_properties=deltalake.WriterProperties(compression="ZSTD"),
            commit_properties=_commit(origin, None),
        )
        if gone.num_rows:
            merger = merger.when_matched_delete(f"s.`{_GONE}`")
            merger = merger.when_matched_update_all(except_cols=[_GONE])
            merger = merger.when_not_matched_insert_all(f"NOT s.`{_GONE}`", except_cols=[_GONE])
        else:
            merger = merger.when_matched_update_all().when_not_matched_insert_all()
        merger.execute()

    def _added_before(self, parts: Sequence[Path], same: bool, origin: Origin) -> Published:
        if not same:
            raise InputError(
                f"the table {self.target} has the rows of the run {origin.added_as} already, and they have changed "
                "since; Delta's append cannot take rows back. Set mode: upsert with a key"
            )
        from pyarrow import parquet

        return self._published(sum(parquet.read_metadata(part).num_rows for part in parts), origin)

    def _published(self, rows: int, origin: Origin) -> Published:
        """The commit's own log entry and the data files that it added."""
        import deltalake

        from penstock.outputs.folder import sha256_of

        commits = deltalake.DeltaTable(str(self.target)).history()
        own = (one for one in commits if json.loads(one.get("penstock", "{}")).get("batch") == origin.added_as)
        version = int(next(own)["version"])
        log = f"_delta_log/{version:020d}.json"
        # Not `str.splitlines`, which also ends lines at characters that may stand in a column's smallest text.
        entries = (self.target / log).read_text("utf-8").split("\n")
        actions = [json.loads(entry) for entry in entries if entry]
        names = [log, *(unquote(action["add"]["path"]) for action in actions if "add" in action)]
        files: list[dict[str, Any]] = []
        for name in names:
            file = self.target / name
            facts: dict[str, Any] = {"version": version, "rows": rows} if name == log else {"rows": _row_count(file)}
            files.append({"name": name, **facts, "bytes": file.stat().st_size, "sha256": sha256_of(file)})
        return Published(self.target, rows, files)


def _commit(origin: Origin, transaction: tuple[str, int] | None) -> Any:
    import deltalake

    return deltalake.CommitProperties(
        custom_metadata={"penstock": json.dumps(origin.facts())},
        app_transactions=[deltalake.Transaction(*transaction)] if transaction else None,
    )


def _arrow_schema(table: Any) -> Any:
    import pyarrow as pa

    return pa.schema(table.schema().to_arrow())


def _row_count(file: Path) -> int:
    from pyarrow import parquet

    return int(parquet.read_metadata(file).num_rows)


def _digest(parts: Sequence[Path]) -> int:
    """A number that tells one set of rows from another."""
    from penstock.outputs.folder import sha256_of

    text = " ".join(sha256_of(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6])
