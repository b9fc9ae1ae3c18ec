"""Templates as trees and as text: what may stand in them, where names stand, and where bounds are put in."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any, cast

from jinja2 import Environment, nodes
from jinja2.visitor import NodeTransformer

from penstock.errors import ExpressionError
from penstock.expressions.template_rules import LONGEST_TEMPLATE

BOUNDED_LOOP = "bounded loop"
BOUNDED_LITERAL = "bounded literal"
JOINED = "joined text"

_REFUSED: dict[type[nodes.Node], str] = {
    nodes.Include: "include other files",
    nodes.Import: "import other files",
    nodes.FromImport: "import other files",
    nodes.Extends: "extend other files",
    nodes.Block: "define blocks",
    nodes.Macro: "define macros",
    nodes.CallBlock: "call macros",
    nodes.NSRef: "assign to attributes",
}
_REASONS = {
    "random": "the same row must always give the same text",
    "safe": "nothing is escaped here",
    "pprint": "use tojson",
    "attr": "write value.name",
    "urlize": "the text is no HTML page",
    "xmlattr": "the text is no HTML page",
    "forceescape": "use escape",
}


def checked_tree(environment: Environment, tree: nodes.Template, text: str) -> None:
    """Refuse what templates may not do.

    Raises:
        ExpressionError: with the place in `text`.
    """
    if len(text) > LONGEST_TEMPLATE:
        raise ExpressionError(f"the template is longer than {LONGEST_TEMPLATE:,} characters")
    for node in tree.find_all(nodes.Node):
        if type(node) in _REFUSED:
            offset, width = _word_place(environment, text, "block_begin", _tag_words(node))
            raise ExpressionError(f"a template cannot {_REFUSED[type(node)]}", offset=offset, width=width)
        if isinstance(node, nodes.For) and node.recursive:
            offset, width = _word_place(environment, text, "", ("recursive",))
            raise ExpressionError("a template's loop cannot be recursive", offset=offset, width=width)
        if isinstance(node, nodes.Name) and node.name == "self":
            offset, width = _word_place(environment, text, "", ("self",))
            raise ExpressionError("`self` cannot be used in a template", offset=offset, width=width)
        if isinstance(node, nodes.Filter):
            _check_word(environment, text, "filter", node.name, "|")
        elif isinstance(node, nodes.Test):
            _check_word(environment, text, "test", node.name, "is")


def name_places(environment: Environment, text: str) -> dict[str, int]:
    """For each name that stands in the template as a variable, the offset of its first use."""
    places: dict[str, int] = {}
    before = ""
    tokens = list(_tokens(environment, text))
    for place, (kind, value, offset) in enumerate(tokens):
        after = tokens[place + 1][1] if place + 1 < len(tokens) else ""
        if kind == "name" and before not in {".", "|", "is"} and not (after == "=" and before in {"(", ","}):
            places.setdefault(value, offset)
        before = value
    return places


def bounded_tree(environment: Environment, tree: nodes.Template) -> nodes.Template:
    """The tree with a bound put around each loop, each list that is written down, and each ``~``."""
    bounded: nodes.Template = _Bounds().visit(tree)
    bounded.set_environment(environment)
    return bounded


class _Bounds(NodeTransformer):
    def visit_For(self, node: nodes.For, *args: Any, **kwargs: Any) -> nodes.Node:  # noqa: N802  # Jinja's naming
        characters = sum(len(data.data) for part in node.body for data in _data_in(part))
        self.generic_visit(node, *args, **kwargs)
        node.iter = _filtered(node.iter, BOUNDED_LOOP, [nodes.Const(characters, lineno=node.lineno)])
        return node

    def visit_Concat(self, node: nodes.Concat, *args: Any, **kwargs: Any) -> nodes.Node:  # noqa: N802  # Jinja's naming
        self.generic_visit(node, *args, **kwargs)
        return _filtered(nodes.List(node.nodes, lineno=node.lineno), JOINED, [])

    def visit_List(self, node: nodes.List, *args: Any, **kwargs: Any) -> nodes.Node:  # noqa: N802  # Jinja's naming
        self.generic_visit(node, *args, **kwargs)
        return _filtered(node, BOUNDED_LITERAL, [])

    def visit_Tuple(self, node: nodes.Tuple, *args: Any, **kwargs: Any) -> nodes.Node:  # noqa: N802  # Jinja's naming
        self.generic_visit(node, *args, **kwargs)
        return node if node.ctx == "store" else _filtered(node, BOUNDED_LITERAL, [])

    def visit_Dict(self, node: nodes.Dict, *args: Any, **kwargs: Any) -> nodes.Node:  # noqa: N802  # Jinja's naming
        self.generic_visit(node, *args, **kwargs)
        return _filtered(node, BOUNDED_LITERAL, [])


def _filtered(node: nodes.Node, name: str, arguments: list[nodes.Expr]) -> nodes.Filter:
    # Jinja declares what a loop runs over as any node; it is always an expression.
    return nodes.Filter(cast(nodes.Expr, node), name, arguments, [], None, None, lineno=node.lineno)


def _data_in(node: nodes.Node) -> Iterator[nodes.TemplateData]:
    if isinstance(node, nodes.TemplateData):
        yield node
    yield from node.find_all(nodes.TemplateData)


def _check_word(environment: Environment, text: str, what: str, name: str, before: str) -> None:
    table: dict[str, Any] = dict(environment.filters if what == "filter" else environment.tests)
    known = [word for word in table if " " not in word]
    if name in known:
        return
    offset, width = _word_place(environment, text, before, (name,))
    if name in _REASONS:
        raise ExpressionError(
            f"the {what} `{name}` is not available in templates: {_REASONS[name]}", offset=offset, width=width
        )
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    hint = f"did you mean `{near[0]}`?" if near else ""
    raise ExpressionError(f"the template uses an unknown {what} {name!r}", offset=offset, width=width, hint=hint)


def _tag_words(node: nodes.Node) -> tuple[str, ...]:
    words = {nodes.FromImport: "from", nodes.CallBlock: "call", nodes.NSRef: "set"}
    return (words.get(type(node), type(node).__name__.lower()),)


def _word_place(environment: Environment, text: str, before: str, words: tuple[str, ...]) -> tuple[int, int]:
    """Offset and width of the first of these words; after the mark `before`, where one is given."""
    last_kind = last_value = ""
    for kind, value, offset in _tokens(environment, text):
        if kind == "name" and value in words and before in {"", last_kind, last_value}:
            return offset, len(value)
        last_kind, last_value = kind, value
    return 0, max(1, len(text))


def _tokens(environment: Environment, text: str) -> Iterator[tuple[str, str, int]]:
    """Kind, text and offset of all tokens but white space and comments.

    Jinja tells only lines. Its tokens come in order, so each is looked for from the end of the one before.
    """
    place = 0
    for _, kind, value in environment.lex(text):
        if kind == "whitespace" or not value.strip():
            continue
        found = text.find(value, place)
        if found < 0:
            # Jinja writes all line breaks alike, so a text between tags may not stand in the file as it is here.
            continue
        place = found + len(value)
        if "comment" not in kind and kind != "data":
            yield kind, value, found
