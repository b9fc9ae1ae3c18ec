"""The two languages inside a pipeline file: Jinja templates (text from columns) and SQL expressions (run by polars).

Both are checked before the first request: their syntax, and the columns they need. Neither can read files, call
Python, or grow a cell without bound.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from penstock.errors import ExpressionError

if TYPE_CHECKING:
    from jinja2.sandbox import ImmutableSandboxedEnvironment

LONGEST_TEXT = 10_000_000
"""Characters that one rendered template may have; more is an error of that row."""


class TemplateField:
    """Marks a settings field whose text is a Jinja template over the row's columns."""

    def __repr__(self) -> str:
        return "TemplateField()"


class SqlField:
    """Marks a settings field whose text is an SQL expression over the row's columns."""

    def __repr__(self) -> str:
        return "SqlField()"


class ColumnField:
    """Marks a settings field that names a column of the row."""

    def __repr__(self) -> str:
        return "ColumnField()"


Template = Annotated[str, TemplateField()]
Sql = Annotated[str, SqlField()]
Column = Annotated[str, ColumnField()]


def template_columns(text: str) -> dict[str, int]:
    """The columns that a template needs, each with the offset of its first use in `text`.

    Raises:
        ExpressionError: `text` is not a template, with the place.
    """
    from jinja2 import TemplateSyntaxError, nodes

    environment = _environment()
    try:
        tree = environment.parse(text)
    except TemplateSyntaxError as error:
        offset = _line_start(text, error.lineno)
        raise ExpressionError(f"the template does not parse: {error.message}", offset=offset) from None
    from jinja2 import meta

    for kind, known in ((nodes.Filter, environment.filters), (nodes.Test, environment.tests)):
        for call in tree.find_all(kind):
            if call.name not in known:
                raise ExpressionError(
                    f"the template uses an unknown {kind.__name__.lower()} {call.name!r}",
                    offset=_first_use(text, call.name),
                    width=len(call.name),
                )
    wanted = meta.find_undeclared_variables(tree) - {"range"}
    return {name: _first_use(text, name) for name in sorted(wanted)}


def sql_columns(text: str) -> dict[str, int]:
    """The columns that an SQL expression needs, each with the offset of its first use in `text`.

    Raises:
        ExpressionError: `text` is not an SQL expression that polars can run.
    """
    try:
        names: list[str] = _sql_parser()(text).meta_root_names()
    except Exception as error:  # the native parser has no exception class that can be imported cheaply
        if type(error).__module__.split(".")[0] != "polars" and type(error).__name__ != "PanicException":
            raise
        first = str(error).split("\n", 1)[0]
        raise ExpressionError(f"the SQL expression does not parse: {first}", width=max(1, len(text))) from None
    return {name: _first_use(text, name) for name in dict.fromkeys(names)}


def renderer(text: str) -> Callable[[Mapping[str, Any]], str]:
    """A function from a row (column name to value) to text. A null renders as nothing, never as ``None``.

    The function raises:
        ExpressionError: the template cannot be rendered for that row, or its text is longer than `LONGEST_TEXT`.
    """
    from jinja2 import TemplateError

    template = _environment().from_string(text)

    def render(row: Mapping[str, Any]) -> str:
        pieces: list[str] = []
        length = 0
        try:
            for piece in template.generate(row):
                length += len(piece)
                if length > LONGEST_TEXT:
                    raise ExpressionError(f"the rendered text is longer than {LONGEST_TEXT:,} characters")
                pieces.append(piece)
        except (TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise ExpressionError(f"the template fails on this row: {error}") from None
        return "".join(pieces)

    return render


def plain_pieces(text: str) -> list[tuple[str, bool]] | None:
    """The template as a list of (text, is it a column's name), or None when it is more than text and bare columns.

    Such templates can be run by polars for all rows at once, with the same result for text columns.
    """
    from jinja2 import nodes

    pieces: list[tuple[str, bool]] = []
    for node in _environment().parse(text).body:
        if not isinstance(node, nodes.Output):
            return None
        for part in node.nodes:
            if isinstance(part, nodes.TemplateData):
                pieces.append((part.data, False))
            elif isinstance(part, nodes.Name):
                pieces.append((part.name, True))
            else:
                return None
    return pieces


@functools.cache
def _environment() -> ImmutableSandboxedEnvironment:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined,
        autoescape=False,  # the output is a prompt, not HTML
        keep_trailing_newline=True,
        finalize=lambda value: "" if value is None else value,
    )
    environment.globals.clear()
    environment.globals["range"] = range
    return environment


@functools.cache
def _sql_parser() -> Callable[[str], Any]:
    # `import polars` costs 0.4 CPU-seconds and `penstock check` needs only its parser, which is in the native module.
    try:
        from _polars_runtime_32 import _polars_runtime
    except ImportError:
        from polars._plr import sql_expr

        return sql_expr
    return _polars_runtime.sql_expr  # type: ignore[no-any-return]  # native function without types


def _first_use(text: str, name: str) -> int:
    match = re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text)
    return match.start() if match else 0


def _line_start(text: str, line: int) -> int:
    return sum(len(part) + 1 for part in text.split("\n")[: line - 1])
