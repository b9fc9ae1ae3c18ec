"""Following columns from the source through the steps, so that a wrong name is found before the first request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from penstock.errors import ExpressionError
from penstock.expressions import (
    AggregateField,
    ColumnField,
    SqlField,
    TemplateField,
    aggregate_columns,
    sql_columns,
    template_columns,
)
from penstock.spec.markers import marked
from penstock.spec.positions import Document, Path
from penstock.spec.references import Resolver, did_you_mean
from penstock.steps import SOURCE, ApiStep, Columns, Step, TableStep, parents
from penstock.steps.column_types import WrongColumn
from penstock.steps.decisions import key_missing

OWN = "__"
"""Columns whose names begin so belong to Penstock."""
_SHOWN_COLUMNS = 30


@dataclass(frozen=True, slots=True)
class PlacedStep:
    """A step and where it stands; `step` is None where its settings have mistakes, `kind` where its kind is unknown."""

    path: Path
    data: Any
    kind: type[Step] | None
    step: Step | None


class ColumnCheck:
    """Checks every template, SQL expression and column name of a pipeline, and adds mistakes to the document."""

    def __init__(self, document: Document, resolver: Resolver) -> None:
        self._document = document
        self._resolver = resolver
        self._usages: set[str] = set()

    def follow(self, given: Columns | None, steps: list[PlacedStep], keys: Sequence[str] = ()) -> tuple[Columns, ...]:
        """The columns of a row before the first step, and after each one, as far as they can be told.

        Args:
            given: the source's columns; None when they cannot be read, so that only syntax is checked.
            steps: in their order.
            keys: the source's columns that name a row.
        """
        after: list[Columns | None] = [given]
        places = {SOURCE: 0}
        for place, placed in enumerate(steps):
            reads = placed.step.reads if placed.step is not None else None
            # A name that is none has been told; what comes before is then as good a guess as any.
            taken = after[places.get(reads, place) if reads is not None else place]
            self._expressions(placed, taken)
            self._key(placed, taken, [key for key in keys if given is not None and key in given])
            after.append(self._after(placed, taken))
            if placed.step is not None:
                places[placed.step.name] = place + 1
        return tuple(columns or {} for columns in after)

    def settings(self, path: Path, model: type[BaseModel], data: Any, given: Columns) -> None:
        """Check the column names, templates and SQL expressions of settings that stand at `path`."""
        for inner, marker, text in marked(model, data, (TemplateField, SqlField, AggregateField, ColumnField)):
            try:
                places = _columns_of(marker, text)
            except ExpressionError as error:
                self._report((*path, *inner), error.offset, error.width, _worded(inner, error.message), error.hint)
                continue
            for name, offset in places.items():
                self._known((*path, *inner), name, offset, len(name), given)

    def names(self, path: Path, names: list[tuple[Path, str]], given: Columns) -> None:
        """Check column names that are written as they are, such as those of `source.key`."""
        for inner, name in names:
            self._known((*path, *inner), name, 0, len(name), given)

    def _expressions(self, placed: PlacedStep, given: Columns | None) -> None:
        if placed.kind is None:
            return
        used: set[str] = set()
        templates: list[tuple[Path, str]] = []
        broken = False
        for inner, marker, text in _expressions_of(placed.kind, placed.data):
            path = (*placed.path, *inner)
            try:
                places = _columns_of(marker, text)
            except ExpressionError as error:
                self._report(path, error.offset, error.width, _worded(inner, error.message), error.hint)
                broken = True
                continue
            if isinstance(marker, TemplateField):
                templates.append((path, text))
                used.update(places)
            for name, offset in places.items():
                if given is not None:
                    quoted = isinstance(marker, SqlField) and text[offset : offset + 1] == '"'
                    hint = f"text is written '{name}'" if quoted else ""
                    self._known(path, name, offset, len(name), given, hint=hint)
        if templates and not used and not broken and issubclass(placed.kind, ApiStep):
            self._no_column(*templates[0], given)

    def _key(self, placed: PlacedStep, given: Columns | None, keys: Sequence[str]) -> None:
        """A step that goes by the source's key must have it."""
        if given is None or not isinstance(placed.step, TableStep) or not placed.step.needs_key:
            return
        if missing := [key for key in keys if key not in given]:
            _, node = self._document.find((*placed.path, "uses"))
            self._document.add(node.span, key_missing(placed.step.name, missing[0]))

    def _known(self, path: Path, name: str, offset: int, width: int, given: Columns, *, hint: str = "") -> None:
        if name in given:
            return
        shown = [column for column in given if not column.startswith(OWN)]
        listed = ", ".join(shown[:_SHOWN_COLUMNS]) + (", …" if len(shown) > _SHOWN_COLUMNS else "")
        message = f"there is no column `{name}` here; the columns are: {listed or 'none'}"
        self._report(path, offset, width, message, _delimiter_hint(shown) or did_you_mean(name, given) or hint)

    def _no_column(self, path: Path, text: str, given: Columns | None) -> None:
        word = text.strip()
        columns = [name for name in given or {} if not name.startswith(OWN)]
        if word in columns:
            example = f"did you mean `{{{{ {word} }}}}`?"
        else:
            near = did_you_mean(word, columns).split("`")[1:2] or columns[-1:] or ["body"]
            example = f"for example `{{{{ {near[0]} }}}}`"
        self._report(path, 0, len(text), f"`{path[-1]}` uses no column, so that each row would ask the same", example)

    def _report(self, path: Path, offset: int, width: int, message: str, hint: str) -> None:
        _, node = self._document.find(path)
        self._document.add(self._resolver.span(node, offset, width), message, hint)

    def _after(self, placed: PlacedStep, given: Columns | None) -> Columns | None:
        if given is None:
            return None
        if placed.step is None:
            return _likely_columns(placed, given)
        try:
            after = placed.step.columns_after(given)
        except ValueError as error:
            setting = error.place if isinstance(error, WrongColumn) else ("output",)
            _, node = self._document.find((*placed.path, *setting))
            self._document.add(node.span, str(error))
            return dict(given)
        if isinstance(placed.step, ApiStep) and placed.step.usage:
            after = self._with_usage(placed, after)
        for name in after:
            if name.startswith(OWN) and name not in given:
                _, node = self._document.find((*placed.path, "output"))
                self._document.add(node.span, f"the column name `{name}` begins with {OWN}, which Penstock uses itself")
        return after

    def _with_usage(self, placed: PlacedStep, after: Columns) -> Columns:
        assert placed.step is not None  # noqa: S101  # looked at by the only caller
        usage = f"{placed.step.id}_usage"
        if usage in after and usage not in self._usages:
            key, node = self._document.find((*placed.path, "id"))
            self._document.add(
                key.span if key else node.span,
                f"the column `{usage}`, which this step adds for its usage, exists already",
                "give the step another `id`, or write `usage: false`",
            )
        # A second step of the same id is a mistake of its own, told once.
        self._usages.add(usage)
        return {**after, usage: None}


def columns_read(steps: Sequence[Step], columns: Sequence[Columns]) -> set[str]:
    """The columns of the source that any step names, or that a result may hold.

    Args:
        columns: of the source and after each step.
    """
    found = set(columns[0]) if any(step.kind == "python" for step in steps) else set(columns[-1])
    # What is there after the last step of some branch reaches an output, or an earlier step would have taken it away.
    leaves = set(range(len(steps))) - set(parents(steps))
    for place in leaves:
        found.update(columns[place + 1])
    for step in steps:
        found |= columns_named(step)
    return found & set(columns[0])


def columns_named(step: BaseModel) -> set[str]:
    """The columns that the settings of a step or an output name."""
    named = _expressions_of(type(step), step.model_dump(mode="json"))
    return {name for _, marker, text in named for name in _columns_of(marker, text)}


def _delimiter_hint(columns: list[str]) -> str:
    """What helps when a header was read as one column."""
    found = [mark for mark in ";,\t|" if mark in columns[-1]] if 0 < len(columns) <= 2 else []
    return f"is {found[0]!r} the delimiter? Then write it as `delimiter` of the source" if found else ""


def _likely_columns(placed: PlacedStep, given: Columns) -> Columns | None:
    """The columns after a step with mistakes, so that one mistake does not hide those of later steps."""
    if placed.kind is None or not isinstance(placed.data, dict):
        return None
    try:
        after = placed.kind.model_construct(**placed.data).columns_after(given)
    except (ValueError, TypeError, AttributeError, LookupError):
        return None
    word = placed.data.get("id") or placed.kind.kind
    return {**after, f"{word}_usage": None} if issubclass(placed.kind, ApiStep) else after


def _expressions_of(kind: type[BaseModel], data: Any) -> Iterator[tuple[Path, Any, str]]:
    return marked(kind, data, (TemplateField, SqlField, ColumnField))


def _columns_of(marker: Any, text: str) -> Mapping[str, int]:
    if isinstance(marker, TemplateField):
        return template_columns(text)
    if isinstance(marker, AggregateField):
        return aggregate_columns(text)
    return sql_columns(text) if isinstance(marker, SqlField) else {text: 0}


def _worded(inner: Path, message: str) -> str:
    return f"`{'.'.join(str(part) for part in inner if isinstance(part, str))}`: {message}"
