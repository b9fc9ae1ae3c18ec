"""The Jinja environment of templates: strict, without a way out, and with bounds on text, time and memory.

A template is a stranger's program that runs once per row. Jinja's own sandbox keeps it from Python's insides; here
filters and methods are a list of harmless ones, each result is bounded before it is made, and loops are counted.
"""

from __future__ import annotations

import datetime as dt
import decimal
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from time import monotonic
from typing import Any

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError, nodes, pass_context
from jinja2 import Template as JinjaTemplate
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment, safe_range

from penstock.errors import ExpressionError
from penstock.expressions.template_bounds import checked_arguments, checked_operation, checked_size, too_long
from penstock.expressions.template_rules import (
    FILTERS,
    LONGEST_SECONDS,
    LONGEST_TEXT,
    METHODS,
    MOST_LOOPS,
    TEXT_FILTERS,
)
from penstock.expressions.template_text import (
    BOUNDED_LITERAL,
    BOUNDED_LOOP,
    JOINED,
    bounded_tree,
    checked_tree,
    name_places,
)

_BUDGET = ""
"""The name of the row's budget among the template's variables: one that no template can write."""
_FAILURES = (
    TemplateError, ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, TypeError, ValueError,
)  # fmt: skip
_METHODS_OF: tuple[tuple[tuple[type, ...], frozenset[str]], ...] = (
    ((str,), dict(METHODS)["text"]),
    ((list, tuple), dict(METHODS)["lists"]),
    ((dict,), dict(METHODS)["mappings"]),
    ((dt.date, dt.time, dt.timedelta), dict(METHODS)["dates and times"]),
    ((LoopContext,), frozenset({"cycle", "changed"})),
)
_PRINTED = (int, float, decimal.Decimal, dt.date, dt.time, dt.timedelta)
_Render = Callable[[Mapping[str, Any]], str]
_LINE = re.compile(r"\r\n|\r|\n")


class _Budget:
    """What one row may still use."""

    def __init__(self) -> None:
        # A text that is put into a variable and then printed is counted twice.
        self.characters = 2 * LONGEST_TEXT
        self.loops = MOST_LOOPS
        # Filters inside `map` make texts that are held all at once.
        self.filtered = 5 * LONGEST_TEXT
        self._deadline = monotonic() + LONGEST_SECONDS

    def spend(self, characters: int) -> None:
        self.characters -= characters
        if self.characters < 0:
            raise ExpressionError(f"the rendered text is longer than {LONGEST_TEXT:,} characters")

    def hold(self, value: Any) -> Any:
        self.filtered -= len(value) if isinstance(value, str) else 0
        if self.filtered < 0:
            raise ExpressionError(f"the template's filters make more than {5 * LONGEST_TEXT:,} characters")
        return value

    def turn(self, characters: int) -> None:
        self.loops -= 1
        if self.loops < 0:
            raise ExpressionError(f"the template's loops turn more than {MOST_LOOPS:,} times")
        self.spend(characters)
        self.check_time()

    def check_time(self) -> None:
        if monotonic() > self._deadline:
            raise ExpressionError(f"the template takes longer than {LONGEST_SECONDS:g} seconds")


class TemplateEnvironment(ImmutableSandboxedEnvironment):
    """Parses, checks and renders templates."""

    intercepted_binops = frozenset(ImmutableSandboxedEnvironment.default_binop_table)

    def __init__(self) -> None:
        super().__init__(
            undefined=StrictUndefined,
            autoescape=False,  # the output is a prompt, not HTML
            keep_trailing_newline=True,
            finalize=_printed,
            cache_size=0,
        )
        self.globals.clear()
        self.globals["range"] = safe_range
        self.filters = {name: _guarded(name, _OWN.get(name, self.filters[name])) for name in FILTERS}
        self.filters |= {BOUNDED_LOOP: _bounded_loop, BOUNDED_LITERAL: _bounded_literal, JOINED: _joined}

    def columns(self, text: str) -> dict[str, int]:
        """The columns that a template needs, with the offset of each one's first use."""
        from jinja2 import meta

        tree = self._tree(text)
        try:
            wanted = meta.find_undeclared_variables(tree)
        except RecursionError:
            raise ExpressionError("the template is nested too deeply") from None
        self._code(text, tree)
        places = name_places(self, text)
        return {name: places.get(name, 0) for name in sorted(wanted - {"range"}, key=lambda name: places.get(name, 0))}

    def renderer(self, text: str) -> Callable[[Mapping[str, Any]], str]:
        """A function from a row to its text."""
        code = self._code(text, self._tree(text))
        template = JinjaTemplate.from_code(self, code, self.make_globals(None))
        pieces = self.plain_pieces(text)

        def render(row: Mapping[str, Any]) -> str:
            made: list[str] = []
            length = 0
            try:
                for piece in template.generate({**row, _BUDGET: _Budget()}):
                    length += len(piece)
                    if length > LONGEST_TEXT:
                        raise ExpressionError(f"the rendered text is longer than {LONGEST_TEXT:,} characters")
                    made.append(piece)
            except _FAILURES as error:
                reason = str(error) or type(error).__name__
                raise ExpressionError(f"the template fails on this row: {reason}") from None
            return "".join(made)

        return render if pieces is None else _plainly(pieces, render)

    def plain_pieces(self, text: str) -> list[tuple[str, bool]] | None:
        """The template as texts and bare columns, or None when it is more."""
        pieces: list[tuple[str, bool]] = []
        for node in self._tree(text).body:
            if not isinstance(node, nodes.Output):
                return None
            for part in node.nodes:
                if isinstance(part, nodes.TemplateData):
                    pieces.append((part.data, False))
                elif isinstance(part, nodes.Name) and part.name != "range":
                    pieces.append((part.name, True))
                else:
                    return None
        return pieces

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call `obj` when it is `range` or one of the harmless methods."""
        budget: _Budget = context.parent[_BUDGET]
        budget.check_time()
        if obj is not safe_range:
            owner = getattr(obj, "__self__", None)
            name = getattr(obj, "__name__", type(obj).__name__)
            allowed = next((names for kinds, names in _METHODS_OF if isinstance(owner, kinds)), frozenset())
            if isinstance(obj, StrictUndefined):
                return super().call(context, obj, *args, **kwargs)
            if name not in allowed:
                raise ExpressionError(f"the template may not call {name}()")
            checked_arguments(name, owner, args, kwargs)
        return super().call(context, obj, *args, **kwargs)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """An arithmetical operation whose result stays small enough."""
        checked_operation(operator, left, right)
        return checked_size(super().call_binop(context, operator, left, right))

    def _tree(self, text: str) -> nodes.Template:
        try:
            tree = self.parse(text)
            checked_tree(self, tree, text)
        except TemplateSyntaxError as error:
            offset, width = _line_span(text, error.lineno)
            message = f"the template does not parse: {error.message}"
            raise ExpressionError(message, offset=offset, width=width) from None
        except (RecursionError, MemoryError):
            raise ExpressionError("the template is nested too deeply") from None
        except ValueError as error:
            raise ExpressionError(f"the template does not parse: {error}") from None
        return tree

    def _code(self, text: str, tree: nodes.Template) -> Any:
        try:
            return self.compile(bounded_tree(self, tree))
        except (TemplateSyntaxError, SyntaxError) as error:
            line = (error.lineno if isinstance(error, TemplateSyntaxError) else 1) or 1
            offset, width = _line_span(text, line)
            reason = error.message if isinstance(error, TemplateSyntaxError) else error.msg
            raise ExpressionError(f"the template does not compile: {reason}", offset=offset, width=width) from None
        except (RecursionError, MemoryError):
            raise ExpressionError("the template is nested too deeply") from None
        except ValueError as error:
            raise ExpressionError(f"the template does not compile: {error}") from None


def _plainly(pieces: Sequence[tuple[str, bool]], render: _Render) -> _Render:
    """The same texts as `render` makes, without Jinja for rows whose columns are texts."""

    def plain(row: Mapping[str, Any]) -> str:
        try:
            text = "".join([row[piece] if named else piece for piece, named in pieces])
        except (LookupError, TypeError):
            return render(row)
        return text if len(text) <= LONGEST_TEXT else render(row)

    return plain


def _line_span(text: str, line: int) -> tuple[int, int]:
    """Offset and width of what stands in a line of a template, from its first tag on."""
    starts = [0, *(match.end() for match in _LINE.finditer(text))]
    start = starts[min(max(1, line), len(starts)) - 1]
    whole = _LINE.split(text[start:], maxsplit=1)[0]
    tag = re.search(r"\{[{%#]", whole)
    offset = tag.start() if tag else len(whole) - len(whole.lstrip())
    return start + offset, max(1, len(whole.rstrip()) - offset)


@pass_context
def _printed(context: Context, value: Any) -> Any:
    """What `{{ value }}` prints: nothing for null; what is no value (a method, a generator) is an error."""
    if isinstance(value, str):
        text = value
    elif value is None:
        return ""
    elif isinstance(value, _PRINTED):
        text = str(value)
    elif isinstance(value, list | tuple | dict):
        text = str(checked_size(value))
    elif isinstance(value, StrictUndefined):
        return str(value)
    else:
        raise ExpressionError(f"a {type(value).__name__} is no text; filters such as join or list make text of it")
    budget: _Budget = context.parent[_BUDGET]
    budget.spend(len(text))
    return text


@pass_context
def _bounded_loop(context: Context, values: Iterable[Any], characters: int) -> Iterator[Any]:
    budget: _Budget = context.parent[_BUDGET]
    for value in values:
        budget.turn(characters)
        yield value


def _bounded_literal(value: Any) -> Any:
    return checked_size(value)


@pass_context
def _joined(context: Context, values: list[Any]) -> str:
    """The operator ``~``."""
    budget: _Budget = context.parent[_BUDGET]
    texts = [str(checked_size(value)) if value is not None else "" for value in values]
    budget.spend(sum(map(len, texts)))
    return "".join(texts)


def _guarded(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that looks at its arguments first, and at the clock."""
    # Jinja marks filters that want its context, its evaluation context or its environment as their first argument.
    wants = str(getattr(function, "jinja_pass_arg", "")).rsplit(".", 1)[-1]

    @pass_context
    def guarded(context: Context, value: Any, *args: Any, **kwargs: Any) -> Any:
        budget: _Budget = context.parent[_BUDGET]
        budget.check_time()
        value = "" if value is None and name in TEXT_FILTERS else value
        checked_arguments(name, value, args, kwargs)
        first: dict[str, Any] = {
            "context": context,
            "eval_context": context.eval_ctx,
            "environment": context.environment,
        }
        given = (first[wants],) if wants in first else ()
        return budget.hold(checked_size(function(*given, checked_size(value), *args, **kwargs)))

    return guarded


def _to_json(value: Any, indent: int | None = None) -> str:
    """JSON as it is: a prompt is no HTML page, so nothing is escaped for one."""
    return json.dumps(value, ensure_ascii=False, indent=indent, default=str)


def _sum(values: Iterable[Any], attribute: str | None = None, start: float = 0) -> Any:
    """The sum of numbers; nulls count as nothing."""
    found = [value[attribute] if attribute is not None else value for value in values]
    numbers = [value for value in [*found, start] if value is not None]
    if not all(isinstance(value, int | float | decimal.Decimal) for value in numbers):
        raise ExpressionError("the filter sum adds numbers only")
    return sum(numbers)


def _join(values: Iterable[Any], d: str = "", attribute: str | None = None) -> str:
    """The values one after the other with `d` between them; nulls are left out."""
    texts: list[str] = []
    length = 0
    for value in values:
        found = value if attribute is None else value[attribute]
        if found is not None:
            texts.append(str(found))
            length += len(texts[-1]) + len(d)
            if length > LONGEST_TEXT:
                raise too_long()
    return d.join(texts)


def _list(values: Iterable[Any]) -> list[Any]:
    return list(values)


_OWN: dict[str, Callable[..., Any]] = {"tojson": _to_json, "sum": _sum, "list": _list, "join": _join}
