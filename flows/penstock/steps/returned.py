"""What a user's function gave back for a table, held to what its step promises of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from penstock.errors import InputError
from penstock.values import AnyTypeWord, polars_type

if TYPE_CHECKING:
    import polars as pl

TYPE_NAMES: dict[AnyTypeWord, str] = {
    "string": "String",
    "integer": "Int64",
    "number": "Float64",
    "boolean": "Boolean",
    "date": "Date",
    "datetime": "Datetime(time_unit='us', time_zone=None)",
    "list of string": "List(String)",
    "list of integer": "List(Int64)",
    "list of number": "List(Float64)",
}
"""The polars type that each word means."""


@dataclass(frozen=True, slots=True)
class Promise:
    """What a function must give back.

    Attributes:
        function: its name, for messages.
        columns: the new columns and their types.
        token: the column that says which row a row came from; None where rows stay as they are.
        may_repeat: whether a row may come back more than once.
    """

    function: str
    columns: Mapping[str, AnyTypeWord]
    token: str | None
    may_repeat: bool

    def kept(self, result: object, given: pl.DataFrame) -> tuple[pl.DataFrame, pl.Series | None]:
        """The new columns of a result and, where there are tokens, the row that each comes from, both by that row.

        Args:
            given: what the function was given, tokens included.

        Raises:
            InputError: the result is not what was promised.
        """
        import polars as pl

        if isinstance(result, pl.LazyFrame):
            result = result.collect()
        if not isinstance(result, pl.DataFrame):
            raise self._broken(f"gave back a {type(result).__name__}, and a polars DataFrame is needed")
        if missing := [name for name in self.columns if name not in result.columns]:
            raise self._broken(f"gave back no column {missing[0]!r}, which `columns` promises")
        if unknown := [name for name in result.columns if name not in self.columns and name not in given.columns]:
            raise self._broken(f"gave back a column {unknown[0]!r}, which `columns` does not name")
        rows = self._rows(result, given)
        if rows is None and len(result) != len(given):
            raise self._broken(
                f"gave back {len(result):,} rows for {len(given):,}; write `rows: fewer` or `rows: any` if it may"
            )
        if rows is not None and not rows.is_sorted():
            order = rows.to_frame().select(pl.arg_sort_by(rows.name, maintain_order=True)).to_series()
            result, rows = result[order], rows.gather(order)
        self._check_untouched(result, given if rows is None else given[rows])
        return result.select(self._typed(result[name], word) for name, word in self.columns.items()), rows

    def _rows(self, result: pl.DataFrame, given: pl.DataFrame) -> pl.Series | None:
        """The row that each row of the result comes from; None where rows stay as they are."""
        import polars as pl

        if self.token is None:
            return None
        if self.token not in result.columns:
            raise self._broken(
                f"gave back no column {self.token!r}: it comes with the table and must stay with its rows, "
                "because it says which row each one was made of"
            )
        tokens = result[self.token]
        if not tokens.dtype.is_integer() or tokens.null_count():
            raise self._broken(f"changed the column {self.token!r}, which must keep the numbers that it comes with")
        tokens = tokens.cast(pl.Int64)
        if len(tokens) and not tokens.is_between(0, len(given) - 1).all():
            raise self._broken(f"gave back numbers in {self.token!r} that no row came with")
        if not self.may_repeat and tokens.n_unique() < len(tokens):
            raise self._broken("gave back a row more than once; write `rows: any` if it may make several of one")
        return tokens

    def _check_untouched(self, result: pl.DataFrame, given: pl.DataFrame) -> None:
        for name in result.columns:
            if name in self.columns or name == self.token:
                continue
            if not _same(result[name], given[name]):
                order = "" if self.token else ", or changed the order of rows, which `rows: fewer` allows"
                raise self._broken(f"changed the column {name!r}, which `columns` does not name{order}")

    def _typed(self, column: pl.Series, word: AnyTypeWord) -> pl.Series:
        import polars as pl

        kind = polars_type(word)
        if column.dtype == kind:
            return column
        if not _suits(column.dtype, kind):
            raise self._broken(f"gave back {column.name!r} as {column.dtype}, and `columns` promises {word}")
        try:
            return column.cast(kind)
        except pl.exceptions.PolarsError as error:
            reason = str(error).split("\n", 1)[0]
            raise self._broken(f"gave back a value in {column.name!r} that is no {word}: {reason}") from None

    def _broken(self, what: str) -> InputError:
        return InputError(f"the function {self.function} {what}")


def _same(column: pl.Series, given: pl.Series) -> bool:
    """Whether they hold the same. Lists that are all null lose their type when polars turns them round."""
    if column.dtype != given.dtype:
        return _suits(column.dtype, given.dtype) and column.null_count() == len(column) == given.null_count()
    return column.equals(given, null_equal=True)


def _suits(found: Any, wanted: Any) -> bool:
    """Whether a column of one type may stand for another: nothing but nulls, or a number of another width."""
    import polars as pl

    if found == pl.Null():
        return True
    if isinstance(wanted, pl.List):
        return isinstance(found, pl.List | pl.Array) and (
            found.inner == wanted.inner or _suits(found.inner, wanted.inner)
        )
    if wanted == pl.Int64():
        return bool(found.is_integer())
    if wanted == pl.Float64():
        return bool(found.is_numeric())
    if isinstance(wanted, pl.Datetime):
        return isinstance(found, pl.Datetime) and found.time_zone is None
    return wanted == pl.String() and isinstance(found, pl.Categorical | pl.Enum)
