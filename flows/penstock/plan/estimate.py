"""What a run will send and cost: requests, tokens, dollars and minutes, from the rows or a sample of them."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

from penstock.engine.packing import packs
from penstock.engine.prices import is_priced, price, usd_of
from penstock.expressions import sql_columns
from penstock.items import Item, Usage
from penstock.plan.model import Partition, Segment, StepEstimate
from penstock.sources import Source
from penstock.spec.model import Spec
from penstock.steps import ApiStep, BarrierStep, Step, TableStep, parents
from penstock.steps.base import PARTITION, ROW
from penstock.steps.decisions import applied, carried_out, decided, looked_at
from penstock.steps.filter import Filter
from penstock.tables.answer_lists import digest_of
from penstock.tables.answers import AnswerStore
from penstock.tokens import counter

if TYPE_CHECKING:
    import polars as pl

EXACT_ROWS = 20_000
"""Up to this many rows every text is counted; above it a sample, unless all are asked for."""
_SAMPLE_SLICES = 8
_SAMPLE_ROWS = 500
_MOST_ISOLATED = 1_000


@dataclass(frozen=True, slots=True)
class Paid:
    """What was answered before.

    Attributes:
        store: the answers.
        wires: by step, what names its answers.
    """

    store: AnswerStore
    wires: Mapping[str, str]

    @classmethod
    def of_now(cls, store: AnswerStore, segments: Sequence[Segment]) -> Paid:
        """With all that was answered until now."""
        store.refresh()
        return cls(store, {segment.id: segment.wire for segment in segments})

    def of(self, step: ApiStep, payloads: Collection[str]) -> set[str]:
        """Those payloads of a step that have an answer."""
        identities = {payload: digest_of(step.identity(payload)) for payload in payloads}
        known = set(self.store.known(self.wires[step.name], identities.values()))
        return {payload for payload, digest in identities.items() if digest in known}


@dataclass(slots=True)
class _Sampled:
    """Rows that were looked at, each with its partition.

    Attributes:
        weight: how many rows each of them stands for.
        whole: whether they are all rows.
        exact: whether they are exactly the rows that will reach the next step.
        answers: columns that a run will have from a model, and that are empty here.
        alone: whether there are no other rows in partitions that are done.
    """

    frame: pl.DataFrame
    weight: float
    whole: bool
    exact: bool
    partitions: int
    note: str = ""
    answers: frozenset[str] = frozenset()
    alone: bool = True


def estimate(
    spec: Spec,
    source: Source,
    schema: dict[str, pl.DataType],
    partitions: Sequence[Partition],
    *,
    paid: Paid,
    every_row: bool = False,
    all_partitions: bool = True,
) -> tuple[StepEstimate, ...]:
    """One estimate per API step for the partitions given, which are those still to do.

    Args:
        paid: what was answered before, and will not be asked.
        all_partitions: whether no other partition is done already, which a step that looks at all rows would see too.
    """
    if not spec.api_steps or not partitions:
        return ()
    sampled = [replace(_sample(source, schema, partitions, every_row=every_row), alone=all_partitions)]
    estimates: list[StepEstimate] = []
    for step, parent in zip(spec.steps, parents(spec.steps), strict=True):
        rows = sampled[parent + 1]
        if isinstance(step, ApiStep):
            estimates.append(_estimated(spec, step, rows, paid))
        sampled.append(_after(step, rows, spec.source_keys))
    return tuple(estimates)


def _after(step: Step, rows: _Sampled, keys: Sequence[str]) -> _Sampled:
    """The sampled rows after a step, or all of them where what it drops cannot be told before it runs.

    Args:
        keys: the columns of the source's key.
    """
    if isinstance(step, ApiStep):
        frame = with_results(step, rows.frame)
        return replace(rows, frame=frame, answers=rows.answers | (set(frame.columns) - set(rows.frame.columns)))
    if isinstance(step, Filter) and rows.answers.intersection(sql_columns(step.where)):
        return replace(rows, exact=False, note=f"at most: what {step.name!r} will drop depends on answers")
    if isinstance(step, BarrierStep):
        return _decided(step, rows)
    if isinstance(step, TableStep):
        return replace(rows, frame=_applied(step, rows.frame, [_MOST_ISOLATED], keys))
    return rows


def _decided(step: BarrierStep, rows: _Sampled) -> _Sampled:
    """What a step that looks at all rows makes of these; of a sample it keeps all, since it would see others too."""
    import polars as pl

    frame = rows.frame.with_columns(pl.int_range(pl.len(), dtype=pl.Int64).alias(ROW))
    knows = rows.whole and rows.alone and not rows.answers
    seen = frame if knows else frame.clear()
    decision = decided(step, [looked_at(seen.drop(PARTITION).lazy(), step, [], 0)])
    kept = carried_out(seen, decision, step).frame.drop(ROW)
    if knows:
        return replace(rows, frame=kept)
    new = [pl.lit(None, dtype=kind).alias(name) for name, kind in kept.schema.items() if name not in rows.frame.columns]
    return replace(
        rows,
        frame=rows.frame.with_columns(new),
        exact=False,
        note=f"at most: {step.name!r} decides when it sees all rows",
    )


def _sample(
    source: Source, schema: dict[str, pl.DataType], partitions: Sequence[Partition], *, every_row: bool
) -> _Sampled:
    import polars as pl

    pieces = [(partition.index, piece) for partition in partitions for piece in partition.slices]
    total = sum(piece.rows for _, piece in pieces)
    exact = every_row or total <= EXACT_ROWS
    chosen = pieces if exact else pieces[:: max(1, len(pieces) // _SAMPLE_SLICES)][:_SAMPLE_SLICES]
    frames = [pl.DataFrame(schema={**schema, PARTITION: pl.Int64()})]
    looked_at = good = 0
    for index, piece in chosen:
        data = source.read(piece, schema)
        # A limit cuts the last slice short.
        frame = data.frame.head(bisect_left(data.numbers, piece.first_row + piece.rows))
        looked_at, good = looked_at + piece.rows, good + len(frame)
        few = frame if exact else frame.gather_every(max(1, len(frame) // _SAMPLE_ROWS))
        frames.append(few.with_columns(pl.lit(index, dtype=pl.Int64).alias(PARTITION)))
    rows = pl.concat(frames)
    weight = 1.0 if exact else total / max(1, looked_at) * good / max(1, len(rows))
    return _Sampled(rows, weight, exact, exact, len(partitions))


def _applied(step: TableStep, frame: pl.DataFrame, chances: list[int], keys: Sequence[str] = ()) -> pl.DataFrame:
    """The rows after the step, without those that make it fail, which the run will set apart.

    `chances` holds how many such rows are looked for.
    """
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


def _estimated(spec: Spec, step: ApiStep, sampled: _Sampled, paid: Paid) -> StepEstimate:
    frame = sampled.frame
    if step.when is not None:
        frame = _applied(Filter(uses="filter", where=step.when), frame, [_MOST_ISOLATED])
    asking = _asking(step, frame)
    known = paid.of(step, {piece for _, pieces in asking for piece in pieces})
    waiting = [(place, [piece for piece in pieces if piece not in known]) for place, pieces in asking]
    rows = sum(1 for _, pieces in waiting if pieces)
    # Copies of a text are sent once per partition.
    distinct = dict.fromkeys((place, piece) for place, pieces in waiting for piece in pieces)
    tokens_of = counter(step.model)
    asked = [text for _, text in distinct]
    counts = step.tokens(asked, tokens_of.count_many)
    longest = step.packing.max_item_tokens if tokens_of.exact else None
    kept = [(place, count) for (place, _), count in zip(distinct, counts, strict=True) if count <= (longest or count)]
    tokens = round(sum(count for _, count in kept) * sampled.weight)
    requests = _requests(spec, step, kept, sampled)
    measured = _measured(spec, step, [text for _, text in distinct], sampled.weight)
    answers = None if step.answer_tokens is None else round(step.answer_tokens * len(kept) * sampled.weight)
    notes = [] if tokens_of.exact else ["tokens are estimated: the model's vocabulary is not known"]
    notes += [] if sampled.whole else [f"from a sample of {len(sampled.frame):,} rows"]
    notes += [sampled.note] if sampled.note else []
    notes += ["dollars without the answers, whose length is not known"] if answers is None and measured is None else []
    notes += [f"at most: answers of {step.answer_tokens:,} tokens each are counted"] if answers else []
    return StepEstimate(
        step=step.name,
        model=step.model,
        rows=round(rows * sampled.weight),
        requests=requests,
        tokens=tokens,
        exact=tokens_of.exact and sampled.exact and not answers,
        usd=_usd(spec, step, tokens, answers) if measured is None else measured,
        usd_batch=_usd(spec, step, tokens, answers, batch=True) if measured is None else None,
        minutes=_minutes(spec, step, requests, tokens),
        note="; ".join(notes),
        priced=is_priced(step.model, spec.prices_of(step)),
        answered=round((len(asking) - rows) * sampled.weight),
    )


def _asking(step: ApiStep, frame: pl.DataFrame) -> list[tuple[int, list[str]]]:
    """Of each row that asks anything its partition, and what it asks."""
    found: list[tuple[int, list[str]]] = []
    for place, payload in zip(frame[PARTITION].to_list(), step.payloads(frame).to_list(), strict=True):
        pieces = [payload] if isinstance(payload, str) else payload or []
        if pieces and not any(step.is_empty(piece) for piece in pieces):
            found.append((place, pieces))
    return found


def _measured(spec: Spec, step: ApiStep, payloads: Sequence[str], weight: float) -> float | None:
    """Dollars of what is paid by something else than tokens; None where tokens are what is paid."""
    expected = [step.expected(payload) for payload in payloads]
    dollars = [usd_of(usage, step.model, spec.prices_of(step)) for usage in expected if usage is not None]
    known = [one for one in dollars if one is not None]
    return sum(known) * weight if known and len(known) == len(payloads) else None


def _usd(spec: Spec, step: ApiStep, tokens: int, answers: int | None, *, batch: bool = False) -> float | None:
    """Dollars of so many tokens, of which `answers` are the model's own, where their number is known."""
    usage = Usage(model=step.model, prompt_tokens=tokens - (answers or 0), completion_tokens=answers or 0)
    return price(step.model, usage, overrides=spec.prices_of(step), batch=batch)


def _requests(spec: Spec, step: ApiStep, kept: Sequence[tuple[int, int]], sampled: _Sampled) -> int:
    """How many requests the engine makes of the texts, given as partition and tokens: a request is of one partition."""
    per_minute = spec.provider_of(step).limits.tokens_per_minute
    if sampled.whole:
        by_partition = groupby(kept, key=itemgetter(0))
        items = ([Item(0, None, count) for _, count in group] for _, group in by_partition)
        return sum(1 for group in items for _ in packs(group, step.packing, max_tokens=per_minute))
    of_one = len(kept) * sampled.weight / sampled.partitions
    tokens = sum(count for _, count in kept) * sampled.weight / sampled.partitions
    most = min(limit for limit in (step.packing.max_request_tokens, per_minute, math.inf) if limit is not None)
    return math.ceil(max(of_one / step.packing.max_items, tokens / most)) * sampled.partitions


def _minutes(spec: Spec, step: ApiStep, requests: int, tokens: int) -> float | None:
    """At the provider's limits; None when it names none."""
    limits = spec.provider_of(step).limits
    times = [
        need / limit
        for need, limit in ((requests, limits.requests_per_minute), (tokens, limits.tokens_per_minute))
        if limit
    ]
    return max(times) if times else None


def with_results(step: ApiStep, frame: pl.DataFrame) -> pl.DataFrame:
    """The rows with empty columns where a run has the step's answers, for the steps that follow."""
    import polars as pl

    added = pl.DataFrame(step.added_schema().empty_table()).schema
    return frame.with_columns(pl.lit(None, dtype=kind).alias(name) for name, kind in added.items())
