"""`lancedb`: a table of a LanceDB database, its vectors ready to search."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from penstock.errors import InputError
from penstock.outputs.base import NamedColumn, Origin, Output, Published, named_in
from penstock.values import FilePath, names_in

if TYPE_CHECKING:
    import pyarrow as pa

_ENDING = ".lance"
_LEAST_INDEXED = 256
_BAD_VECTORS = "null"
"""Anything else refuses vectors that are null, and those rows have none. One with a NaN cannot be searched for."""


class LanceDb(Output):
    """Rows become a new version of a table, all of them or none; an index on its vectors follows."""

    kind: ClassVar[str] = "lancedb"
    summary: ClassVar[str] = (
        "Writes a LanceDB table, vectors ready to search: replaced, or merged by key. Needs `penstock[lancedb]`."
    )
    example: ClassVar[str] = "uses: lancedb\npath: ../out/search\ntable: reviews\nindex: embedding\n"

    uses: Literal["lancedb"] = Field(description="The kind of output.")
    path: FilePath = Field(
        min_length=1,
        description="The folder of the database, relative to the pipeline file.",
        examples=["../out/search"],
    )
    table: str = Field(
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$",
        max_length=200,
        description="The name of the table: letters, digits, _, - and dots.",
        examples=["reviews"],
    )
    mode: Literal["replace", "append", "upsert"] = Field(
        default="replace",
        description=(
            "`replace`: the newest version holds the rows of the last run. `append`: rows whose `key` is not in the "
            "table are added, others stay as they are there. `upsert`: rows whose `key` is in it take their "
            "place, others are added; with `incremental`, rows of the last run that are no more are taken out."
        ),
    )
    key: str | list[str] | None = Field(
        default=None,
        description="The columns that name a row for `append` and `upsert`; never null, and no two rows alike.",
        examples=["review_id"],
    )
    index: str | None = Field(
        default=None,
        description=(
            "The column of vectors to build an index for once the rows are there; without one, or with fewer than 256 "
            "rows, a search compares every row, which is exact and quick up to some 100,000 rows."
        ),
        examples=["embedding"],
    )
    metric: Literal["cosine", "l2", "dot"] = Field(
        default="cosine", description="How the index measures distance; a search must ask for the same."
    )

    @model_validator(mode="after")
    def _has_a_key_to_merge_by(self) -> Self:
        if (self.mode != "replace") != bool(self.key):
            raise ValueError("`mode: append` and `mode: upsert` need a `key`, and `mode: replace` takes none")
        return self

    @property
    def target(self) -> Path:
        """The folder of the table, in that of the database."""
        return Path(self.path) / f"{self.table}{_ENDING}"

    def at(self, target: Path) -> LanceDb:
        """The same with another table, whose folder is `target`."""
        return self.model_copy(update={"path": str(target.parent), "table": target.name.removesuffix(_ENDING)})

    def beside(self, suffix: str) -> LanceDb:
        """A table beside the own one in the same database: ``reviews.first-100``."""
        return self.model_copy(update={"table": f"{self.table}.{suffix}"}) if suffix else self

    @property
    def keys(self) -> list[str]:
        """The key columns; empty when there is none."""
        return names_in(self.key)

    @property
    def named_columns(self) -> Sequence[NamedColumn]:
        """Those of `key` and `index`."""
        return [*named_in("key", self.key), *named_in("index", self.index)]

    def check(self, schema: pa.Schema | None = None) -> None:
        """The library is there, the table is free or ours, and the rows fit what is added to."""
        from penstock.outputs.folder import check_place
        from penstock.outputs.stores import check_key_columns, check_standing, library, store_errors

        library("lancedb", self.kind)
        check_place(self.target, "a LanceDB table")
        if schema is not None:
            check_key_columns(self.keys, schema)
            self._check_columns(schema)
        with store_errors(self.target):
            table = self._table()
            standing = table.schema if table is not None else None
        if standing is None:
            if self.target.is_dir() and any(self.target.iterdir()):
                raise InputError(f"{self.target} holds files and no LanceDB table; choose another table or empty it")
        else:
            own = b"penstock" in (standing.metadata or {})
            check_standing(self.target, self.mode, standing, schema, own=own)

    def publish(self, parts: Sequence[Path], origin: Origin | None = None) -> Published:
        """Write the rows as data files, then one commit that makes all of them visible; then the index."""
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
        stream = RowStream(parts, _lance_schema(schema, origin))
        with store_errors(self.target, stream):
            table = self._table()
            if table is None:
                # Beside its place and then moved there, so that no half table is left when this process is killed.
                publish_folder(self.target, lambda folder: _create(folder, stream))
                table = self._table()
            elif self.mode == "replace":
                table = self._database().create_table(
                    self.table, stream.reader(), mode="overwrite", on_bad_vectors=_BAD_VECTORS
                )
            elif self.mode == "upsert":
                self._upsert(table, stream, gone_keys(origin.replaces, parts, self.keys))
            else:
                merge = table.merge_insert(self.keys).when_not_matched_insert_all()
                merge.execute(stream.reader(), on_bad_vectors=_BAD_VECTORS)
            version, count = int(table.version), int(table.count_rows())
            notes = self._indexed(table, count)
        entry = {"name": self.target.name, "rows": stream.rows, "version": version, "table_rows": count}
        return Published(self.target, stream.rows, [entry], notes)

    def _upsert(self, table: Any, stream: Any, gone: pa.Table) -> None:
        """Update by key; rows with a key of `gone` are taken out in the same commit, above a number in some before."""
        from penstock.outputs.lance_keys import MOST_KEYS, one_of

        merge = table.merge_insert(self.keys).when_matched_update_all().when_not_matched_insert_all()
        while gone.num_rows > MOST_KEYS:
            table.delete(one_of(gone.slice(0, MOST_KEYS)))
            gone = gone.slice(MOST_KEYS)
        if gone.num_rows:
            merge = merge.when_not_matched_by_source_delete(one_of(gone))
        merge.execute(stream.reader(), on_bad_vectors=_BAD_VECTORS)

    def damage(self, files: Sequence[Mapping[str, Any]]) -> list[str]:
        """The version is not in the table any more, or has another number of rows."""
        from penstock.outputs.stores import library

        library("lancedb", self.kind)
        problems: list[str] = []
        for entry in files:
            version = entry["version"]
            try:
                table = self._table()
                if table is None:
                    problems.append(f"{self.target} is not there any more")
                    continue
                table.checkout(version)
                rows = int(table.count_rows())
            except (RuntimeError, ValueError, OSError) as error:
                reason = str(error).split("\n", 1)[0]
                problems.append(f"version {version} of {self.target} cannot be read: {reason[:200]}")
                continue
            if rows != entry["table_rows"]:
                problems.append(f"version {version} of {self.target} has {rows} rows instead of {entry['table_rows']}")
        return problems

    def _database(self) -> Any:
        import lancedb

        return lancedb.connect(self.path)

    def _table(self) -> Any:
        """The table that stands there; None when there is none."""
        if not (self.target / "_versions").is_dir():
            return None
        return self._database().open_table(self.table)

    def _check_columns(self, schema: pa.Schema) -> None:
        import pyarrow as pa

        for name in schema.names:
            if "." in name:
                raise InputError(
                    f"LanceDB allows no dot in the name of a column: {name!r}; rename it with a select step"
                )
        if self.index is not None:
            if self.index not in schema.names:
                raise InputError(f"index: the rows have no column {self.index!r}")
            if not pa.types.is_fixed_size_list(schema.field(self.index).type) and not pa.types.is_list(
                schema.field(self.index).type
            ):
                raise InputError(f"index: {self.index!r} is {schema.field(self.index).type}, and no column of vectors")

    def _indexed(self, table: Any, rows: int) -> list[str]:
        """Build the index; what to note when there is none."""
        if self.index is None:
            return []
        if rows < _LEAST_INDEXED:
            return [f"{self.target} has {rows} rows and no index: one needs {_LEAST_INDEXED}, and searches are exact"]
        from lancedb.index import IvfPq

        try:
            table.create_index(self.index, config=IvfPq(distance_type=self.metric))
        except (RuntimeError, ValueError) as error:
            # The rows are there and can be searched without one.
            reason = str(error).split("\n", 1)[0][:200]
            return [f"the index of {self.target} on {self.index} could not be built, searches are exact: {reason}"]
        return []


def _create(folder: Path, stream: Any) -> list[dict[str, Any]]:
    """Make a new table whose folder is `folder`."""
    import lancedb

    made = folder / f"table{_ENDING}"
    lancedb.connect(folder).create_table("table", stream.reader(), on_bad_vectors=_BAD_VECTORS)
    for path in list(made.iterdir()):
        path.rename(folder / path.name)
    made.rmdir()
    return []


def _lance_schema(schema: pa.Schema, origin: Origin) -> pa.Schema:
    """The schema with which rows go into a table: dictionaries as their values, and a null vector may hold nulls."""
    import pyarrow as pa

    fields = [pa.field(field.name, _lance_type(field.type)) for field in schema]
    return pa.schema(fields, metadata={b"penstock": json.dumps(origin.facts()).encode()})


def _lance_type(kind: Any) -> Any:
    import pyarrow as pa
    from pyarrow import types

    if types.is_dictionary(kind):
        return kind.value_type
    if types.is_fixed_size_list(kind):
        return pa.list_(pa.field("item", _lance_type(kind.value_type)), kind.list_size)
    if types.is_list(kind) or types.is_large_list(kind):
        return pa.list_(pa.field("item", _lance_type(kind.value_type)))
    if types.is_struct(kind):
        return pa.struct([pa.field(one.name, _lance_type(one.type)) for one in kind])
    return kind
