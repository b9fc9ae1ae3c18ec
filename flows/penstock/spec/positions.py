"""YAML text to a tree in which every key and every value knows its place in the file.

The tree is built from the events of PyYAML's C parser, so that depth, size and aliases are bounded while it grows.
Scalars follow YAML 1.2 (`on` and `no` are text, dates are text); see https://yaml.org/spec/1.2.2/#103-core-schema.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from penstock.errors import Problem, SpecError
from penstock.spec.scalars import align, plain_value
from penstock.spec.shown import shown_line, shown_text

DEEPEST = 40
"""Levels of nesting; a pipeline needs about ten."""
MOST_NODES = 200_000
"""Values in one file, those that aliases repeat included."""
MOST_PROBLEMS = 200
"""Mistakes that are shown of one file."""
_TEXT_TAG = "tag:yaml.org,2002:str"
_SURROGATE = re.compile(r"[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of the file's text, as offsets in characters."""

    start: int
    end: int


@dataclass(slots=True, eq=False)
class Scalar:
    """A single value. `text` is what was written, `value` what it means; `style` is the quote or block mark."""

    text: str
    value: Any
    span: Span
    style: str


@dataclass(slots=True, eq=False)
class Sequence:
    """A list."""

    span: Span
    items: list[Node] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Mapping:
    """Keys and values in the order of the file; keys are text whatever they look like, and each stands once."""

    span: Span
    keys: dict[str, Scalar] = field(default_factory=dict)
    values: dict[str, Node] = field(default_factory=dict)


Node = Scalar | Sequence | Mapping
Path = tuple[str | int, ...]


class Document:
    """One pipeline's text, its tree, and the problems found in it so far.

    Args:
        text: the YAML.
        file: the path as the user gave it, for messages.
        first_line: the line of the file that the text begins on; more than 1 for a fence in a Markdown file.
        indent: how many characters each line was moved to the left when the text was taken from its file.
    """

    def __init__(self, text: str, file: str, *, first_line: int = 1, indent: int = 0) -> None:
        self.text = text
        self.file = file
        self.problems: list[Problem] = []
        self.root: Node = Scalar("", None, Span(0, 0), "")
        self.masked: list[Span] = []
        self._first_line = first_line
        self._indent = indent
        self._seen: set[tuple[int, str]] = set()
        self._aligned: dict[int, list[int] | None] = {}

    @cached_property
    def _line_starts(self) -> list[int]:
        return [0, *(match.end() for match in re.finditer("\n", self.text))]

    def problem(self, span: Span, message: str, hint: str = "") -> Problem:
        """The mistake at this stretch, with its line of the file, in which keys are masked."""
        row = max(0, bisect.bisect_right(self._line_starts, span.start) - 1)
        start = self._line_starts[row]
        stop = self._line_starts[row + 1] - 1 if row + 1 < len(self._line_starts) else len(self.text)
        width = max(1, min(span.end, stop) - span.start)
        return Problem(
            file=self.file,
            line=row + self._first_line,
            column=span.start - start + 1 + self._indent,
            message=shown_text(message),
            hint=shown_text(hint),
            source=" " * self._indent + shown_line(self.text[start:stop], self._masked(start, stop)),
            width=width,
        )

    def add(self, span: Span, message: str, hint: str = "") -> None:
        """Note a mistake and go on, so that all are found in one go."""
        mark = (span.start, message)
        if mark in self._seen or len(self.problems) > MOST_PROBLEMS:
            return
        self._seen.add(mark)
        if len(self.problems) == MOST_PROBLEMS:
            message, hint = f"and more: only the first {MOST_PROBLEMS} mistakes are shown", ""
        self.problems.append(self.problem(span, message, hint))

    def stop(self, span: Span, message: str, hint: str = "") -> SpecError:
        """The error of a mistake after which the text cannot be read further."""
        self.add(span, message, hint)
        return SpecError(self.problems)

    def find(self, path: Path) -> tuple[Scalar | None, Node]:
        """The key (where there is one) and the value at `path`, or the nearest value around it."""
        key: Scalar | None = None
        node = self.root
        for part in path:
            if isinstance(node, Mapping) and part in node.values:
                key, node = node.keys[str(part)], node.values[str(part)]
            elif isinstance(node, Sequence) and isinstance(part, int) and part < len(node.items):
                key, node = None, node.items[part]
            else:
                break
        return key, node

    def inside(self, node: Node, offset: int, width: int) -> Span:
        """The stretch of a scalar's text from `offset` (in characters of the text) on, in the file."""
        if not isinstance(node, Scalar) or not node.text:
            return node.span
        if id(node) not in self._aligned:
            self._aligned[id(node)] = align(self.text, node.span.start, node.span.end, node.text, node.style)
        places = self._aligned[id(node)]
        if places is None or offset >= len(places):
            return node.span
        last = places[min(offset + max(1, width), len(places)) - 1]
        return Span(places[offset], max(places[offset], last) + 1)

    def _masked(self, start: int, stop: int) -> list[range]:
        return [range(max(span.start, start) - start, min(span.end, stop) - start) for span in self.masked]


def parse(document: Document) -> None:
    """Build `document.root`.

    Raises:
        SpecError: the text is not one YAML document within the bounds. Mistakes that leave the rest readable, such as
            a key that stands twice, are added to `document.problems` instead.
    """
    import yaml

    if lone := _SURROGATE.search(document.text):
        message = f"the character U+{ord(lone[0]):04X} is not allowed in YAML"
        raise document.stop(Span(lone.start(), lone.end()), message)
    try:
        _Builder(document).build(yaml.parse(document.text, Loader=yaml.CSafeLoader))
    except yaml.reader.ReaderError as error:
        span = Span(error.position, error.position + 1)
        code = error.character if isinstance(error.character, int) else ord(error.character)
        raise document.stop(span, f"the character U+{code:04X} is not allowed in YAML") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        index = mark.index if mark is not None else 0
        raise document.stop(Span(index, index + 1), *_syntax_message(document.text, index, error)) from None


def _syntax_message(text: str, index: int, error: Any) -> tuple[str, str]:
    begins = text.rfind("\n", 0, index) + 1
    if "\t" in text[begins : index + 1] and not text[begins:index].strip():
        return "a tab cannot indent YAML", "use spaces"
    what = str(error.problem or "it cannot be read")
    if "mapping values are not allowed" in what:
        return "this is not YAML: a second `:` in one value, or a wrong indentation", "put the value in quotes"
    if "found unexpected end of stream" in what:
        line = text.count("\n", 0, error.context_mark.index) + 1 if error.context_mark else 1
        return f"this is not YAML: the text ends inside the quotes opened in line {line}", "close the quotes"
    if "did not find expected key" in what or "expected '-' indicator" in what:
        message = "this is not YAML: a wrong indentation, or more text after a value that has ended"
        return message, "line it up with the keys above, or put the whole value in quotes"
    if "cannot start any token" in what:
        return "this is not YAML: a value cannot begin with this character", "put the value in quotes"
    if "undefined alias" in what or "unknown anchor" in what:
        return f"this is not YAML: {what}", ""
    context = f" {error.context}" if error.context else ""
    return f"this is not YAML: {what}{context}", ""


class _Builder:
    """Events to nodes."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._anchors: dict[str, Node] = {}
        self._nodes = 0

    def build(self, events: Iterator[Any]) -> None:
        import yaml

        roots = 0
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                roots += 1
                if roots > 1:
                    raise self._stop(event, "a second YAML document begins here; a pipeline file holds one")
                self._document.root = self._node(next(events), events, 1)

    def _stop(self, event: Any, message: str, hint: str = "") -> SpecError:
        return self._document.stop(Span(event.start_mark.index, event.end_mark.index), message, hint)

    def _count(self, event: Any, by: int = 1) -> None:
        self._nodes += by
        if self._nodes > MOST_NODES:
            raise self._stop(event, f"the file holds more than {MOST_NODES:,} values")

    def _node(self, event: Any, events: Iterator[Any], depth: int) -> Node:
        import yaml

        self._count(event)
        if depth > DEEPEST:
            raise self._stop(event, f"values are nested more than {DEEPEST} levels deep")
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                raise self._stop(event, f"the alias *{event.anchor} has no anchor &{event.anchor} before it")
            return self._anchors[event.anchor]
        self._check_tag(event)
        node = self._collection(event, events, depth)
        if event.anchor:
            self._anchors[event.anchor] = node
        return node

    def _collection(self, event: Any, events: Iterator[Any], depth: int) -> Node:
        import yaml

        span = Span(event.start_mark.index, event.end_mark.index)
        if isinstance(event, yaml.ScalarEvent):
            plain = event.implicit[0] and event.tag is None
            return Scalar(event.value, plain_value(event.value) if plain else event.value, span, event.style or "")
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(span, events, depth)
        sequence = Sequence(span)
        while not isinstance(event := next(events), yaml.SequenceEndEvent):
            sequence.items.append(self._node(event, events, depth + 1))
        return sequence

    def _check_tag(self, event: Any) -> None:
        tag = event.tag
        if tag is None or tag == _TEXT_TAG:
            return
        name = tag.replace("tag:yaml.org,2002:", "!!")
        span = Span(event.start_mark.index, event.start_mark.index + len(name))
        self._document.add(span, f"the tag {name} is not allowed: a pipeline holds plain values only")

    def _mapping(self, span: Span, events: Iterator[Any], depth: int) -> Mapping:
        import yaml

        mapping = Mapping(span)
        merged: list[tuple[Any, Node]] = []
        while not isinstance(event := next(events), yaml.MappingEndEvent):
            key = self._node(event, events, depth + 1)
            value = self._node(next(events), events, depth + 1)
            if not isinstance(key, Scalar):
                self._refuse_key(key)
            elif key.text == "<<" and not key.style:
                merged.append((event, value))
            elif key.text in mapping.keys:
                first = self._document.problem(mapping.keys[key.text].span, "").line
                self._document.add(key.span, f"the key `{key.text}` stands here twice, first in line {first}")
            else:
                mapping.keys[key.text], mapping.values[key.text] = key, value
        for event, value in merged:
            self._merge(event, mapping, value)
        return mapping

    def _refuse_key(self, key: Node) -> None:
        begin = key.span.start
        if self._document.text[begin - 1 : begin + 1] == "{{":
            span = Span(begin - 1, begin + 1)
            self._document.add(span, "a value that begins with {{ must stand in quotes", 'write "{{ column }}"')
        else:
            self._document.add(key.span, "a key must be a word, not a list or a mapping")

    def _merge(self, event: Any, mapping: Mapping, value: Node) -> None:
        for source in value.items if isinstance(value, Sequence) else [value]:
            if not isinstance(source, Mapping):
                self._document.add(value.span, "`<<` takes a mapping, such as *name, or a list of them")
                continue
            self._count(event, len(source.keys))
            for name, key in source.keys.items():
                mapping.keys.setdefault(name, key)
                mapping.values.setdefault(name, source.values[name])
