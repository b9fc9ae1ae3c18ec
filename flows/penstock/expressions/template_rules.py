"""What templates may do: their filters, methods and bounds; without Jinja, so that reading it costs nothing."""

from __future__ import annotations

LONGEST_TEXT = 10_000_000
"""Characters that one rendered template may have; more is an error of that row."""
LONGEST_TEMPLATE = 100_000
"""Characters that a template itself may have."""
MOST_LOOPS = 100_000
"""Turns of all loops of one row together."""
MOST_VALUES = 1_000_000
"""Values in one list or mapping, those inside of it included."""
MOST_BITS = 14_000
"""Of a whole number, about 4,200 digits."""
LONGEST_SECONDS = 10.0
"""For one row: far above any honest template, so that a hostile one cannot stop a run."""

FILTERS = frozenset({
    "abs", "batch", "capitalize", "center", "count", "d", "default", "dictsort", "e", "escape", "filesizeformat",
    "first", "float", "format", "groupby", "indent", "int", "items", "join", "last", "length", "list", "lower", "map",
    "max", "min", "reject", "rejectattr", "replace", "reverse", "round", "select", "selectattr", "sort", "string",
    "striptags", "sum", "title", "tojson", "trim", "truncate", "unique", "upper", "urlencode", "wordcount", "wordwrap",
})  # fmt: skip
"""The filters that templates may use. `random` is not among them: the same row must always give the same text."""

TEXT_FILTERS = frozenset({
    "capitalize", "center", "e", "escape", "format", "indent", "lower", "replace", "string", "striptags", "title",
    "trim", "truncate", "upper", "urlencode", "wordcount", "wordwrap",
})  # fmt: skip
"""The filters that make text of their value first: a null is no text to them, where Jinja would make ``None`` of it."""

_TEXT_METHODS = frozenset({
    "capitalize", "casefold", "center", "count", "endswith", "find", "index", "isalnum", "isalpha", "isdecimal",
    "isdigit", "islower", "isnumeric", "isspace", "istitle", "isupper", "join", "ljust", "lower", "lstrip", "partition",
    "removeprefix", "removesuffix", "replace", "rfind", "rindex", "rjust", "rpartition", "rsplit", "rstrip", "split",
    "splitlines", "startswith", "strip", "swapcase", "title", "upper", "zfill",
})  # fmt: skip
_LIST_METHODS = frozenset({"count", "index"})
_MAPPING_METHODS = frozenset({"get", "items", "keys", "values"})
_TIME_METHODS = frozenset({
    "date", "isocalendar", "isoformat", "isoweekday", "strftime", "time", "timestamp", "total_seconds", "weekday",
})  # fmt: skip
METHODS: tuple[tuple[str, frozenset[str]], ...] = (
    ("text", _TEXT_METHODS),
    ("lists", _LIST_METHODS),
    ("mappings", _MAPPING_METHODS),
    ("dates and times", _TIME_METHODS),
)
"""The methods that templates may call, by what they are called on."""
