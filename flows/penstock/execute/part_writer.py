"""From answers and rows to a part: joined group by group, so that memory does not grow with the partition."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from penstock.execute.asking import Questions
from penstock.items import usage_type
from penstock.steps import ApiStep
from penstock.steps.base import ROW
from penstock.tables.journal import Journal
from penstock.tables.parts import ROW_GROUP_BYTES

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

_ROW_GROUP_ROWS = 50_000
_COPIED = frozenset({"prompt_tokens", "completion_tokens", "cached_tokens", "usd", "attempts"})


def answer_schema(step: ApiStep, journal: Journal, usage_name: str) -> pa.Schema:
    """The columns that the step adds; as answered where the length of vectors was not known before."""
    import pyarrow as pa

    fields = list(journal.schema)[1:-1] if journal.schema is not None else list(step.result_schema())
    usage = [pa.field(usage_name, usage_type())] if step.usage else []
    return pa.schema([*fields, *usage])


@dataclass(frozen=True, slots=True)
class Answers:
    """What joins rows with their answers. `note_usage` sees each group's usage once."""

    asked: Questions
    journal: Journal
    schema: pa.Schema
    note_usage: Callable[[Any], None]

    def tables(self, frame: pl.DataFrame) -> Iterator[pa.Table]:
        """The rows with their answers, in tables of one row group each."""
        for group in frame.iter_slices(rows_per_group(self.schema)):
            numbers = group[ROW].to_list()
            table = _arrow(group.drop(ROW))
            for field, column in zip(self.schema, self._columns(numbers), strict=True):
                table = table.append_column(field, column)
            yield table

    def _columns(self, numbers: list[int]) -> Iterator[Any]:
        import pyarrow as pa

        item_of = self.asked.asked_by
        known = [number for number in numbers if number in item_of]
        if not known:
            yield from (pa.nulls(len(numbers), field.type) for field in self.schema)
            return
        table = self.journal.take([item_of[number] for number in known])
        copies = pa.array([item_of[number] != number for number in known])
        # By their places: an answer's column may be called `usage` too. Without `usage: true` the last is left out.
        usage = _without_copies(table.columns[-1].combine_chunks(), copies)
        self.note_usage(usage)
        places: pa.Array | None = None
        if len(known) < len(numbers):
            # Rows that `when` lets pass by take their answer from nowhere: a null.
            order = {number: place for place, number in enumerate(known)}
            places = pa.array([order.get(number) for number in numbers], pa.int64())
        for column in [*table.columns[:-1], usage][: len(self.schema)]:
            yield column if places is None else column.take(places)


def rows_per_group(schema: pa.Schema) -> int:
    """Rows in a row group: 8 MB of vectors, or 50,000."""
    import pyarrow as pa

    widths: list[int] = [4 * field.type.list_size for field in schema if pa.types.is_fixed_size_list(field.type)]
    return max(1, min(_ROW_GROUP_ROWS, ROW_GROUP_BYTES // max([1, *widths])))


def plain(frame: pl.DataFrame) -> Iterator[pa.Table]:
    """Rows of a segment without an API step, in tables of one row group each."""
    for group in frame.drop(ROW).iter_slices(_ROW_GROUP_ROWS):
        yield _arrow(group)


def arrow_schema(frame: pl.DataFrame) -> pa.Schema:
    """The Arrow schema that the rows are stored with."""
    return _arrow(frame.drop(ROW).clear()).schema


def _arrow(frame: pl.DataFrame) -> pa.Table:
    import polars as pl

    return frame.to_arrow(compat_level=pl.CompatLevel.oldest())


def _without_copies(usage: Any, copies: Any) -> Any:
    """Usage in which a row that shares another row's answer costs nothing, so that sums are what was paid."""
    import pyarrow as pa
    from pyarrow import compute

    kind = usage.type
    children = [
        compute.if_else(copies, pa.scalar(0, field.type), child) if field.name in _COPIED else child
        for field, child in zip([kind.field(place) for place in range(kind.num_fields)], usage.flatten(), strict=True)
    ]
    return pa.StructArray.from_arrays(children, fields=[kind.field(place) for place in range(kind.num_fields)])
