"""`join`: columns of another source by matching values, or only the rows that have, or have no, match there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from penstock.errors import InputError
from penstock.expressions import Column
from penstock.sources import SourceSettings, open_source
from penstock.steps.base import Columns, TableStep
from penstock.steps.column_types import check_new
from penstock.steps.other_table import Wanted, column_names, other_table
from penstock.values import Size, names_in

if TYPE_CHECKING:
    import polars as pl

_MATCH = "match"
_THEIRS = "__theirs_"


class Join(TableStep):
    """The other source is read whole, once per process, so it must fit in memory; rows here stay in partitions.

    Null matches nothing, not even null. Two rows there with the same values are a mistake, unless `many` says that a
    row here may become several.
    """

    kind: ClassVar[str] = "join"
    summary: ClassVar[str] = (
        "Adds columns of another source where values match, or keeps only the rows that have, or have no, match there."
    )
    example: ClassVar[str] = 'uses: join\nwith: {path: customers.csv}\n"on": customer_id\ncolumns: [country, segment]\n'

    uses: Literal["join"] = Field(description="The kind of step.")
    other: SourceSettings = Field(
        alias="with",
        description=(
            "The other source: files of this machine, as `source:` takes them. `key` and `partition_rows` mean nothing "
            "here."
        ),
        examples=[{"path": "../data/customers.csv"}],
    )
    on: Column | list[Column] | dict[str, str] = Field(
        description=(
            "The columns whose values must be equal: one name, a list of names, or a mapping of columns here to "
            "columns there."
        ),
        examples=["customer_id", ["shop", "order_id"], {"customer": "id"}],
    )
    how: Literal["left", "inner", "semi", "anti"] = Field(
        default="left",
        description=(
            "`left` keeps all rows, with nulls where there is no match; `inner` filters rows without a match; `semi` "
            "does so and adds no columns; `anti` keeps only rows without a match."
        ),
    )
    columns: list[str] | dict[str, str] | None = Field(
        default=None,
        min_length=1,
        description=(
            "The columns to add: a list of names, or a mapping of new names to columns there. All but those of `on` "
            "if left out."
        ),
        examples=[["country", "segment"], {"customer_country": "country"}],
    )
    many: bool = Field(
        default=False,
        description="Let a row with several matches become several rows, numbered by `position`.",
    )
    position: str = Field(
        default=_MATCH,
        min_length=1,
        description="Name of the column of the match's number, from 0; only with `many`.",
    )
    memory: Size = Field(default=1_000_000_000, description="Memory that the other side may take.", examples=["4GB"])

    @field_validator("other")
    @classmethod
    def _is_a_local_table(cls, other: SourceSettings) -> SourceSettings:
        if other.sql or "://" in other.path or other.kind == "files":
            raise ValueError(
                "the other side of a join is a table in a file of this machine, because it must stay the same through "
                "a run; write a query's or bucket's rows to a file first"
            )
        if other.partition_rows is not None or other.key is not None:
            word = "key" if other.key is not None else "partition_rows"
            raise ValueError(f"`{word}` means nothing for the other side of a join; leave it out")
        return other

    @field_validator("on")
    @classmethod
    def _names_columns(cls, on: str | list[str] | dict[str, str]) -> str | list[str] | dict[str, str]:
        if not on:
            raise ValueError("a join needs a column at least")
        if isinstance(on, list) and len(set(on)) < len(on):
            raise ValueError(f"{next(name for name in on if on.count(name) > 1)!r} is named twice")
        return on

    @field_validator("columns", "many")
    @classmethod
    def _adds_something(cls, value: Any, info: ValidationInfo) -> Any:
        how = info.data.get("how")
        if value and how in {"semi", "anti"}:
            raise ValueError(f"`how: {how}` adds nothing to a row; leave out `{info.field_name}`")
        return value

    @property
    def drops_rows(self) -> bool:  # type: ignore[override]  # a constant of most kinds, and a setting of this one
        """Whether rows without, or with, a match are filtered."""
        return self.how != "left"

    @property
    def adds_rows(self) -> bool:  # type: ignore[override]  # as above
        """Whether a row may become several."""
        return self.many

    @property
    def adds_keys(self) -> Sequence[str]:
        """The number of the match where there may be several."""
        return (self.position,) if self.many else ()

    @property
    def files(self) -> Sequence[Path]:
        """Those of the other source."""
        return [Path(path) for path in open_source(self.other).files]

    @property
    def matched(self) -> dict[str, str]:
        """Columns here to columns there."""
        if isinstance(self.on, dict):
            return dict(self.on)
        return {name: name for name in names_in(self.on)}

    def content(self) -> dict[str, Any]:
        """How the two are joined; what is in the other source's files counts by itself."""
        content = {name: value for name, value in super().content().items() if name != "memory"}
        content["with"] = {name: value for name, value in content["with"].items() if name != "path"}
        return content

    def columns_after(self, given: Mapping[str, str | None]) -> Columns:
        """The columns before, those taken from the other source, and the number of the match with `many`."""
        try:
            theirs = column_names(self.other, list(self.matched.values()))
        except InputError as error:
            raise ValueError(str(error)) from None
        if isinstance(self.on, dict) and (missing := [name for name in self.on if name not in given]):
            raise ValueError(f"`on`: there is no column {missing[0]!r} here; the columns are: {', '.join(given)}")
        taken = self._taken(list(theirs))
        for setting, names in (("on", self.matched.values()), ("columns", taken.values())):
            if missing := [name for name in names if name not in theirs]:
                there = f"{Path(self.other.path).name} has no column {missing[0]!r}; it has: {', '.join(theirs)}"
                raise ValueError(f"`{setting}`: {there}")
        if clash := [new for new in taken if new in given]:
            raise ValueError(
                f"the column {clash[0]!r} exists already; take it under another name: "
                f"columns: {{other_{clash[0]}: {taken[clash[0]]}}}"
            )
        after = {**given, **{new: theirs[old] for new, old in taken.items()}}
        if self.many:
            check_new(after, {"position": self.position})
            after[self.position] = "Int64"
        return after

    def apply(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        """The rows with what matches, in their order; several matches of a row in the order of the other source."""
        import polars as pl

        theirs = list(self.matched.values())
        all_columns = self.columns is None and self.how not in {"semi", "anti"}
        other = other_table(
            Wanted(
                settings=self.other,
                keys=tuple(theirs),
                columns=None if all_columns else tuple(self._taken([]).values()),
                unique=not self.many,
                distinct=self.how in {"semi", "anti"},
                memory=self.memory,
            )
        )
        taken = self._taken(other.columns)
        keys = self._comparable(frame.collect_schema(), other)
        numbers = [pl.int_range(pl.len(), dtype=pl.Int64).over(theirs).alias(self.position)] if self.many else []
        right = other.lazy().select(*keys, *(pl.col(old).alias(new) for new, old in taken.items()), *numbers)
        joined = frame.join(
            right,
            left_on=list(self.matched),
            right_on=[f"{_THEIRS}{name}" for name in theirs],
            how=self.how,
            coalesce=True if self.how in {"left", "inner"} else None,
            maintain_order="left_right" if self.how in {"left", "inner"} else "left",
        )
        return joined.with_columns(pl.col(self.position).fill_null(0)) if self.many else joined

    def _taken(self, theirs: Sequence[str]) -> dict[str, str]:
        """New name to column there."""
        if self.how in {"semi", "anti"}:
            return {}
        if self.columns is None:
            return {name: name for name in theirs if name not in self.matched.values()}
        return dict(self.columns) if isinstance(self.columns, dict) else {name: name for name in self.columns}

    def _comparable(self, here: Mapping[str, pl.DataType], other: pl.DataFrame) -> list[pl.Expr]:
        """The keys there, under names of their own and with the types of the keys here."""
        import polars as pl

        keys: list[pl.Expr] = []
        for ours, theirs in self.matched.items():
            left, right = here[ours], other.schema[theirs]
            key = pl.col(theirs).alias(f"{_THEIRS}{theirs}")
            if left.is_integer() and right.is_integer():
                # A number that does not fit becomes null, which matches nothing.
                key = key.cast(left, strict=False)
            elif left != right:
                raise InputError(
                    f"the step {self.name!r} compares {ours!r}, which is {left}, with {theirs!r} of "
                    f"{Path(self.other.path).name}, which is {right}; set `types` of one of the two sources"
                )
            keys.append(key)
        return keys
