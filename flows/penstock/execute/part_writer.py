"""From answers and rows to a part: joined group by group, so that memory does not grow with the partition."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from penstock.execute.asking import Questions
from penstock.execute.pieces import put_together
from penstock.execute.saving import Saving
from penstock.items import usage_type
from penstock.steps import ApiStep
from penstock.steps.base import ROW
from penstock.tables.journal import Journal
from penstock.tables.parts import ROW_GROUP_BYTES

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

_ROW_GROUP_ROWS = 50_000
_FILE_GROUP_ROWS = 64
"""Rows at a time whose answers are files: a recording may take megabytes."""
_COPIED = frozenset({"prompt_tokens", "completion_tokens", "cached_tokens", "usd", "attempts"})


def answer_fields(step: ApiStep, journal: Journal) -> list[pa.Field]:
    """The columns of an answer as it is kept; as answered where the length of vectors was not known before."""
    own = list(step.answer_schema())
    if journal.schema is None:
        return own
    return [kept.with_name(field.name) for kept, field in zip(list(journal.schema)[1:-1], own, strict=True)]


@dataclass(frozen=True, slots=True)
class Answers:
    """What joins rows with their answers.

    Attributes:
        fields: the columns of an answer as it is kept.
        saving: what writes answers that are files.
        usage_name: of the column with the usage; None leaves it out.
        note_usage: sees each group's usage once.
    """

    asking: Questions
    step: ApiStep
    journal: Journal
    fields: Sequence[pa.Field]
    saving: Saving
    usage_name: str | None
    note_usage: Callable[[Any], None]

    @property
    def schema(self) -> pa.Schema:
        """All columns that the step adds."""
        import pyarrow as pa

        usage = [pa.field(self.usage_name, usage_type())] if self.usage_name else []
        finished = self.step.finished(pa.schema(self.fields).empty_table()).schema
        return pa.schema([*self.saving.fields(list(finished)), *usage])

    @property
    def group_rows(self) -> int:
        """Rows of each row group but the last."""
        import pyarrow as pa

        return min(rows_per_group(pa.schema(self.fields)), _FILE_GROUP_ROWS if self.step.saved else _ROW_GROUP_ROWS)

    def tables(self, frame: pl.DataFrame) -> Iterator[pa.Table]:
        """The rows with their answers, in tables of one row group each."""
        import pyarrow as pa

        answered = pa.schema([*self.fields, pa.field("usage", usage_type())])
        schema = self.schema
        for group in frame.iter_slices(self.group_rows):
            table = _arrow(group).drop_columns([ROW])
            answers = self._answers(group[ROW].to_list(), answered)
            finished = self.step.finished(answers.select(range(len(self.fields))))
            columns = self.saving.columns(finished, group, self.asking.asked)
            columns += [answers.column(len(self.fields))] if self.usage_name else []
            for field, column in zip(schema, columns, strict=True):
                table = table.append_column(field, column)
            yield table

    def _answers(self, numbers: list[int], schema: pa.Schema) -> pa.Table:
        """The answers to these rows and their usage; nulls for rows that `when` lets pass by."""
        import pyarrow as pa

        asked = self.asking.asked
        known = [number for number in numbers if number in asked.rows]
        if not known:
            return schema.empty_table() if not numbers else _nulls(len(numbers), schema)
        pieces = [(number, digest) for number in known for digest in asked.rows[number]]
        table = self.journal.take([digest for _, digest in pieces])
        is_copy = [asked.owners[digest] != number for number, digest in pieces]
        if len(pieces) > len(known):
            # Of what stands several times among the pieces of one row, only the first has the cost.
            firsts = {digest: place for place, (_, digest) in reversed(list(enumerate(pieces)))}
            is_copy = [copy or firsts[pieces[place][1]] != place for place, copy in enumerate(is_copy)]
        copies = pa.array(is_copy)
        # By its place: an answer's column may be called `usage` too.
        usage = _without_copies(table.columns[-1].combine_chunks(), copies)
        self.note_usage(usage)
        table = pa.table([*table.columns[:-1], usage], schema=schema)
        if len(pieces) > len(known):
            table = self._put_together(table, known)
        if len(known) == len(numbers):
            return table
        order = {number: place for place, number in enumerate(known)}
        return table.take(pa.array([order.get(number) for number in numbers], pa.int64()))

    def _put_together(self, table: pa.Table, known: Sequence[int]) -> pa.Table:
        """One row for each row, of the answers to its pieces, which stand one after the other."""
        import pyarrow as pa

        rows: list[pa.Table] = []
        first = 0
        for number in known:
            digests = self.asking.asked.rows[number]
            pieces = table.slice(first, len(digests))
            first += len(digests)
            if len(digests) > 1:
                pieces = put_together(self.step, self.asking, number, pieces)
            rows.append(pieces)
        return pa.concat_tables(rows)


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


def _nulls(count: int, schema: pa.Schema) -> pa.Table:
    import pyarrow as pa

    return pa.table([pa.nulls(count, field.type) for field in schema], schema=schema)


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
