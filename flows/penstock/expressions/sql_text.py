"""The text of an SQL expression looked at before the parser sees it: what may not stand there, and where names stand.

polars' SQL knows sub-queries, and table functions in them read files, at the moment the text is parsed. Some texts also
take its parser exponential time. Both end here.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from penstock.errors import ExpressionError

LONGEST = 10_000
"""Characters of one expression; chains of operators longer than some hundred thousand end the process."""
_DEEPEST = 20
_DEEPEST_CASE = 6
_TOKEN = re.compile(
    r"""(?P<space>\s+|--[^\n]*|/\*)
      | (?P<text>'(?:[^']|'')*')
      | (?P<quoted>"(?:[^"]|"")*"|`(?:[^`]|``)*`)
      | (?P<number>\d[\w.]*)
      | (?P<name>[^\W\d][\w]*)
      | (?P<mark>.)""",
    re.VERBOSE | re.DOTALL,
)
_QUERY = {"select": "a query", "union": "a query", "intersect": "a query", "except": "a query", "pivot": "a query"}
_QUERY_BEGINS = {"with", "from", "table", "values", "insert", "update", "delete", "merge"}
OVER_ROWS = {
    "array_agg", "avg", "corr", "count", "covar", "covar_pop", "covar_samp", "cume_dist", "dense_rank", "first",
    "first_value", "lag", "last", "last_value", "lead", "listagg", "max", "median", "min", "ntile", "percent_rank",
    "quantile_cont", "quantile_disc", "rank", "row_number", "stddev", "stddev_pop", "stddev_samp", "stdev", "stdev_pop",
    "stdev_samp", "string_agg", "sum", "var", "var_pop", "var_samp", "variance", "unnest",
}  # fmt: skip
"""Functions whose value depends on several rows, or that make several of one."""
_KNOWN = (
    "abs", "array_contains", "array_length", "array_to_string", "bit_length", "cast", "ceil", "char_length", "coalesce",
    "concat", "concat_ws", "date", "date_part", "ends_with", "extract", "floor", "greatest", "if", "ifnull", "initcap",
    "least", "left", "length", "lower", "ltrim", "mod", "nullif", "octet_length", "pow", "regexp_like", "replace",
    "reverse", "right", "round", "rtrim", "split_part", "sqrt", "starts_with", "strftime", "strpos", "strptime",
    "substr", "trim", "upper",
)  # fmt: skip


class Token(NamedTuple):
    """A piece of the text that is neither white space nor a comment."""

    kind: str
    value: str
    offset: int


def checked_tokens(text: str, *, aggregates: bool = False) -> list[Token]:
    """The tokens of an expression that is safe to parse.

    Args:
        text: the expression.
        aggregates: whether it may compute over several rows.

    Raises:
        ExpressionError: it is too long or too deep, has an open quote, comment, bracket or CASE, holds a query, or
            computes over several rows.
    """
    if len(text) > LONGEST:
        raise ExpressionError(f"the SQL expression is longer than {LONGEST:,} characters")
    if not text.strip():
        raise ExpressionError("the SQL expression is empty")
    tokens = list(_tokens(text))
    _check_nesting(tokens)
    for place, token in enumerate(tokens):
        before, after = tokens[place - 1] if place else None, tokens[place + 1] if place + 1 < len(tokens) else None
        _check_token(token, before, after)
        if not aggregates:
            _check_row_by_row(token, after)
    return tokens


def check_no_alias(tokens: list[Token], name: str) -> None:
    """Refuse an expression that gives its value another name, as `x AS y` and `x y` do: nobody would look at it.

    Args:
        name: what the parser says that the value is called.

    Raises:
        ExpressionError: with the place of the name.
    """
    last = tokens[-1]
    if _unquoted(last) != name:
        return
    word = last.value.lower()
    if word in {"asc", "desc"}:
        hint = "rows are not put in order here"
    elif len(tokens) > 1 and tokens[-2].value.lower() == "as":
        hint = "a column is named by the key that its expression stands under; leave out AS and the name"
    else:
        hint = "is an operator or a comma missing before it?"
    raise ExpressionError(
        f"{last.value} stands behind a whole expression, where SQL takes it for another name of its value",
        offset=last.offset,
        width=len(last.value),
        hint=hint,
    )


def name_places(tokens: list[Token]) -> dict[str, tuple[int, int]]:
    """For each name in the expression the offset and width of its first use."""
    places: dict[str, tuple[int, int]] = {}
    for kind, value, offset in tokens:
        if kind == "name":
            places.setdefault(value, (offset, len(value)))
        elif kind == "quoted":
            places.setdefault(_unquoted(Token(kind, value, offset)), (offset, len(value)))
    return places


def _unquoted(token: Token) -> str:
    if token.kind not in {"quoted", "text"}:
        return token.value
    mark = token.value[0]
    return token.value[1:-1].replace(mark * 2, mark)


def explained(message: str, text: str, tokens: list[Token], known: Iterable[str] = ()) -> ExpressionError:
    """The parser's error as ours, at its place where that can be told; `known` are further names of functions."""
    whole = max(1, len(text.rstrip()))
    if match := re.search(r"unsupported function '(\w+)'", message):
        name = match[1]
        near = difflib.get_close_matches(name.lower(), [*_KNOWN, *known], n=1, cutoff=0.6)
        place = next((token.offset for token in tokens if token.value.lower() == name.lower()), 0)
        hint = f"did you mean `{near[0]}`?" if near else ""
        return ExpressionError(f"SQL has no function `{name}`", offset=place, width=len(name), hint=hint)
    if match := re.search(r"unexpected token '(.+)'", message):
        place = next((token.offset for token in tokens if token.value == match[1]), 0)
        return ExpressionError(f"this is not SQL: `{match[1]}` is unexpected", offset=place, width=len(match[1]))
    if message.startswith("unable to parse"):
        return ExpressionError("this is not an SQL expression", width=whole)
    first = message.split("\n", 1)[0]
    shown = first if len(first) <= 200 else first[:200] + "…"
    return ExpressionError(f"the SQL expression does not parse: {shown}", width=whole)


def _tokens(text: str) -> Iterator[Token]:
    place = 0
    while place < len(text):
        match = _TOKEN.match(text, place)
        assert match is not None  # noqa: S101  # the last alternative takes any character
        value = match[0]
        if value == "/*":
            place = _comment_end(text, place)
            continue
        if match.lastgroup == "mark":
            if value in "'\"`":
                raise ExpressionError(f"the quote {value} is not closed", offset=place)
            if value == "$":
                raise ExpressionError("a dollar sign cannot stand in SQL here", offset=place)
        if match.lastgroup == "name" and text[match.end() : match.end() + 1] == "'":
            raise ExpressionError(f"text with a prefix ({value}'…') is not allowed; write '…'", offset=place)
        if match.lastgroup != "space":
            yield Token(str(match.lastgroup), value, place)
        place = match.end()


def _comment_end(text: str, start: int) -> int:
    depth, place = 0, start
    while place < len(text):
        if text.startswith("/*", place):
            depth, place = depth + 1, place + 2
        elif text.startswith("*/", place):
            depth, place = depth - 1, place + 2
            if not depth:
                return place
        else:
            place += 1
    raise ExpressionError("the comment is not closed", offset=start, width=2)


def _check_nesting(tokens: list[Token]) -> None:
    pairs = {"(": ")", "[": "]", "{": "}"}
    opened: list[Token] = []
    cases: list[Token] = []
    for token in tokens:
        word = token.value.lower() if token.kind == "name" else ""
        if token.kind == "mark" and token.value in pairs:
            opened.append(token)
        elif token.kind == "mark" and token.value in pairs.values():
            if not opened or pairs[opened.pop().value] != token.value:
                raise ExpressionError(f"the bracket {token.value} closes nothing", offset=token.offset)
        elif word == "case":
            cases.append(token)
        elif word == "end" and cases:
            cases.pop()
        if len(opened) > _DEEPEST or len(cases) > _DEEPEST_CASE:
            raise ExpressionError("the SQL expression is nested too deeply", offset=token.offset)
    for left, what in ((opened, "bracket"), (cases, "CASE")):
        if left:
            value = left[-1].value
            raise ExpressionError(f"the {what} {value if what != 'CASE' else 'without END'} is not closed",
                                  offset=left[-1].offset, width=len(value))  # fmt: skip


def _check_token(token: Token, before: Token | None, after: Token | None) -> None:
    if token.kind != "name":
        return
    word = token.value.lower()
    called = after is not None and after.value == "("
    begins = before is None or before.value == "("
    if word in _QUERY or (word in _QUERY_BEGINS and begins and not called) or (word == "values" and begins):
        raise ExpressionError(
            f"`{token.value}` begins a query, and only an expression over the row's columns may stand here",
            offset=token.offset,
            width=len(token.value),
            hint=f'a column of that name is written "{token.value}"',
        )
    if word in {"columns", "exists"} and called:
        raise ExpressionError(
            f"`{token.value}` is not allowed: only an expression over the row's columns may stand here",
            offset=token.offset,
            width=len(token.value),
        )


def _check_row_by_row(token: Token, after: Token | None) -> None:
    word = token.value.lower() if token.kind == "name" and after is not None and after.value == "(" else ""
    if word in OVER_ROWS or word == "over":
        raise ExpressionError(
            f"`{token.value}` computes over many rows, and a step sees one part of them at a time",
            offset=token.offset,
            width=len(token.value),
        )
