"""SQL that gives one value for many rows, such as ``round(avg(score), 2)``: looked at before polars sees it."""

from __future__ import annotations

from collections.abc import Collection

from penstock.errors import ExpressionError
from penstock.expressions.sql_text import OVER_ROWS, Token

AGGREGATES = (
    "avg", "corr", "count", "covar", "covar_pop", "covar_samp", "first", "last", "max", "median", "min",
    "quantile_cont", "quantile_disc", "stddev", "stddev_pop", "stddev_samp", "stdev", "stdev_pop", "stdev_samp", "sum",
    "var", "var_pop", "var_samp", "variance",
)  # fmt: skip
"""Functions that make one value of a column, however many rows there are."""


def check_aggregates(tokens: list[Token], columns: Collection[str]) -> None:
    """Make sure that an expression gives one value for all rows.

    Args:
        tokens: of the expression, with brackets that match.
        columns: the names in it that are columns.

    Raises:
        ExpressionError: it has no aggregate, one inside another, a column outside of all, or a function whose value
            grows with the rows.
    """
    inside: list[bool] = []
    found = False
    for place, token in enumerate(tokens):
        called = place + 1 < len(tokens) and tokens[place + 1].value == "("
        word = token.value.lower() if token.kind == "name" and called else ""
        if token.value == "(" and token.kind == "mark":
            inside.append(any(inside[-1:]) or _opens(tokens, place))
        elif token.value == ")" and token.kind == "mark":
            inside.pop()
        elif word in AGGREGATES:
            found = True
            if any(inside[-1:]):
                raise _refused(token, f"`{token.value}` stands inside another aggregate")
        elif word in OVER_ROWS or word == "over":
            raise _refused(
                token,
                f"`{token.value}` gives no single value for many rows",
                f"the functions that do are: {', '.join(AGGREGATES)}",
            )
        elif not any(inside[-1:]) and not called and _is_column(tokens, place, columns):
            raise _refused(
                token,
                f"the column {token.value} stands outside of an aggregate, so there is no single value of it",
                f"for example max({token.value}); columns to group by belong in `by`",
            )
    if not found:
        raise ExpressionError(
            "this computes nothing over the rows",
            width=tokens[-1].offset + len(tokens[-1].value),
            hint="for example count(*), avg(score) or max(stars)",
        )


def _opens(tokens: list[Token], place: int) -> bool:
    """Whether a bracket holds what an aggregate takes, or the condition of its ``FILTER (WHERE …)``."""
    before = tokens[place - 1] if place else None
    if before is None or before.kind != "name":
        return False
    word = before.value.lower()
    return word in AGGREGATES or (word == "filter" and place > 1 and tokens[place - 2].value == ")")


def _is_column(tokens: list[Token], place: int, columns: Collection[str]) -> bool:
    kind, value, _ = tokens[place]
    name = value[1:-1].replace(value[0] * 2, value[0]) if kind == "quoted" else value
    is_field = place > 0 and tokens[place - 1].value == "."
    return kind in {"name", "quoted"} and name in columns and not is_field


def _refused(token: Token, message: str, hint: str = "") -> ExpressionError:
    return ExpressionError(message, offset=token.offset, width=len(token.value), hint=hint)
