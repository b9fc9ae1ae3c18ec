"""The two languages inside a pipeline file: Jinja templates (text from columns) and SQL expressions (run by polars).

Both are checked before the first request: their syntax, and the columns they need. Neither can read files, call
Python, or grow a cell without bound.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from penstock.expressions.aggregate_text import AGGREGATES, check_aggregates
from penstock.expressions.sql_text import Token, check_no_alias, checked_tokens, explained, name_places
from penstock.expressions.template_rules import FILTERS, LONGEST_TEXT, METHODS

if TYPE_CHECKING:
    from penstock.expressions.template_sandbox import TemplateEnvironment


class TemplateField:
    """Marks a settings field whose text is a Jinja template over the row's columns."""

    def __repr__(self) -> str:
        return "TemplateField()"


class SqlField:
    """Marks a settings field whose text is an SQL expression over the row's columns."""

    def __repr__(self) -> str:
        return "SqlField()"


class AggregateField:
    """Marks a settings field whose text is an SQL expression that gives one value for many rows."""

    def __repr__(self) -> str:
        return "AggregateField()"


class ColumnField:
    """Marks a settings field that names a column of the row."""

    def __repr__(self) -> str:
        return "ColumnField()"


Template = Annotated[str, TemplateField()]
Sql = Annotated[str, SqlField()]
Aggregate = Annotated[str, AggregateField()]
Column = Annotated[str, ColumnField()]


def template_columns(text: str) -> dict[str, int]:
    """The columns that a template needs, each with the offset of its first use in `text`.

    Raises:
        ExpressionError: `text` is not a template, or uses what templates may not, with the place.
    """
    return _environment().columns(text)


def sql_columns(text: str) -> dict[str, int]:
    """The columns that an SQL expression needs, each with the offset of its first use in `text`.

    Raises:
        ExpressionError: `text` is not an SQL expression that polars can run row by row.
    """
    return _columns(text, checked_tokens(text))


def aggregate_columns(text: str) -> dict[str, int]:
    """The columns that an SQL expression over many rows needs, each with the offset of its first use in `text`.

    Raises:
        ExpressionError: `text` is not an SQL expression, or does not give one value for many rows.
    """
    tokens = checked_tokens(text, aggregates=True)
    columns = _columns(text, tokens, AGGREGATES)
    check_aggregates(tokens, columns)
    return columns


def renderer(text: str) -> Callable[[Mapping[str, Any]], str]:
    """A function from a row (column name to value) to text. A null renders as nothing, never as ``None``.

    The function raises:
        ExpressionError: the template cannot be rendered for that row, or its text is longer than `LONGEST_TEXT`.
    """
    return _environment().renderer(text)


def plain_pieces(text: str) -> list[tuple[str, bool]] | None:
    """The template as a list of (text, is it a column's name), or None when it is more than text and bare columns.

    Such templates can be run by polars for all rows at once, with the same result for text columns.

    Raises:
        ExpressionError: `text` is not a template.
    """
    return _environment().plain_pieces(text)


def _columns(text: str, tokens: list[Token], functions: Iterable[str] = ()) -> dict[str, int]:
    parse, refused = _sql_parser()
    try:
        parsed = parse(text)
        names: list[str] = parsed.meta_root_names()
        renames = not parsed.meta_eq(parsed.meta_undo_aliases())
    except refused as error:
        raise explained(str(error), text, tokens, functions) from None
    if renames:
        check_no_alias(tokens, parsed.meta_output_name())
    places = name_places(tokens)
    return {name: places.get(name, (0, 1))[0] for name in dict.fromkeys(names)}


@functools.cache
def _environment() -> TemplateEnvironment:
    from penstock.expressions.template_sandbox import TemplateEnvironment

    return TemplateEnvironment()


@functools.cache
def _sql_parser() -> tuple[Callable[[str], Any], tuple[type[BaseException], ...]]:
    """The parser and what it raises for text that it does not understand.

    `import polars` costs 0.4 CPU-seconds and `penstock check` needs only its parser, which is in the native module.
    """
    try:
        from _polars_runtime_32 import _polars_runtime as native
    except ImportError:
        from polars import _plr as native
    # Some texts make the parser panic, which is no Exception of Python's.
    return native.sql_expr, (native.PolarsError, native.PanicException)


__all__ = [
    "AGGREGATES", "FILTERS", "LONGEST_TEXT", "METHODS", "Aggregate", "AggregateField", "Column", "ColumnField", "Sql",
    "SqlField", "Template", "TemplateField", "aggregate_columns", "plain_pieces", "renderer", "sql_columns",
    "template_columns",
]  # fmt: skip
