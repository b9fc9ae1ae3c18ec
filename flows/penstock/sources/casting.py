"""From cells to typed columns: types found at the beginning of a file, and cells that do not fit a column's type."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

_INTEGER = r"^-?(0|[1-9]\d{0,17})$"
_NUMBER = r"^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$"
_BOOLEAN = r"^(true|false|True|False|TRUE|FALSE)$"


def infer_types(sample: pl.DataFrame) -> dict[str, pl.DataType]:
    """The narrowest type that all cells of each text column fit; text such as ``00123`` stays text, whole.

    Empty cells fit every type, quoted (as many programs write all cells) or not.
    """
    import polars as pl

    kinds: list[tuple[str, pl.DataType]] = [(_INTEGER, pl.Int64()), (_NUMBER, pl.Float64()), (_BOOLEAN, pl.Boolean())]
    types: dict[str, pl.DataType] = {}
    for name in sample.columns:
        cells = sample[name].drop_nulls()
        cells = cells.filter(cells != "")
        fits = (kind for pattern, kind in kinds if len(cells) and cells.str.contains(pattern).all())
        types[name] = next(fits, pl.String())
    return types


def cast_columns(frame: pl.DataFrame, schema: dict[str, pl.DataType]) -> tuple[pl.DataFrame, pl.Series, str]:
    """Text columns to `schema`.

    Returns the typed frame, a mask of the rows that fit, and the name of a column that some row does not fit, or "".
    """
    import polars as pl

    typed = frame.select(_cast(name, kind) for name, kind in schema.items())
    good = pl.repeat(True, len(frame), dtype=pl.Boolean, eager=True)
    culprit = ""
    for name, kind in schema.items():
        if kind == pl.String:
            continue
        lost = typed[name].is_null() & frame[name].is_not_null() & (frame[name] != "")
        if lost.any():
            good &= ~lost
            culprit = name
    return typed, good, culprit


def misfit(row: dict[str, object], schema: dict[str, pl.DataType]) -> str:
    """Which cell of a row of text does not fit its type, as a sentence."""
    import polars as pl

    for name, kind in schema.items():
        cell = row[name]
        if kind != pl.String and cell not in {None, ""} and pl.select(_cast_literal(str(cell), kind)).item() is None:
            return (
                f"column {name!r} is {kind} by the beginning of the file and {str(cell)[:60]!r} is not; "
                f"mend the row, or set source.types: {{{name}: string}}"
            )
    return "a cell does not fit its column's type"


def cast_typed(frame: pl.DataFrame, schema: dict[str, pl.DataType]) -> tuple[pl.DataFrame, dict[int, str]]:
    """Columns that have types to those of `schema`.

    Returns the typed frame, and for each row that does not fit, by its place, why; such rows hold nulls.
    """
    import polars as pl

    lost: dict[int, str] = {}
    columns: list[pl.Series] = []
    for name, kind in schema.items():
        column = frame[name]
        if column.dtype != kind:
            typed = _converted_series(column, kind)
            # An empty text is nothing where a number or a date should be.
            given = column.is_not_null() & (column != "") if column.dtype == pl.String else column.is_not_null()
            for place in (typed.is_null() & given).arg_true():
                lost.setdefault(place, f"column {name!r} is to be {kind} and {str(column[place])[:60]!r} is not")
            column = typed
        columns.append(column)
    return pl.DataFrame(columns), lost


def _converted_series(column: pl.Series, kind: pl.DataType) -> pl.Series:
    """The column as another type; null where a value has none of the same meaning there."""
    import polars as pl

    name, held = column.name, column.dtype
    if held == pl.String:
        blank = pl.col(name).replace("", None) if kind != pl.String else pl.col(name)
        return column.to_frame().select(_converted(blank, kind).alias(name)).to_series()
    if kind == pl.String:
        if held.is_nested():
            return _as_json(column)
        return _decoded(column) if held == pl.Binary else column.cast(pl.String)
    try:
        typed = column.cast(kind, strict=False)
        if held.is_numeric() and (kind.is_integer() or kind == pl.Boolean):
            # 1.5 is no integer, and 2 is neither true nor false.
            same = typed.cast(pl.Float64) == column.cast(pl.Float64)
            typed = typed.to_frame().select(pl.when(same).then(pl.col(name)).alias(name)).to_series()
    except pl.exceptions.PolarsError:
        return pl.Series(name, [None] * len(column), dtype=kind)
    return typed


def _as_json(column: pl.Series) -> pl.Series:
    import msgspec
    import polars as pl

    texts = [None if value is None else msgspec.json.encode(value).decode() for value in column.to_list()]
    return pl.Series(column.name, texts, dtype=pl.String)


def _decoded(column: pl.Series) -> pl.Series:
    import polars as pl

    texts: list[str | None] = []
    for value in column.to_list():
        try:
            texts.append(None if value is None else value.decode())
        except UnicodeDecodeError:
            texts.append(None)
    return pl.Series(column.name, texts, dtype=pl.String)


def _cast(name: str, kind: pl.DataType) -> pl.Expr:
    import polars as pl

    return _converted(pl.col(name), kind).alias(name)


def _cast_literal(cell: str, kind: pl.DataType) -> pl.Expr:
    import polars as pl

    return _converted(pl.lit(cell), kind)


def _converted(cells: pl.Expr, kind: pl.DataType) -> pl.Expr:
    import polars as pl

    if kind == pl.String:
        return cells
    if kind == pl.Boolean:
        words = {"true": True, "false": False}
        return cells.str.to_lowercase().replace_strict(words, default=None, return_dtype=pl.Boolean)
    if kind == pl.Date:
        return cells.str.to_date(strict=False)
    if kind == pl.Datetime:
        # Times with a zone are kept as UTC: a column has one zone or none.
        zoned = cells.str.to_datetime("%+", strict=False, time_unit="us", time_zone="UTC").dt.replace_time_zone(None)
        return pl.coalesce(cells.str.to_datetime(strict=False, time_unit="us"), zoned)
    return cells.str.strip_chars().cast(kind, strict=False)
