"""Functions that `prepare_tickets.yaml` calls."""

from __future__ import annotations

import polars as pl

_GREETING = r"(?i)^\s*(hello|hi|hey|dear|good (morning|afternoon|evening)|to whom it may concern)\b[^\n]{0,40}[,:]\s*"


def without_names(table: pl.DataFrame, mark: str) -> pl.DataFrame:
    """The body without its greeting and with `mark` for the customer's name; `named` says whether it stood there."""
    named = [name in body for name, body in table.select("customer", "body").iter_rows()]
    bodies = [body.replace(name, mark) for name, body in table.select("customer", "body").iter_rows()]
    body = pl.Series("body", bodies, pl.String).str.replace(_GREETING, "").str.strip_chars()
    return table.with_columns(body, named=pl.Series(named, dtype=pl.Boolean))
