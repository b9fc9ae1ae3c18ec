"""`parquet`: a folder of Parquet files, replaced whole or added to, and in both cases never half."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, field_validator

from penstock.errors import InputError
from penstock.outputs.base import NamedColumn, Origin, Output, Published, named_in
from penstock.secrets import holds_key
from penstock.values import Count, FilePath

if TYPE_CHECKING:
    import pyarrow as pa

_OWN_KEYS = ("penstock", "arrow:", "pandas")


class Parquet(Output):
    """The finished parts become the files of one folder."""

    kind: ClassVar[str] = "parquet"
    summary: ClassVar[str] = "Writes a folder of Parquet files; readers see the old folder or the new one, never half."
    example: ClassVar[str] = "uses: parquet\npath: ../out/reviews\n"

    uses: Literal["parquet"] = Field(description="The kind of output.")
    path: FilePath = Field(
        min_length=1,
        description="The folder, relative to the pipeline file. What Penstock wrote there before is replaced.",
        examples=["../out/reviews"],
    )
    mode: Literal["replace", "append"] = Field(
        default="replace",
        description=(
            "`replace`: the folder holds the rows of the last run. `append`: each run adds its rows as files of their "
            "own; resumed or retried, it puts them in the place of those it had added."
        ),
    )
    partition_by: list[str] = Field(
        default_factory=list,
        description=(
            "Columns whose values become folders, `language=en/`, which readers make columns of again. Texts, whole "
            "numbers, booleans and dates."
        ),
        examples=[["language"]],
    )
    metadata: dict[str, str] = Field(
        default_factory=dict,
        description="Texts for the footer of each file, beside those of Penstock. Files are written anew for it.",
        examples=[{"owner": "search-team"}],
    )
    file_rows: Count | None = Field(
        default=None,
        gt=0,
        description="Rows in one file at most; as many as were worked on together if left out.",
        examples=["1M"],
    )

    @field_validator("partition_by")
    @classmethod
    def _once(cls, columns: list[str]) -> list[str]:
        if len(set(columns)) < len(columns):
            raise ValueError("a column is named twice")
        return columns

    @field_validator("metadata")
    @classmethod
    def _free_texts(cls, metadata: dict[str, str]) -> dict[str, str]:
        for name, text in metadata.items():
            if name.lower().startswith(_OWN_KEYS):
                raise ValueError(f"{name!r} is a name that Parquet's libraries or Penstock use themselves")
            if holds_key(text):
                raise ValueError(f"{name!r} holds what looks like a key; it would stand in every file")
        return metadata

    @property
    def target(self) -> Path:
        """The folder."""
        return Path(self.path)

    @property
    def named_columns(self) -> Sequence[NamedColumn]:
        """Those of `partition_by`."""
        return named_in("partition_by", self.partition_by)

    def check(self, schema: pa.Schema | None = None) -> None:
        """The folder is ours, or the rows can be added to it; the partition columns are there and can name folders."""
        from penstock.outputs.folder import check_folder, check_place
        from penstock.outputs.hive import check_columns

        if schema is not None:
            check_columns(self.partition_by, schema)
        if self.mode == "replace":
            check_folder(self.target)
        else:
            check_place(self.target, "a folder of Parquet files")
            existing = self._existing()
            if existing is not None and schema is not None:
                _check_fits(existing, schema, self.target)

    def publish(self, parts: Sequence[Path], origin: Origin | None = None) -> Published:
        """Link, copy or rewrite the parts into a new folder and put it in the place of the old one."""
        from penstock.outputs.existing import joined
        from penstock.outputs.folder import publish_folder, writing
        from penstock.outputs.rows import origin_of, schema_of

        with writing(self.target):
            origin = origin or origin_of(parts)
            schema = schema_of(parts) if parts else None
        self.check(schema)
        prefix, keep = "part-", None
        if self.mode == "append":
            prefix = f"part-{re.sub(r'[^A-Za-z0-9_-]', '-', origin.added_as) or 'rows'}-"
            own = re.compile(rf"{re.escape(prefix)}\d{{5,}}\.parquet")
            keep = functools.partial(_is_other, own)
            existing = self._existing()
            if schema is not None and existing is not None:
                schema = joined(existing, schema)
        fill = functools.partial(self._fill, parts=parts, schema=schema, origin=origin, prefix=prefix)
        files = publish_folder(self.target, fill, keep)
        return Published(self.target, sum(entry["rows"] for entry in files), files)

    def damage(self, files: Sequence[Mapping[str, Any]]) -> list[str]:
        """Files that are missing or changed; with `mode: replace` also those that are new."""
        from penstock.outputs.folder import damage

        return damage(self.target, files, alone=self.mode == "replace")

    def _fill(
        self, folder: Path, *, parts: Sequence[Path], schema: pa.Schema | None, origin: Origin, prefix: str
    ) -> list[dict[str, Any]]:
        from penstock.outputs.folder import link_parts
        from penstock.outputs.rewriting import Rewriter
        from penstock.outputs.rows import tables

        if schema is None or self._can_link(parts, schema):
            return link_parts(folder, parts, prefix)
        rewriter = Rewriter(
            folder,
            schema,
            partition_by=self.partition_by,
            metadata=self._footer(origin),
            file_rows=self.file_rows,
            prefix=prefix,
        )
        try:
            for table in tables(parts, schema):
                rewriter.add(table)
            return rewriter.finish()
        finally:
            rewriter.abandon()

    def _can_link(self, parts: Sequence[Path], schema: pa.Schema) -> bool:
        """Whether the parts are the files that are asked for already."""
        from pyarrow import parquet

        if self.partition_by or self.metadata or self.file_rows:
            return False
        return all(parquet.read_schema(part).equals(schema) for part in parts)

    def _footer(self, origin: Origin) -> dict[bytes, bytes]:
        own = {b"penstock": json.dumps(origin.facts()).encode()}
        return {**{name.encode(): text.encode() for name, text in self.metadata.items()}, **own}

    def _existing(self) -> pa.Schema | None:
        """The schema of the rows that stand in the folder, partition columns included; None when there are none.

        Raises:
            InputError: there is something else in the folder, or its files do not go together.
        """
        from penstock.outputs.existing import existing_schema

        return existing_schema(self.target, self.partition_by) if self.target.is_dir() else None


def _is_other(own: re.Pattern[str], name: str) -> bool:
    return own.fullmatch(PurePath(name).name) is None


def _check_fits(existing: pa.Schema, schema: pa.Schema, target: Path) -> None:
    from penstock.outputs.existing import misfit

    if reason := misfit(existing, schema):
        raise InputError(f"rows cannot be added to {target}: {reason}. Choose another path, or make them the same")
