"""`summary`: a small table of aggregates over the rows, such as counts and means by category."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from penstock.errors import InputError
from penstock.expressions import Aggregate, Column, Sql
from penstock.outputs.base import Origin
from penstock.outputs.csv import Csv
from penstock.outputs.jsonl import JsonLines
from penstock.outputs.text_files import OneFile
from penstock.values import Count, FilePath, names_in

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

_PARQUET = ".parquet"
_TABLES = (".csv", ".tsv")
_LINES = (".jsonl", ".ndjson")
_DIRECTION = re.compile(r"\s+(asc|desc)$", re.IGNORECASE)


class Summary(OneFile):
    """The rows themselves are not written: each group of them becomes one row of aggregates.

    polars reads the parts as a stream, only the columns that are used, so that memory grows with the groups and not
    with the rows. ``count(DISTINCT …)`` keeps the values that are different, ``median`` and ``quantile_…`` all values
    of the columns used. In the account the rows summed up are the rows written.
    """

    kind: ClassVar[str] = "summary"
    summary: ClassVar[str] = (
        "Writes a small table of aggregates over the rows (counts, means, …), in groups if you like, as CSV, JSON "
        "Lines or Parquet."
    )
    example: ClassVar[str] = (
        "uses: summary\npath: ../out/by_category.csv\nby: category\n"
        "columns: {rows: count(*), mean_score: 'round(avg(score), 3)'}\norder_by: rows desc\n"
    )
    endings: ClassVar[tuple[str, ...]] = (*_TABLES, *_LINES, _PARQUET)

    uses: Literal["summary"] = Field(description="The kind of output.")
    path: FilePath = Field(
        min_length=1,
        description=(
            "The file, relative to the pipeline file; its ending says the format: .csv, .tsv, .jsonl, .ndjson or "
            ".parquet. What stands there is replaced."
        ),
        examples=["../out/by_category.csv"],
    )
    by: Column | list[Column] | dict[str, Sql] = Field(
        default_factory=list,
        description=(
            "The columns whose values make the groups, as they are or as a mapping of names to SQL expressions. If "
            "left out, all rows are one group. Null is a group, too."
        ),
        examples=["category", ["language", "category"], {"month": "strftime(created_at, '%Y-%m')"}],
    )
    columns: dict[str, Aggregate] = Field(
        min_length=1,
        description="Names of the further columns, each with the SQL aggregate over the rows of a group.",
        examples=[{"rows": "count(*)", "mean": "round(avg(score), 3)", "bad": "count(*) FILTER (WHERE flagged)"}],
    )
    order_by: str | list[str] = Field(
        default_factory=list,
        description=(
            "Columns of the table by which it is ordered, with `desc` behind them for the largest first; nulls come "
            "last. What is equal by them, and all if left out, is in the order of `by`."
        ),
        examples=["rows desc", ["language", "rows desc"]],
    )
    limit: Count | None = Field(
        default=None, gt=0, description="Groups that are written at most; the first ones in their order.", examples=[20]
    )
    escape_formulas: bool = Field(
        default=False,
        description="As in the output `csv`: texts that a spreadsheet would run as formulas get an apostrophe.",
    )

    @field_validator("path")
    @classmethod
    def _is_not_twice_compressed(cls, path: str) -> str:
        if _PARQUET in Path(path).suffixes[:-1]:
            raise ValueError("a Parquet file is compressed inside; its name ends in .parquet")
        return path

    @field_validator("by")
    @classmethod
    def _once(cls, by: str | list[str] | dict[str, str]) -> str | list[str] | dict[str, str]:
        if isinstance(by, list) and len(set(by)) < len(by):
            raise ValueError(f"the column {next(name for name in by if by.count(name) > 1)!r} is named twice")
        return by

    @field_validator("columns")
    @classmethod
    def _other_names(cls, columns: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        if "by" in info.data and (both := [name for name in names_in(info.data["by"]) if name in columns]):
            raise ValueError(f"{both[0]!r} is a column of `by` already")
        return columns

    @field_validator("order_by")
    @classmethod
    def _of_the_table(cls, order_by: str | list[str], info: ValidationInfo) -> str | list[str]:
        if {"by", "columns"} <= info.data.keys():
            known = [*names_in(info.data["by"]), *info.data["columns"]]
            for name, _ in _ordered(order_by):
                if name not in known:
                    raise ValueError(f"the summary has no column {name!r}; it has: {', '.join(known)}")
        return order_by

    def check(self, schema: pa.Schema | None = None) -> None:
        """The file can be written, and the expressions make sense of the columns' types."""
        super().check(schema)
        if schema is None:
            return
        import polars as pl

        frame = pl.DataFrame(schema.empty_table())
        for name, expression in self._groups().items():
            if (kind := self._kind(frame, f"by: {name}", expression)).is_nested():
                raise InputError(f"by: {name!r} is {kind}; group by an element or a field of it")
        for name, expression in self._values().items():
            self._kind(frame, f"columns: {name}", expression)

    def _write(self, temporary: Path, parts: Sequence[Path], origin: Origin | None) -> dict[str, int]:
        import polars as pl
        from pyarrow import parquet

        try:
            frame = self._query(self._rows(parts)).collect(engine="streaming")
        except pl.exceptions.PolarsError as error:
            raise InputError(f"the summary {self.path} cannot be made: {_first_line(error)}") from error
        table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
        if self.path.lower().endswith(_PARQUET):
            self._write_parquet(temporary, table, parts, origin)
        else:
            self._text_file().save(temporary, table.schema, [table])
        return {"rows": sum(parquet.read_metadata(part).num_rows for part in parts), "groups": len(frame)}

    def _query(self, rows: pl.LazyFrame) -> pl.LazyFrame:
        groups, values = self._groups(), self._values()
        if not groups:
            return rows.select(**values)
        ordered = dict(_ordered(self.order_by))
        ordered |= {name: False for name in groups if name not in ordered}
        table = rows.group_by([one.alias(name) for name, one in groups.items()]).agg(**values)
        table = table.sort(list(ordered), descending=list(ordered.values()), nulls_last=True)
        return table if self.limit is None else table.head(self.limit)

    def _groups(self) -> dict[str, pl.Expr]:
        import polars as pl

        if isinstance(self.by, dict):
            return {name: pl.sql_expr(text) for name, text in self.by.items()}
        return {name: pl.col(name) for name in names_in(self.by)}

    def _values(self) -> dict[str, pl.Expr]:
        import polars as pl

        return {name: pl.sql_expr(text) for name, text in self.columns.items()}

    def _text_file(self) -> Csv | JsonLines:
        # The path has been looked at, and its endings are those of this kind.
        if any(ending in self.path.lower() for ending in _LINES):
            return JsonLines.model_construct(uses="jsonl", path=self.path)
        return Csv.model_construct(uses="csv", path=self.path, escape_formulas=self.escape_formulas)

    def _write_parquet(self, file: Path, table: pa.Table, parts: Sequence[Path], origin: Origin | None) -> None:
        from pyarrow import parquet

        from penstock.outputs.rows import origin_of
        from penstock.tables.parts import METADATA_KEY, writer_settings

        facts = json.dumps((origin or origin_of(parts)).facts()).encode()
        with parquet.ParquetWriter(file, table.schema, **writer_settings(table.schema)) as writer:
            writer.write_table(table)
            writer.add_key_value_metadata({METADATA_KEY: facts})

    def _rows(self, parts: Sequence[Path]) -> pl.LazyFrame:
        """All rows of the parts, which may differ in what is known of their columns' types."""
        import polars as pl
        from pyarrow import parquet

        from penstock.outputs.rows import common_schema

        if not parts:
            used = [*self._groups().values(), *self._values().values()]
            return pl.LazyFrame(schema={name: pl.Null for one in used for name in one.meta.root_names()})
        schemas = [parquet.read_schema(part) for part in parts]
        common = common_schema(schemas)
        kinds = pl.DataFrame(common.empty_table()).schema
        frames: list[pl.LazyFrame] = []
        for part, schema in zip(parts, schemas, strict=True):
            others = [name for name in common.names if not schema.field(name).type.equals(common.field(name).type)]
            rows = pl.scan_parquet(part, glob=False).select(common.names)
            frames.append(rows.cast({name: kinds[name] for name in others}) if others else rows)
        return pl.concat(frames)

    def _kind(self, frame: pl.DataFrame, place: str, expression: pl.Expr) -> pl.DataType:
        """The type of an expression over the columns of an empty frame.

        Raises:
            InputError: polars cannot compute it.
        """
        import polars as pl

        try:
            return frame.select(expression).to_series().dtype
        except pl.exceptions.PolarsError as error:
            try:
                # Some functions refuse a table without rows.
                return frame.clear(1).select(expression).to_series().dtype
            except pl.exceptions.PolarsError:
                raise InputError(f"the summary {self.path} cannot be made, {place}: {_first_line(error)}") from None


def _ordered(order_by: str | list[str]) -> list[tuple[str, bool]]:
    """Each name of `order_by`, and whether its largest values come first."""
    found: list[tuple[str, bool]] = []
    for text in names_in(order_by):
        direction = _DIRECTION.search(text)
        name = text[: direction.start()] if direction else text
        found.append((name.strip(), direction is not None and direction[1].lower() == "desc"))
    return found


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0][:200]
