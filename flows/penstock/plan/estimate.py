"""What a run will send and cost: requests, tokens, dollars and minutes, from the rows or a sample of them."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

from penstock.engine.packing import packs
from penstock.engine.prices import price
from penstock.expressions import sql_columns
from penstock.items import Item, Usage
from penstock.plan.model import Partition, StepEstimate
from penstock.sources import Source
from penstock.spec.model import Spec
from penstock.steps import ApiStep, Filter, TableStep
from penstock.steps.base import PARTITION
from penstock.tokens import counter

if TYPE_CHECKING:
    import polars as pl

EXACT_ROWS = 20_000
"""Up to this many rows every text is counted; above it a sample, unless all are asked for."""
_SAMPLE_SLICES = 8
_SAMPLE_ROWS = 500
_MOST_ISOLATED = 1_000


@dataclass(slots=True)
class _Sampled:
    """Rows that were looked at, each with its partition.

    Attributes:
        weight: how many rows each of them stands for.
        whole: whether they are all rows.
        exact: whether they are exactly the rows that will reach the next step.
    """

    frame: pl.DataFrame
    weight: float
    whole: bool
    exact: bool
    partitions: int
    note: str = ""


def estimate(
    spec: Spec,
    source: Source,
    schema: dict[str, pl.DataType],
    partitions: Sequence[Partition],
    *,
    every_row: bool = False,
) -> tuple[StepEstimate, ...]:
    """One estimate per API step for the partitions given, which are those still to do."""
    if not spec.api_steps or not partitions:
        return ()
    sampled = _sample(source, schema, partitions, every_row=every_row)
    answers: set[str] = set()
    estimates: list[StepEstimate] = []
    for step in spec.steps:
        if isinstance(step, Filter) and answers.intersection(sql_columns(step.where)):
            # What a model will answer is not known, so all rows go on.
            sampled.exact = False
            sampled.note = f"at most: what {step.name!r} will drop depends on answers"
        elif isinstance(step, TableStep):
            sampled.frame = _applied(step, sampled.frame, [_MOST_ISOLATED])
        elif isinstance(step, ApiStep):
            estimates.append(_estimated(spec, step, sampled))
            before = set(sampled.frame.columns)
            sampled.frame = with_results(step, sampled.frame)
            answers |= set(sampled.frame.columns) - before
    return tuple(estimates)


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


def _applied(step: TableStep, frame: pl.DataFrame, chances: list[int]) -> pl.DataFrame:
    """The rows after the step, without those that make it fail, which the run will set apart.

    `chances` holds how many such rows are looked for.
    """
    import polars as pl

    try:
        return step.apply(frame.lazy()).collect()
    except pl.exceptions.PolarsError:
        if len(frame) <= 1 or chances[0] <= 0:
            chances[0] -= 1
            return step.apply(frame.clear().lazy()).collect()
    middle = len(frame) // 2
    halves = [_applied(step, frame[:middle], chances), _applied(step, frame[middle:], chances)]
    return pl.concat(halves, how="vertical_relaxed")


def _estimated(spec: Spec, step: ApiStep, sampled: _Sampled) -> StepEstimate:

    frame = sampled.frame
    if step.when is not None:
        frame = _applied(Filter(uses="filter", where=step.when), frame, [_MOST_ISOLATED])
    payloads = zip(frame[PARTITION].to_list(), step.payloads(frame).to_list(), strict=True)
    asked = [(partition, text) for partition, text in payloads if text is not None and text.strip()]
    # Copies of a text are sent once per partition.
    distinct = list(dict.fromkeys(asked))
    tokens_of = counter(step.model)
    counts = tokens_of.count_many([text for _, text in distinct])
    longest = step.packing.max_item_tokens if tokens_of.exact else None
    kept = [(place, count) for (place, _), count in zip(distinct, counts, strict=True) if count <= (longest or count)]
    tokens = round(sum(count for _, count in kept) * sampled.weight)
    requests = _requests(spec, step, kept, sampled)
    usage = Usage(model=step.model, prompt_tokens=tokens)
    prices = (
        {name: one.model_dump(exclude_none=True) for name, one in spec.provider.prices.items()} if spec.provider else {}
    )
    notes = [] if tokens_of.exact else ["tokens are estimated: the model's vocabulary is not known"]
    notes += [] if sampled.whole else [f"from a sample of {len(sampled.frame):,} rows"]
    notes += [sampled.note] if sampled.note else []
    return StepEstimate(
        step=step.name,
        model=step.model,
        rows=round(len(asked) * sampled.weight),
        requests=requests,
        tokens=tokens,
        exact=tokens_of.exact and sampled.exact,
        usd=price(step.model, usage, overrides=prices) if step.prompt_only else None,
        usd_batch=price(step.model, usage, overrides=prices, batch=True) if step.prompt_only else None,
        minutes=_minutes(spec, requests, tokens),
        note="; ".join(notes),
    )


def _requests(spec: Spec, step: ApiStep, kept: Sequence[tuple[int, int]], sampled: _Sampled) -> int:
    """How many requests the engine makes of the texts, given as partition and tokens: a request is of one partition."""
    per_minute = spec.provider.limits.tokens_per_minute if spec.provider else None
    if sampled.whole:
        by_partition = groupby(kept, key=itemgetter(0))
        items = ([Item(0, None, count) for _, count in group] for _, group in by_partition)
        return sum(1 for group in items for _ in packs(group, step.packing, max_tokens=per_minute))
    of_one = len(kept) * sampled.weight / sampled.partitions
    tokens = sum(count for _, count in kept) * sampled.weight / sampled.partitions
    most = min(limit for limit in (step.packing.max_request_tokens, per_minute, math.inf) if limit is not None)
    return math.ceil(max(of_one / step.packing.max_items, tokens / most)) * sampled.partitions


def _minutes(spec: Spec, requests: int, tokens: int) -> float | None:
    """At the provider's limits; None when it names none."""
    if spec.provider is None:
        return None
    limits = spec.provider.limits
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
