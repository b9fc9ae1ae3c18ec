"""What a run will send and cost: requests, tokens, dollars and minutes, from the rows or a sample of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from penstock.engine.prices import price
from penstock.engine.tokens import counter
from penstock.items import Usage
from penstock.plan.model import Partition, StepEstimate
from penstock.sources import Slice, Source
from penstock.spec.model import Spec
from penstock.steps import ApiStep, TableStep

if TYPE_CHECKING:
    import polars as pl

EXACT_ROWS = 20_000
"""Up to this many rows every text is counted; above it a sample, unless all are asked for."""
_SAMPLE_SLICES = 8
_SAMPLE_ROWS = 500


@dataclass(slots=True)
class _Sampled:
    """Rows that were looked at, and how many rows of the source each of them stands for."""

    frame: pl.DataFrame
    weight: float
    exact: bool


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
    frame, estimates = sampled.frame, []
    for step in spec.steps:
        if isinstance(step, TableStep):
            frame = _applied(step, frame)
        elif isinstance(step, ApiStep):
            estimates.append(_estimated(spec, step, frame, sampled))
            frame = _with_results(step, frame)
    return tuple(estimates)


def _sample(
    source: Source, schema: dict[str, pl.DataType], partitions: Sequence[Partition], *, every_row: bool
) -> _Sampled:
    import polars as pl

    pieces = [piece for partition in partitions for piece in partition.slices]
    total = sum(piece.rows for piece in pieces)
    empty = pl.DataFrame(schema=schema)
    if every_row or total <= EXACT_ROWS:
        frames = [source.read(piece, schema).frame.head(piece.rows) for piece in pieces]
        return _Sampled(pl.concat([empty, *frames]), 1.0, exact=True)
    chosen: list[Slice] = list(pieces[:: max(1, len(pieces) // _SAMPLE_SLICES)])[:_SAMPLE_SLICES]
    frames, seen = [], 0
    for piece in chosen:
        frame = source.read(piece, schema).frame.head(piece.rows)
        few = frame.gather_every(max(1, len(frame) // _SAMPLE_ROWS))
        frames.append(few)
        seen += len(few)
    return _Sampled(pl.concat([empty, *frames]), total / max(1, seen), exact=False)


def _applied(step: TableStep, frame: pl.DataFrame) -> pl.DataFrame:
    import polars as pl

    try:
        return step.apply(frame.lazy()).collect()
    except pl.exceptions.PolarsError:
        # Single rows may fail here; the run sets them apart, and the plan only wants the size of the work.
        good = [step.apply(frame[place : place + 1].lazy()) for place in range(min(len(frame), _SAMPLE_ROWS))]
        return _collected(good, step, frame)


def _collected(rows: list[pl.LazyFrame], step: TableStep, frame: pl.DataFrame) -> pl.DataFrame:
    import polars as pl

    done: list[pl.DataFrame] = [step.apply(frame.clear().lazy()).collect()]
    for row in rows:
        try:
            done.append(row.collect())
        except pl.exceptions.PolarsError:
            continue
    return pl.concat(done, how="vertical_relaxed")


def _estimated(spec: Spec, step: ApiStep, frame: pl.DataFrame, sampled: _Sampled) -> StepEstimate:
    import polars as pl

    if step.when is not None:
        frame = frame.filter(pl.sql_expr(step.when))
    payloads = [text for text in step.payloads(frame).to_list() if text is not None and text.strip()]
    tokens_of = counter(step.model)
    packing = step.packing
    counts = tokens_of.count_many(payloads)
    kept = {
        text: count for text, count in zip(payloads, counts, strict=True) if count <= (packing.max_item_tokens or count)
    }
    tokens = round(sum(kept.values()) * sampled.weight)
    items = round(len(kept) * sampled.weight)
    requests = math.ceil(max(items / packing.max_items, tokens / (packing.max_request_tokens or max(1, tokens))))
    usage = Usage(model=step.model, prompt_tokens=tokens)
    prices = {name: one.model_dump() for name, one in spec.provider.prices.items()} if spec.provider else {}
    notes = [] if tokens_of.exact else ["tokens are estimated: the model's vocabulary is not known"]
    notes += [] if sampled.exact else [f"from a sample of {len(sampled.frame):,} rows"]
    return StepEstimate(
        step=step.name,
        model=step.model,
        rows=round(len(payloads) * sampled.weight),
        requests=requests,
        tokens=tokens,
        exact=tokens_of.exact and sampled.exact,
        usd=price(step.model, usage, overrides=prices) if step.prompt_only else None,
        usd_batch=price(step.model, usage, overrides=prices, batch=True) if step.prompt_only else None,
        minutes=_minutes(spec, requests, tokens),
        note="; ".join(notes),
    )


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


def _with_results(step: ApiStep, frame: pl.DataFrame) -> pl.DataFrame:
    """The rows with empty result columns, for the steps that follow."""
    import polars as pl

    results = pl.DataFrame(step.result_schema().empty_table()).schema
    return frame.with_columns(pl.lit(None, dtype=kind).alias(name) for name, kind in results.items())
