"""Templates over all rows of a table: by polars where they are only text and columns, else row by row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from penstock.errors import ExpressionError
from penstock.expressions import plain_pieces, renderer
from penstock.items import Cause, Fault

if TYPE_CHECKING:
    import polars as pl


def rendered(template: str, frame: pl.DataFrame) -> pl.Series:
    """The text of each row, null where the template fails on it. Nulls of the row render as nothing."""
    import polars as pl

    pieces = plain_pieces(template)
    plain = {pl.String, pl.Int64, pl.Int32, pl.UInt32}
    columns = [text for text, named in pieces or [] if named]
    if pieces is not None and columns and all(frame.schema[name] in plain for name in columns):
        parts = [
            pl.col(text).cast(pl.String).fill_null("") if named else pl.lit(text, dtype=pl.String)
            for text, named in pieces
        ]
        return frame.select(pl.concat_str(parts).alias("payload")).to_series()
    render = renderer(template)

    def text_of(row: Mapping[str, Any]) -> str | None:
        try:
            return render(row)
        except ExpressionError:
            return None

    return pl.Series("payload", [text_of(row) for row in frame.iter_rows(named=True)], dtype=pl.String)


def asked_by_row(asked: Iterable[Any], kind: pl.DataType) -> pl.Series:
    """The payloads of rows that are made one by one, null where a `Fault` came.

    Args:
        kind: of the payloads: text, or lists of texts.
    """
    import polars as pl

    return pl.Series("payload", [None if isinstance(each, Fault) else each for each in asked], dtype=kind)


def template_fault(template: str, row: Mapping[str, Any]) -> Fault | None:
    """Why the template fails on this row; None where it does not."""
    try:
        renderer(template)(row)
    except ExpressionError as error:
        return Fault(Cause.EXPRESSION, error.message)
    return None
