"""`explode`: each element of a list becomes a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from penstock.errors import InputError
from penstock.expressions import Column
from penstock.steps.base import Columns, TableStep
from penstock.steps.column_types import check_fields, check_list, check_new, element_type

if TYPE_CHECKING:
    import polars as pl


class Explode(TableStep):
    """The new rows have all other columns of the row that the list stood in, in the order of its elements.

    An element that is null is a row like any other. A row whose list is empty or null is filtered, or, with
    ``empty: keep``, stays one row with a null element at position 0.
    """

    kind: ClassVar[str] = "explode"
    summary: ClassVar[str] = "Makes a row of each element of a list; fields of structs can become columns."
    drops_rows: ClassVar[bool] = True
    adds_rows: ClassVar[bool] = True
    example: ClassVar[str] = "uses: explode\ncolumn: answers\nfields: {answer: text, score: score}\n"

    uses: Literal["explode"] = Field(description="The kind of step.")
    column: Column = Field(description="The column of lists.", examples=["answers"])
    output: str | None = Field(
        default=None,
        min_length=1,
        description="Name of the column of elements; that of the lists, which it replaces, if left out.",
        examples=["answer"],
    )
    fields: list[str] | dict[str, str] | None = Field(
        default=None,
        min_length=1,
        description=(
            "Of a list of structs: the fields that become columns in the place of the list, as a list of names or a "
            "mapping of new names to fields."
        ),
        examples=[["text", "score"], {"answer": "text"}],
    )
    position: str = Field(
        default="position", min_length=1, description="Name of the column of the element's place in its list, from 0."
    )
    empty: Literal["drop", "keep"] = Field(
        default="drop",
        description="What becomes of a row whose list is empty or null: `drop` filters it, `keep` keeps it as one row.",
    )

    @field_validator("fields")
    @classmethod
    def _names_one_thing(
        cls, fields: list[str] | dict[str, str] | None, info: ValidationInfo
    ) -> list[str] | dict[str, str] | None:
        if fields is not None and info.data.get("output"):
            raise ValueError("fields become columns of their own; leave out `output`, or `fields`")
        if isinstance(fields, list) and len(set(fields)) < len(fields):
            raise ValueError(f"{next(name for name in fields if fields.count(name) > 1)!r} is named twice")
        return fields

    @property
    def adds_keys(self) -> Sequence[str]:
        """The element's place."""
        return (self.position,)

    @property
    def unpacked(self) -> dict[str, str]:
        """New column to field of the struct."""
        return dict(self.fields) if isinstance(self.fields, dict) else {name: name for name in self.fields or ()}

    def columns_after(self, given: Mapping[str, str | None]) -> Columns:
        """The columns before, the elements or their fields in the place of the list, and the position."""
        check_list(given, self.column, "explode")
        others = {name: kind for name, kind in given.items() if name != self.column}
        if self.fields is not None:
            places = self.fields.items() if isinstance(self.fields, dict) else enumerate(self.fields)
            check_fields(given, self.column, {("fields", place): name for place, name in places}, "explode")
            check_new(others, {**{f"fields: {name}": name for name in self.unpacked}, "position": self.position})
            return {**others, **dict.fromkeys(self.unpacked), self.position: "Int64"}
        element = self.output or self.column
        check_new(given if self.output and self.output != self.column else others, {"output": element})
        check_new(given, {"position": self.position})
        if element == self.position:
            raise ValueError(f"`output` and `position` both name the column {element!r}")
        after = {(element if name == self.column else name): kind for name, kind in given.items()}
        return {**after, element: element_type(given.get(self.column)), self.position: "Int64"}

    def apply(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        """One row per element, in the order of rows and elements."""
        import polars as pl

        kind = frame.collect_schema()[self.column]
        lists = pl.col(self.column)
        if isinstance(kind, pl.Array):
            lists = lists.arr.to_list()
        elif not isinstance(kind, pl.List):
            raise InputError(f"the step {self.name!r} needs a list, and the column {self.column!r} is {kind}")
        inner = kind.inner
        if self.fields is not None:
            self._check_fields(inner)
        rows = frame.with_columns(lists, pl.int_ranges(0, lists.list.len(), dtype=pl.Int64).alias(self.position))
        if self.empty == "drop":
            rows = rows.filter(pl.col(self.column).list.len() > 0)
        rows = rows.explode(self.column, self.position, empty_as_null=True, keep_nulls=True)
        rows = rows.with_columns(pl.col(self.position).fill_null(0))
        if self.fields is None:
            return rows.rename({self.column: self.output or self.column})
        others = [name for name in frame.collect_schema() if name != self.column]
        elements = [pl.col(self.column).struct.field(field).alias(new) for new, field in self.unpacked.items()]
        return rows.select(*others, *elements, self.position)

    def _check_fields(self, kind: Any) -> None:
        import polars as pl

        if not isinstance(kind, pl.Struct):
            raise InputError(
                f"the step {self.name!r} takes fields of structs, and the elements of {self.column!r} are {kind}"
            )
        known = [field.name for field in kind.fields]
        if missing := [field for field in self.unpacked.values() if field not in known]:
            raise InputError(
                f"the structs in {self.column!r} have no field {missing[0]!r}; they have: {', '.join(known)}"
            )
