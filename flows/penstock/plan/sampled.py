"""Rows on their way through the steps while a plan is made: all of them, or a sample, as far as they can be known.

What a model will say is not known yet. Its columns are empty in these rows, and so are those that later steps make of
them; which rows that concerns is written down row by row, so that nothing is concluded from an empty cell. Of parts
that stand already the rows are read as they are, answers and all.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.expressions import sql_columns
from penstock.plan.answered import Paid
from penstock.plan.model import Partition
from penstock.sources import Source
from penstock.spec.columns import columns_named
from penstock.steps import ApiStep, BarrierStep, Step, TableStep
from penstock.steps.base import PARTITION, ROW
from penstock.steps.decisions import applied, carried_out, decided, looked_at
from penstock.steps.derive import Derive
from penstock.steps.filter import Filter
from penstock.steps.python import Python
from penstock.steps.select import Select

if TYPE_CHECKING:
    import polars as pl

EXACT_ROWS = 20_000
"""Up to this many rows every text is counted; above it a sample, unless all are asked for."""
_SAMPLE_SLICES = 8
_SAMPLE_ROWS = 500
_MOST_ISOLATED = 1_000
_OPEN = "__open_"


@dataclass(slots=True)
class Sampled:
    """Rows that were looked at, each with its partition.

    Attributes:
        weight: how many rows each of them stands for.
        whole: whether they are all rows.
        exact: whether they are exactly the rows that will reach the next step.
        partitions: how many they are of.
        shares: of each partition that was looked at, which share of its rows.
        alone: whether there are no other rows in partitions that are done.
        made_of: columns that hold answers, or what was made of answers, each with the steps that must answer first.
        countless: whether nobody knows how many rows there will be.
    """

    frame: pl.DataFrame
    weight: float
    whole: bool
    exact: bool
    partitions: int
    shares: Mapping[int, float] = field(default_factory=dict)
    note: str = ""
    alone: bool = True
    made_of: Mapping[str, frozenset[str]] = field(default_factory=dict)
    countless: bool = False

    def split(self, columns: Collection[str]) -> tuple[pl.DataFrame, pl.DataFrame]:
        """The rows in which these columns hold what a run will have, and those in which one is empty until then."""
        waits = self._waits(columns)
        return self.frame.filter(~waits), self.frame.filter(waits)

    def _waits(self, columns: Collection[str]) -> pl.Expr:
        import polars as pl

        steps = {step for name in columns for step in self.made_of.get(name, ())}
        marks = [name for step in steps if (name := _OPEN + step) in self.frame.columns]
        return pl.any_horizontal(marks) if marks else pl.lit(value=False)


def take_sample(
    source: Source, schema: dict[str, pl.DataType], partitions: Sequence[Partition], *, every_row: bool
) -> Sampled:
    """The source's rows in these partitions; some of them where they are many, unless `every_row` is wanted."""
    import polars as pl

    pieces = [(partition.index, piece) for partition in partitions for piece in partition.slices]
    total = sum(piece.rows for _, piece in pieces)
    exact = every_row or total <= EXACT_ROWS
    chosen = pieces if exact else pieces[:: max(1, len(pieces) // _SAMPLE_SLICES)][:_SAMPLE_SLICES]
    frames = [pl.DataFrame(schema={**schema, PARTITION: pl.Int64()})]
    rows_of = {partition.index: max(1, partition.rows) for partition in partitions}
    shares: dict[int, float] = {}
    looked_at_rows = good = 0
    for index, piece in chosen:
        data = source.read(piece, schema)
        # A limit cuts the last slice short.
        frame = data.frame.head(bisect_left(data.numbers, piece.first_row + piece.rows))
        looked_at_rows, good = looked_at_rows + piece.rows, good + len(frame)
        few = frame if exact else frame.gather_every(max(1, len(frame) // _SAMPLE_ROWS))
        shares[index] = shares.get(index, 0.0) + len(few) / rows_of[index]
        frames.append(few.with_columns(pl.lit(index, dtype=pl.Int64).alias(PARTITION)))
    rows = pl.concat(frames)
    weight = 1.0 if exact else total / max(1, looked_at_rows) * good / max(1, len(rows))
    return Sampled(rows, weight, exact, exact, len(partitions), shares)


def after(step: Step, rows: Sampled, keys: Sequence[str], paid: Paid, needed: Collection[str] | None) -> Sampled:
    """The rows after a step; of what cannot be told before it runs nothing is dropped.

    Args:
        keys: the columns of the source's key.
        paid: what was answered before.
        needed: the columns that a later step or output looks at; others are left empty. None for all.
    """
    if isinstance(step, ApiStep):
        return _answered(step, rows, paid, needed)
    if isinstance(step, BarrierStep):
        return _decided(step, rows)
    return _tabled(step, rows, keys) if isinstance(step, TableStep) else rows


def with_results(step: ApiStep, frame: pl.DataFrame) -> pl.DataFrame:
    """The rows with empty columns where a run has the step's answers, for the steps that follow."""
    import polars as pl

    added = pl.DataFrame(step.added_schema().empty_table()).schema
    return frame.with_columns(pl.lit(None, dtype=kind).alias(name) for name, kind in added.items())


def kept(rows: Sampled, condition: str, why: str) -> Sampled:
    """The rows for which an SQL condition holds, and those of which nobody knows whether it will."""
    known, waiting = rows.split(sql_columns(condition))
    known = rows_after(Filter(uses="filter", where=condition), known)
    if waiting.is_empty():
        return replace(rows, frame=known)
    return replace(rows, frame=_together(known, waiting), exact=False, note=why)


def rows_after(step: TableStep, frame: pl.DataFrame, keys: Sequence[str] = ()) -> pl.DataFrame:
    """The rows after a step, without those that make it fail, which the run will set apart."""
    return _applied(step, frame, [_MOST_ISOLATED], keys)


def _answered(step: ApiStep, rows: Sampled, paid: Paid, needed: Collection[str] | None) -> Sampled:
    """With the step's columns: empty, or as they are in parts that stand, or in answers of before."""
    import polars as pl

    mark = _OPEN + step.name
    frame = with_results(step, rows.frame).with_columns(pl.lit(value=True).alias(mark))
    new = set(frame.columns) - set(rows.frame.columns)
    standing = {index: path for index in rows.shares if (path := paid.parts.get((step.name, index))) is not None}
    others = replace(rows, frame=frame.filter(~pl.col(PARTITION).is_in(list(standing))))
    known, waiting = others.split(columns_named(step))
    answers = sorted(new - {mark} if needed is None else new.intersection(needed))
    frames = [paid.filled(step, known, answers, mark) if answers else known, waiting]
    frames += [_read(path, index, rows, frame.schema, needed) for index, path in standing.items()]
    made_of = {**rows.made_of, **{name: frozenset({step.name}) for name in new - {mark}}}
    rows = replace(rows, frame=pl.concat(frames).sort(PARTITION, maintain_order=True), made_of=made_of)
    if len(standing) == len(rows.shares):
        # Whatever was not known of earlier steps, these are the rows.
        return replace(rows, exact=rows.whole, note="", countless=False)
    return rows


def _read(
    path: Path, index: int, rows: Sampled, schema: Mapping[str, pl.DataType], needed: Collection[str] | None
) -> pl.DataFrame:
    """The rows of a part that stands, as many of them as were looked at of its partition."""
    import polars as pl

    stored = pl.read_parquet_schema(path)
    wanted = [name for name in schema if name in stored and (needed is None or name in needed)]
    frame = pl.read_parquet(path, columns=wanted, glob=False) if wanted else _rows_alone(path)
    if not rows.whole:
        frame = frame.gather_every(max(1, round(1 / max(rows.shares[index], 1e-9))))
    filled: list[pl.Expr] = []
    for name, kind in schema.items():
        if name == PARTITION:
            filled.append(pl.lit(index, dtype=pl.Int64).alias(name))
        elif name.startswith(_OPEN):
            filled.append(pl.lit(value=False).alias(name))
        elif name in wanted:
            filled.append(pl.col(name).cast(kind, strict=False))
        else:
            filled.append(pl.lit(None, dtype=kind).alias(name))
    return frame.with_columns(filled).select(list(schema))


def _rows_alone(path: Path) -> pl.DataFrame:
    """As many rows as a part has, without its columns."""
    import polars as pl
    from pyarrow import parquet

    return pl.DataFrame({ROW: pl.int_range(parquet.read_metadata(path).num_rows, eager=True)})


def _decided(step: BarrierStep, rows: Sampled) -> Sampled:
    """What a step that looks at all rows makes of these; of a sample it keeps all, since it would see others too."""
    import polars as pl

    frame = rows.frame.with_columns(pl.int_range(pl.len(), dtype=pl.Int64).alias(ROW))
    waits = not rows.split(rows.made_of)[1].is_empty()
    knows = rows.whole and rows.alone and rows.exact and not waits
    seen = frame if knows else frame.clear()
    decision = decided(step, [looked_at(seen.drop(PARTITION).lazy(), step, [], 0)])
    held = carried_out(seen, decision, step).frame.drop(ROW)
    if knows:
        return replace(rows, frame=held)
    new = [name for name in held.schema if name not in rows.frame.columns]
    mark = pl.lit(value=True).alias(_OPEN + step.name)
    empty = [pl.lit(None, dtype=held.schema[name]).alias(name) for name in new]
    return replace(
        rows,
        frame=rows.frame.with_columns(*empty, mark),
        exact=False,
        note=f"at most: {step.name!r} decides when it sees all rows",
        made_of={**rows.made_of, **{name: frozenset({step.name}) for name in new}},
    )


def _tabled(step: TableStep, rows: Sampled, keys: Sequence[str]) -> Sampled:
    if isinstance(step, Filter):
        why = f"at most: what {step.name!r} will drop depends on answers"
        return kept(rows, step.where, why)
    used = set(rows.made_of) if isinstance(step, Python) else columns_named(step)
    by = frozenset(name for column in used for name in rows.made_of.get(column, ()))
    made_of = _made_of(step, rows, by)
    drops = step.drops_rows or (isinstance(step, Python) and step.rows != "same")
    adds = step.adds_rows or (isinstance(step, Python) and step.rows == "any")
    if not by or not (drops or adds or isinstance(step, Python)):
        frame = rows_after(step, rows.frame, keys)
        new = {name: by for name in frame.columns if by and name not in rows.frame.columns and name not in made_of}
        known = {name: steps for name, steps in {**made_of, **new}.items() if name in frame.columns}
        return replace(rows, frame=frame, made_of=known)
    known_rows, waiting = rows.split(used)
    frame = rows_after(step, known_rows, keys)
    new = {name: by for name in frame.columns if name not in rows.frame.columns}
    rows = replace(rows, frame=_together(frame, waiting), made_of={**made_of, **new})
    if waiting.is_empty() or not (drops or adds):
        return rows
    if adds:
        note = f"how many rows {step.name!r} makes depends on answers"
        return replace(rows, exact=False, countless=True, note=note)
    return replace(rows, exact=False, note=f"at most: what {step.name!r} will drop depends on answers")


def _made_of(step: TableStep, rows: Sampled, by: frozenset[str]) -> dict[str, frozenset[str]]:
    """What the columns are made of after a step, but for new ones of steps that do not say what makes which."""
    before = dict(rows.made_of)
    if isinstance(step, Select):
        return {new: before[old] for new, old in step.renamed.items() if old in before}
    if isinstance(step, Derive):
        for name, text in step.columns.items():
            steps = frozenset(one for column in sql_columns(text) for one in rows.made_of.get(column, ()))
            before.pop(name, None)
            before |= {name: steps} if steps else {}
    elif isinstance(step, Python):
        before |= dict.fromkeys(step.columns, by) if by else {}
    return before


def _together(known: pl.DataFrame, waiting: pl.DataFrame) -> pl.DataFrame:
    """Rows after a step, and rows that it could not look at yet with empty columns for what it adds."""
    import polars as pl

    added = [pl.lit(None, dtype=kind).alias(name) for name, kind in known.schema.items() if name not in waiting.columns]
    held = waiting.with_columns(added).select(known.columns)
    return pl.concat([known, held], how="vertical_relaxed").sort(PARTITION, maintain_order=True)


def _applied(step: TableStep, frame: pl.DataFrame, chances: list[int], keys: Sequence[str]) -> pl.DataFrame:
    """`rows_after`, where `chances` holds how many rows that fail are looked for."""
    import polars as pl

    numbered = frame.with_columns(pl.int_range(pl.len(), dtype=pl.Int64).alias(ROW))
    try:
        return applied(step, numbered.lazy(), keys).collect().drop(ROW)
    except pl.exceptions.PolarsError:
        if len(frame) <= 1 or chances[0] <= 0:
            chances[0] -= 1
            return applied(step, numbered.clear().lazy(), keys).collect().drop(ROW)
    middle = len(frame) // 2
    halves = [_applied(step, frame[:middle], chances, keys), _applied(step, frame[middle:], chances, keys)]
    return pl.concat(halves, how="vertical_relaxed")


def named_later(steps: Iterable[Step]) -> set[str] | None:
    """The columns that these steps name; None where one of them may look at any."""
    found: set[str] = set()
    for step in steps:
        if isinstance(step, Python | BarrierStep):
            return None
        found |= columns_named(step)
    return found
